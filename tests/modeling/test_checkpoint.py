"""A checkpoint gives the same rewards elsewhere, or says why it cannot."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_training_resume import make_job

from conftest import make_pairs
from rewardsmith.errors import ModelError, RewardsmithError, SpecError
from rewardsmith.modeling import checkpoint
from rewardsmith.modeling.checkpoint import golden_rewards, open_checkpoint, refuse_second_epoch, save_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.modeling.shapes import Size, check_sizes, count_parameters, lineage_warning
from rewardsmith.rendering import load_renderer
from rewardsmith.rendering.renderer import OverLength
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.training.trl_backend import train


@pytest.fixture(scope="module")
def model_folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(make_job(tiny_base, folder, training={"pairs_per_step": 4, "learning_rate": 1e-2, "warmup": 0.0}))
    return folder / "model"


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_config_says_what_other_programs_must_know(model_folder: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert len(config["id2label"]) == 1 if "id2label" in config else config["num_labels"] == 1
    assert config["pad_token_id"] != config["eos_token_id"]
    assert sorted(path.suffix for path in model_folder.glob("model*")) == [".safetensors"]


def test_whoever_sees_only_the_folder_gets_our_rewards(model_folder: Path) -> None:
    """transformers alone: saved template, stock pooling, right padding."""
    conversations = [pair.prompt + pair.rejected for pair in make_pairs(9, seed=4)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    messages = [[{"role": turn.role, "content": turn.content} for turn in text] for text in conversations]
    inputs = tokenizer.apply_chat_template(messages, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        stock = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, 0].numpy()
    np.testing.assert_allclose(LocalScorer.load(model_folder).score(conversations), stock, atol=1e-5)


def test_golden_rewards_are_verified_on_load(copy: Path) -> None:
    record = open_checkpoint(copy).record
    assert record is not None
    assert len(record.golden) >= 5
    assert record.data_fingerprints == ("d" * 64,)


@pytest.mark.parametrize("policy", ["drop", "error"])
def test_golden_conversations_over_the_limit_are_left_out(tiny_base: Path, policy: OverLength) -> None:
    rewards = {}
    for limit in (200, 60):
        renderer = load_renderer(tiny_base, max_length=limit, over_length=policy)
        spec = Spec.model_validate({"base_model": {"id": str(tiny_base)}})
        model = load_base(spec, str(tiny_base), renderer.tokenizer, seed=1)
        rewards[limit] = {golden.conversation: golden.reward for golden in golden_rewards(model, renderer)}
    assert 0 < len(rewards[60]) < len(rewards[200])
    assert all(abs(rewards[200][text] - reward) < 1e-5 for text, reward in rewards[60].items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rewards_of_nan_are_noticed(copy: Path, dtype: str) -> None:
    """Weights are whole and finite, and a setting makes every reward NaN; a comparison written as `>` lets it pass."""
    said = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(said | {"rms_norm_eps": float("nan")}))
    with pytest.raises(ModelError, match="golden rewards differ by up to inf"):
        open_checkpoint(copy, dtype=dtype)
    (copy / "rewardsmith.json").unlink()
    with pytest.raises(ModelError, match="golden conversations get nan for a reward"):
        open_checkpoint(copy, dtype=dtype)


def test_a_recorded_reward_of_nan_is_noticed(copy: Path) -> None:
    said = json.loads((copy / "rewardsmith.json").read_text())
    said["golden"][0]["reward"] = float("nan")
    (copy / "rewardsmith.json").write_text(json.dumps(said))
    with pytest.raises(RewardsmithError, match="golden rewards differ by up to inf"):
        open_checkpoint(copy)


def test_a_diverged_model_is_not_saved(copy: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(copy)
    assert opened.record is not None
    with torch.no_grad():
        opened.model.model.norm.weight[3] = float("nan")
    with pytest.raises(ModelError, match=r"1 weights hold NaN or infinity \(model\.norm\.weight\)"):
        save_checkpoint(tmp_path / "new", opened.model, opened.renderer, opened.record)
    assert not list(tmp_path.glob("new*"))


def test_changed_weights_are_noticed(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["score.weight"] = tensors["score.weight"] * 1.01
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="golden rewards differ"):
        open_checkpoint(copy)


def test_a_changed_template_is_noticed(copy: Path) -> None:
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(RewardsmithError, match="template"):
        open_checkpoint(copy)


def test_a_missing_head_is_noticed(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks score\.weight"):
        open_checkpoint(copy)


def test_bfloat16_stays_within_its_tolerance(model_folder: Path) -> None:
    assert open_checkpoint(model_folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_warm_start_on_the_same_pairs_is_a_second_epoch(model_folder: Path, tiny_base: Path) -> None:
    with pytest.raises(ModelError, match="second epoch"):
        refuse_second_epoch(model_folder, "d" * 64)
    assert refuse_second_epoch(model_folder, "e" * 64) == ("d" * 64,)
    assert refuse_second_epoch(tiny_base, "d" * 64) == ()


def test_warm_start_on_other_pairs_keeps_the_head(model_folder: Path, tmp_path: Path) -> None:
    record = train(
        make_job(
            model_folder,
            tmp_path,
            training={"pairs_per_step": 32, "learning_rate": 1e-12, "checkpoint_every_steps": None},
        )
    )
    assert record.steps == 1
    pairs = [pair.prompt + pair.chosen for pair in make_pairs(4)]
    np.testing.assert_allclose(
        LocalScorer.load(tmp_path / "model").score(pairs), LocalScorer.load(model_folder).score(pairs), atol=1e-6
    )


def test_counts_come_from_the_config_on_the_meta_device(tiny_base: Path) -> None:
    """By hand: embedding, two layers of q k v o, q/k norms, gate up down, two norms; final norm; head."""
    width, inner, head_dim = 32, 64, 8
    layer = width * width * 2 + width * 16 * 2 + 2 * head_dim + 3 * width * inner + 2 * width
    expected = 400 * width + 2 * layer + width + width
    assert count_parameters(str(tiny_base)) == Size(expected, "qwen3")


def test_a_base_larger_than_the_policy_is_refused_by_counting(tiny_base: Path, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(tiny_base)
    config.num_hidden_layers = 1
    config.layer_types = config.layer_types[:1]
    config.save_pretrained(tmp_path)
    spec = Spec.model_validate({"base_model": {"id": str(tiny_base)}, "policy": {"id": str(tmp_path)}})
    with pytest.raises(SpecError, match="larger than its policy"):
        check_sizes(spec, str(tiny_base))
    turned = Spec.model_validate({"base_model": {"id": str(tmp_path)}, "policy": {"id": str(tiny_base)}})
    base, policy = check_sizes(turned, str(tmp_path))
    assert (base.parameters or 0) < (policy.parameters or 0)


def test_another_family_is_a_warning_and_its_own_is_none() -> None:
    assert "lineage" in (lineage_warning(Size(1, "qwen3"), Size(2, "llama")) or "")
    assert lineage_warning(Size(1, "qwen3"), Size(2, "qwen3")) is None
    assert lineage_warning(Size(1, "qwen3"), Size(2, None)) is None


def test_a_hub_id_is_read_from_a_local_cache(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache laid out as huggingface_hub does, offline: revision and all."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(tiny_base, target_is_directory=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert count_parameters("someone/base") == count_parameters(str(tiny_base))
    with pytest.raises(ModelError, match="someone/other"):
        count_parameters("someone/other")


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"rope": {"type": "yarn", "rope_type": "yarn"}}, {"rope": {"rope_type": "yarn"}}, True),
        ({"rope": {"type": "yarn"}}, {"rope": {"rope_type": "linear"}}, False),
        ({"rope": {"factor": 16.0}}, {"rope": {}}, False),
        ({"layers": 2, "old": None}, {"layers": 2, "more": 1}, True),
        ({"layers": 2}, {"layers": 3}, False),
    ],
)
def test_settings_written_for_both_versions_stay_what_they_are(
    before: dict[str, Any], after: dict[str, Any], same: bool
) -> None:
    assert checkpoint._same_settings(before, after) is same


def test_who_may_read_a_new_file_may_read_a_checkpoint(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in model_folder.iterdir()}
    assert set(modes.values()) == {stat.S_IMODE((tmp_path / "new").stat().st_mode)}, modes
