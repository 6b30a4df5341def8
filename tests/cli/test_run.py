"""The main job through the command line: what it writes, what it skips, how it continues, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_world import World

from conftest import make_pairs
from rewardsmith.errors import SpecError
from rewardsmith.evaluation import checkpoint_calibration
from rewardsmith.pipeline.directory import RunDirectory
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.evaluation import BenchmarkResult, OodRecord
from rewardsmith.records.files import read_record
from rewardsmith.records.run import GatesRecord, Manifest
from rewardsmith.records.training import TrainRecord
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec

FILES = (
    "spec.yaml",
    "manifest.json",
    "check.json",
    "rejected.jsonl",
    "train/metrics.jsonl",
    "train/summary.json",
    "label_noise.json",
    "model/model.safetensors",
    "model/rewardsmith.json",
    "eval/rewardbench2/results.json",
    "eval/rewardbench2/rows.jsonl",
    "eval/held_out/results.json",
    "gates.json",
    "ood.json",
    "diagnosis.json",
    "report.html",
    "summary.md",
)


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_the_main_job(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    answer = world("run", spec)
    run = tmp_path / "runs" / "tiny"
    gates = read_record(run / "gates.json", GatesRecord)
    assert answer.code == (0 if gates.passed else 1)
    assert "Writing model" not in answer.err + answer.out
    assert f"report: {run.relative_to(tmp_path) / 'report.html'}" in answer.out
    assert [name for name in FILES if not (run / name).is_file()] == []

    checked = read_record(run / "check.json", CheckRecord)
    assert checked.read == checked.kept + checked.rejected == 55
    trained = read_record(run / "train" / "summary.json", TrainRecord)
    assert (trained.pairs, trained.steps, trained.layout) == (40, 10, "tree")
    rows = [json.loads(line) for line in (run / "eval" / "rewardbench2" / "rows.jsonl").read_text().splitlines()]
    assert [(row["subset"], len(row["rewards"]), row["n_chosen"]) for row in rows] == [
        ("Math", 4, 1),
        ("Math", 4, 1),
        ("Focus", 4, 1),
        ("Focus", 4, 1),
        ("Ties", 2, 1),
        ("Ties", 4, 2),
    ]
    stages = read_record(run / "manifest.json", Manifest).stages
    assert list(stages) == ["check", "train", "labels", "evaluate", "probe", "gates", "report"]
    # What the planner says of 40 pairs: 1.7 ms of each in the check; gates are no stage of it, and pages take 5 s.
    assert stages["check"].predicted == pytest.approx(0.068)
    assert (stages["gates"].predicted, stages["report"].predicted) == (None, 5.0)
    planned = world("plan", spec, "--json").json()["times"]
    of_plan = {one["stage"]: one["seconds"] for one in planned}
    assert {name: one.predicted for name, one in stages.items() if name != "gates"} == pytest.approx(of_plan)
    assert all(stage.seconds > 0 for stage in stages.values())
    skills = read_record(run / "ood.json", OodRecord)
    assert [row.key for row in skills.rows if row.kind != "domain"] == ["held_out", "rewardbench2"]
    record = json.loads((run / "model" / "rewardsmith.json").read_text())
    held_out = read_record(run / "eval" / "held_out" / "results.json", BenchmarkResult)
    assert record["calibration"] == checkpoint_calibration(held_out.analysis.calibration)
    assert record["evaluation"].keys() == {"rewardbench2", "held_out"}
    assert record["data_fingerprints"] == [checked.data_fingerprint]

    # the second time nothing is left to do, and nothing changes
    weights = (run / "model" / "model.safetensors").stat().st_mtime_ns
    again = world("run", spec)
    assert again.code == answer.code
    assert again.err.count("unchanged, skipped") == 5
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == weights
    assert world("run", spec, "--json").json()["passed"] == gates.passed

    # other gates: nothing is trained or scored again
    changed = world("run", spec, "--set", "evaluation.gates.minimum.rewardbench2.Math=0.99")
    assert changed.err.count("unchanged, skipped") == 5
    assert "0.99" in (run / "gates.json").read_text()

    # another learning rate would be another model
    refused = world("run", spec, "--set", "training.learning_rate=0.5")
    assert refused.code == 2
    assert "training.learning_rate was 0.001, is 0.5" in refused.err
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == weights

    # scoring the checkpoint elsewhere gives what the run saw, and so do its own rewards offline
    base = ("evaluate", "--benchmark", "rewardbench2", "--data", "rows.jsonl")
    from_run = read_record(run / "eval" / "rewardbench2" / "results.json", BenchmarkResult)
    for how in (("--model", str(run / "model")), ("--rewards", str(run / "eval" / "rewardbench2" / "rows.jsonl"))):
        assert world(*base, *how, "--out", "out").code == 0
        elsewhere = read_record(tmp_path / "out" / "results.json", BenchmarkResult)
        assert elsewhere.average == from_run.average
        assert {name: subset.score for name, subset in elsewhere.subsets.items()} == {
            name: subset.score for name, subset in from_run.subsets.items()
        }

    # the base is now a reward model that knows these pairs
    second = world("run", spec, "--set", f"base_model.id={run / 'model'}", "--set", "name=second")
    assert second.code == 2
    assert "second epoch" in second.err

    # with a part of them nobody can tell which of the pairs, held-out ones too, it knows
    world.write_pairs("part.jsonl", make_pairs(40, seed=1)[:30])
    part = ("--set", "data.train=[{path: part.jsonl}]", "--set", "data.held_out={fraction: 0.2}")
    third = world("run", spec, "--set", f"base_model.id={run / 'model'}", "--set", "name=third", *part)
    assert third.code in (0, 1), third.err
    assert "warning: The base was a reward model already" in third.err
    record = read_record(tmp_path / "runs" / "third" / "train" / "summary.json", TrainRecord)
    assert [(one.code, one.count) for one in record.findings if one.code == "warm_start"] == [("warm_start", 1)]
    assert "The base was a reward model already" in (tmp_path / "runs" / "third" / "summary.md").read_text()


def test_the_spec_may_change_until_it_has_trained_and_overwrite_starts_anew(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    run = tmp_path / "runs" / "tiny"
    for length in (200, 180):
        assert world("check", spec, "--set", f"data.max_length={length}").code == 0
        assert json.loads((run / "check.json").read_text())["rendering"]["max_length"] == length
    (run / "train").mkdir()
    other = ("--set", "data.max_length=150")
    refused = world("check", spec, *other)
    assert (refused.code, "data.max_length was 180, is 150" in refused.err) == (2, True)
    answer = world("check", spec, *other, "--overwrite")
    assert answer.code == 0
    assert json.loads((run / "check.json").read_text())["rendering"]["max_length"] == 150


def test_check_prints_findings_and_json(world: World) -> None:
    pairs = make_pairs(20, seed=3)
    broken = [*pairs, pairs[0]]  # a duplicate
    world.write_pairs("train.jsonl", broken)
    spec = world.write_spec()
    answer = world("check", spec)
    assert answer.code == 0
    assert "duplicate_pair" in answer.out
    record = world("check", spec, "--json").json()
    assert record["passed"] is True
    strict = world("check", spec, "--set", "data.fail_on=[duplicate_pair]", "--set", "name=strict")
    assert strict.code == 1
    assert "duplicate_pair" in strict.err


def test_train_after_check(world: World) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    answer = world("train", spec)
    assert answer.code == 0
    assert "checkpoint: runs/tiny/model" in answer.out
    assert LocalScorer.load("runs/tiny/model").score([make_pairs(1)[0].prompt + make_pairs(1)[0].chosen]).shape == (1,)


def test_a_margin_stop_is_a_negative_verdict_with_a_report(world: World, tmp_path: Path) -> None:
    monitor = {"on_stall": "stop", "min_steps": 8, "after": 0.5}
    training = {"pairs_per_step": 2, "learning_rate": 1e-12, "monitor": monitor, "checkpoint_every_steps": 3}
    spec = world.write_spec(training=training)
    answer = world("run", spec)
    run = tmp_path / "runs" / "tiny"
    assert answer.code == 1
    assert "Look at the data before the learning rate" in answer.err
    assert (run / "report.html").is_file()
    assert read_record(run / "manifest.json", Manifest).stages["train"].state == "stopped"
    # told to carry on, it continues where it stopped
    steps = len((run / "train" / "metrics.jsonl").read_text().splitlines())
    assert steps < 20
    assert world("run", spec, "--set", "training.monitor.on_stall=warn").code in (0, 1)
    trained = read_record(run / "train" / "summary.json", TrainRecord)
    assert trained.steps == 20
    assert trained.resumed_from_step is not None


def test_target_margins_never_reach_the_loss(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    assert world("run", spec).code in (0, 1)
    plain = (tmp_path / "runs" / "tiny" / "model" / "model.safetensors").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    with_margin = [json.dumps({**row, "target_margin": 5.0, "margin": 5.0}) for row in lines]
    (tmp_path / "train.jsonl").write_text("\n".join(with_margin) + "\n")
    assert world("run", spec, "--set", "name=margins").code in (0, 1)
    assert (tmp_path / "runs" / "margins" / "model" / "model.safetensors").read_bytes() == plain


def test_plain_text_without_a_template(world: World, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Q {pair.id}: ", "chosen": pair.chosen[0].content, "rejected": pair.rejected[0].content}
        for pair in make_pairs(24)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    data = {"train": [{"path": "train.jsonl"}], "strings": "text", "max_length": 100, "held_out": {"fraction": 0.2}}
    assert world("run", world.write_spec(data=data)).code in (0, 1)
    record = json.loads((tmp_path / "runs" / "tiny" / "model" / "rewardsmith.json").read_text())
    assert record["rendering"]["conversational"] is False


def test_a_killed_job_continues_and_ends_as_an_unbroken_one(world: World, tmp_path: Path) -> None:
    """The whole command in a process of its own, killed at its sixth step by SIGKILL."""
    spec = world.write_spec()
    assert world("run", spec, "--set", "name=whole").code in (0, 1)
    killer = (
        "import os, signal, sys\n"
        "from rewardsmith.cli import main, options\n"
        "step = options.Live.step\n"
        "def die(self, metrics, steps):\n"
        "    step(self, metrics, steps)\n"
        "    if metrics.step == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "options.Live.step = die\n"
        f"sys.argv = ['rewardsmith', 'run', {spec!r}, '--set', 'name=killed']\n"
        "main()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", killer], cwd=tmp_path, env=os.environ.copy(), capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert world("run", spec, "--set", "name=killed").code in (0, 1)
    runs = tmp_path / "runs"
    assert read_record(runs / "killed" / "train" / "summary.json", TrainRecord).resumed_from_step == 4
    for name in ("model/model.safetensors", "eval/rewardbench2/rows.jsonl", "eval/held_out/rows.jsonl"):
        assert (runs / "killed" / name).read_bytes() == (runs / "whole" / name).read_bytes(), name


def test_init_writes_a_spec_that_loads(world: World, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert world("init", "new").code == 0
    assert yaml.safe_load((tmp_path / "new" / "spec.yaml").read_text())["training"]["epochs"] == 1


def test_normalisation_is_recorded_for_the_framework_and_never_applied(world: World, tmp_path: Path) -> None:
    export = {"normalize_rewards": True, "required_by": "some framework", "formula": "(reward - mean) / std"}
    assert world("run", world.write_spec()).code in (0, 1)
    assert world("run", world.write_spec(name="normal", export=export)).code in (0, 1)
    runs = tmp_path / "runs"
    record = json.loads((runs / "normal" / "model" / "rewardsmith.json").read_text())
    rows = [
        json.loads(line) for line in (runs / "normal" / "eval" / "held_out" / "rows.jsonl").read_text().splitlines()
    ]
    rewards = np.array([reward for row in rows for reward in row["rewards"]])
    assert record["normalization"] == {
        "required_by": "some framework",
        "formula": "(reward - mean) / std",
        "mean": pytest.approx(rewards.mean()),
        "std": pytest.approx(rewards.std()),
    }
    raw = (runs / "tiny" / "eval" / "held_out" / "rows.jsonl").read_bytes()
    assert (runs / "normal" / "eval" / "held_out" / "rows.jsonl").read_bytes() == raw


def test_what_the_planner_cannot_say_stops_no_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_plan(*_: object) -> None:
        raise SpecError("no such accelerator", where="hardware.accelerator")

    monkeypatch.setattr("rewardsmith.pipeline.job.plan_job", no_plan)
    assert world("check", world.write_spec()).code == 0
    done = world("train", "spec.yaml")
    assert done.code == 0
    assert "how long the stages take is not predicted: no such accelerator" in done.err
    stages = read_record(tmp_path / "runs" / "tiny" / "manifest.json", Manifest).stages
    assert [(name, one.predicted) for name, one in stages.items()] == [
        ("check", None),
        ("train", None),
        ("labels", None),
    ]


def test_a_stage_keeps_what_was_predicted_when_it_ended(tmp_path: Path) -> None:
    spec = Spec(name="tiny", output_dir=str(tmp_path))
    with RunDirectory.open(spec) as run:
        run.finish("check", "f", 4.0)
        run.predict({"check": 2.0, "train": 60.0})
        run.finish("train", "f", 30.0)
        run.predict({"check": 9.0, "train": 9.0, "probe": 8.0})
        run.finish("probe", "f", 5.0)
        run.finish("gates", "f", 0.5)
    stages = read_record(tmp_path / "tiny" / "manifest.json", Manifest).stages
    found = {name: (one.seconds, one.predicted) for name, one in stages.items()}
    assert found == {"check": (4.0, 2.0), "train": (30.0, 60.0), "probe": (5.0, 8.0), "gates": (0.5, None)}
