"""Several readings as one verdict: means or majorities, each order of a pair weighing the same.

A value of a pair is the probability that the first response is better: above one half, below it, or a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

How = Literal["mean", "majority"]

_ROUNDING = 1e-9


def first_better(values: Sequence[Sequence[float]], how: How) -> float:
    """Probability that the first response is better, from the readings of each order; none may be empty.

    `mean` is the mean over orders of the means over readings; `majority` is 1, 0 or one half by the mean share of
    votes.
    """
    if how == "mean":
        return _mean([_mean(order) for order in values])
    return (1 + _side(_mean([_mean([(1 + _side(value)) / 2 for value in order]) for order in values]))) / 2


def agree(first_order: Sequence[float], second_order: Sequence[float], how: How) -> bool:
    """Whether both orders name the same response, or both a tie."""
    return _side(first_better([first_order], how)) == _side(first_better([second_order], how))


def best_answer(shares: Sequence[Mapping[int, float]], order: Sequence[int], how: How) -> int:
    """The answer with the highest mean share, or with the most votes; among equals the one that `order` has first.

    Args:
        shares: one reading each: answer → its share.
        order: all answers; drawn, so that no answer gains by a tie.
    """
    if how == "majority":
        shares = [{_highest(share, order): 1.0} for share in shares]
    return _highest({answer: sum(share.get(answer, 0.0) for share in shares) for answer in order}, order)


def rating(values: Sequence[float], how: How) -> float:
    """The mean of ratings, or the most frequent one; the mean of those that are equally frequent."""
    if how == "mean":
        return _mean(values)
    counts = Counter(values)
    return _mean([value for value, count in counts.items() if count == max(counts.values())])


def _highest(share: Mapping[int, float], order: Sequence[int]) -> int:
    top = max(share.values())
    return next(answer for answer in order if share.get(answer, -1.0) >= top - _ROUNDING)


def _side(value: float) -> int:
    """1 where the first is better, -1 where the second is, 0 for a tie."""
    return 0 if abs(value - 0.5) <= _ROUNDING else 1 if value > 0.5 else -1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
