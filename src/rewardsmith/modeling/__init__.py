"""Reward models: head and pooling, checkpoints, sizes, the token tree and its attention.

loading.py          weights and adapters on disk → a model with one reward head; a base made fit for training
weights.py          every weight from the files, or a refusal, and what is in memory beside the files
matching.py         names and shapes in the files ↔ those of a model; stored.py: what the files hold, who wrote them
spellings.py        names and settings that transformers 4 and 5 write differently
quiet.py            what upstream prints about things done on purpose
reward_head.py      where the reward is read
cpu_matmul.py       products of linear layers, where torch has slow ones: oneDNN, or widened to float32
inference.py        token ids → rewards; layouts.py: how ids become batches
token_gradients.py  which tokens would lift a reward, to first order
regimes.py          models whose reward depends on neighbours: each text its own regime
checkpoint.py       `rewardsmith.json` and its golden rewards
exports.py          checkpoints for other programs
averaging.py        weight averages, and of whom
paths.py            every way from a text to its reward; faults.py: what misleads others, by the files alone
shapes.py           parameters and matrices counted, for a plan
tree/               texts that begin alike as one row, and how a model attends to it
"""
