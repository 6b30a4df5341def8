"""Accelerators by name, the machine that a spec describes, and the machine that this is.

    machine = plan_machine(spec.hardware, here=detect_machine(), accelerator="h100-80gb")

Peaks and bandwidths are those of the vendors' data sheets, dense, in bfloat16 with float32 accumulation; memory is what
a driver shows. Prices are assumptions of this page, for one device and hour on demand; `--price` replaces them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field

from rewardsmith.errors import SpecError
from rewardsmith.modeling.loading import multiplies_bfloat16
from rewardsmith.records.plan import PlannedMachine
from rewardsmith.spec import HardwareSpec
from rewardsmith.spec.section import nearest

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device.

    Attributes:
        memory_gib: as a driver shows it.
        tflops: dense peak in bfloat16, 10¹² operations a second.
        bandwidth: of its memory, 10⁹ bytes a second.
        link: to its neighbours in the node, one direction, 10⁹ bytes a second.
        price: assumed US dollars an hour.
        sheet: the data sheet that the numbers are from.
    """

    memory_gib: float
    tflops: float
    bandwidth: float
    link: float
    price: float
    sheet: str


ACCELERATORS: dict[str, Accelerator] = {
    "a10g-24gb": Accelerator(22, 70, 600, 32, 1.0, "NVIDIA A10G (AWS G5)"),
    "l4-24gb": Accelerator(22.5, 121, 300, 32, 0.7, "NVIDIA L4 data sheet"),
    "rtx4090-24gb": Accelerator(23.5, 165, 1008, 32, 0.5, "NVIDIA Ada architecture paper, appendix A"),
    "l40s-48gb": Accelerator(44.5, 362, 864, 32, 1.2, "NVIDIA L40S data sheet"),
    "a100-40gb": Accelerator(39.4, 312, 1555, 300, 1.5, "NVIDIA A100 data sheet"),
    "a100-80gb": Accelerator(79.2, 312, 2039, 300, 2.0, "NVIDIA A100 data sheet"),
    "h100-80gb": Accelerator(79.6, 989, 3350, 450, 3.0, "NVIDIA H100 SXM data sheet"),
    "h200-141gb": Accelerator(139.8, 989, 4800, 450, 3.8, "NVIDIA H200 SXM data sheet"),
    "b200-180gb": Accelerator(178.0, 2250, 8000, 900, 6.0, "NVIDIA DGX B200 data sheet"),
    "mi300x-192gb": Accelerator(191.0, 1307, 5300, 448, 3.5, "AMD MI300X data sheet"),
}

NODE_LINK = 50e9
"""Bytes a second between nodes, a device: one 400 Gb/s adapter each, as in the vendors' reference systems."""

CORE_FLOPS = 90e9
"""float32 operations a second of one CPU core: two 8-wide multiply-adds a cycle at 2.8 GHz."""

CORE_BANDWIDTH = 10e9
"""Bytes a second from memory, a core."""


class Machine(PlannedMachine):
    """The plan's record of a machine, and what only the planner reads: the fields that the record leaves out."""

    node_link: float = NODE_LINK
    """Bytes a second between nodes, a device."""
    price: float | None = None
    """Dollars a device and hour; null where it is not known."""
    host_memory: float | None = Field(None, exclude=True)
    """Bytes of the host's own memory; null where it is not known."""
    bfloat16: bool = Field(True, exclude=True)
    """Whether a GPU has instructions for it."""
    assumptions: tuple[str, ...] = Field((), exclude=True)
    """What was assumed of it, in words."""

    def but(self, **changed: Any) -> Machine:
        """The same machine with other values."""
        return self.model_copy(update=changed)

    @property
    def devices(self) -> int:
        """All devices of all nodes."""
        return self.nodes * self.devices_per_node

    def link_between(self, devices: int) -> float:
        """Bytes a second of the slowest link among so many devices."""
        return self.link if devices <= self.devices_per_node else self.node_link


def accelerator_machine(name: str, *, nodes: int = 1, devices_per_node: int = 1) -> Machine:
    """Nodes of a named accelerator.

    Raises:
        SpecError: there is none of that name.
    """
    if name not in ACCELERATORS:
        raise SpecError(
            f"{name!r} is no accelerator that the planner knows", where="--accelerator", fix=nearest(name, ACCELERATORS)
        )
    device = ACCELERATORS[name]
    return Machine(
        kind="cuda",
        name=name,
        nodes=nodes,
        devices_per_node=devices_per_node,
        memory=device.memory_gib * GIB,
        flops=device.tflops * 1e12,
        bandwidth=device.bandwidth * 1e9,
        link=device.link * 1e9,
        price=device.price,
    )


def cpu_machine(memory: float, cores: int) -> Machine:
    """A machine without an accelerator."""
    return Machine(
        kind="cpu",
        name=f"{cores} CPU cores",
        nodes=1,
        devices_per_node=1,
        memory=memory,
        flops=cores * CORE_FLOPS,
        bandwidth=cores * CORE_BANDWIDTH,
        link=NODE_LINK,
        host_memory=memory,
    )


def plan_machine(
    hardware: HardwareSpec, *, here: Machine, accelerator: str | None = None, price: float | None = None
) -> Machine:
    """The machine to plan for: an accelerator by name, else what the spec states, else this machine.

    Args:
        here: what was detected.
        accelerator: a name of `ACCELERATORS`.
        price: of a device and hour, in place of the assumed one.

    Raises:
        SpecError: the name is unknown, or it contradicts `hardware.device`.
    """
    if accelerator and hardware.device not in ("auto", "cuda"):
        raise SpecError(
            f"--accelerator is {accelerator}, and the spec trains on {hardware.device!r}",
            where="hardware.device",
            fix="write auto or cuda there, or leave --accelerator out",
        )
    machine = _described(hardware, here, accelerator)
    if price is not None:
        machine = machine.but(price=price)
    return machine


def _described(hardware: HardwareSpec, here: Machine, accelerator: str | None) -> Machine:
    per_node = hardware.devices_per_node
    if accelerator:
        machine = accelerator_machine(accelerator, nodes=hardware.nodes, devices_per_node=per_node or 1)
    elif hardware.device in ("cpu", "mps") or (hardware.device == "auto" and not _states_devices(hardware)):
        machine = here.but(nodes=hardware.nodes, devices_per_node=per_node or here.devices_per_node)
        if hardware.device == "cpu" and here.kind != "cpu":
            machine = cpu_machine(here.host_memory or here.memory, hardware.threads or 1)
    elif here.kind == "cuda" and hardware.memory_gib is None:
        machine = here.but(nodes=hardware.nodes, devices_per_node=per_node or here.devices_per_node)
    else:
        machine = _assumed(hardware)
    if hardware.threads and machine.kind == "cpu":
        machine = machine.but(flops=hardware.threads * CORE_FLOPS, bandwidth=hardware.threads * CORE_BANDWIDTH)
    if hardware.memory_gib is None:
        return machine
    return machine.but(memory=hardware.memory_gib * GIB)


def _states_devices(hardware: HardwareSpec) -> bool:
    return hardware.memory_gib is not None or hardware.devices_per_node is not None or hardware.nodes > 1


def _assumed(hardware: HardwareSpec) -> Machine:
    """A GPU without a name in the spec: the one of the table whose memory is nearest to the stated one."""
    # Nothing is known of the GPU: one of 80 GB, as A100 and H100.
    wanted = hardware.memory_gib or 80.0
    # Of two with equal memory the slower one, so that the plan does not promise too much.
    name = min(
        ACCELERATORS, key=lambda known: (abs(ACCELERATORS[known].memory_gib - wanted), ACCELERATORS[known].tflops)
    )
    machine = accelerator_machine(name, nodes=hardware.nodes, devices_per_node=hardware.devices_per_node or 1)
    why = f"hardware.memory_gib is {wanted:g}" if hardware.memory_gib else "hardware.memory_gib is not stated"
    return machine.but(assumptions=(f"no GPU is named and {why}: reckoned as {name} (--accelerator names one)",))


def detect_machine() -> Machine:
    """What torch sees here. A GPU that is not in the table is reckoned as the one of the nearest memory."""
    host = host_memory()
    if not torch.cuda.is_available():
        return cpu_machine(host, os.cpu_count() or 1)
    found = torch.cuda.get_device_properties(0)
    known = min(ACCELERATORS, key=lambda name: abs(ACCELERATORS[name].memory_gib * GIB - found.total_memory))
    machine = accelerator_machine(known, devices_per_node=torch.cuda.device_count())
    notes = [f"{found.name}: speed and price of {known}, memory as found"]
    able = multiplies_bfloat16(torch.device("cuda"))
    if not able:
        notes.append(f"{found.name} has no instructions for bfloat16: precision auto is float32, several times slower")
    memory = float(found.total_memory)
    return machine.but(name=found.name, memory=memory, host_memory=host, bfloat16=able, assumptions=tuple(notes))


def host_memory() -> float:
    """Bytes of memory of this machine; 8 GiB where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 8.0 * GIB
