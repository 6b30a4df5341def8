"""How often one thing alone names the chosen response: "the response with more of it is chosen".

    tallies = tally(signs_NR, prompts_N)        # R rules over the same N pairs
    tallies.interval(3)                         # of the third rule's accuracy
    tallies.records()                           # LoneRule each, with p-values corrected over the R rules

`signs` is 1 where the chosen response has more of it, -1 where the rejected has, 0 where both have as much; dense or
sparse. `prompts` numbers the prompts.

Pairs of one prompt are not independent: with 20 pairs a prompt, 5,000 pairs may be worth 500. The linearised variance
of a ratio over clusters (Cochran 1977, Sampling Techniques, chapter 11) says how many independent pairs would be as
uncertain; Wilson's interval and the binomial test then take that number, rounded down and never above the true one.
Where every pair agrees, the variance says nothing, and each prompt counts as one pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from rewardsmith import statistics
from rewardsmith.records import Estimate, LoneRule
from rewardsmith.statistics import Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHANCE = 0.5
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Tallies:
    """R rules over `pairs` pairs: how often each is right (`more`), wrong (`less`), and how many pairs it is worth."""

    pairs: int
    more: Ints
    less: Ints
    effective: Ints

    @property
    def accuracy(self) -> Floats:
        """Share of right decisions, shape (R,); 0.5 where nothing differs."""
        decided = self.more + self.less
        share: Floats = np.divide(self.more, decided, out=np.full(len(decided), CHANCE), where=decided > 0)
        return share

    def since(self, first: int) -> Tallies:
        """The rules from this one on."""
        return Tallies(self.pairs, self.more[first:], self.less[first:], self.effective[first:])

    def interval(self, index: int, confidence: float = statistics.CONFIDENCE) -> Interval:
        """Of one rule's accuracy; the whole range where no pair differs."""
        n = int(self.effective[index])
        if n == 0:
            return Interval(0.0, 1.0)
        return statistics.wilson_interval(float(self.accuracy[index]) * n, n, confidence)

    def p_values(self) -> Floats:
        """Two-sided against a coin, shape (R,), not corrected."""
        larger = np.maximum(self.accuracy, 1 - self.accuracy)
        tests = (
            min(1.0, 2 * statistics.binomial_p_value(share * n, int(n), CHANCE)) if n else 1.0
            for share, n in zip(larger.tolist(), self.effective.tolist(), strict=True)
        )
        return np.fromiter(tests, dtype=np.float64, count=len(larger))

    def record(self, index: int, p_value: float | None) -> LoneRule:
        """One rule as the report gets it."""
        more, less = int(self.more[index]), int(self.less[index])
        decided = more + less
        known = {}
        if decided:
            interval = self.interval(index)
            known = {"accuracy": more / decided, "ci_low": interval.low, "ci_high": interval.high, "p_value": p_value}
        return LoneRule(
            more=more,
            less=less,
            equal=self.pairs - decided,
            effective=int(self.effective[index]),
            coverage=decided / self.pairs if self.pairs else 0.0,
            **known,
        )

    def records(self) -> list[LoneRule]:
        """All rules, their p-values corrected over all of them."""
        p_values = statistics.holm(self.p_values().tolist())
        return [self.record(index, p_value) for index, p_value in enumerate(p_values)]


def tally(signs_NR: Any, prompts_N: Ints) -> Tallies:
    """Count right and wrong decisions of each column.

    Args:
        signs_NR: 1, 0 and -1; a numpy array or a scipy sparse matrix.
        prompts_N: number of each pair's prompt, from 0.
    """
    more, less = (np.asarray((signs_NR == sign).sum(axis=0), dtype=np.int64).reshape(-1) for sign in (1, -1))
    decided = more + less
    squares, products, counts, prompts = _cluster_sums(signs_NR, prompts_N)
    mean = np.divide(more - less, decided, out=np.zeros(len(decided)), where=decided > 0)
    spread = squares - 2 * mean * products + mean**2 * counts  # sum over prompts of (sum - mean * count) ** 2
    varies = (np.abs(mean) < 1) & (spread > 0)
    worth = np.divide(decided**2 * (1 - mean**2), spread, out=prompts.astype(np.float64), where=varies)
    effective = np.minimum(np.floor(worth + _ROUNDING), decided).astype(np.int64)
    return Tallies(signs_NR.shape[0], more, less, np.maximum(effective, np.minimum(decided, 1)))


def share_of(values_N: Floats, prompts_N: Ints) -> Estimate:
    """The mean of values in [0, 1] over at least one pair, with Wilson's interval at what the pairs are worth."""
    sums = statistics.grouped_sums(values_N, prompts_N)
    n, mean = len(values_N), float(np.mean(values_N))
    spread = float(((sums[:, 0] - mean * sums[:, 1]) ** 2).sum())
    worth = mean * (1 - mean) * n**2 / spread if spread > _ROUNDING else len(sums)
    effective = max(1, math.floor(min(worth + _ROUNDING, n)))
    interval = statistics.wilson_interval(mean * effective, effective)
    return Estimate(value=mean, ci_low=interval.low, ci_high=interval.high)


def _cluster_sums(signs_NR: Any, prompts_N: Ints) -> tuple[Floats, Floats, Floats, Ints]:
    """Sums over prompts of S², S N and N² (S: sum of a prompt's signs, N: its decided pairs); prompts with N > 0."""
    columns = (_sparse_sums if issparse(signs_NR) else _dense_sums)(signs_NR, prompts_N)
    squares, products, counts, prompts = (np.array(column, dtype=np.float64) for column in columns)
    return squares, products, counts, prompts.astype(np.int64)


def _dense_sums(signs_NR: NDArray[np.int8], prompts_N: Ints) -> Any:
    rows = []
    for sign_N in signs_NR.T:
        sums = np.bincount(prompts_N, weights=sign_N)
        counts = np.bincount(prompts_N, weights=sign_N != 0)
        rows.append((sums @ sums, sums @ counts, counts @ counts, np.count_nonzero(counts)))
    return zip(*rows, strict=True) if rows else ((), (), (), ())


def _sparse_sums(signs_NR: csr_matrix, prompts_N: Ints) -> Any:
    """By a (prompts, N) matrix of ones: the sums of every prompt at once."""
    n = len(prompts_N)
    by_prompt = csr_matrix((np.ones(n, dtype=np.int32), (prompts_N, np.arange(n))))
    sums = (by_prompt @ signs_NR.astype(np.int32)).tocsr()
    counts = (by_prompt @ abs(signs_NR).astype(np.int32)).tocsr()
    parts = (sums.multiply(sums), sums.multiply(counts), counts.multiply(counts), counts > 0)
    return [np.asarray(part.sum(axis=0)).reshape(-1) for part in parts]
