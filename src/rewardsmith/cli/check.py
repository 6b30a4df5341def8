"""`rewardsmith check SPEC`: the data contract, before any accelerator time is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rewardsmith.cli.options import AsJson, Overrides, Overwrite, SpecPath, lay_out, live, load, print_record
from rewardsmith.cli.terminal import say
from rewardsmith.errors import FindingsError, UserError

if TYPE_CHECKING:
    from rewardsmith.records.checks import CheckRecord, ShownRow


def check(
    spec: SpecPath,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="A quick look: at most N rows of each source; no verdict.")
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Step over lines that cannot be read (data.bad_lines: skip).")
    ] = False,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Also write the data without the rows that findings name.")
    ] = None,
    drop_leaked: Annotated[
        Literal["train", "held_out"], typer.Option(help="With --fix: the side of a leak that gives way.")
    ] = "train",
    show: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Also show the first N pairs of each source, as read and as rendered."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """Check the data contract, before any accelerator time is spent."""
    if sample is not None and fix is not None:
        raise UserError("--fix works on all of the data, --sample looks at a part", fix="leave one of them out")
    loaded = load(spec, [*(overrides or []), *(["data.bad_lines=skip"] if skip_bad_lines else [])])
    fixed = None
    shown: tuple[ShownRow, ...] = ()
    try:
        with live() as events:
            from rewardsmith.pipeline import check_job, fix_job, sample_job, shown_job

            if show is not None:
                shown = shown_job(loaded, events, show, overwrite=overwrite)
                overwrite = False  # the directory is ours now
            if sample is not None:
                record, run = sample_job(loaded, events, rows=sample, overwrite=overwrite)
            elif fix is not None:
                record, run, fixed = fix_job(loaded, events, fix, drop_leaked=drop_leaked, overwrite=overwrite)
            else:
                record, run = check_job(loaded, events, overwrite=overwrite)
    except FindingsError as failed:
        _show(Path(failed.where), as_json, shown)  # check.json
        raise
    if as_json:
        print_record(fixed or record.model_copy(update={"shown": shown}))
        return
    _lay_out(record, shown, sample)
    if sample is None:
        say(f"check: {run / 'check.json'}")
    else:
        say(f"a quick look at {sample:,} rows of each source, no verdict: {run / 'check.sample.json'}")
    if fixed is not None and fix is not None:
        reasons = ", ".join(f"{code} {count:,}" for code, count in fixed.removed_by_reason.items()) or "nothing"
        say(f"read {fixed.read:,} = {fixed.kept:,} kept + {fixed.removed:,} removed: {reasons}")
        say(f"each with its reason: {fix / 'removed.jsonl'}")
        say(f"next: rewardsmith check {fix / 'spec.yaml'}")


def _lay_out(record: CheckRecord, shown: tuple[ShownRow, ...], sample: int | None = None) -> None:
    from rewardsmith.report.sections.answers import shown_section
    from rewardsmith.report.sections.data import data_section

    lay_out(shown_section(shown), data_section(record, surveys=False, verdict=sample is None))


def _show(file: Path, as_json: bool, shown: tuple[ShownRow, ...]) -> None:
    """The record of a check that failed."""
    from rewardsmith.records.checks import CheckRecord
    from rewardsmith.records.files import read_record

    record = read_record(file, CheckRecord)
    if as_json:
        print_record(record.model_copy(update={"shown": shown}))
    else:
        _lay_out(record, shown)
        say(f"check: {file}")
