"""Checks of one row: a function each, with its explanation. `rewardsmith.data.registry` lists them.

form.py      one row as read         → the row is left out
texts.py     what stands in its texts  → the row is left out (NUL), or noted
tokens.py    one row as token ids    → the row is left out

What shows only in the whole is a survey (`rewardsmith.data.surveys`).
"""
