"""Checks of what stands inside the texts of a row: characters that nobody wrote, and differences that nobody sees.

A text with NUL is binary data or a wrong encoding, and programs cut it there: the row is left out. All other rows stay:
their texts can be read, and whether a stray character or a difference in layout matters is for the owner to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import islice
from os.path import commonprefix

from rewardsmith.data.checks.check import Check
from rewardsmith.types import PreferencePair

_CONTROLS = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\r")
_CONTROL = re.compile(f"[{re.escape(_CONTROLS.decode())}]")
_RUNS = re.compile("[^\x00-\x7f]+")
_ALONE = frozenset(map(chr, (*range(0x80, 0xA0), 0xC2, 0xC3, 0x152, 0x153)))  # bad without another one beside them
_LOST = "\ufffd"
_LINES = 20  # lines that look like mojibake and are looked at closely
_HEAD = 64  # characters that show most pairs to differ


def _in_texts(look: Callable[[str], str]) -> Callable[[PreferencePair], str]:
    """A check of a pair from a check of a text: what the first message shows that shows anything."""

    def first(pair: PreferencePair) -> str:
        for field, side in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
            for message in side:
                found = look(message.text)
                if found:
                    return f"{field}: {found}"
        return ""

    return first


def _nul(text: str) -> str:
    return f"NUL at character {text.index(chr(0))}" if "\0" in text else ""


def _control(text: str) -> str:
    """Deleting bytes is ten times as fast as a search by a pattern."""
    data = text.encode()
    if len(data) == len(data.translate(None, _CONTROLS)):
        return ""
    found = _CONTROL.search(text)
    return f"U+{ord(found[0]):04X} at character {found.start()}" if found else ""


def _replaced(text: str) -> str:
    return f"U+FFFD at character {text.index(_LOST)}" if _LOST in text else ""


def _mojibake(text: str) -> str:
    """Looks like mojibake to ftfy, and ftfy can mend it: either alone cries wolf at rare scripts and signs."""
    if text.isascii() or not _looks_bad(_neighbourhoods(text)):
        return ""
    for line in islice(filter(_looks_bad, text.split("\n")), _LINES):
        mended = _mended(line)
        if mended != line:
            start = len(commonprefix([line, mended]))  # noqa: RUF071 - characters are what is meant
            return (
                f"{line[start : start + 4]!r} at character {text.index(line) + start} was {mended[start : start + 1]!r}"
            )
    return ""


def _neighbourhoods(text: str) -> str:
    """All that ftfy's patterns can match: characters outside ASCII, where several are together, with what is around."""
    spans = (match.span() for match in _RUNS.finditer(text))
    found = [text[max(0, start - 3) : end + 3] for start, end in spans if end - start > 1 or text[start] in _ALONE]
    return "\n".join(found)


@cache
def _ftfy() -> tuple[Callable[[str], bool], Callable[[str], str]]:
    """ftfy's two functions, loaded when the first text needs them."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    return is_bad, fix_encoding


def _looks_bad(text: str) -> bool:
    return not text.isascii() and _ftfy()[0](text)


def _mended(line: str) -> str:
    return _ftfy()[1](line)


def _only_layout(pair: PreferencePair) -> str:
    """Chosen and rejected with the same words: equal in form NFC with every run of whitespace as one space."""
    if len(pair.chosen) != len(pair.rejected):
        return ""
    for one, other in zip(pair.chosen, pair.rejected, strict=True):
        if one.role != other.role or not _same_words(one.text, other.text):
            return ""
    return "chosen and rejected differ in whitespace or Unicode form only"


def _same_words(one: str, other: str) -> bool:
    heads = [_folded(text[:_HEAD]).rpartition(" ")[0] for text in (one, other)]  # without the last word: it may be cut
    length = min(map(len, heads))
    return heads[0][:length] == heads[1][:length] and _folded(one) == _folded(other)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


_AGAIN = "write the file again from its source, reading it in its right encoding; ftfy.fix_text mends single texts"

NUL_CHARACTER = Check(
    code="nul_character",
    severity="warning",
    title="NUL character",
    meaning="A text has the character U+0000.",
    why="It is binary data or UTF-16 read as something else, and many programs end a text there: rewards would differ.",
    fix="write the file again from its source, in UTF-8",
    pair=_in_texts(_nul),
)
IDENTICAL_FOLDED = Check(
    code="identical_folded",
    severity="warning",
    title="Responses that differ in layout only",
    meaning="Chosen and rejected are the same words: only whitespace or the form of Unicode characters differs.",
    why="The model learns a preference between layouts; where none was meant, as in a stray newline, it learns noise.",
    fix="leave the rows out, unless layout is what was judged (indented code, lists)",
    note=_only_layout,
    of="kept",
)
CONTROL_CHARACTER = Check(
    code="control_character",
    severity="warning",
    title="Control characters",
    meaning="A text has a control character other than tab, newline and carriage return.",
    why="A terminal or a PDF left it, or \\frac and \\beta lost \\f and \\b to a JSON reader: the text is damaged.",
    fix="write the file again from its source, or remove the characters",
    note=_in_texts(_control),
    of="kept",
)
REPLACEMENT_CHARACTER = Check(
    code="replacement_character",
    severity="warning",
    title="Characters that were lost",
    meaning="A text has U+FFFD, which stands for bytes that could not be read.",
    why="What the annotator saw there is gone; where one system's answers show it, it tells the label.",
    fix=_AGAIN,
    note=_in_texts(_replaced),
    of="kept",
)
MOJIBAKE = Check(
    code="mojibake",
    severity="warning",
    title="Text read in a wrong encoding",
    meaning="A text has signs such as \u00e2\u20ac\u2122 for an apostrophe: UTF-8 that was read as another encoding.",
    why="The model sees other words than the annotator; where one system's answers show it, it tells the label.",
    fix=_AGAIN,
    note=_in_texts(_mojibake),
    of="kept",
)
