"""`rewardsmith ls`: the runs in a folder with their verdicts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from rewardsmith.cli.formatting import percent
from rewardsmith.cli.options import AsJson, print_record
from rewardsmith.cli.terminal import Table, terminal

if TYPE_CHECKING:
    from rewardsmith.records import RunsRecord, RunSummary

_COLOURS = {"PASS": "green", "FAIL": "red", "STOPPED": "red"}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def ls(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs: stage, verdict, base, pairs, average, age."""
    from rewardsmith.pipeline.listing import list_runs

    record = list_runs(folder, time.time())
    if as_json:
        print_record(record)
    else:
        print_runs(terminal(), record)


def print_runs(console: Console, record: RunsRecord) -> None:
    """One line a run, the newest first."""
    if not record.runs:
        console.print(f"no runs in {record.folder}", highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "verdict", "stage", "base"):
        table.add_column(name, overflow="fold")
    for name in ("pairs", "average", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("of")
    for run in record.runs:
        table.add_row(*_row(run))
    console.print(table)
    for run in record.runs:
        for note in run.notes:
            console.print(f"note: {run.path}: {note}", highlight=False, markup=False, soft_wrap=True)


def _row(run: RunSummary) -> list[Text]:
    if run.problem:
        return [Text(run.name), Text("?", style="yellow"), Text(run.problem)]
    stage = Text(run.stage, style="cyan" if run.working else "")
    pairs = "–" if run.pairs is None else f"{run.pairs:,}"
    verdict = Text(run.verdict, style=_COLOURS.get(run.verdict, ""))
    benchmark = f"{run.benchmark} ({run.missing:,} rewards missing)" if run.missing else run.benchmark
    cells = [run.base, pairs, percent(run.average), age(run.age), benchmark]
    return [Text(run.name), verdict, stage, *map(Text, cells)]


def age(seconds: float | None) -> str:
    """A time in its largest unit: 45 s, 3 min, 2 h, 5 d; "–" where none is known."""
    if seconds is None:
        return "–"
    unit, size = next((one for one in _UNITS if seconds >= one[1]), _UNITS[-1])
    return f"{int(seconds // size)} {unit}"
