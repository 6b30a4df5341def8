"""`rewardsmith ls`: each run in a line, by its records; what cannot be read is a line that says why."""

from __future__ import annotations

import errno
import json
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import report_records
from cli_world import World

from rewardsmith.errors import UserError
from rewardsmith.pipeline.commands.look import list_runs
from rewardsmith.pipeline.events import Silent, followed, read_live
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.run import GatesRecord, LiveRecord, Manifest, RunSummary, StageRecord
from rewardsmith.report.sections.answers import age

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def run_of(folder: Path, finished: str) -> Path:
    report_records.build_run(folder)
    manifest = read_record(folder / "manifest.json", Manifest)
    stage = StageRecord(fingerprint="f", state="done", seconds=1.0, finished=finished)
    changed = manifest.model_copy(update={"name": folder.name, "stages": {"check": stage, "gates": stage}})
    write_json(folder / "manifest.json", changed)
    return folder


def test_runs_are_listed_by_their_records_the_newest_first(tmp_path: Path) -> None:
    older = run_of(tmp_path / "older", "2026-11-21T12:00:00+00:00")
    run_of(tmp_path / "newer", "2026-11-23T11:57:00+00:00")
    outcomes = read_record(older / "gates.json", GatesRecord).outcomes
    passing = tuple(one.model_copy(update={"verdict": "PASS"}) for one in outcomes)
    write_json(older / "gates.json", GatesRecord(passed=True, outcomes=passing))
    (tmp_path / "notes").mkdir()
    newer, found = list_runs(tmp_path, NOW).runs
    assert (newer.name, newer.verdict, newer.stage, newer.age) == ("newer", "FAIL", "gates", 180.0)
    result = report_records.benchmark(report_records.benchmark_rows(""), "")
    assert found == RunSummary(
        name="older",
        path=str(older),
        stage="gates",
        verdict="PASS",
        base="embedded",
        pairs=report_records.train_record(61, "").pairs,
        benchmark="rewardbench2",
        average=result.average,
        missing=2,
        age=2 * 86400.0,
    )


def test_a_run_at_work_says_at_what(tmp_path: Path) -> None:
    run = run_of(tmp_path / "busy", "2026-11-23T11:00:00+00:00")
    with followed(run, Silent()) as events:
        events.stage("train", "started")
        (found,) = list_runs(run, NOW).runs
    assert (found.working, found.stage) == (True, "train")
    assert list_runs(run, NOW).runs[0].working is False


def test_what_cannot_be_read_is_a_line_that_says_why(tmp_path: Path) -> None:
    run = run_of(tmp_path / "broken", "2026-11-23T11:00:00+00:00")
    (run / "gates.json").write_text("{")
    (found,) = list_runs(tmp_path, NOW).runs
    assert "gates.json" in found.problem
    assert found.verdict == ""


@pytest.mark.parametrize("absent", ["gates.json", "train", "eval", "spec.yaml"])
def test_an_unfinished_run_is_listed(tmp_path: Path, absent: str) -> None:
    run = run_of(tmp_path / "part", "2026-11-23T11:00:00+00:00")
    path = run / absent
    path.unlink() if path.is_file() else shutil.rmtree(path)
    (found,) = list_runs(tmp_path, NOW).runs
    assert found.problem == ""
    assert (found.verdict == "UNFINISHED") == (absent == "gates.json")


def test_no_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert list_runs(tmp_path, NOW).runs == ()
    with pytest.raises(UserError, match="no such folder"):
        list_runs(tmp_path / "nowhere", NOW)


def test_the_command_lists_a_real_run(world: World) -> None:
    assert world("ls").code == 2  # no run was made yet, so there is no runs/
    world("check", world.write_spec())
    line = world("ls").out.splitlines()[1].split()
    assert line[:3] == ["tiny", "UNFINISHED", "check"]
    (run,) = world("ls", "--json").json()["runs"]
    assert (run["name"], run["base"], run["problem"]) == ("tiny", str(world.base), "")
    assert 0 <= run["age"] < 600
    assert "no runs in" in world("ls", "cache").out or world("ls", "cache").code == 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (90000, "1 d"), (None, "–")]
)
def test_an_age_is_said_in_its_largest_unit(seconds: float | None, shown: str) -> None:
    assert age(seconds) == shown


def test_what_cannot_be_read_is_a_line_and_the_others_are_listed(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    assert world("check", world.write_spec()).code == 0
    runs = tmp_path / "runs"
    good = json.loads((runs / "tiny" / "manifest.json").read_text())
    dated = {**good, "stages": {"check": {**good["stages"]["check"], "finished": "0000-99-99"}}}
    contents = {
        "cut": json.dumps(good)[:-30],
        "null": "null",
        "list": "[]",
        "binary": "\x00\x01\x02",
        "empty": "",
        "future": json.dumps({**good, "schema": 99}),
        "number": json.dumps({**good, "name": 10**299}),
        "dated": json.dumps(dated),
    }
    for name, content in contents.items():
        (runs / name).mkdir()
        (runs / name / "manifest.json").write_text(content)
    (runs / "loop").symlink_to("loop")
    for name, target in (("dangling", "nowhere"), ("device", "/dev/zero"), ("circle", "manifest.json")):
        (runs / name).mkdir()
        (runs / name / "manifest.json").symlink_to(target)
    (runs / "folder" / "manifest.json").mkdir(parents=True)
    (runs / "\x1b[31mred").mkdir()
    (runs / "\x1b[31mred" / "manifest.json").write_text("{")
    answer = world("ls", "--json")
    assert answer.code == 0, answer.err
    problems = {Path(run["path"]).name: run["problem"] for run in answer.json()["runs"]}
    wanted = {*contents, "dangling", "device", "circle", "folder", "\x1b[31mred"}
    assert problems.pop("tiny") == ""
    assert problems.keys() == wanted
    assert all("manifest.json: " in problem for problem in problems.values())
    answer = world("ls")
    assert (answer.code, "\x1b" in answer.out, "\\u001b[31mred" in answer.out) == (0, False, True)
    for name in wanted - {"dated"}:  # the report shows a time that it cannot read as it is
        for command in (("report", f"runs/{name}"), ("compare", f"runs/{name}", "runs/tiny")):
            refused = world(*command)
            assert (refused.code, "error: " in refused.err) == (2, True), (command, refused)


@pytest.mark.parametrize("process", [0, -1, 2**31, 2**70])
def test_a_process_that_no_machine_has(tmp_path: Path, process: int) -> None:
    record = LiveRecord(process=process, host=socket.gethostname())
    write_json(tmp_path / "live.json", record)
    assert read_live(tmp_path) is None


def test_a_folder_of_a_run_that_is_not_to_be_read_is_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(tmp_path / "shut", "2026-11-23T11:00:00+00:00")
    run_of(tmp_path / "open", "2026-11-23T11:00:00+00:00")
    there = Path.is_file

    def is_file(path: Path) -> bool:
        if path.parts[-3:-1] == ("shut", "train"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return there(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    problems = {run.name: run.problem for run in list_runs(tmp_path, NOW).runs}
    assert problems.pop("shut") == f"{tmp_path / 'shut' / 'train' / 'summary.json'}: cannot be read: Permission denied"
    assert list(problems.values()) == [""]
