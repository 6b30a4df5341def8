"""Which backend trains, and how the model is spread: the answer to `backend: auto`, with its reason.

    rows = memory_table(setups, machine)
    choice = choose_backend(spec.backend, rows, machine)

TRL where it fits the devices of one node: a copy on each (DDP) before shards (FSDP), because a copy needs no
network within a pass. Else OpenRLHF over all nodes: ZeRO-2 before ZeRO-3 for the same reason. OpenRLHF needs CUDA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewardsmith.planning.hardware import GIB, Machine
from rewardsmith.planning.memory import MemoryUse, Strategy, TrainingSetup, training_memory

Backend = Literal["trl", "openrlhf"]

ROOM = 0.9
"""Share of a device's memory that training may take: the rest is the driver's context and the allocator's gaps."""


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One way to train: what is trained (`adapter`), how it is spread, and what each device then needs."""

    backend: Backend
    strategy: Strategy
    adapter: str
    devices: int
    use: MemoryUse
    fits: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What trains. `fits` is false where nothing fits, and `row` is then what comes nearest."""

    row: MemoryRow
    reason: str

    @property
    def fits(self) -> bool:
        """Whether the chosen way fits the devices."""
        return self.row.fits


def strategies(backend: Backend, machine: Machine) -> tuple[tuple[Strategy, int], ...]:
    """The ways in which a backend can use a machine, the simplest first, with their devices."""
    if backend == "openrlhf":
        return (("zero2", machine.devices), ("zero3", machine.devices)) if machine.kind == "cuda" else ()
    if machine.kind != "cuda" or machine.devices_per_node == 1:
        return (("single", 1),)
    return ("ddp", machine.devices_per_node), ("fsdp", machine.devices_per_node)


def memory_table(setups: Mapping[tuple[Backend, str], TrainingSetup], machine: Machine) -> tuple[MemoryRow, ...]:
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
            rows.append(MemoryRow(backend, strategy, adapter, devices, use, possible))
    return tuple(rows)


def fits(use: MemoryUse, machine: Machine) -> bool:
    """Whether a device of this machine has that much memory to give."""
    return use.peak <= ROOM * machine.memory


def choose_backend(
    wanted: Literal["trl", "openrlhf", "auto"], adapter: str, rows: Sequence[MemoryRow], machine: Machine
) -> Choice:
    """The simplest way that fits, among those that the spec's backend and adapter allow.

    Args:
        wanted: `spec.backend`.
        adapter: `spec.adapter.kind`.
        rows: of `memory_table`.
    """
    own = [row for row in rows if row.adapter == adapter and wanted in ("auto", row.backend)]
    if not own:  # OpenRLHF without CUDA, or QLoRA with it: what TRL would need is the only number there is
        own = [row for row in rows if row.adapter == adapter]
        nearest = min(own, key=lambda row: row.use.peak)
        return Choice(_unfit(nearest), f"the spec says {wanted}, which cannot train {adapter} on {machine.name}")
    fitting = [row for row in own if row.fits]
    if not fitting and adapter == "qlora" and machine.kind != "cuda":
        return Choice(own[0], f"QLoRA needs a CUDA device, and this is {machine.name}; write adapter.kind: lora")
    if not fitting:
        nearest = min(own, key=lambda row: row.use.peak)
        return Choice(nearest, _too_large(nearest, rows, machine))
    chosen = fitting[0]
    return Choice(chosen, _reason(wanted, chosen, own, machine))


def _unfit(row: MemoryRow) -> MemoryRow:
    return MemoryRow(row.backend, row.strategy, row.adapter, row.devices, row.use, fits=False)


def _reason(wanted: str, chosen: MemoryRow, own: Sequence[MemoryRow], machine: Machine) -> str:
    limit = f"{_gib(ROOM * machine.memory)} of {_gib(machine.memory)} that may be used"
    fit = f"{_gib(chosen.use.peak)} a device fits the {limit}"
    if wanted != "auto":
        return f"the spec says {wanted}; {chosen.strategy} on {chosen.devices}: {fit}"
    passed = next((row for row in own if row.backend == "trl" and not row.fits), None)
    if chosen.backend == "trl":
        others = f"; {passed.strategy} would need {_gib(passed.use.peak)}" if passed and passed != chosen else ""
        return f"it fits this node: {chosen.strategy} on {chosen.devices}, {fit}{others}"
    least = min((row.use.peak for row in own if row.backend == "trl"), default=0.0)
    return f"TRL on one node would need {_gib(least)} a device, more than the {limit}; {chosen.strategy}: {fit}"


def _too_large(nearest: MemoryRow, rows: Sequence[MemoryRow], machine: Machine) -> str:
    said = (
        f"nothing fits: {nearest.strategy} on {nearest.devices} needs {_gib(nearest.use.peak)} a device and "
        f"{_gib(ROOM * machine.memory)} may be used"
    )
    smaller = next((row for row in rows if row.fits), None)
    if smaller is None:
        return f"{said}; take more or larger devices, or a smaller base"
    return f"{said}; adapter.kind: {smaller.adapter} would fit ({smaller.strategy}, {_gib(smaller.use.peak)} a device)"


def _gib(value: float) -> str:
    return f"{value / GIB:.1f} GiB"
