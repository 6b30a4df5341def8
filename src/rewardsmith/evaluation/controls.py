"""Negative controls: what changed data must give, and whether they do.

    measured = Measured(margins of each control, …)
    results, note = place_controls(measured, seed=…, resamples=…)

Each control answers a question that a reviewer asks of a score:

    labels swapped       trained on swapped labels, the accuracy mirrors: 1 - that of the reference. If it does not, the
                         score does not come from the labels
    labels shuffled      trained on labels of which a random half is swapped: chance. If it is above, something other
                         than labels tells the right answers
    prompts removed      trained and asked without prompts: the prompt-blind ceiling, from chance up to the reference.
                         As high as the reference, and the score says nothing of reading prompts
    prompts exchanged    the reference asked about each pair under the prompt of another: from chance up to the
                         prompt-blind ceiling. Above it, the answer is known without the question

The reference is trained on the same share of the data as the controls. Differences to it are paired, pair by pair, with
prompts as the units of the bootstrap. Another seed of one training moves an accuracy by some points, which an interval
of rows does not hold; so a control is outside only where its interval lies beyond `TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rewardsmith import statistics
from rewardsmith.evaluation.analysis import pair_share
from rewardsmith.evaluation.contract import Floats
from rewardsmith.evaluation.distribution import Ints, Margins, group_sums
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.training import ControlName, ControlResult

TOLERANCE = 0.05
CHANCE = 0.5

CHANGED: Mapping[ControlName, str] = {
    "labels_swapped": "trained with chosen and rejected swapped",
    "labels_shuffled": "trained with a random half of the pairs swapped",
    "prompts_removed": "trained and asked without prompts",
    "prompts_exchanged": "the reference, asked under the prompts of other pairs",
}
TRAINED: tuple[ControlName, ...] = ("labels_swapped", "labels_shuffled", "prompts_removed")


@dataclass(frozen=True, slots=True)
class Measured:
    """Margins of the same P held-out pairs, NaN where a reward is missing; `prompts` numbers their own prompts."""

    reference: Floats
    controls: Mapping[ControlName, Floats]
    prompts: Ints
    left_out: Mapping[ControlName, int]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Where theory puts an accuracy, and the difference that decides, by pair: 0 at the bound."""

    low: float
    high: float
    words: str
    above: Floats
    below: Floats


def accuracy(margins_P: Floats, prompts_P: Ints, seed: int, resamples: int) -> PairShare:
    """Accuracy over the pairs that have both rewards."""
    known_P = ~np.isnan(margins_P)
    margins = Margins(margins_P[known_P], margins_P[known_P], prompts_P[known_P])
    return pair_share(margins, np.ones(int(known_P.sum()), dtype=bool), seed, resamples)


def place_controls(measured: Measured, *, seed: int, resamples: int) -> tuple[tuple[ControlResult, ...], str]:
    """Every control with its accuracy and its place, and why they say little where they do.

    Args:
        measured: rewards of the reference and of every control.
        seed: of the bootstraps over prompts.
        resamples: bootstrap resamples.
    """
    results = tuple(
        _placed(name, measured, _bounds(name, measured), seed, resamples)
        for name in CHANGED
        if name in measured.controls
    )
    reference = accuracy(measured.reference, measured.prompts, seed, resamples)
    note = ""
    if reference.ci_low is None or reference.ci_low <= CHANCE:
        note = (
            "The reference, trained on this share, cannot be told from chance, so the controls prove little: raise "
            "evaluation.controls.share."
        )
    return results, note


def _right(margins_P: Floats) -> Floats:
    """1 where the chosen answer has the higher reward, 1/2 for equal rewards, 0 else; NaN stays NaN."""
    return (np.sign(margins_P) + 1) / 2


def _bounds(name: ControlName, measured: Measured) -> _Bounds:
    own_P, reference_P = _right(measured.controls[name]), _right(measured.reference)
    reference = float(np.nanmean(reference_P))
    chance_P = own_P - CHANCE
    if name == "labels_swapped":
        mirrored_P = own_P + reference_P - 1
        words = f"1 - the reference: {100 * (1 - reference):.1f} %"
        return _Bounds(1 - reference, 1 - reference, words, mirrored_P, mirrored_P)
    if name == "labels_shuffled":
        return _Bounds(CHANCE, CHANCE, "chance: 50 %", chance_P, chance_P)
    if name == "prompts_removed" or "prompts_removed" not in measured.controls:
        high = max(CHANCE, reference)
        words = f"chance to the reference: 50 to {100 * high:.1f} %"
        return _Bounds(CHANCE, high, words, own_P - (reference_P if reference > CHANCE else CHANCE), chance_P)
    blind_P = _right(measured.controls["prompts_removed"])
    blind = float(np.nanmean(blind_P))
    words = f"chance to the prompt-blind ceiling: 50 to {100 * max(CHANCE, blind):.1f} %"
    return _Bounds(CHANCE, max(CHANCE, blind), words, own_P - (blind_P if blind > CHANCE else CHANCE), chance_P)


def _placed(name: ControlName, measured: Measured, bounds: _Bounds, seed: int, resamples: int) -> ControlResult:
    found = accuracy(measured.controls[name], measured.prompts, seed, resamples)
    value = found.accuracy if found.accuracy is not None else CHANCE
    is_above = value >= (bounds.low + bounds.high) / 2
    difference_P = bounds.above if is_above else bounds.below
    low, high = _interval(difference_P, measured.prompts, seed, resamples)
    outside = low > TOLERANCE if is_above else high < -TOLERANCE
    distance = value - bounds.high if value > bounds.high else min(0.0, value - bounds.low)
    return ControlResult(
        name=name,
        changed=CHANGED[name],
        trained=name in TRAINED,
        left_out=measured.left_out.get(name, 0),
        accuracy=found,
        expected=bounds.words,
        expected_low=bounds.low,
        expected_high=bounds.high,
        distance=distance,
        distance_ci=(low, high),
        outside=outside,
        text=_text(name, measured, outside, is_above, seed, resamples),
    )


def _interval(difference_P: Floats, prompts_P: Ints, seed: int, resamples: int) -> tuple[float, float]:
    """Of the mean of a difference, by bootstrap over prompts; the widest where no pair has it."""
    known_P = ~np.isnan(difference_P)
    if not known_P.any():
        return -1.0, 1.0
    units_GF = group_sums([difference_P[known_P], np.ones(int(known_P.sum()))], prompts_P[known_P])
    sums_BF = statistics.bootstrap_sums(units_GF, seed=seed, resamples=resamples)
    interval = statistics.percentile_interval(sums_BF[:, 0] / sums_BF[:, 1])
    return interval.low, interval.high


_ABOVE: Mapping[ControlName, str] = {
    "labels_swapped": "the score does not come from the labels alone",
    "labels_shuffled": "held-out pairs may stand in the training data",
    "prompts_removed": "the model does better without the prompt: look at the template, and at what it cuts",
    "prompts_exchanged": "the answer is known without the question, by more than a model without prompts knows",
}


def _text(name: ControlName, measured: Measured, outside: bool, is_above: bool, seed: int, resamples: int) -> str:
    if outside:
        below = "it prefers the wrong answers where nothing of them can be known"
        reason = _ABOVE[name] if is_above or name == "labels_swapped" else below
        return f"Surely {'above' if is_above else 'below'} what theory allows: {reason}."
    if name == "prompts_removed":
        gain_P = _right(measured.reference) - _right(measured.controls[name])
        low, high = _interval(gain_P, measured.prompts, seed, resamples)
        gain = f"{100 * float(np.nanmean(gain_P)):+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        if low <= 0:
            return f"The prompt adds {gain}: it cannot be shown that the model reads it."
        return f"The prompt adds {gain}."
    return "Where theory puts it."
