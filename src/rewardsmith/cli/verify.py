"""`rewardsmith verify`: the same rewards on every path, and against a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rewardsmith.cli.options import AsJson, Device, lay_out, live, look_for, print_record
from rewardsmith.cli.terminal import say


def verify(
    model: Annotated[str, typer.Option(metavar="DIR", help="A checkpoint folder or hub id.", show_default=False)],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A running server or engine too: http://HOST:PORT, …/models/NAME, …/get_reward.",
        ),
    ] = None,
    server_dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="What that server keeps its weights in.")
    ] = "float32",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where verify.json goes.", show_default=False)] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """See whether a checkpoint gives the same rewards on every path; ends with 1 where one disagrees."""
    look_for([model])
    with live() as events:
        from rewardsmith.pipeline.commands.verify import VERIFY_FILE, verify_job

        record = verify_job(model, events, against=against, server_type=server_dtype, out=out, device=device)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.answers import verify_section

        lay_out(verify_section(record))
        if out is not None:
            say(f"record: {out / VERIFY_FILE}")
    raise typer.Exit(0 if record.passed else 1)
