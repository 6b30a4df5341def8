"""Gates: results and rules in, PASS, FAIL or NO_DATA out. Pure; missing data never passes.

    check_thresholds(gates, baselines)              before training: a threshold at or under chance is refused
    evaluate_gates(results, evaluation, train)      after evaluation: one outcome a rule, in words

What is asked of each benchmark of the spec, and of the spec's own held-out pairs beside them:

    computed      every reward could be computed
    baseline      each subset's 95 % interval lies above its random baseline (held-out pairs: their average's interval)
    minimum       subsets that the spec names reach their lowest score
    spread        rewards differ: their standard deviation, their distinct values as a share of distinct texts
    ood_gap       skill on the held-out pairs and on the benchmark are close, whichever is higher;
                  skill = (score - chance) / (1 - chance)
    length        where the longer answer is right and where it is wrong, the accuracy is about the same
    probe         a bias probe holds (`evaluation.probes.running` says when); as warnings, all probes are one `probes`
    attack        edits without meaning flip no more pairs than the spec allows, where it asks for an attack
    margin, reward_range          warnings from training, where its record is given

A gate decides the exit code, a warning does not. Reads records and the spec only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from rewardsmith.errors import SpecError
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.evaluation import BenchmarkResult, LengthBias, SubsetResult, reasons_in_words
from rewardsmith.records.probes import ProbeResult, ProbesRecord
from rewardsmith.records.run import GateOutcome, GatesRecord, Verdict
from rewardsmith.records.training import TrainRecord
from rewardsmith.spec import EvaluationSpec, GatesSpec, OodSpec
from rewardsmith.spec.evaluation import HELD_OUT, LengthGate, ProbeGatesSpec
from rewardsmith.spec.section import nearest

AVERAGE = "average"
PROBES = "probes"
"""What stands in an outcome's `benchmark` for bias probes."""
ATTACK = "attack"
FEWEST_ATTACKED = 10
FEWEST_OF_A_LENGTH = 10
"""Pairs on each side under which an accuracy says nothing."""

_ROUNDING = 1e-9
_FLAT = "Rewards that hardly differ tell a policy nothing."
_SATURATED = "Many texts get the very same reward: the model is saturated, or its numbers are too coarse."
OWN_DISTRIBUTION = (
    "Distribution-specific fitting: the model knows data like its own and does not carry over. Its skill may rest on "
    "the style of its sources. Add other sources."
)
BENCHMARK_FITTED = (
    "Benchmark-specific fitting: the model does better on the benchmark than on data like its own. Its training data "
    "may hold the benchmark's rows. Check the overlap, and the labels of the held-out pairs."
)


def check_thresholds(gates: GatesSpec, baselines: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse thresholds that a guessing model would pass, or that no row can ever be compared with.

    Args:
        gates: the spec's gates.
        baselines: benchmark key → subset (and `average`) → random baseline, from the benchmark's own rows.

    Raises:
        SpecError: a threshold is at or under its baseline, or names a benchmark or subset that is not there.
    """
    for benchmark, minimum in gates.minimum.items():
        field = f"evaluation.gates.minimum.{benchmark}"
        if benchmark not in baselines:
            raise SpecError(f"no benchmark {benchmark!r} is evaluated", where=field, fix=nearest(benchmark, baselines))
        for subset, threshold in minimum.items():
            where, known = f"{field}.{subset}", baselines[benchmark]
            if subset not in known:
                raise SpecError(f"the rows have no subset {subset!r}", where=where, fix=nearest(subset, known))
            if not threshold > known[subset] + _ROUNDING:
                raise SpecError(
                    f"{threshold:g} is not above the random baseline {known[subset]:.4g} of these rows, so that a "
                    "model that guesses would pass",
                    where=where,
                    fix=f"write more than {known[subset]:.4g}, or leave the line out",
                )


def evaluate_gates(
    results: Mapping[str, BenchmarkResult],
    evaluation: EvaluationSpec,
    train: TrainRecord | None = None,
    probes: ProbesRecord | None = None,
    attack: AttackRecord | None = None,
) -> GatesRecord:
    """The verdict on a run.

    Args:
        results: benchmark key (`BenchmarkSpec.key`; `held_out` for the spec's own held-out pairs) → its results.
        evaluation: the benchmarks that were asked for, and the rules.
        train: what training recorded; its warnings are left out when None.
        probes: what the bias probes found, with verdicts; None where they did not run.
        attack: what an attack found; None where none was made.

    Returns:
        Outcomes in a fixed order; `passed` when every gate passes. A benchmark without results is NO_DATA, which fails.
    """
    keys = [benchmark.key for benchmark in evaluation.benchmarks]
    outcomes = [outcome for key in keys for outcome in _benchmark_gates(key, results.get(key), evaluation.gates)]
    outcomes += _held_out_gates(results.get(HELD_OUT), evaluation.gates)
    for key in keys:
        outcomes += _ood_gap(key, results.get(key), results.get(HELD_OUT), evaluation.gates.ood)
    outcomes += length_outcomes(results, evaluation.gates.length)
    if not outcomes:
        outcomes.append(_outcome("computed", HELD_OUT, "NO_DATA", "nothing was evaluated."))
    if evaluation.probes.pairs:
        outcomes += probe_outcomes(probes, evaluation.gates.probes)
    if evaluation.gates.maximum_flipped is not None:
        outcomes.append(attack_outcome(attack, evaluation.gates.maximum_flipped))
    outcomes += _training_warnings(train)
    passed = all(outcome.verdict == "PASS" for outcome in outcomes if outcome.kind == "gate")
    return GatesRecord(passed=passed, outcomes=tuple(outcomes))


def skill(score: float, baseline: float) -> float:
    """How far a score is from chance (0) to perfect (1); negative below chance."""
    return (score - baseline) / (1 - baseline)


def _benchmark_gates(key: str, result: BenchmarkResult | None, gates: GatesSpec) -> Iterator[GateOutcome]:
    """All gates of one benchmark except the gap to the held-out pairs."""
    if result is None or not result.subsets:
        yield _outcome("computed", key, "NO_DATA", f"{key} has no results. Run `rewardsmith evaluate` on it.")
    else:
        yield _computed(key, result)
        if gates.above_baseline:
            yield from (_above_baseline(key, name, subset) for name, subset in result.subsets.items())
    yield from (_minimum(key, name, threshold, result) for name, threshold in gates.minimum.get(key, {}).items())
    if result is not None:
        yield from _spread(key, result, gates)


def _held_out_gates(result: BenchmarkResult | None, gates: GatesSpec) -> Iterator[GateOutcome]:
    """Gates of the held-out pairs: as for a benchmark, but the interval of the average counts, not each subset's."""
    if result is not None:
        yield _computed(HELD_OUT, result)
        if gates.above_baseline:
            yield _average_above_baseline(result)
        yield from _spread(HELD_OUT, result, gates)
    yield from (_minimum(HELD_OUT, name, low, result) for name, low in gates.minimum.get(HELD_OUT, {}).items())


def _computed(key: str, result: BenchmarkResult) -> GateOutcome:
    """Every reward is there."""
    missing = sum(subset.n_missing for subset in result.subsets.values())
    total = missing + result.rewards.n
    if missing:
        why = reasons_in_words(result.missing_rewards)
        text = f"{missing} of {total} rewards could not be computed ({why}): a missing reward is no evidence."
        return _outcome("computed", key, "FAIL", text, value=float(missing), threshold=0.0)
    return _outcome("computed", key, "PASS", f"all {total} rewards were computed.", value=0.0, threshold=0.0)


def _above_baseline(key: str, name: str, subset: SubsetResult) -> GateOutcome:
    """The interval of one subset lies above chance."""
    found = f"{name} {_percent(subset.score)} ({_percent(subset.ci_low)} to {_percent(subset.ci_high)})"
    passed = subset.n_missing == 0 and subset.ci_low > subset.baseline + _ROUNDING
    if subset.n_missing:
        text = f"{found}, but {subset.n_missing} of its rewards are missing."
    elif passed:
        text = f"{found} is above chance ({_percent(subset.baseline)})."
    elif subset.ci_high < subset.baseline - _ROUNDING:
        text = f"{found} is below chance ({_percent(subset.baseline)}): the model prefers wrong responses."
    else:
        text = f"{found} cannot be told from chance ({_percent(subset.baseline)})."
    value, threshold = subset.ci_low, subset.baseline
    return _outcome("baseline", key, _verdict(passed), text, subset=name, value=value, threshold=threshold)


def _average_above_baseline(result: BenchmarkResult) -> GateOutcome:
    """The interval of the held-out accuracy lies above chance."""
    average, interval, chance = result.average, result.average_ci, result.average_baseline
    if average is None or interval is None or chance is None:
        return _outcome("baseline", HELD_OUT, "NO_DATA", "the held-out pairs have no score.", subset=AVERAGE)
    passed = interval[0] > chance + _ROUNDING
    found = f"held-out pairs {_percent(average)} ({_percent(interval[0])} to {_percent(interval[1])})"
    text = f"{found} {'is above chance' if passed else 'cannot be told from chance'} ({_percent(chance)})."
    return _outcome("baseline", HELD_OUT, _verdict(passed), text, subset=AVERAGE, value=interval[0], threshold=chance)


def _minimum(key: str, name: str, threshold: float, result: BenchmarkResult | None) -> GateOutcome:
    """A subset, or the average, reaches the score that the spec asks for."""
    subset = result.subsets.get(name) if result else None
    score = subset.score if subset else result.average if result and name == AVERAGE else None
    if score is None or result is None:
        text = f"{name} has no score, so that {_percent(threshold)} was not reached."
        return _outcome("minimum", key, "NO_DATA", text, subset=name, threshold=threshold)
    missing = subset.n_missing if subset else sum(part.n_missing for part in result.subsets.values())
    if missing:
        text = f"{name} {_percent(score)}, but {missing} of its rewards are missing."
        return _outcome("minimum", key, "FAIL", text, subset=name, value=score, threshold=threshold)
    passed = score >= threshold - _ROUNDING
    text = f"{name} {_percent(score)} {'reaches' if passed else 'is under'} the minimum of {_percent(threshold)}."
    return _outcome("minimum", key, _verdict(passed), text, subset=name, value=score, threshold=threshold)


def _spread(key: str, result: BenchmarkResult, gates: GatesSpec) -> Iterator[GateOutcome]:
    """Rewards differ enough to tell a policy anything."""
    rewards = result.rewards
    share = rewards.distinct / rewards.texts if rewards.n and rewards.texts else None
    asked = (
        ("spread_std", rewards.std, gates.spread.min_std, "reward standard deviation {:.4g}", _FLAT),
        ("spread_distinct", share, gates.spread.min_distinct, "{:.4g} distinct rewards a distinct text", _SATURATED),
    )
    for name, value, threshold, found, reason in asked:
        if threshold is not None and value is None:
            yield _outcome(name, key, "NO_DATA", "there are no rewards.", threshold=threshold)
        elif threshold is not None and value is not None:
            passed = value >= threshold - _ROUNDING
            text = f"{found.format(value)}, at least {threshold:g} asked." + ("" if passed else f" {reason}")
            yield _outcome(name, key, _verdict(passed), text, value=value, threshold=threshold)


def _ood_gap(
    key: str, result: BenchmarkResult | None, held_out: BenchmarkResult | None, rule: OodSpec
) -> Iterator[GateOutcome]:
    """Skill on the held-out pairs minus skill on the benchmark, flagged in both directions."""
    if rule.max_gap is None:
        return
    own, other, limit, kind = _average_skill(held_out), _average_skill(result), rule.max_gap, rule.kind
    if own is None or other is None:
        text = f"{'the held-out pairs have' if own is None else f'{key} has'} no score to compare."
        yield _outcome("ood_gap", key, "NO_DATA", text, threshold=limit, kind=kind)
        return
    gap = own - other
    found = f"skill {own:.2f} on the held-out pairs, {other:.2f} on {key} (0 is chance, 1 is perfect)"
    if abs(gap) <= limit + _ROUNDING:
        yield _outcome("ood_gap", key, "PASS", f"{found}.", value=gap, threshold=limit, kind=kind)
        return
    reason = OWN_DISTRIBUTION if gap > 0 else BENCHMARK_FITTED
    yield _outcome("ood_gap", key, "FAIL", f"{found}. {reason}", value=gap, threshold=limit, kind=kind)


def _average_skill(result: BenchmarkResult | None) -> float | None:
    if result is None or result.average is None or result.average_baseline is None or result.average_baseline >= 1:
        return None
    return skill(result.average, result.average_baseline)


def length_outcomes(results: Mapping[str, BenchmarkResult], rule: LengthGate) -> list[GateOutcome]:
    """Length bias of each set whose pairs can tell, held-out pairs first; NO_DATA where none can.

    The gap of the two accuracies is 0 for a model that goes by which answer is right, however uneven the lengths are,
    and 1 for one that goes by length alone; its interval is MOVER's (Zou and Donner 2008), from theirs.
    """
    if rule.max_gap is None or not results:
        return []
    order = sorted(results, key=lambda key: not results[key].held_out)
    found = [outcome for key in order for outcome in _length_gap(key, results[key], rule.max_gap, rule.kind)]
    if found:
        return found
    text = f"no set has {FEWEST_OF_A_LENGTH} pairs where the longer answer is right and as many where it is wrong."
    return [_outcome("length", "", "NO_DATA", text, threshold=rule.max_gap, kind=rule.kind)]


def _length_gap(
    key: str, result: BenchmarkResult, limit: float, kind: Literal["gate", "warning"]
) -> Iterator[GateOutcome]:
    length = result.analysis.length if result.analysis else None
    if length is None or min(length.longer_right.n, length.longer_wrong.n) < FEWEST_OF_A_LENGTH:
        return
    right, wrong = (_ends(share) for share in (length.longer_right, length.longer_wrong))
    gap = right[0] - wrong[0]
    low = gap - math.hypot(right[0] - right[1], wrong[2] - wrong[0])
    high = gap + math.hypot(right[2] - right[0], wrong[0] - wrong[1])
    sides = [
        f"{_percent(share)} of {n} pairs where the longer answer is {word}"
        for share, n, word in (
            (right[0], length.longer_right.n, "right"),
            (wrong[0], length.longer_wrong.n, "wrong"),
        )
    ]
    found = f"right in {sides[0]}, in {sides[1]}: {100 * gap:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    passed = low <= limit + _ROUNDING and high >= -limit - _ROUNDING
    reason = "" if passed else f" Length decides pairs in place of meaning{_correlation(length)}."
    yield _outcome("length", key, _verdict(passed), f"{found}.{reason}", value=gap, threshold=limit, kind=kind)


def _ends(share: PairShare) -> tuple[float, float, float]:
    return share.accuracy or 0.0, share.ci_low or 0.0, 1.0 if share.ci_high is None else share.ci_high


def _correlation(length: LengthBias) -> str:
    if length.pearson is None or length.pearson_ci is None:
        return ""
    low, high = length.pearson_ci
    return f"; within a prompt reward and length correlate at {length.pearson:.2f} ({low:.2f} to {high:.2f})"


def probe_outcomes(record: ProbesRecord | None, rules: ProbeGatesSpec) -> list[GateOutcome]:
    """One outcome for each probe that is a gate, one warning for all the others together.

    A probe that did not have enough data fails where the spec names it as a gate; under a rule for all probes it is a
    warning, because no data set has rows for every probe. If no gate has data at all, that is a gate without data.

    Args:
        record: probes with verdicts; None where they did not run.
        rules: `evaluation.gates.probes`.
    """
    if record is None:
        asked = rules.kind == "gate" or any(rule.kind == "gate" for rule in rules.each.values())
        text = "bias probes did not run: there are no rows to edit. Name some in evaluation.probes.data."
        return [_outcome("probe", PROBES, "NO_DATA", text)] if asked else []
    kinds = {code: (rules.each[code].kind if code in rules.each else None) or rules.kind for code in record.probes}
    gates = [_probe_gate(code, record, rules) for code, kind in kinds.items() if kind == "gate"]
    if gates and all(outcome.verdict == "NO_DATA" for outcome in gates):
        gates.append(_outcome("probe", PROBES, "NO_DATA", "no bias probe has enough data for a verdict."))
    others = {code: record.probes[code] for code, kind in kinds.items() if kind == "warning"}
    return gates + ([_probe_warning(record, others)] if others else [])


def _probe_gate(code: str, record: ProbesRecord, rules: ProbeGatesSpec) -> GateOutcome:
    result = record.probes[code]
    named = code in rules.each and rules.each[code].kind == "gate"
    verdict = result.verdict or "NO_DATA"
    kind: Literal["gate", "warning"] = "gate" if named or verdict != "NO_DATA" else "warning"
    text = f"{result.title}: {result.message}"
    return _outcome("probe", PROBES, verdict, text, subset=code, value=result.wrong, kind=kind)


def _probe_warning(record: ProbesRecord, results: Mapping[str, ProbeResult]) -> GateOutcome:
    """All probes that are no gates, in one line: a warning for each would drown the gates."""
    failed = [code for code, result in results.items() if result.verdict == "FAIL"]
    decided = [code for code, result in results.items() if result.verdict in ("PASS", "FAIL")]
    verdict: Verdict = "FAIL" if failed else "PASS" if decided else "NO_DATA"
    text = f"{len(failed)} of {len(decided)} bias probes fail" + (f": {', '.join(failed)}" if failed else "")
    few = len(results) - len(decided)
    text += f"; {few} more have too little data." if few else "."
    constant = " All rewards are equal." if record.constant else ""
    value = float(len(failed)) if decided else None
    return _outcome("probes", PROBES, verdict, text + constant, value=value, threshold=0.0, kind="warning")


def attack_outcome(record: AttackRecord | None, limit: float) -> GateOutcome:
    """Whether edits without meaning flip no more than a share of the attacked pairs.

    A search that ended before every edit was tried on every pair proves nothing, and neither do a few pairs: NO_DATA.
    """
    if record is None:
        text = "no pair was attacked: there are no rows. Name some in evaluation.attack.data."
        return _outcome(ATTACK, ATTACK, "NO_DATA", text, threshold=limit)
    last = record.levels[-1]
    if record.attacked < FEWEST_ATTACKED:
        text = f"{record.attacked} pairs were attacked; at least {FEWEST_ATTACKED} are needed to judge."
        return _outcome(ATTACK, ATTACK, "NO_DATA", text, threshold=limit)
    found = (
        f"up to {last.edits} edits without meaning flip {_percent(last.share)} of {record.attacked} pairs "
        f"({_percent(last.share_low)} to {_percent(last.share_high)})"
    )
    if last.share > limit + _ROUNDING:
        text = f"{found}, more than {_percent(limit)}."
        return _outcome(ATTACK, ATTACK, "FAIL", text, value=last.share, threshold=limit)
    if not last.complete:
        limit_hit = record.budget.ended_by
        text = f"{found}, but the search ended early ({limit_hit}): raise evaluation.attack.{limit_hit or 'queries'}."
        return _outcome(ATTACK, ATTACK, "NO_DATA", text, value=last.share, threshold=limit)
    return _outcome(ATTACK, ATTACK, "PASS", f"{found}.", value=last.share, threshold=limit)


def _training_warnings(train: TrainRecord | None) -> Iterator[GateOutcome]:
    """What training saw, beside the gates: its own rules have already stopped it where the spec asked for that."""
    if train is None:
        return
    verdicts: dict[str, Verdict] = {"learning": "PASS", "too short": "NO_DATA"}
    monitor = train.monitor
    text = f"margin over {monitor.steps} steps: {monitor.verdict}, trend {monitor.trend.slope_per_step:+.3g} per step."
    yield GateOutcome(
        name="margin",
        kind="warning",
        verdict=verdicts.get(monitor.verdict, "FAIL"),
        value=monitor.trend.slope_per_step,
        message=f"{text} {monitor.advice}".strip(),
    )
    if train.reward_range is not None:
        low, high = train.reward_range
        outside = train.outside_reward_range
        text = (
            f"{outside} step{'s' * (outside != 1)} of training with a reward outside {low:g} to {high:g}."
            if outside
            else f"all within {low:g} to {high:g}."
        )
        yield GateOutcome(
            name="reward_range", kind="warning", verdict=_verdict(outside == 0), value=float(outside), message=text
        )


def _outcome(
    name: str,
    benchmark: str,
    verdict: Verdict,
    message: str,
    *,
    subset: str = "",
    value: float | None = None,
    threshold: float | None = None,
    kind: Literal["gate", "warning"] = "gate",
) -> GateOutcome:
    return GateOutcome(
        name=name,
        kind=kind,
        verdict=verdict,
        benchmark=benchmark,
        subset=subset,
        value=value,
        threshold=threshold,
        message=message,
    )


def _verdict(passed: bool) -> Verdict:
    return "PASS" if passed else "FAIL"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
