"""How sure one score is: intervals and p-values for rows, for groups, and for values that keep coming.

    wilson_interval      n independent results in [0, 1]
    bootstrap_sums       sums over resampled units: the bootstrap of every statistic that is a function of such sums
    score_interval       any score in [0, 1] whose bootstrap over groups is known
    weighted_interval    a weighted mean of independent scores, each with its interval
    holm                 many p-values at once: how small they are when one remembers how many were looked at
    evidence_below, change_point, mean_sequence      may be looked at after every value, as often as one likes

Why not the percentiles of the bootstrap: over 100 groups of unequal size, with answers of one group alike, they hold
a true score of 0.9 in 91 to 92 % of cases instead of 95 %, and when every group is right they shrink to a point.
Here the bootstrap says how much the score varies, and Wilson's form turns that into an interval. Coverage of both
stands in bench/results/coverage.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats would take most of a second to load

Floats = NDArray[np.float64]

CONFIDENCE = 0.95

# Sums of shares such as 1/3 miss whole numbers by rounding: a total of 7 + 1e-15 is 7.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of the statistic."""

    low: float
    high: float


def wilson_interval(total: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for the mean of `n` independent results (Wilson 1927).

    Args:
        total: the sum of the results: successes where each is 0 or 1. A result may lie between (1/m for a chosen
            response among m equal rewards): the variance of results in [0, 1] with mean p is at most p (1 - p), that
            of 0/1 results, so that the interval then covers at least as often (97 to 99 % in bench/coverage.py).
        n: the number of results, at least 1.
        confidence: share of such intervals that hold the true value.

    Raises:
        ValueError: `total` is not within [0, n] or `n` is below 1.
    """
    if n < 1 or not -_ROUNDING <= total <= n + _ROUNDING:
        raise ValueError(f"need 0 <= total <= n and n >= 1, found total {total} of {n}")
    return _wilson(min(max(total / n, 0.0), 1.0), n, float(special.ndtri((1 + confidence) / 2)))


def binomial_p_value(total: float, n: int, baseline: float) -> float:
    """One-sided probability that chance reaches `total` or more of `n`, each row right with probability `baseline`.

    Exact where all rows share one baseline. With the mean of different ones it is conservative for totals above the
    expected one (Hoeffding 1956, theorem 4). A fractional total is compared as it is: chance must reach at least it.
    """
    # bdtrc(k) is the chance of more than k.
    return float(special.bdtrc(math.ceil(total - _ROUNDING) - 1, n, baseline))


def score_interval(score: float, samples: ArrayLike, units: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a score over groups: Wilson's form at the effective sample size that the bootstrap shows.

    The variance of a proportion over n independent rows is p (1 - p) / n; so `n_eff = score (1 - score) / variance`
    independent rows would make the score as uncertain as the bootstrap over `units` groups says that it is. Wilson's
    form then takes n_eff for n, and Student's t with `units - 1` degrees of freedom for the normal quantile. Korn and
    Graubard 1998 (Survey Methodology 24:193) have the effective size; of the intervals for clustered proportions that
    Dean and Pagano 2015 (J. Survey Statistics and Methodology 3:484) compare, Wilson's form covers best. Where every
    unit gave the same, the variance says nothing and each unit counts as one row: the interval is never a point.

    Args:
        score: in [0, 1], or a little outside (RewardBench 2's Ties reaches -0.01 and 1.01); the interval holds it.
        samples: the score under resampled units, shape (resamples,).
        units: the number of independent units that were resampled.
        confidence: share of such intervals that hold the true value.
    """
    if units < 2:
        return Interval(min(0.0, score), max(1.0, score))
    p = min(max(score, 0.0), 1.0)
    reach = float(special.stdtrit(units - 1, (1 + confidence) / 2))
    found = _wilson(p, _effective_size(p, samples, units), reach)
    return Interval(min(found.low, score), max(found.high, score))


def score_p_value(score: float, samples: ArrayLike, units: int, baseline: float) -> float:
    """One-sided p-value of a score over groups against `baseline`: the test that `score_interval` inverts."""
    if units < 2:
        return 1.0
    if not 0 < baseline < 1:
        return 0.0 if score > baseline else 1.0
    p = min(max(score, 0.0), 1.0)
    deviation = math.sqrt(baseline * (1 - baseline) / _effective_size(p, samples, units))
    return float(special.stdtr(units - 1, (baseline - score) / deviation))


def weighted_interval(
    scores: Sequence[float], intervals: Sequence[Interval], weights: Sequence[float]
) -> tuple[float, Interval]:
    """A weighted mean of independent scores, and its interval from theirs; `weights` ≥ 0 that sum to 1.

    Each side is the root of the sum of the squared weighted distances from score to limit (MOVER; Zou and Donner 2008,
    Statistics in Medicine 27:1693): it keeps each interval's asymmetry, and a subset that is all right adds its
    uncertainty, where a bootstrap of it would add none.
    """
    mean = float(np.dot(weights, scores))
    below = math.sqrt(sum((w * (s - i.low)) ** 2 for w, s, i in zip(weights, scores, intervals, strict=True)))
    above = math.sqrt(sum((w * (i.high - s)) ** 2 for w, s, i in zip(weights, scores, intervals, strict=True)))
    return mean, Interval(mean - below, mean + above)


def _wilson(p: float, n: float, z: float) -> Interval:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half) if p > 0 else 0.0, min(1.0, centre + half) if p < 1 else 1.0)


def _effective_size(p: float, samples: ArrayLike, units: int) -> float:
    """The independent rows that would be as uncertain. units / (units - 1) undoes the bootstrap's narrowness."""
    variance = float(np.var(np.asarray(samples, dtype=np.float64))) * units / (units - 1)
    return p * (1 - p) / variance if variance > _ROUNDING**2 and 0 < p < 1 else float(units)


RESAMPLES = 10_000

# Counts that are drawn at a time: 32 MB as integers, and as much again as floats for the product.
_BLOCK_CELLS = 4_000_000


def bootstrap_sums(units_UF: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Sums of each column over resampled units: the bootstrap of every statistic that is a function of such sums.

    The columns of several models side by side give a paired bootstrap: each resample draws the same units for all.

    A unit is what was drawn independently: a row, the pairs of one prompt, a Ties id pair. Its columns are its
    shares of the sums that the statistic needs (for a mean over grouped rows: the sum of results, the number of
    rows). Units with equal columns are interchangeable, so that the counts of *distinct* units are drawn from one
    multinomial: the same distribution as drawing units one by one, and cheap for 0/1 results whatever their number.

    Args:
        units_UF: shape (units, columns), finite.
        seed: of the draws; the same seed and units give the same sums, in whatever order the units come.
        resamples: number of resamples.

    Returns:
        Shape (resamples, columns).

    Raises:
        ValueError: there is no unit.
    """
    units = np.asarray(units_UF, dtype=np.float64)
    if units.ndim != 2 or len(units) == 0:
        raise ValueError(f"need units of shape (units, columns) with at least one unit, found {units.shape}")
    # Sorted too, so that the draws do not depend on the order in which the units come.
    distinct_KF, counts_K = np.unique(units, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    shares_K = counts_K / len(units)
    sums = np.empty((resamples, units.shape[1]))
    block = max(1, _BLOCK_CELLS // len(distinct_KF))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        sums[start : start + size] = rng.multinomial(len(units), shares_K, size=size) @ distinct_KF
    return sums


def grouped_sums(values: ArrayLike, groups: ArrayLike) -> Floats:
    """The units of a mean over grouped rows: shape (groups, 2), the sum of `values` and the number of rows of each
    group.

    `groups` holds one label a row (numbers or strings); rows with equal labels are one unit.
    """
    _, index_N = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index_N, weights=np.asarray(values, dtype=np.float64))
    return np.stack([sums, np.bincount(index_N).astype(np.float64)], axis=1)


def bootstrap_means(
    values: ArrayLike, groups: ArrayLike | None = None, *, seed: int, resamples: int = RESAMPLES
) -> Floats:
    """Bootstrapped means of `values`, shape (resamples,); with `groups`, whole groups are resampled."""
    values_N = np.asarray(values, dtype=np.float64)
    units = grouped_sums(values_N, np.arange(len(values_N)) if groups is None else groups)
    sums = bootstrap_sums(units, seed=seed, resamples=resamples)
    return np.asarray(sums[:, 0] / sums[:, 1], dtype=np.float64)


def percentile_interval(samples: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval of bootstrapped statistics (Efron 1979), for statistics that are no share.

    For scores between 0 and 1 `score_interval` covers better, for differences `Difference.interval`.
    """
    low, high = np.quantile(np.asarray(samples, dtype=np.float64), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979, Scandinavian J. Statistics 6:65).

    To call what is below alpha keeps the chance of even one false call at or below alpha, whatever the dependence
    between the tests. The i-th smallest of m is multiplied by m - i + 1, never falls below the one before it and
    never exceeds 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return tuple(adjusted.tolist())


FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Bets, as shares of the largest one that can never lose all; each gets an equal part of the wealth."""


def evidence_below(values: ArrayLike, mean: ArrayLike, batches: ArrayLike | None = None) -> Floats:
    """E-values against "no conditional mean is below `mean`", after each value.

    An e-value is the wealth of somebody who bets against a hypothesis at fair or unfavourable odds, and began with 1.
    Ville's inequality (1939) bounds the probability that it *ever* reaches 1/α by α where the hypothesis holds,
    whatever is looked at, and whenever one stops. Betting on the mean of bounded values is Waudby-Smith and Ramdas 2024
    (J. R. Statist. Soc. B 86:1, section 4); nothing is assumed but that each value lies in [0, 1] and that its mean,
    given all that came before, is not below the limit. Values may depend on each other.

    What is watched is fine at first and goes wrong later, so that one wealth from the beginning would have lost most of
    itself by then. The wealth is therefore spread beforehand over all times at which betting may begin, with weights
    1/(k (k + 1)) for the k-th batch of values: a mixture of e-processes is one (Shin, Ramdas and Rinaldo 2024,
    "E-detectors", New England J. Statistics in Data Science, who mix with such weights to hold α over an endless
    stream).

    Args:
        values: shape (…, T), in [0, 1]; NaN is no value and changes nothing.
        mean: the limit, strictly between 0 and 1; a number, or one for each series, shape (…).
        batches: shape (T,), not decreasing: betting may begin where the number changes. Each value is one when None.

    Returns:
        Shape (…, T). Reject at level α where it has ever reached 1/α.

    Raises:
        ValueError: a value or the limit lies outside.
    """
    values = np.asarray(values, dtype=np.float64)
    limit = np.broadcast_to(np.asarray(mean, dtype=np.float64), values.shape[:-1])
    _check(values, limit)
    labels = np.arange(values.shape[-1]) if batches is None else np.asarray(batches)
    largest = 1 / (1 - limit)  # a value of 1 leaves 1 - bet * (1 - limit)
    bets_L = np.array(FRACTIONS)
    wealth = np.zeros((*values.shape[:-1], len(bets_L)))
    found = np.empty(values.shape)
    begun = 0
    for place in range(values.shape[-1]):
        if place == 0 or labels[place] != labels[place - 1]:
            begun += 1
            wealth += 1 / (begun * (begun + 1))
        gain = np.nan_to_num(largest * (limit - values[..., place]))
        wealth *= 1 + gain[..., None] * bets_L
        found[..., place] = wealth.mean(axis=-1) + 1 / (begun + 1)  # what has not begun yet lies still
    return found


def change_point(values: ArrayLike, mean: float, batches: ArrayLike | None = None) -> int:
    """The place of the first value of those that speak most against "no conditional mean is below `mean`".

    Of all places at which betting may begin (as in `evidence_below`), the one whose wealth is largest at the end, by
    the best single bet: the maximum likelihood estimate of a change where the bet is a likelihood ratio.

    Args:
        values: shape (T,), at least one, in [0, 1]; NaN is no value.
        mean: the limit, strictly between 0 and 1.
        batches: as in `evidence_below`.
    """
    values = np.asarray(values, dtype=np.float64)
    _check(values, np.asarray(mean))
    labels = np.arange(len(values)) if batches is None else np.asarray(batches)
    gains_TL = np.log1p(np.nan_to_num((mean - values) / (1 - mean))[:, None] * np.array(FRACTIONS))
    rest_TL = np.cumsum(gains_TL[::-1], axis=0)[::-1]
    begins = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
    return int(begins[rest_TL[begins].max(axis=1).argmax()])


def mean_sequence(
    values: ArrayLike, *, span: float = 1.0, around: int = 100, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats, Floats]:
    """Running mean and a confidence sequence of it: with probability `confidence` it holds after *every* value.

    It covers the mean of the conditional means of the values so far, which may change. Robbins' two-sided normal
    mixture (1970, Annals Math. Statist. 41:1397; Howard, Ramdas, McAuliffe and Sekhon 2021, Annals of Statistics
    49:1055, section 3.2) for values within an interval of length `span`, which are sub-Gaussian with span / 2
    (Hoeffding 1963).

    Args:
        values: shape (…, T); NaN is no value.
        span: length of the interval that values lie in.
        around: number of values at which it is narrowest, relative to an interval for that number alone.
        confidence: of all times together.

    Returns:
        Mean, lower and upper limit, shape (…, T) each; NaN before the first value.
    """
    values = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values)
    n = np.cumsum(there, axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.cumsum(np.nan_to_num(values), axis=-1) / n
        half = span / 2 * np.sqrt((n + _mixing(around, confidence)) * _log_term(n, around, confidence)) / n
    none = n == 0
    return tuple(np.where(none, np.nan, one) for one in (mean, mean - half, mean + half))  # type: ignore[return-value]


def _mixing(around: int, confidence: float) -> float:
    """The mixture's rho for intrinsic time `around` (Howard et al. 2021, proposition 3), by Lambert's W."""
    alpha = 1 - confidence
    return float(around / (-special.lambertw(-(alpha**2) / np.e, -1).real - 1))


def _log_term(n: NDArray[np.float64], around: int, confidence: float) -> Floats:
    rho = _mixing(around, confidence)
    return np.asarray(np.log((n + rho) / (rho * (1 - confidence) ** 2)))


def _check(values: Floats, limit: Floats) -> None:
    if np.nanmin(values, initial=0.0) < 0 or np.nanmax(values, initial=1.0) > 1:
        raise ValueError("values must lie in [0, 1]")
    if not ((limit > 0) & (limit < 1)).all():
        raise ValueError("the limit must lie strictly between 0 and 1")
