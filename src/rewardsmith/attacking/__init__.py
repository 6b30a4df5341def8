"""The price of a hack: what it costs to lift a bad answer over a good one without meaning.

In: rows with a good and a bad answer, and a scorer. Out: `AttackRecord` (`attack.json`).

edits.py      what may be done to an answer, each with the proof that its meaning stays
asking.py     queries to the scorer within a budget, kept in a journal so that a killed attack continues; how long a
              search takes, and how many pairs fit into the time
search.py     single edits, learned triggers, beams, random edits, the same search for the good answer
tokens.py     a learned ending of words, counted apart: random substitution, gradients through a protocol, fluency
results.py    what was found → price, shares, intervals, examples

Import a name from its own module: a command loads only those it needs.
"""
