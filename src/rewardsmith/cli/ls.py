"""`rewardsmith ls`: the runs in a folder with their verdicts.

`rewardsmith open`: look at a run in a browser, also while it trains.

`rewardsmith report`: the pages of a run, written again.
"""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import AsJson, lay_out, live, print_record
from rewardsmith.cli.terminal import say


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
        from rewardsmith.report.sections.answers import runs_section

        lay_out(runs_section(record))
        if not record.runs:
            say(f"no runs in {record.folder}")


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
        from rewardsmith.pipeline.commands.report import known_faults_of, report_job

        page = report_job(run, events, texts=False if no_texts else None, against=against)
        notes = known_faults_of(run)
    say(str(page))
    for note in notes:
        say(f"note: {run}: {note}", error=True)
