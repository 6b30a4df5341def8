"""`run --controls`: a stage of its own, off by default, skipped and kept like others; its numbers in every output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_world import World

from conftest import make_pairs
from rewardsmith.data.store import TokenizedPair, pair_keys
from rewardsmith.evaluation import pair_rows
from rewardsmith.pipeline.controls import NO_PROMPT, changed_pairs, changed_rows
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import read_record
from rewardsmith.records.run import Manifest
from rewardsmith.records.training import ControlsRecord
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.spec import Spec, with_controls


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return load_renderer(str(tiny_base), max_length=200)


def tokenized(renderer: Renderer, count: int = 21) -> list[TokenizedPair]:
    pairs = make_pairs(count, seed=3)
    rendered = renderer.render_pairs(pairs)
    return [
        TokenizedPair(pair, both.chosen_ids, both.rejected_ids, "x.jsonl", place, pair_keys(pair))  # type: ignore[arg-type]
        for place, (pair, both) in enumerate(zip(pairs, rendered, strict=True), start=1)
    ]


def test_swapped_labels_are_the_same_pairs_the_other_way_round(renderer: Renderer) -> None:
    rows = tokenized(renderer)
    changed = changed_pairs(rows, "labels_swapped", renderer, Spec())
    for before, after in zip(rows, changed, strict=True):
        assert (after.pair.chosen, after.pair.rejected) == (before.pair.rejected, before.pair.chosen)
        assert after.chosen_ids is before.rejected_ids
        assert after.rejected_ids is before.chosen_ids


def test_a_random_half_of_the_labels_is_shuffled_by_the_seed(renderer: Renderer) -> None:
    rows = tokenized(renderer)
    turned = [one.pair.chosen == row.pair.rejected for one, row in zip(shuffled(rows, renderer, 1), rows, strict=True)]
    assert sum(turned) == 10  # of 21
    again = [one.pair.chosen == row.pair.rejected for one, row in zip(shuffled(rows, renderer, 1), rows, strict=True)]
    other = [one.pair.chosen == row.pair.rejected for one, row in zip(shuffled(rows, renderer, 2), rows, strict=True)]
    assert turned == again
    assert turned != other


def shuffled(rows: list[TokenizedPair], renderer: Renderer, seed: int) -> list[TokenizedPair]:
    return changed_pairs(rows, "labels_shuffled", renderer, Spec(seed=seed))


def test_without_prompts_the_ids_are_those_of_the_rendered_rest(renderer: Renderer) -> None:
    rows = tokenized(renderer, 4)
    changed = changed_pairs(rows, "prompts_removed", renderer, Spec())
    for before, after in zip(rows, changed, strict=True):
        (turn,) = after.pair.prompt
        assert (turn.role, turn.content) == ("user", NO_PROMPT)
        assert np.array_equal(after.chosen_ids, renderer.ids(after.pair.prompt + before.pair.chosen))


def test_prompts_are_exchanged_for_others_and_never_kept() -> None:
    pairs = make_pairs(30, seed=4)
    twice = [*pairs, replace(pairs[0], id="again", chosen=pairs[1].chosen)]
    rows = pair_rows(twice, DatasetInfo(source=""), "").rows
    changed = changed_rows(rows, "prompts_exchanged", Spec())
    prompts = {row.prompt for row in rows}
    assert all(after.prompt != before.prompt for before, after in zip(rows, changed, strict=True))
    assert {row.prompt for row in changed} == prompts
    assert changed[0].prompt == changed[-1].prompt  # one prompt, one other prompt
    assert [row.responses for row in changed] == [row.responses for row in rows]
    alone = changed_rows(rows[:1], "prompts_exchanged", Spec())
    assert alone[0].prompt == rows[0].prompt


def test_the_flag_takes_a_quarter_and_leaves_what_the_spec_says() -> None:
    assert with_controls(Spec()).evaluation.controls.share == 0.25
    asked = Spec.model_validate({"evaluation": {"controls": {"share": 0.5}}})
    assert with_controls(asked) is asked


def test_controls_are_made_once_kept_and_forgotten_with_their_training(world: World, tmp_path: Path) -> None:
    spec = world.write_spec(evaluation={"benchmarks": [], "bootstrap": 200, "probes": {"pairs": 0}})
    run = tmp_path / "runs" / "tiny"
    assert not world("run", spec).out.count("Negative controls")
    assert not (run / "controls.json").exists()

    answer = world("run", spec, "--controls", "--set", "evaluation.controls.share=0.5")
    record = read_record(run / "controls.json", ControlsRecord)
    assert [one.name for one in record.controls] == [
        "labels_swapped",
        "labels_shuffled",
        "prompts_removed",
        "prompts_exchanged",
    ]
    assert (record.share, record.pairs) == (0.5, 20)
    assert record.reference.n == record.model.n == record.controls[0].accuracy.n == 15
    assert "controls" in read_record(run / "manifest.json", Manifest).stages
    assert "Negative controls" in answer.out
    assert 'id="controls"' in (run / "report.html").read_text()
    assert "## Negative controls" in (run / "summary.md").read_text()
    assert not list((run / "controls").glob("*/model"))  # weights that nobody should use

    again = world("run", spec, "--controls", "--set", "evaluation.controls.share=0.5", "--json")
    assert "Negative controls: unchanged, skipped" in again.err
    assert again.json()["controls"] == json.loads((run / "controls.json").read_text())

    world("run", spec)  # not asked for: what is there stays
    assert read_record(run / "controls.json", ControlsRecord) == record
    stale = record.model_copy(update={"fingerprint": "of another training"})
    (run / "controls.json").write_text(stale.model_dump_json(by_alias=True))
    assert "ask for --controls again" in world("run", spec).err
    assert not (run / "controls.json").exists()


def test_a_dry_run_lists_them_where_they_are_asked_for(world: World) -> None:
    spec = world.write_spec()
    stages = {stage["name"] for stage in world("run", spec, "--dry-run", "--json").json()["stages"]}
    asked = {stage["name"] for stage in world("run", spec, "--controls", "--dry-run", "--json").json()["stages"]}
    assert asked - stages == {"controls"}


def test_without_held_out_pairs_they_are_said_not_to_be_made(world: World, tmp_path: Path) -> None:
    data = {"train": [{"path": "train.jsonl"}], "held_out": {"fraction": 0.0}, "max_length": 200}
    answer = world("run", world.write_spec(data=data), "--controls")
    assert "no controls: they are asked about held-out pairs" in answer.err
    assert not (tmp_path / "runs" / "tiny" / "controls.json").exists()
