"""`rewardsmith route`: the hybrid of reward model and judge; `calibrate` fits its limit, `run` decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardsmith.cli.options import (
    TOKENS_PER_BATCH,
    AsJson,
    Combine,
    Device,
    Dtype,
    LeaveOutFailing,
    Overrides,
    Penalty,
    Replace,
    SpecPath,
    Strings,
    TokensPerBatch,
    Weights,
    combination,
    lay_out,
    live,
    load,
    print_record,
)
from rewardsmith.cli.terminal import one_line, say
from rewardsmith.errors import UserError

if TYPE_CHECKING:
    from rewardsmith.routing import Target
    from rewardsmith.spec import Spec

route = typer.Typer(
    help="The hybrid of reward model and judge: calibrate, run, replay.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OptionalModels = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="[NAME=]DIR|URL", help="The reward model; several are an ensemble. Else the run's."
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="routing.json of `route calibrate`, or its folder; else the run's, if there."),
]

_TARGETS = ("gain", "accuracy", "share", "cost", "wrong")


@route.command()
def calibrate(
    spec: SpecPath,
    model: OptionalModels = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Held-out pairs, a file or a hub id; else those that the run holds out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where routing.json goes; else routing/ in the run.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=20, help="Most pairs that the judge is asked about, drawn by seed.")] = 1000,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="KIND=VALUE", help="gain=0.95, accuracy=0.85, share=0.3, cost=2.5 (1,000 comparisons) or wrong=0.1."
        ),
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="verdicts.jsonl of an earlier calibration; nobody is asked.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    tokens_per_batch: TokensPerBatch = TOKENS_PER_BATCH,
    combine: Combine = None,
    weights: Weights = None,
    penalty: Penalty = 0.5,
    leave_out_failing: LeaveOutFailing = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fit the limit of the spec's rule on held-out pairs; say what routing costs, gains, and whether it is worth it."""
    loaded = load(spec, overrides)
    wanted = _target(target)
    whole = combination(combine, weights, penalty, leave_out_failing)
    with live() as events:
        from rewardsmith.pipeline.commands.calibrate_route import CalibrateOptions, calibrate_job
        from rewardsmith.pipeline.scorers import LoadOptions

        folder = out or _folder(loaded)
        options = CalibrateOptions(
            models=_models(model, loaded),
            out=folder,
            data=data,
            pairs=pairs,
            target=wanted,
            verdicts=verdicts,
            combination=whole,
            load=LoadOptions(device, dtype, "auto", tokens_per_batch),
        )
        record = calibrate_job(loaded, options, events)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.judges import routing_section

        lay_out(routing_section(record))
        say(f"calibration: {folder / 'routing.json'}")
    raise typer.Exit(0 if record.target.reached and record.missing_rewards < record.pairs else 1)


@route.command()
def run(
    spec: SpecPath,
    source: Annotated[
        Path,
        typer.Option("--input", metavar="FILE", help="Rows with two or more responses each.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Ends in .jsonl.", show_default=False)],
    model: OptionalModels = None,
    calibration: Calibration = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the judge's verdicts as preference pairs.")
    ] = None,
    no_judge: Annotated[bool, typer.Option("--no-judge", help="Ask nobody: what the reward model alone says.")] = False,
    strings: Strings = "chat",
    device: Device = "auto",
    dtype: Dtype = "float32",
    tokens_per_batch: TokensPerBatch = TOKENS_PER_BATCH,
    combine: Combine = None,
    weights: Weights = None,
    penalty: Penalty = 0.5,
    leave_out_failing: LeaveOutFailing = False,
    overwrite: Replace = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """The best response of every row: by the reward model where it is clear, by the judge where not. Resumable."""
    loaded = load(spec, overrides)
    whole = combination(combine, weights, penalty, leave_out_failing)
    with live() as events:
        from rewardsmith.pipeline.commands.run_route import RouteOptions, run_routes
        from rewardsmith.pipeline.scorers import LoadOptions

        options = RouteOptions(
            models=_models(model, loaded),
            input=source,
            output=output,
            calibration=_calibration(calibration, loaded),
            pairs=pairs,
            strings=strings,
            use_judge=not no_judge,
            overwrite=overwrite,
            combination=whole,
            load=LoadOptions(device, dtype, "auto", tokens_per_batch),
        )
        record = run_routes(loaded, options, events)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.judges import routed_section

        lay_out(routed_section(record))
    raise typer.Exit(1 if record.missing and not record.rewards else 0)


@route.command()
def replay(
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="The audit log of `route run` or of a server.")],
    spec: Annotated[
        Path | None, typer.Option(metavar="SPEC", help="Other rules than those of the log: what would they change?")
    ] = None,
    calibration: Calibration = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make every decision of an audit log again from its logged inputs; exit code 1 where one comes out otherwise."""
    from rewardsmith.pipeline.commands.route import replay_job

    loaded = load(spec, overrides) if spec else None
    if loaded is None and (calibration is not None or overrides):
        raise UserError("rules of your own stand in a spec, and none is given", fix="add --spec SPEC")
    record = replay_job(audit, loaded, _calibration(calibration, loaded) if loaded else None)
    if as_json:
        print_record(record)
    else:
        for line in (*record.examples, f"{record.decisions:,} decisions, {record.differing:,} come out otherwise"):
            say(one_line(line))
    raise typer.Exit(1 if record.differing else 0)


def _models(given: list[str] | None, spec: Spec) -> tuple[str, ...]:
    from rewardsmith.pipeline.directory import checkpoint_folder

    return tuple(given) if given else (str(checkpoint_folder(spec)),)


def _folder(spec: Spec) -> Path:
    from rewardsmith.pipeline.commands.route import routing_folder

    return routing_folder(spec)


def _calibration(given: Path | None, spec: Spec) -> Path | None:
    """The calibration that was named, else the run's where there is one."""
    there = _folder(spec) / "routing.json"
    return given or (there if there.exists() else None)


def _target(text: str | None) -> Target | None:
    """`share=0.3` → the target.

    Raises:
        UserError: it is none.
    """
    if text is None:
        return None
    from rewardsmith.routing import Target

    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    fits = 0 < value < 0.5 if kind == "wrong" else 0 <= value < float("inf") and (kind == "cost" or value <= 1)
    if kind not in _TARGETS or not fits:
        raise UserError(
            f"{text!r} is no target",
            where="--target",
            fix="write gain=0.95, accuracy=0.85, share=0.3, cost=2.5, or wrong=0.1 (above 0, below 0.5)",
        )
    return Target(kind, value)  # type: ignore[arg-type]
