"""From the planner's dataclasses to the record that is printed and written.

What each backend would train for a spec: shape, number types, batch, adapter. The input of the memory formulas.
"""

from __future__ import annotations

from dataclasses import asdict

from rewardsmith.modeling.shapes import ModelShape, Size
from rewardsmith.planning.backend import Backend, Choice, MemoryRow
from rewardsmith.planning.grader import Advice, Budget
from rewardsmith.planning.hardware import Machine
from rewardsmith.planning.memory import Adapter, Numerics, TrainingSetup
from rewardsmith.planning.time import Lengths, TrainingTime, micro_batch, passes, size_notes
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
from rewardsmith.spec import LoraAdapter, Spec
from rewardsmith.training.plan import TrainingPlan, make_plan

OTHER_RANK = 16
"""Rank of the adapters in the rows that the spec did not ask for."""


def training_setups(
    spec: Spec, shape: ModelShape, lengths: Lengths, machine: Machine
) -> dict[tuple[Backend, str], TrainingSetup]:
    """What TRL and OpenRLHF would train, with the spec's adapter and with those that it could have."""
    numbers = planned_numbers(spec, lengths, machine)
    tree = padded_reason(spec, shape) is None
    setups: dict[tuple[Backend, str], TrainingSetup] = {}
    for name, adapter in _adapters(spec).items():
        batch = micro_batch(
            lengths,
            budget=numbers.token_budget,
            pairs_per_step=spec.training.pairs_per_step,
            devices=machine.devices_per_node,
            tree=tree,
        )
        setups["trl", name] = TrainingSetup(
            shape,
            _numerics(spec, numbers, machine, adapter),
            batch,
            adapter,
            spec.training.gradient_checkpointing,
            on_host=machine.kind == "cpu",
        )
        if adapter is None or not adapter.quantised:
            setups["openrlhf", name] = _openrlhf_setup(spec, shape, lengths, machine, adapter)
    return setups


def padded_reason(spec: Spec, shape: ModelShape) -> str | None:
    """Why batches are padded; None where they are token trees."""
    return "training.layout: padded" if spec.training.layout == "padded" else shape.no_tree


def _openrlhf_setup(
    spec: Spec, shape: ModelShape, lengths: Lengths, machine: Machine, adapter: Adapter | None
) -> TrainingSetup:
    """OpenRLHF: bfloat16, one pair a pass, both of its texts padded to the longer one."""
    batch = micro_batch(
        lengths, budget=1, pairs_per_step=spec.training.pairs_per_step, devices=machine.devices, tree=False
    )
    return TrainingSetup(shape, Numerics(2, 2), batch, adapter, spec.training.gradient_checkpointing)


def _adapters(spec: Spec) -> dict[str, Adapter | None]:
    own = spec.adapter
    rank, modules = (own.rank, own.target_modules) if isinstance(own, LoraAdapter) else (OTHER_RANK, "all-linear")
    lora, qlora = Adapter(rank, modules), Adapter(rank, modules, quantised=True)
    return {"none": None, "lora": lora, "qlora": qlora}


def _numerics(spec: Spec, numbers: TrainingPlan, machine: Machine, adapter: Adapter | None) -> Numerics:
    weights = 2 if spec.base_model.dtype == "bfloat16" or (adapter is not None and adapter.quantised) else 4
    compute = 2 if numbers.bf16 or weights == 2 else 4
    return Numerics(weights, compute, autocast=numbers.bf16, exact_attention=machine.kind == "cpu")


def planned_numbers(spec: Spec, lengths: Lengths, machine: Machine) -> TrainingPlan:
    """The training section resolved for that machine, as training itself does it."""
    return make_plan(spec, pairs=lengths.pairs or 1, device=machine.kind, bf16_supported=machine.kind == "cuda")


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
