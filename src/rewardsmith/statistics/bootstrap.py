"""Sums over resampled units: the bootstrap of every statistic that is a function of such sums.

In: units, each with its shares of the sums that a statistic needs. Out: the sums under resampling, from which the
caller computes its statistic. The columns of several models side by side give a paired bootstrap: each resample draws
the same units for all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.statistics.intervals import CONFIDENCE, Floats, Interval

RESAMPLES = 10_000

_BLOCK_CELLS = 4_000_000


def bootstrap_sums(units_UF: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Sums of each column over resampled units: the bootstrap of every statistic that is a function of such sums.

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
