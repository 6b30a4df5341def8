"""Weights come from the files, all of them, or the load is refused: names, shards, layers, heads, adapters, values."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from checkpoint_maker import make_checkpoint
from foreign_maker import make_published, published_rewards
from safetensors.torch import load_file, save_file

from conftest import make_base, make_tokenizer
from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import golden_conversations, open_checkpoint
from rewardsmith.modeling.loading import load_base, one_label_config
from rewardsmith.modeling.weights import compare_with_files, load_classifier
from rewardsmith.rendering import load_renderer
from rewardsmith.scoring import LocalScorer
from rewardsmith.spec import Spec

Change = Callable[[Path], None]
TEXTS = golden_conversations(conversational=True)


def renamed(change: Callable[[str], str]) -> Change:
    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save(folder, {change(name): one for name, one in weights.items()})

    return apply


def save(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    return lambda folder: save(folder, change(load_file(folder / "model.safetensors")))


def without(*parts: str) -> Change:
    return tensors(lambda found: {name: one for name, one in found.items() if not any(part in name for part in parts)})


def config(**fields: Any) -> Change:
    def apply(folder: Path) -> None:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(said | fields))

    return apply


def shards(folder: Path, *, lose: str = "", keep_file: bool = False) -> None:
    """Two shards and their index; `lose` takes a shard, or a tensor out of one, away."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    placed = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    for file, part in parts.items():
        if file != lose or keep_file:
            save_file({name: weights[name] for name in part if name != lose}, folder / file, metadata={"format": "pt"})


SOUND: dict[str, Change] = {
    "as saved": lambda folder: None,
    "shards": shards,
    "float16": tensors(lambda found: {name: one.half() for name, one in found.items()}),
    "old masks and rotary tables": tensors(
        lambda found: (
            found
            | {f"model.layers.{at}.self_attn.rotary_emb.inv_freq": torch.ones(4) for at in (0, 1)}
            | {"model.layers.0.attn.bias": torch.ones(1, 1, 8, 8)}
        )
    ),
    "a language-model head beside": tensors(lambda found: found | {"lm_head.weight": torch.ones(400, 32)}),
}
MAPPED: dict[str, Change] = {
    "torch.compile": renamed(lambda name: f"_orig_mod.{name}"),
    "torch.compile inside": renamed(lambda name: name.replace("model.", "model._orig_mod.")),
    "torch.compile by layer": renamed(lambda name: f"_orig_mod.{name}".replace("self_attn.", "_orig_mod.self_attn.")),
    "DDP": renamed(lambda name: f"module.{name}"),
    "DDP twice": renamed(lambda name: f"module.module.{name}"),
    "DDP around torch.compile": renamed(lambda name: f"module._orig_mod.{name}"),
    "torch.compile around DDP": renamed(lambda name: f"_orig_mod.module.{name}"),
    "FSDP": renamed(lambda name: f"_fsdp_wrapped_module.{name}".replace("mlp.", "mlp._fsdp_wrapped_module.")),
    "Lightning": renamed(lambda name: f"_forward_module.{name}"),
    "a VLM": renamed(lambda name: name.replace("model.", "model.language_model.")),
    "an old VLM": renamed(lambda name: name.replace("model.", "language_model.model.")),
    "peft": renamed(lambda name: f"base_model.model.{name}"),
    "a module around": renamed(lambda name: f"model.{name}" if name.startswith("model.") else name),
    "no prefix": renamed(lambda name: name.removeprefix("model.")),
}
REFUSED: dict[str, tuple[Change, str]] = {
    "another prefix": (renamed(lambda name: f"policy.{name}"), r"prefix that is not known, 'policy\.'"),
    "a lost shard": (
        lambda folder: shards(folder, lose="model-00002-of-00002.safetensors"),
        r"index\.json: names 1 of 2 files that are not there: model-00002-of-00002\.safetensors",
    ),
    "a tensor lost from a shard": (
        lambda folder: shards(folder, lose="model.norm.weight"),
        r"names 1 tensors that are not in the files it says: model\.norm\.weight",
    ),
    "a layer missing": (without("layers.1."), r"11 of 2\d weights are not in the files .*config\.json says 2 layers"),
    "half a layer missing": (without("layers.1.mlp"), r"3 of 2\d weights are not in the files \(model\.layers\.1\.mlp"),
    "one tensor missing": (without("norm.weight"), r"weights are not in the files \(model\.layers\.0\.input_layernorm"),
    "more layers in config": (config(num_hidden_layers=3, layer_types=["full_attention"] * 3), "says 3 layers, the"),
    "fewer layers in config": (
        config(num_hidden_layers=1, layer_types=["full_attention"]),
        r"11 in the files have no place .*says 1 layers, the files hold 2",
    ),
    "another width": (config(intermediate_size=96), r"6 have another shape .*is 64 × 32, not 96 × 32"),
    "another vocabulary": (config(vocab_size=300), r"embed_tokens\.weight is \d+ × 32, not 300 × 32"),
    "a tensor of nobody": (
        tensors(lambda found: found | {"extra.weight": torch.ones(2)}),
        r"no place \(extra\.weight\)",
    ),
    "a vision tower": (
        tensors(lambda found: found | {"model.visual.patch.weight": torch.ones(2)}),
        "vision-language model, config.json is of a text model",
    ),
    "an adapter inside": (
        tensors(lambda found: found | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 32)}),
        "an adapter was saved inside",
    ),
    "two of one": (
        tensors(lambda found: found | {"norm.weight": torch.ones(32)}),
        r"model\.norm\.weight.* both for the same weight|norm\.weight and model\.norm\.weight, both",
    ),
    "NaN": (
        tensors(lambda found: found | {"model.norm.weight": torch.full((32,), float("nan"))}),
        r"1 weights hold NaN or infinity \(model\.norm\.weight\)",
    ),
    "infinity": (
        tensors(lambda found: found | {"model.norm.weight": torch.full((32,), float("inf"))}),
        r"1 weights hold NaN or infinity",
    ),
    "whole numbers": (
        tensors(lambda found: found | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}),
        r"norm\.weight is stored as I8, and config\.json names no quantization",
    ),
    "8-bit floats": (
        tensors(lambda found: found | {"model.norm.weight": torch.ones(32).to(torch.float8_e4m3fn)}),
        r"stored as F8_E4M3",
    ),
    "cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-7]),
        r"model\.safetensors: it is cut off or damaged \(.* bytes",
    ),
    "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"model\.safetensors: it is empty"),
    "no tensor": (lambda folder: save(folder, {}), "it holds no tensor"),
    "Git LFS": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid\n"),
        "Git LFS pointer.*\n.*git lfs pull",
    ),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"there is no model\.safetensors, only pytorch_model\.bin: a pickle may run code",
    ),
    "nothing": (lambda folder: (folder / "model.safetensors").unlink(), r"there is no model\.safetensors"),
    "an index of nothing": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "other.safetensors"),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": []}'),
        ),
        "field 'weight_map': it names no weights",
    ),
    "an index of elsewhere": (
        lambda folder: (
            (folder / "model.safetensors").unlink(),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../base/model.safetensors"}}'),
        ),
        "is no file of this folder",
    ),
    "an embedding of zeros": (
        tensors(lambda found: {name: one * ("embed" not in name) for name, one in found.items()}),
        "the embedding of the tokens holds nothing but zeros",
    ),
    "an index beyond the folder": (
        config(transformers_weights="../base/model.safetensors"),
        r"field 'transformers_weights': is '\.\./base/model\.safetensors', which is no file of this folder",
    ),
    "a named file that is lost": (config(transformers_weights="gone.safetensors"), r"there is no gone\.safetensors"),
    "a head of one dimension": (
        tensors(lambda found: found | {"score.weight": torch.ones(32)}),
        r"its head is another: score\.weight is 32, a reward needs 1 × 32",
    ),
    "every name twice": (
        tensors(lambda found: found | {f"_orig_mod.{name}": one.clone() for name, one in found.items()}),
        "both for the same weight",
    ),
    "another numbering": (
        renamed(lambda name: name.replace("layers.1.", "layers.2.")),
        "11 of 25 weights are not in the files .*11 in the files have no place",
    ),
    "no head to divide by": (config(num_attention_heads=0), "cannot be loaded"),
    "pad beyond": (config(pad_token_id=400), r"field 'pad_token_id': is 400, and the vocabulary has \d+ tokens"),
}
HEADS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "two layers": (
        {"score.0.weight": torch.ones(32, 32), "score.2.weight": torch.ones(1, 32)},
        r"the head has score\.0",
    ),
    "a bias": ({"score.weight": torch.ones(1, 32), "score.bias": torch.ones(1)}, r"the head has score\.bias"),
    "TRL's value head": (
        {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)},
        r"the head has v_head\.summary\.bias",
    ),
    "a value head": ({"v_head.weight": torch.ones(1, 32)}, r"the head has v_head\.weight"),
    "five labels": ({"score.weight": torch.ones(5, 32)}, r"its head is another: score\.weight is 5 × 32"),
}


@pytest.fixture
def base(tmp_path: Path, tiny_base: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "base")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = make_published(tmp_path_factory.mktemp("published") / "rm", "qwen3")
    return folder, published_rewards(folder, TEXTS)


@pytest.fixture
def reward_model(tmp_path: Path, published: tuple[Path, list[float]]) -> Path:
    return shutil.copytree(published[0], tmp_path / "rm")


def load(base: Path, **spec: Any) -> Any:
    return load_base(Spec.model_validate(spec), base, load_renderer(str(base), max_length=64).tokenizer, seed=3)


@pytest.mark.parametrize("name", [*SOUND, *MAPPED])
def test_every_weight_of_a_base_comes_from_the_files(
    base: Path, tiny_base: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (SOUND | MAPPED)[name](base)
    with caplog.at_level(logging.WARNING):
        state = load(base).state_dict()
    for key, one in load_file(tiny_base / "model.safetensors").items():
        torch.testing.assert_close(state[key], one.half().float() if name == "float16" else one, atol=0, rtol=0)
    said = name in MAPPED and name not in ("no prefix", "a module around")  # upstream does these two itself
    assert ("is taken off" in caplog.text) == said


@pytest.mark.parametrize("name", [*SOUND, *MAPPED])
def test_a_reward_model_gives_the_rewards_of_its_card(
    reward_model: Path, published: tuple[Path, list[float]], name: str
) -> None:
    (SOUND | MAPPED)[name](reward_model)
    found = LocalScorer.load(reward_model).score(TEXTS)
    np.testing.assert_allclose(found, published[1], atol=5e-3 if name == "float16" else 1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_whole_is_refused_as_base_and_as_reward_model(base: Path, reward_model: Path, name: str) -> None:
    change, message = REFUSED[name]
    change(base)
    with pytest.raises(ModelError, match=message) as caught:
        load(base)
    assert "\n  try: " in str(caught.value)
    change(reward_model)
    with pytest.raises(ModelError, match=message):
        open_checkpoint(reward_model)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_cannot_be_held_is_refused_alike(base: Path, reward_model: Path, name: str) -> None:
    head, message = HEADS[name]
    change = tensors(lambda found: {key: one for key, one in found.items() if key != "score.weight"} | head)
    change(base)
    with pytest.raises(ModelError, match=message + r"[\s\S]*base_model\.head: new"):
        load(base)
    change(reward_model)
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(reward_model)
    assert "base_model.head" not in str(caught.value)
    # The way out that the message names: the head that any base without one gets.
    plain = load(base.parent / "base", base_model={"head": "new"})
    tensors(lambda found: {key: one for key, one in found.items() if key.startswith("model.")})(base)
    torch.testing.assert_close(plain.score.weight, load(base).score.weight, atol=0, rtol=0)


def test_a_head_that_can_be_held_is_kept_or_dropped(reward_model: Path) -> None:
    own = load_file(reward_model / "model.safetensors")["score.weight"]
    torch.testing.assert_close(load(reward_model).score.weight, own, atol=0, rtol=0)
    drawn = load(reward_model, base_model={"head": "new"}).score.weight
    assert not torch.equal(drawn, own)
    torch.testing.assert_close(drawn, load(reward_model, base_model={"head": "new"}).score.weight, atol=0, rtol=0)


def test_a_reward_head_of_zeros_is_refused(reward_model: Path) -> None:
    tensors(lambda found: {name: one * (name != "score.weight") for name, one in found.items()})(reward_model)
    with pytest.raises(ModelError, match="the reward head holds nothing but zeros: every text"):
        open_checkpoint(reward_model)


def test_a_fingerprint_without_the_new_field_stays(tmp_path: Path) -> None:
    """Runs of versions that did not know `head` still belong to their spec."""
    plain = Spec()
    assert plain.base_model.head == "keep"
    assert Spec.model_validate({"base_model": {"head": "new"}}).fingerprint() != plain.fingerprint()
    assert Spec.model_validate({"base_model": {"head": "keep"}}).fingerprint() == plain.fingerprint()


def test_memory_is_compared_with_the_files(reward_model: Path) -> None:
    """The planted fault: a weight that is not what the file says, as an unreported random one would be."""
    settings = one_label_config(reward_model)
    model = load_classifier(str(reward_model), settings, head="needed", dtype=torch.float32)
    assert compare_with_files(model, reward_model, settings).differ == ()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    found = compare_with_files(model, reward_model, settings)
    assert found.differ == ("model.layers.1.mlp.up_proj.weight",)
    assert found.tensors == len(load_file(reward_model / "model.safetensors"))


# ---------------------------------------------------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A LoRA reward model that peft saved, with weights that move rewards, and peft's own rewards."""
    folder = tmp_path_factory.mktemp("adapted")
    base, tokenizer = make_base(folder / "base"), make_tokenizer()
    torch.manual_seed(5)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj"])
    wrapped = peft.get_peft_model(model, lora)
    for name, one in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.3)
    wrapped.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    wrapped.eval()
    ids = [tokenizer.apply_chat_template(as_messages(one), return_tensors="pt")["input_ids"] for one in TEXTS]
    with torch.no_grad():
        # its template ends with a line break after EOS, and stock transformers reads the reward there
        return folder, np.array([float(wrapped(input_ids=one).logits) for one in ids])


def as_messages(conversation: Any) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in conversation]


@pytest.fixture
def adapter(tmp_path: Path, adapted: tuple[Path, np.ndarray]) -> Path:
    folder = shutil.copytree(adapted[0] / "adapter", tmp_path / "adapter")
    base = shutil.copytree(adapted[0] / "base", tmp_path / "base")
    settings(folder, base_model_name_or_path=str(base))
    return folder


def settings(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def adapter_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def adapter_names(change: Callable[[str], str]) -> Change:
    return lambda folder: adapter_tensors(folder, lambda found: {change(name): one for name, one in found.items()})


ADAPTERS: dict[str, Change] = {
    "as saved": lambda folder: None,
    "empty settings of a newer peft": lambda folder: settings(folder, use_wonder=False, wonder_config=None),
    "torch.compile": adapter_names(lambda name: name.replace("base_model.model.", "base_model.model._orig_mod.")),
    "torch.compile around": adapter_names(lambda name: f"_orig_mod.{name}"),
    "DDP": adapter_names(lambda name: f"module.{name}"),
    "another class": adapter_names(lambda name: name.replace("base_model.model.model.", "base_model.model.")),
    "no peft prefix": adapter_names(lambda name: name.removeprefix("base_model.model.")),
    "a VLM": adapter_names(lambda name: name.replace("model.model.layers", "model.model.language_model.layers")),
    "base under torch.compile": lambda folder: renamed(lambda name: f"_orig_mod.{name}")(folder.parent / "base"),
    "base has another head": lambda folder: tensors(lambda found: found | {"score.weight": torch.ones(5, 32)})(
        folder.parent / "base"
    ),
}
BAD_ADAPTERS: dict[str, tuple[Change, str]] = {
    "half the names": (
        lambda folder: adapter_tensors(folder, lambda found: {k: v for k, v in found.items() if ".layers.0." not in k}),
        r"6 weights of the adapter are not in the file",
    ),
    "another prefix": (
        adapter_names(lambda name: name.replace("layers", "blocks")),
        r"12 weights of the adapter are not in the file .*12 in the file have no place",
    ),
    "another rank": (lambda folder: settings(folder, r=8), r"12 have another shape .*is 4 × 32, not 8 × 32"),
    "fewer targets": (lambda folder: settings(folder, target_modules=["q_proj"]), r"8 in the file have no place"),
    "more targets": (
        lambda folder: settings(folder, target_modules=["q_proj", "v_proj", "up_proj", "k_proj"]),
        r"4 weights of the adapter are not in the file",
    ),
    "targets of nobody": (
        lambda folder: settings(folder, target_modules=["query"]),
        "cannot be put on its base: (Target|No) modules",
    ),
    "another base": (
        lambda folder: config(num_hidden_layers=1, layer_types=["full_attention"])(folder.parent / "base"),
        "11 in the files have no place",
    ),
    "no head": (
        lambda folder: adapter_tensors(folder, lambda found: {k: v for k, v in found.items() if "score" not in k}),
        "lacks the reward head",
    ),
    "five labels": (
        lambda folder: adapter_tensors(
            folder, lambda found: {k: v.repeat(5, 1) if "score" in k else v for k, v in found.items()}
        ),
        r"score\.weight is 5 × 32, not 1 × 32",
    ),
    "NaN": (
        lambda folder: adapter_tensors(
            folder, lambda found: {k: v * float("nan") if "lora_B" in k else v for k, v in found.items()}
        ),
        "6 weights hold NaN or infinity",
    ),
    "cut off": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(
            (folder / "adapter_model.safetensors").read_bytes()[:-3]
        ),
        "cut off or damaged",
    ),
    "prompt tuning": (
        lambda folder: settings(folder, peft_type="PROMPT_TUNING", num_virtual_tokens=3),
        r"field 'peft_type': is 'PROMPT_TUNING': only adapters that add to the weights",
    ),
    "no scale": (lambda folder: settings(folder, lora_alpha=None), "field 'lora_alpha': is None"),
    "a scale of zero": (lambda folder: settings(folder, lora_alpha=0), "field 'lora_alpha': is 0"),
    "no base": (lambda folder: settings(folder, base_model_name_or_path=None), "does not say which base"),
    "a head of zeros": (
        lambda folder: save_file(
            {
                name: one * ("score" not in name)
                for name, one in load_file(folder / "adapter_model.safetensors").items()
            },
            folder / "adapter_model.safetensors",
        ),
        "the reward head holds nothing but zeros",
    ),
    "no kind said": (lambda folder: settings(folder, peft_type=None), "field 'peft_type': is None"),
    "a setting of a newer peft": (
        lambda folder: settings(folder, use_wonder=True),
        "field 'use_wonder': is True, which the installed peft",
    ),
    "no kind": (lambda folder: settings(folder, peft_type="NOTHING"), r"adapter_config\.json"),
    "a lost base": (lambda folder: shutil.rmtree(folder.parent / "base"), r"base"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_gives_the_rewards_of_peft_each_time(
    adapter: Path, adapted: tuple[Path, np.ndarray], name: str
) -> None:
    ADAPTERS[name](adapter)
    one, two = (LocalScorer.load(adapter).score(TEXTS) for _ in range(2))
    np.testing.assert_allclose(one, adapted[1], atol=1e-5)
    assert one.tolist() == two.tolist()


@pytest.mark.parametrize("name", BAD_ADAPTERS)
def test_an_adapter_that_is_not_whole_is_refused(adapter: Path, name: str) -> None:
    change, message = BAD_ADAPTERS[name]
    change(adapter)
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(adapter)
    assert "\n  try: " in str(caught.value)


@pytest.mark.parametrize("kind", ["LoHaConfig", "LoKrConfig", "IA3Config", "OFTConfig", "DoRA"])
def test_other_adapters_to_weights_give_the_rewards_of_peft(tmp_path: Path, tiny_base: Path, kind: str) -> None:
    tokenizer = make_tokenizer()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1)
    fields: dict[str, Any] = {"task_type": "SEQ_CLS", "target_modules": ["q_proj", "down_proj"]}
    if kind == "IA3Config":
        fields["feedforward_modules"] = ["down_proj"]
    if kind == "OFTConfig":
        fields["oft_block_size"] = 8
    torch.manual_seed(2)
    made = peft.LoraConfig(use_dora=True, **fields) if kind == "DoRA" else getattr(peft, kind)(**fields)
    wrapped = peft.get_peft_model(model, made)
    for name, one in wrapped.named_parameters():
        if one.requires_grad and "score" not in name:
            torch.nn.init.uniform_(one, 0.02, 0.3)
    wrapped.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = [tokenizer.apply_chat_template(as_messages(one), return_tensors="pt")["input_ids"] for one in TEXTS]
    wrapped.eval()
    with torch.no_grad():
        wanted = [float(wrapped(input_ids=one).logits) for one in ids]
    np.testing.assert_allclose(LocalScorer.load(tmp_path).score(TEXTS), wanted, atol=1e-5)


def test_an_adapter_is_no_base(adapter: Path, tiny_base: Path) -> None:
    """transformers would load the adapter's own base, or put the adapter on this one, and say neither."""
    renderer = load_renderer(str(tiny_base), max_length=64)
    shutil.copyfile(adapter / "adapter_config.json", adapter.parent / "base" / "adapter_config.json")
    for folder in (adapter, adapter.parent / "base"):
        with pytest.raises(ModelError, match="it holds an adapter, and a whole model is needed here"):
            load_base(Spec(), folder, renderer.tokenizer, seed=3)


def test_an_adapter_in_memory_is_compared_with_both_files(adapter: Path) -> None:
    opened = open_checkpoint(adapter)
    base = adapter.parent / "base"
    found = compare_with_files(opened.model, adapter, one_label_config(base), str(base))
    assert found.differ == ()
    assert found.tensors == len(load_file(base / "model.safetensors")) + len(
        load_file(adapter / "adapter_model.safetensors")
    )
    with torch.no_grad():
        opened.model.base_model.model.model.layers[0].mlp.up_proj.lora_A["default"].weight[0, 0] += 1e-3
        opened.model.base_model.model.model.norm.weight[0] += 1e-3
    differ = compare_with_files(opened.model, adapter, one_label_config(base), str(base)).differ
    assert set(differ) == {"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "model.norm.weight"}


# ----------------------------------------------------------------------------------------------------- architectures

_SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
_SIZES |= {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "gemma2": {"head_dim": 8},
    "phi3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mixtral": {"num_key_value_heads": 2, **_EXPERTS},
    "qwen3_moe": {"head_dim": 8, **_EXPERTS},
    "gpt_oss": {"head_dim": 8, **_EXPERTS},
    "roberta": {},
    "deberta-v2": {},
    "modernbert": {},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_sound_model_of_every_family_loads(tmp_path: Path, kind: str) -> None:
    """From a language model, from a bare model and from a classifier; and each weight is that of the file."""
    settings = transformers.AutoConfig.for_model(kind, **_SIZES | ARCHITECTURES[kind])
    torch.manual_seed(0)
    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModelForMaskedLM, transformers.AutoModel):
        if kind == "roberta" and auto is transformers.AutoModelForCausalLM:
            continue  # it has one, for decoders; the published models are masked language models
        try:
            language = auto.from_config(settings)
        except ValueError:
            continue
        break
    language.save_pretrained(tmp_path / "lm")
    language.base_model.save_pretrained(tmp_path / "bare")
    for name in ("lm", "bare"):
        model = load_classifier(
            str(tmp_path / name), one_label_config(tmp_path / name), head="base", dtype=torch.float32
        )
        own = {key.rpartition("embed")[2]: one for key, one in language.base_model.state_dict().items()}
        held = {key.rpartition("embed")[2]: one for key, one in model.base_model.state_dict().items()}
        for key in own.keys() & held.keys():
            torch.testing.assert_close(held[key], own[key], atol=0, rtol=0)
    model.save_pretrained(tmp_path / "rm")
    settings = one_label_config(tmp_path / "rm")
    again = load_classifier(str(tmp_path / "rm"), settings, head="needed", dtype=torch.float32)
    assert compare_with_files(again, tmp_path / "rm", settings).differ == ()
    lost = min(name for name in load_file(tmp_path / "rm" / "model.safetensors") if re_layer(name))
    without(lost)(tmp_path / "rm")
    with pytest.raises(ModelError, match=r"not in the files|another shape"):
        load_classifier(str(tmp_path / "rm"), settings, head="needed", dtype=torch.float32)


def re_layer(name: str) -> bool:
    return any(part in f".{name}" for part in (".layers.1.", ".h.1.", ".layer.1.", ".block.1."))


def test_our_own_checkpoint_whose_head_or_layer_is_lost_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", tiny_base)
    without("layers.1.")(folder)
    with pytest.raises(ModelError, match="says 2 layers, the files hold 1"):
        open_checkpoint(folder)
