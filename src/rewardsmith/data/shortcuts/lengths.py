"""The length rule in one unit: how often the longer response is chosen, and how that depends on how much longer it is.

length_rule("words", lengths_P2, prompts_P, rule, grade)
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.shortcuts.equal_length import RATIOS, length_bins
from rewardsmith.data.shortcuts.lone_rules import Ints, tally
from rewardsmith.records import Grade, LengthRule, LengthRuleBin, LoneRule

_QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def length_rule(unit: str, lengths_P2: NDArray[np.int32], prompts_P: Ints, rule: LoneRule, grade: Grade) -> LengthRule:
    """All that is known about one unit.

    Args:
        unit: of the lengths.
        lengths_P2: of chosen and rejected.
        prompts_P: number of each pair's prompt.
        rule: the rule over all pairs.
        grade: its grade.
    """
    chosen, rejected = lengths_P2.T
    return LengthRule(
        unit=unit,
        rule=rule,
        grade=grade,
        bins=_bins(lengths_P2, prompts_P),
        chosen_mean=float(chosen.mean()),
        rejected_mean=float(rejected.mean()),
        chosen_quantiles=_quantiles(chosen),
        rejected_quantiles=_quantiles(rejected),
    )


def _bins(lengths_P2: NDArray[np.int32], prompts_P: Ints) -> tuple[LengthRuleBin, ...]:
    """Pairs of unequal length by the ratio of the longer to the shorter; a response of length 0 counts as 1."""
    bins_of = length_bins(lengths_P2)
    unequal = np.flatnonzero(bins_of.longer)
    bins = []
    for index, (low, high) in enumerate(pairwise(RATIOS)):
        within = unequal[bins_of.bins[unequal] == index]
        rule = tally(bins_of.longer[within, None], prompts_P[within]).record(0, None)
        bins.append(LengthRuleBin(low=low, high=None if np.isinf(high) else high, rule=rule))
    return tuple(bins)


def _quantiles(values: NDArray[np.int32]) -> dict[str, float]:
    found = np.quantile(values, list(_QUANTILES.values()))
    return {name: float(value) for name, value in zip(_QUANTILES, found, strict=True)}
