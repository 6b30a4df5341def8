"""Comparisons: two scores or many on the same units, repeated labels, two kinds under one number, a series in time.

    Difference.of(estimate, samples, units)    two scores, from a paired bootstrap: the difference under resampled units
    weighted_difference(parts, weights)        a weighted mean of independent differences
    mcnemar_p_value(gained, lost)              0/1 results of independent rows
    within(largest_difference(a, b), 1e-4)     whether two sets of numbers are the same; NaN and infinity never are
    rank_scores(scores, samples, errors)       many scores: the best, and which may still be the best
    label_agreement(first_C, all_C)            how often two labels of one comparison agree, and the best accuracy
    auc(right, wrong)                          the chance that a right one stands above a wrong one
    effective_number(counts)                   how many equally frequent kinds would be as varied: a Hill number
    trend_test(values)                         whether a noisy series of training steps rises or falls

*Two scores.* Why not the percentiles of the bootstrap: where two models differ on few rows, all to one side, no
resample can show the other side, and noise is called a winner too often. Bonett and Price 2012 (British J. Mathematical
and Statistical Psychology 65:479) add two rows to the table, one for each side, and use the plain interval of the mean;
it holds its level from a handful of rows on, and is never a point. Here the rows are units, and the bootstrap gives
their variance, so that groups and scores that are no mean (RewardBench 2's Ties) are covered by the same form.

*Many scores.* The highest of many is partly luck: the more checkpoints, the more. So beside the probability of being
the best stands the set of those that cannot be told from the best, with a threshold that grows with their number.

*Repeated labels.* Let q >= 1/2 be the share of annotators who give a comparison's majority label. Two labels agree with
probability f(q) = q^2 + (1 - q)^2, and the best model is right with probability q. Over comparisons with mean
agreement A:

    A <= mean q <= (1 + sqrt(2 A - 1)) / 2

the left because f(q) <= q on [1/2, 1], the right because f is convex (Jensen). The upper bound is reached where all
comparisons are equally hard, the lower where each is either clear or a coin toss. It speaks of the repeated
comparisons; others may be easier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rewardsmith.statistics.intervals import CONFIDENCE, Floats, Interval, wilson_interval

# One for each side: Bonett and Price 2012, as said above.
_PSEUDO_UNITS = 2


def largest_difference(one: ArrayLike, other: ArrayLike) -> float:
    """The largest absolute difference of two arrays of one shape; infinity where either holds NaN or infinity.

    Not numpy's maximum, which answers NaN, and not Python's, which answers NaN or not by the order of its arguments:
    `nan > tolerance` is false, so that a model without one finite reward would pass.
    """
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64))
    return float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))


def within(difference: float, tolerance: float) -> bool:
    """Whether a difference is inside its tolerance: false when either of them is NaN, or the difference infinite."""
    return math.isfinite(difference) and difference <= tolerance


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two scores between 0 and 1 on the same units.

    `estimate` is the difference found; `centre` and `error` are its mean and standard error with one unit more for
    each side; `freedom` counts degrees of freedom, 0 where there are too few units to say anything.
    """

    estimate: float
    centre: float
    error: float
    freedom: float

    @classmethod
    def of(cls, estimate: float, samples: ArrayLike, units: int) -> Difference:
        """From a paired bootstrap.

        Args:
            estimate: second score minus first.
            samples: the same under resampled units, shape (resamples,).
            units: the number of independent units that were resampled.

        The mean square of the units' differences is recovered from the bootstrap's variance (units · variance +
        estimate²) and gets two more units, +1 and -1, whose mean is 0.
        """
        square = units * float(np.var(np.asarray(samples, dtype=np.float64))) + estimate**2
        more = units + _PSEUDO_UNITS
        centre = estimate * units / more
        variance = (units * square + _PSEUDO_UNITS) / more - centre**2
        return cls(estimate, centre, math.sqrt(variance / more), units - 1)

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference; below 1 - confidence exactly where the interval does not hold 0."""
        return float(2 * special.stdtr(self.freedom, -abs(self.centre) / self.error)) if self.freedom > 0 else 1.0

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Student's t around `centre`, within [-1, 1] as differences of shares are; holds `estimate`."""
        reach = self.reach(confidence)
        low, high = max(-1.0, self.centre - reach), min(1.0, self.centre + reach)
        return Interval(min(low, self.estimate), max(high, self.estimate))

    def reach(self, confidence: float = CONFIDENCE) -> float:
        """Half the interval: a difference smaller than this could not have been told from none by these units."""
        if self.freedom <= 0:
            return 1.0
        return float(special.stdtrit(self.freedom, (1 + confidence) / 2)) * self.error


def weighted_difference(parts: Sequence[Difference], weights: Sequence[float]) -> Difference:
    """A weighted mean of independent differences; degrees of freedom by Welch (1947) and Satterthwaite (1946)."""
    used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight > 0]
    variances = [(weight * part.error) ** 2 for part, weight in used]
    lone = any(part.freedom <= 0 for part, _ in used)
    spread = sum(variance**2 / max(part.freedom, 1) for variance, (part, _) in zip(variances, used, strict=True))
    return Difference(
        estimate=sum(weight * part.estimate for part, weight in used),
        centre=sum(weight * part.centre for part, weight in used),
        error=math.sqrt(sum(variances)),
        freedom=0.0 if lone else sum(variances) ** 2 / spread,
    )


def mcnemar_p_value(gained: int, lost: int) -> float:
    """McNemar's exact test, two-sided: were rows won and lost equally likely? (McNemar 1947)

    `gained` rows are right under the second model alone, `lost` under the first alone; rows that agree say nothing. The
    exact binomial form, not the mid-p: it never exceeds its level, and is a little conservative for it.
    """
    n = gained + lost
    return min(1.0, 2 * float(special.bdtr(min(gained, lost), n, 0.5))) if n else 1.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """`probabilities` are the shares of resamples in which each score is the highest, equal ones sharing.

    `candidates` says which cannot be told from the best.
    """

    probabilities: tuple[float, ...]
    candidates: tuple[bool, ...]


def rank_scores(scores: ArrayLike, samples: ArrayLike, errors: ArrayLike) -> Ranking:
    """Rank M scores that were taken on the same units.

    A score stays a candidate unless another one is higher by more than `c` standard errors of their difference. `c` is
    the bootstrap's `CONFIDENCE` quantile of the largest studentised deviation over all its rivals, so that the true
    best is dropped in at most 1 - CONFIDENCE of cases, however many rivals there are (subset selection: Gupta 1965,
    Technometrics 7:225; the critical value by resampling: Hsu 1996, Multiple Comparisons, section 4.2).

    Args:
        scores: shape (M,).
        samples: the scores under resampled units, the same units for all, shape (M, resamples).
        errors: standard error of the difference of each two scores, shape (M, M); the diagonal is not read.
    """
    scores_M, samples_MB = np.asarray(scores, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    errors_MM = np.asarray(errors, dtype=np.float64)
    # Scores that differ by rounding alone share a resample.
    top_MB = samples_MB >= samples_MB.max(axis=0) - 1e-12
    probabilities = (top_MB / top_MB.sum(axis=0)).mean(axis=1)
    candidates = tuple(_may_be_best(place, scores_M, samples_MB, errors_MM) for place in range(len(scores_M)))
    return Ranking(tuple(probabilities.tolist()), candidates)


def _may_be_best(place: int, scores_M: Floats, samples_MB: Floats, errors_MM: Floats) -> bool:
    rivals = np.arange(len(scores_M)) != place
    leads_J = scores_M[rivals] - scores_M[place]
    if not (leads_J > 0).any():
        return True
    deviations_JB = samples_MB[rivals] - samples_MB[place] - leads_J[:, None]
    spread_J = deviations_JB.std(axis=1)
    # A rival at a constant distance has nothing to studentise; its lead is held against its error all the same.
    studentised_JB = np.abs(deviations_JB[spread_J > 0]) / spread_J[spread_J > 0, None]
    least = float(special.ndtri((1 + CONFIDENCE) / 2))
    # Never below the normal limit of a single comparison.
    critical = max(least, float(np.quantile(studentised_JB.max(axis=0), CONFIDENCE))) if len(studentised_JB) else least
    return bool((leads_J <= critical * errors_MM[place, rivals]).all())


@dataclass(frozen=True, slots=True)
class Agreement:
    """`labels` of `comparisons`; two labels of one agree with probability `agreement`; bounds on the best accuracy."""

    comparisons: int
    labels: int
    agreement: float
    interval: Interval
    ceiling_low: float
    ceiling_high: float


def label_agreement(first_C: ArrayLike, all_C: ArrayLike) -> Agreement | None:
    """Agreement of repeated labels: of every two labels of a comparison, averaged over comparisons.

    The interval is Wilson's over comparisons, conservative where some have more than two labels.

    Args:
        first_C: labels that prefer one given response of the two, shape (C,).
        all_C: labels of the comparison, shape (C,); those with fewer than two are left aside.

    Returns:
        None where no comparison was labelled twice.
    """
    votes_C, first_C = np.asarray(all_C, dtype=np.float64), np.asarray(first_C, dtype=np.float64)
    repeated = votes_C > 1
    votes_C, first_C = votes_C[repeated], first_C[repeated]
    if not len(votes_C):
        return None
    agreeing_C = (_couples(first_C) + _couples(votes_C - first_C)) / _couples(votes_C)
    total = math.fsum(agreeing_C)
    agreement = total / len(votes_C)
    return Agreement(
        comparisons=len(votes_C),
        labels=int(votes_C.sum()),
        agreement=agreement,
        interval=wilson_interval(total, len(votes_C)),
        ceiling_low=max(agreement, 0.5),
        ceiling_high=best_accuracy(agreement),
    )


def best_accuracy(agreement: float) -> float:
    """The upper bound on the accuracy of any model, from how often two labels agree."""
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def _couples(n: Floats) -> Floats:
    return n * (n - 1) / 2


def auc(right: ArrayLike, wrong: ArrayLike) -> float | None:
    """Share of (right, wrong) pairs whose right one is higher, equal ones as half; None without such a pair.

    This is Mann and Whitney's U over the number of pairs, and the area under the ROC curve (Hanley and McNeil 1982,
    Radiology 143:29). Sorted, not paired: n log n.

    Args:
        right: shape (n,); infinities are numbers like others, NaN is not allowed.
        wrong: shape (m,).
    """
    right_N, wrong_M = np.sort(np.asarray(right, dtype=np.float64)), np.asarray(wrong, dtype=np.float64)
    if not right_N.size or not wrong_M.size:
        return None
    below, up_to = (np.searchsorted(right_N, wrong_M, side=side) for side in ("left", "right"))
    return float((right_N.size - (below + up_to) / 2).sum() / (right_N.size * wrong_M.size))


def effective_number(counts: ArrayLike, order: int = 1) -> float:
    """The Hill number of some counts (Hill 1973, Ecology 54:427; Jost 2006, Oikos 113:363): 0 where all are 0.

    Args:
        counts: how often each kind was seen, shape (K,), not negative.
        order: 1: the exponential of the Shannon entropy. 2: the inverse Simpson index, (Σ n)² / Σ n², which weighs
            frequent kinds more.
    """
    counts_K = np.asarray(counts, dtype=np.float64)
    total = float(counts_K.sum())
    if not total:
        return 0.0
    shares_K = counts_K[counts_K > 0] / total
    if order == 2:
        return float(1 / np.sum(shares_K**2))
    return float(np.exp(-np.sum(shares_K * np.log(shares_K))))


TREND_POINTS = 500  # every two are compared: 124,750 slopes, and four times as many for 1,000


@dataclass(frozen=True, slots=True)
class Trend:
    """What a trend test found in a series of `n` values.

    `slope` is the change per step (Theil-Sen) with its interval `slope_low` to `slope_high`; `p_value` is two-sided;
    `method` says in words what was tested.
    """

    direction: Literal["rising", "falling", "flat", "too short"]
    slope: float
    slope_low: float
    slope_high: float
    p_value: float
    n: int
    method: str


def trend_test(values: ArrayLike, *, alpha: float = 0.05, max_points: int = TREND_POINTS) -> Trend:
    """Does a noisy, autocorrelated series rise or fall? Mann-Kendall with Hamed and Rao's correction, Theil-Sen
    slope.

    Why this one: per-step margins are noisy, heavy-tailed and depend on the step before, and their growth is not a
    straight line. Mann-Kendall asks only how often a later value is above an earlier one, so that single spikes and
    the form of the curve do not matter. Plain Mann-Kendall takes neighbouring steps for independent and then finds
    trends that are not there; Hamed and Rao (1998, J. Hydrology 204) widen its variance by the autocorrelation of
    the ranks around the trend. Here the correction may only widen it, and neighbouring lags are summed up to the
    first that is not positive, which is stricter than their choice of significant lags alone. The slope is
    Theil-Sen's median of all slopes between two steps, its interval uses the same variance (Sen 1968).

    False alarms measured at alpha 0.05 over 100 steps: 5 % for independent noise and for a lag-one correlation of 0.3,
    8 % for 0.6, 18 % for 0.9 (plain Mann-Kendall: 14, 29 and 62 %).

    Over `max_points` values the test runs on means of equal blocks of consecutive steps (a last, shorter block is
    left out), which keeps the trend, damps the noise and bounds the cost; slopes are still per step.

    Args:
        values: one number a step, in order, shape (n,), finite.
        alpha: two-sided level below which the trend has a direction.
        max_points: the most values that are compared pairwise.

    Returns:
        The trend; `direction` is "too short" (p-value 1) under 8 values, "flat" where the p-value is not below
        `alpha`.
    """
    series = np.asarray(values, dtype=np.float64)
    block = -(-len(series) // max_points) if len(series) else 1
    points = series[: len(series) // block * block].reshape(-1, block).mean(axis=1)
    means = f", means of {block} steps" if block > 1 else ""
    method = f"Mann-Kendall, Hamed-Rao correction, Theil-Sen slope{means}"
    if len(points) < 8:
        return Trend("too short", 0.0, 0.0, 0.0, 1.0, len(series), method)
    earlier, later = np.triu_indices(len(points), k=1)
    rises = points[later] - points[earlier]
    slopes = np.sort(rises / ((later - earlier) * block))
    slope = float(np.median(slopes))
    deviation = math.sqrt(_kendall_variance(points) * _autocorrelation_factor(points, slope * block))
    balance = float(np.sign(rises).sum())
    z = 0.0 if balance == 0 or deviation == 0 else (balance - math.copysign(1, balance)) / deviation
    p_value = float(2 * special.ndtr(-abs(z)))
    low, high = _slope_interval(slopes, deviation, alpha)
    direction: Literal["rising", "falling", "flat"] = "flat"
    if p_value < alpha:
        direction = "rising" if balance > 0 else "falling"
    return Trend(direction, slope, low, high, p_value, len(series), method)


def _kendall_variance(points: Floats) -> float:
    """Variance of Kendall's S under no trend and independence, with the correction for equal values."""
    n = len(points)
    _, counts = np.unique(points, return_counts=True)
    ties = float((counts * (counts - 1.0) * (2.0 * counts + 5)).sum())
    return (n * (n - 1) * (2 * n + 5) - ties) / 18


def _autocorrelation_factor(points: Floats, slope: float) -> float:
    """Hamed and Rao's factor on the variance of S: from the rank autocorrelation around the trend; at least 1."""
    n = len(points)
    scale = float(np.ptp(points)) or 1.0
    residuals = (points - points[0] - slope * np.arange(n)) / scale
    ranks = _ranks(residuals.round(9))  # equal residuals stay equal whatever the rounding of the trend
    ranks -= ranks.mean()
    power = float(ranks @ ranks)
    if power == 0:
        return 1.0
    spectrum = np.fft.rfft(ranks, 2 * n)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), 2 * n)[1 : n - 2] / power
    stop = int(np.argmax(correlation <= 0)) if (correlation <= 0).any() else len(correlation)
    lag = np.arange(1, stop + 1)
    weights = (n - lag) * (n - lag - 1) * (n - lag - 2)
    return 1.0 + 2.0 / (n * (n - 1) * (n - 2)) * float(weights @ correlation[:stop])


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[index], dtype=np.float64)


def _slope_interval(slopes: Floats, deviation: float, alpha: float) -> tuple[float, float]:
    """Sen's interval of the slope: the order statistics of all slopes that the deviation of S allows."""
    reach = float(special.ndtri(1 - alpha / 2)) * deviation
    low = max(0, math.floor((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return float(slopes[low]), float(slopes[high])
