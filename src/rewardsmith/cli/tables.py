"""Records as tables and sentences for a terminal.

What stands beside the scores of a benchmark, in a few plain lines for a terminal; the report has all of it.

Several trainings of one spec as tables: the spread over seeds, and the learning curve.

Numbers and verdicts as all commands print them. Loads nothing heavy: commands import it before they do any work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.terminal import Table, one_line
from rewardsmith.records.evaluation import (
    BenchmarkResult,
    BestOfNCurve,
    Calibration,
    LengthBias,
    SubsetResult,
    reasons_in_words,
)
from rewardsmith.records.run import GatesRecord
from rewardsmith.records.training import LearningCurveRecord, ReplicasRecord, TrainRecord
from rewardsmith.spec.evaluation import RenderingProtocol


def analysis_lines(result: BenchmarkResult) -> Iterator[str]:
    """Lines on spread, length, calibration and best-of-n, as far as the result has them."""
    within = result.rewards.within_prompt
    if within is not None and within.std_median is not None:
        share = "" if within.variance_share is None else f", {100 * within.variance_share:.0f} % of the variance"
        yield (
            f"within a prompt: reward std {within.std_median:.3g} (median of {within.prompts:,}){share}; "
            f"{within.flat:,} flat"
        )
    yield from (f"rewards: {flag.text}" for flag in result.rewards.flags)
    found = result.analysis
    if found is not None and found.length is not None:
        yield from _length(found.length, result.average)
    if found is not None and found.calibration is not None:
        yield _calibration(found.calibration)
    if found is not None and found.best_of_n is not None:
        yield _best_of_n(found.best_of_n)
    if found is not None and found.label_agreement is not None:
        ceiling = found.label_agreement
        yield (
            f"labels: {ceiling.comparisons:,} comparisons were labelled more than once; on these the best model is "
            f"right in {100 * ceiling.ceiling_low:.0f} to {100 * ceiling.ceiling_high:.0f} %"
        )


def _length(length: LengthBias, average: float | None) -> Iterator[str]:
    parts = []
    if length.pearson is not None:
        ends = "" if length.pearson_ci is None else f" ({length.pearson_ci[0]:.2f} to {length.pearson_ci[1]:.2f})"
        parts.append(f"correlation with the reward, given the prompt, {length.pearson:.2f}{ends}")
    if length.longer_wrong.accuracy is not None:
        parts.append(f"right in {100 * length.longer_wrong.accuracy:.1f} % where the longer response is wrong")
    if length.longer_right.accuracy is not None:
        parts.append(f"in {100 * length.longer_right.accuracy:.1f} % where it is right")
    if length.calibrated is not None and length.calibrated.average is not None and average is not None:
        parts.append(f"score without the length trend {100 * length.calibrated.average:.1f} (raw {100 * average:.1f})")
    if parts:
        yield f"length: {', '.join(parts)}"


def _calibration(found: Calibration) -> str:
    if found.temperature is None:
        return f"calibration: {found.note}"
    line = f"calibration: temperature {found.temperature:.3g}"
    if found.ece_debiased is None or found.ece_ci is None or found.brier is None:
        return f"{line}. {found.note}"
    low, high = found.ece_ci
    return f"{line}, ECE {found.ece_debiased:.3f} ({low:.3f} to {high:.3f}), Brier score {found.brier:.3f}"


def _best_of_n(curve: BestOfNCurve) -> str:
    return f"best of n: {curve.text}"


MINUS = "\u2212"
VERDICT_COLOURS = {"PASS": "green", "FAIL": "red", "NO_DATA": "yellow"}


def percent(share: float | None, *, sign: str = "", missing: str = "") -> str:
    """A share in per cent with one decimal: 0.642 → "64.2"; with `sign="+"` also +64.2."""
    return missing if share is None else f"{100 * share:{sign}.1f}".replace("-", MINUS)


def percent_interval(low: float | None, high: float | None, *, sign: str = "") -> str:
    """ "60.1 to 68.0", empty where there is no interval."""
    return "" if low is None or high is None else f"{percent(low, sign=sign)} to {percent(high, sign=sign)}"


def p_value(value: float) -> str:
    """To four decimals, and below that only "< 0.0001"."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def gates_verdict(passing: int, gates: int) -> Text:
    """The last line on gates: PASS where every one does."""
    verdict = Text("PASS", "bold green") if passing == gates else Text("FAIL", "bold red")
    return Text("verdict: ") + verdict + Text(f", {passing} of {gates} gates pass")


def print_train(console: Console, record: TrainRecord, model: Path) -> None:
    """What was trained, how the margin went, where the checkpoint is."""
    console.print(
        f"{record.pairs:,} pairs in {record.steps:,} steps, {record.seconds:,.0f} s "
        f"({record.pairs_per_second:,.1f} pairs/s, {record.prompts_per_step:,.1f} prompts a step, "
        f"{record.peak_memory / 2**30:,.1f} GiB); loss {record.first_loss:.3f} → {record.last_loss:.3f}; "
        f"margin {record.monitor.trend.direction}: {record.monitor.verdict}",
        highlight=False,
    )
    for finding in record.findings:
        console.print(f"{finding.severity}: {finding.title}. {finding.meaning}. {finding.fix}", highlight=False)
    console.print(f"checkpoint: {model}", highlight=False, soft_wrap=True)


def print_result(console: Console, result: BenchmarkResult) -> None:
    """One benchmark: subsets with intervals beside their baselines, what is missing, and the rendering protocol."""
    table = Table(title=result.title, title_justify="left", box=None, pad_edge=False)
    table.add_column("subset")
    blind = sorted({name for subset in result.subsets.values() for name in subset.extra_baselines})
    missing, other = sum(subset.n_missing for subset in result.subsets.values()), _other_protocol(result)
    lacking = ("missing",) if missing else ()
    beside = (other,) if other else ()
    for name in ("rows", *lacking, "score", *beside, "95 % interval", "p (Holm)", "chance", "longer wins", *blind):
        table.add_column(name, justify="right")
    for name, subset in result.subsets.items():
        above, below = subset.ci_low > subset.baseline, subset.ci_high < subset.baseline
        style = "red" if subset.n_missing or below else "green" if above else "yellow"
        against_chance = subset.p_value if subset.p_holm is None else subset.p_holm
        extra = [percent(subset.extra_baselines.get(column)) for column in blind]
        table.add_row(
            name,
            f"{subset.n:,}",
            *((f"{subset.n_missing:,}",) if missing else ()),
            Text(percent(subset.score), style=style),
            *((percent(result.metrics.get(f"protocol_{other}_{name}")),) if other else ()),
            percent_interval(subset.ci_low, subset.ci_high),
            p_value(against_chance),
            percent(subset.baseline),
            percent(subset.length_baseline),
            *extra,
        )
    if result.average is not None and len(result.subsets) > 1:
        interval = percent_interval(*(result.average_ci or (None, None)))
        score = Text(percent(result.average), style="red") if missing else percent(result.average)
        lacking = (f"{missing:,}",) if missing else ()
        beside = (percent(result.metrics.get(f"protocol_{other}_average")),) if other else ()
        chance = percent(result.average_baseline)
        table.add_row("average", "", *lacking, score, *beside, interval, "", chance, end_section=True)
    console.print(table)
    for line in (*missing_lines(result), *_protocol_lines(result, other)):
        console.print(one_line(line), highlight=False, soft_wrap=True)
    for line in analysis_lines(result):
        console.print(one_line(line), highlight=False)


def missing_lines(result: BenchmarkResult) -> Iterator[str]:
    """How many rewards are missing and why; nothing where none is."""
    reasons = result.missing_rewards
    if reasons:
        missing = sum(reasons.values())
        yield (
            f"{missing:,} of {missing + result.rewards.n:,} rewards are missing: {reasons_in_words(reasons)}. They are "
            "scored as the benchmark's rule says, and no gate passes on them; rows.jsonl has the reason of each."
        )


def _other_protocol(result: BenchmarkResult) -> str:
    """The rendering protocol whose scores stand beside these, empty where it gives the same tokens or is not there."""
    names = [name for name in get_args(RenderingProtocol) if f"protocol_{name}_average" in result.metrics]
    return names[0] if names else ""


def _protocol_lines(result: BenchmarkResult, other: str) -> Iterator[str]:
    """By which protocol text became tokens, and what the other one gives."""
    if not result.rendering:
        return
    if not other:
        told = [part for part in result.protocol.split(". ") if "(protocol: " in part]
        yield told[0].rstrip(".") + "." if told else f"Text as training renders it (protocol: {result.rendering})."
        return
    numbers = result.metrics
    differing, lacking = numbers["protocols_texts_that_differ"], numbers.get(f"protocol_{other}_missing")
    missing = f", {lacking:.0f} rewards missing" if lacking else ""
    yield (
        f"protocol {result.rendering}: average {percent(result.average)}; protocol {other}: average "
        f"{percent(numbers[f'protocol_{other}_average'])}{missing} ({differing:.0f} texts have other token ids)"
    )


def print_gates(console: Console, record: GatesRecord) -> None:
    """Gates and warnings that do not pass, and how many do."""
    gates = [outcome for outcome in record.outcomes if outcome.kind == "gate"]
    for outcome in record.outcomes:
        if outcome.verdict != "PASS":
            head = Text(f"{outcome.verdict} ", style=VERDICT_COLOURS[outcome.verdict])
            kind = "" if outcome.kind == "gate" else "(warning) "
            console.print(head + Text(one_line(f"{kind}{outcome.message}")), highlight=False)
    console.print(gates_verdict(sum(outcome.verdict == "PASS" for outcome in gates), len(gates)), highlight=False)


def print_outcome(console: Console, results: Mapping[str, BenchmarkResult], gates: GatesRecord, report: Path) -> None:
    """The short summary at the end of a run."""
    for result in results.values():
        print_result(console, result)
    print_gates(console, gates)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)


def print_variants(
    console: Console,
    results: Mapping[str, BenchmarkResult],
    replicas: ReplicasRecord | None,
    curve: LearningCurveRecord | None,
) -> None:
    """What other seeds and other amounts of data gave, where they were trained."""
    if replicas is not None:
        print_replicas(console, results, replicas)
    if curve is not None:
        print_curve(console, results, curve)


def print_replicas(console: Console, results: Mapping[str, BenchmarkResult], record: ReplicasRecord) -> None:
    """Each score with its interval (other rows) and its spread (other seeds) side by side."""
    title = f"{len(record.seeds)} seeds: {', '.join(map(str, record.seeds))}; the first is this run's model"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("benchmark", "subset"):
        table.add_column(name)
    for name in ("score", "95 % interval over rows", "mean ± std over seeds", "lowest to highest"):
        table.add_column(name, justify="right")
    for key, spread in record.spread.items():
        for name, found in spread.items():
            own = results[key].subsets.get(name)
            table.add_row(
                key,
                name,
                _shown(found.scores[0]),
                _interval(own, results[key]),
                f"{_shown(found.mean)} ± {_shown(found.std)}",
                f"{_shown(found.low)} to {_shown(found.high)}",
            )
    console.print(table)
    for seed, reason in record.stopped.items():
        console.print(f"seed {seed} has no scores: {reason}", markup=False, highlight=False)


def print_curve(console: Console, results: Mapping[str, BenchmarkResult], record: LearningCurveRecord) -> None:
    """Scores against pairs, and the answer in words."""
    table = Table(title="Learning curve", title_justify="left", box=None, pad_edge=False)
    for name in ("share", "pairs", "prompts", *results, "held-out loss"):
        table.add_column(name, justify="right")
    for point in record.points:
        scores = [
            f"{percent(score.score)} ({percent_interval(score.ci_low, score.ci_high)})" if score else "stopped"
            for score in (point.scores.get(key) for key in results)
        ]
        loss = "" if point.loss is None else f"{point.loss:.3f}"
        table.add_row(f"{point.fraction:g}", f"{point.pairs:,}", f"{point.prompts:,}", *scores, loss)
    console.print(table)
    console.print(record.statement, markup=False, highlight=False, soft_wrap=True)


def _interval(subset: SubsetResult | None, result: BenchmarkResult) -> str:
    if subset is not None:
        return percent_interval(subset.ci_low, subset.ci_high)
    return percent_interval(*(result.average_ci or (None, None)))


def _shown(share: float | None) -> str:
    return percent(share, missing="–")
