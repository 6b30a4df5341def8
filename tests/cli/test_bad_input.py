"""Every mistake a user can make: exit 2, one screen, no traceback; the message says where, what and how to fix it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from conftest import make_pairs, make_tokenizer


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def refused(world: World, *arguments: str, says: list[str]) -> None:
    answer = world(*arguments)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert len(answer.err.splitlines()) <= 24
    for words in says:
        assert words in answer.err, answer.err
    assert "try: " in answer.err


def data(**changes: Any) -> dict[str, Any]:
    return {"train": [{"path": "train.jsonl"}], "held_out": {"fraction": 0.1}, "max_length": 200, **changes}


SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": (
        {"training": {"lerning_rate": 1e-4}},
        ["spec.yaml:", "training.lerning_rate", "learning_rate"],
    ),
    "two epochs": ({"training": {"epochs": 2}}, ["training.epochs", "1 is the only value", "memorised"]),
    "another loss": ({"training": {"loss": "hinge"}}, ["training.loss", "bradley_terry"]),
    "base larger than policy": (
        {"base_model": {"id": "x", "parameters": "8B"}, "policy": {"parameters": "1B"}},
        ["8,000,000,000", "1,000,000,000", "larger than its policy"],
    ),
    "remote code": ({"base_model": {"id": "x", "trust_remote_code": True}}, ["trust_remote_code", "false"]),
    "normalised rewards": ({"export": {"normalize_rewards": True}}, ["normalize_rewards", "required_by"]),
    "threshold at chance": (
        {"evaluation": {"gates": {"minimum": {"rewardbench2": {"Math": 0.25}}}}},
        ["Math", "0.25", "random baseline"],
    ),
    "missing data file": ({"data": data(train=[{"path": "nowhere.jsonl"}])}, ["nowhere.jsonl"]),
    "no such base": ({"base_model": {"id": "nowhere/at-all"}}, ["nowhere/at-all"]),
    "no such benchmark": (
        {"evaluation": {"benchmarks": [{"name": "rewardbench-2", "data": "rows.jsonl"}]}},
        ["rewardbench-2", "rewardbench2"],
    ),
    "no such benchmark file": (
        {"evaluation": {"benchmarks": [{"name": "rewardbench2", "data": "gone.jsonl"}]}},
        ["gone.jsonl"],
    ),
    "a backend without its environment": ({"backend": "openrlhf"}, ["openrlhf.interpreter", "trl"]),
}


@pytest.mark.parametrize(("changes", "says"), SPECS.values(), ids=SPECS.keys())
def test_a_spec_that_cannot_be_used(world: World, changes: dict[str, Any], says: list[str]) -> None:
    refused(world, "run", world.write_spec(**changes), says=says)


def test_a_base_larger_than_the_policy_by_its_config(world: World, tmp_path: Path) -> None:
    config = json.loads((world.base / "config.json").read_text())
    config |= {"num_hidden_layers": 1, "layer_types": ["full_attention"]}
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text(json.dumps(config))
    refused(world, "run", world.write_spec(policy={"id": "policy"}), says=["larger than its policy", "base_model.id"])


@pytest.mark.parametrize("command", ["run", "check", "train"])
def test_a_spec_that_is_not_there(world: World, command: str) -> None:
    refused(world, command, "nothing.yaml", says=["nothing.yaml", "no such file"])


FILES: dict[str, tuple[str, list[str]]] = {
    "broken JSON on line 3": ('{"good": 1}\n{"good": 2}\n{"prompt": [\n', ["train.jsonl:3"]),
    "missing column": (
        json.dumps({"prompt": "a", "better": "b", "worse": "c"}) + "\n",
        ["train.jsonl", "chosen", "better", "columns"],
    ),
    "empty": ("", ["train.jsonl", "has no rows"]),
    "only blank lines": ("\n\n", ["train.jsonl"]),
    "every row rejected": (
        json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}) + "\n",
        ["identical"],
    ),
}


@pytest.mark.parametrize(("content", "says"), FILES.values(), ids=FILES.keys())
def test_data_that_cannot_be_used(world: World, tmp_path: Path, content: str, says: list[str]) -> None:
    (tmp_path / "train.jsonl").write_text(content)
    refused(world, "run", world.write_spec(), says=says)


def test_chat_data_and_a_tokenizer_without_template(world: World, tmp_path: Path) -> None:
    base = tmp_path / "plain"
    base.mkdir()
    make_tokenizer(chat_template=None).save_pretrained(base)
    for file in ("config.json", "model.safetensors"):
        (base / file).write_bytes((world.base / file).read_bytes())
    spec = world.write_spec(base_model={"id": "plain"})
    refused(world, "run", spec, says=["chat template", "base_model.chat_template"])


@pytest.mark.skipif(sys.platform == "win32", reason="uses /proc")
def test_an_output_folder_that_cannot_be_written(world: World) -> None:
    refused(world, "run", world.write_spec(output_dir="/proc/nowhere"), says=["/proc/nowhere", "output_dir"])


def test_an_output_folder_that_is_a_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    refused(world, "run", world.write_spec(), says=["runs/tiny", "output_dir"])


def test_a_folder_that_is_not_a_run(world: World, tmp_path: Path) -> None:
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "thesis.txt").write_text("years of work")
    refused(world, "run", world.write_spec(), says=["thesis.txt", "another name"])
    assert (tmp_path / "runs" / "tiny" / "thesis.txt").read_text() == "years of work"


def test_training_before_a_check(world: World) -> None:
    refused(world, "train", world.write_spec(), says=["refuses to start", "rewardsmith check"])


def test_training_after_the_data_changed(world: World) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    world.write_pairs("train.jsonl", make_pairs(20, seed=9))
    refused(world, "train", spec, says=["refuses to start"])


def test_a_run_that_another_process_holds(world: World, tmp_path: Path) -> None:
    spec = world.write_spec()
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    hold = (
        "import filelock, sys; lock = filelock.FileLock('runs/tiny/.lock'); lock.acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=os.environ.copy()
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        refused(world, "check", spec, says=["another process"])
        holder.communicate()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ["exactly one of SPEC, --model and --rewards"]),
        (["--model", "nowhere"], ["nowhere"]),
        (["--rewards", "gone.jsonl"], ["gone.jsonl"]),
    ],
    ids=["nothing to evaluate", "no such model", "no such rewards"],
)
def test_evaluate(world: World, arguments: list[str], says: list[str]) -> None:
    refused(
        world, "evaluate", "--benchmark", "rewardbench2", "--data", "rows.jsonl", "--out", "out", *arguments, says=says
    )


def test_a_report_of_nothing(world: World) -> None:
    refused(world, "report", "nowhere", says=["nowhere"])


def test_init_does_not_overwrite(world: World, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert world("init", "new").code == 0
    refused(world, "init", "new", says=["spec.yaml"])
