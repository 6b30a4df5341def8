"""The likelihood behind `label_noise`: a share of wrong labels, and a slope for each cell of pairs.

    table = tabulate(margin_P, cells)             # counts by cell and size of margin
    share = most_likely(table)                    # in [0, 1/2]; of a group with most=1, in [0, 1]
    slope_C = best_slopes(table, share)           # of each cell
    low, high = limits(table, share, effect)      # of the profile likelihood

A cell holds pairs of one time and one group. Its slope turns the margins of that time and group into probabilities, and
is fitted anew for each share that is tried: the profile. Slopes come from a grid with a parabola through its best three
points, so that a profile costs one pass over the counts, whatever the number of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.bradley_terry import preference_probability

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHI_SQUARE = 3.841458820694124  # 95 % of chi-square with one degree of freedom

_SIZES = 32  # bins of |margin| in a cell
_SLOPES = np.geomspace(1e-3, 50.0, 56)  # per root mean square of a cell's margins
_GOLDEN = (np.sqrt(5.0) - 1) / 2
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by cell C and size of margin K, and what each slope G of the grid makes of the sizes.

    agree, against (C, K)      pairs whose label agrees with the model's choice, or not
    right, wrong (G, C, K)     sigmoid(± slope size)
    scale (C,)                 root mean square of the cell's margins: the unit of sizes, and of 1 / slope
    """

    agree: Floats
    against: Floats
    right: Floats
    wrong: Floats
    scale: Floats

    def of(self, cells: Sequence[int]) -> Table:
        """Some of the cells."""
        some = list(cells)
        return Table(self.agree[some], self.against[some], self.right[:, some], self.wrong[:, some], self.scale[some])


def tabulate(margin_P: Floats, cells: Sequence[Integers]) -> Table:
    """Count the pairs of each cell (indices into `margin_P`, at least one each) by size of margin and agreement."""
    shape = len(cells), _SIZES
    size_CK, agree_CK, against_CK = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    scale_C = np.ones(len(cells))
    for c, cell in enumerate(cells):
        margins = margin_P[cell]
        scale_C[c] = float(np.sqrt(np.mean(margins**2))) or 1.0
        order = np.argsort(np.abs(margins), kind="stable")
        for k, part in enumerate(np.array_split(margins[order] / scale_C[c], _SIZES)):
            if len(part):
                size_CK[c, k] = np.abs(part).mean()
                agree_CK[c, k] = np.sum(part > 0) + 0.5 * np.sum(part == 0)
                against_CK[c, k] = len(part) - agree_CK[c, k]
    logit_GCK = _SLOPES[:, None, None] * size_CK
    return Table(agree_CK, against_CK, preference_probability(logit_GCK), preference_probability(-logit_GCK), scale_C)


def best_slopes(table: Table, share: float) -> Floats:
    """The most likely slope of each cell under a share, in units of 1 / margin, shape (C,)."""
    return _fit(table, share)[0] / table.scale


def profile(table: Table, share: float) -> float:
    """The highest log-likelihood that any slopes give a share."""
    return float(_fit(table, share)[1].sum())


def most_likely(table: Table, most: float = 0.5) -> float:
    """The share in [0, `most`] of the highest profile likelihood; above one half, labels are reversed."""
    lower = 0.5 * np.linspace(0, 1, 25) ** 2
    grid = lower if most <= 0.5 else np.concatenate([lower, 1 - lower[-2::-1]])
    values = [profile(table, share) for share in grid]
    best = int(np.argmax(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(14):
        reach = _GOLDEN * (high - low)
        left, right = high - reach, low + reach
        low, high = (low, right) if profile(table, left) >= profile(table, right) else (left, high)
    inner = (low + high) / 2
    return 0.0 if values[0] >= profile(table, inner) else float(inner)


def limits(table: Table, share: float, effect: float, most: float = 0.5) -> tuple[float, float]:
    """The shares around the most likely one whose profile likelihood is within `effect` times chi-square's half.

    By bisection; 0 or `most` where the likelihood does not fall that far.
    """
    bound = profile(table, share) - effect * CHI_SQUARE / 2

    def cross(inside: float, outside: float) -> float:
        if profile(table, outside) >= bound:
            return outside
        for _ in range(12):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if profile(table, middle) >= bound else (inside, middle)
        return (inside + outside) / 2

    return cross(share, 0.0), cross(share, most)


def design_effect(
    margin_P: Floats, prompt_P: Integers, cells: Sequence[Integers], slope_C: Floats, share: float
) -> float:
    """How many times more variance pairs of one prompt give a share than independent pairs would; at least 1.

    The variance of the share's score, summed by prompt, over that of single pairs, with what the slopes explain taken
    out cell by cell.

    Args:
        margin_P: margins of all pairs.
        prompt_P: a number for each pair's prompt.
        cells: the pairs that the share is of.
        slope_C: the cells' slopes.
        share: the most likely one.
    """
    influences = []
    for cell, slope in zip(cells, slope_C, strict=True):
        right = preference_probability(slope * margin_P[cell])
        chance = np.clip(share + (1 - 2 * share) * right, 1e-9, None)
        by_share, by_slope = (1 - 2 * right) / chance, (1 - 2 * share) * right * (1 - right) * margin_P[cell] / chance
        explained = float(by_slope @ by_slope)
        influences.append(by_share - by_slope * (float(by_share @ by_slope) / explained if explained > 0 else 0.0))
    influence = np.concatenate(influences)
    _, numbers = np.unique(prompt_P[np.concatenate(cells)], return_inverse=True)
    sums, alone = np.bincount(numbers, weights=influence), float(influence @ influence)
    return max(1.0, float(sums @ sums) / alone) if alone > 0 else 1.0


def _fit(table: Table, share: float) -> tuple[Floats, Floats]:
    """Each cell's most likely slope (per unit of its scale) and its log-likelihood there, shapes (C,)."""
    agree_GCK = np.log(np.maximum(share + (1 - 2 * share) * table.right, _TINY))
    against_GCK = np.log(np.maximum(share + (1 - 2 * share) * table.wrong, _TINY))
    likelihood_GC = (table.agree * agree_GCK + table.against * against_GCK).sum(axis=2)
    best_C = np.clip(likelihood_GC.argmax(axis=0), 1, len(_SLOPES) - 2)
    left_C, middle_C, right_C = (likelihood_GC[best_C + offset, np.arange(len(best_C))] for offset in (-1, 0, 1))
    bend_C = left_C - 2 * middle_C + right_C
    shift_C = np.divide(left_C - right_C, 2 * bend_C, out=np.zeros_like(bend_C), where=bend_C < -_TINY)
    shift_C = np.clip(shift_C, -1.0, 1.0)
    highest_C = middle_C + shift_C * (right_C - left_C) / 2 + shift_C**2 * bend_C / 2
    return _SLOPES[best_C] * (_SLOPES[1] / _SLOPES[0]) ** shift_C, highest_C
