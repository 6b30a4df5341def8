"""Pairs as the texts that OpenRLHF's own code turns into our token ids.

    rows = as_rows(renderer, pairs, ids)          # TextRow, or None where no text gives these ids
    their_ids(tokenizer, [text])                  # what its RewardDataset makes of a text

OpenRLHF takes texts, not ids. We hand it whole rendered conversations as `chosen` and `rejected`, without a prompt key,
a template or `apply_chat_template`. What its code still does to them (`openrlhf/datasets/reward_dataset.py`, the same
in 0.9.8 and 0.11.2): cut trailing line breaks, append a space and EOS unless EOS stands there, tokenise without adding
special tokens, truncate, overwrite the last token with EOS. On a text that our template closed with EOS, and with a
limit that no text reaches, each of these is the identity; `their_ids` does all of them and every row is compared, token
for token. What `inside.py` saw is compared again after training.

A text that the length policy cut has ids and no text of its own: the ids are decoded, and where the decoded text gives
other ids (a cut through the middle of a word or a character) the pair is left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rewardsmith.modeling.layouts import PairIds
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.types import PreferencePair

_CHUNK = 512


class TextRow(NamedTuple):
    """Both texts of a pair, closed with EOS."""

    chosen: str
    rejected: str


def as_rows(renderer: Renderer, pairs: Sequence[PreferencePair], ids: Sequence[PairIds]) -> list[TextRow | None]:
    """The texts of each pair; None where no text was found that OpenRLHF would read as these ids."""
    done: list[TextRow | None] = []
    for start in range(0, len(pairs), _CHUNK):
        part = list(zip(pairs[start : start + _CHUNK], ids[start : start + _CHUNK], strict=True))
        chosen = _texts(renderer, [(pair.prompt + pair.chosen, both.chosen) for pair, both in part])
        rejected = _texts(renderer, [(pair.prompt + pair.rejected, both.rejected) for pair, both in part])
        for first, second in zip(chosen, rejected, strict=True):
            done.append(TextRow(first, second) if first is not None and second is not None else None)
    return done


def their_ids(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids that OpenRLHF's `RewardDataset` makes of these texts under a limit that none of them reaches."""
    closed = [_closed(text.rstrip("\n"), str(tokenizer.eos_token)) for text in texts]
    found = []
    for row in tokenizer(closed, add_special_tokens=False, padding=False, truncation=False)["input_ids"]:
        ids_T = np.array(row, dtype=np.int32)
        ids_T[-1] = tokenizer.eos_token_id
        found.append(ids_T)
    return found


def _closed(text: str, eos: str) -> str:
    return text if text.endswith(eos) else f"{text} {eos}"


def _texts(renderer: Renderer, wanted: Sequence[tuple[Any, Ids]]) -> list[str | None]:
    """A text for each conversation and its ids: as rendered, else as decoded, else none."""
    tokenizer = renderer.tokenizer
    rendered = [renderer.text(conversation) for conversation, _ in wanted]
    texts: list[str | None] = list(_agreed(tokenizer, rendered, [ids_T for _, ids_T in wanted]))
    cut = [index for index, text in enumerate(texts) if text is None]
    if cut:
        ids = [wanted[index][1] for index in cut]
        decoded = [tokenizer.decode(ids_T.tolist(), skip_special_tokens=False) for ids_T in ids]
        for index, text in zip(cut, _agreed(tokenizer, decoded, ids), strict=True):
            texts[index] = text
    return texts


def _agreed(tokenizer: Any, texts: Sequence[str], ids: Sequence[Ids]) -> list[str | None]:
    """Each text, or None where OpenRLHF would read other ids."""
    found = their_ids(tokenizer, texts)
    return [text if np.array_equal(a_T, b_T) else None for text, a_T, b_T in zip(texts, found, ids, strict=True)]
