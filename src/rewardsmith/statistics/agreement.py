"""How accurate can a model be on labels that people do not always agree on?

    label_agreement(first_C, all_C) → Agreement | None

In: comparisons that were labelled more than once, as votes. Out: how often two labels of one comparison agree, and
between which bounds that puts the accuracy of the best possible model.

Let q >= 1/2 be the share of annotators who give a comparison's majority label. Two labels agree with probability
f(q) = q^2 + (1 - q)^2, and the best model is right with probability q. Over comparisons with mean agreement A:

    A <= mean q <= (1 + sqrt(2 A - 1)) / 2

the left because f(q) <= q on [1/2, 1], the right because f is convex (Jensen). The upper bound is reached where all
comparisons are equally hard, the lower where each is either clear or a coin toss. It speaks of the repeated
comparisons; others may be easier.

How well one number tells two kinds apart: the area under the ROC curve.

In: the numbers of the right ones and of the wrong ones. Out: the chance that a right one stands above a wrong one.

How many equally frequent kinds would be as varied as those that there are: Hill numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.statistics.intervals import Floats, Interval, wilson_interval


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
