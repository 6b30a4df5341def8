"""Features of layout and punctuation: how much of a mark a response has.

Each function counts in `Reading.raw`, the UTF-8 text after a line break. They run twice on every pair: a longer string
is searched for only where one of its bytes occurs, which is much faster to see.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

from rewardsmith.data.shortcuts.reading import Reading

Count = Callable[[Reading], int]

_BULLET = re.compile(rb"\n[ \t]*(?:[-*+]|\xe2\x80\xa2)[ \t]")
_NUMBERED = re.compile(rb"\n[ \t]*\d{1,3}[.)][ \t]")
_HEADING = re.compile(rb"\n {0,3}#{1,6}[ \t]")
_REFERENCE = re.compile(rb"\[\d{1,3}\]")
_YEAR = re.compile(rb"\)(?<=\D(?:1[89]|20)\d\d\))")
_DINGBATS = tuple(bytes([0xE2, third]) for third in range(0x98, 0x9F))
_CLOSED = (*(bytes([byte]) for byte in b".!?:;)]}>\"'`*_|$"), *(mark.encode() for mark in "”’»。！？…）」"))
_BY_CASE = bytes.maketrans(
    bytes(range(256)),
    bytes(65 if chr(code) in string.ascii_uppercase else 97 if chr(code).isalnum() else 32 for code in range(256)),
)
"""Each byte as "A" for a capital, "a" for another letter or a digit, or a space."""


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
    return dingbats + (raw.count(b"\xf0\x9f") if b"\xf0" in raw else 0)


def digits(reading: Reading) -> int:
    """Digits 0 to 9."""
    return len(reading.raw) - len(reading.raw.translate(None, b"0123456789"))


def paragraphs(reading: Reading) -> int:
    """Blank lines."""
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
