"""What is left of a rule among responses of equal length.

    bins = length_bins(lengths_N2)                      # which side is longer, and how much
    at_equal_length(signs_NR, bins, tallies)            # Estimate each; None where the data cannot tell

Where the longer response wins, everything that long responses have more of wins too. So both are fitted together, a
logistic regression per rule:

    P(the longer one is chosen) = sigmoid(o_k + b x)
    k    how much longer it is: bins of the ratio
    x    1 where the longer one has more of it, -1 where the shorter one has, else 0

and sigmoid(b) is the rule's accuracy between responses of equal length. Length may act in any form, since every bin has
an o_k of its own. It needs counts only, so that a million pairs cost one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rewardsmith import statistics
from rewardsmith.data.shortcuts.lone_rules import Floats, Ints, Tallies
from rewardsmith.data.shortcuts.measures import Signs
from rewardsmith.records import Estimate

RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, np.inf)
"""Limits of the bins: the longer response is this many times as long."""

_BINS = len(RATIOS) - 1
_RIDGE = 0.1
"""Pull of all parameters towards 0, as of a normal prior with variance 10: keeps them finite where all pairs agree."""

_STEPS, _LONGEST_STEP = 30, 2.0
_WIDEST = 0.5
"""A standard error of b above this says nothing: the accuracy might be 0.5 as well as 0.73."""


@dataclass(frozen=True, slots=True)
class LengthBins:
    """Which side of each of N pairs is longer (1 chosen, -1 rejected, 0 neither), and in which bin the ratio is."""

    longer: Signs
    bins: NDArray[np.int8]

    def at(self, pairs: Ints) -> LengthBins:
        """Some of the pairs."""
        return LengthBins(self.longer[pairs], self.bins[pairs])


def length_bins(lengths_N2: NDArray[np.int32]) -> LengthBins:
    """Bins of pairs by the lengths of chosen and rejected; a length of 0 counts as 1."""
    longer, shorter = lengths_N2.max(axis=1), np.maximum(lengths_N2.min(axis=1), 1)
    bins = np.digitize(longer / shorter, RATIOS[1:-1]).astype(np.int8)
    return LengthBins(np.sign(lengths_N2[:, 0] - lengths_N2[:, 1]).astype(np.int8), bins)


def at_equal_length(signs_NR: Signs, lengths: LengthBins, tallies: Tallies) -> list[Estimate | None]:
    """The accuracy of each rule between responses of equal length.

    Args:
        signs_NR: which side has more, by rule.
        lengths: of the same pairs.
        tallies: of the same rules; intervals widen as theirs do for pairs of one prompt.
    """
    cells = [_cells(sign_N, lengths) for sign_N in signs_NR.T]
    if not cells:
        return []
    slope_R, error_R = _fit(np.array(cells))
    decided_R = np.maximum(tallies.more + tallies.less, 1)
    error_R *= np.sqrt(decided_R / np.maximum(tallies.effective, 1))
    half_R = error_R * special.ndtri((1 + statistics.CONFIDENCE) / 2)
    values = (special.expit(slope_R + side * half_R).tolist() for side in (0, -1, 1))
    return [
        Estimate(value=value, ci_low=low, ci_high=high) if error <= _WIDEST else None
        for value, low, high, error in zip(*values, error_R.tolist(), strict=True)
    ]


def _cells(sign_N: Signs, lengths: LengthBins) -> Floats:
    """Counts of pairs (bins + 1, 3, 2): by bin; by whether the shorter, neither or the longer has more; by whether the
    shorter or the longer was chosen. The last bin has the pairs of equal length, with chosen for longer."""
    side_N = np.where(lengths.longer == 0, 1, lengths.longer)
    bin_N = np.where(lengths.longer == 0, _BINS, lengths.bins).astype(np.int64)
    codes = bin_N * 6 + (sign_N * side_N + 1) * 2 + (side_N > 0)
    return np.bincount(codes, minlength=6 * (_BINS + 1)).astype(np.float64).reshape(_BINS + 1, 3, 2)


def _fit(cells_RB32: Floats) -> tuple[Floats, Floats]:
    """Slope b of each rule and its standard error, by Newton's method."""
    has = np.array([-1.0, 0.0, 1.0])
    n, right = cells_RB32.sum(axis=-1), cells_RB32[..., 1].copy()
    n[:, -1, 1] = right[:, -1, 1] = 0.0  # neither longer nor with more of it: says nothing
    free = np.append(np.ones(_BINS), 0.0)  # no o_k where both are as long
    offset, slope = np.zeros(n.shape[:2]), np.zeros(len(n))
    for _ in range(_STEPS):
        p = special.expit(offset[..., None] + slope[:, None, None] * has)
        weight = n * p * (1 - p)
        curve_o = weight.sum(axis=2) + _RIDGE
        cross = (weight * has).sum(axis=2) * free
        curve = (weight * has**2).sum(axis=(1, 2)) + _RIDGE - (cross**2 / curve_o).sum(axis=1)
        pull_o = ((right - n * p).sum(axis=2) - _RIDGE * offset) * free
        pull = ((right - n * p) * has).sum(axis=(1, 2)) - _RIDGE * slope
        step = np.clip((pull - (cross * pull_o / curve_o).sum(axis=1)) / curve, -_LONGEST_STEP, _LONGEST_STEP)
        slope = slope + step
        offset = offset + np.clip((pull_o - cross * step[:, None]) / curve_o, -_LONGEST_STEP, _LONGEST_STEP)
    return slope, 1 / np.sqrt(curve)
