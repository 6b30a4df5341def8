"""The surface features of a response, and from pairs to numbers: which of the two has more of each.

    FEATURES["bullets"].count(reading)     # how much of it a response has
    measured = measure(rows)               # TokenizedPairs → Measures; 64 bytes a pair and no text
    whole = join([measured, …])
    whole.more                             # (P, F): 1 where chosen has more, -1 where rejected has, else 0

A response is read once, as written and as plain words (`Reading`), and its phrases are counted by kind (PHRASES).
FEATURES lists what is counted in a reading: marks of layout and punctuation, and kinds of phrases. To add one: a
function or a kind, and a line in `_FORMAT` or `_WORDING`. None of them says whether a response is right; "more of it is
chosen" is a rule that a reward model can learn instead.

All that the survey says about lengths and features comes from these arrays, for any part of the data. A million pairs
pass, so texts are read as UTF-8 bytes: `bytes.translate`, `split` and `count` run at the speed of memory, whatever the
text is in. Letters outside ASCII keep their case; a language that writes no spaces gives few, long words.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.store import TokenizedPair
from rewardsmith.rendering import Ids
from rewardsmith.rendering.encoding import shared_prefix
from rewardsmith.types import Conversation

_SYMBOLS = bytes(code for code in range(128) if not (chr(code).isalnum() or chr(code) == "'"))
_PLAIN = bytes.maketrans(
    string.ascii_uppercase.encode() + _SYMBOLS, string.ascii_lowercase.encode() + b" " * len(_SYMBOLS)
)
"""Each byte of a text as it stands in plain words: letters in lower case, symbols as spaces, the rest as it is."""

_TYPESET_APOSTROPHE = "’".encode()


@dataclass(frozen=True, slots=True)
class Reading:
    """One response. `raw` begins with a line break that the text does not have, so that every line follows one.

    `said` counts phrases by kind, in the order of PHRASES.
    """

    raw: bytes
    ascii: bool
    said: list[int]
    characters: int
    words: int


def read_response(response: Conversation) -> Reading:
    """The texts of a response's messages, a line break between them."""
    return read_text(response[0].text if len(response) == 1 else "\n".join(turn.text for turn in response))


def read_text(text: str) -> Reading:
    """A text; lone surrogates become question marks."""
    raw = text.encode("utf-8", "replace")
    words = plain_words(raw)
    # As many bytes as characters: all of them are ASCII.
    return Reading(b"\n" + raw, len(raw) == len(text), count_phrases(words), len(text), len(words))


def plain_words(raw: bytes) -> list[bytes]:
    """The words of a UTF-8 text: runs of letters, digits and apostrophes, in lower case."""
    if not raw.isascii():
        raw = raw.replace(_TYPESET_APOSTROPHE, b"'")
    return raw.translate(_PLAIN).split()


ANYWHERE = 10**9


class Kind(NamedTuple):
    """Phrases of one kind that begin among the first `within` words."""

    phrases: tuple[str, ...]
    within: int = ANYWHERE


# Phrases that responses use whatever the question; English, as most preference data is. A kind names the common ones,
# not all of them: a kind that is rare on both sides decides few pairs, and single words have rules of their own.
PHRASES: dict[str, Kind] = {
    # A refusal comes first; a later "I cannot" is part of an answer.
    "refusal": Kind(
        (
            *(f"i {cannot}" for cannot in ("cannot", "can't", "can not", "won't", "will not")),
            *("i'm sorry but", "i am sorry but", "sorry but i", "unable to", "not able to", "not comfortable"),
            *(f"{must} {decline}" for must in ("must", "have to") for decline in ("decline", "refuse")),
            *("cannot assist", "can't assist", "cannot help with", "can't help with", "against my programming"),
        ),
        within=40,
    ),
    "opening_sure": Kind(("sure", "certainly", "of course", "absolutely"), within=1),
    "opening_praise": Kind(
        tuple(f"{praise} question" for praise in ("great", "good", "excellent", "fantastic", "interesting")), within=4
    ),
    "opening_here_is": Kind(("here is", "here are", "here's", "below is", "below are", "the following"), within=1),
    "opening_i": Kind(("i", "i'm", "i'd", "i've", "i'll", "my"), within=1),
    "first_person": Kind(("i", "i'm", "i've", "i'd", "i'll", "me", "my", "myself")),
    "second_person": Kind(("you", "your", "you're", "yours", "yourself", "you'll", "you've")),
    "as_an_ai": Kind(("as an ai", "language model", "i'm an ai", "ai assistant")),
    "apologies": Kind(("sorry", "apologize", "apologise", "apologies", "unfortunately", "i'm afraid")),
    "hedges": Kind(
        (
            *("may", "might", "perhaps", "maybe", "possibly", "probably", "likely", "generally", "typically"),
            *("i think", "i believe", "it seems", "seems to", "could be", "depends on", "not sure", "in some cases"),
        )
    ),
    "certainty": Kind(
        (
            *("definitely", "certainly", "absolutely", "clearly", "undoubtedly", "obviously"),
            *("always", "never", "surely", "without a doubt", "of course"),
        )
    ),
    "connectives": Kind(
        (
            *("however", "therefore", "thus", "hence", "additionally", "furthermore", "moreover", "overall"),
            *("in conclusion", "in summary", "on the other hand", "for example", "for instance", "such as"),
        )
    ),
    "steps": Kind(("step", "first", "second", "next", "then", "finally", "let's", "let us")),
    "disclaimers": Kind(
        ("important to note", "please note", "important to remember", "consult", "professional advice", "keep in mind")
    ),
    "offers": Kind(
        ("let me know", "feel free", "hope this helps", "happy to help", "any other questions", "anything else")
    ),
    "answer_is": Kind(("answer is", "the answer", "correct answer")),
}


class _Entry(NamedTuple):
    """A phrase under its longest word: its kind, how many words precede that word, all words, where it may begin."""

    kind: int
    before: int
    words: list[bytes]
    within: int


def _index() -> dict[bytes, list[_Entry]]:
    entries: dict[bytes, list[_Entry]] = {}
    for place, kind in enumerate(PHRASES.values()):
        for phrase in kind.phrases:
            words = phrase.encode().split()
            longest = max(words, key=len)
            entry = _Entry(place, words.index(longest), words, kind.within)
            entries.setdefault(longest, []).append(entry)
    return entries


_ENTRIES = _index()


def count_phrases(words: Sequence[bytes]) -> list[int]:
    """How often a text of these words uses phrases of each kind, in the order of PHRASES.

    One pass over the words: each phrase is looked up by its longest word, which is the rarest.
    """
    counts = [0] * len(PHRASES)
    for place in [place for place, word in enumerate(words) if word in _ENTRIES]:
        for kind, before, phrase, within in _ENTRIES[words[place]]:
            begin = place - before
            if begin < within and (len(phrase) == 1 or (begin >= 0 and words[begin : begin + len(phrase)] == phrase)):
                counts[kind] += 1
    return counts


Count = Callable[[Reading], int]

_BULLET = re.compile(rb"\n[ \t]*(?:[-*+]|\xe2\x80\xa2)[ \t]")
_NUMBERED = re.compile(rb"\n[ \t]*\d{1,3}[.)][ \t]")
_HEADING = re.compile(rb"\n {0,3}#{1,6}[ \t]")
_REFERENCE = re.compile(rb"\[\d{1,3}\]")
_YEAR = re.compile(rb"\)(?<=\D(?:1[89]|20)\d\d\))")
# U+2600 to U+27BF are E2 98 80 to E2 9E BF in UTF-8.
_DINGBATS = tuple(bytes([0xE2, third]) for third in range(0x98, 0x9F))
_CLOSED = (*(bytes([byte]) for byte in b".!?:;)]}>\"'`*_|$"), *(mark.encode() for mark in "”’»。！？…）」"))
_BY_CASE = bytes.maketrans(
    bytes(range(256)),
    bytes(65 if chr(code) in string.ascii_uppercase else 97 if chr(code).isalnum() else 32 for code in range(256)),
)
"""Each byte as "A" for a capital, "a" for another letter or a digit, or a space."""


# Each counter searches `raw`, twice for every pair: a longer string is looked for only where one of its bytes occurs,
# which is much faster to see.
def marks(plain: str, *typeset: str) -> Count:
    """How often a string stands in the text, and its forms outside ASCII."""
    needle, others = plain.encode(), tuple(form.encode() for form in typeset)
    return lambda reading: (
        reading.raw.count(needle) + (0 if reading.ascii or not others else sum(map(reading.raw.count, others)))
    )


def bullets(reading: Reading) -> int:
    """Lines that begin with -, *, + or •."""
    return len(_BULLET.findall(reading.raw))


def numbered(reading: Reading) -> int:
    """Lines that begin with a number and a stop or bracket."""
    return len(_NUMBERED.findall(reading.raw))


def headings(reading: Reading) -> int:
    """Markdown headings."""
    return len(_HEADING.findall(reading.raw)) if b"#" in reading.raw else 0


def bold(reading: Reading) -> int:
    """Spans between double asterisks."""
    return reading.raw.count(b"**") // 2 if b"*" in reading.raw else 0


def code_blocks(reading: Reading) -> int:
    """Fenced blocks; one that is never closed counts."""
    return (reading.raw.count(b"```") + 1) // 2 if b"`" in reading.raw else 0


def inline_code(reading: Reading) -> int:
    """Spans between single backticks."""
    raw = reading.raw
    # A fence is three backticks, which open no span.
    return (raw.count(b"`") - 3 * raw.count(b"```")) // 2 if b"`" in raw else 0


def table_rows(reading: Reading) -> int:
    """Lines that begin with a bar."""
    return reading.raw.count(b"\n|") if b"|" in reading.raw else 0


def formulas(reading: Reading) -> int:
    r"""LaTeX: \(, \[, $$, \frac and \boxed."""
    raw = reading.raw
    commands = sum(map(raw.count, (b"\\(", b"\\[", b"\\frac", b"\\boxed"))) if b"\\" in raw else 0
    return commands + (raw.count(b"$$") // 2 if b"$" in raw else 0)


def emoji(reading: Reading) -> int:
    """Characters of U+1F000 to U+1FFFF and U+2600 to U+27BF: emoji, dingbats, symbols."""
    raw = reading.raw
    if reading.ascii:
        return 0
    dingbats = sum(map(raw.count, _DINGBATS)) if b"\xe2" in raw else 0
    # U+1F000 to U+1FFFF all begin with F0 9F.
    return dingbats + (raw.count(b"\xf0\x9f") if b"\xf0" in raw else 0)


def digits(reading: Reading) -> int:
    """Digits 0 to 9."""
    return len(reading.raw) - len(reading.raw.translate(None, b"0123456789"))


def paragraphs(reading: Reading) -> int:
    """Blank lines."""
    # From 1 on, since the first line break is not the text's own.
    return reading.raw.count(b"\n\n", 1)


def dashes(reading: Reading) -> int:
    """Long dashes, and hyphens between spaces."""
    typeset = 0 if reading.ascii else reading.raw.count(b"\xe2\x80\x94") + reading.raw.count(b"\xe2\x80\x93")
    return typeset + (reading.raw.count(b" - ") if b"-" in reading.raw else 0)


def capitals(reading: Reading) -> int:
    """Words that begin with four capitals."""
    return reading.raw.translate(_BY_CASE).count(b" AAAA")


def citations(reading: Reading) -> int:
    """References like [3], (2019) or (Smith, 2019), and "et al."."""
    raw = reading.raw
    references = len(_REFERENCE.findall(raw)) if b"[" in raw else 0
    years = len(_YEAR.findall(raw)) if b")" in raw else 0
    return references + years + raw.count(b" et al")


def foreign_letters(reading: Reading) -> int:
    """Bytes beyond the first of characters outside ASCII: accents, typeset quotes, other scripts."""
    return len(reading.raw) - 1 - reading.characters


def outer_space(reading: Reading) -> int:
    """White space before and after the text."""
    return len(reading.raw) - 1 - len(reading.raw.strip())


def unfinished(reading: Reading) -> int:
    """1 where the text ends without a mark that could end it."""
    return 0 if reading.raw.rstrip().endswith(_CLOSED) else 1


FeatureKind = Literal["format", "wording"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing to count in a response. `meaning` completes "the response with more …" and "with fewer …"."""

    code: str
    kind: FeatureKind
    meaning: str
    count: Count


def _said(kind: str) -> Count:
    """How often phrases of a kind are used; of a kind that belongs to the beginning, whether."""
    place = list(PHRASES).index(kind)
    if PHRASES[kind].within < ANYWHERE:
        return lambda reading: 1 if reading.said[place] else 0
    return lambda reading: reading.said[place]


_FORMAT: tuple[tuple[str, str, Count], ...] = (
    ("bullets", "lines that begin with a bullet", bullets),
    ("numbered_items", "lines that begin with a number", numbered),
    ("headings", "Markdown headings", headings),
    ("bold", "spans in bold", bold),
    ("code_blocks", "fenced code blocks", code_blocks),
    ("inline_code", "spans of inline code", inline_code),
    ("table_rows", "lines that begin with a table's bar", table_rows),
    ("formulas", "LaTeX formulas", formulas),
    ("emoji", "emoji and pictographs", emoji),
    ("exclamations", "exclamation marks", marks("!", "！")),
    ("questions", "question marks", marks("?", "？")),
    ("digits", "digits", digits),
    ("line_breaks", "line breaks", lambda reading: reading.raw.count(b"\n") - 1),
    ("paragraphs", "blank lines between paragraphs", paragraphs),
    ("quotes", "double quotation marks", marks('"', "“", "”")),
    ("parentheses", "opening parentheses", marks("(")),
    ("colons", "colons", marks(":")),
    ("semicolons", "semicolons", marks(";")),
    ("dashes", "dashes", dashes),
    ("ellipses", "ellipses", marks("...", "…")),
    ("urls", "web addresses", marks("://")),
    ("citations", "references like [3] or (Smith, 2019)", citations),
    ("capitals", "words in capitals", capitals),
    ("foreign_letters", "characters outside ASCII", foreign_letters),
    ("outer_space", "spaces and line breaks around the text", outer_space),
    ("unfinished", "endings without a closing mark", unfinished),
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
"""By code, in the order in which `Measures` keeps them."""

Signs = NDArray[np.int8]

UNITS = ("characters", "words", "tokens")
"""What lengths are counted in, in the order of `Measures.lengths`."""

_COUNTS = tuple(feature.count for feature in FEATURES.values())
_SIGN, _CHOSEN_HAS, _REJECTED_HAS = 0b0011, 0b0100, 0b1000


@dataclass(frozen=True, slots=True)
class Measures:
    """P pairs. `lengths` (P, U, 2) by unit, of chosen and rejected; `packed` (P, F), one byte a feature."""

    lengths: NDArray[np.int32]
    packed: NDArray[np.uint8]

    @property
    def longer(self) -> Signs:
        """(P, U): 1 where the chosen response is the longer, -1 where the rejected is, 0 where they are as long."""
        signs: Signs = np.sign(self.lengths[:, :, 0] - self.lengths[:, :, 1]).astype(np.int8)
        return signs

    @property
    def more(self) -> Signs:
        """(P, F): 1 where the chosen response has more of the feature, -1 where the rejected has, 0 where as much."""
        return np.asarray((self.packed & _SIGN).astype(np.int8) - 1, dtype=np.int8)

    def has(self) -> NDArray[np.float64]:
        """(F, 2): the share of chosen and of rejected responses that have the feature at all."""
        sides = [(self.packed & bit).astype(bool).mean(axis=0) for bit in (_CHOSEN_HAS, _REJECTED_HAS)]
        return np.stack(sides, axis=1)

    def at(self, places: NDArray[np.int64]) -> Measures:
        """Some of the pairs."""
        return Measures(self.lengths[places], self.packed[places])


def measure(rows: Sequence[TokenizedPair]) -> Measures:
    """Numbers of each pair, in order."""
    lengths, counts = [], []
    for row in rows:
        chosen, rejected = read_response(row.pair.chosen), read_response(row.pair.rejected)
        tokens = response_tokens(row.chosen_ids, row.rejected_ids)
        lengths.append((chosen.characters, rejected.characters, chosen.words, rejected.words, *tokens))
        counts.append([[count(side) for count in _COUNTS] for side in (chosen, rejected)])
    counted = np.array(counts, dtype=np.int32).reshape(len(rows), 2, len(_COUNTS))
    return Measures(np.array(lengths, dtype=np.int32).reshape(-1, len(UNITS), 2), _pack(counted[:, 0], counted[:, 1]))


def join(parts: Sequence[Measures]) -> Measures:
    """All pairs, in order."""
    if not parts:
        return measure(())
    return Measures(np.concatenate([part.lengths for part in parts]), np.concatenate([part.packed for part in parts]))


def response_tokens(chosen_ids: Ids, rejected_ids: Ids) -> tuple[int, int]:
    """Tokens after the beginning that both texts share: the responses without prompt and equal first words."""
    shared = shared_prefix(chosen_ids, rejected_ids)
    return len(chosen_ids) - shared, len(rejected_ids) - shared


def _pack(chosen_PF: NDArray[np.int32], rejected_PF: NDArray[np.int32]) -> NDArray[np.uint8]:
    # 0, 1 or 2 in two bits; the two above say which side has the feature at all.
    packed: NDArray[np.int32] = np.sign(chosen_PF - rejected_PF) + 1
    packed |= np.where(chosen_PF > 0, _CHOSEN_HAS, 0) | np.where(rejected_PF > 0, _REJECTED_HAS, 0)
    return packed.astype(np.uint8)
