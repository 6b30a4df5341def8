"""A job that is killed and continued: no call is paid for twice, and it leaves the files of a job that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from judge_world import judged, ranked_rows, write_rows
from scripted_judge import Judge, scripted_judge

CONCURRENCY = 16
FILES = ("results.json", "rows.jsonl")


def start(judge: Judge, data: Path, out: Path) -> subprocess.Popen[bytes]:
    """`rewardsmith judge` in a process of its own, with the settings of `judged`."""
    command = [sys.executable, "-m", "rewardsmith", "judge", "--endpoint", judge.url, "--model", "judge"]
    command += ["--benchmark", "rewardbench2", "--data", str(data), "--out", str(out)]
    command += ["--concurrency", str(CONCURRENCY), "--price-prompt", "2", "--price-completion", "10"]
    for override in ("judge.backoff=0.001", "judge.probes.consistency=0", "judge.probes.injection=0"):
        command += ["--set", override]
    command += ["--set", "evaluation.bootstrap=200"]
    # A shell that starts the tests in the background has them ignore SIGINT, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(judge: Judge, data: Path, out: Path, how: signal.Signals) -> tuple[int, str]:
    """Start, end it by a signal when the judge announces the next number of calls; exit code, standard error."""
    with start(judge, data, out) as process:
        judge.wait_for_calls()
        os.kill(process.pid, how)
        judge.go_on()
        _, said = process.communicate()
    return process.returncode, said.decode()


def finished(judge: Judge, data: Path, out: Path) -> Any:
    return judged(judge.url, "rewardbench2", data, out, concurrency=CONCURRENCY)


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / "eval" / "rewardbench2" / name).read_bytes() for name in FILES}


def kill_and_resume(tmp_path: Path, rows: int, points: Sequence[int], how: signal.Signals, **planted: Any) -> None:
    """Kill at each point, then finish; compare with a job that was left alone, and with what was paid for."""
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(rows))
    with scripted_judge(accuracy=0.7, garbage=0.05, seed=9, announce=list(points), delay=0.005, **planted) as judge:
        for _ in points:
            code, said = interrupted(judge, data, tmp_path / "out", how)
            assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130)
            assert ("interrupted: run the same command again to continue" in said) == (code == 130)
            assert "Traceback" not in said
            assert not (tmp_path / "out" / "eval").exists()
        done = finished(judge, data, tmp_path / "out")
        counts = judge.counts()
        whole = finished(judge, data, tmp_path / "whole")
    assert done.complete == whole.complete
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    # rewards, replies and cost are those of the whole; each call was paid once
    assert done.record.cost == whole.record.cost
    assert done.record.replies == whole.record.replies
    assert counts["distinct"] == done.record.cost.calls
    assert counts["most_often"] == 1
    assert counts["paid"] == done.record.cost.calls
    # each kill leaves at most as many calls in doubt as were under way, an interrupt none
    most = CONCURRENCY * len(points) if how == signal.SIGKILL else 0
    assert done.record.lost_calls <= most


def test_killed_and_resumed_pays_nothing_twice_where_the_endpoint_knows_idempotency_keys(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 160, [37, 98], signal.SIGKILL, idempotent=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_and_resumed_pays_nothing_twice_anywhere(tmp_path: Path, how: signal.Signals) -> None:
    kill_and_resume(tmp_path, 120, [61], how)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "idempotent"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
def test_five_thousand_judgments_killed_and_resumed(tmp_path: Path, how: signal.Signals, idempotent: bool) -> None:
    kill_and_resume(tmp_path, 5000, [613, 2718, 4711], how, idempotent=idempotent)


def test_a_kill_leaves_at_most_the_calls_under_way_in_doubt(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(120))
    with scripted_judge(seed=9, announce=[50], delay=0.02) as judge:
        interrupted(judge, data, tmp_path / "out", signal.SIGKILL)
        done = finished(judge, data, tmp_path / "out")
        counts = judge.counts()
    twice = counts["paid"] - counts["distinct"]
    assert twice <= done.record.lost_calls <= CONCURRENCY  # what may have been paid twice is said
    lines = (tmp_path / "out" / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [next(iter(json.loads(line))) for line in lines]
    assert kinds.count("answered") == 120
    assert kinds.count("sent") == 120 + done.record.lost_calls
