"""`rewardsmith open`: look at a run in a browser, also while it trains."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.terminal import say


def open_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
) -> None:
    """Show a run's report, with live curves while it trains; serves this machine only, until Ctrl-C."""
    from rewardsmith.pipeline.opening import open_run

    def announce(url: str) -> None:
        say(f"{run}: {url}\n  Ctrl-C ends it.")
        if not no_browser:
            webbrowser.open(url)

    open_run(run, port=port, announce=announce)
