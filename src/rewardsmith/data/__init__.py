"""The data contract: sources in, tokenized pairs and the evidence about them out.

prepare.py    the contract as a whole
tokenize.py   one source → rows of token ids, rendered ahead; reading.py tells the progress
sources.py    one source of the spec → pairs and rejected rows
guess.py      which column of a file seems to be which, for `init`
files.py      one file → numbered rows; formats.py has a reader per format; hub.py reads the hub
columns.py    which column is which
forms.py      one row → one preference pair; rendering/messages.py reads its turns
responses.py  one row → the conversations that are to be rewarded
rows.py       what the checks see, and digests of texts
store.py      the kept rows on disk; spool.py is the file underneath
checks/       checks of one row
surveys/      what shows in the whole
registry.py   all checks and surveys
fix.py        the data without the rows that findings name
findings.py   what they found → findings and the verdict
split.py      holds out prompts
share.py      a share of the training prompts, for learning curves
lengths.py    lengths in tokens
overlap/      how texts overlap: near-duplicates and n-grams
tokens/       what the survey of tokens watches while rows pass
"""

from rewardsmith.data.checks import Check, TokenizedPair, data_fingerprint
from rewardsmith.data.fix import FIXED_FILES, Side, write_fixed
from rewardsmith.data.prepare import PreparedData, prepare, take_share
from rewardsmith.data.registry import CHECKS, SURVEYS
from rewardsmith.data.sources import first_pairs, source_digests
from rewardsmith.data.surveys.survey import BenchmarkPrompt

__all__ = [
    "CHECKS",
    "FIXED_FILES",
    "SURVEYS",
    "BenchmarkPrompt",
    "Check",
    "PreparedData",
    "Side",
    "TokenizedPair",
    "data_fingerprint",
    "first_pairs",
    "prepare",
    "source_digests",
    "take_share",
    "write_fixed",
]
