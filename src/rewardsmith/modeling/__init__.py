"""Reward models: head and pooling, checkpoints, sizes, the token tree and its attention.

loading.py          weights and adapters on disk → a model with one reward head
weights.py          every weight from the files, or a refusal; stored.py: what the files hold, by their headers
reward_head.py      where the reward is read
inference.py        token ids → rewards; layouts.py, padded.py: how ids become batches
checkpoint.py       `rewardsmith.json` and its golden rewards
imports.py          checkpoints that other programs wrote
exports.py          checkpoints for other programs
averaging.py        weight averages; lineage.py: of whom
paths.py            every way from a text to its reward; config_findings.py, config_faults.py: what misleads others
sizes.py            counting parameters; shapes.py: and matrices, for a plan
regimes.py          models whose reward depends on neighbours: each text its own regime
trainable.py        no dropout, no float16, adapters where they belong; flight.py: a try before training
adapter.py          the token tree for a TRL script
token_tree.py       texts as trees; tree_attention.py, tree_kernel.py, tree_calls.py: how a model attends to them
tree_support.py     which models can; last_layer.py: only what rewards need
quiet.py            silence for what upstream prints
"""
