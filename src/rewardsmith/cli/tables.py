"""Records as tables and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.analysis_lines import analysis_lines
from rewardsmith.cli.formatting import VERDICT_COLOURS, gates_verdict, p_value, percent, percent_interval
from rewardsmith.cli.terminal import Table, one_line
from rewardsmith.records import BenchmarkResult, GatesRecord, TrainRecord


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
    """One benchmark: subsets with intervals beside their baselines."""
    table = Table(title=result.title, title_justify="left", box=None, pad_edge=False)
    table.add_column("subset")
    blind = sorted({name for subset in result.subsets.values() for name in subset.extra_baselines})
    for name in ("rows", "score", "95 % interval", "p (Holm)", "chance", "longer wins", *blind):
        table.add_column(name, justify="right")
    for name, subset in result.subsets.items():
        style = "green" if subset.ci_low > subset.baseline else "red" if subset.ci_high < subset.baseline else "yellow"
        against_chance = subset.p_value if subset.p_holm is None else subset.p_holm
        extra = [percent(subset.extra_baselines.get(column)) for column in blind]
        table.add_row(
            name,
            f"{subset.n:,}",
            Text(percent(subset.score), style=style),
            percent_interval(subset.ci_low, subset.ci_high),
            p_value(against_chance),
            percent(subset.baseline),
            percent(subset.length_baseline),
            *extra,
        )
    if result.average is not None and len(result.subsets) > 1:
        interval = percent_interval(*(result.average_ci or (None, None)))
        chance = percent(result.average_baseline)
        table.add_row("average", "", percent(result.average), interval, "", chance, end_section=True)
    console.print(table)
    for line in analysis_lines(result):
        console.print(one_line(line), highlight=False)


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
