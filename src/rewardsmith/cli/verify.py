"""`rewardsmith verify`: the same rewards on every path, and against a running server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from rewardsmith.cli.options import AsJson, Device, live, look_for, print_record
from rewardsmith.cli.tables import VERDICT_COLOURS
from rewardsmith.cli.terminal import Table, terminal

if TYPE_CHECKING:
    from rewardsmith.records.checkpoint import PathResult, VerifyRecord


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
        print_verification(terminal(), record)
        if out is not None:
            terminal().print(f"record: {out / VERIFY_FILE}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if record.passed else 1)


def print_verification(console: Console, record: VerifyRecord) -> None:
    """A line a path, what failed with its fix, and the verdict."""
    table = Table(title=f"{record.conversations} conversations", title_justify="left", box=None, pad_edge=False)
    for name in ("verdict", "path"):
        table.add_column(name)
    for name in ("largest difference", "tolerance", "rank flips"):
        table.add_column(name, justify="right")
    table.add_column("")
    for path in record.paths:
        table.add_row(*_row(path))
    console.print(table)
    for path in record.paths:
        if path.verdict == "FAIL":
            said = f"{path.path}: {path.why}\n  worst: {path.reference} became {path.reward}, at …{path.worst!r}"
            console.print(f"{said}\n  try: {path.fix}", markup=False, highlight=False, soft_wrap=True)
    for note in record.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if record.weights is not None and not any("in memory" in one.problem for one in record.findings):
        said = f"weights: {record.weights} tensors in memory are those of the files"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    for one in record.findings:
        kind = "" if one.fails else "note: "
        said = f"{kind}{one.file}, field '{one.field}': {one.value}: {one.problem}\n  try: {one.fix}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    verdict = Text("PASS", "bold green") if record.passed else Text("FAIL", "bold red")
    console.print(Text("verdict: ") + verdict, highlight=False)


def _row(path: PathResult) -> list[str | Text]:
    verdict = Text(path.verdict, style=VERDICT_COLOURS[path.verdict])
    numbers = ["" if number is None else f"{number:.2g}" for number in (path.largest, path.tolerance)]
    flips = f"{path.flips:,} of {path.pairs:,}" if path.compared else ""
    return [verdict, path.path, *numbers, flips, path.why if path.verdict == "NO_DATA" else ""]
