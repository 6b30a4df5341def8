"""Texts that are nearly the same, found at a cost that grows with their number and not with its square.

    book = SketchBook(64, np.uint32)
    book.add(words, digests)                   # a chunk of texts, again and again
    sketches = book.close()                    # digests, slots, counts: about 270 bytes a text at 64 slots
    labels = cluster_texts(sketches)           # near-duplicate texts: labels[i] == labels[j]
    labels = connect(len(items), band_keys, alike)       # the same of any items; band_keys: arrays of keys, one a band

A sketch is a MinHash signature (Broder 1997): the share of equal slots estimates the Jaccard similarity of two sets.

    slots = MinHash(64).sign(sets)             # (T, 64) uint32
    similarity(slots[i], slots[j])             # about |A ∩ B| / |A ∪ B|
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.words import CommonShingles, Hashes, ShingleSets, Words, shingle_sets, starts_of

Labels = NDArray[np.int64]
"""Cluster of each item: the index of its first item."""

ALIKE = 0.35
"""Similarity of near-duplicates. One word in ten edited leaves 0.51 of a text of 30 words (19 of 28 shingles on either
side), a prefix of 30 words leaves 0.48; texts that have only their subject in common stay below 0.1. The estimate over
56 slots is off by 0.07."""

# A cluster this large has grown by chains (A like B, B like C, and A unlike C); it is cut at a stricter similarity.
_LARGE = 100
_LARGE_SHARE = 0.01
_STRICTER = (0.6, 0.8)


def cluster_texts(sketches: Sketches) -> Labels:
    """Clusters of near-duplicate texts, equal ones included. A short text is alone with its equals."""
    first, distinct = _distinct(sketches.digests)
    labels = _cut_chains(sketches, first, _cluster(sketches, first, ALIKE))
    return first[labels][distinct]


def _cluster(sketches: Sketches, texts: NDArray[np.int64], threshold: float) -> Labels:
    """Clusters of some texts, in the numbering of `texts`."""
    members = np.flatnonzero(~sketches.is_short[texts])
    rows = texts[members]
    found = connect(
        len(rows),
        _band_keys(sketches, rows),
        lambda left, right: sketches.similarity(rows[left], rows[right]) >= threshold,
    )
    labels = np.arange(len(texts))
    labels[members] = members[found]
    return labels


def _cut_chains(sketches: Sketches, texts: NDArray[np.int64], labels: Labels) -> Labels:
    """Cluster again, at stricter similarities, what has become too large."""
    for threshold in _STRICTER:
        sizes = np.bincount(labels, minlength=len(labels))
        large = np.flatnonzero(sizes[labels] > max(_LARGE, _LARGE_SHARE * len(labels)))
        if not len(large):
            break
        labels = labels.copy()
        labels[large] = large[_cluster(sketches, texts[large], threshold)]
    return labels


def _band_keys(sketches: Sketches, rows: NDArray[np.int64]) -> Iterator[Hashes]:
    for slot in range(0, sketches.slots.shape[1] - 1, 2):
        one, two = sketches.slots[rows, slot], sketches.slots[rows, slot + 1]
        keys = one.astype(np.uint64) << np.uint64(32) | two
        keys[(one == EMPTY) | (two == EMPTY)] = 0
        yield keys


def _distinct(digests: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first text of each digest, ascending, and for every text which of these it equals."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


Alike = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Whether items are alike, pair by pair: (C,), (C,) → (C,)."""


def connect(size: int, bands: Iterable[Hashes], alike: Alike) -> Labels:
    """Connected components of what is alike among `size` items, at a cost that grows with their number.

    Locality-sensitive hashing (Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
    3.4): items with an equal key in any band are candidates. In a bucket each item is compared with the first one and
    with the one before it, never all with all; candidates count only if `alike` confirms them. With two slots a band
    and 28 bands, two texts of similarity s meet with probability 1 - (1 - s²)**28: 0.998 at 0.45.

    Args:
        size: number of items.
        bands: keys (size,) of each band; 0 says nothing.
        alike: confirms candidates.
    """
    labels = np.arange(size)
    for keys in bands:
        left, right = _candidates(keys)
        apart = labels[left] != labels[right]
        left, right = left[apart], right[apart]
        confirmed = alike(left, right)
        labels = merge(labels, left[confirmed], right[confirmed])
    return labels


def merge(labels: Labels, left: NDArray[np.int64], right: NDArray[np.int64]) -> Labels:
    """The labels after left[i] and right[i] have become one cluster, for all i."""
    labels = labels.copy()
    while True:
        low, high = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
        apart = low < high
        if not apart.any():
            return labels
        np.minimum.at(labels, high[apart], low[apart])
        # Pointer jumping: each label becomes its label's label until all are roots.
        while not np.array_equal(shorter := labels[labels], labels):
            labels = shorter


def _candidates(keys: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of items with one key: each with the first of its bucket, and with the one before it."""
    some = np.flatnonzero(keys)
    order = some[np.argsort(keys[some], kind="stable")]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = keys[order[1:]] != keys[order[:-1]]
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(is_new, place, 0))
    later, third = np.flatnonzero(~is_new), np.flatnonzero(place - first > 1)
    return (
        np.concatenate([order[first[later]], order[third - 1]]),
        np.concatenate([order[later], order[third]]),
    )


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
    """Grows by `add`, and gives the sketches at the end.

    A text is sketched by its own shingles, those that are not common. Texts pass once, so that the first hundred uses
    of a boilerplate are sketched before it is known as such; `close` then empties the slots that it won, which slots of
    16 bits do not allow. A text with fewer than 18 shingles of its own (20 words) is known by its digest only: there,
    one word in twenty is less than a word, and an edit may be the very fact that is asked for.
    """

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


Slots = NDArray[np.uint32]
Bits = NDArray[np.uint32] | NDArray[np.uint16]
"""Slots, or their upper halves."""

EMPTY = np.uint32(0)
"""A slot that says nothing."""

_SEED = 20030609
_MODULUS = 1 << 32


class MinHash:
    """`slots` permutations, the same in every process.

    Slot k keeps the smallest value of the permutation x → a_k x + b_k modulo 2**32 over a set. The permutation can be
    undone, so a slot still says which shingle won it: a slot that a common shingle won is taken out later (`EMPTY`),
    and the slots that remain estimate the similarity of what is left. Two slots agree by chance with probability
    2**-32.
    """

    def __init__(self, slots: int) -> None:
        rng = np.random.default_rng(_SEED)
        self.slots = slots
        # Odd, so that multiplying modulo 2**32 is a permutation and has an inverse, which `winners` needs.
        self._factors = rng.integers(0, _MODULUS, slots, np.uint32) | np.uint32(1)
        self._offsets = rng.integers(0, _MODULUS, slots, np.uint32)
        self._inverses = np.array([pow(int(factor), -1, _MODULUS) for factor in self._factors], np.uint32)

    def sign(self, sets: ShingleSets) -> Slots:
        """Signatures (T, slots); those of empty sets are `EMPTY`."""
        signatures = np.full((self.slots, len(sets.counts)), EMPTY)
        some = sets.counts > 0
        if not some.any():
            return signatures.T.copy()
        # For an empty set reduceat would answer with the first value of the set behind it.
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
        # uint32 wraps around, which is the modulus.
        shingles: NDArray[np.uint32] = (slots - self._offsets) * self._inverses
        return shingles


def similarity(left: Bits, right: Bits, least: int = 1) -> NDArray[np.float32]:
    """Estimated similarity of rows of slots, shape (..., slots) each; 0 where fewer than `least` slots speak."""
    speak = (left != EMPTY) & (right != EMPTY)
    equal = np.count_nonzero((left == right) & speak, axis=-1)
    count = np.count_nonzero(speak, axis=-1)
    return np.where(count >= least, equal / np.maximum(count, 1), 0.0).astype(np.float32)
