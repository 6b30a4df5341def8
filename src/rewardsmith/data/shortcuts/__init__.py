"""Shortcuts: what tells chosen from rejected without reading the prompt. Pure functions; a survey drives them.

reading.py    a response as the features read it
layout.py     features of layout and punctuation
phrases.py    phrases of each kind, counted in one pass
features.py   the registry of features
measures.py   pairs → lengths, and which side has more of each feature
lone_rules.py how often one thing alone names the chosen response, with its interval
equal_length.py   what is left of a rule between responses of equal length
lengths.py    the length rule, by how much the lengths differ
words.py      words and openings that stand on one side
blind.py      classifiers that read responses and no prompts
verdicts.py   which rules are strong enough to be worth a finding
"""
