"""Rendered texts → token ids, what they share encoded once.

    encode(tokenizer, texts)                 the definition: as `apply_chat_template(tokenize=True)` does it
    encoder = Encoder.of(tokenizer, header)  the same ids, sooner
    encoder.encode(texts)

The two sides of a pair, and the answers to one prompt, begin with the same text. A fast tokenizer takes the special
tokens out of a text before it does anything else, and then treats every piece between them alone. So a text may be cut
before a special token, and the ids of its halves are the ids of the whole. `Encoder` cuts before the last *opening*
token, the one that begins the response (`<|im_start|>`, `<|start_header_id|>`), and encodes equal heads once. That
holds for tokens which take no space from their left, stand for themselves in the raw text, and overlap with no other
added token; `find_opening` takes no other. Where the tokenizer also parts texts at their spaces, each distinct word is
encoded once (`Words`).

Both are tried out on probe texts when a tokenizer is loaded; where one differs, texts are encoded whole.

Shapes: T tokens of one text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]

# Characters of texts that are kept for the next batch: more than those of a chunk of pairs, which has about a million.
_CHARACTERS_KEPT = 4_000_000
_PROBES = ("", " ", "a", " a ", "\n", "\n\nThe Loire.\n", "  two  spaces", "é信濃川🦀", "1234 5", "<|", "x\r\n\t")
# What may stand left and right of a space: every kind of character that a tokenizer could treat in its own way.
_BESIDE = (*"aZé川ー7١½.,'’(_-=/🦀…\u0301\u200d\ufeff\x00\x1c\n\t\u00a0\u3000", "'s", "")


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Ids of rendered texts, as `apply_chat_template` computes them: special tokens come from the text alone."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    return [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]


@dataclass(slots=True)
class Encoder:
    """Encodes rendered texts; remembers the parts of the last batches, because prompts come again.

    `backend` is the tokenizer's Rust half, None where there is none or where it was seen to differ. `opening` is the
    token before which a text may be cut, "" for nowhere. `words` encodes what stands between, None for as a whole.
    """

    tokenizer: Any
    backend: Any = None
    opening: str = ""
    words: Words | None = None
    _recent: dict[str, Ids] = field(default_factory=dict)
    _characters: int = 0

    @classmethod
    def of(cls, tokenizer: Any, header: str) -> Encoder:
        """The fastest encoder that gives the ids of `encode`.

        Args:
            tokenizer: a prepared transformers tokenizer.
            header: what the template writes of some conversation before the response.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return cls(tokenizer)
        opening = find_opening(tokenizer, header)
        words = Words(backend, *_separator(tokenizer)) if parts_at_spaces(tokenizer) else None
        texts = [header, *(head + opening + tail for head in _PROBES for tail in _PROBES)]
        texts += [f"x{left} {right}y" for left in _BESIDE for right in _BESIDE]
        expected = encode(tokenizer, texts)
        for candidate in ((backend, opening, words), (backend, opening), (backend,)):
            if all(map(np.array_equal, cls(tokenizer, *candidate).encode(texts), expected)):
                return cls(tokenizer, *candidate)
        return cls(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, shape (T,), int32; raises what the tokenizer raises."""
        parts = [self._parts(text) for text in texts]
        known, distinct = self._recent, dict.fromkeys(part for pair in parts for part in pair)
        fresh = [part for part in distinct if part not in known]
        ids_of = {part: known[part] for part in distinct if part in known}
        ids_of.update(zip(fresh, self._encode(fresh), strict=True))
        self._remember(ids_of, sum(map(len, fresh)))
        return [np.concatenate([ids_of[part] for part in pair]) for pair in parts]

    def _remember(self, ids_of: dict[str, Ids], characters: int) -> None:
        """Keep the parts for the next batches, while they are not too long together."""
        if self._characters + characters <= _CHARACTERS_KEPT:
            self._recent.update(ids_of)
            self._characters += characters
        else:
            self._characters = sum(map(len, ids_of))
            self._recent = ids_of if self._characters <= _CHARACTERS_KEPT else {}

    def _parts(self, text: str) -> tuple[str, ...]:
        cut = text.rfind(self.opening) if self.opening else 0
        return (text[:cut], text[cut:]) if cut > 0 else (text,)

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        if self.backend is None:
            return encode(self.tokenizer, texts)
        self._settle()
        if self.words is not None:
            return self.words.encode(texts)
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _settle(self) -> None:
        """Undo what a tokenizer file or an earlier call has switched on, as transformers does before each call.

        Only where it is on: a change fails while another thread encodes.
        """
        if self.backend.truncation is not None:
            self.backend.no_truncation()
        if self.backend.padding is not None:
            self.backend.no_padding()
        if self.backend.encode_special_tokens != self.tokenizer.split_special_tokens:
            self.backend.encode_special_tokens = self.tokenizer.split_special_tokens


def find_opening(tokenizer: Any, header: str) -> str:
    """The last token in a header before which texts may be cut, "" when there is none."""
    if getattr(tokenizer, "split_special_tokens", False):
        return ""
    added = list(tokenizer.added_tokens_decoder.values())
    placed = [(header.rfind(token.content), token) for token in added if token.content]
    for place, token in sorted(placed, key=lambda found: -found[0]):
        if place > 0 and _parts_text(token, added):
            return str(token.content)
    return ""


def _separator(tokenizer: Any) -> tuple[str, int]:
    """The EOS and its id, if it parts the texts on both its sides."""
    added = list(tokenizer.added_tokens_decoder.values())
    for token in added:
        if token.content == tokenizer.eos_token and _parts_text(token, added) and not token.rstrip:
            return str(token.content), int(tokenizer.eos_token_id)
    return "", -1


def _parts_text(token: Any, added: Sequence[Any]) -> bool:
    """Whether an added token is found in the raw text whatever stands left of it, and ends what stands there."""
    first = token.content[0]
    takes_part = token.normalized or token.lstrip or token.single_word
    return not (takes_part or first.isalnum() or first.isspace() or first == "_") and _stands_alone(
        token.content, added
    )


def _stands_alone(text: str, added: Sequence[Any]) -> bool:
    """Whether no added token can cover the place before `text`, and none goes on from there for longer."""
    for token in added:
        other = token.content
        if other != text and other.startswith(text):
            return False
        rests = (other[start:] for start in range(1, len(other)))
        if any(text.startswith(rest) or rest.startswith(text) for rest in rests):
            return False
    return True


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
    """Encodes texts of a tokenizer for which `parts_at_spaces` holds, each distinct word once: most were seen before.

    A word here is what stands from a space to the next one: text before a space that follows a visible character is one
    word, and the space begins the next.
    """

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
    """Whether the ids of a text are those of its words, one after the other.

    Cutting at spaces is exact where a tokenizer itself never looks across such a place:

    - its pre-tokenizer ends a piece there: the known ones match a space at the beginning of a piece, or within a run of
      whitespace, and a run is never cut but in front;
    - its normalizer works on each character (or on a character and the marks that follow it);
    - no added token contains whitespace or asks for what stands beside it;
    - its model works on each piece alone.

    These are the tokenizers of the GPT, Llama 3, Qwen, SmolLM, OLMo and Phi families, and BERT's.
    """
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


def shared_prefix(first_T: Ids, second_T: Ids) -> int:
    """Number of leading tokens that two texts share."""
    length = min(len(first_T), len(second_T))
    differs = np.nonzero(first_T[:length] != second_T[:length])[0]
    return int(differs[0]) if len(differs) else length
