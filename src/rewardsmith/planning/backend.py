"""What a spec's training needs of a device, and the answer to `backend: auto` with its reason.

    setups = training_setups(spec, shape, lengths, machine)     what TRL and OpenRLHF would train: the formulas' input
    rows = memory_table(setups, machine)                        the plan's records, one for each way to train
    choice = choose_backend(spec.backend, spec.adapter.kind, rows, machine)

TRL where it fits the devices of one node: a copy on each (DDP) before shards (FSDP), because a copy needs no
network within a pass. Else OpenRLHF over all nodes: ZeRO-2 before ZeRO-3 for the same reason. OpenRLHF needs CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from rewardsmith.modeling.shapes import ModelShape, Size
from rewardsmith.modeling.tree.cuda import planned_kernel
from rewardsmith.planning.hardware import GIB, Machine
from rewardsmith.planning.memory import (
    Adapter,
    MicroBatch,
    Numerics,
    Strategy,
    TrainingSetup,
    most_tokens,
    training_memory,
)
from rewardsmith.planning.time import Lengths, micro_batch, passes
from rewardsmith.records.plan import BackendPlan, MemoryPlan, MemoryUse, PlannedModel, PlannedTokens, TrainingWay
from rewardsmith.spec import LoraAdapter, Spec
from rewardsmith.training.plan import TrainingPlan, make_plan

Backend = Literal["trl", "openrlhf"]

ROOM = 0.9
"""Share of a device's memory that training may take: the rest is the driver's context and the allocator's gaps."""

OTHER_RANK = 16
"""Rank of the adapters in the rows that the spec did not ask for."""


def training_setups(
    spec: Spec, shape: ModelShape, lengths: Lengths, machine: Machine
) -> dict[tuple[Backend, str], TrainingSetup]:
    """What TRL and OpenRLHF would train, with the spec's adapter and with those that it could have."""
    setups: dict[tuple[Backend, str], TrainingSetup] = {}
    for name, adapter in _adapters(spec).items():
        setups["trl", name] = _trl_setup(spec, shape, lengths, machine, adapter)
        if adapter is None or not adapter.quantised:
            setups["openrlhf", name] = _openrlhf_setup(spec, shape, lengths, machine, adapter)
    return setups


def _trl_setup(
    spec: Spec, shape: ModelShape, lengths: Lengths, machine: Machine, adapter: Adapter | None
) -> TrainingSetup:
    numbers = planned_numbers(spec, lengths, machine)
    tree = padded_reason(spec, shape) is None
    setup = TrainingSetup(
        shape,
        _numerics(spec, numbers, machine, adapter, tree=tree),
        MicroBatch(0.0, tree=tree),
        adapter,
        spec.training.gradient_checkpointing,
        on_host=machine.kind == "cpu",
    )
    budget = auto_tokens(spec, setup, lengths, machine) or numbers.token_budget
    batch = micro_batch(
        lengths,
        budget=budget,
        pairs_per_step=spec.training.pairs_per_step,
        devices=machine.devices_per_node,
        tree=tree,
    )
    return replace(setup, batch=batch)


LONGEST_ROW = 65536
"""Tokens beyond which a longer row gains nothing: its matrices have long been large enough for a GPU. Reasoned."""

SHORTEST_ROW = 4096
"""Tokens below which a GPU's matrix products are short: rather shares of the weights (FSDP) than that. Reasoned."""


def auto_tokens(spec: Spec, setup: TrainingSetup, lengths: Lengths, machine: Machine) -> int | None:
    """What `training.tokens_per_micro_batch: auto` is on a GPU: as many tokens as its memory holds.

    By the simplest strategy that leaves room for a useful row. A pair is never parted, so that two texts of the longest
    length are the least. In whole blocks of 128, which is how kernels cut a row.

    Returns:
        None where the spec says a number, or the machine has no GPU.
    """
    if spec.training.tokens_per_micro_batch != "auto" or machine.kind != "cuda":
        return None
    pair = math.ceil(2 * lengths.longest)
    step = spec.training.pairs_per_step * lengths.of_pair(tree=setup.batch.tree)
    useful = max(pair, min(SHORTEST_ROW, step))
    found = [
        min(most_tokens(setup, ROOM * machine.memory, strategy, devices), LONGEST_ROW)
        for strategy, devices in strategies("trl", machine)
        if strategy != "fsdp" or setup.adapter is None or not setup.adapter.quantised
    ]
    tokens = next((tokens for tokens in found if tokens >= useful), max(found))
    return max(tokens // 128 * 128, pair)


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


# Keys and values that varlen attention copies for a token of a pair: its prompt's once more, so less than this.
GATHERED = 2.0


def _numerics(spec: Spec, numbers: TrainingPlan, machine: Machine, adapter: Adapter | None, *, tree: bool) -> Numerics:
    weights = 2 if spec.base_model.dtype == "bfloat16" or (adapter is not None and adapter.quantised) else 4
    compute = 2 if numbers.bf16 or weights == 2 else 4
    gathered = GATHERED if tree and machine.kind == "cuda" and compute == 2 else 1.0
    return Numerics(weights, compute, autocast=numbers.bf16, exact_attention=machine.kind == "cpu", gathered=gathered)


def planned_numbers(spec: Spec, lengths: Lengths, machine: Machine) -> TrainingPlan:
    """The training section resolved for that machine, as training itself does it."""
    able = machine.kind == "cuda" and machine.bfloat16
    return make_plan(spec, pairs=lengths.pairs or 1, device=machine.kind, bf16_supported=able)


def strategies(backend: Backend, machine: Machine) -> tuple[tuple[Strategy, int], ...]:
    """The ways in which a backend can use a machine, the simplest first, with their devices."""
    if backend == "openrlhf":
        return (("zero2", machine.devices), ("zero3", machine.devices)) if machine.kind == "cuda" else ()
    if machine.kind != "cuda" or machine.devices_per_node == 1:
        return (("single", 1),)
    return ("ddp", machine.devices_per_node), ("fsdp", machine.devices_per_node)


def memory_table(setups: Mapping[tuple[Backend, str], TrainingSetup], machine: Machine) -> tuple[MemoryPlan, ...]:
    """Every backend and adapter with every strategy that it can use on this machine.

    Args:
        setups: what is trained, by backend and name of the adapter (`none`, `lora`, `qlora`).
    """
    rows = []
    for (backend, adapter), setup in setups.items():
        for strategy, devices in strategies(backend, machine):
            quantised = setup.adapter is not None and setup.adapter.quantised
            if quantised and strategy not in ("single", "ddp"):
                continue  # bitsandbytes keeps its 4-bit weights on one device
            use = training_memory(setup, strategy, devices)
            possible = fits(use, machine) and (machine.kind == "cuda" or not quantised)
            way = TrainingWay(backend=backend, strategy=strategy, adapter=adapter, devices=devices)
            rows.append(MemoryPlan(**dict(way), **dict(use), fits=possible))
    return tuple(rows)


def fits(use: MemoryUse, machine: Machine) -> bool:
    """Whether a device of this machine has that much memory to give."""
    return use.peak <= ROOM * machine.memory


def choose_backend(
    wanted: Literal["trl", "openrlhf", "auto"], adapter: str, rows: Sequence[MemoryPlan], machine: Machine
) -> BackendPlan:
    """The simplest way that fits, among those that the spec's backend and adapter allow.

    Args:
        wanted: `spec.backend`.
        adapter: `spec.adapter.kind`.
        rows: of `memory_table`.
    """
    own = [row for row in rows if row.adapter == adapter and wanted in ("auto", row.backend)]
    if not own:  # OpenRLHF without CUDA, or QLoRA with it: what TRL would need is the only number there is
        own = [row for row in rows if row.adapter == adapter]
        nearest = min(own, key=lambda row: row.peak)
        reason = f"the spec says {wanted}, which cannot train {adapter} on {machine.name}"
        return _choice(nearest, reason, fits=False)
    fitting = [row for row in own if row.fits]
    if not fitting and adapter == "qlora" and machine.kind != "cuda":
        reason = f"QLoRA needs a CUDA device, and this is {machine.name}; write adapter.kind: lora"
        return _choice(own[0], reason, fits=False)
    if not fitting:
        nearest = min(own, key=lambda row: row.peak)
        return _choice(nearest, _too_large(nearest, rows, machine), fits=False)
    # Rows come in the order of `strategies`, the simplest first.
    chosen = fitting[0]
    return _choice(chosen, _reason(wanted, chosen, own, machine), fits=True)


def _choice(row: MemoryPlan, reason: str, *, fits: bool) -> BackendPlan:
    return BackendPlan(
        backend=row.backend,
        strategy=row.strategy,
        adapter=row.adapter,
        devices=row.devices,
        peak=row.peak,
        fits=fits,
        reason=reason,
    )


def _reason(wanted: str, chosen: MemoryPlan, own: Sequence[MemoryPlan], machine: Machine) -> str:
    limit = f"{_gib(ROOM * machine.memory)} of {_gib(machine.memory)} that may be used"
    fit = f"{_gib(chosen.peak)} a device fits the {limit}"
    if wanted != "auto":
        return f"the spec says {wanted}; {chosen.strategy} on {chosen.devices}: {fit}"
    passed = next((row for row in own if row.backend == "trl" and not row.fits), None)
    if chosen.backend == "trl":
        others = f"; {passed.strategy} would need {_gib(passed.peak)}" if passed and passed != chosen else ""
        return f"it fits this node: {chosen.strategy} on {chosen.devices}, {fit}{others}"
    least = min((row.peak for row in own if row.backend == "trl"), default=0.0)
    return f"TRL on one node would need {_gib(least)} a device, more than the {limit}; {chosen.strategy}: {fit}"


def _too_large(nearest: MemoryPlan, rows: Sequence[MemoryPlan], machine: Machine) -> str:
    said = (
        f"nothing fits: {nearest.strategy} on {nearest.devices} needs {_gib(nearest.peak)} a device and "
        f"{_gib(ROOM * machine.memory)} may be used"
    )
    smaller = next((row for row in rows if row.fits), None)
    if smaller is None:
        return f"{said}; take more or larger devices, or a smaller base"
    return f"{said}; adapter.kind: {smaller.adapter} would fit ({smaller.strategy}, {_gib(smaller.peak)} a device)"


def _gib(value: float) -> str:
    return f"{value / GIB:.1f} GiB"


def model_record(spec: Spec, shape: ModelShape, setup: TrainingSetup, policy: Size, machine: Machine) -> PlannedModel:
    """Sizes of base and policy."""
    reason = padded_reason(spec, shape)
    dtype = torch.bfloat16 if setup.numerics.compute == 2 else torch.float32
    kernel = planned_kernel(machine.kind, dtype, shape.attention // shape.heads, shape.softcap)
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
        kernel=None if reason else kernel,
    )


def tokens_record(
    lengths: Lengths, setup: TrainingSetup, numbers: TrainingPlan, choice: BackendPlan, auto: int | None
) -> PlannedTokens:
    """Tokens of a pair, a pass and a step; `auto` is what a budget of `auto` comes to."""
    of_pair = lengths.of_pair(tree=setup.batch.tree)
    return PlannedTokens(
        pairs=lengths.pairs,
        of_pair=of_pair,
        text=lengths.text,
        longest=lengths.longest,
        attended=lengths.attended,
        budget=auto or numbers.token_budget,
        micro_batch=setup.batch.tokens,
        passes_per_step=passes(numbers.pairs_per_step * of_pair, setup.batch.tokens, choice.devices),
        steps=None if lengths.pairs is None else numbers.steps,
        source=lengths.source,
    )
