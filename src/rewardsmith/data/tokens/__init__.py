"""What the survey of tokens watches while the rows pass: each class sees chunks of rows and keeps numbers of them.

markers.py    special tokens and role markers inside what people wrote
prefixes.py   prompts whose tokens are not the first tokens of prompt and response
unknown.py    tokens that stand for what the vocabulary lacks

Lengths are in `rewardsmith.data.lengths`; `rewardsmith.data.surveys.tokens` puts all of it together.
"""
