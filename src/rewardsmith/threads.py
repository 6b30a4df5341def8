"""How many CPU threads to compute with, chosen from what is free before torch is loaded.

    settle_threads()         the command line, before anything computes: decides once, through OMP_NUM_THREADS
    thread_choice()          what was decided and why; None where nobody asked
    in_words(2, "all free")  the line that a training and a server print

torch parts each operation among its threads and waits for the slowest, and OpenMP's threads spin while they wait: they
keep the core that the slowest one needs. Beside other work that happens some thousand times a step. A step of the
embedded base (16 texts of 128 tokens) on two cores at loads of 11 to 27, wall seconds in three turns, and CPU seconds:

    2 threads                                19.3, over 25, 6.1   3.0
    1 thread                                  2.3,     5.5, 1.3   0.5
    2 threads, GOMP_SPINCOUNT=10000           5.5,     2.6, 0.8   0.6
    2 threads, OMP_WAIT_POLICY=PASSIVE        1.7,     2.9, 1.4   0.5

So only as many threads are taken as cores are free now: those that this process may use (affinity, the control group's
quota), less what others keep busy, by /proc/stat over a fifth of a second; and where these are fewer than the machine
has, threads wait without spinning. Where all are free, or the environment says how many (`OMP_NUM_THREADS`,
`MKL_NUM_THREADS`), nothing is changed; `hardware.threads` of a spec overrides the number. It decides the last bits of a
sum: a spec that must give the same bits states it. A server keeps for its whole life what was free at its start.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_LOOK_SECONDS = 0.2
_STAT = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD_QUOTA = Path("/sys/fs/cgroup/cpu")


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """`threads` to compute with, None for the library's own choice; `reason` says in words why.

    `stated`: the environment says how many, and nothing here changes it.
    """

    threads: int | None
    reason: str
    stated: bool = False


_chosen: list[ThreadChoice] = []


def thread_choice() -> ThreadChoice | None:
    """What `settle_threads` has decided in this process; None where it was not called."""
    return _chosen[0] if _chosen else None


def settle_threads() -> ThreadChoice:
    """Decide once for this process, and put it where torch's libraries look when they are loaded."""
    if not _chosen:
        loaded = ThreadChoice(None, "torch was loaded before", stated=True)
        choice = loaded if "torch" in sys.modules else choose_threads(os.environ)
        if choice.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(choice.threads)
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        _chosen.append(choice)
    return _chosen[0]


def in_words(threads: int, reason: str) -> str:
    """ "2 threads compute: 2 cores, all free"."""
    return f"{plural_threads(threads)} compute{'s' if threads == 1 else ''}: {reason}"


def plural_threads(number: int) -> str:
    """ "1 thread", "2 threads"."""
    return f"{number:,} thread{'s' if number != 1 else ''}"


def choose_threads(
    environment: Mapping[str, str], usable: int | None = None, busy: Callable[[], float | None] | None = None
) -> ThreadChoice:
    """How many threads, and why.

    Args:
        environment: what the user has set there stands.
        usable: cores that this process may use; looked up when None.
        busy: cores that others keep busy, None where the system does not say; looked at when None.
    """
    stated = [f"{name} is {environment[name]}" for name in _NAMED if environment.get(name)]
    if stated:
        return ThreadChoice(None, ", ".join(stated), stated=True)  # of both, MKL's counts where torch has MKL
    cores = os.cpu_count() or 1
    mine = usable_cores() if usable is None else usable
    others = (busy_cores if busy is None else busy)() if mine > 1 else 0.0
    limit = f"{mine} of {cores} cores may be used" if mine < cores else f"{mine} core{'s'[: mine > 1]}"
    if others is None:
        return ThreadChoice(mine if mine < cores else None, f"{limit}, how busy they are is not known")
    free = min(mine, max(1, math.floor(mine - others + 0.5)))
    if free < mine:
        return ThreadChoice(free, f"{limit}, others keep {others:.1f} of them busy")
    return ThreadChoice(mine if mine < cores else None, f"{limit}, all free")


def usable_cores() -> int:
    """Cores by this process's affinity and its control group's quota; at least 1."""
    quota = _quota()
    return max(1, len(_own_cores()) if quota is None else min(len(_own_cores()), int(quota)))


def _quota() -> float | None:
    """Cores a second that the control group may use; None without a limit."""
    try:
        if _QUOTA.exists():
            limit, period = _QUOTA.read_text(encoding="ascii").split()
        else:
            limit, period = (
                (_OLD_QUOTA / name).read_text(encoding="ascii").strip()
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        return int(limit) / int(period) if limit not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def busy_cores(seconds: float = _LOOK_SECONDS) -> float | None:
    """Cores' worth of work that others do on the cores of this process, which sleeps meanwhile."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None:
        return None
    idle, total = after[0] - before[0], after[1] - before[1]
    return len(_own_cores()) * (1 - idle / total) if total > 0 else None


def _own_cores() -> set[int]:
    """By affinity: the cores whose ticks /proc/stat counts apart."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _ticks() -> tuple[int, int] | None:
    """Idle and all ticks of the cores that this process may use, since the system started."""
    try:
        rows = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        counts = {row[0]: [int(one) for one in row[1:9]] for row in rows}
    except (OSError, ValueError):
        return None
    own = [counts[name] for core in _own_cores() if (name := f"cpu{core}") in counts]
    if not own:
        return None
    idle = sum(row[3] + row[4] for row in own)  # idle, and waiting for a disk
    return idle, sum(map(sum, own))
