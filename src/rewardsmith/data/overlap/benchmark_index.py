"""Finds texts that hold a benchmark's prompt, whole or edited: an index of the prompts, searched by each text once.

    index = BenchmarkIndex(words, groups)     # Q distinct prompts; the benchmark of each
    matches = index.search(texts)             # Words of T training prompts → Matches

Two shares decide, of one prompt in one text:

ngrams   the share of the prompt's words that lie in an n-gram of 8 words which the text has too; a prompt counts above
         one half. This is the decontamination of Tülu 3 (Lambert et al. 2024, section 3.2; allenai/open-instruct,
         decontamination/search.py). A prompt of fewer than 20 words has to be there as a whole: "Tom has 5 apples,
         Ann 9. How many has the one with fewer?" is another question with another number, and upstream's rule would
         find it by the rest.
near     the share of the prompt's word triples that the text has too; a prompt of 20 words counts from 0.6. It sees
         copies with every tenth word edited (0.73) and moved sentences, which break the runs of eight words.

What stands in more than 1 % of a benchmark's prompts (and in more than 3) is the form of its questions and not one of
them ("What is the capital of …"); only n-grams beyond it count, in numerator and denominator. A prompt without any is
found only where the whole text equals it, word for word. Upstream counts forms like any other words.

Memory is that of the benchmarks, in sorted arrays; a text costs a look-up per n-gram in a bit table of 16 MiB, and more
only where that says yes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.words import Hashes, Ngrams, Words, ngrams, ranges, starts_of

RUN = 8
ABOVE = 0.5
"""Tülu 3: n-grams of 8 tokens, more than half of the tokens."""

TRIPLE = 3
NEAR = 0.6
LEAST_TRIPLES = 18

COMMON_SHARE = 0.01
COMMON_LEAST = 3

_BITS = 24
_SHIFT = np.uint64(64 - _BITS)


@dataclass(frozen=True, slots=True)
class Matches:
    """Prompts found in texts. All arrays (M,); a text may hold several prompts.

    text, prompt   indices
    rule           0 equal, 1 ngrams, 2 near (`RULES`)
    share          of the prompt, by that rule
    """

    text: NDArray[np.int32]
    prompt: NDArray[np.int32]
    rule: NDArray[np.int8]
    share: NDArray[np.float32]


RULES = ("equal", "ngrams", "near")


@dataclass(frozen=True, slots=True)
class _Grams:
    """The telling n-grams of all prompts.

    hashes (G,)      distinct, ascending
    is_known (2**24,)  whether any hash begins with these bits
    starts (G+1,)    where n-gram g stands: prompt[starts[g]:starts[g+1]], at these places
    prompt, place    (O,)
    """

    hashes: Hashes
    is_known: NDArray[np.bool_]
    starts: NDArray[np.int64]
    prompt: NDArray[np.int64]
    place: NDArray[np.int64]

    def hits(self, grams: Ngrams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Texts and the occurrences in prompts of the n-grams that they hold: (H,), (H,), each once."""
        maybe = np.flatnonzero(self.is_known[grams.hashes >> _SHIFT])
        wanted = grams.hashes[maybe]
        found = np.searchsorted(self.hashes, wanted)
        is_there = self.hashes[np.minimum(found, len(self.hashes) - 1)] == wanted
        pairs = np.unique(grams.text[maybe[is_there]] * len(self.hashes) + found[is_there])
        text, gram = pairs // len(self.hashes), pairs % len(self.hashes)
        counts = np.diff(self.starts)[gram]
        return np.repeat(text, counts), ranges(self.starts[gram], counts)


class BenchmarkIndex:
    """Holds the prompts of all benchmarks."""

    def __init__(self, prompts: Words, holders: NDArray[np.int64], benchmarks: NDArray[np.int64]) -> None:
        """Index Q prompts.

        Args:
            prompts: their words, no two texts equal.
            holders: prompt of each (prompt, benchmark) that belong together, shape (B,).
            benchmarks: benchmark of each, shape (B,).
        """
        self._size = len(prompts.starts) - 1
        digests = prompts.digests()
        self._order = np.argsort(digests)
        self._digests = digests[self._order]
        self._runs = _telling(ngrams(prompts, RUN), self._size, holders, benchmarks)
        self._triples = _telling(ngrams(prompts, TRIPLE), self._size, holders, benchmarks)
        self._words = np.zeros(self._size, np.int64)
        covered, words = _covered(self._runs.prompt, self._runs.place)
        self._words[covered] = words
        self._own_triples = np.bincount(self._triples.prompt, minlength=self._size)

    def search(self, texts: Words) -> Matches:
        """The prompts that each text holds, under the first rule that says so."""
        parts = [self._equal(texts), self._by_runs(texts), self._by_triples(texts)]
        pair = np.concatenate([part[0] for part in parts])
        rule = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        share = np.concatenate([part[1] for part in parts])
        pair, first = np.unique(pair, return_index=True)
        return Matches(
            (pair // max(self._size, 1)).astype(np.int32),
            (pair % max(self._size, 1)).astype(np.int32),
            rule[first].astype(np.int8),
            share[first].astype(np.float32),
        )

    def _equal(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        digests = texts.digests()
        found = np.minimum(np.searchsorted(self._digests, digests), max(self._size - 1, 0))
        equal = np.flatnonzero((self._digests[found] == digests) & (digests != 0)) if self._size else found[:0]
        return equal * self._size + self._order[found[equal]], np.ones(len(equal))

    def _by_runs(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        text, occurrence = self._runs.hits(ngrams(texts, RUN))
        pairs, covered = _covered(text * self._size + self._runs.prompt[occurrence], self._runs.place[occurrence])
        prompt = pairs % max(self._size, 1)
        share = covered / np.maximum(self._words[prompt], 1)
        found = np.where(self._own_triples[prompt] < LEAST_TRIPLES, share == 1, share > ABOVE)
        return pairs[found], share[found]

    def _by_triples(self, texts: Words) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        text, occurrence = self._triples.hits(ngrams(texts, TRIPLE))
        pairs, found = np.unique(text * self._size + self._triples.prompt[occurrence], return_counts=True)
        own = self._own_triples[pairs % max(self._size, 1)]
        share = found / np.maximum(own, 1)
        near = (share >= NEAR) & (own >= LEAST_TRIPLES)
        return pairs[near], share[near]


def _covered(keys: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each distinct key how many words its runs cover: a run has `RUN` words, overlaps count once."""
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    is_last = np.ones(len(keys), np.bool_)
    is_last[:-1] = keys[1:] != keys[:-1]
    added = np.full(len(keys), RUN)
    added[:-1] = np.where(is_last[:-1], RUN, np.minimum(np.diff(places), RUN))
    ends = np.flatnonzero(is_last)
    totals = np.concatenate(([0], np.cumsum(added)[ends]))
    return keys[ends], np.diff(totals)


def _telling(grams: Ngrams, size: int, holders: NDArray[np.int64], benchmarks: NDArray[np.int64]) -> _Grams:
    """An index of the n-grams that are not the form of a benchmark's questions."""
    hashes, gram = np.unique(grams.hashes, return_inverse=True)
    gram = gram.reshape(-1)
    is_common = _is_common(gram, grams.text, len(hashes), size, holders, benchmarks)
    kept = np.flatnonzero(~is_common[gram])
    kept = kept[np.argsort(gram[kept], kind="stable")]
    hashes, counts = np.unique(hashes[gram[kept]], return_counts=True)
    is_known = np.zeros(1 << _BITS, np.bool_)
    is_known[hashes >> _SHIFT] = True
    return _Grams(hashes, is_known, starts_of(counts), grams.text[kept], grams.place[kept])


def _is_common(
    gram: NDArray[np.int64],
    prompt: NDArray[np.int64],
    grams: int,
    prompts: int,
    holders: NDArray[np.int64],
    benchmarks: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether each n-gram stands in more prompts of some benchmark than a question of its own would."""
    occurrences = np.unique(gram * max(prompts, 1) + prompt)
    gram, prompt = occurrences // max(prompts, 1), occurrences % max(prompts, 1)
    counts = np.bincount(holders, minlength=prompts)
    benchmark_of = benchmarks[np.argsort(holders, kind="stable")]
    repeated = counts[prompt]
    benchmark = benchmark_of[ranges(starts_of(counts)[prompt], repeated)]
    sizes = np.bincount(benchmarks, minlength=1)
    keys, found = np.unique(np.repeat(gram, repeated) * len(sizes) + benchmark, return_counts=True)
    limit = np.maximum(COMMON_LEAST, COMMON_SHARE * sizes)
    is_common = np.zeros(grams, np.bool_)
    is_common[keys[found > limit[keys % len(sizes)]] // len(sizes)] = True
    return is_common
