"""Tokens that stand for what the vocabulary lacks, counted over all texts.

    watch = UnknownWatch(renderer)
    watch.see(rows)
    watch.places                # pairs with such a token
    watch.record()
    watch.describe(pair)        # what is unknown in one of them

A text loses something only where one unknown token stands for it (`loses_text`); fallback to bytes is counted too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.records import UnknownTokens
from rewardsmith.rendering import Renderer
from rewardsmith.rendering.unknown import unknown_parts
from rewardsmith.statistics import wilson_interval
from rewardsmith.types import PreferencePair

_SHOWN = 5


class UnknownWatch:
    """Counts in the ids of rows, in the order of their places."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._unknown = renderer.unknown()
        self.loses_text = self._unknown.kind == "unk"
        self._seen = 0
        self._total = 0
        self._texts = 0
        self._tokens = 0
        self._places: list[NDArray[np.int64]] = []

    @property
    def places(self) -> NDArray[np.int64]:
        """Places of pairs with such a token in either text."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._places])

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        if rows:
            counts_P2 = self._count(rows)
            self._texts += int(np.count_nonzero(counts_P2))
            self._tokens += int(counts_P2.sum())
            self._places.append(np.flatnonzero(counts_P2.any(axis=1)) + self._seen)
        self._seen += len(rows)

    def record(self) -> UnknownTokens:
        """Counts, with a 95 % interval of the share of texts."""
        texts = 2 * self._seen
        interval = wilson_interval(self._texts, texts) if texts else None
        return UnknownTokens(
            kind=self._unknown.kind,
            token=self._unknown.token,
            of=texts,
            texts=self._texts,
            texts_low=interval.low if interval else None,
            texts_high=interval.high if interval else None,
            tokens=self._tokens,
            share=self._tokens / max(1, self._total),
        )

    def describe(self, pair: PreferencePair) -> str:
        """Which characters are unknown, field by field."""
        words = []
        for field in ("prompt", "chosen", "rejected"):
            text = "\n".join(message.text for message in getattr(pair, field))
            parts = list(dict.fromkeys(unknown_parts(self._renderer.tokenizer, self._unknown, text)))
            named = ", ".join(repr(part[:_SHOWN]) for part in parts[:_SHOWN])
            if parts:
                words.append(f"{field}: {named}" + (f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""))
        return "; ".join(words)

    def summary(self) -> str:
        """The shares of texts and tokens in words."""
        return f"{self._tokens:,} of {self._total:,} tokens, in {self._texts:,} of {2 * self._seen:,} texts"

    def _count(self, rows: Sequence[TokenizedPair]) -> NDArray[np.int64]:
        """Such tokens in each text of each row, shape (P, 2)."""
        texts = [ids_T for row in rows for ids_T in (row.chosen_ids, row.rejected_ids)]
        lengths = np.array([len(ids_T) for ids_T in texts], dtype=np.int64)
        self._total += int(lengths.sum())
        if not self._unknown.ids:
            return np.zeros((len(rows), 2), dtype=np.int64)
        hits = np.isin(np.concatenate(texts), self._unknown.ids)
        ends = np.concatenate([[0], np.cumsum(hits)])[np.cumsum(lengths)]
        return np.diff(ends, prepend=0).reshape(-1, 2)
