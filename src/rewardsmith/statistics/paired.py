"""Two scores on the same units: how large the difference is and how sure.

    Difference.of(estimate, samples, units)    from a paired bootstrap: the difference under resampled units
    weighted_difference(parts, weights)        a weighted mean of independent differences
    mcnemar_p_value(gained, lost)              0/1 results of independent rows
    within(largest_difference(a, b), 1e-4)     whether two sets of numbers are the same; NaN and infinity never are

Why not the percentiles of the bootstrap: where two models differ on few rows, all to one side, no resample can show
the other side, and noise is called a winner too often. Bonett and Price 2012 (British J. Mathematical and Statistical
Psychology 65:479) add two rows to the table, one for each side, and use the plain interval of the mean; it holds its
level from a handful of rows on, and is never a point. Here the rows are units, and the bootstrap gives their variance,
so that groups and scores that are no mean (RewardBench 2's Ties) are covered by the same form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rewardsmith.statistics.intervals import CONFIDENCE, Interval

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
