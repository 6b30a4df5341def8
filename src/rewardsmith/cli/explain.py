"""`rewardsmith explain`: one conversation as a model sees it, and the reward after each token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import AsJson, Device, lay_out, look_for, print_record


def explain(
    model: Annotated[Path, typer.Option(metavar="DIR", help="A checkpoint folder or hub id.", show_default=False)],
    file: Annotated[
        Path,
        typer.Option(
            "--input", metavar="FILE", help="JSON or JSONL: a conversation or a pair a row.", show_default=False
        ),
    ],
    row: Annotated[int, typer.Option(min=1, help="Which row of the file, from 1.")] = 1,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show one conversation as the model sees it: text, tokens, EOS, and the reward after each token."""
    look_for([str(model)])
    from rewardsmith.pipeline import explain_job

    record = explain_job(model, file, row=row, device=device)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.answers import explain_section

        lay_out(explain_section(record))
