"""Freed memory is kept for the next block, unless the user says otherwise: page faults of a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rewardsmith import allocation
from rewardsmith.allocation import KEEP_VARIABLE

BLOCK = 64 << 20
PAGES = BLOCK // 4096
TIMES = 8

# Blocks as a model's layers take them: above glibc's largest threshold for mmap, touched, and freed again.
SCRIPT = f"""
import ctypes, resource
from rewardsmith.allocation import keep_freed_memory
kept = keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def touch():
    block = libc.malloc({BLOCK})
    ctypes.memset(block, 1, {BLOCK})
    libc.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TIMES}):
    touch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_blocks_are_taken_again_without_a_page_fault() -> None:
    kept, count = faults()
    assert kept == "True"
    assert count < PAGES // 8  # of one block


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize("declined", [{KEEP_VARIABLE: "0"}, {"MALLOC_MMAP_THRESHOLD_": "1048576"}])
def test_who_declines_or_sets_glibcs_own_is_left_alone(declined: dict[str, str]) -> None:
    kept, count = faults(**declined)
    assert kept == "False"
    # Huge pages (mode `always`) are one fault for 512 pages.
    assert count >= TIMES * PAGES // 512


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({KEEP_VARIABLE: "1"}, True),
        ({KEEP_VARIABLE: "0"}, False),
        ({"MALLOC_TRIM_THRESHOLD_": "100000"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, False),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}, True),
    ],
)
def test_the_environment_decides(environment: dict[str, str], expected: bool) -> None:
    assert allocation._may_keep(environment) is expected


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())  # as musl's: no mallopt
    assert allocation._tell() is False
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert allocation._tell() is False


def test_an_older_glibc_gets_the_largest_threshold_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    class Older:
        @staticmethod
        def mallopt(option: int, value: int) -> int:
            told.append((option, value))
            return int(option != -3 or value <= 32 << 20)

    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: Older)
    monkeypatch.setattr(allocation.sys, "platform", "linux")
    assert allocation._tell() is True
    assert told == [(-1, 2**31 - 1), (-3, 2**30), (-3, 2**25)]
