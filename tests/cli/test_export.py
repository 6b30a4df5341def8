"""`rewardsmith export`: folders for other programs, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World
from foreign_maker import make_openrlhf, make_published
from test_exports import make_adapter

from rewardsmith.records.checkpoint import ExportRecord


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_an_openrlhf_checkpoint_becomes_ours_and_is_verified(world: World, tmp_path: Path) -> None:
    make_openrlhf(tmp_path / "rm", "value_head", mean=0.5, std=2.0)
    answer = world("export", "--model", "rm", "--to", "hf", "--out", "ours")
    assert (answer.code, answer.err) == (0, "")
    assert "ours: hf, float32" in answer.out
    assert "rewards of 6 golden conversations differ by at most" in answer.out
    assert "kept and not applied: mean 0.5, std 2.0" in answer.out
    assert "next: rewardsmith verify --model ours" in answer.out
    found = world("verify", "--model", "ours", "--json").json()
    assert {path["verdict"] for path in found["paths"] if path["path"] != "bfloat16"} == {"PASS", "NO_DATA"}
    assert found["findings"] == []


def test_json_is_the_record(world: World, tiny_base: Path, tmp_path: Path) -> None:
    make_adapter(tmp_path / "lora", tiny_base)
    answer = world("export", "--model", "lora", "--to", "vllm", "--out", "out", "--json")
    record = ExportRecord.model_validate(answer.json())
    assert (record.source, record.out, record.target, record.merged) == ("lora", "out", "vllm", True)
    assert record.start == (
        "vllm serve out --runner pooling --dtype float32",
        "python -m sglang.launch_server --model-path out --is-embedding --dtype float32",
    )
    shown = world("export", "--model", "lora", "--to", "vllm", "--out", "again")
    assert "again: vllm, float32, adapter merged" in shown.out


def test_a_published_model_says_what_it_left_out(world: World, tmp_path: Path) -> None:
    """Before: no problem type, so that vLLM would apply a sigmoid. After: a regression."""
    make_published(tmp_path / "rm", "llama")
    assert "problem_type" not in json.loads((tmp_path / "rm" / "config.json").read_text())
    assert world("export", "--model", "rm", "--to", "vllm", "--out", "out").code == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "regression"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "model", "--to", "hf", "--out", "model"), "model: it holds something already"),
        (("--model", "nowhere", "--to", "hf", "--out", "out"), "nowhere"),
        (("--model", "model", "--to", "hf", "--out", "out", "--value-head-prefix", "value_head"), "--to openrlhf"),
    ],
)
def test_what_cannot_be_written_ends_with_2(
    world: World, tiny_base: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    make_checkpoint(tmp_path / "model", tiny_base)
    answer = world("export", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "try: " in answer.err
    assert not (tmp_path / "out").exists()
