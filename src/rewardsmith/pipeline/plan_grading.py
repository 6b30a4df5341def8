"""A dedicated model, a judge or both, for a spec: what each takes, and which is advised."""

from __future__ import annotations

from dataclasses import replace

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.records.plan import ScoringPlan
from rewardsmith.spec import Spec
from rewardsmith.training.planning.hardware import Machine
from rewardsmith.training.planning.scoring import Advice, Budget, Speed, advise, judge_speed, mixed_speed, scoring_speed
from rewardsmith.training.planning.tokens import Lengths

SHOWN_SHARE = 0.1
"""The judge's share in the hybrid that is shown where none is advised."""


def plan_grading(
    spec: Spec,
    shape: ModelShape,
    lengths: Lengths,
    machine: Machine,
    budget: Budget,
    *,
    rewards: int,
    training_cost: float | None,
    utilisation: float | None,
    measured: Speed | None,
) -> tuple[tuple[ScoringPlan, ...], Advice]:
    """Latency and price of the three, and the advice.

    Args:
        measured: latency of a trained checkpoint on this kind of machine, in place of the estimate.
    """
    model = scoring_speed(shape, machine, tokens=lengths.text, attended=lengths.attended, utilisation=utilisation)
    if measured is not None:
        model = replace(model, seconds=measured.seconds, source=measured.source)
    judge = judge_speed(
        tokens=lengths.text,
        prices=(spec.judge.prices.prompt, spec.judge.prices.completion) if spec.judge.prices.known else None,
        orders=2 if spec.judge.orders == "both" else 1,
        samples=spec.judge.samples,
    )
    advice = advise(model, judge, budget, training_cost=training_cost, rewards=rewards)
    hybrid = mixed_speed(model, judge, advice.judge_share if advice.kind == "hybrid" else SHOWN_SHARE)
    graders = (
        _record("dedicated", model, budget, model.per_second),
        _record("judge", judge, budget, None),
        _record("hybrid", hybrid, budget, None),
    )
    return graders, advice


def _record(kind: str, speed: Speed, budget: Budget, per_second: float | None) -> ScoringPlan:
    return ScoringPlan(
        kind=kind,
        seconds=speed.seconds,
        per_second=per_second,
        per_million=speed.per_million,
        source=speed.source,
        within_budget=budget.admits(speed),
    )
