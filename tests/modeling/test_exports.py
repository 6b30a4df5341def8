"""A checkpoint written for another program gives the rewards that it gave before, there and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoint_maker import make_checkpoint
from foreign_maker import (
    UNCLOSED,
    make_openrlhf,
    make_published,
    openrlhf_rewards,
    published_rewards,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import rewardsmith
from conftest import make_pairs
from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import golden_conversations, open_checkpoint, save_checkpoint
from rewardsmith.modeling.exports import Target, export_checkpoint
from rewardsmith.modeling.loading import load_base
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation

CONVERSATIONS: list[Conversation] = [
    *golden_conversations(conversational=True),
    *(pair.prompt + pair.chosen for pair in make_pairs(6, seed=8)),
]


def make_adapter(folder: Path, base: Path) -> Path:
    """A LoRA checkpoint as training saves one, with weights that are not zero."""
    spec = Spec.model_validate({"base_model": {"id": str(base)}, "adapter": {"kind": "lora", "rank": 4, "alpha": 8}})
    renderer = load_renderer(base, max_length=200)
    model = load_base(spec, base, renderer.tokenizer, seed=0).eval()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "score" in name:
                weight.normal_(std=0.1, generator=draw)  # rounding stays well under 1e-5 on any processor
    record = CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=str(base),
        rendering=renderer.record,
        data_fingerprints=("d" * 64,),
        reward_std=1.5,
    )
    save_checkpoint(folder, model, renderer, record)
    return folder


def rewards(folder: Path) -> Any:
    return LocalScorer.load(folder, layout="padded").score(CONVERSATIONS)


def config_of(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("prefix", ["score", "value_head"])
def test_ours_to_openrlhf_and_back(tmp_path: Path, tiny_base: Path, prefix: str) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base)
    there = tmp_path / "there"
    record = export_checkpoint(model, there, "openrlhf", value_head_prefix=prefix)
    assert (record.trainer, record.merged) == ("rewardsmith", False)
    assert record.largest_difference <= 1e-6
    assert record.start[0].endswith(f"--reward.model_name_or_path {there} --ds.value_head_prefix {prefix}")
    config = config_of(there)
    assert (config["architectures"], config["value_head_prefix"]) == (["RewardModel"], prefix)
    assert not {"num_labels", "id2label", "problem_type", "mean", "std"} & set(config)
    np.testing.assert_allclose(openrlhf_rewards(there, prefix, CONVERSATIONS), rewards(model), atol=1e-5)

    (there / "rewardsmith.json").unlink()  # a later program may drop it
    export_checkpoint(there, tmp_path / "back", "hf")
    np.testing.assert_allclose(rewards(tmp_path / "back"), rewards(model), atol=1e-6)


@pytest.mark.parametrize("template", ["", UNCLOSED], ids=["ChatML", "a template without EOS"])
@pytest.mark.parametrize("prefix", ["score", "value_head"])
def test_openrlhf_to_ours_and_back(tmp_path: Path, prefix: str, template: str) -> None:
    source = make_openrlhf(tmp_path / "rm", prefix, mean=0.25, std=4.0, template=template)
    record = export_checkpoint(source, tmp_path / "ours", "hf")
    assert record.trainer == "openrlhf"
    ours = open_checkpoint(tmp_path / "ours")
    assert ours.record is not None
    assert ours.record.normalization is not None
    assert (ours.record.normalization["mean"], ours.record.normalization["std"]) == (0.25, 4.0)
    assert {"mean", "std", "value_head_prefix", "normalize_reward"} & set(config_of(tmp_path / "ours")) == set()
    np.testing.assert_allclose(rewards(tmp_path / "ours"), rewards(source), atol=1e-6)

    export_checkpoint(tmp_path / "ours", tmp_path / "back", "openrlhf", value_head_prefix=prefix)
    there, here = load_file(source / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert (config_of(tmp_path / "back")["mean"], config_of(tmp_path / "back")["std"]) == (0.25, 4.0)


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
@pytest.mark.parametrize("target", ["hf", "vllm"])
def test_a_published_classifier_keeps_its_rewards(tmp_path: Path, family: str, target: Target) -> None:
    source = make_published(tmp_path / "rm", family)
    wanted = published_rewards(source, CONVERSATIONS)
    export_checkpoint(source, tmp_path / "out", target)
    assert rewards(tmp_path / "out").tolist() == pytest.approx(wanted, abs=1e-5)
    assert published_rewards(tmp_path / "out", CONVERSATIONS) == pytest.approx(wanted, abs=1e-5)


def test_vllm_reads_what_it_needs(tmp_path: Path, tiny_base: Path) -> None:
    """The fields that decide in vLLM and SGLang, and a head that a stock class loads without a word."""
    record = export_checkpoint(make_adapter(tmp_path / "lora", tiny_base), tmp_path / "out", "vllm")
    config = config_of(tmp_path / "out")
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert list(config["id2label"]) == ["0"]
    assert config["pad_token_id"] is not None
    assert config["pad_token_id"] != config["eos_token_id"]
    assert not list((tmp_path / "out").glob("adapter*"))
    assert not (tmp_path / "out" / "generation_config.json").exists()
    _, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert record.start[0].startswith("vllm serve ")
    assert "--dtype float32" in record.start[0]


@pytest.mark.parametrize("target", ["hf", "vllm", "openrlhf"])
def test_an_adapter_is_merged(tmp_path: Path, tiny_base: Path, target: Target) -> None:
    adapter = make_adapter(tmp_path / "lora", tiny_base)
    record = export_checkpoint(adapter, tmp_path / "out", target)
    assert record.merged
    assert record.largest_difference <= 1e-5
    np.testing.assert_allclose(rewards(tmp_path / "out"), rewards(adapter), atol=1e-5)
    kept = open_checkpoint(tmp_path / "out").record
    assert kept is not None
    assert (kept.data_fingerprints, kept.base_model) == (("d" * 64,), str(tiny_base))


def test_weights_keep_the_type_that_they_are_stored_in(tmp_path: Path) -> None:
    """A published model in bfloat16 with its head in float32 does not double, and does not round."""
    source = make_published(tmp_path / "rm", "llama")
    weights = load_file(source / "model.safetensors")
    halved = {name: tensor if "score" in name else tensor.bfloat16() for name, tensor in weights.items()}
    save_file(halved, source / "model.safetensors", metadata={"format": "pt"})
    record = export_checkpoint(source, tmp_path / "out", "hf")
    assert record.dtype == "bfloat16"
    assert record.largest_difference <= 1e-6
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as tensors:
        assert tensors.get_slice("score.weight").get_dtype() == "F32"
        assert tensors.get_slice("model.embed_tokens.weight").get_dtype() == "BF16"


def test_rounding_is_held_to_its_tolerance(tmp_path: Path, tiny_base: Path) -> None:
    """bfloat16 is within 0.03 standard deviations, or it is refused and nothing appears."""
    adapter = make_adapter(tmp_path / "lora", tiny_base)
    said = json.loads((adapter / "rewardsmith.json").read_text())
    (adapter / "rewardsmith.json").write_text(json.dumps(said | {"reward_std": 5.0}))
    record = export_checkpoint(adapter, tmp_path / "out", "vllm", dtype="bfloat16")
    assert record.tolerance == pytest.approx(0.03 * 5.0)
    assert 0 < record.largest_difference <= record.tolerance
    (adapter / "rewardsmith.json").write_text(json.dumps(said | {"reward_std": 1e-4}))
    with pytest.raises(ModelError, match=r"differ by up to .*\n  try: write --dtype float32"):
        export_checkpoint(adapter, tmp_path / "other", "vllm", dtype="bfloat16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora", "out"]


def test_a_sharded_head_is_renamed_in_its_shard(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base)
    save = transformers.PreTrainedModel.save_pretrained
    monkeypatch.setattr(
        transformers.PreTrainedModel, "save_pretrained", lambda *a, **k: save(*a, **k, max_shard_size="40KB")
    )
    export_checkpoint(model, tmp_path / "out", "openrlhf", value_head_prefix="value_head")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    np.testing.assert_allclose(rewards(tmp_path / "out"), rewards(model), atol=1e-6)


def test_a_taken_folder_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    model = make_checkpoint(tmp_path / "model", tiny_base)
    with pytest.raises(ModelError, match=r"model: it holds something already"):
        export_checkpoint(model, model, "hf")


def test_an_encoder_is_none_for_openrlhf(tmp_path: Path, tiny_base: Path) -> None:
    tokenizer = load_renderer(tiny_base, max_length=100).tokenizer
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=1
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="BertForSequenceClassification"):
        export_checkpoint(tmp_path / "bert", tmp_path / "out", "openrlhf")


@pytest.mark.parametrize("fault", ["head", "adapter"])
def test_an_adapter_that_lost_its_head_is_refused(tmp_path: Path, tiny_base: Path, fault: str) -> None:
    adapter = make_adapter(tmp_path / "lora", tiny_base)
    path = adapter / "adapter_model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if "score" not in name}
    if fault == "head":
        # As OpenRLHF leaves it: the LoRA matrices around the head, and no head.
        kept |= {"base_model.model.score.lora_A.weight": torch.ones(4, 32)}
        save_file(kept, path, metadata={"format": "pt"})
    else:
        path.rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors: .*(lacks the reward head|weights are missing)"):
        export_checkpoint(adapter, tmp_path / "out", "hf")
