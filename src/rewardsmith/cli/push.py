"""`rewardsmith push`: a checkpoint with its card and report to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rewardsmith.cli.options import AsJson, live, print_record
from rewardsmith.cli.terminal import terminal

if TYPE_CHECKING:
    from rewardsmith.records import PushRecord


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
        from rewardsmith.pipeline.publishing import push_job

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
