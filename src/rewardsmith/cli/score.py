"""`rewardsmith score`: rewards of the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import (
    TOKENS_PER_BATCH,
    AsJson,
    Calibrated,
    Combine,
    Device,
    Dtype,
    LeaveOutFailing,
    Models,
    OnEngine,
    Penalty,
    RayAddress,
    Replace,
    Strings,
    TokensPerBatch,
    Weights,
    Workers,
    combination,
    live,
    look_for,
    print_record,
)
from rewardsmith.cli.terminal import terminal


def score(
    model: Models,
    source: Annotated[
        Path,
        typer.Option("--input", metavar="FILE", help="JSONL (also .gz), JSON, CSV or Parquet.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Ends in .jsonl or .parquet.", show_default=False)],
    strings: Strings = "chat",
    device: Device = "auto",
    dtype: Dtype = "float32",
    tokens_per_batch: TokensPerBatch = TOKENS_PER_BATCH,
    combine: Combine = None,
    weights: Weights = None,
    penalty: Penalty = 0.5,
    calibrated: Calibrated = False,
    leave_out_failing: LeaveOutFailing = False,
    engine: OnEngine = "local",
    workers: Workers = None,
    ray_address: RayAddress = None,
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Score every row of a file: row for row, in flat memory. A killed job continues.

    Ends with 1 where no row has a reward; rewards that are missing are null, counted by reason.
    """
    whole = combination(combine, weights, penalty, leave_out_failing)
    look_for(model)
    with live() as events:
        from rewardsmith.pipeline.commands.score import ScoreOptions, score_job
        from rewardsmith.pipeline.scorers import LoadOptions

        record = score_job(
            ScoreOptions(
                models=tuple(model),
                input=source,
                output=output,
                strings=strings,
                combination=whole,
                calibrated=calibrated,
                overwrite=overwrite,
                load=LoadOptions(device, dtype, "auto", tokens_per_batch),
                engine=engine,
                workers=workers,
                ray_address=ray_address,
            ),
            events,
        )
    if as_json:
        print_record(record)
        raise typer.Exit(1 if record.rows and not record.rewards else 0)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in record.reasons.items())
    bad = f"; rows without one: {reasons} ({record.rejected})" if record.bad_rows else ""
    nulls = ", ".join(f"{reason} {count:,}" for reason, count in record.missing.items())
    missing = f"; {sum(record.missing.values()):,} missing: {nulls}" if nulls else ""
    terminal().print(
        f"{record.rows:,} rows, {record.rewards:,} rewards{missing}{bad}\n{record.output}",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(1 if record.rows and not record.rewards else 0)
