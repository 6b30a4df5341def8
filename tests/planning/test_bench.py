"""bench/results/plan_memory.md says what its saved runs say, and calls an error an error."""

from __future__ import annotations

import copy
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
RESULTS = BENCH / "results"
GIB = 2**30


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("plan_memory")


def saved_runs() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted((RESULTS / "plan_memory").glob("*.json"))]


def test_the_page_is_what_its_runs_say(bench: Any) -> None:
    assert bench.PAGE.text(RESULTS) == (RESULTS / "plan_memory.md").read_text("utf-8")


def test_small_predictions_are_not_in_the_table() -> None:
    runs = saved_runs()
    assert runs
    assert min(row["predicted"] for run in runs for row in run["rows"]) >= 2 * GIB


def test_what_is_outside_the_limit_is_called_so(bench: Any) -> None:
    run = copy.deepcopy(saved_runs()[0])
    (row, *_) = run["rows"]
    run["rows"] = [row | {"predicted": 3.0 * GIB, "measured": 4.1 * GIB}, row | {"predicted": 3.0, "measured": 3.0}]
    text = bench.section(run)
    assert "-27% (outside)" in text
    assert "Within 25%: 1 of 2; largest error 27%." in text


def test_every_way_of_training_is_among_the_configurations(bench: Any) -> None:
    setups = bench.SETUPS.values()
    assert len(bench.SETUPS) >= 8
    assert {setup.adapter for setup in setups} == {"none", "lora"}
    assert {setup.checkpointing for setup in setups} == {True, False}
    assert {setup.layout for setup in setups} == {"tree", "padded"}
    for part in ("hidden", "layers", "vocabulary", "tokens"):
        assert len({getattr(setup, part) for setup in setups}) > 1
