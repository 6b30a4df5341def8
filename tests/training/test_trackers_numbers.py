"""What trackers are told: every number of a step, a score, a gate by one name that all of them take."""

from __future__ import annotations

import math
import re

import report_records
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.run import GateOutcome, GatesRecord
from rewardsmith.records.training import StepMetrics
from rewardsmith.spec import Spec
from rewardsmith.training.trackers import (
    TRACKERS,
    compared_settings,
    gate_numbers,
    metric_name,
    probe_numbers,
    result_numbers,
    step_numbers,
)


def test_a_step_gives_every_number_but_the_step_itself() -> None:
    (metrics, *_) = report_records.metrics(1)
    numbers = step_numbers(metrics)
    assert numbers["train/loss"] == metrics.loss
    assert set(numbers) == {f"train/{name}" for name in StepMetrics.model_fields} - {"train/step"}


def test_numbers_that_are_not_finite_are_left_out() -> None:
    (metrics, *_) = report_records.metrics(1)
    changed = metrics.model_copy(update={"grad_norm": None, "loss": math.nan, "reward_max": math.inf})
    missing = set(step_numbers(metrics)) - set(step_numbers(changed))
    assert missing == {"train/grad_norm", "train/loss", "train/reward_max"}


def result() -> BenchmarkResult:
    rows = report_records.benchmark_rows("")
    return report_records.benchmark(rows, "")


def test_scores_have_their_interval_and_baseline_and_the_average_is_a_subset() -> None:
    numbers = result_numbers({"rewardbench2": result()})
    found = {name: numbers[f"eval/rewardbench2/Precise_IF/{name}"] for name in ("score", "ci_low", "ci_high")}
    assert found == {"score": 0.5250, "ci_low": 0.4362, "ci_high": 0.6123}
    assert numbers["eval/rewardbench2/average/score"] == result().average


def test_gates_are_one_or_zero_and_missing_data_does_not_pass() -> None:
    outcomes = [
        GateOutcome(name="baseline", kind="gate", verdict="PASS", benchmark="rb", subset="Math", message=""),
        GateOutcome(name="baseline", kind="gate", verdict="NO_DATA", benchmark="rb", subset="Ties", message=""),
        GateOutcome(name="margin", kind="warning", verdict="FAIL", message=""),
    ]
    assert gate_numbers(GatesRecord(passed=False, outcomes=tuple(outcomes))) == {
        "gates/passed": 0.0,
        "gates/failed": 1.0,
        "gates/baseline/rb/Math": 1.0,
        "gates/baseline/rb/Ties": 0.0,
        "gates/margin": 0.0,
    }


def test_without_probes_there_are_no_numbers_of_them() -> None:
    assert probe_numbers(None) == {}


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_name_is_one_that_every_tracker_takes(parts: list[str]) -> None:
    name = metric_name(*parts)
    assert re.fullmatch(r"([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?", name)
    assert not any(part.strip(".") == "" for part in name.split("/") if name)


def test_no_name_stands_above_another() -> None:
    """MLflow's files are named by their metric: a name cannot be a folder of another."""
    names = set(result_numbers({"rewardbench2": result()})) | set(gate_numbers(report_records.gates("")))
    assert [name for name in names if any(other.startswith(f"{name}/") for other in names)] == []


def test_settings_say_nothing_of_where_data_and_services_are() -> None:
    spec = Spec.model_validate(
        {
            "data": {"train": [{"path": "/home/me/secret-project/pairs.jsonl"}]},
            "judge": {"endpoint": "http://judge.internal/v1", "model": "m"},
        }
    )
    text = str(compared_settings(spec))
    assert "secret-project" not in text
    assert "judge.internal" not in text
    assert compared_settings(spec)["training.learning_rate"] == 1e-5


def test_the_spec_names_the_trackers_that_there_are() -> None:
    assert Spec.model_validate({"report_to": list(TRACKERS)}).report_to == tuple(TRACKERS)
    assert Spec.model_validate({"report_to": "wandb"}).report_to == ("wandb",)
