"""A limit with a bound on wrong confident verdicts: the reward model decides alone only where that is certified. Pure.

    fit_P = fitting_part(units, seed)                       # the ladder, and whatever else is fitted, sees these alone
    found = abstain(sureness, right, units, fit_P, wrong=0.1, confidence=0.9, seed=17)
    found.limit, found.reached, found.steps

Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv:2110.01052) with split fixed sequence testing.
On one third of the prompts a ladder of limits is laid, from one that lets the model decide least to one that lets it
decide all, and the limit is found at which the bound seems easiest to show. On the other prompts, where n comparisons
are decided at a limit and w of them wrongly, the p-value of "more than the share a is wrong" is P(Binomial(n, a) <= w).
Limits are tested from that one on, each looser than the one before, while p is at most 1 - confidence; the last that
passes is taken.

What holds: with at least the stated confidence over the draw of the calibration prompts, the share of wrong verdicts
among the comparisons that the model decides alone is at most a. It holds in finite samples, whatever the model, for
comparisons that are drawn as these were. It is marginal: on average over such comparisons, not for each subset of
them. Pairs of one prompt are not independent, so one pair a prompt is tested, drawn by the seed. An undecided verdict
(equal rewards) counts as wrong.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rewardsmith.errors import DataError
from rewardsmith.records.routing import AbstentionStep

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RUNGS = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""The ladder, as shares of the comparisons that it may decide."""


@dataclass(frozen=True, slots=True)
class Abstention:
    """`limit` lets nothing be decided where no step passed (`reached` is False)."""

    limit: float
    reached: bool
    steps: tuple[AbstentionStep, ...]
    tested: int
    fitted: int


def fewest(wrong: float, confidence: float) -> int:
    """Decided comparisons that certify the share where none of them is wrong: (1 - wrong)^n <= 1 - confidence."""
    # 1e-9: a quotient that is whole but for rounding must not become the next number.
    return math.ceil(math.log(1 - confidence) / math.log(1 - wrong) - 1e-9)


def p_value(decided: int, mistakes: int, wrong: float) -> float:
    """P(Binomial(decided, wrong) <= mistakes); 1 where nothing is decided."""
    return float(special.bdtr(mistakes, decided, wrong)) if decided else 1.0


def fitting_part(units: Ints, seed: int) -> Bools:
    """True for the pairs of one third of the prompts, drawn by the seed; the others are for the test."""
    names, place_P = np.unique(units, return_inverse=True)
    # The second number keeps this draw apart from others by the same seed.
    order_U = np.random.default_rng([seed, 11]).permutation(len(names))
    return np.asarray(order_U[place_P] < len(names) // 3)


def abstain(
    sureness: Floats, right: Floats, units: Ints, fit: Bools, *, wrong: float, confidence: float, seed: int
) -> Abstention:
    """The lowest certified limit.

    Args:
        sureness: of each pair, shape (pairs,); -inf is never decided by the model, inf always.
        right: 1 where the model is right, 1/2 where its rewards are equal, 0 where it is wrong.
        units: number of each pair's prompt.
        fit: `fitting_part`.
        wrong: largest share of wrong verdicts, above 0.
        confidence: that the share holds.
        seed: draws one pair of each prompt.

    Raises:
        DataError: there are too few prompts for any limit to pass.
    """
    tested = _one_a_prompt(units, ~fit, seed)
    n, least = int(tested.sum()), fewest(wrong, confidence)
    if n < least:
        raise DataError(
            f"{n:,} prompts are left for the test, and that at most {wrong:.3g} of the decided comparisons are wrong "
            f"takes {least:,} that are all right to say with confidence {confidence:g}",
            where="routing.target",
            # A third of the prompts goes to the ladder, so that 1.5 times as many are needed.
            fix=f"calibrate on pairs of at least {math.ceil(1.5 * least):,} prompts, better {15 * least:,}; "
            "or allow a larger share",
        )
    steps: list[AbstentionStep] = []
    reached = None
    for limit in _from_the_easiest(_ladder(sureness[fit]), sureness[fit], right[fit], wrong):
        decided = tested & (sureness >= limit)
        # 1/2 is an undecided verdict, which counts as wrong.
        mistakes = int((right[decided] < 1).sum())
        p = p_value(int(decided.sum()), mistakes, wrong)
        steps.append(AbstentionStep(limit=limit, decided=int(decided.sum()), wrong=mistakes, p_value=p))
        # Fixed sequence testing: behind the first limit that fails nothing may be tested, or the level would not hold.
        if p > 1 - confidence:
            break
        reached = limit
    limit = _nothing(sureness) if reached is None else reached
    return Abstention(limit, reached is not None, tuple(steps), n, len(np.unique(units[fit])))


def _from_the_easiest(limits: list[float], sureness: Floats, right: Floats, wrong: float) -> list[float]:
    """The limits from the one with the smallest p-value on these pairs, which the test does not see."""
    mistakes = [int((right[sureness >= limit] < 1).sum()) for limit in limits]
    found = [p_value(int((sureness >= limit).sum()), many, wrong) for limit, many in zip(limits, mistakes, strict=True)]
    return limits[int(np.argmin(found)) :]


def _ladder(sureness: Floats) -> list[float]:
    """Limits from the strictest to the loosest."""
    falling = np.sort(sureness[sureness > -math.inf])[::-1]
    limits: list[float] = []
    for share in RUNGS:
        count = math.ceil(share * len(falling) - 1e-9)
        if not count:
            continue
        limit = float(falling[count - 1])
        if limit == math.inf:  # the other rules leave these to the model at any limit
            limit = _nothing(sureness)
        # Pairs that are equally sure give several rungs one limit, which is tested once.
        if not limits or limit < limits[-1]:
            limits.append(limit)
    return limits or [_nothing(sureness)]


def _nothing(sureness: Floats) -> float:
    """A limit that no certainty reaches: probabilities and confidences end at 1, margins with the float."""
    finite = sureness[np.isfinite(sureness)]
    return math.nextafter(1.0, 2.0) if not len(finite) or finite.max() <= 1 else sys.float_info.max


def _one_a_prompt(units: Ints, chosen: Bools, seed: int) -> Bools:
    """One of the chosen pairs of each prompt."""
    places = np.random.default_rng([seed, 13]).permutation(np.flatnonzero(chosen))
    _, first = np.unique(units[places], return_index=True)
    found = np.zeros(len(units), dtype=np.bool_)
    found[places[first]] = True
    return found


def in_words(found: Abstention, wrong: float, confidence: float) -> str:
    """What is certified, or why nothing is."""
    share, sure = f"{100 * wrong:.3g} %", f"{100 * confidence:.3g} %"
    if not found.reached:
        last = found.steps[-1]
        return (
            f"No limit is certified: of {last.decided:,} decided comparisons {last.wrong:,} are wrong, which does not "
            f"show with {sure} confidence that at most {share} are. With this limit the model decides nothing alone."
        )
    return (
        f"With at least {sure} confidence over the draw of the calibration prompts, at most {share} of the comparisons "
        "that the model decides alone are decided wrongly. It holds in finite samples and for any model, for single "
        "comparisons drawn as these were, on average over them and not for each subset; comparisons that fall back to "
        "the model, and the best of several responses, are not covered."
    )
