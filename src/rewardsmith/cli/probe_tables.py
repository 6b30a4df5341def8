"""What `rewardsmith probe` prints: the probes, or the numbers of a policy's own samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from rewardsmith.cli.tables import VERDICT_COLOURS, gates_verdict
from rewardsmith.cli.terminal import Table, one_line
from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.probes import PolicySamplesRecord, ProbeResult, ProbesRecord
from rewardsmith.records.run import GateOutcome
from rewardsmith.report.sections.probes import WANTED, by_harm


def print_probes(console: Console, record: ProbesRecord, outcomes: Sequence[GateOutcome]) -> None:
    """Every probe, failures first, then by the share that goes the wrong way; what failures mean; the verdict."""
    table = Table(title=f"Bias probes: {record.title}", title_justify="left", box=None, pad_edge=False)
    for name in ("verdict", "probe", "reward"):
        table.add_column(name)
    for name in ("responses", "wrong way", "95 % interval", "shift, std", "95 % interval"):
        table.add_column(name, justify="right")
    ranked = by_harm(record)
    for result in ranked.values():
        table.add_row(*_probe_row(result))
    console.print(table)
    if record.missing:
        total = sum(record.missing.values())
        why = f"{total:,} of {record.asked:,} rewards are missing: {reasons_in_words(record.missing)}"
        console.print(one_line(why), highlight=False, soft_wrap=True)
    for result in ranked.values():
        if result.verdict == "FAIL":
            console.print(f"{result.title}: {result.why}", highlight=False)
    if record.constant or record.flat:
        console.print(Text("every " + ("" if record.constant else "unedited ") + "response gets the same reward"))
    gates = [outcome for outcome in outcomes if outcome.kind == "gate"]
    if gates:
        console.print(gates_verdict(sum(outcome.verdict == "PASS" for outcome in gates), len(gates)), highlight=False)


def _probe_row(result: ProbeResult) -> list[Any]:
    verdict = result.verdict or ""
    measured = [_share(result.wrong), _interval(result.wrong_low, result.wrong_high, 100, "{:.0f}")]
    measured += [_number(result.shift), _interval(result.shift_low, result.shift_high, 1, "{:+.2f}")]
    responses = f"{result.n:,}" + (f" ({result.n_missing} missing)" if result.n_missing else "")
    shown = Text(verdict, style=VERDICT_COLOURS.get(verdict, ""))
    return [shown, result.title, WANTED[result.kind], responses, *measured]


def print_policy(console: Console, record: PolicySamplesRecord) -> None:
    """The few numbers of a policy's samples, and what they mean."""
    table = Table(title="The policy's own samples", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    within = _interval(record.within_std_low, record.within_std_high, 1, "{:.3g}")
    table.add_row("prompts, completions", f"{record.prompts:,}, {record.completions:,}", "")
    table.add_row("reward standard deviation", _plain(record.reward_std), "")
    table.add_row("  within prompts", _plain(record.within_std), within)
    table.add_row("  between prompts", _plain(record.between_std), "")
    table.add_row("share of the variance within prompts", _share(record.within_share), "")
    flat = _interval(record.flat_low, record.flat_high, 100, "{:.0f}")
    table.add_row("prompts with a flat reward", _share(record.flat_share), flat)
    for n, gain in record.gains.items():
        table.add_row(f"gain of best-of-{n}, reward", _plain(gain), "")
    if record.labels is not None:
        labels = record.labels
        auc = _interval(labels.auc_low, labels.auc_high, 100, "{:.0f}")
        table.add_row("right completions", _share(labels.correct), "")
        table.add_row("right above wrong, same prompt", _share(labels.auc), auc)
        table.add_row("right above wrong, any prompt", _share(labels.pooled_auc), "")
    console.print(table)
    if record.n_missing:
        why = reasons_in_words(record.missing) or "no reason is known"
        line = f"{record.n_missing:,} of {record.completions:,} rewards are missing: {why}"
        console.print(one_line(line), highlight=False, soft_wrap=True)
    for text in record.reading:
        console.print(text, highlight=False)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _interval(low: float | None, high: float | None, factor: float, form: str) -> str:
    return "" if low is None or high is None else f"{form.format(factor * low)} to {form.format(factor * high)}"
