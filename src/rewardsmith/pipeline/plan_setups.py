"""What each backend would train for a spec: shape, number types, batch, adapter. The input of the memory formulas."""

from __future__ import annotations

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.spec import LoraAdapter, Spec
from rewardsmith.training.plan import TrainingPlan, make_plan
from rewardsmith.training.planning.activations import Adapter, Numerics
from rewardsmith.training.planning.backend import Backend
from rewardsmith.training.planning.hardware import Machine
from rewardsmith.training.planning.memory import TrainingSetup
from rewardsmith.training.planning.tokens import Lengths, micro_batch

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
