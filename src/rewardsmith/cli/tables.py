"""Records as tables and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.analysis_lines import analysis_lines
from rewardsmith.cli.formatting import VERDICT_COLOURS, gates_verdict, p_value, percent, percent_interval
from rewardsmith.cli.terminal import Table, one_line
from rewardsmith.records import BenchmarkResult, GatesRecord, TrainRecord, reasons_in_words
from rewardsmith.spec.evaluation import RenderingProtocol


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
