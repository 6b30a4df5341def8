"""What 0.1.0 made, opened today: known faults are named once, the rest works; nothing of it is taken for today's.

The files of 0.1.0 (commit 43f28f1) differ from today's by the version in rewardsmith.json and manifest.json and by the
names in config.json and tokenizer_config.json; they are made so here from a checkpoint and a run of today.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_maker import make_checkpoint
from cli_world import World
from safetensors.torch import load_file, save_file
from test_spellings import as_before, theta_base

import rewardsmith
from conftest import make_base
from rewardsmith.doctor import checkpoint_findings
from rewardsmith.modeling.checkpoint import open_checkpoint, say_known_faults
from rewardsmith.modeling.faults import known_faults
from rewardsmith.pipeline.commands.look import list_runs
from rewardsmith.pipeline.directory import RunDirectory
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.cached import model_identity
from rewardsmith.spec import Spec


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))))


def by_0_1_0(folder: Path, **changes: Any) -> Path:
    """A checkpoint as that version left it after training."""
    said = {"rewardsmith_version": "0.1.0", "data_fingerprints": ["d" * 64], **changes}
    rewrite(folder / "rewardsmith.json", lambda record: {**record, **said})
    return folder


def codes(folder: Path) -> list[tuple[str, bool]]:
    return [(fault.code, fault.certain) for fault in known_faults(folder)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return theta_base(tmp_path / "base")


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model", base)


def change_names(folder: Path, rename: Callable[[str], str | None]) -> None:
    weights = load_file(folder / "model.safetensors")
    named = {new: tensor.clone() for name, tensor in weights.items() if (new := rename(name))}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_sound_checkpoint_of_0_1_0_and_one_of_today_have_none(model: Path) -> None:
    assert known_faults(model) == ()
    as_before(model)
    assert known_faults(model) == ()
    rewrite(model / "config.json", lambda config: {**config, "rope_theta": 1e6})
    assert codes(by_0_1_0(model)) == []
    open_checkpoint(model)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: name.replace("model.", "model.language_model."),
        lambda name: None if ".layers.1." in name else name,
    ],
    ids=["torch.compile", "DDP", "vision", "a layer"],
)
def test_weights_that_the_base_does_not_have_by_name(model: Path, base: Path, rename: Any) -> None:
    change_names(base, rename)
    by_0_1_0(model)
    stored = load_file(model / "model.safetensors")
    [fault] = known_faults(model)
    assert (fault.code, fault.certain) == ("base-weights", True)
    count = sum(name != "score.weight" and rename(name) != name for name in stored)
    assert f"{count} of {len(stored)} weights are not in its base {str(base)!r} by name" in fault.said
    [finding] = checkpoint_findings(model)
    assert (finding.rule, finding.severity) == ("checkpoint-base-weights", "error")


def test_a_base_without_the_models_prefix_is_sound(model: Path, base: Path) -> None:
    change_names(base, lambda name: name.removeprefix("model."))
    assert codes(by_0_1_0(model)) == []


def test_a_base_that_is_cut_off_is_named(model: Path, base: Path) -> None:
    whole = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    [fault] = known_faults(by_0_1_0(model))
    assert "does not load whole" in fault.said
    assert fault.certain


def test_a_base_that_is_not_at_hand_can_show_nothing(model: Path) -> None:
    by_0_1_0(model, base_model="nobody/nothing-here")
    assert codes(model) == [("base-weights", False)]
    [finding] = checkpoint_findings(model)
    assert (finding.severity, finding.found) == ("note", "base weights")
    assert codes(by_0_1_0(model, base_model="embedded")) == []
    assert codes(by_0_1_0(model, base_model="nobody/nothing-here", data_fingerprints=[])) == []  # an import


def test_a_relative_base_is_found_above_the_checkpoint(model: Path, tmp_path: Path) -> None:
    inner = tmp_path / "runs" / "one" / "model"
    inner.parent.mkdir(parents=True)
    shutil.move(model, inner)
    assert codes(by_0_1_0(inner, base_model="base")) == []


def test_training_in_float16_shows_in_the_weights(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    half = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    save_file(half, model / "model.safetensors", metadata={"format": "pt"})
    [fault] = known_faults(by_0_1_0(model))
    assert (fault.code, fault.certain) == ("float16", True)
    assert f"{len(half)} of {len(half)} weights are float16" in fault.said
    assert [(one.rule, one.severity) for one in checkpoint_findings(model)] == [("checkpoint-float16", "warning")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        (
            "config.json",
            '{"rope_parameters": {"rope_theta": {}, "a": {"b": [1]}}, "layer_types": [{}], "model_type": []}',
        ),
        ("config.json", '{"text_config": ' * 2000 + "{}" + "}" * 2000),
        ("model.safetensors", "version https://git-lfs"),
        ("rewardsmith.json", "{"),
    ],
)
def test_damaged_files_are_left_to_whoever_opens_them(model: Path, name: str, content: str) -> None:
    by_0_1_0(model)
    (model / name).write_text(content)
    assert [fault for fault in known_faults(model) if fault.code != "one-spelling"] == []
    checkpoint_findings(model)


def test_a_base_that_is_no_name_of_a_file(model: Path) -> None:
    for base in ("x" * 5000, "a\0b", ""):
        assert codes(by_0_1_0(model, base_model=base)) in ([("base-weights", False)], [])


def test_it_is_said_once_when_it_is_opened_and_rewards_are_the_same(model: Path, caplog: Any) -> None:
    text = [(rewardsmith.Message("user", "Hi"), rewardsmith.Message("assistant", "Hello."))]
    before = LocalScorer.load(model).score(text)
    as_before(by_0_1_0(model))
    say_known_faults.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert np.array_equal(LocalScorer.load(model).score(text), before)
    said = [record.getMessage() for record in caplog.records if "0.1.0" in record.getMessage()]
    reads = (
        "rewards are right here, and others in transformers 4, which reads rope_theta 10000 (its default) for 1000000"
    )
    assert said == [f"note: {model}: made by Rewardsmith 0.1.0: {reads}; rewardsmith doctor {model} --fix"]


def test_golden_rewards_that_moved_are_an_error_whatever_the_version(model: Path) -> None:
    by_0_1_0(model)
    rewrite(
        model / "rewardsmith.json",
        lambda record: {**record, "golden": [{**one, "reward": one["reward"] + 0.01} for one in record["golden"]]},
    )
    with pytest.raises(rewardsmith.RewardsmithError, match=r"golden rewards differ by up to 0\.01"):
        open_checkpoint(model)


def test_no_cached_reward_of_0_1_0_is_used_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a cached reward names the version: what a known fault computed is computed again."""
    loaded = open_checkpoint(model).model
    now = model_identity(loaded)
    monkeypatch.setattr(rewardsmith, "__version__", "0.1.0")
    assert model_identity(loaded) != now


# ---------------------------------------------------------------------------------------------------- a run of 0.1.0

SPEC = """name: old
base_model: {id: base}
hardware: {threads: 1}
data:
  train: [{path: pairs.jsonl}]
  max_length: 128
training: {pairs_per_step: 8, learning_rate: 1e-3}
evaluation: {benchmarks: [], label_noise: {suspects: 0}, probes: {pairs: 0}}
"""


def test_why_stages_are_done_again_is_said_in_words(tmp_path: Path) -> None:
    spec = Spec.model_validate({"name": "old", "output_dir": str(tmp_path)})
    with RunDirectory.open(spec) as run:
        run.finish("check", "f" * 64, 1.0)
        assert run.made_with is None
    assert RunDirectory.look(spec).made_with is None
    manifest = tmp_path / "old" / "manifest.json"
    rewrite(manifest, lambda one: {**one, "versions": {**one["versions"], "rewardsmith": "0.1.0", "torch": "2.6.0"}})
    looked, wanted = (
        RunDirectory.look(spec).made_with,
        f"rewardsmith 0.1.0 (here {rewardsmith.__version__}), torch 2.6.0",
    )
    assert looked is not None
    assert looked.startswith(f"its stages were made with {wanted} (here ")
    with RunDirectory.open(spec) as run:
        assert run.made_with == looked
    assert RunDirectory.look(spec).made_with is None  # what is done from now on is of this version


def test_a_listed_run_names_the_known_faults_of_its_model(model: Path, tmp_path: Path) -> None:
    spec = Spec.model_validate({"name": "old", "output_dir": str(tmp_path / "runs")})
    with RunDirectory.open(spec) as run:
        run.finish("train", "f" * 64, 1.0)
        shutil.move(model, run.model)
    [listed] = list_runs(tmp_path / "runs", now=0.0).runs
    assert listed.notes == ()
    as_before(by_0_1_0(run.model))
    [listed] = list_runs(tmp_path / "runs", now=0.0).runs
    assert [note.partition(": rewards are right here")[0] for note in listed.notes] == ["made by Rewardsmith 0.1.0"]


@pytest.fixture
def old_run(tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    """A run that ended, as 0.1.0 leaves it; its texts and scores are those of today."""
    world = World(tmp_path, make_base(tmp_path / "base"), capsys, monkeypatch)
    (tmp_path / "spec.yaml").write_text(SPEC)
    rows = [
        {"prompt": f"What is {one} + {one}?", "chosen": f"It is {2 * one}.", "rejected": f"Maybe {one} or so."}
        for one in range(40)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert world("run", "spec.yaml").code in (0, 1)
    run = tmp_path / "runs" / "old"
    rewrite(
        run / "manifest.json",
        lambda manifest: {**manifest, "versions": {**manifest["versions"], "rewardsmith": "0.1.0"}},
    )
    rewrite(
        run / "manifest.json",
        lambda manifest: {
            **manifest,
            "stages": {name: {**stage, "fingerprint": "f" * 64} for name, stage in manifest["stages"].items()},
        },
    )
    by_0_1_0(run / "model")
    change_names(tmp_path / "base", lambda name: f"module.{name}")
    return world


@pytest.mark.slow
def test_a_finished_run_of_0_1_0_is_listed_reported_and_compared(old_run: World, tmp_path: Path) -> None:
    listed = old_run("ls", "runs")
    assert listed.code == 0
    assert "note: runs/old: made by Rewardsmith 0.1.0: weights of the base that did not load" in listed.out
    reported = old_run("report", "runs/old")
    assert (reported.code, reported.out) == (0, "runs/old/report.html\n")
    assert "made by Rewardsmith 0.1.0: weights of the base" in reported.err
    assert old_run("compare", "runs/old", "runs/old").code == 0
    planned = old_run("run", "spec.yaml", "--dry-run")
    why = (
        f"its stages were made with rewardsmith 0.1.0 (here {rewardsmith.__version__}); results depend on versions, so "
        "that every stage is done again and no training is continued"
    )
    assert why in planned.out + planned.err
    assert "unchanged" not in planned.out
    change_names(tmp_path / "base", lambda name: name.removeprefix("module."))
    again = old_run("run", "spec.yaml")
    assert again.code in (0, 1)
    assert why in again.out + again.err
    assert "made by Rewardsmith 0.1.0" not in old_run("ls", "runs").out
    assert why not in (third := old_run("run", "spec.yaml")).out + third.err
