"""What all benchmarks of pairs share: one chosen and one rejected response a row, accuracy as the score.

    pair_tally(rows, rewards, equal=0.5)     1 where the chosen reward is higher, `equal` where both are equal, else 0

What equal and missing rewards count is each benchmark's own rule: its `protocol` says it in words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards, Tally, mean_tally


def pair_tally(rows: Sequence[EvalRow], rewards: Rewards, *, equal: ArrayLike, missing: ArrayLike = 0.0) -> Tally:
    """Accuracy over pairs; rows of one group are one unit.

    Args:
        equal: what a pair of equal rewards counts; one number, or one a row.
        missing: what a pair with a missing reward counts; one number, or one a row.
    """
    margins_P = pair_margins(rewards)
    results = np.select(
        [np.isnan(margins_P), margins_P > 0, margins_P == 0],
        [np.asarray(missing, dtype=np.float64), 1.0, np.asarray(equal)],
        0.0,
    )
    return mean_tally(results.tolist(), rows)


def pair_margins(rewards: Rewards) -> Floats:
    """Chosen reward - rejected reward of every pair, NaN where one is missing."""
    return np.array([chosen - rejected for chosen, rejected in rewards], dtype=np.float64)


def pair_baseline(subset: str, rows: Sequence[EvalRow], seed: int) -> float:
    """Random rewards order half of the pairs rightly."""
    return 0.5


def no_details(rows: Sequence[EvalRow], rewards: Rewards) -> dict[str, float | None]:
    """The benchmark defines nothing beyond its subsets."""
    return {}
