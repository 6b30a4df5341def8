"""The folder that OpenRLHF starts from: weights as they are, our tokenizer, no code, no dropout, no head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from conftest import make_base, make_tokenizer
from rewardsmith.errors import ModelError
from rewardsmith.modeling.loading import load_base
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.setup import without_dropout, write_start


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "given"))


def change_config(folder: Path, name: str = "config.json", **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def start(base: Path, folder: Path, *, renderer: Renderer | None = None, shared: bool = False) -> dict[str, Any]:
    write_start(folder, Spec(), str(base), renderer or load_renderer(str(base), max_length=64), shared=shared)
    return json.loads((folder / "config.json").read_text())


def test_weights_are_linked_and_the_tokenizer_is_ours(base: Path, tmp_path: Path) -> None:
    change_config(base, attention_dropout=0.1, mean=1.0, std=2.0, normalize_reward=True)
    config = start(base, tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    assert weights.is_symlink()
    assert weights.resolve() == (base / "model.safetensors").resolve()
    assert config["attention_dropout"] == 0.0
    assert not {"mean", "std", "normalize_reward", "value_head_prefix"} & config.keys()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")
    assert config["pad_token_id"] == tokenizer.pad_token_id != config["eos_token_id"] == tokenizer.eos_token_id
    renderer = load_renderer(str(base), max_length=64)
    assert tokenizer.chat_template == renderer.tokenizer.chat_template
    assert json.loads((base / "config.json").read_text())["attention_dropout"] == 0.1  # the user's own stays


def test_what_was_there_before_is_gone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model-00002-of-00002.safetensors").write_bytes(b"old")
    start(base, tmp_path / "base")
    assert [path.name for path in (tmp_path / "base").glob("*.safetensors")] == ["model.safetensors"]


def test_pickles_and_code_are_not_handed_on(base: Path, tmp_path: Path) -> None:
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    (base / "modeling_own.py").write_text("raise SystemExit")
    start(base, tmp_path / "base")
    assert not [path for path in (tmp_path / "base").iterdir() if path.suffix in (".bin", ".py")]


def test_a_local_folder_is_linked_for_other_machines_too(base: Path, tmp_path: Path) -> None:
    start(base, tmp_path / "base", shared=True)
    assert (tmp_path / "base" / "model.safetensors").is_symlink()


def test_a_new_pad_token_gets_an_embedding(tmp_path: Path) -> None:
    base = make_base(tmp_path / "given")
    tokenizer = make_tokenizer(pad=None)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|x{i}|>" for i in range(400 - len(tokenizer))]})
    renderer = Renderer.from_tokenizer(without_reserved_pad(tokenizer), max_length=64)
    rows = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    if len(renderer.tokenizer) <= len(rows):
        pytest.fail("the tokenizer has to be larger than the embedding here")
    config = start(base, tmp_path / "base", renderer=renderer)
    written = load_file(tmp_path / "base" / "model.safetensors")["model.embed_tokens.weight"]
    assert len(written) == len(renderer.tokenizer) == config["vocab_size"]
    assert torch.equal(written[: len(rows)], rows)
    assert config["pad_token_id"] == renderer.pad_token_id >= len(rows)


def without_reserved_pad(tokenizer: Any) -> Any:
    """A tokenizer that has no token to pad with, so that one is added."""
    content = json.loads(tokenizer.backend_tokenizer.to_str().replace("<|pad|>", "<|none|>"))
    from tokenizers import Tokenizer

    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token="<|im_end|>"
    )
    made.chat_template = tokenizer.chat_template
    return made


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_repository_with_code_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    renderer = load_renderer(str(base), max_length=64)
    change_config(base, name, auto_map={"AutoModel": "modeling_own.Own"})
    with pytest.raises(ModelError) as refused:
        start(base, tmp_path / "base", renderer=renderer)
    assert refused.value.where == f"{base / name}, field 'auto_map'"
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("architecture", ["Qwen3ForSequenceClassification", "RewardModel"])
def test_a_reward_model_is_no_start(base: Path, tmp_path: Path, architecture: str) -> None:
    change_config(base, architectures=[architecture])
    with pytest.raises(ModelError, match="draw its head anew"):
        start(base, tmp_path / "base")


def test_an_encoder_is_refused(base: Path, tmp_path: Path) -> None:
    renderer = load_renderer(str(base), max_length=64)
    tiny = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 400,
    }
    transformers.BertModel(transformers.BertConfig(**tiny)).save_pretrained(base)
    with pytest.raises(ModelError, match="decoders with a linear head"):
        start(base, tmp_path / "base", renderer=renderer)


def test_other_weight_files_are_refused(base: Path, tmp_path: Path) -> None:
    (base / "model.safetensors").rename(base / "model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        start(base, tmp_path / "base")


def test_shards_keep_their_index(base: Path, tmp_path: Path) -> None:
    weights = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(weights)}
    for shard in set(names.values()):
        save_file({name: weights[name] for name in weights if names[name] == shard}, base / shard, {"format": "pt"})
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    start(base, tmp_path / "base")
    loaded = load_base(Spec(), tmp_path / "base", load_renderer(str(base), max_length=64).tokenizer, seed=0)
    assert torch.equal(loaded.model.embed_tokens.weight, weights["model.embed_tokens.weight"])


def test_a_wrappers_prefix_is_not_handed_on(base: Path, tmp_path: Path) -> None:
    """OpenRLHF would draw every weight at random that it does not find."""
    weights = load_file(base / "model.safetensors")
    save_file({f"_orig_mod.{name}": one for name, one in weights.items()}, base / "model.safetensors", {"format": "pt"})
    start(base, tmp_path / "base")
    found = load_file(tmp_path / "base" / "model.safetensors")
    assert all(torch.equal(found[name], one) for name, one in weights.items() if name.startswith("model."))


def test_a_head_is_dropped_or_refused(base: Path, tmp_path: Path) -> None:
    weights = load_file(base / "model.safetensors")
    save_file(weights | {"v_head.weight": torch.ones(1, 32)}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"the head has v_head\.weight[\s\S]*base_model\.head: new"):
        start(base, tmp_path / "base")
    spec = Spec.model_validate({"base_model": {"head": "new"}})
    write_start(tmp_path / "base", spec, str(base), load_renderer(str(base), max_length=64), shared=False)
    assert "v_head.weight" not in load_file(tmp_path / "base" / "model.safetensors")


def test_dropout_of_every_name_is_off() -> None:
    config = {"attention_dropout": 0.1, "resid_pdrop": 0.2, "rope": {"factor": 2.0}, "text_config": {"embd_pdrop": 0.3}}
    assert without_dropout(config) == {
        "attention_dropout": 0.0,
        "resid_pdrop": 0.0,
        "rope": {"factor": 2.0},
        "text_config": {"embd_pdrop": 0.0},
    }
    assert without_dropout({"use_dropout": True, "classifier_dropout": None}) == {
        "use_dropout": True,
        "classifier_dropout": None,
    }
