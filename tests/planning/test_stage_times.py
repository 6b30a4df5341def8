"""Seconds of every stage: forward passes counted by hand, stages that the spec asks for, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardsmith.modeling.shapes import ModelShape, shape_of
from rewardsmith.pipeline.label_noise import ONE_IN
from rewardsmith.planning import time as module
from rewardsmith.planning.hardware import cpu_machine
from rewardsmith.planning.time import OPEN_SECONDS, UTILISATION, Lengths, stage_times
from rewardsmith.records.plan import StageTime, TimePlan
from rewardsmith.samples.base_model import embedded_config
from rewardsmith.spec import Spec

LENGTHS = Lengths(pairs=848, tree=261.0, padded=300.0, text=150.0, attended=90.0, longest=640.0, source="test")
TRAINING = TimePlan(
    pairs=848,
    assumed=False,
    operations=1.0,
    utilisation=0.75,
    compute_seconds=2000.0,
    network_seconds=0.0,
    network_bytes=0.0,
    seconds=2000.0,
    cost=None,
)
MACHINE = cpu_machine(8 * 2**30, 2)


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return shape_of(embedded_config(), name="embedded")


def spec(**evaluation: Any) -> Spec:
    benchmark = {"name": "rewardbench2", "data": "allenai/reward-bench-2"}
    return Spec.model_validate(
        {
            "name": "x",
            "policy": {"parameters": "8B"},
            "evaluation": {"benchmarks": [benchmark], **evaluation},
        }
    )


def times(shape: ModelShape, wanted: Spec, **rows: int) -> dict[str, StageTime]:
    found = stage_times(wanted, shape, LENGTHS, MACHINE, training=TRAINING, rows=rows)
    return {one.stage: one for one in found}


def pair_seconds(shape: ModelShape) -> float:
    """Operations of a forward pass over a pair's tree, at what two cores reach of their peak."""
    forward = 2.0 * shape.active + 4.0 * shape.layers * shape.attention * 90.0
    return 261.0 * forward / (MACHINE.flops * UTILISATION["cpu"])


def test_every_stage_has_its_own_line(shape: ModelShape) -> None:
    found = times(shape, spec(attack={"pairs": 40, "queries": 600}), held_out=52, rewardbench2=162)
    assert list(found) == ["check", "train", "labels", "evaluate", "probe", "attack", "report"]
    pair = pair_seconds(shape)
    assert found["train"].seconds == pytest.approx(2000.0 + 848 * 0.6e-3)
    assert found["check"].seconds == pytest.approx(848 * 1.7e-3)
    assert found["labels"].seconds == pytest.approx(OPEN_SECONDS + 85 * pair)  # a tenth of 848, rounded up
    assert found["evaluate"].seconds == pytest.approx(OPEN_SECONDS + (52 + 2 * 162) * pair)  # pairs; best of four
    assert found["evaluate"].basis == "held_out 52 rows, rewardbench2 162 rows"
    assert found["probe"].seconds == pytest.approx(OPEN_SECONDS + 52 * 24 / 2 * pair)  # 23 edits and the text itself
    assert found["attack"].seconds == pytest.approx(OPEN_SECONDS + 300 * pair)
    assert found["attack"].basis == "at most 600 texts and 600 s"


def test_an_attack_takes_no_longer_than_its_limit(shape: ModelShape) -> None:
    wanted = {"pairs": 40, "queries": 100_000}
    whole = OPEN_SECONDS + 50_000 * pair_seconds(shape)
    free = times(shape, spec(attack=wanted | {"seconds": None}))["attack"]
    assert (free.seconds, free.basis) == (pytest.approx(whole), "at most 100,000 texts")
    assert times(shape, spec(attack=wanted | {"seconds": 3}))["attack"].seconds == OPEN_SECONDS + 3 < whole


def test_what_the_spec_does_not_ask_for_takes_no_time(shape: ModelShape) -> None:
    wanted = spec(label_noise={"suspects": 0}, probes={"pairs": 0})
    assert list(times(shape, wanted, held_out=52)) == ["check", "train", "evaluate", "report"]


def test_rows_that_nobody_counted_are_said_to_be_assumed(shape: ModelShape, tmp_path: Path) -> None:
    assert "rewardbench2 2,000 rows (assumed)" in times(shape, spec())["evaluate"].basis
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n" * 7)
    counted = spec(benchmarks=[{"name": "best_of_n", "data": str(file)}])
    assert "best_of_n 7 rows" in times(shape, counted)["evaluate"].basis
    assert "held_out 45 rows (assumed)" in times(shape, counted)["evaluate"].basis  # 5 % of the prompts: 848 · 5 / 95


def test_the_share_of_labels_is_the_one_of_the_stage() -> None:
    assert module.ONE_IN == ONE_IN
