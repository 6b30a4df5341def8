"""`run --dry-run`: it opens what the run opens, stops where the run stops, and writes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from rewardsmith.records.files import read_record
from rewardsmith.records.run import Manifest
from rewardsmith.training.resume import mark_complete

STAGES = ["check", "train", "labels", "evaluate", "probe", "gates", "report"]


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts
    }


def states(record: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in record["stages"]}


def test_before_the_first_run_every_stage_would_run_and_nothing_is_written(world: World) -> None:
    spec = world.write_spec()
    before = files(world.folder)
    answer = world("run", spec, "--dry-run", "--json")
    assert answer.code == 0
    record = answer.json()
    assert states(record) == dict.fromkeys(STAGES, "would run")
    assert (record["rows"], record["benchmarks"], record["run"]) == (55, {"rewardbench2": 6}, "runs/tiny")
    assert files(world.folder) == before
    assert not (world.folder / "runs").exists()


def test_after_a_run_it_says_what_a_run_would_then_do(world: World) -> None:
    spec = world.write_spec()
    world("run", spec)
    before = files(world.folder)
    said = states(world("run", spec, "--dry-run", "--json").json())
    assert said == dict.fromkeys(STAGES[:5], "unchanged") | dict.fromkeys(STAGES[5:], "would run")
    assert files(world.folder) == before
    again = world("run", spec).err  # and the run keeps the word
    assert again.count(": unchanged, skipped") == 5, again

    before = files(world.folder)
    changed = ["--set", "evaluation.bootstrap=300"]
    said = states(world("run", spec, *changed, "--dry-run", "--json").json())
    assert {stage for stage, state in said.items() if state == "unchanged"} == {"check", "train", "labels"}

    deleted = world("run", spec, "--overwrite", "--dry-run", "--json").json()
    assert deleted["deletes"]
    assert set(states(deleted).values()) == {"would run"}
    assert files(world.folder) == before

    (world.folder / "runs" / "tiny" / "train" / "summary.json").unlink()  # what stands on a training goes with it
    said = states(world("run", spec, "--dry-run", "--json").json())
    assert said == {"check": "unchanged"} | dict.fromkeys(STAGES[1:], "would run")


def test_an_interrupted_training_would_continue(world: World) -> None:
    spec = world.write_spec()
    world("check", spec)
    world("train", spec)
    run = world.folder / "runs" / "tiny"
    (run / "train" / "summary.json").unlink()
    assert states(world("run", spec, "--dry-run", "--json").json())["train"] == "would run"

    (run / "train" / "checkpoint-4").mkdir()
    mark_complete(
        run / "train" / "checkpoint-4", read_record(run / "manifest.json", Manifest).stages["train"].fingerprint
    )
    said = states(world("run", spec, "--dry-run", "--json").json())
    assert (said["check"], said["train"], said["evaluate"]) == ("unchanged", "would continue", "would run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_model": {"id": "no/such-model"}}, "base_model.id"),
        ({"policy": {"parameters": 1000}}, "larger than its policy"),
        ({"data": {"train": [{"path": "gone.jsonl"}]}}, "gone.jsonl"),
        ({"evaluation": {"benchmarks": [{"name": "rewardbench2", "data": "gone.jsonl"}]}}, "gone.jsonl"),
        (
            {
                "evaluation": {
                    "benchmarks": [{"name": "rewardbench2", "data": "rows.jsonl"}],
                    "gates": {"minimum": {"rewardbench2": {"Math": 0.1}}},
                }
            },
            "Math",
        ),
    ],
)
def test_it_stops_where_the_run_stops(world: World, changes: dict[str, Any], says: str) -> None:
    spec = world.write_spec(**changes)
    dry = world("run", spec, "--dry-run")
    assert dry.code == 2
    assert says in dry.err
    assert not (world.folder / "runs").exists()
    real = world("run", spec)
    assert (real.code, real.err.splitlines()[-1]) == (2, dry.err.splitlines()[-1])


def test_findings_of_the_first_rows_are_named(world: World) -> None:
    text = (world.folder / "train.jsonl").read_text().splitlines()
    (world.folder / "train.jsonl").write_text(
        "\n".join([*text, '{"prompt": "a", "chosen": "", "rejected": "b"}']) + "\n"
    )
    answer = world("run", world.write_spec(), "--dry-run")
    assert answer.code == 0
    assert "56 rows looked at" in answer.out
    assert "empty" in answer.out.lower()
    assert "would stop" not in answer.out
    strict = world("run", "spec.yaml", "--set", "data.fail_on=[empty_text]", "--dry-run")
    assert "warning: these rows alone would stop the run at its check: empty_text" in strict.out
    assert "Nothing was written." in answer.out


def test_another_specs_run_is_refused_as_the_run_refuses_it(world: World) -> None:
    spec = world.write_spec()
    world("check", spec)
    world("train", spec)
    answer = world("run", spec, "--set", "training.learning_rate=1e-4", "--dry-run")
    assert answer.code == 2
    assert "training.learning_rate was 0.001, is 0.0001" in answer.err


@pytest.mark.parametrize("made", ["", "runs", "runs/tiny"])
def test_a_folder_that_the_run_could_not_write_is_refused(
    world: World, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / made).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).resolve() != (world.folder / made).resolve())
    answer = world("run", world.write_spec(), "--dry-run")
    assert answer.code == 2
    assert answer.err.splitlines()[-2:] == [
        "error: runs/tiny: cannot be written: Permission denied",
        "  try: set output_dir to a folder that you may write to",
    ]


def test_a_file_on_the_way_to_the_run_is_refused(world: World) -> None:
    (world.folder / "runs").write_text("mine")
    spec = world.write_spec()
    assert "runs/tiny: cannot be written: Not a directory" in world("run", spec, "--dry-run").err
    assert world("run", spec).code == 2
