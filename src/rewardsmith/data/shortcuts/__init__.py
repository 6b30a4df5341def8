"""Shortcuts: what tells chosen from rejected without reading the prompt. Pure functions; a survey drives them.

features.py   a response as the features read it; the registry of features; pairs → which side has more of each
rules.py      how often one thing alone names the chosen response; at equal length too; grades; classifiers
tables.py     the rules of lengths, features, groups and words as the record has them
findings.py   the survey: measures while pairs pass, then the record and its findings in words
"""
