"""How texts overlap: near-duplicates among a million texts, and prompts of a benchmark within them. numpy only.

words.py            texts → hashed words, and one digest a text
shingles.py         words → runs of n words, and the set of them
common.py           which shingles are boilerplate
minhash.py          sets → signatures that estimate their similarity
sketches.py         a column of texts → what is kept of each
clusters.py         sketches → clusters of near-duplicates
benchmark_index.py  the prompts of benchmarks, searched for in each text

The surveys `near_duplicates`, `leakage` and `contamination` build on it.
"""
