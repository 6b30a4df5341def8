"""Runs of words: n-grams in their order, and shingles, the set of a text's n-grams.

    grams = ngrams(words, 8)              # every n-gram with its text and place
    sets = shingle_sets(words, 3)         # 32 bits a shingle, each once per text

The Jaccard similarity of two shingle sets (Broder 1997) falls to about s / (2 - s) with s = (1 - p)**n when a share p
of the words is edited: 0.75 for one word in twenty and n = 3, 0.57 for one in ten. Moving a sentence costs two
shingles at each seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.words import Hashes, Starts, Words, mix, starts_of

_FACTOR = 0xD6E8FEB86659FD93  # odd


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Every run of n words that stays within one text.

    hashes (G,)  64-bit hash of each run
    text (G,)    which text it stands in, ascending
    place (G,)   number of its first word within that text
    """

    hashes: Hashes
    text: NDArray[np.int64]
    place: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """The distinct shingles of T texts: text t has `values[starts[t]:starts[t + 1]]`, ascending.

    values (S,)    32 bits of each shingle's hash
    starts (T+1,)  ascending, from 0 to S
    """

    values: NDArray[np.uint32]
    starts: Starts

    @property
    def counts(self) -> Starts:
        """Distinct shingles of each text, shape (T,)."""
        return np.diff(self.starts)

    def only(self, keep: NDArray[np.bool_]) -> ShingleSets:
        """The sets without the shingles that `keep` (S,) says no to."""
        kept = np.concatenate(([0], np.cumsum(keep)))
        return ShingleSets(self.values[keep], kept[self.starts])

    def of(self, texts: NDArray[np.int64]) -> ShingleSets:
        """The sets of some texts."""
        counts = self.counts[texts]
        starts = starts_of(counts)
        return ShingleSets(self.values[ranges(self.starts[texts], counts)], starts)


def ngrams(words: Words, n: int) -> Ngrams:
    """All n-grams of each text; a text of fewer words has none."""
    starts_at = _ngram_starts(words, n)
    text = np.repeat(np.arange(len(words.starts) - 1), np.maximum(words.counts - n + 1, 0))
    return Ngrams(_hash_runs(words.hashes, n)[starts_at], text, starts_at - words.starts[text])


def shingle_sets(words: Words, n: int) -> ShingleSets:
    """The set of n-grams of each text; a text of fewer words has none."""
    counts = np.maximum(words.counts - n + 1, 0)
    text = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    hashes = _hash_runs(words.hashes, n)[_ngram_starts(words, n)]
    keys = np.sort((text << np.uint64(32)) | (hashes >> np.uint64(32)))
    if len(keys):
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
    bounds = np.arange(len(counts) + 1, dtype=np.uint64) << np.uint64(32)
    return ShingleSets(keys.astype(np.uint32), np.searchsorted(keys, bounds))


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start, start + 1, …` for each start, `count` of them, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def _ngram_starts(words: Words, n: int) -> NDArray[np.int64]:
    return ranges(words.starts[:-1], np.maximum(words.counts - n + 1, 0))


def _hash_runs(hashes: Hashes, n: int) -> Hashes:
    """Hash of the n words from each place on, across the bounds of texts as well; shape (W - n + 1,)."""
    size = max(len(hashes) - n + 1, 0)
    total = np.zeros(size, np.uint64)
    for offset in range(n):  # Horner's rule
        total *= np.uint64(_FACTOR)
        total += hashes[offset : offset + size]
    return mix(total)
