"""`rewardsmith plan` on the command line: tables, JSON, brief, files, exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cli_world import World

from conftest import make_base


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_the_answer_comes_first(world: World) -> None:
    answer = world("plan", world.write_spec())
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "trl, single: fits"
    assert "rewardsmith run spec.yaml" in lines
    assert re.search(r"Returns +Must not +On failure", answer.out)
    assert "See a pair twice; use" in answer.out
    assert "RewardBench 2 found that a base of another lineage costs in PPO" in answer.out
    assert "no check.json yet" in answer.out
    assert not (world.folder / "runs" / "tiny").exists()  # a plan writes nothing by itself


def test_lengths_are_the_checks_once_there_is_one(world: World) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    plan = world("plan", spec, "--json").json()
    assert plan["model"]["kernel"] == "calls"
    assert "; attention: calls" in world("plan", spec).out
    check = world("check", spec, "--json").json()
    tokens = check["tokens"]
    assert plan["tokens"]["pairs"] == check["train_pairs"] == 40
    assert plan["tokens"]["of_pair"] == tokens["waste"]["tree"] / 40
    assert plan["tokens"]["longest"] == tokens["quantiles"]["max"]
    assert plan["tokens"]["steps"] == 10
    assert "another data section" not in str(plan["assumptions"])
    changed = world("plan", spec, "--set", "data.max_length=100", "--json").json()
    assert "another data section" in str(changed["assumptions"])


def test_a_named_gpu_and_a_budget(world: World) -> None:
    answer = world(
        "plan", world.write_spec(hardware={"devices_per_node": 8}), "--accelerator", "l4-24gb", "--price", "2",
        "--pairs", "1000", "--latency-ms", "2000", "--cost-per-million", "5000", "--rewards", "1000000", "--json",
    )  # fmt: skip
    plan = answer.json()
    assert plan["model"]["kernel"] == "varlen"
    assert answer.code == 0
    assert (plan["machine"]["name"], plan["machine"]["price"], plan["choice"]["strategy"]) == ("l4-24gb", 2.0, "ddp")
    assert (plan["advice"]["kind"], plan["advice"]["budget_seconds"]) == ("hybrid", 2.0)
    assert {(row["backend"], row["strategy"], row["adapter"]) for row in plan["memory"]} == {
        *(("trl", strategy, adapter) for strategy in ("ddp", "fsdp") for adapter in ("none", "lora")),
        *(("openrlhf", strategy, adapter) for strategy in ("zero2", "zero3") for adapter in ("none", "lora")),
        ("trl", "ddp", "qlora"),
    }


def test_the_brief_is_printed_and_files_are_written(world: World) -> None:
    answer = world("plan", world.write_spec(), "--as-prompt", "--out", "planned")
    assert answer.code == 0
    assert answer.out.startswith("# Build a reward model: tiny\n")
    assert answer.out == (world.folder / "planned" / "brief.md").read_text()
    assert "plan.json" in answer.err


def test_what_does_not_fit_ends_with_one(world: World) -> None:
    spec = world.write_spec(hardware={"device": "cpu", "memory_gib": 0.0001})
    answer = world("plan", spec)
    assert answer.code == 1
    assert answer.out.startswith("trl, single: does not fit\n")
    assert "nothing fits" in answer.out


def test_the_embedded_base_is_planned_before_it_is_made(world: World) -> None:
    answer = world("plan", world.write_spec(base_model={"id": "embedded"}), "--json")
    assert answer.code == 0
    assert answer.json()["model"]["parameters"] == 2_360_960
    assert not (world.folder / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--accelerator", "h1000"), "did you mean"),
        (("--pairs", "0"), "--pairs"),
        (("--utilisation", "1.5"), "--utilisation"),
        (("--latency-ms", "-3"), "--latency-ms"),
        (("--set", "base_model.id=./nothing"), "base_model.id"),
        (("--json", "--as-prompt"), "leave one of them out"),
    ],
)
def test_what_cannot_be_used_ends_with_two(world: World, arguments: tuple[str, ...], said: str) -> None:
    spec = world.write_spec(hardware={})
    answer = world("plan", spec, *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_base_above_its_policy_is_refused(world: World) -> None:
    answer = world("plan", world.write_spec(policy={"parameters": 100}))
    assert answer.code == 2
    assert "base_model.id" in answer.err


def test_another_lineage_is_a_warning(world: World, tmp_path: Path) -> None:
    policy = make_base(tmp_path / "policy", layers=4)
    plan = world("plan", world.write_spec(policy={"id": str(policy), "family": "llama"}), "--json").json()
    assert any("'qwen3' and the policy of 'llama'" in warning for warning in plan["warnings"])
    same = world("plan", world.write_spec(policy={"id": str(policy)}), "--json").json()
    assert not any("lineage" in warning for warning in same["warnings"])


def test_a_trained_checkpoint_is_measured(world: World) -> None:
    spec = world.write_spec()
    assert world("check", spec).code == 0
    assert world("train", spec).code == 0
    measured = world("plan", spec, "--json").json()["scoring"][0]
    assert measured["source"].startswith("measured here on runs/tiny/model")
    assert 0.005 < measured["seconds"] < 5
    assert world("plan", spec, "--no-measure", "--json").json()["scoring"][0]["source"] == "estimated"
