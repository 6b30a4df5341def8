"""Averages of checkpoints: the mean, with golden rewards of its own; strangers are refused, by name of what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_maker import make_checkpoint
from foreign_maker import make_published
from safetensors.torch import load_file, save_file

from conftest import make_base
from rewardsmith.errors import ModelError, UserError
from rewardsmith.modeling.averaging import average_checkpoints
from rewardsmith.modeling.checkpoint import golden_rewards, load_checkpoint, open_checkpoint
from rewardsmith.modeling.exports import export_checkpoint
from rewardsmith.pipeline.commands.export import average_job, parse_weights
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.files import read_record, write_json


def make_child(folder: Path, base: Path, seed: int, *, head: int = 0, size: float = 0.02) -> Path:
    """A checkpoint as fine-tuning leaves one: the base's weights and the head's, moved a little."""
    make_checkpoint(folder, base, seed=head)
    draw = torch.Generator().manual_seed(seed)
    path = folder / "model.safetensors"
    moved = {
        name: tensor + size * tensor.std() * torch.randn(tensor.shape, generator=draw)
        for name, tensor in load_file(path).items()
    }
    save_file(moved, path, metadata={"format": "pt"})
    renew(folder, data_fingerprints=(f"{seed}" * 64,))
    return folder


def renew(folder: Path, **changes: object) -> None:
    """Golden rewards of the weights that stand there now."""
    opened = load_checkpoint(folder)
    assert opened.record is not None
    fresh = {"golden": golden_rewards(opened.model, opened.renderer), **changes}
    write_json(folder / "rewardsmith.json", opened.record.model_copy(update=fresh))


@pytest.fixture
def family(tmp_path: Path, tiny_base: Path) -> list[Path]:
    return [make_child(tmp_path / f"child{seed}", tiny_base, seed) for seed in (1, 2, 3)]


def test_the_mean_is_the_mean(family: list[Path], tmp_path: Path) -> None:
    shares = (0.5, 0.3, 0.2)
    record = average_checkpoints(family, tmp_path / "out", shares)
    parents = [load_file(folder / "model.safetensors") for folder in family]
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == parents[0].keys()
    for name, tensor in found.items():
        expected = sum(share * parent[name].double().numpy() for share, parent in zip(shares, parents, strict=True))
        np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)
    assert record.data_fingerprints == ("1" * 64, "2" * 64, "3" * 64)
    assert [parent.weight for parent in record.parents] == list(shares)
    assert [parent.folder for parent in record.parents] == [str(folder) for folder in family]
    assert (record.reward_mean, record.calibration, record.evaluation) == (None, None, {})


def test_it_is_a_checkpoint_like_any_other(family: list[Path], tmp_path: Path) -> None:
    """Its golden rewards are those of the mean of weights, reproduced on load; near its parents' mean reward."""
    record = average_checkpoints(family, tmp_path / "out", (1 / 3, 1 / 3, 1 / 3))
    assert open_checkpoint(tmp_path / "out").record == record
    apart = np.array([[golden.reward for golden in read_record_of(folder).golden] for folder in family])
    mean = np.array([golden.reward for golden in record.golden])
    assert np.abs(mean - apart.mean(axis=0)).max() < np.abs(apart - apart.mean(axis=0)).max()


def read_record_of(folder: Path) -> CheckpointRecord:
    return read_record(folder / "rewardsmith.json", CheckpointRecord)


def test_how_far_the_parents_are_is_said(family: list[Path], tmp_path: Path) -> None:
    record = average_checkpoints(family[:2], tmp_path / "out", (0.5, 0.5))
    one, two = (load_file(folder / "model.safetensors") for folder in family[:2])
    apart = sum(float(((one[name] - two[name]) / 2).square().sum()) for name in one)
    size = sum(float(((one[name] + two[name]) / 2).square().sum()) for name in one)
    for parent in record.parents:
        assert parent.distance == pytest.approx((apart / size) ** 0.5, rel=1e-4)
        assert 0.99 < parent.head_cosine <= 1.0001


def test_heads_that_began_apart_are_told(tmp_path: Path, tiny_base: Path) -> None:
    folders = [make_child(tmp_path / f"child{head}", tiny_base, seed=1, head=head) for head in (0, 1)]
    record = average_checkpoints(folders, tmp_path / "out", (0.5, 0.5))
    assert all(parent.head_cosine < 0.95 for parent in record.parents)


def test_sharded_parents_give_what_single_files_give(family: list[Path], tmp_path: Path) -> None:
    """The files of the first parent, whatever the others are cut into."""
    average_checkpoints(family, tmp_path / "whole", (1 / 3, 1 / 3, 1 / 3))
    first = family[0]
    weights = load_file(first / "model.safetensors")
    names = sorted(weights)
    parts = {"model-1.safetensors": names[: len(names) // 2], "model-2.safetensors": names[len(names) // 2 :]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, first / file, metadata={"format": "pt"})
    (first / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (first / "model.safetensors.index.json").write_text(json.dumps(index))
    average_checkpoints(family, tmp_path / "parts", (1 / 3, 1 / 3, 1 / 3))
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    for file in parts:
        for name, tensor in load_file(tmp_path / "parts" / file).items():
            assert torch.equal(tensor, whole[name])
    open_checkpoint(tmp_path / "parts")


def set_field(file: str, **changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        said = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(said | changes))

    return spoil


def other_tokenizer(folder: Path) -> None:
    said = json.loads((folder / "tokenizer.json").read_text())
    said["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(said))
    renew(folder)


def other_limit(folder: Path) -> None:
    record = read_record_of(folder)
    rendering = record.rendering.model_copy(update={"max_length": 150})
    write_json(folder / "rewardsmith.json", record.model_copy(update={"rendering": rendering}))


def changed_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] = weights["score.weight"] + 0.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (set_field("rewardsmith.json", base_model="another"), r"rewardsmith\.json, field 'base_model': is 'another'"),
        (set_field("config.json", rms_norm_eps=0.1), r"config\.json, field 'rms_norm_eps': is 0\.1, and 1e-06"),
        (other_tokenizer, r"tokenizer\.json, field 'pre_tokenizer': is .*True"),
        (other_limit, r"rewardsmith\.json, field 'max_length': is 150, and 200"),
        (changed_weight, r"golden rewards differ"),
        (lambda folder: (folder / "rewardsmith.json").unlink(), r"there is no rewardsmith\.json"),
    ],
    ids=["base", "config", "tokenizer", "length", "weight", "no record"],
)
def test_another_lineage_is_refused(
    family: list[Path], tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(family[1])
    with pytest.raises(ModelError, match=said) as caught:
        average_checkpoints(family, tmp_path / "out", (1 / 3, 1 / 3, 1 / 3))
    assert "child2" in str(caught.value)
    assert "try: " in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_fingerprints_of_the_base_count_where_there_are_some(family: list[Path], tmp_path: Path) -> None:
    """A base under another name is the same base; one under the same name may be another."""
    set_field("rewardsmith.json", base_fingerprint="f" * 64)(family[0])
    set_field("rewardsmith.json", base_fingerprint="f" * 64, base_model="a copy")(family[1])
    average_checkpoints(family[:2], tmp_path / "out", (0.5, 0.5))
    set_field("rewardsmith.json", base_fingerprint="e" * 64)(family[1])
    with pytest.raises(ModelError, match="field 'base_fingerprint'"):
        average_checkpoints(family[:2], tmp_path / "other", (0.5, 0.5))


def test_weights_of_another_base_are_noticed_though_every_file_agrees(tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        base = make_base(tmp_path / f"base{seed}", seed=seed)
        folders.append(make_checkpoint(tmp_path / f"model{seed}", base))
        set_field("rewardsmith.json", base_model="the same name")(folders[-1])
    with pytest.raises(ModelError, match=r"model1/model\.safetensors: the cosine .* is -?0\.0"):
        average_checkpoints(folders, tmp_path / "out", (0.5, 0.5))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("count", [1, 0])
def test_one_is_no_average(family: list[Path], tmp_path: Path, count: int) -> None:
    with pytest.raises(ModelError, match="name two or more"):
        average_job(family[:count], tmp_path / "out")
    with pytest.raises(ModelError, match="each once"):
        average_job([family[0], family[0]], tmp_path / "out")


def test_an_imported_model_must_say_its_base(family: list[Path], tmp_path: Path) -> None:
    folder = make_published(tmp_path / "published", "qwen3")
    with pytest.raises(ModelError, match=r"export --model .*published --to hf"):
        average_job([family[0], folder], tmp_path / "out")


def test_a_parent_that_was_away_and_back_still_fits(family: list[Path], tmp_path: Path) -> None:
    """What its tokenizer was before training is history; what makes texts into tokens is the same."""
    export_checkpoint(family[0], tmp_path / "there", "openrlhf")
    (tmp_path / "there" / "rewardsmith.json").unlink()
    export_checkpoint(tmp_path / "there", tmp_path / "back", "hf")
    set_field("rewardsmith.json", base_model=read_record_of(family[0]).base_model)(tmp_path / "back")
    renewed = read_record_of(tmp_path / "back")
    rendering = renewed.rendering.model_copy(update={"max_length": 200})
    write_json(tmp_path / "back" / "rewardsmith.json", renewed.model_copy(update={"rendering": rendering}))
    record = average_checkpoints([family[1], tmp_path / "back"], tmp_path / "out", (0.5, 0.5))
    assert len(record.parents) == 2


def test_shares_sum_to_one() -> None:
    assert parse_weights("3,1", 2) == (0.75, 0.25)
    assert parse_weights(None, 4) == (0.25,) * 4
    for wrong in ("1", "1,2,3", "1,-1", "1,x", "1,nan", "1,inf", "1,0"):
        with pytest.raises(UserError, match="numbers above 0"):
            parse_weights(wrong, 2)
