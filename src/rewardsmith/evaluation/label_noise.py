"""How many labels are wrong, and which: from the margin of each training pair when the model met it.

    estimate = estimate_noise(margin_P, prompt_P, group_P)       # pairs in the order of training
    estimate.share, estimate.groups                              # of all labels; of each source or subset
    estimate.probability                                         # of each pair's label
    estimate = with_final(estimate, asked, margins)              # where the trained model was asked again
    verdict, sentence = read_estimate(estimate)

Every pair is met once, before the model has learned it, so its margin is a prediction by the pairs before it
(prequential, Dawid 1984). The model contradicts many labels because it is weak, and most of all early in the epoch; a
wrong label shows as a contradiction where the model is otherwise right. Hence a mixture, with `share` for the
probability that a label is wrong, whatever the pair:

    P(label agrees with the model's choice) = share + (1 - 2 share) sigmoid(slope |margin|)

`slope` turns the margins of one group and time into probabilities (Guo et al. 2017), so that margins of different
times compare: it is small where the model knows nothing. `share` is what confidence does not make smaller, the plateau
of the contradictions; it is read from the second half of the epoch, because in the first the model changes so fast that
it is often sure and wrong (on clean embedded pairs the first quarter alone says 12 %, the second half 0.2 %). This
assumes that wrong labels are no more frequent early than late. The likelihood is that of Bradley-Terry with flipped
labels (Chowdhury, Kini and Natarajan 2024, arXiv 2403.00409); a plateau beside a slope is the lapse rate of
psychometric functions (Wichmann and Hill 2001, Perception & Psychophysics 63:1293). Pairs are counted in cells, each of
one group and time (`Table`): a slope is fitted to each cell anew for each share that is tried.

What it cannot tell: a wrong label from a model that is sure and wrong again and again in the same way. The share is
therefore of labels that contradict what the other pairs teach, and rather too high than too low: bench/label_noise.py
flips 4.9 % of the embedded labels and finds 6.7 % (5.7 to 7.7), and with none flipped 0.2 % (0.0 to 0.5). Where the
model is never sure the interval is wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.bradley_terry import preference_probability
from rewardsmith.records.training import NoiseBand
from rewardsmith.statistics import Interval, weighted_interval, wilson_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NoiseLevel = Literal["few", "some", "many", "cannot tell"]

POOLED = -1
"""The group of all pairs whose own group is too small for slopes of its own."""

_CELL = 250  # pairs: enough for a slope to within a fifth or so
_CELLS = 160  # more would only cost time
_SURELY = 10.827566170662733  # 99.9 % of chi-square with one degree of freedom: many groups are compared
_FEW, _MANY, _TOO_WIDE = 0.03, 0.1, 0.25


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share of wrong labels among `n` pairs, with its 95 % interval."""

    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """The outcome. P pairs in the order of training.

    share             of all labels that are wrong
    groups            the same for each group, by its number; those too small for it together as `POOLED`
    prior (P,)        share of wrong labels of the pair's group
    right (P,)        probability, by the model alone, that the label is right: sigmoid(slope margin)
    probability (P,)  probability that the label is wrong
    last_slope (P,)   slope of the pair's group at the end of the epoch, for margins of the trained model
    bands             by rising confidence
    """

    share: Share
    groups: dict[int, Share]
    prior: Floats
    right: Floats
    probability: Floats
    last_slope: Floats
    bands: tuple[NoiseBand, ...]


def estimate_noise(margin_P: Floats, prompt_P: Integers, group_P: Integers) -> NoiseEstimate:
    """Estimate the share of wrong labels, and each pair's probability of being one of them.

    Groups (sources, subsets) are learned at different speed, so each has slopes of its own. They share one share,
    but for groups whose own surely differs. Intervals are where the profile likelihood is within half of chi-square's
    95 % point, widened by the design effect of pairs that share a prompt.

    Args:
        margin_P: margin of each pair when it was met, shape (P,), in the order of training; finite.
        prompt_P: a number for each pair's prompt, same order.
        group_P: a number for each pair's group, at least 0, same order.

    Raises:
        ValueError: there is no pair.
    """
    if not len(margin_P):
        raise ValueError("no pair was met")
    cells, cells_of, late_of = _cells(group_P)
    evidence = _Evidence(margin_P, prompt_P, cells, tabulate(margin_P, cells))
    own = {number: evidence.share_of(some, most=1.0) for number, some in late_of.items()}
    rest, apart = _set_apart(evidence, late_of, own)
    share_P, right_P, last_P = (np.zeros(len(margin_P)) for _ in range(3))
    for number, some in cells_of.items():
        share = own[number].share if number in apart else rest.share
        slope_C = best_slopes(evidence.table.of(some), share)
        for slope, c in zip(slope_C, some, strict=True):
            right_P[cells[c]] = preference_probability(slope * margin_P[cells[c]])
            share_P[cells[c]], last_P[cells[c]] = share, slope_C[-1]
    return NoiseEstimate(
        share=_together([rest, *(own[number] for number in apart)]),
        groups=own if len(own) > 1 else {},
        prior=share_P,
        right=right_P,
        probability=wrong_probability(right_P, share_P),
        last_slope=last_P,
        bands=_bands(right_P, share_P),
    )


def _cells(group_P: Integers) -> tuple[list[Integers], dict[int, list[int]], dict[int, list[int]]]:
    """Pairs cut into cells, each of one group and time.

    Returns:
        The cells; the numbers of each group's cells, in order of time; and which of them the share is read from.
    """
    numbers, counts = np.unique(group_P, return_counts=True)
    size, half = max(_CELL, -(-len(group_P) // _CELLS)), len(group_P) // 2
    small = numbers[counts < size] if len(numbers) > 1 else numbers[:0]
    own_P = np.where(np.isin(group_P, small), POOLED, group_P)
    cells: list[Integers] = []
    all_of, late_of = {}, {}
    for number in np.unique(own_P).tolist():
        members = np.flatnonzero(own_P == number)
        early, late = members[members < half], members[members >= half]
        first = len(cells)
        for part in (early, late):
            middle = len(cells)
            cells += np.array_split(part, max(1, len(part) // size)) if len(part) else []
        all_of[number] = list(range(first, len(cells)))
        late_of[number] = list(range(middle, len(cells))) if len(late) >= _CELL // 2 else all_of[number]
    return cells, all_of, late_of


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Margins and prompts of all pairs, the cells they are counted in, and the counts."""

    margin: Floats
    prompt: Integers
    cells: Sequence[Integers]
    table: Table

    def share_of(self, some: Sequence[int], most: float = 0.5) -> Share:
        """The share that the pairs of some cells have in common."""
        part = self.table.of(some)
        share = most_likely(part, most)
        low, high = limits(part, share, self.effect_of(some, share), most)
        return Share(sum(len(self.cells[c]) for c in some), share, low, high)

    def effect_of(self, some: Sequence[int], share: float) -> float:
        """The design effect of prompts in some cells."""
        slope_C = best_slopes(self.table.of(some), share)
        return design_effect(self.margin, self.prompt, [self.cells[c] for c in some], slope_C, share)

    def differs(self, some: Sequence[int], own: Share, common: float) -> bool:
        """Whether the share of some cells is surely another one."""
        part = self.table.of(some)
        gain = 2 * (profile(part, own.share) - profile(part, common))
        return gain > _SURELY * self.effect_of(some, own.share)


def _set_apart(
    evidence: _Evidence, cells_of: dict[int, list[int]], own: dict[int, Share]
) -> tuple[Share, tuple[int, ...]]:
    """The share that groups have in common, and the groups whose own surely differs from it."""
    everything = [c for some in cells_of.values() for c in some]
    common = evidence.share_of(everything)
    apart = tuple(
        number
        for number, some in cells_of.items()
        if len(cells_of) > 1 and evidence.differs(some, own[number], common.share)
    )
    if not apart or len(apart) == len(cells_of):
        return common, ()
    return evidence.share_of([c for number, some in cells_of.items() if number not in apart for c in some]), apart


def _together(shares: Sequence[Share]) -> Share:
    """The share of all pairs, from those that have one in common and the groups that have their own."""
    whole = sum(one.n for one in shares)
    mean, interval = weighted_interval(
        [one.share for one in shares],
        [Interval(one.low, one.high) for one in shares],
        [one.n / whole for one in shares],
    )
    return Share(whole, mean, max(0.0, interval.low), min(1.0, interval.high))


def wrong_probability(right: Floats, share: Floats | float) -> Floats:
    """P(label is wrong) by Bayes: `right` is the model's probability q of the label, `share` that of wrong labels.

        P(wrong | margin) = share (1 - q) / (share (1 - q) + (1 - share) q)        q = sigmoid(slope margin)

    Within a group and time this ranks by self-confidence, as confident learning does (Northcutt et al. 2021, JAIR
    70:1373), and low confidence is where dataset cartography finds mislabelled rows (Swayamdipta et al. 2020, EMNLP).
    Confident learning's own count of wrong labels takes every confident error of the model for one, which at the
    accuracy of reward models would be a quarter of the data.
    """
    wrong = share * (1 - right)
    whole = wrong + (1 - share) * right
    return np.divide(wrong, whole, out=np.zeros_like(right), where=whole > 0)


def _bands(right_P: Floats, share_P: Floats) -> tuple[NoiseBand, ...]:
    doubt_P = np.minimum(right_P, 1 - right_P)
    against_P = (right_P < 0.5) + 0.5 * (right_P == 0.5)
    bands = []
    for part in np.array_split(np.argsort(-doubt_P, kind="stable"), 10):
        if not len(part):
            continue
        total = float(against_P[part].sum())
        interval = wilson_interval(total, len(part))
        expected = float(np.mean(share_P[part] + (1 - 2 * share_P[part]) * doubt_P[part]))
        bands.append(
            NoiseBand(
                n=len(part),
                doubt=float(doubt_P[part].mean()),
                contradicted=total / len(part),
                ci_low=interval.low,
                ci_high=interval.high,
                expected=expected,
            )
        )
    return tuple(bands)


def with_final(estimate: NoiseEstimate, asked: Integers, final_margin_A: Floats) -> NoiseEstimate:
    """The estimate after the trained model was asked about some pairs again; the share stays as it is.

    Both models have a say: the logits of their probabilities are averaged. The later one knows more, but has trained on
    the pair. The average ranks best: of the first 200 suspects of bench/label_noise.py 92 % are flipped where every
    pair was asked again, 89 % where the 1,000 most suspect were, 77 % where none was. A tenth is the most that a run
    asks about (`pipeline/label_noise.py`): the first suspects are what is read, and the rest costs a forward pass each.

    Args:
        asked: places in the order of training, shape (A,).
        final_margin_A: the trained model's margins of these pairs; NaN where it has none.
    """
    right_P, probability_P = estimate.right.copy(), estimate.probability.copy()
    known = np.isfinite(final_margin_A)
    places = asked[known]
    logit_K = (_logit(right_P[places]) + estimate.last_slope[places] * final_margin_A[known]) / 2
    right_P[places] = preference_probability(logit_K)
    probability_P[places] = wrong_probability(right_P[places], estimate.prior[places])
    return replace(estimate, right=right_P, probability=probability_P)


def _logit(probability: Floats) -> Floats:
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def read_estimate(estimate: NoiseEstimate) -> tuple[NoiseLevel, str]:
    """What may be said of the share: a verdict by its interval, and a sentence."""
    found = estimate.share
    interval = f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
    if found.high <= _FEW:
        return "few", (
            f"labels agree with each other: {100 * found.share:.1f} % of them ({interval}) contradict what the other "
            "pairs teach"
        )
    if not found.high - found.low <= _TOO_WIDE or not found.low > 0:
        return "cannot tell", (
            f"the model was too seldom sure when it met the pairs to say how many labels are wrong: {interval}; its "
            "suspects are a place to start reading"
        )
    contradict = f"about {100 * found.share:.1f} % of the labels ({interval}) contradict what the other pairs teach"
    if found.low >= _MANY:
        return "many", f"{contradict}: ask how they were made, and read the suspects"
    return "some", f"{contradict}: read the suspects"


CHI_SQUARE = 3.841458820694124  # 95 % of chi-square with one degree of freedom

_SIZES = 32  # bins of |margin| in a cell
_SLOPES = np.geomspace(1e-3, 50.0, 56)  # per root mean square of a cell's margins
_GOLDEN = (np.sqrt(5.0) - 1) / 2
# Keeps logarithms finite where a steep slope makes a label that was seen impossible.
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
        # Margins that are all 0 have no scale; any will do.
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


def _fit(table: Table, share: float) -> tuple[Floats, Floats]:
    """Each cell's most likely slope (per unit of its scale) and its log-likelihood there, shapes (C,).

    Slopes come from a grid with a parabola through its best three points, so that a profile costs one pass over the
    counts, whatever the number of pairs.
    """
    agree_GCK = np.log(np.maximum(share + (1 - 2 * share) * table.right, _TINY))
    against_GCK = np.log(np.maximum(share + (1 - 2 * share) * table.wrong, _TINY))
    likelihood_GC = (table.agree * agree_GCK + table.against * against_GCK).sum(axis=2)
    # The parabola needs a neighbour on either side.
    best_C = np.clip(likelihood_GC.argmax(axis=0), 1, len(_SLOPES) - 2)
    left_C, middle_C, right_C = (likelihood_GC[best_C + offset, np.arange(len(best_C))] for offset in (-1, 0, 1))
    bend_C = left_C - 2 * middle_C + right_C
    shift_C = np.divide(left_C - right_C, 2 * bend_C, out=np.zeros_like(bend_C), where=bend_C < -_TINY)
    shift_C = np.clip(shift_C, -1.0, 1.0)
    highest_C = middle_C + shift_C * (right_C - left_C) / 2 + shift_C**2 * bend_C / 2
    # The grid is geometric: a shift by one is a factor.
    return _SLOPES[best_C] * (_SLOPES[1] / _SLOPES[0]) ** shift_C, highest_C


def most_likely(table: Table, most: float = 0.5) -> float:
    """The share in [0, `most`] of the highest profile likelihood; above one half, labels are reversed."""
    # Finer towards 0, where the shares of most data lie.
    lower = 0.5 * np.linspace(0, 1, 25) ** 2
    grid = lower if most <= 0.5 else np.concatenate([lower, 1 - lower[-2::-1]])
    values = [profile(table, share) for share in grid]
    best = int(np.argmax(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    # 0.618 ** 14: a thousandth of the bracket is left.
    for _ in range(14):
        reach = _GOLDEN * (high - low)
        left, right = high - reach, low + reach
        low, high = (low, right) if profile(table, left) >= profile(table, right) else (left, high)
    inner = (low + high) / 2
    # The search closes in from both sides and never asks the edge itself.
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
