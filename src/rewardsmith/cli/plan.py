"""`rewardsmith plan SPEC`: what a spec will need, before anything is downloaded, trained or rented."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardsmith.cli.options import AsJson, Overrides, SpecPath, lay_out, live, load, print_record
from rewardsmith.cli.terminal import say
from rewardsmith.errors import UserError


def plan(
    spec: SpecPath,
    accelerator: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Plan for this GPU, as a100-80gb, h100-80gb, l4-24gb.", show_default=False),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(metavar="N", help="Training pairs, where check has not counted them yet.")
    ] = None,
    latency_ms: Annotated[float | None, typer.Option(metavar="MS", help="Budget: longest wait for a reward.")] = None,
    cost_per_million: Annotated[
        float | None, typer.Option(metavar="USD", help="Budget: most money for a million rewards.")
    ] = None,
    rewards: Annotated[int, typer.Option(metavar="N", help="How many rewards will be asked for.")] = 1_000_000,
    utilisation: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of the peak that is reached, up to 1.")
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Of a device and hour.")] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure the latency of the run's checkpoint, where there is a small one.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write plan.json, brief.md and what RLHF frameworks need.")
    ] = None,
    as_prompt: Annotated[
        bool, typer.Option("--as-prompt", help="Print an implementation brief in Markdown instead of tables.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what a spec needs: memory, backend, time, grader, command. Ends with 1 where nothing fits the devices."""
    if as_json and as_prompt:
        raise UserError("--json and --as-prompt both say what is printed", fix="leave one of them out")
    loaded = load(spec, overrides)
    with live() as events:
        from rewardsmith.pipeline.commands.plan import PlanOptions, plan_job
        from rewardsmith.planning.grader import Budget
        from rewardsmith.planning.stages import write_brief

        options = PlanOptions(
            spec_file=str(spec),
            accelerator=accelerator,
            price=price,
            utilisation=utilisation,
            pairs=pairs,
            budget=Budget(None if latency_ms is None else latency_ms / 1000, cost_per_million),
            rewards=rewards,
            measure=measure,
        )
        record = plan_job(loaded, options, events)
    if as_json:
        print_record(record)
    elif as_prompt:
        say(write_brief(record, loaded), end="")
    else:
        from rewardsmith.report.sections.answers import plan_section

        lay_out(plan_section(record))
    if out is not None:
        from rewardsmith.planning.artifacts import write_artifacts

        for path in write_artifacts(record, loaded, out):
            say(str(path), error=True)
    raise typer.Exit(0 if record.choice.fits else 1)
