"""`rewardsmith probe`: bias probes of a checkpoint, and the rewards on a policy's own samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardsmith.cli.options import (
    AsJson,
    ModelFolder,
    NoCache,
    Overrides,
    SpecOfRun,
    lay_out,
    live,
    load,
    print_record,
)
from rewardsmith.cli.terminal import say, say_json
from rewardsmith.errors import UserError

if TYPE_CHECKING:
    from rewardsmith.spec import Spec


def probe(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where probes.json goes.", show_default=False)],
    spec: SpecOfRun = None,
    model: ModelFolder = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Pairs or best-of-N rows, a file or a hub id; else embedded held-out pairs."),
    ] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="Rows that are drawn; 200 unless a spec says.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides which rows are drawn, and the edits.")] = None,
    policy_samples: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Instead: prompts with several completions of your own policy each."),
    ] = None,
    no_cache: NoCache = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Edit responses and see whether the reward follows meaning or surface; or score your policy's own samples.

    Without SPEC every probe is a gate; with one, its evaluation.gates.probes decides.
    """
    settings = _settings(spec, model, overrides, pairs, seed)
    if spec is not None and data is None and policy_samples is None:
        data = _named_rows(settings)
    if policy_samples is not None:
        if data is not None or pairs is not None:
            raise UserError(
                "--policy-samples is scored as it is: --data and --pairs are for the probes", fix="leave them out"
            )
        _policy(settings, policy_samples, out, model, cache=not no_cache, as_json=as_json)
        return
    with live() as events:
        from rewardsmith.pipeline import probe_job

        record, outcomes = probe_job(settings, data, out, events, model=model, cache=not no_cache)
    passed = all(outcome.verdict == "PASS" for outcome in outcomes if outcome.kind == "gate")
    if as_json:
        shown = record.model_dump(mode="json", by_alias=True)
        listed = [outcome.model_dump(mode="json") for outcome in outcomes]
        say_json(json.dumps({"passed": passed, "probes": shown, "gates": listed}, indent=2))
    else:
        from rewardsmith.report.sections.probes import probes_section

        lay_out(probes_section(record, outcomes))
        say(f"probes: {out / 'probes.json'}")
    raise typer.Exit(0 if passed else 1)


def _policy(settings: Spec, source: str, out: Path, model: str | None, *, cache: bool, as_json: bool) -> None:
    with live() as events:
        from rewardsmith.pipeline import policy_job

        found = policy_job(settings, source, out, events, model=model, cache=cache)
    if as_json:
        print_record(found)
    else:
        from rewardsmith.report.sections.probes import policy_section

        lay_out(policy_section(found))
        say(f"record: {out / 'policy_samples.json'}")
    raise typer.Exit(0 if found.judged else 1)


def _settings(
    spec: Path | None, model: str | None, overrides: list[str] | None, pairs: int | None, seed: int | None
) -> Spec:
    """The spec with the command's own options; without one, the defaults with every probe a gate."""
    from rewardsmith.spec import Spec

    if spec is None and model is None:
        raise UserError("there is no model to probe", fix="rewardsmith probe --model DIR --out DIR")
    if spec is not None:
        own = [f"evaluation.probes.pairs={pairs}"] if pairs is not None else []
        own += [f"seed={seed}"] if seed is not None else []
        return load(spec, [*(overrides or []), *own])
    if overrides:
        raise UserError("--set changes a field of a spec, and none is given", fix="name the spec first, or drop --set")
    probes = {} if pairs is None else {"pairs": pairs}
    evaluation = {"probes": probes, "gates": {"probes": {"kind": "gate"}}}
    return Spec.model_validate({"evaluation": evaluation} | ({} if seed is None else {"seed": seed}))


def _named_rows(settings: Spec) -> str:
    """The rows that a spec names for its probes.

    Raises:
        UserError: it names its held-out pairs, which only a run has.
    """
    if settings.evaluation.probes.data == "held_out":
        raise UserError(
            "the spec probes its own held-out pairs, which `rewardsmith run` does",
            where="evaluation.probes.data",
            fix="name other rows with --data FILE, or --data embedded",
        )
    return settings.evaluation.probes.data
