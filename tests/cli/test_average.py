"""`rewardsmith average`: from folders to a checkpoint that the other commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from test_averaging import make_child, set_field

from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.files import read_record


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    found = World(tmp_path, tiny_base, capsys, monkeypatch)
    for seed in (1, 2):
        make_child(tmp_path / f"child{seed}", tiny_base, seed)
    return found


def test_an_average_is_evaluated_like_any_checkpoint(world: World, tmp_path: Path) -> None:
    answer = world("average", "child1", "child2", "--weights", "3,1", "--out", "out")
    assert (answer.code, answer.err) == (0, "")
    assert "out: the average of 2 checkpoints" in answer.out
    assert "0.750  child1" in answer.out
    record = read_record(tmp_path / "out" / "rewardsmith.json", CheckpointRecord)
    assert [(parent.folder, parent.weight) for parent in record.parents] == [("child1", 0.75), ("child2", 0.25)]
    scored = world("evaluate", "--model", "out", "--benchmark", "pairs", "--data", "held_out.jsonl", "--out", "scores")
    assert scored.code == 0


def test_json_is_the_record(world: World, tmp_path: Path) -> None:
    answer = world("average", "child1", "child2", "--out", "out", "--json")
    assert CheckpointRecord.model_validate(answer.json()) == read_record(
        tmp_path / "out" / "rewardsmith.json", CheckpointRecord
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("child1", "--out", "out"), "name two or more checkpoints"),
        (("child1", "child2", "--weights", "1,2,3", "--out", "out"), "--weights: '1,2,3' is not 2 numbers above 0"),
        (("child1", "nowhere", "--out", "out"), "nowhere: there is no rewardsmith.json"),
        (("child1", "child2", "--out", "child1"), "child1: it holds something already"),
        (("child1", "other", "--out", "out"), "other/rewardsmith.json, field 'base_model': is 'another'"),
    ],
)
def test_what_cannot_be_averaged_ends_with_2(
    world: World, tiny_base: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    set_field("rewardsmith.json", base_model="another")(make_child(tmp_path / "other", tiny_base, 3))
    answer = world("average", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "try: " in answer.err
    assert not (tmp_path / "out").exists()
