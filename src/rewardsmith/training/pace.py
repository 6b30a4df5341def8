"""CPU threads of a training, and a word where other work keeps them waiting.

    threads, why = settle_threads(spec, folder, resumed=False)
    pace = Pace(threads)
    warning = pace.observe(wall=9.2, cpu=2.1)            # after each step; mostly empty

Every operation waits for the slowest of its threads. Where others keep the cores busy, that wait is what a step
consists of (`rewardsmith.threads` has the numbers).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from rewardsmith.records.files import write_text
from rewardsmith.threads import ThreadChoice, plural_threads, thread_choice

THREADS_FILE = "threads.json"
"""In `train/` while an epoch is not finished: the threads that were chosen for its beginning."""

_LOOK_SECONDS = 10.0  # of steps, before their pace is judged
_LEAST_USED = 0.5  # of a thread's time: what is less was spent waiting


def settle_threads(stated: int | None, folder: Path, *, resumed: bool) -> tuple[int, str]:
    """Set the threads that compute; returns how many, and why.

    An epoch that goes on keeps those that were chosen for its beginning, however busy the machine is now: their number
    decides the last bits of a sum.

    Args:
        stated: `hardware.threads` of the spec, which overrides all.
        folder: `train/` of the run.
        resumed: the epoch goes on from a checkpoint.
    """
    file, choice = folder / THREADS_FILE, thread_choice() or ThreadChoice(None, "torch's own choice", stated=True)
    if stated:
        torch.set_num_threads(stated)
        return torch.get_num_threads(), "hardware.threads"
    if choice.stated:
        return torch.get_num_threads(), choice.reason
    if resumed and file.exists():
        torch.set_num_threads(int(json.loads(file.read_text(encoding="utf-8"))["threads"]))
        return torch.get_num_threads(), "as many as before training was interrupted"
    write_text(file, json.dumps({"threads": torch.get_num_threads()}) + "\n")
    return torch.get_num_threads(), choice.reason


class Pace:
    """Compares the steps' wall time with their CPU time, and says once where other work keeps them waiting."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._wall, self._cpu = 0.0, 0.0
        self._said = False

    def observe(self, wall: float, cpu: float) -> str:
        """Seconds of a step and of its CPU time, all threads together; a warning with its remedy, mostly empty."""
        self._wall, self._cpu = self._wall + wall, self._cpu + cpu
        if self._said or self._wall < _LOOK_SECONDS:
            return ""
        used, self._wall, self._cpu = self._cpu / self._wall, 0.0, 0.0
        if used >= _LEAST_USED * self.threads:
            return ""
        self._said = True
        return (
            f"warning: training gets {used:.1f} cores for its {plural_threads(self.threads)}: other work has the rest. "
            f"{self._remedy(used)}"
        )

    def _remedy(self, used: float) -> str:
        if self.threads == 1:
            return f"Steps take {1 / max(used, 0.01):.1f} times as long as they would alone; end the other work"
        return (
            "Each operation waits for the slowest thread. End the other work; or stop, and start again with "
            f"OMP_WAIT_POLICY=PASSIVE, or with hardware.threads: {max(1, round(used))} in the spec"
        )
