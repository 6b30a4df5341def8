"""A column of texts as sketches: what is kept of each to tell whether it nearly equals another.

    book = SketchBook(64, np.uint32)
    book.add(words)                  # a chunk of texts, again and again
    sketches = book.close()          # digests, slots, counts: about 270 bytes a text at 64 slots

A text is sketched by its own shingles, those that are not common (`boilerplate`). Texts pass once, so that the first
hundred uses of a boilerplate are sketched before it is known as such; `close` then empties the slots that it won. A
text with fewer than 18 shingles of its own (20 words) is known by its digest only: there, one word in twenty is less
than a word, and an edit may be the very fact that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.boilerplate import CommonShingles
from rewardsmith.data.overlap.minhash import EMPTY, Bits, MinHash, Slots, similarity
from rewardsmith.data.overlap.shingles import shingle_sets
from rewardsmith.data.overlap.words import Hashes, Words

SHINGLE = 3
"""Words in a shingle: with fewer, unlike texts look alike; with more, one edit costs more of a short text."""

LEAST_SHINGLES = 18
"""Own shingles that a text needs to be compared by them: 20 words."""

_LEAST_SLOTS = 16
_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Sketches:
    """What is kept of N texts.

    digests (N,)      equal for texts of equal words (64 bits)
    slots (N, K)      signatures, uint32 or their upper 16 bits
    counts (N,)       shingles of its own, at most 65,535
    is_short (N,)     known by its digest only; its slots hold the digest
    """

    digests: Hashes
    slots: Bits
    counts: NDArray[np.uint16]
    is_short: NDArray[np.bool_]

    def similarity(
        self, left: NDArray[np.int64], right: NDArray[np.int64], other: Sketches | None = None
    ) -> NDArray[np.float32]:
        """Estimated Jaccard similarity of the own shingles of texts, pair by pair; 1 or 0 for short ones.

        Args:
            left: indices of texts (C,).
            right: indices (C,) of the texts to compare them with.
            other: where the right ones stand, if not here.
        """
        other = other or self
        estimate = np.empty(len(left), np.float32)
        for start in range(0, len(left), _ROWS):
            i, j = left[start : start + _ROWS], right[start : start + _ROWS]
            estimate[start : start + _ROWS] = similarity(self.slots[i], other.slots[j], _LEAST_SLOTS)
        equal = self.digests[left] == other.digests[right]
        unlike = (self.is_short[left] | other.is_short[right]) & ~equal
        return np.where(equal, np.float32(1), np.where(unlike, np.float32(0), estimate))


class SketchBook:
    """Grows by `add`, and gives the sketches at the end. Slots of 16 bits cannot be cleaned afterwards."""

    def __init__(
        self, slots: int, kind: type[np.uint32] | type[np.uint16], common: CommonShingles | None = None
    ) -> None:
        """Make an empty book.

        Args:
            slots: of each signature.
            kind: uint32, or uint16 for half the memory.
            common: boilerplate, shared by books whose texts are compared with each other; one of its own if left out.
        """
        self._hasher = MinHash(slots)
        self._common = common or CommonShingles()
        self._kind = kind
        self._parts: list[Sketches] = []

    def add(self, words: Words, digests: Hashes) -> None:
        """The next texts, with the digest of each (`words.digests()`, or another where a text has no words)."""
        sets = shingle_sets(words, SHINGLE)
        self._common.count(sets, digests)
        own = sets.only(~self._common.holds(sets.values))
        short = own.counts < LEAST_SHINGLES
        slots = self._hasher.sign(own)
        slots[short] = self._short_slots(digests[short])
        counts = np.minimum(own.counts, np.iinfo(np.uint16).max).astype(np.uint16)
        self._parts.append(Sketches(digests, self._narrow(slots), counts, short))

    def close(self) -> Sketches:
        """The sketches of all texts. Call it once: the parts are given up as they are joined."""
        size = sum(len(part.digests) for part in self._parts)
        shape = size, self._hasher.slots
        slots: Bits = np.empty(shape, np.uint32) if self._kind is np.uint32 else np.empty(shape, np.uint16)
        whole = Sketches(
            np.empty(size, np.uint64),
            slots,
            np.empty(size, np.uint16),
            np.empty(size, np.bool_),
        )
        start = 0
        for part in self._given_up():
            rows = slice(start, start + len(part.digests))
            for name in Sketches.__slots__:
                getattr(whole, name)[rows] = getattr(part, name)
            start = rows.stop
        if self._kind is np.uint32:
            self._clean(whole, slots.view(np.uint32))
        return whole

    def _given_up(self) -> Iterator[Sketches]:
        self._parts.reverse()
        while self._parts:
            yield self._parts.pop()

    def _clean(self, whole: Sketches, all_slots: Slots) -> None:
        """Empty the slots that boilerplate won; a text that then has too little of its own counts as short."""
        for start in range(0, len(whole.digests), _ROWS):
            rows = slice(start, start + _ROWS)
            slots, short = all_slots[rows], whole.is_short[rows]
            won = self._common.holds(self._hasher.winners(slots)) & ~short[:, None]
            slots[won] = EMPTY
            own = whole.counts[rows] * (1 - won.mean(axis=1))
            whole.counts[rows] = own
            newly = ~short & (own < LEAST_SHINGLES)
            slots[newly] = self._short_slots(whole.digests[rows][newly])
            short |= newly

    def _short_slots(self, digests: Hashes) -> Slots:
        return self._hasher.sign_single((digests >> np.uint64(32)).astype(np.uint32))

    def _narrow(self, slots: Slots) -> Bits:
        return slots if self._kind is np.uint32 else (slots >> np.uint32(16)).astype(np.uint16)
