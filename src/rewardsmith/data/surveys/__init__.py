"""Surveys: what shows only in the data as a whole. `rewardsmith.data.registry` lists them.

survey.py            what a survey is; `Notes`, which counts rows that show a fault of their own
near_duplicates.py   prompts and pairs that nearly repeat
leakage.py           held-out prompts in the training data
contamination.py     benchmark prompts in the training data
tokens.py            the texts as token ids: lengths, waste, special tokens inside texts, prompts that change
labels.py            what labels say of each other: repeats, cycles and stated margins
balance.py           what the pairs are made of: sources, languages, and models that tell the label
private.py           secrets and personal data, by kind
"""
