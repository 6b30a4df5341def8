"""`rewardsmith plan`: everything that a spec will need, worked out before anything is downloaded, trained or rented.

    record = plan_job(spec, PlanOptions(accelerator="h100-80gb"), events)
    choice = chosen_backend(spec, shape, lengths, machine)          # the answer to `backend: auto`, for training too

Reads configs (a folder, the hub's cache or the hub), the run's check.json where there is one, and no weights, unless
the run has a trained checkpoint whose latency can be measured: its own golden conversations are the texts, one at a
time, rendered, computed, waited for. Only a checkpoint of at most `LARGEST` bytes is opened, and only where the machine
to plan for is this kind of machine, so that a plan answers in seconds. The formulas are in `planning`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewardsmith.errors import RewardsmithError, UserError
from rewardsmith.modeling.checkpoint import read_checkpoint_record
from rewardsmith.modeling.loading import check_base, choose_device
from rewardsmith.modeling.shapes import (
    ModelShape,
    Size,
    check_against_policy,
    lineage_warning,
    read_shape,
    refuse_rank,
    shape_of,
)
from rewardsmith.pipeline.directory import checkpoint_folder
from rewardsmith.pipeline.embedded import EMBEDDED
from rewardsmith.pipeline.events import Events
from rewardsmith.planning.backend import (
    Backend,
    auto_tokens,
    choose_backend,
    fits,
    memory_table,
    model_record,
    planned_numbers,
    tokens_record,
    training_setups,
)
from rewardsmith.planning.grader import OVERHEAD, Budget, Speed, plan_grading
from rewardsmith.planning.hardware import Machine, detect_machine, plan_machine
from rewardsmith.planning.memory import training_memory
from rewardsmith.planning.stages import assumptions_of, launch_commands, planned_stages, size_notes, warnings_of
from rewardsmith.planning.time import Lengths, assumed_lengths, lengths_of, stage_times, training_time
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.files import read_record
from rewardsmith.records.plan import BackendPlan, PlanRecord
from rewardsmith.samples.base_model import embedded_config
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import LoraAdapter, Spec, load_spec
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.types import Message

LARGEST = 2 * 2**30
"""Bytes of weights that are loaded for a measurement."""

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the spec does not say.

    Attributes:
        spec_file: how commands name the spec.
        accelerator: a name of the planner's table; None: what the spec states, else this machine.
        price: dollars a device and hour.
        utilisation: share of the peak that is reached.
        pairs: number of training pairs, before `check` has counted them.
        budget: seconds of a reward, and dollars a million.
        rewards: how many will be asked for.
        rows: evaluated set → its rows, where they have been counted.
        lengths: of the texts, before there is a check.json; None: as long as data.max_length.
        measure: whether a trained checkpoint's latency may be measured.
    """

    spec_file: str = "spec.yaml"
    accelerator: str | None = None
    price: float | None = None
    utilisation: float | None = None
    pairs: int | None = None
    budget: Budget = field(default_factory=Budget)
    rewards: int = 1_000_000
    rows: Mapping[str, int] = field(default_factory=dict)
    lengths: Lengths | None = None
    measure: bool = True


def plan_job(spec: Spec, options: PlanOptions, events: Events, *, here: Machine | None = None) -> PlanRecord:
    """The plan of a spec.

    Args:
        here: this machine; detected when left out.

    Raises:
        SpecError: the base is larger than the policy, or an accelerator is unknown.
        ModelError: a config cannot be loaded.
        UserError: an option is out of range.
    """
    _check_options(options)
    shape = base_shape(spec)
    base, policy = sizes = check_against_policy(spec, Size(shape.parameters, shape.family))
    machine = plan_machine(
        spec.hardware, here=here or detect_machine(), accelerator=options.accelerator, price=options.price
    )
    lengths, stale = known_lengths(spec, options.pairs, options.lengths)
    setups = training_setups(spec, shape, lengths, machine)
    rows = memory_table(setups, machine)
    choice = choose_backend(spec.backend, spec.adapter.kind, rows, machine)
    setup, numbers = setups[choice.backend, choice.adapter], planned_numbers(spec, lengths, machine)
    time = training_time(
        setup,
        lengths,
        machine,
        strategy=choice.strategy,
        devices=choice.devices,
        budget=setup.batch.tokens,
        pairs_per_step=spec.training.pairs_per_step,
        utilisation=options.utilisation,
    )
    measured = measured_latency(spec, machine, events) if options.measure else None
    graders, advice = plan_grading(
        spec,
        shape,
        lengths,
        machine,
        options.budget,
        rewards=options.rewards,
        training_cost=time.cost,
        utilisation=options.utilisation,
        measured=measured,
    )
    lineage = lineage_warning(*sizes)
    return PlanRecord(
        name=spec.name,
        spec_fingerprint=spec.fingerprint(),
        stages=planned_stages(spec, shape, choice),
        model=model_record(spec, shape, setup, policy, machine),
        machine=machine,
        tokens=tokens_record(lengths, setup, numbers, choice, auto_tokens(spec, setup, lengths, machine)),
        memory=rows,
        choice=choice,
        time=time,
        times=stage_times(spec, shape, lengths, machine, training=time, rows=options.rows or counted_rows(spec)),
        scoring=graders,
        advice=advice,
        sizing=size_notes(base=base.parameters or shape.parameters, policy=policy.parameters, pairs=lengths.pairs),
        launch=launch_commands(spec, choice, options.spec_file),
        warnings=(*((lineage,) if lineage else ()), *warnings_of(spec, shape, lengths, choice)),
        assumptions=assumptions_of(machine, lengths, stale, time, measured),
    )


def _check_options(options: PlanOptions) -> None:
    numbers = {
        "--price": options.price,
        "--utilisation": options.utilisation,
        "--pairs": options.pairs,
        "--latency-ms": options.budget.seconds,
        "--cost-per-million": options.budget.per_million,
        "--rewards": options.rewards,
    }
    for name, value in numbers.items():
        if value is not None and value <= 0:
            raise UserError(f"{value:g} is not above 0", where=name, fix="write a positive number, or leave it out")
    if options.utilisation is not None and options.utilisation > 1:
        raise UserError(f"{options.utilisation:g} is more than all", where="--utilisation", fix="write a share up to 1")


def measured_latency(spec: Spec, machine: Machine, events: Events) -> Speed | None:
    """Seconds of one reward of the run's checkpoint; None where there is none that can be measured here."""
    folder = checkpoint_folder(spec)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not weights or weights > LARGEST:
        return None
    try:
        device = choose_device(spec.hardware.device).type
        record = read_checkpoint_record(folder)
        if device != machine.kind or record is None or not record.golden:
            return None
        scorer = LocalScorer.load(folder, device=device)
    except RewardsmithError as problem:
        events.note(f"the checkpoint's latency cannot be measured: {problem.problem}")
        return None
    conversations = [tuple(Message(role, content) for role, content in golden.conversation) for golden in record.golden]
    scorer.score(conversations[:1])  # what is made at the first call is no part of a later one
    times = []
    for _ in range(ROUNDS):
        for conversation in conversations:
            started = time.perf_counter()
            scorer.score([conversation])
            times.append(time.perf_counter() - started)
    seconds = statistics.median(times) + OVERHEAD
    return Speed(seconds, 1 / seconds, None, float(weights), f"measured here on {folder}, {device}")


def base_shape(spec: Spec) -> ModelShape:
    """The shape of the spec's base; the embedded one need not be made for it.

    Raises:
        ModelError: the config cannot be loaded.
        SpecError: an adapter of more rank than the base's matrices.
    """
    if spec.base_model.id == EMBEDDED:
        shape = shape_of(embedded_config(), name=EMBEDDED)
    else:
        shape = read_shape(spec.base_model.id, spec.base_model.revision)
        check_base(spec, spec.base_model.id)
    if isinstance(spec.adapter, LoraAdapter):
        refuse_rank(spec.adapter, shape)
    return shape


def known_lengths(spec: Spec, pairs: int | None = None, otherwise: Lengths | None = None) -> tuple[Lengths, str | None]:
    """Lengths from the run's check.json, else the upper bound; and a note where the check was of other data.

    Args:
        pairs: to count with in place of those that were checked.
        otherwise: in place of the upper bound.
    """
    folder = checkpoint_folder(spec).parent
    file = folder / "check.json"
    if not file.is_file():
        return otherwise or assumed_lengths(spec.data.max_length, pairs), None
    record = read_record(file, CheckRecord)
    lengths = lengths_of(record.tokens, pairs=record.train_pairs, source=str(file))
    stale = f"{file} is of another data section than the spec's"
    return (
        lengths if pairs is None else replace(lengths, pairs=pairs),
        None if _same_data(spec, folder / "spec.yaml") else stale,
    )


def _same_data(spec: Spec, file: Path) -> bool:
    try:
        return load_spec(file).fingerprint("data") == spec.fingerprint("data")
    except RewardsmithError:
        return False


def counted_rows(spec: Spec) -> dict[str, int]:
    """Held-out pairs as the run's check.json counted them; nothing before there is one."""
    file = checkpoint_folder(spec).parent / "check.json"
    return {HELD_OUT: read_record(file, CheckRecord).held_out_pairs} if file.is_file() else {}


def trained_by(spec: Spec, base: str) -> Backend:
    """Which backend trains here: what the spec says, or the planner's answer to `auto`.

    OpenRLHF needs CUDA, and a process that `accelerate launch` or `torchrun` started is TRL's already. Where nothing
    fits the stated machine, TRL tries.

    Args:
        base: the folder or hub id that `spec.base_model` resolves to.
    """
    if spec.backend != "auto":
        return spec.backend
    here = detect_machine()
    if here.kind != "cuda" or "WORLD_SIZE" in os.environ:
        return "trl"
    choice = chosen_backend(spec, read_shape(base, spec.base_model.revision), known_lengths(spec)[0], here)
    return choice.backend if choice.fits else "trl"


def chosen_backend(spec: Spec, shape: ModelShape, lengths: Lengths, here: Machine) -> BackendPlan:
    """TRL or OpenRLHF for this spec on this machine, and how it is spread: what `backend: auto` means."""
    machine = plan_machine(spec.hardware, here=here)
    rows = memory_table(training_setups(spec, shape, lengths, machine), machine)
    return choose_backend(spec.backend, spec.adapter.kind, rows, machine)


def tokens_here(spec: Spec, base: str) -> int | None:
    """What `training.tokens_per_micro_batch: auto` is on this machine's GPU; None on a CPU, or for a stated number.

    Args:
        base: the folder or hub id that `spec.base_model` resolves to.
    """
    here = detect_machine()
    if here.kind != "cuda" or choose_device(spec.hardware.device).type != "cuda":
        return None
    return tokens_on(spec, base, here)


def tokens_on(spec: Spec, base: str, here: Machine) -> int | None:
    """The same for another machine than this."""
    machine = plan_machine(spec.hardware, here=here)
    shape, lengths = read_shape(base, spec.base_model.revision), known_lengths(spec)[0]
    setup = training_setups(spec, shape, lengths, machine)["trl", spec.adapter.kind]
    return auto_tokens(spec, setup, lengths, machine)


def copies_fit(spec: Spec, base: str, workers: int) -> bool:
    """Whether each of `workers` devices can hold the whole model in training (DDP).

    True where the memory of a device is neither stated nor found: on a CPU the workers of one machine share it.

    Args:
        base: the folder or hub id that `spec.base_model` resolves to.
    """
    here = detect_machine()
    if spec.hardware.memory_gib is None and here.kind != "cuda":
        return True
    machine = plan_machine(spec.hardware, here=here)
    shape, lengths = read_shape(base, spec.base_model.revision), known_lengths(spec)[0]
    setup = training_setups(spec, shape, lengths, machine)["trl", spec.adapter.kind]
    return fits(training_memory(setup, "ddp", workers), machine)
