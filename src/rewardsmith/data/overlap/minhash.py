"""MinHash signatures (Broder 1997): the share of equal slots estimates the Jaccard similarity of two sets.

    hasher = MinHash(64)
    slots = hasher.sign(sets)                  # (T, 64) uint32
    similarity(slots[i], slots[j])             # about |A ∩ B| / |A ∪ B|

Slot k keeps the smallest value of the permutation x → a_k x + b_k modulo 2**32 over a set. The permutation can be
undone, so a slot still says which shingle won it: a slot that a common shingle won is taken out later (`EMPTY`), and
the slots that remain estimate the similarity of what is left. Two slots agree by chance with probability 2**-32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.shingles import ShingleSets
from rewardsmith.data.overlap.words import starts_of

Slots = NDArray[np.uint32]
Bits = NDArray[np.uint32] | NDArray[np.uint16]
"""Slots, or their upper halves."""

EMPTY = np.uint32(0)
"""A slot that says nothing."""

_SEED = 20030609
_MODULUS = 1 << 32


class MinHash:
    """`slots` permutations, the same in every process."""

    def __init__(self, slots: int) -> None:
        rng = np.random.default_rng(_SEED)
        self.slots = slots
        self._factors = rng.integers(0, _MODULUS, slots, np.uint32) | np.uint32(1)
        self._offsets = rng.integers(0, _MODULUS, slots, np.uint32)
        self._inverses = np.array([pow(int(factor), -1, _MODULUS) for factor in self._factors], np.uint32)

    def sign(self, sets: ShingleSets) -> Slots:
        """Signatures (T, slots); those of empty sets are `EMPTY`."""
        signatures = np.full((self.slots, len(sets.counts)), EMPTY)
        some = sets.counts > 0
        if not some.any():
            return signatures.T.copy()
        starts = sets.starts[:-1][some]
        images = np.empty_like(sets.values)
        for slot in range(self.slots):
            np.multiply(sets.values, self._factors[slot], out=images)
            images += self._offsets[slot]
            signatures[slot, some] = np.minimum.reduceat(images, starts)
        return np.ascontiguousarray(signatures.T)

    def sign_single(self, values: NDArray[np.uint32]) -> Slots:
        """Signatures (T, slots) of sets of one value each: all slots agree or none."""
        return self.sign(ShingleSets(values, starts_of(np.ones(len(values), np.int64))))

    def winners(self, slots: Slots) -> NDArray[np.uint32]:
        """The shingle that won each slot, shape (T, slots)."""
        shingles: NDArray[np.uint32] = (slots - self._offsets) * self._inverses
        return shingles


def similarity(left: Bits, right: Bits, least: int = 1) -> NDArray[np.float32]:
    """Estimated similarity of rows of slots, shape (..., slots) each; 0 where fewer than `least` slots speak."""
    speak = (left != EMPTY) & (right != EMPTY)
    equal = np.count_nonzero((left == right) & speak, axis=-1)
    count = np.count_nonzero(speak, axis=-1)
    return np.where(count >= least, equal / np.maximum(count, 1), 0.0).astype(np.float32)
