"""Which shingles are boilerplate: found while the texts pass by, in fixed memory.

    common = CommonShingles()
    common.count(sets)                    # distinct texts, a chunk at a time
    own = sets.only(~common.holds(sets.values))

An instruction that opens every prompt makes all prompts alike and says nothing about any of them. A shingle is common
once it stands in more than `share` of the distinct texts seen so far, and in more than `least`; from then on it stays
common. Counts live in a table of 2**22 cells, addressed by the top bits of a shingle (a count-min sketch of one row,
Cormode and Muthukrishnan 2005): with 200 shingles a text, strangers add 0.005 % of the number of texts to a cell, a
twentieth of the threshold, so a cell is above it only if one of its shingles is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.shingles import ShingleSets
from rewardsmith.data.overlap.words import Hashes

_BITS = 22
_SHIFT = np.uint32(32 - _BITS)
_SEEN_BITS = 24

# A prompt family of up to a hundred rows, or a thousandth of a large set, can still be copies of one text; beyond,
# it is a form that was filled in.
LEAST = 100
SHARE = 0.001


class CommonShingles:
    """Counts in how many distinct texts each shingle stands."""

    def __init__(self, *, least: int = LEAST, share: float = SHARE) -> None:
        self._least = least
        self._share = share
        self._texts = 0
        self._counts = np.zeros(1 << _BITS, np.uint32)
        self._is_common = np.zeros(1 << _BITS, np.bool_)
        self._seen = np.zeros(1 << _SEEN_BITS, np.bool_)

    def count(self, sets: ShingleSets, digests: Hashes) -> None:
        """Count the texts whose digest (T,) is new.

        Digests are remembered by 24 bits: of a million distinct texts 3 % look known and are not counted, which moves
        the threshold by as much and nothing else.
        """
        new = self._new(digests)
        cells = sets.of(new).values >> _SHIFT
        np.add.at(self._counts, cells, 1)
        self._texts += len(new)
        self._is_common[cells[self._counts[cells] > max(self._least, self._share * self._texts)]] = True

    def holds(self, values: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each shingle is common by now."""
        common: NDArray[np.bool_] = self._is_common[values >> _SHIFT]
        return common

    @property
    def cells(self) -> int:
        """How many cells are common: about the number of common shingles."""
        return int(np.count_nonzero(self._is_common))

    def _new(self, digests: Hashes) -> NDArray[np.int64]:
        """Indices of the first text of each digest that was not seen before, ascending."""
        slots = (digests >> np.uint64(64 - _SEEN_BITS)).astype(np.int64)
        firsts = np.sort(np.unique(slots, return_index=True)[1])
        new = firsts[~self._seen[slots[firsts]]]
        self._seen[slots[new]] = True
        return new
