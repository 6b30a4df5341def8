"""Suspected labels as a stage of the job: from margins.jsonl to label_noise.json, kept, asked again, left out."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from cli_world import World

from rewardsmith.pipeline.label_noise import candidates
from rewardsmith.records.files import read_record
from rewardsmith.records.training import LabelNoiseRecord


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_train_ranks_its_suspects_and_asks_the_trained_model_again(world: World, tmp_path: Path) -> None:
    spec = world.write_spec(evaluation={"label_noise": {"suspects": 6, "rescore": 1000}})
    assert world("check", spec).code == 0
    answer = world("train", spec)
    run = tmp_path / "runs" / "tiny"
    record = read_record(run / "label_noise.json", LabelNoiseRecord)
    margins = {
        index: (step["step"], margin)
        for step in map(json.loads, (run / "train" / "margins.jsonl").read_text().splitlines())
        for index, margin in zip(step["pairs"], step["margins"], strict=True)
    }
    assert (record.pairs, record.rescored, len(record.suspects)) == (len(margins), 4, 6)  # a tenth of 40
    assert record.contradicted == pytest.approx(np.mean([margin < 0 for _, margin in margins.values()]))
    assert record.statement in " ".join(answer.err.split())
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    for suspect in record.suspects:
        assert (suspect.step, suspect.margin) in margins.values()
        assert suspect.file.endswith("train.jsonl")
        assert json.loads(lines[suspect.row - 1])["id"] == suspect.id
    assert sum(suspect.final_margin is not None for suspect in record.suspects) <= 4
    probabilities = [suspect.probability for suspect in record.suspects]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(
    ("pairs", "wanted", "asked"), [(848, 1000, 85), (11_520, 1000, 1000), (11_520, 2000, 1152), (30, 9, 3), (5, 0, 0)]
)
def test_at_most_a_tenth_of_the_pairs_is_asked_about_again(pairs: int, wanted: int, asked: int) -> None:
    assert candidates(pairs, wanted) == asked


def test_unchanged_margins_are_not_looked_at_again_and_zero_suspects_leave_no_file(
    world: World, tmp_path: Path
) -> None:
    spec = world.write_spec(evaluation={"label_noise": {"suspects": 2, "rescore": 0}})
    file = tmp_path / "runs" / "tiny" / "label_noise.json"
    assert world("check", spec).code == 0
    assert world("train", spec).code == 0
    written = file.stat().st_mtime_ns
    assert "Label noise: unchanged, skipped" in world("train", spec).err
    assert file.stat().st_mtime_ns == written
    assert world("train", spec, "--set", "evaluation.label_noise.suspects=0").code == 0
    assert not file.exists()


def test_a_margin_stop_still_names_its_suspects(world: World, tmp_path: Path) -> None:
    monitor = {"on_stall": "stop", "min_steps": 8, "after": 0.0}
    training = {"pairs_per_step": 2, "learning_rate": 1e-12, "monitor": monitor}
    assert world("run", world.write_spec(training=training)).code == 1
    record = read_record(tmp_path / "runs" / "tiny" / "label_noise.json", LabelNoiseRecord)
    assert record.suspects
    assert record.rescored == 0  # there is no trained model to ask
    assert record.verdict == "cannot tell"
    assert "Label noise" in (tmp_path / "runs" / "tiny" / "summary.md").read_text()


@pytest.mark.slow
def test_flipped_labels_of_a_real_run_stand_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quickstart's pairs with 5 % of the labels flipped, as bench/label_noise.py trains them."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "bench"))
    bench = import_module("label_noise")
    flipped = bench.flip(tmp_path / "run", 0.05, None)
    found = bench.look(flipped, 1000)
    hits = np.array([suspect.row in flipped.rows for suspect in found.suspects])
    wrong = len(flipped.rows)
    assert hits[:100].mean() > 0.8  # chance gives 0.05
    assert hits[:wrong].mean() > 0.35
    assert found.verdict == "some"
    assert 0.03 < found.ci_low < found.ci_high < 0.09
