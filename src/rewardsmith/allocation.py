"""Freed memory stays with the process, for the next tensor: what glibc's allocator is told before a CPU computes.

    keep_freed_memory()          once for the process; whether it was done

Each layer of a model allocates the same large tensors as the one before it, which has freed them. glibc asks the kernel
anew for each block above 32 MB, and returns the end of its heap when much of it is free; the kernel clears every page
again before it is touched. Scoring with a decoder of 135M parameters, rows of 16,384 tokens, one core of an AMD EPYC,
CPU seconds (kernel's share) and page faults of eight of its layers:

                   as it is                    kept
    float32        12.1  (3.1)   1,630,000     9.6  (0.3)   170,000
    bfloat16        5.3  (1.7)   1,030,000     3.9  (0.1)    78,000

So blocks of up to 1 GiB come from the heap, and up to 2 GiB of its free end are kept. The peak rises where the heap is
fragmented: 5 % in training of that model, a quarter of 1.1 GB in scoring.

It is a setting of the whole process, so `REWARDSMITH_KEEP_MEMORY=0` declines it, and whoever has set glibc's own
variables is left alone. Without glibc (macOS, Windows, musl) nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

KEEP_VARIABLE = "REWARDSMITH_KEEP_MEMORY"

_THEIRS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
# <malloc.h>; values are C ints.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = (1 << 31) - 1
# Older versions of glibc refuse more than 32 MiB.
_FROM_HEAP = (1 << 30, 1 << 25)

_done: list[bool] = []


def keep_freed_memory() -> bool:
    """Tell the allocator once; returns whether freed memory is kept."""
    if not _done:
        _done.append(_may_keep(os.environ) and _tell())
    return _done[0]


def _may_keep(environment: Mapping[str, str]) -> bool:
    if environment.get(KEEP_VARIABLE, "") in ("0", "false", "no"):
        return False
    return not any(environment.get(name) for name in _THEIRS) and "glibc.malloc" not in environment.get(
        "GLIBC_TUNABLES", ""
    )


def _tell() -> bool:
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no such function
        return False
    if not mallopt(_TRIM_THRESHOLD, _KEPT):  # 1 is success
        return False
    return any(mallopt(_MMAP_THRESHOLD, size) for size in _FROM_HEAP)
