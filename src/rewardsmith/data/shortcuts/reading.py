"""A response as the features read it: as written, and as plain words. Both are UTF-8 bytes.

    reading = read_response(pair.chosen)
    reading.raw      b"\\nSure! I **can't** say."        as written, after a line break of its own
    reading.said     {…}                                 how often it uses phrases of each kind (`phrases`)

Bytes, because a million pairs pass: `bytes.translate`, `split` and `count` run at the speed of memory, whatever the
text is in. Letters outside ASCII keep their case; a language that writes no spaces gives few, long words.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from rewardsmith.data.shortcuts.phrases import count_phrases
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

    `said` counts phrases, in the order of `phrases.PHRASES`.
    """

    raw: bytes
    ascii: bool
    said: list[int]
    characters: int
    words: int


def read_response(response: Conversation) -> Reading:
    """The texts of a response's messages, a line break between them."""
    return read_text(response[0].content if len(response) == 1 else "\n".join(turn.content for turn in response))


def read_text(text: str) -> Reading:
    """A text; lone surrogates become question marks."""
    raw = text.encode("utf-8", "replace")
    words = plain_words(raw)
    return Reading(b"\n" + raw, len(raw) == len(text), count_phrases(words), len(text), len(words))


def plain_words(raw: bytes) -> list[bytes]:
    """The words of a UTF-8 text: runs of letters, digits and apostrophes, in lower case."""
    if not raw.isascii():
        raw = raw.replace(_TYPESET_APOSTROPHE, b"'")
    return raw.translate(_PLAIN).split()
