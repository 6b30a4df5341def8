"""`rewardsmith average`: the mean of the weights of checkpoints of one lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import AsJson, print_record
from rewardsmith.cli.terminal import terminal


def average(
    models: Annotated[list[Path], typer.Argument(metavar="DIR DIR…", help="Checkpoints.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.", show_default=False)],
    weights: Annotated[
        str | None, typer.Option(metavar="SHARES", help="As 0.7,0.3: one for each; equal ones otherwise.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Average the weights of checkpoints that were trained from the same base: one model instead of an ensemble."""
    from rewardsmith.pipeline.exporting import average_job

    record = average_job(models, out, weights=weights)
    if as_json:
        print_record(record)
        return
    console = terminal()
    console.print(f"{out}: the average of {len(record.parents)} checkpoints", highlight=False, soft_wrap=True)
    for parent in record.parents:
        said = f"  {parent.weight:.3f}  {parent.folder}  head cosine {parent.head_cosine:+.3f}"
        console.print(f"{said}, weights {parent.distance:.2%} away", highlight=False, soft_wrap=True)
    console.print(f"  next: rewardsmith evaluate --model {out} …", highlight=False, soft_wrap=True)
