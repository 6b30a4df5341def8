"""From rewards to what a reward model says of a comparison: margin, calibrated probability, spread. Pure.

    opinion(Rewarded(1.5), Rewarded(0.25), temperature=2.0)
    opinions(rewards_P2, temperature, spread_P)                 # of many comparisons at once

The spread of an ensemble is the standard deviation, over its members, of the *margin*: what members share (a prompt
that all of them find poor) takes itself out. With K members it is the sample standard deviation (K - 1 in the
denominator), since a few members understate how far models differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.bradley_terry import preference_probability
from rewardsmith.types import Opinion, Rewarded

Floats = NDArray[np.float64]


def opinion(first: Rewarded, second: Rewarded, temperature: float | None) -> Opinion:
    """What the rewards of two responses say of their comparison."""
    if first.reward is None or second.reward is None:
        return Opinion(None)
    margin = first.reward - second.reward
    spread = None
    if len(first.members) == len(second.members) >= 2:
        spread = float(np.std(np.subtract(first.members, second.members), ddof=1))
    return Opinion(margin, _probability(margin, temperature), None if spread is None or math.isnan(spread) else spread)


def opinions(rewards_P2: Floats, temperature: float | None, spread_P: Floats | None = None) -> list[Opinion]:
    """Opinions of many comparisons.

    Args:
        rewards_P2: rewards of the first and of the second response, shape (comparisons, 2); NaN where missing.
        temperature: of the calibration, None without one.
        spread_P: standard deviation of each margin, shape (comparisons,); None where the model states no doubt.
    """
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    known_P = np.nan_to_num(margin_P)  # logaddexp warns of NaN
    probability_P = None if temperature is None else preference_probability(known_P, temperature)
    return [
        Opinion(None)
        if math.isnan(margin)
        else Opinion(
            float(margin),
            None if probability_P is None else float(probability_P[place]),
            None if spread_P is None or math.isnan(spread_P[place]) else float(spread_P[place]),
        )
        for place, margin in enumerate(margin_P)
    ]


def member_spread(members: Mapping[str, Floats]) -> Floats:
    """Standard deviation over members of each margin, shape (comparisons,); `members` are rewards (comparisons, 2)."""
    margins_KP = np.stack([rewards_P2[:, 0] - rewards_P2[:, 1] for rewards_P2 in members.values()])
    return np.asarray(np.std(margins_KP, axis=0, ddof=1), dtype=np.float64)


def rewarded(reward: float | None, members: Sequence[float | None] = ()) -> Rewarded:
    """A reward with its members', without those that gave none."""
    return Rewarded(reward, tuple(one for one in members if one is not None))


def _probability(margin: float, temperature: float | None) -> float | None:
    return None if temperature is None else float(preference_probability(margin, temperature))
