"""A server's router: what `rewardsmith serve --route SPEC` hands to `POST /v1/compare`.

    router = serving_router(ServedRouting(Path("spec.yaml")), {"helpful": info}, note)

The rules and the judge are the spec's, the limit is that of the calibration. What a request could not be answered by is
refused when the server starts: a rule without a limit, margins without a calibration, doubt that nothing states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import SpecError
from rewardsmith.judging import load_prompts
from rewardsmith.pipeline.judging import build_judge
from rewardsmith.pipeline.routing import (
    JUDGE_FOLDER,
    RECORD_FILE,
    fitted_rules,
    read_calibration,
    routing_folder,
    settings_of,
)
from rewardsmith.routing import AuditLog, HybridRouter, Rules
from rewardsmith.routing.audit import header_of
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.spec import load_spec


@dataclass(frozen=True, slots=True)
class ServedRouting:
    """What `serve` was told of routing: the spec, a `routing.json` (else its run's), where decisions go."""

    spec: Path
    calibration: Path | None = None
    audit: Path | None = None


def serving_router(
    options: ServedRouting, models: Mapping[str, ModelInfo], ensemble: bool, note: Callable[[str], None]
) -> HybridRouter:
    """The router of a server.

    Args:
        options: spec, calibration, log.
        models: what is served.
        ensemble: whether they state their doubt as members of one.
        note: told what does not fit.

    Raises:
        SpecError: the rules have no limit, or a model cannot serve them; there is no judge.
    """
    spec = load_spec(options.spec, [])
    there = routing_folder(spec) / RECORD_FILE
    place = options.calibration or (there if there.exists() else None)
    record = read_calibration(place) if place else None
    rules = fitted_rules(spec.routing, record)
    temperature = record.temperature if record else None
    _check(rules, models, ensemble, temperature)
    if record is not None and record.identity not in {info.identity for info in models.values()}:
        note(f"warning: the calibration is of another model ({record.model})")
    judge = build_judge(spec.judge, routing_folder(spec) / JUDGE_FOLDER, seed=spec.seed)
    header = header_of(
        rules,
        model="+".join(info.identity for info in models.values()),
        judge=spec.judge.model,
        prompts=load_prompts(spec.judge.prompts)["pairwise"].sha256,
        currency=spec.judge.prices.currency if spec.judge.prices.known else "",
    )
    log = AuditLog(options.audit, header) if options.audit else None
    settings = settings_of(spec, share=spec.routing.budget.share)
    return HybridRouter(rules, judge, settings, log=log, temperature=temperature)


def _check(rules: Rules, models: Mapping[str, ModelInfo], ensemble: bool, temperature: float | None) -> None:
    """Refuse rules that a model cannot serve."""
    kinds = {rule.kind for rule in rules.rules}
    bare = [name for name, info in models.items() if info.temperature is None]
    if "probability" in kinds and bare and temperature is None:
        raise SpecError(
            f"the rule probability needs a calibration, and {', '.join(bare)} has none",
            where="routing.rules",
            fix="evaluate the model on held-out pairs (rewardsmith run), or route by margin",
        )
    if "interval" in kinds and not ensemble:
        raise SpecError(
            "a server knows the doubt of an ensemble only, and one model has no members",
            where="routing.rules",
            fix="serve several models with --combine, or route by probability",
        )
    if "subset" in kinds:
        raise SpecError(
            "a request names no subset", where="routing.rules", fix="route by probability, margin or interval"
        )
