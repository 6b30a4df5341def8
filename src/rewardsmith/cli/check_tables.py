"""The data contract on a terminal: findings ordered by harm, each with its size, its interval and its fix.

A wide terminal has everything in one table; on a narrow one the words stand under the table. Whatever comes from the
data (names of files, excerpts) passes `formatting.visible`: it can neither move the cursor nor colour the screen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from rewardsmith.cli.terminal import Table
from rewardsmith.records.checks import CheckRecord, Finding, FixRecord, ShownRow
from rewardsmith.report.formatting import visible
from rewardsmith.report.sections.data import by_harm, counts_in_words, interval_in_words, share_in_words

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_WIDE = 120  # columns
_WORDS = 400  # characters


def print_check(console: Console, record: CheckRecord, run: Path, *, sample: int | None = None) -> None:
    """Counts, findings ordered by harm, verdict; a sample has none."""
    counts = (
        f"{counts_in_words(record)}; "
        f"{record.train_pairs:,} pairs to train on, {record.held_out_pairs:,} held out ({record.held_out_origin})"
    )
    console.print(Text(visible(counts, _WORDS)))
    findings = by_harm(record.findings)
    wide = console.width >= _WIDE
    if findings:
        console.print(_table(findings, wide))
    for finding in () if wide else findings:
        console.print(Padding(_below(finding), (0, 0, 0, 2)))
    verdict = "passed" if record.passed else f"failed on {', '.join(record.failed_on)}"
    if sample is None:
        console.print(Text(f"data contract {verdict}: {run / 'check.json'}"), soft_wrap=True)
    else:
        quick = f"a quick look at {sample:,} rows of each source, no verdict: {run / 'check.sample.json'}"
        console.print(Text(quick), soft_wrap=True)


def print_shown(console: Console, shown: Sequence[ShownRow]) -> None:
    """Pairs as read, and the text that the model will see of each side."""
    for pair in shown:
        margin = "" if pair.margin is None else f", margin {pair.margin:g}"
        console.print(Text(visible(f"{pair.source}, row {pair.row}{margin}", _WORDS), style="bold"))
        for name in ("prompt", "chosen", "rejected"):
            for turn in getattr(pair, name):
                rest = {key: value for key, value in turn.items() if key not in ("role", "content")}
                more = f" {json.dumps(rest, ensure_ascii=False)}" if rest else ""
                console.print(Text(visible(f"  {name:<8} {turn['role']}: {turn['content']}{more}", _WORDS)))
        if pair.tools:
            console.print(Text(visible(f"  tools    {json.dumps(pair.tools, ensure_ascii=False)}", _WORDS)))
        for name in ("chosen_text", "rejected_text"):
            console.print(Text(visible(f"  {name}: {getattr(pair, name)!r}", _WORDS)), soft_wrap=True)


def print_fixed(console: Console, record: FixRecord, folder: Path) -> None:
    """What went and why, and how to go on."""
    reasons = ", ".join(f"{code} {count:,}" for code, count in record.removed_by_reason.items()) or "nothing"
    console.print(Text(f"read {record.read:,} = {record.kept:,} kept + {record.removed:,} removed: {reasons}"))
    console.print(Text(f"each with its reason: {folder / 'removed.jsonl'}"), soft_wrap=True)
    console.print(Text(f"next: rewardsmith check {folder / 'spec.yaml'}"), soft_wrap=True)


def _table(findings: Iterable[Finding], wide: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("severity", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for name in ("rows", "%", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("what was found", ratio=3)
        table.add_column("what to do", ratio=2)
    for finding in findings:
        cells: Sequence[RenderableType] = (
            Text(finding.severity, style=_COLOURS[finding.severity]),
            Text(visible(finding.code)),
            f"{finding.count:,}",
            share_in_words(finding),
            interval_in_words(finding),
        )
        words = (_found(finding), Text(visible(finding.fix, _WORDS))) if wide else ()
        table.add_row(*cells, *words)
    return table


def _found(finding: Finding) -> Text:
    """What was measured, or what it means; and the first row that shows it."""
    text = Text(visible(finding.summary or finding.meaning, _WORDS))
    if finding.examples:
        first = finding.examples[0]
        place = visible(first.file.rsplit("/", 1)[-1], 40) + (f":{first.row}" if first.row else "")
        text.append(f" ({place})", style="dim")
    return text


def _below(finding: Finding) -> Text:
    head = Text(visible(finding.code), style="bold")
    return Text.assemble(head, ": ", _found(finding), "\n", ("→ ", "bold"), visible(finding.fix, _WORDS))
