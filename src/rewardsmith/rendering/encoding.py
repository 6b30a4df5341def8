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
encoded once (`words.py`).

Both are tried out on probe texts when a tokenizer is loaded; where one differs, texts are encoded whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rewardsmith.rendering.length import Ids
from rewardsmith.rendering.words import Words, parts_at_spaces

# Characters of texts that are kept for the next batch: more than those of a chunk of pairs, which has about a million.
_REMEMBERED = 4_000_000
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
        if self._characters + characters <= _REMEMBERED:
            self._recent.update(ids_of)
            self._characters += characters
        else:
            self._characters = sum(map(len, ids_of))
            self._recent = ids_of if self._characters <= _REMEMBERED else {}

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
