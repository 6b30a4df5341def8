"""No command destroys what it did not write: inputs under any name, folders that are no run, files of others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_world import Answer, World
from watch_world import rows, write_log

from conftest import make_pairs
from rewardsmith.doctor.scanning import Fixed
from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.files import guard_files, guard_folder, guard_removal
from rewardsmith.report.html import check_pages


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(answer: Answer, *says: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    for words in says:
        assert words in answer.err, answer.err


# The guards


@pytest.mark.parametrize("way", ["itself", "relative", "dots", "symlink", "hard link", "linked folder"])
def test_an_output_that_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "in.jsonl"
    source.write_text("precious")
    monkeypatch.chdir(tmp_path)
    output = source
    if way == "relative":
        output = Path("data/in.jsonl")
    elif way == "dots":
        output = tmp_path / "data" / ".." / "data" / "in.jsonl"
    elif way == "symlink":
        output = tmp_path / "link.jsonl"
        output.symlink_to(source)
    elif way == "hard link":
        output = tmp_path / "hard.jsonl"
        os.link(source, output)
    elif way == "linked folder":
        (tmp_path / "other").symlink_to(tmp_path / "data")
        output = tmp_path / "other" / "in.jsonl"
    with pytest.raises(RunDirectoryError, match="destroy the input"):
        guard_files([tmp_path / "fine.jsonl", output], [source])
    guard_files([tmp_path / "fine.jsonl"], [source, "org/data-set", "with\0zero"])


def test_outputs_that_collide_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="is also the file of"):
        guard_files([tmp_path / "a.jsonl", tmp_path / "x" / ".." / "a.jsonl"])
    with pytest.raises(RunDirectoryError, match="no regular file"):
        guard_files([Path("/dev/null")])
    with pytest.raises(RunDirectoryError, match="no regular file"):
        guard_files([tmp_path])
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RunDirectoryError, match="no regular file"):
        guard_files([tmp_path / "loop"])


def test_an_input_folder(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "rows.jsonl").write_text("precious")
    with pytest.raises(RunDirectoryError, match=r"is in .*bench, which is read"):
        guard_files([tmp_path / "bench" / "rows.jsonl"], [tmp_path / "bench"])
    guard_files([tmp_path / "bench" / "new.jsonl"], [tmp_path / "bench"])


def test_a_folder_of_records(tmp_path: Path) -> None:
    guard_folder(tmp_path / "new", ("results.json",), "results.json")
    (tmp_path / "results.json").write_text('{"mine": 1}')
    with pytest.raises(RunDirectoryError, match=r"did not write: there is no results\.json of ours"):
        guard_folder(tmp_path, ("results.json", "rows.jsonl"), "results.json")
    (tmp_path / "results.json").write_text('{"schema": 1}')
    guard_folder(tmp_path, ("results.json", "rows.jsonl"), "results.json")
    with pytest.raises(RunDirectoryError, match="is a file"):
        guard_folder(tmp_path / "results.json", ("a",), "a")


@pytest.mark.parametrize("which", ["root", "home", "above", "cwd", "link", "holds"])
def test_folders_that_are_never_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / "data.jsonl").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    monkeypatch.chdir(inside if which in ("above", "cwd") else "/")
    (tmp_path / "link").symlink_to(inside)
    folder, says = {
        "root": (Path("/"), "working directory"),
        "home": (tmp_path / "a", "is your home"),
        "above": (tmp_path, "working directory"),
        "cwd": (Path(), "working directory"),
        "link": (tmp_path / "link", "symbolic link"),
        "holds": (tmp_path, "data.jsonl, which is read"),
    }[which]
    with pytest.raises(RunDirectoryError, match=says):
        guard_removal(folder, [str(tmp_path / "data.jsonl")] if which == "holds" else [])
    if which == "holds":
        guard_removal(inside, [str(tmp_path / "data.jsonl")])


# run --overwrite


@pytest.mark.parametrize("command", [["run"], ["check"], ["run", "--dry-run"]])
@pytest.mark.parametrize("with_spec", [False, True])
def test_overwrite_empties_nothing_but_a_run(world: World, tmp_path: Path, command: list[str], with_spec: bool) -> None:
    folder = tmp_path / "runs" / "tiny"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "thesis.txt").write_text("years of work")
    if with_spec:
        (folder / "spec.yaml").write_text("name: tiny\n")
        (folder / "manifest.json").write_text('{"name": "of another program"}')
    before = content(tmp_path / "runs")
    refused(
        world(*command, world.write_spec(), "--overwrite"), "runs/tiny: is not emptied", "no manifest.json of a run"
    )
    assert content(tmp_path / "runs") == before


def test_overwrite_through_a_link(world: World, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tmp_path / "precious")
    refused(world("check", world.write_spec(), "--overwrite"), "symbolic link")
    assert content(tmp_path / "precious") == {"thesis.txt": b"years of work"}


def test_overwrite_of_a_run_of_ours(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    run = tmp_path / "runs" / "tiny"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.txt").write_text("kept")
    (run / "eval").symlink_to(tmp_path / "elsewhere")
    (run / "notes.md").write_text("my notes")
    refused(world("check", spec, "--overwrite"), "no run writes notes.md")
    assert (run / "check.json").exists()
    (run / "notes.md").unlink()
    (run / "train").mkdir()
    (run / "train" / "metrics.jsonl").write_text("")
    assert world("check", spec, "--overwrite").code == 0
    assert not (run / "train").exists()
    assert not (run / "eval").is_symlink()
    assert content(tmp_path / "elsewhere") == {"kept.txt": b"kept"}


def test_overwrite_of_the_run_that_holds_the_data(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    inside = tmp_path / "runs" / "tiny" / "train"
    inside.mkdir()
    (tmp_path / "train.jsonl").rename(inside / "pairs.jsonl")
    data = {"train": [{"path": "runs/tiny/train/pairs.jsonl"}], "held_out": {"fraction": 0.1}, "max_length": 200}
    refused(world("check", world.write_spec(data=data), "--overwrite"), "pairs.jsonl, which is read")
    assert (inside / "pairs.jsonl").exists()


# Every other command that replaces


def rewards_file(tmp_path: Path, name: str) -> None:
    ids = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lines = [
        {
            "id": row["id"],
            "subset": row["subset"],
            "rewards": [1.0] * len(row["chosen"]) + [0.0] * len(row["rejected"]),
            "n_chosen": len(row["chosen"]),
        }
        for row in ids
    ]
    (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


EVALUATE = ["evaluate", "--benchmark", "rewardbench2", "--data"]


def test_evaluate_into_the_folder_of_its_inputs(world: World, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rewards_file(tmp_path, "in/rows.jsonl")
    before = content(tmp_path / "in")
    refused(world(*EVALUATE, "rows.jsonl", "--rewards", "in/rows.jsonl", "--out", "in"), "destroy the input")
    refused(world(*EVALUATE, "rows.jsonl", "--rewards", "in/rows.jsonl", "--out", "."), "destroy the input")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text('{"my": "experiment"}')
    refused(world(*EVALUATE, "rows.jsonl", "--rewards", "in/rows.jsonl", "--out", "out"), "did not write")
    assert content(tmp_path / "in") == before
    assert (tmp_path / "out" / "results.json").read_text() == '{"my": "experiment"}'
    (tmp_path / "out" / "results.json").unlink()
    for _ in range(2):  # the second time it replaces its own
        assert world(*EVALUATE, "rows.jsonl", "--rewards", "in/rows.jsonl", "--out", "out").code == 0


@pytest.mark.parametrize("way", ["same", "symlink", "hard link", "rejected"])
def test_score_onto_its_input(world: World, tmp_path: Path, way: str) -> None:
    name = "in.rejected.jsonl" if way == "rejected" else "in.jsonl"
    (tmp_path / name).write_text('{"prompt": "a", "response": "b"}\n')
    output = {"same": "./in.jsonl", "symlink": "link.jsonl", "hard link": "hard.jsonl", "rejected": "in.jsonl"}[way]
    if way == "symlink":
        (tmp_path / output).symlink_to(name)
    elif way == "hard link":
        os.link(tmp_path / name, tmp_path / output)
    answer = world("score", "--model", str(world.base), "--input", name, "--output", output, "--overwrite")
    refused(answer, "would destroy the input")
    assert (tmp_path / name).read_text() == '{"prompt": "a", "response": "b"}\n'


def test_fix_into_the_folder_of_its_data(world: World, tmp_path: Path) -> None:
    world.write_pairs("train.jsonl", make_pairs(30, seed=1))
    (tmp_path / "data").mkdir()
    (tmp_path / "train.jsonl").rename(tmp_path / "data" / "train.jsonl")
    (tmp_path / "data" / "fix.json").write_text('{"schema": 1}')
    before = content(tmp_path / "data")
    data = {"train": [{"path": "data/train.jsonl"}], "held_out": {"fraction": 0.1}, "max_length": 200}
    refused(world("check", world.write_spec(data=data), "--fix", "data"), "destroy the input")
    assert content(tmp_path / "data") == before
    refused(world("check", world.write_spec(data=data), "--fix", "spec.yaml"), "is a file")


def test_plan_over_scripts_of_others(world: World, tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("my own")
    refused(world("plan", world.write_spec(), "--out", "."), "train.sh that this command did not write")
    assert (tmp_path / "train.sh").read_text() == "my own"


def test_probe_over_a_record_of_others(world: World, tmp_path: Path) -> None:
    (tmp_path / "probes.json").write_text("[]")
    refused(world("probe", "--model", str(world.base), "--data", "train.jsonl", "--out", "."), "did not write")
    assert (tmp_path / "probes.json").read_text() == "[]"


def test_route_run_onto_its_input(world: World, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a", "responses": ["b", "c"]}\n')
    spec = world.write_spec()
    arguments = ["route", "run", spec, "--model", str(world.base), "--input", "in.jsonl", "--overwrite"]
    refused(world(*arguments, "--output", "in.jsonl"), "destroy the input")
    refused(world(*arguments, "--output", "o.jsonl", "--pairs", "./o.jsonl"), "is also the file of")
    assert (tmp_path / "in.jsonl").read_text() == '{"prompt": "a", "responses": ["b", "c"]}\n'


PAIR = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'


@pytest.mark.parametrize("text", [PAIR, PAIR.rstrip(), "name: mine\n", "notes", '{"kind":"router"}\n'])
def test_serve_puts_nothing_into_a_file_of_others(world: World, tmp_path: Path, text: str) -> None:
    """Preference pairs begin with a prompt, as a stream does; the audit log took whatever file there was."""
    (tmp_path / "mine.jsonl").write_text(text)
    spec = world.write_spec(routing={"rules": [{"kind": "margin", "below": 1.0}]})
    answer = world("serve", "--model", "a=x", "--port", "0", "--route", spec, "--audit", "mine.jsonl")
    refused(answer, "mine.jsonl: holds something else than the audit log of a router", "move this one away")
    answer = world("serve", "--model", "a=x", "--port", "0", "--stream", "mine.jsonl")
    refused(answer, "mine.jsonl: holds something else than such a stream", "move this one away")
    assert (tmp_path / "mine.jsonl").read_text() == text


def test_watch_puts_nothing_into_a_file_of_others(world: World, tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", rows("null", steps=30, quality=False))
    (tmp_path / "mine.jsonl").write_text(PAIR)
    (tmp_path / "node.prom").write_text("# HELP node_load1 1m load average.\nnode_load1 0.5\n")
    before = content(tmp_path)
    asked = ("watch", "log.jsonl", "--out", "out", "--reference-steps", "5")
    refused(world(*asked, "--audit-file", "mine.jsonl"), "mine.jsonl: holds something else than pairs of an audit")
    refused(world(*asked, "--prometheus", "node.prom"), "node.prom: holds something else than the gauges of a watch")
    refused(world(*asked, "--prometheus", "mine.jsonl"), "mine.jsonl: holds something else")
    refused(world(*asked, "--audit-file", "out/audit.jsonl"), "is also the file of")
    assert content(tmp_path) == before
    for _ in range(2):  # the second time into its own
        again = world(*asked, "--audit-file", "ask.jsonl", "--prometheus", "watch.prom", "--overwrite")
        assert again.code == 0, again.err


def test_score_leaves_a_file_of_rejected_rows_that_is_not_its_own(world: World, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n')
    (tmp_path / "out.rejected.jsonl").write_text(PAIR)
    asked = ("score", "--model", str(world.base), "--input", "in.jsonl", "--output")
    for more in ((), ("--overwrite",)):
        refused(
            world(*asked, "out.jsonl", *more), "out.rejected.jsonl: holds something else than rows that were reject"
        )
    assert (tmp_path / "out.rejected.jsonl").read_text() == PAIR
    (tmp_path / "out.rejected.jsonl").write_text('{"row": 1, "id": null, "reason": "no_text", "detail": ""}\n')
    answer = world(*asked, "out.jsonl")
    assert "out.rejected.jsonl" not in answer.err, answer.err


def test_route_leaves_files_that_are_not_its_own(world: World, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a", "responses": ["b", "c"]}\n')
    (tmp_path / "fit.jsonl").write_text(PAIR)
    spec = world.write_spec(routing={"rules": [{"kind": "margin"}]})
    (tmp_path / "out.audit.jsonl").write_text(PAIR)
    routed = ("route", "run", spec, "--model", str(world.base), "--input", "in.jsonl", "--output", "out.jsonl")
    refused(world(*routed), "out.audit.jsonl: holds something else than the audit log of a router")
    fitted = ("route", "calibrate", spec, "--model", str(world.base), "--data", "fit.jsonl", "--out")
    for name in ("verdicts.jsonl", "laplace.npz"):
        (tmp_path / name.split(".")[0]).mkdir()
        (tmp_path / name.split(".")[0] / name).write_text(PAIR)
        refused(world(*fitted, name.split(".")[0]), f"{name}: holds something else than")
        assert (tmp_path / name.split(".")[0] / name).read_text() == PAIR
    assert (tmp_path / "out.audit.jsonl").read_text() == PAIR


def test_judge_leaves_pages_and_calls_that_are_not_its_own(world: World, tmp_path: Path) -> None:
    asked = (
        "judge",
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--model",
        "j",
        "--benchmark",
        "rewardbench2",
        "--data",
        "rows.jsonl",
    )
    for name, text in (
        ("summary.md", "# My summary"),
        ("report.html", "<p>mine"),
        ("calls.jsonl", '{"called": "mum"}'),
    ):
        out = tmp_path / name.split(".")[0]
        out.mkdir()
        (out / name).write_text(text)
        answer = world(*asked, "--out", out.name)
        refused(
            answer, name, "is not a line of a log of calls" if name == "calls.jsonl" else "that is no report of ours"
        )
        assert (out / name).read_text() == text


def test_a_report_leaves_pages_that_are_not_its_own(world: World, tmp_path: Path) -> None:
    (tmp_path / "probed").mkdir()
    (tmp_path / "probed" / "summary.md").write_text("# My summary")
    refused(world("report", "probed"), "holds a summary.md that is no report of ours")
    assert (tmp_path / "probed" / "summary.md").read_text() == "# My summary"
    (tmp_path / "results.json").write_text('{"schema": 1}')
    (tmp_path / "summary.md").write_text("of evaluate")
    check_pages(tmp_path)
    (tmp_path / "probed" / "report.html").write_text('<head><meta name="generator" content="rewardsmith 0.1">')
    check_pages(tmp_path / "probed")


def test_a_fixed_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.sh").write_text("old\n")
    (tmp_path / "link.sh").symlink_to("real.sh")
    Fixed(tmp_path / "link.sh", "old\n", "new\n").write()
    assert (tmp_path / "link.sh").is_symlink()
    assert content(tmp_path) == {"link.sh": b"new\n", "real.sh": b"new\n"}
