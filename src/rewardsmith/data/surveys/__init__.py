"""Surveys: what shows only in the data as a whole. See `contract`; `rewardsmith.data.registry` lists them.

contract.py   what a survey is
notes.py      rows that stay and show a fault of their own
sources.py    sources of which too little could be used
near_duplicates.py   prompts and pairs that nearly repeat, by prompt_groups.py; overlap_summary.py has the numbers
leakage.py    held-out prompts in the training data
contamination.py   benchmark prompts in the training data
tokens.py     the texts as token ids: lengths, waste, special tokens inside texts, prompts that change
labels.py     what labels say of each other: repeats.py, cycles.py and stated margins (margins.py)
balance.py    what the pairs are made of: names.py, languages.py, and models that tell the label (authors.py)
private.py    secrets and personal data, by the kinds of private_kinds.py
shortcuts.py  what tells chosen from rejected without the prompt (data/shortcuts)
comparisons.py   numbers for prompts, responses and comparisons, from digests
"""
