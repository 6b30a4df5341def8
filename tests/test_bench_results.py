"""The pages of bench/results say what their saved runs say; the benches of the statistics need no torch."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
RESULTS = BENCH / "results"


@pytest.fixture(params=["train_speed", "score_speed"])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module(request.param).PAGE


def saved_runs(name: str) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted((RESULTS / name).glob("*.json"))}


def write_runs(folder: Path, name: str, runs: dict[str, Any]) -> Path:
    (folder / name).mkdir()
    for file, run in runs.items():
        (folder / name / file).write_text(json.dumps(run), encoding="utf-8")
    return folder


def test_a_page_is_what_its_saved_runs_say(page: Any):
    assert page.text(RESULTS) == (RESULTS / f"{page.name}.md").read_text("utf-8")


def test_a_changed_run_changes_the_page(page: Any, tmp_path: Path):
    runs = saved_runs(page.name)
    next(iter(runs.values()))["useful"] *= 2
    assert page.text(write_runs(tmp_path, page.name, runs)) != (RESULTS / f"{page.name}.md").read_text("utf-8")


def test_a_peer_that_ran_out_of_memory_has_a_whole_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCH))
    run = copy.deepcopy(next(run for run in saved_runs("train_speed").values() if "as it comes" in run["runs"]))
    run["runs"]["as it comes"][1:] = [{"failed": "out of memory", "rate": 0.0}]
    lines = [line for line in import_module("train_speed").section(run).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "| TRL as it comes |  |  | out of memory |  |  |" in lines


def test_the_benches_of_the_statistics_load_no_torch():
    names = "coverage, compare_aa, statistics_scale, embedded_baselines"
    code = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import {names}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
