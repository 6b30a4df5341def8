"""`rewardsmith ls`: the runs in a folder with their verdicts.

`rewardsmith open`: look at a run in a browser, also while it trains.

`rewardsmith report`: the pages of a run, written again.
"""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from rewardsmith.cli.options import AsJson, live, print_record
from rewardsmith.cli.tables import percent
from rewardsmith.cli.terminal import Table, say, terminal

if TYPE_CHECKING:
    from rewardsmith.records.run import RunsRecord, RunSummary


_COLOURS = {"PASS": "green", "FAIL": "red", "STOPPED": "red"}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def ls(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs: stage, verdict, base, pairs, average, age."""
    from rewardsmith.pipeline.commands.look import list_runs

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


def open_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
) -> None:
    """Show a run's report, with live curves while it trains; serves this machine only, until Ctrl-C."""
    from rewardsmith.pipeline.commands.look import open_run

    def announce(url: str) -> None:
        say(f"{run}: {url}\n  Ctrl-C ends it.")
        if not no_browser:
            webbrowser.open(url)

    open_run(run, port=port, announce=announce)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory.", show_default=False)],
    against: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Say what changed since this run.", show_default=False)
    ] = None,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Leave prompts and responses out, whatever the spec says.")
    ] = False,
) -> None:
    """Write report.html and summary.md from what is in a run directory."""
    with live() as events:
        from rewardsmith.pipeline import report_job
        from rewardsmith.pipeline.commands.look import known_faults_of

        page = report_job(run, events, texts=False if no_texts else None, against=against)
        notes = known_faults_of(run)
    say(str(page))
    for note in notes:
        say(f"note: {run}: {note}", error=True)
