"""The data contract: sources in, tokenized pairs and the evidence about them out.

prepare.py    the contract as a whole: source by source, rendered ahead, held out, checked
sources.py    one source of the spec → pairs and rejected rows
files.py      one file → numbered rows, a reader per format; the hub too
columns.py    which column is which, and paths into what a column holds
forms/        one row → preference pairs, a file each way of writing a preference
responses.py  one row → the conversations that are to be rewarded
checks.py     checks of one row
surveys/      what shows in the whole
shortcuts/    what tells chosen from rejected without the prompt
registry.py   all checks and surveys, and the findings that they make
minhash.py    texts that are nearly the same; words.py: their words and n-grams
lengths.py    lengths in tokens
store.py      a kept row, the digests of its texts, and the kept rows on disk
fix.py        the data without the rows that findings name

Import a name from its own module: a command loads only those it needs.
"""
