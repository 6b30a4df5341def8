"""`rewardsmith export`: a checkpoint written again for another program, or one of another program as ours.

`rewardsmith average`: the mean of the weights of checkpoints of one lineage.

`rewardsmith push`: a checkpoint with its card and report to the Hugging Face hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from rewardsmith.cli.options import AsJson, live, look_for, print_record
from rewardsmith.cli.terminal import terminal

if TYPE_CHECKING:
    from rewardsmith.records.checkpoint import ExportRecord
    from rewardsmith.records.run import PushRecord


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
    from rewardsmith.pipeline.commands.export import export_job

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


def average(
    models: Annotated[list[Path], typer.Argument(metavar="DIR DIR…", help="Checkpoints.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.", show_default=False)],
    weights: Annotated[
        str | None, typer.Option(metavar="SHARES", help="As 0.7,0.3: one for each; equal ones otherwise.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Average the weights of checkpoints that were trained from the same base: one model instead of an ensemble."""
    from rewardsmith.pipeline.commands.export import average_job

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


def push(
    place: Annotated[
        Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run directory or a checkpoint.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="ORGANISATION/NAME on the hub.", show_default=False)
    ],
    public: Annotated[bool, typer.Option("--public", help="Let everybody read it; private otherwise.")] = False,
    texts: Annotated[
        bool, typer.Option("--texts", help="Let card and report quote prompts and responses; left out otherwise.")
    ] = False,
    even_if_failed: Annotated[
        bool, typer.Option("--even-if-failed", help="Also where gates do not pass or have not judged it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded; ask nothing of the hub.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Upload a checkpoint with its model card and report, in one commit."""
    with live() as events:
        from rewardsmith.pipeline.commands.export import push_job

        record = push_job(
            place,
            repository,
            events,
            public=public,
            texts=texts,
            even_if_failed=even_if_failed,
            dry_run=dry_run,
        )
    if as_json:
        print_record(record)
    else:
        print_push(terminal(), record)


def print_push(console: Console, record: PushRecord) -> None:
    """Every file with its size, then where it is or would be."""
    for file in record.files:
        console.print(f"{file.bytes:>15,}  {file.path}", highlight=False, soft_wrap=True, markup=False)
    total = sum(file.bytes for file in record.files)
    texts = "with users' texts" if record.texts else "no users' texts"
    facts = f"{record.visibility}, {len(record.files)} files, {total:,} bytes, {texts}, verdict {record.verdict}"
    done = f"{record.url} (commit {record.commit[:12]})" if record.url else f"{record.repository}: nothing was uploaded"
    console.print(f"{facts}\n{done}", highlight=False, soft_wrap=True, markup=False)
