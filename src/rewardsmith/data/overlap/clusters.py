"""Clusters of like items, at a cost that grows with their number and not with its square.

    labels = connect(len(items), band_keys, alike)       # band_keys: arrays of keys, one per band
    labels = cluster_texts(sketches)                     # near-duplicate texts: labels[i] == labels[j]

Locality-sensitive hashing (Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4):
items with an equal key in any band are candidates. In a bucket each item is compared with the first one and with the
one before it, never all with all; candidates count only if `alike` confirms them. With two slots a band and 28 bands,
two texts of similarity s meet with probability 1 - (1 - s²)**28: 0.998 at 0.45.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.minhash import EMPTY
from rewardsmith.data.overlap.sketches import Sketches
from rewardsmith.data.overlap.words import Hashes

Labels = NDArray[np.int64]
"""Cluster of each item: the index of its first item."""

Alike = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Whether items are alike, pair by pair: (C,), (C,) → (C,)."""

ALIKE = 0.35
"""Similarity of near-duplicates. One word in ten edited leaves 0.51 of a text of 30 words (19 of 28 shingles on either
side), a prefix of 30 words leaves 0.48; texts that have only their subject in common stay below 0.1. The estimate over
56 slots is off by 0.07."""

# A cluster this large has grown by chains (A like B, B like C, and A unlike C); it is cut at a stricter similarity.
_LARGE = 100
_LARGE_SHARE = 0.01
_STRICTER = (0.6, 0.8)


def connect(size: int, bands: Iterable[Hashes], alike: Alike) -> Labels:
    """Connected components of what is alike among `size` items.

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
        while not np.array_equal(shorter := labels[labels], labels):
            labels = shorter


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


def _distinct(digests: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first text of each digest, ascending, and for every text which of these it equals."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]
