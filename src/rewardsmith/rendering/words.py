"""Texts → token ids word by word, each distinct word encoded once: most words of a text were seen before.

    if parts_at_spaces(tokenizer):
        Words(tokenizer.backend_tokenizer).encode(texts)       # the ids of the whole texts

A word here is what stands from a space to the next one: text before a space that follows a visible character is one
word, and the space begins the next. Cutting there is exact where a tokenizer itself never looks across such a place:

- its pre-tokenizer ends a piece there. Those that `parts_at_spaces` knows match a space at the beginning of a piece,
  or within a run of whitespace, and a run is never cut but in front;
- its normalizer works on each character (or on a character and the marks that follow it);
- no added token contains whitespace or asks for what stands beside it;
- its model works on each piece alone.

These are the tokenizers of the GPT, Llama 3, Qwen, SmolLM, OLMo and Phi families, and BERT's. Others are encoded whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rewardsmith.rendering.length import Ids

# Words kept; at about 200 bytes each, with the ids.
_REMEMBERED = 200_000
# Longer ones seldom come again.
_LONGEST = 48
# Words that share a call of the tokenizer: each call has a cost of its own.
_JOINED = 64

# From the front of a run of whitespace to the next space that follows a visible character. Python counts a few more
# characters as whitespace than the tokenizers do, which only makes words longer.
_WORD = re.compile(r"\s*\S+(?:[^\S ]\s*\S*)*|\s+")

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_GPT_4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_ENDINGS}?|{_BEFORE}{_UPPER}+{_LOWER}*{_ENDINGS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
# Patterns of `Split` that begin a piece at every space behind a visible character.
_PATTERNS = frozenset(
    {
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2
        rf"{_ENDINGS}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}",  # GPT-4, Llama 3
        rf"{_ENDINGS}|{_BEFORE}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}",  # Qwen 2, 2.5, 3
        rf"{_ENDINGS}|{_BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",  # Qwen 3.5
        _GPT_4O,
    }
)
_KNOWN_NORMALIZERS = ("NFC", "BertNormalizer")


class Words:
    """Encodes texts of a tokenizer for which `parts_at_spaces` holds."""

    def __init__(self, backend: Any, separator: str = "", separator_id: int = -1) -> None:
        """Take the Rust half of a tokenizer.

        Args:
            backend: with truncation and padding off.
            separator: a special token that may stand between any two texts without changing their ids; "" for none.
            separator_id: its id.
        """
        self._backend = backend
        self._separator = separator
        self._separator_id = separator_id
        self._known: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, shape (T,), int32."""
        if len(self._known) > _REMEMBERED:
            self._known = {}
        known, words = self._known, [_WORD.findall(text) for text in texts]
        fresh: set[str] = set()
        for parts in words:
            fresh.update(set(parts).difference(known))
        found = self._encode(fresh)
        known.update((word, ids) for word, ids in found.items() if len(word) <= _LONGEST)
        long = {word: ids for word, ids in found.items() if len(word) > _LONGEST}
        return [np.frombuffer(bytearray(_join(parts, known, long)), dtype=np.int32) for parts in words]

    def _encode(self, words: set[str]) -> dict[str, bytes]:
        """The ids of words, as bytes: those of several in one call, with the separator between them."""
        alone = [word for word in words if not self._separator or self._separator in word]
        rest = list(words.difference(alone))
        groups = [rest[start : start + _JOINED] for start in range(0, len(rest), _JOINED)]
        texts = [*alone, *(self._separator.join(group) for group in groups)]
        ids = [
            np.array(e.ids, dtype=np.int32) for e in self._backend.encode_batch_fast(texts, add_special_tokens=False)
        ]
        found = {word: ids_T.tobytes() for word, ids_T in zip(alone, ids[: len(alone)], strict=True)}
        for group, ids_T in zip(groups, ids[len(alone) :], strict=True):
            found.update(zip(group, self._part(ids_T), strict=True))
        return found

    def _part(self, ids_T: Ids) -> Iterator[bytes]:
        """What stands between the separators."""
        raw, width, start = ids_T.tobytes(), ids_T.itemsize, 0
        for end in np.flatnonzero(ids_T == self._separator_id).tolist():
            yield raw[width * start : width * end]
            start = end + 1
        yield raw[width * start :]


def _join(words: list[str], known: dict[str, bytes], long: dict[str, bytes]) -> bytes:
    if not long:
        return b"".join(map(known.__getitem__, words))
    return b"".join(long[word] if word in long else known[word] for word in words)


def parts_at_spaces(tokenizer: Any) -> bool:
    """Whether the ids of a text are those of its words, one after the other."""
    backend = tokenizer.backend_tokenizer
    normalizer = _state(backend.normalizer)
    if normalizer and normalizer.get("type") not in _KNOWN_NORMALIZERS:
        return False
    if tokenizer.split_special_tokens or getattr(backend.model, "dropout", None):
        return False
    added = tokenizer.added_tokens_decoder.values()
    asks_around = any(
        token.lstrip
        or token.rstrip
        or token.single_word
        or re.search(r"\s", token.content)
        # A normalizer may change the token's text, and then the place where it is found.
        or (token.normalized and normalizer)
        for token in added
    )
    return not asks_around and _pieces_end_at_spaces(_state(backend.pre_tokenizer))


def _state(part: Any) -> dict[str, Any]:
    """How a part of a tokenizer is written in `tokenizer.json`; a part written in Python has no such form."""
    if part is None:
        return {}
    try:
        return dict(json.loads(part.__getstate__()))
    except Exception:  # tokenizers raises a bare Exception
        return {"type": "unknown"}


def _pieces_end_at_spaces(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether some part begins a piece at every space behind a visible character, and the others only part further."""
    parts = pre_tokenizer["pretokenizers"] if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    return all(_is_known(part) for part in parts) and any(_begins_at_spaces(part) for part in parts)


def _is_known(part: dict[str, Any]) -> bool:
    return part.get("type") in ("Digits", "ByteLevel") or _begins_at_spaces(part)


def _begins_at_spaces(part: dict[str, Any]) -> bool:
    if part.get("type") == "Split":
        known = part["pattern"].get("Regex") in _PATTERNS
        return known and part["behavior"] == "Isolated" and not part["invert"]
    return part.get("type") == "BertPreTokenizer" or (part.get("type") == "ByteLevel" and bool(part["use_regex"]))
