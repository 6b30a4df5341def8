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
