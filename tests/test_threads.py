"""CPU threads are chosen from what is free, never against a user; a training that waits says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rewardsmith import threads
from rewardsmith.threads import ThreadChoice, choose_threads
from rewardsmith.training import trl_backend
from rewardsmith.training.trainer import Pace
from rewardsmith.training.trl_backend import THREADS_FILE, settle_threads

CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("usable", "busy", "expected"),
    [
        (8, 0.0, 8),
        (8, 0.4, 8),  # less than half a core is noise
        (8, 0.6, 7),
        (8, 7.3, 1),
        (8, 8.0, 1),
        (2, 2.0, 1),
        (2, 1.1, 1),
        (2, 0.2, 2),
    ],
)
def test_as_many_as_are_free(usable: int, busy: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    choice = choose_threads({}, usable, lambda: busy)
    assert choice.threads == expected
    assert f"{usable} of 64 cores may be used" in choice.reason


def test_a_machine_that_is_free_keeps_the_library_s_own_choice() -> None:
    assert choose_threads({}, CORES, lambda: 0.0).threads is None
    assert choose_threads({}, CORES, lambda: None).threads is None


def test_where_both_are_set_both_are_said() -> None:
    """torch with MKL computes with one thread here, and "OMP_NUM_THREADS is 2" alone would explain nothing."""
    both = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "1"}
    assert choose_threads(both).reason == "OMP_NUM_THREADS is 2, MKL_NUM_THREADS is 1"


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_user_s_own_number_stands(name: str) -> None:
    def look() -> float:
        raise AssertionError("nothing is to be looked at")

    assert choose_threads({name: "7"}, 64, look) == ThreadChoice(None, f"{name} is 7", stated=True)


@pytest.mark.parametrize(
    ("content", "expected"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("what", None)]
)
def test_the_quota_of_a_control_group_bounds_the_cores(
    content: str, expected: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "_own_cores", lambda: {0, 1, 2, 3})
    assert threads._quota() == expected
    assert threads.usable_cores() == (4 if expected is None else 1)


def test_busy_cores_are_counted_on_one_s_own_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of cores 0 to 2 this process may use 1 and 2: of 100 ticks each, core 1 was idle for 75 and core 2 for 25."""

    def stat(*rows: tuple[int, int]) -> str:
        return "cpu  0 0 0 0 0 0 0 0 0 0\n" + "".join(
            f"cpu{core} {busy} 0 0 {idle} 0 0 0 0 0 0\n" for core, (busy, idle) in enumerate(rows)
        )

    file = tmp_path / "stat"
    file.write_text(stat((0, 0), (10, 10), (10, 10)))
    monkeypatch.setattr(threads, "_STAT", file)
    monkeypatch.setattr(threads, "_own_cores", lambda: {1, 2})
    monkeypatch.setattr(threads.time, "sleep", lambda _: file.write_text(stat((500, 0), (35, 85), (85, 35))))
    assert threads.busy_cores() == pytest.approx(1.0)
    file.unlink()
    monkeypatch.setattr(threads.time, "sleep", lambda _: None)
    assert threads.busy_cores() is None


def test_the_choice_reaches_torch_and_loads_nothing(tmp_path: Path) -> None:
    """In a process of its own, as the command line does it, on a machine of two cores of which none is free."""
    code = (
        "import sys\n"
        "from rewardsmith import threads\n"
        "threads.usable_cores, threads.busy_cores = (lambda: 2), (lambda: 2.0)\n"
        "choice = threads.settle_threads()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import torch\n"
        "import os\n"
        "print(choice.threads, torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "PASSIVE"]


@pytest.fixture
def own_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is set, in place of torch's own state."""
    now = [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    return now


def test_the_spec_s_number_overrides_all(
    tmp_path: Path, own_threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trl_backend, "thread_choice", lambda: ThreadChoice(1, "busy"))
    assert settle_threads(5, tmp_path, resumed=False) == (5, "hardware.threads")
    assert not (tmp_path / THREADS_FILE).exists()


def test_an_epoch_that_goes_on_keeps_the_threads_of_its_beginning(
    tmp_path: Path, own_threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trl_backend, "thread_choice", lambda: ThreadChoice(3, "others keep 5.0 of them busy"))
    assert settle_threads(None, tmp_path, resumed=False) == (3, "others keep 5.0 of them busy")
    assert json.loads((tmp_path / THREADS_FILE).read_text()) == {"threads": 3}
    own_threads.append(8)  # the machine is free now
    assert settle_threads(None, tmp_path, resumed=True) == (3, "as many as before training was interrupted")
    assert own_threads[-1] == 3
    own_threads.append(8)
    assert settle_threads(None, tmp_path, resumed=False)[0] == 8


def test_what_the_environment_says_is_left_alone_on_a_resume_too(
    tmp_path: Path, own_threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / THREADS_FILE).write_text('{"threads": 9}')
    monkeypatch.setattr(trl_backend, "thread_choice", lambda: ThreadChoice(None, "OMP_NUM_THREADS is 3", stated=True))
    assert settle_threads(None, tmp_path, resumed=True) == (3, "OMP_NUM_THREADS is 3")
    monkeypatch.setattr(trl_backend, "thread_choice", lambda: None)
    assert settle_threads(None, tmp_path, resumed=True) == (3, "torch's own choice")
    assert own_threads == [3]


def test_steps_that_wait_for_cores_are_warned_of_once_with_the_remedy() -> None:
    slow = Pace(2)
    assert slow.observe(wall=9.0, cpu=2.0) == ""  # too early to say
    said = slow.observe(wall=11.0, cpu=3.0)  # 5 s of CPU in 20 s: 0.25 cores for two threads
    assert said.startswith("warning: training gets 0.2 cores for its 2 threads")
    assert "hardware.threads: 1" in said
    assert slow.observe(wall=100.0, cpu=1.0) == ""
    alone = Pace(1)
    assert "4.0 times as long" in alone.observe(wall=20.0, cpu=5.0)


@pytest.mark.parametrize(("threads", "cpu"), [(1, 19.0), (1, 10.1), (2, 38.0), (2, 21.0), (8, 100.0)])
def test_steps_that_compute_are_not_warned_of(threads: int, cpu: float) -> None:
    assert Pace(threads).observe(wall=20.0, cpu=cpu) == ""
