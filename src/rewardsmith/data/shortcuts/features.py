"""The surface features of a response, listed by code. To add one: a function in `layout` or a kind in `phrases`, and a
line here.

    FEATURES["bullets"].count(reading)     → how much of it the response has

None of them says whether a response is right. "More of it is chosen" is a rule that a reward model can learn instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rewardsmith.data.shortcuts import layout
from rewardsmith.data.shortcuts.layout import Count, marks
from rewardsmith.data.shortcuts.phrases import ANYWHERE, PHRASES

Kind = Literal["format", "wording"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing to count in a response. `meaning` completes "the response with more …" and "with fewer …"."""

    code: str
    kind: Kind
    meaning: str
    count: Count


def _said(kind: str) -> Count:
    """How often phrases of a kind are used; of a kind that belongs to the beginning, whether."""
    place = list(PHRASES).index(kind)
    if PHRASES[kind].within < ANYWHERE:
        return lambda reading: 1 if reading.said[place] else 0
    return lambda reading: reading.said[place]


_FORMAT: tuple[tuple[str, str, Count], ...] = (
    ("bullets", "lines that begin with a bullet", layout.bullets),
    ("numbered_items", "lines that begin with a number", layout.numbered),
    ("headings", "Markdown headings", layout.headings),
    ("bold", "spans in bold", layout.bold),
    ("code_blocks", "fenced code blocks", layout.code_blocks),
    ("inline_code", "spans of inline code", layout.inline_code),
    ("table_rows", "lines that begin with a table's bar", layout.table_rows),
    ("formulas", "LaTeX formulas", layout.formulas),
    ("emoji", "emoji and pictographs", layout.emoji),
    ("exclamations", "exclamation marks", marks("!", "！")),
    ("questions", "question marks", marks("?", "？")),
    ("digits", "digits", layout.digits),
    ("line_breaks", "line breaks", lambda reading: reading.raw.count(b"\n") - 1),
    ("paragraphs", "blank lines between paragraphs", layout.paragraphs),
    ("quotes", "double quotation marks", marks('"', "“", "”")),
    ("parentheses", "opening parentheses", marks("(")),
    ("colons", "colons", marks(":")),
    ("semicolons", "semicolons", marks(";")),
    ("dashes", "dashes", layout.dashes),
    ("ellipses", "ellipses", marks("...", "…")),
    ("urls", "web addresses", marks("://")),
    ("citations", "references like [3] or (Smith, 2019)", layout.citations),
    ("capitals", "words in capitals", layout.capitals),
    ("foreign_letters", "characters outside ASCII", layout.foreign_letters),
    ("outer_space", "spaces and line breaks around the text", layout.outer_space),
    ("unfinished", "endings without a closing mark", layout.unfinished),
)
_WORDING: tuple[tuple[str, str], ...] = (
    ("refusal", "refusals in the first words"),
    ("opening_sure", 'openings like "Sure" or "Certainly"'),
    ("opening_praise", "openings that praise the question"),
    ("opening_here_is", 'openings like "Here is"'),
    ("opening_i", 'openings with "I"'),
    ("first_person", "words for oneself"),
    ("second_person", "words for the reader"),
    ("as_an_ai", "mentions of being an AI"),
    ("apologies", "apologies"),
    ("hedges", "hedges"),
    ("certainty", "words of certainty"),
    ("connectives", "connectives"),
    ("steps", "words that count steps"),
    ("disclaimers", "disclaimers"),
    ("offers", "offers of further help"),
    ("answer_is", 'statements like "the answer is"'),
)

FEATURES: dict[str, Feature] = {
    **{code: Feature(code, "format", meaning, count) for code, meaning, count in _FORMAT},
    **{code: Feature(code, "wording", meaning, _said(code)) for code, meaning in _WORDING},
}
"""By code, in the order in which `measures` keeps them."""
