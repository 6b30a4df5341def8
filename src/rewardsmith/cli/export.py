"""`rewardsmith export`: a checkpoint written again for another program, or one of another program as ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rewardsmith.cli.options import AsJson, look_for, print_record
from rewardsmith.cli.terminal import terminal

if TYPE_CHECKING:
    from rewardsmith.records import ExportRecord


def export(
    model: Annotated[
        str, typer.Option(metavar="DIR", help="A checkpoint: ours, OpenRLHF's, published.", show_default=False)
    ],
    to: Annotated[
        Literal["hf", "openrlhf", "vllm"],
        typer.Option(help="hf: one of ours, for transformers and TRL; vllm: for SGLang too.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.", show_default=False)],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Type of the weights; auto keeps it, and merges an adapter in float32."),
    ] = "auto",
    value_head_prefix: Annotated[
        Literal["score", "value_head"], typer.Option(help="What OpenRLHF calls the reward head.")
    ] = "score",
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint for another program, adapter merged, rewards unchanged; also imports what others wrote."""
    look_for([str(model)])
    from rewardsmith.pipeline.exporting import export_job

    record = export_job(model, out, to, dtype=dtype, value_head_prefix=value_head_prefix)
    if as_json:
        print_record(record)
        return
    merged = ", adapter merged" if record.merged else ""
    console = terminal()
    console.print(f"{record.out}: {record.target}, {record.dtype}{merged}", highlight=False, soft_wrap=True)
    console.print(
        f"rewards of {record.conversations} golden conversations differ by at most {record.largest_difference:.2g} "
        f"(tolerance {record.tolerance:.2g})",
        highlight=False,
    )
    console.print(_versions(record), highlight=False)
    if record.normalization:
        known = ", ".join(f"{name} {record.normalization[name]}" for name in ("mean", "std"))
        console.print(f"kept and not applied: {known}", highlight=False)
    for command in record.start:
        console.print(f"  next: {command}", highlight=False, soft_wrap=True, markup=False)


def _versions(record: ExportRecord) -> str:
    """In which versions of transformers models of this type gave the same rewards."""
    if record.transformers:
        return f"verified for transformers {', '.join(record.transformers)}"
    return "not verified for other versions of transformers than the one here: models of this type were not tried there"
