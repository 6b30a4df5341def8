"""From the planner's dataclasses to the record that is printed and written."""

from __future__ import annotations

from dataclasses import asdict

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.modeling.sizes import Size
from rewardsmith.pipeline.plan_setups import padded_reason
from rewardsmith.records.plan import (
    AdvicePlan,
    BackendPlan,
    MemoryPlan,
    PlannedMachine,
    PlannedModel,
    PlannedTokens,
    SourcedNote,
    TimePlan,
)
from rewardsmith.spec import Spec
from rewardsmith.training.plan import TrainingPlan
from rewardsmith.training.planning.backend import Choice, MemoryRow
from rewardsmith.training.planning.hardware import Machine
from rewardsmith.training.planning.memory import TrainingSetup
from rewardsmith.training.planning.scoring import Advice, Budget
from rewardsmith.training.planning.sizing import size_notes
from rewardsmith.training.planning.speed import TrainingTime
from rewardsmith.training.planning.tokens import Lengths, passes


def model_record(spec: Spec, shape: ModelShape, setup: TrainingSetup, policy: Size) -> PlannedModel:
    """Sizes of base and policy."""
    reason = padded_reason(spec, shape)
    return PlannedModel(
        id=spec.base_model.id,
        family=shape.family,
        parameters=shape.parameters,
        active=shape.active,
        trained=setup.trained,
        layers=shape.layers,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        layout="padded" if reason else "tree",
        why_padded=reason,
        policy_parameters=policy.parameters,
        policy_family=policy.family,
    )


def machine_record(machine: Machine) -> PlannedMachine:
    """The machine, without what it was assumed from."""
    left_out = ("host_memory", "assumptions")
    return PlannedMachine(**{name: value for name, value in asdict(machine).items() if name not in left_out})


def tokens_record(lengths: Lengths, setup: TrainingSetup, numbers: TrainingPlan, choice: Choice) -> PlannedTokens:
    """Tokens of a pair, a pass and a step."""
    of_pair = lengths.of_pair(tree=setup.batch.tree)
    return PlannedTokens(
        pairs=lengths.pairs,
        of_pair=of_pair,
        text=lengths.text,
        longest=lengths.longest,
        attended=lengths.attended,
        budget=numbers.token_budget,
        micro_batch=setup.batch.tokens,
        passes_per_step=passes(numbers.pairs_per_step * of_pair, setup.batch.tokens, choice.row.devices),
        steps=None if lengths.pairs is None else numbers.steps,
        source=lengths.source,
    )


def memory_record(row: MemoryRow) -> MemoryPlan:
    """One way to train."""
    return MemoryPlan(
        backend=row.backend,
        strategy=row.strategy,
        adapter=row.adapter,
        devices=row.devices,
        fits=row.fits,
        **asdict(row.use),
    )


def choice_record(choice: Choice) -> BackendPlan:
    """What trains."""
    return BackendPlan(
        backend=choice.row.backend,
        strategy=choice.row.strategy,
        adapter=choice.row.adapter,
        devices=choice.row.devices,
        peak=choice.row.use.peak,
        fits=choice.fits,
        reason=choice.reason,
    )


def time_record(time: TrainingTime, lengths: Lengths, machine: Machine, choice: Choice) -> TimePlan:
    """One epoch, and its price."""
    cost = None if machine.price is None else time.seconds / 3600 * machine.price * choice.row.devices
    return TimePlan(**asdict(time), assumed=lengths.pairs is None, cost=cost)


def advice_record(advice: Advice, budget: Budget, rewards: int) -> AdvicePlan:
    """What grades, for which budget."""
    return AdvicePlan(
        **asdict(advice), budget_seconds=budget.seconds, budget_per_million=budget.per_million, rewards=rewards
    )


def sizing_record(shape: ModelShape, base: Size, policy: Size, lengths: Lengths) -> tuple[SourcedNote, ...]:
    """What scaling laws say."""
    notes = size_notes(base=base.parameters or shape.parameters, policy=policy.parameters, pairs=lengths.pairs)
    return tuple(SourcedNote(text=note.text, source=note.source) for note in notes)
