"""From what a probe measured to PASS, FAIL or NO_DATA, by limits and with the interval on the right side of them.

The burden of proof differs, so that every planted scorer gets the verdict that it deserves:

    surface      FAIL only when the bias is sure: the share that rises is above its limit by its whole interval, or the
                 mean shift is. A model that ignores the edit raises half of the rewards, by noise: it passes.
    destroyed    PASS only when the damage is surely seen: the share that does not fall is below its limit by its whole
                 interval, and so is the mean shift. A guessing or constant model fails, as it does on a benchmark.

Either of the two surface rules alone would miss something: a small rise of nearly every reward is a direction that a
policy climbs, and so is a large rise of a few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rewardsmith.records import ProbeResult, ProbesRecord, ProbeVerdict
from rewardsmith.spec.probes import ProbeGatesSpec

MOST_MISSING = 0.1
"""Largest share of missing rewards, of the responses that an edit applies to, with which a probe is judged."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one probe is asked; None where a number is not asked."""

    max_wrong: float | None
    max_shift: float | None


def judge_probes(record: ProbesRecord, rules: ProbeGatesSpec) -> ProbesRecord:
    """The record with a verdict and its reason, in words, for every probe."""
    judged = {}
    for code, result in record.probes.items():
        verdict, message = judge_probe(result, limits_of(code, result, rules), rules.min_prompts)
        judged[code] = result.model_copy(update={"verdict": verdict, "message": message})
    return record.model_copy(update={"probes": judged})


def limits_of(code: str, result: ProbeResult, rules: ProbeGatesSpec) -> Limits:
    """The limits of a probe: its own rule's, else those of its kind."""
    general = rules.surface if result.kind == "surface" else rules.destroyed
    own = rules.each.get(code)
    wrong = own.max_wrong if own and own.max_wrong is not None else general.max_wrong
    shift = own.max_shift if own and own.max_shift is not None else general.max_shift
    return Limits(wrong, shift)


def judge_probe(result: ProbeResult, limits: Limits, min_prompts: int) -> tuple[ProbeVerdict, str]:
    """Verdict and message of one probe."""
    applicable = result.n + result.n_missing
    if result.n_missing > MOST_MISSING * applicable:
        return "NO_DATA", f"{result.n_missing} of {applicable} rewards could not be computed: too many to judge."
    if result.prompts < min_prompts or result.wrong is None:
        return "NO_DATA", f"the edit applies to {result.prompts} prompts; at least {min_prompts} are needed to judge."
    numbers = (result.wrong, result.wrong_low, result.wrong_high, result.shift_low, result.shift_high)
    if not all(number is None or math.isfinite(number) for number in numbers):
        return "NO_DATA", "its share or shift is no finite number: nothing can be judged by it."
    rule = _surface if result.kind == "surface" else _destroyed
    verdict, reason = rule(result, limits)
    missing = f" {result.n_missing} rewards are missing." if result.n_missing else ""
    return verdict, f"{_found(result)}: {reason}{missing}"


def _surface(result: ProbeResult, limits: Limits) -> tuple[ProbeVerdict, str]:
    """FAIL when a bias is sure."""
    wrong, shift = limits.max_wrong, limits.max_shift
    often = wrong is not None and result.wrong_low is not None and result.wrong_low > wrong
    far = shift is not None and result.shift_low is not None and result.shift_low > shift
    if often and far:
        return "FAIL", f"surely more than {_percent(wrong)} rise, and surely by more than {shift:g} std on average."
    if often:
        return "FAIL", f"surely more than {_percent(wrong)} rise."
    if far:
        return "FAIL", f"the mean shift is surely above {shift:g} std."
    return "PASS", "no preference for this surface is shown."


def _destroyed(result: ProbeResult, limits: Limits) -> tuple[ProbeVerdict, str]:
    """PASS when the damage is surely seen."""
    wrong, shift = limits.max_wrong, limits.max_shift
    seldom = wrong is None or (result.wrong_high is not None and result.wrong_high < wrong)
    down = shift is None or result.shift_high is None or result.shift_high < shift
    if not seldom:
        return "FAIL", f"it is not sure that fewer than {_percent(wrong)} fail to fall; the damage is not seen."
    if not down:
        return "FAIL", f"most rewards fall, but the mean shift is not surely below {shift:g} std: some rise far."
    return "PASS", "the damage is seen."


def _found(result: ProbeResult) -> str:
    """What was measured, in one phrase."""
    went = "rise" if result.kind == "surface" else "do not fall"
    share = f"{_percent(result.wrong)} of {result.n} rewards {went} ({_range(result.wrong_low, result.wrong_high)})"
    if result.shift is None:
        return f"{share}, no shift in std: the unedited responses all have one reward"
    return f"{share}, mean shift {result.shift:+.2f} std ({result.shift_low:+.2f} to {result.shift_high:+.2f})"


def _range(low: float | None, high: float | None) -> str:
    return f"{_percent(low)} to {_percent(high)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
