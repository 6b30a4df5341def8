"""A run tells its trackers steps, scores and gates: once, in the same words, also if killed or joining late."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_world import World

from conftest import make_pairs
from rewardsmith.records.files import read_record
from rewardsmith.records.run import TrackersRecord
from rewardsmith.training.metrics import read_steps
from rewardsmith.training.trackers import TRACKERS, TrackedRun, TrackerKind, require_trackers

RUN = Path("runs/tiny")


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name, module in list(sys.modules.items()):  # which have read it, where an earlier test loaded trackio
        if name.partition(".")[0] == "trackio" and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    return World(tmp_path, tiny_base, capsys, monkeypatch)


class Paper:
    """A tracker that writes down what it is told; `fails_at` is the step that it cannot take."""

    told: ClassVar[list[tuple[str, int, dict[str, float]]]] = []
    opened: ClassVar[list[TrackedRun]] = []
    ended: ClassVar[list[bool | None]] = []
    fails_at: int | None = None

    def __init__(self, name: str) -> None:
        self.id = name

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        if step == Paper.fails_at:
            raise ConnectionError("the service is gone\nand more")
        Paper.told.append((self.id, step, dict(numbers)))

    def finish(self, passed: bool | None) -> None:
        Paper.ended.append(passed)


def open_run(run: TrackedRun) -> Paper:
    Paper.opened.append(run)
    return Paper(run.id or f"new-{len(Paper.opened)}")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> type[Paper]:
    """Stands in for wandb, which the environment of the tests does not have."""
    Paper.told, Paper.opened, Paper.ended, Paper.fails_at = [], [], [], None
    monkeypatch.setitem(TRACKERS, "wandb", TrackerKind("json", "wandb", lambda run: open_run(run), "log in"))
    return Paper


def told_steps() -> list[int]:
    return [step for _, step, numbers in Paper.told if "train/loss" in numbers]


def test_a_run_tells_every_step_then_scores_and_gates(world: World, paper: type[Paper]) -> None:
    done = world("run", world.write_spec(report_to="wandb"))
    assert done.code == 1, done.err  # ten steps do not pass the gates
    steps = read_steps(RUN / "train")
    assert told_steps() == [metrics.step for metrics in steps] == list(range(1, 11))
    assert [numbers["train/margin_mean"] for _, _, numbers in paper.told[:10]] == [one.margin_mean for one in steps]
    _, step, last = paper.told[10]
    result = json.loads((RUN / "eval" / "rewardbench2" / "results.json").read_text())
    assert step == 11
    assert last["eval/rewardbench2/Math/score"] == result["subsets"]["Math"]["score"]
    assert last["gates/passed"] == 0.0
    assert paper.ended == [False]
    assert paper.opened[0].settings["training.learning_rate"] == 1e-3


def test_nothing_is_told_twice(world: World, paper: type[Paper]) -> None:
    spec = world.write_spec(report_to=["wandb"])
    world("run", spec)
    before = len(paper.told)
    world("run", spec)
    assert (len(paper.told), len(paper.opened)) == (before, 1)


def test_a_tracker_that_joins_a_finished_run_is_told_everything(world: World, paper: type[Paper]) -> None:
    world("run", world.write_spec())
    assert paper.told == []
    world("run", world.write_spec(report_to=["wandb"]))
    assert told_steps() == list(range(1, 11))
    assert "gates/passed" in paper.told[-1][2]


def test_a_killed_run_goes_on_in_the_same_place(
    world: World, paper: type[Paper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in step 7, continued from the checkpoint of step 4: steps 5 and 6 are computed again, not told again."""
    spec = world.write_spec(report_to=["wandb"])
    told = Paper.log

    def killed(self: Paper, numbers: Mapping[str, float], step: int) -> None:
        if step == 7:
            raise KeyboardInterrupt
        told(self, numbers, step)

    monkeypatch.setattr(Paper, "log", killed)
    assert world("run", spec).code == 130
    monkeypatch.setattr(Paper, "log", told)
    assert world("run", spec).code == 1
    assert told_steps() == list(range(1, 11))
    assert {name for name, _, _ in paper.told} == {"new-1"}
    assert [run.id for run in paper.opened] == [None, "new-1"]


def test_another_training_in_the_same_folder_is_another_run(world: World, paper: type[Paper]) -> None:
    world("run", world.write_spec(report_to=["wandb"]))
    world.write_pairs("train.jsonl", make_pairs(32, seed=9))
    world("run", world.write_spec(report_to=["wandb"]))
    assert [run.id for run in paper.opened] == [None, None]
    assert paper.opened[0].fingerprint != paper.opened[1].fingerprint
    assert told_steps() == [*range(1, 11), *range(1, 9)]


def test_a_tracker_that_fails_is_left_alone_and_told_the_rest_next_time(world: World, paper: type[Paper]) -> None:
    spec = world.write_spec(report_to=["wandb"])
    Paper.fails_at = 3
    done = world("run", spec)
    assert done.code == 1
    assert done.err.count("the service is gone") == 1
    assert "and more" not in done.err
    assert told_steps() == [1, 2]
    Paper.fails_at = None
    world("run", spec)
    assert told_steps() == list(range(1, 11))


def test_the_state_says_nothing_but_names_and_steps(world: World, paper: type[Paper]) -> None:
    world("run", world.write_spec(report_to=["wandb"]))
    state = read_record(RUN / "trackers.json", TrackersRecord).trackers["wandb"]
    assert (state.id, state.step, list(state.told)) == ("new-1", 11, ["evaluation"])


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_missing_package_is_one_line_with_the_command_before_any_work(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    hidden = lambda module, *rest: None if module == TRACKERS[name].module else there(module, *rest)  # noqa: E731
    monkeypatch.setattr("rewardsmith.packages.find_spec", hidden)
    done = world("run", world.write_spec(report_to=[name]))
    assert done.code == 2
    assert f"pip install 'rewardsmith[{name}]'" in done.err
    assert "Traceback" not in done.err
    assert not (RUN / "check.json").exists()


def test_a_tracker_that_cannot_be_opened_stops_before_training(
    world: World, paper: type[Paper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: TrackedRun) -> Paper:
        raise PermissionError(f"no key for {run.name}")

    monkeypatch.setattr(sys.modules[__name__], "open_run", refuse)
    done = world("run", world.write_spec(report_to=["wandb"]))
    assert (done.code, "try: log in" in done.err, "no key for tiny" in done.err) == (2, True, True)
    assert not (RUN / "train" / "metrics.jsonl").exists()


def test_the_names_of_the_extras_are_those_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {kind.extra for kind in TRACKERS.values()} <= set(project["optional-dependencies"])
    require_trackers(["tensorboard", "trackio"])


def test_tensorboard_and_trackio_are_read_back(world: World) -> None:
    """The same names and numbers in both, and in the run directory."""
    done = world("run", world.write_spec(report_to=["tensorboard", "trackio"]), "--json")
    assert done.json()["passed"] is False  # standard output holds the record alone
    steps = read_steps(RUN / "train")
    board, io = in_tensorboard(), in_trackio(world.folder / "trackio" / "rewardsmith.db")
    assert [step for step, _ in io["train/loss"]] == list(range(1, 11))
    assert [value for _, value in io["train/loss"]] == pytest.approx([one.loss for one in steps])
    assert board.keys() == io.keys()
    for name, points in io.items():
        assert [step for step, _ in board[name]] == [step for step, _ in points], name
        assert [value for _, value in board[name]] == pytest.approx([value for _, value in points], rel=1e-6), name
    assert "eval/rewardbench2/Focus/ci_low" in io
    assert io["gates/passed"] == [(11, 0.0)]


def in_tensorboard() -> dict[str, list[tuple[int, float]]]:
    """Series by name, read by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (RUN / "tensorboard").iterdir()
    read = EventAccumulator(str(folder))
    read.Reload()
    assert read.Tags()["tensors"] == ["settings/text_summary"]
    return {name: [(one.step, one.value) for one in read.Scalars(name)] for name in read.Tags()["scalars"]}


def in_trackio(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Series by name from trackio's SQLite file."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
    database.close()
    series: dict[str, list[tuple[int, float]]] = {}
    for step, numbers in rows:
        for name, value in json.loads(numbers).items():
            series.setdefault(name, []).append((step, value))
    return series
