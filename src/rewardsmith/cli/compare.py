"""`rewardsmith compare`: is the new one better? Verdict, differences, rows that flipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import AllSubsets, AsJson, lay_out, live, print_record
from rewardsmith.cli.terminal import say


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN …",
            help="Run directories, or folders with results.json and rows.jsonl; each is compared with the first.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write comparison.json and comparison.md there.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Flipped rows to show, each way.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 17,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
    all_subsets: AllSubsets = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a model is better than the first one: paired differences with intervals, rows that flipped.

    Ends with 1 where a model has no reward at all on a benchmark: there is nothing to compare.
    """
    with live() as events:
        from rewardsmith.pipeline import compare_job

        record = compare_job(runs, events, seed=seed, resamples=resamples, shown=rows, out=out)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.comparison import comparison_section

        lay_out(comparison_section(record, all_subsets=all_subsets))
        if out is not None:
            say(f"comparison: {out / 'comparison.md'}")
    raise typer.Exit(1 if any(found.no_data for found in record.benchmarks.values()) else 0)
