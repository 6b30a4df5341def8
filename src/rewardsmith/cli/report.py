"""`rewardsmith report`: the pages of a run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import live
from rewardsmith.cli.terminal import say


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
        from rewardsmith.pipeline.listing import known_faults_of

        page = report_job(run, events, texts=False if no_texts else None, against=against)
        notes = known_faults_of(run)
    say(str(page))
    for note in notes:
        say(f"note: {run}: {note}", error=True)
