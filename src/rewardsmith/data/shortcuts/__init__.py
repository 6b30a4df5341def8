"""Shortcuts: what tells chosen from rejected without reading the prompt. Pure functions; a survey drives them.

features.py         a response as the features read it; the registry of features; pairs → which side has more of each
rules.py            how often one thing alone names the chosen response, with its interval; classifiers without prompts
findings_table.py   which rules are strong enough to be worth a finding, and its words
findings.py         the survey: measures while pairs pass, then the record and its findings
"""
