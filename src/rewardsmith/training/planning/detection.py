"""The machine that this is: its accelerators, or its processor and memory."""

from __future__ import annotations

import os

import torch

from rewardsmith.training.planning.hardware import ACCELERATORS, GIB, Machine, accelerator_machine, cpu_machine


def detect_machine() -> Machine:
    """What torch sees here. A GPU that is not in the table is reckoned as the one of the nearest memory."""
    host = host_memory()
    if not torch.cuda.is_available():
        return cpu_machine(host, os.cpu_count() or 1)
    from dataclasses import replace

    found = torch.cuda.get_device_properties(0)
    known = min(ACCELERATORS, key=lambda name: abs(ACCELERATORS[name].memory_gib * GIB - found.total_memory))
    machine = accelerator_machine(known, devices_per_node=torch.cuda.device_count())
    note = f"{found.name}: speed and price of {known}, memory as found"
    return replace(machine, name=found.name, memory=float(found.total_memory), host_memory=host, assumptions=(note,))


def host_memory() -> float:
    """Bytes of memory of this machine; 8 GiB where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 8.0 * GIB
