"""Surveys: what shows only in the data as a whole. See `contract`; `rewardsmith.data.registry` lists them.

contract.py   what a survey is
notes.py      rows that stay and show a fault of their own
sources.py    sources of which too little could be used
exact.py      repeated pairs, held-out prompts in the training data, cut prompts: by digests
"""
