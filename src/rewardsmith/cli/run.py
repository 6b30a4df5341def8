"""`rewardsmith run`: the whole main job; with `--dry-run`, what it would do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardsmith.cli.options import (
    AllSubsets,
    AsJson,
    Overrides,
    Overwrite,
    SpecPath,
    lay_out,
    live,
    load,
    print_record,
)
from rewardsmith.cli.terminal import say, say_json

if TYPE_CHECKING:
    from rewardsmith.spec import Spec


def run_command(
    spec: SpecPath,
    overrides: Overrides = None,
    learning_curve: Annotated[
        str | None,
        typer.Option(
            metavar="FRACTIONS", help="Also train on these shares of the prompts, as 0.25,0.5,1: is more data worth it?"
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Also train on swapped and shuffled labels and without prompts, on a quarter of the prompts: does the "
            "score come from where it should? (docs/evaluation.md)",
        ),
    ] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Open everything that the run needs, say what it would do, write nothing."),
    ] = False,
    all_subsets: AllSubsets = False,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """Check, train, evaluate, gates, report: the main job. Resumable."""
    loaded = load(spec, overrides)
    if controls:
        from rewardsmith.spec import with_controls

        loaded = with_controls(loaded)
    if dry:
        _dry_run(loaded, overwrite, as_json)
        return
    with live() as events:
        from rewardsmith.pipeline import parse_fractions, run_job

        fractions = parse_fractions(learning_curve) if learning_curve is not None else ()
        outcome = run_job(loaded, events, overwrite=overwrite, learning_curve=fractions)
    if outcome is None:
        return
    if as_json:
        say_json(json.dumps(_outcome_json(outcome), indent=2))
    else:
        from rewardsmith.report.sections.analyses import result_sections
        from rewardsmith.report.sections.diagnosis import diagnosis_section
        from rewardsmith.report.sections.variants import controls_section, variants_section
        from rewardsmith.report.sections.verdict import gates_section

        beside = controls_section(outcome.controls)
        variants = variants_section(outcome.results, outcome.replicas, outcome.curve)
        kind = diagnosis_section(outcome.diagnosis, outcome.results)
        scores = result_sections(outcome.results, outcome.check, all_subsets=all_subsets)
        lay_out(variants, *scores, beside, kind, gates_section(outcome.gates))
        say(f"report: {outcome.report}")
    raise typer.Exit(0 if outcome.passed else 1)


def _dry_run(spec: Spec, overwrite: bool, as_json: bool) -> None:
    with live() as events:
        from rewardsmith.pipeline.job import dry_run

        record = dry_run(spec, events, overwrite=overwrite)
    if as_json:
        print_record(record)
    else:
        from rewardsmith.report.sections.answers import dry_run_section

        lay_out(dry_run_section(record))


def _outcome_json(outcome: Any) -> dict[str, Any]:
    return {
        "passed": outcome.passed,
        "run": str(outcome.run),
        "report": str(outcome.report),
        "diagnosis": outcome.diagnosis.model_dump(mode="json", by_alias=True),
        "gates": outcome.gates.model_dump(mode="json", by_alias=True),
        "results": {key: result.model_dump(mode="json", by_alias=True) for key, result in outcome.results.items()},
        "controls": outcome.controls.model_dump(mode="json", by_alias=True) if outcome.controls else None,
        "replicas": outcome.replicas.model_dump(mode="json", by_alias=True) if outcome.replicas else None,
        "learning_curve": outcome.curve.model_dump(mode="json", by_alias=True) if outcome.curve else None,
    }
