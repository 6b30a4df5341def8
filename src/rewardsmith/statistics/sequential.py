"""Tests and intervals that may be looked at after every observation, as often as one likes.

    evidence_below(values, mean)     e-values of "the conditional means are not below `mean`", one after each value
    change_point(values, mean)       where the values that speak most against it begin
    mean_sequence(values)            a confidence sequence of the running mean

An e-value is the wealth of somebody who bets against a hypothesis at fair or unfavourable odds, and began with 1.
Ville's inequality (1939) bounds the probability that it *ever* reaches 1/α by α where the hypothesis holds, whatever is
looked at, and whenever one stops. Betting on the mean of bounded values is Waudby-Smith and Ramdas 2024 (J. R. Statist.
Soc. B 86:1, section 4); nothing is assumed but that each value lies in [0, 1] and that its mean, given all that came
before, is not below the limit. Values may depend on each other.

What is watched is fine at first and goes wrong later, so that one wealth from the beginning would have lost most of
itself by then. The wealth is therefore spread beforehand over all times at which betting may begin, with weights
1/(k (k + 1)) for the k-th batch of values: a mixture of e-processes is one (Shin, Ramdas and Rinaldo 2024,
"E-detectors", New England J. Statistics in Data Science, who mix with such weights to hold α over an endless stream).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rewardsmith.statistics.intervals import CONFIDENCE, Floats

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Bets, as shares of the largest one that can never lose all; each gets an equal part of the wealth."""


def evidence_below(values: ArrayLike, mean: ArrayLike, batches: ArrayLike | None = None) -> Floats:
    """E-values against "no conditional mean is below `mean`", after each value.

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
