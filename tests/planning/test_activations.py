"""The activation formula against what autograd really keeps: the bytes of saved tensors, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from rewardsmith.modeling.layouts import PairIds, choose_layout
from rewardsmith.modeling.reward_head import install_reward_forward
from rewardsmith.modeling.shapes import ModelShape, shape_of
from rewardsmith.planning.memory import Adapter, Numerics, activation_memory, layer_bytes

TOKENS = 404
TYPES = {
    "float32": (torch.float32, False),
    "autocast": (torch.float32, True),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16 under autocast": (torch.bfloat16, True),
}
FAMILIES: dict[str, Any] = {
    "qwen3": (transformers.Qwen3Config, {"head_dim": 24}),
    "llama": (transformers.LlamaConfig, {}),
    "mistral": (transformers.MistralConfig, {"sliding_window": None}),
}
OTHERS: dict[str, Any] = {
    "olmo2": (transformers.Olmo2Config, {}),
    "phi3": (transformers.Phi3Config, {}),
    "gpt_neox": (transformers.GPTNeoXConfig, {}),
}


def config_of(kind: Any, more: dict[str, Any], layers: int) -> Any:
    return kind(
        vocab_size=512, hidden_size=64, intermediate_size=192, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2, num_labels=1, **more,
    )  # fmt: skip


def saved_bytes(config: Any, layout: str, dtype: Any, autocast: bool, lora: bool, checkpointing: bool = False) -> int:
    """Bytes of all storages that a forward pass over two pairs without a common prefix keeps, parameters left out."""
    model = transformers.AutoModelForSequenceClassification.from_config(config).to(dtype)
    model = install_reward_forward(model)
    if lora:
        wanted = peft.LoraConfig(task_type="SEQ_CLS", r=8, target_modules="all-linear", bias="none")
        model = peft.get_peft_model(model, wanted)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    draw = np.random.default_rng(0)
    pairs = [PairIds(*(draw.integers(1, 500, 101).astype(np.int32) for _ in range(2))) for _ in range(2)]
    (part,) = choose_layout(layout, model, 0).cut(pairs, 1 << 20)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with saving, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        rewards = model(**part.inputs()).logits
    assert rewards.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def numerics_of(types: str, layout: str) -> Numerics:
    dtype, autocast = TYPES[types]
    weights = 4 if dtype == torch.float32 else 2
    return Numerics(weights, 2 if autocast or weights == 2 else 4, autocast, exact_attention=layout == "tree")


def casts_of(shape: ModelShape, numerics: Numerics, lora: bool) -> float:
    """Weights of one layer, and of its adapters, in the compute type."""
    found = shape.active * 2 if numerics.autocast and numerics.weights == 4 else 0
    if lora and numerics.autocast:
        found += sum(linear.copies * 8 * (linear.inputs + linear.outputs) for linear in shape.linears) * 2
    return found / shape.layers


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("layout", ["tree", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_saves_what_the_formula_says_to_the_byte(family: str, layout: str, types: str, lora: bool) -> None:
    kind, more = FAMILIES[family]
    two, three = (saved_bytes(config_of(kind, more, layers), layout, *TYPES[types], lora) for layers in (2, 3))
    shape, numerics = shape_of(config_of(kind, more, 3)), numerics_of(types, layout)
    expected = TOKENS * layer_bytes(shape, numerics, Adapter(8) if lora else None) + casts_of(shape, numerics, lora)
    assert three - two == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_are_near(family: str) -> None:
    kind, more = OTHERS[family]
    layout = "padded"
    two, three = (saved_bytes(config_of(kind, more, layers), layout, torch.float32, False, False) for layers in (2, 3))
    expected = TOKENS * layer_bytes(shape_of(config_of(kind, more, 3)), Numerics())
    assert three - two == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_a_whole_model_is_within_a_tenth(layout: str, types: str, lora: bool) -> None:
    kind, more = FAMILIES["qwen3"]
    config = config_of(kind, more, 6)
    found = saved_bytes(config, layout, *TYPES[types], lora)
    shape, numerics = shape_of(config), numerics_of(types, layout)
    adapter = Adapter(8) if lora else None
    held = activation_memory(shape, numerics, tokens=TOKENS, adapter=adapter, tree=layout == "tree")
    adapters = casts_of(shape, numerics, lora) * shape.layers - held.casts
    assert held.saved + held.casts + adapters == pytest.approx(found, rel=0.1)


def test_checkpointing_keeps_the_layers_inputs_alone() -> None:
    kind, more = FAMILIES["llama"]
    two, three = (
        saved_bytes(config_of(kind, more, layers), "padded", torch.float32, False, False, checkpointing=True)
        for layers in (2, 3)
    )
    assert three - two == TOKENS * 64 * 4
    shapes = [shape_of(config_of(kind, more, layers)) for layers in (2, 3)]
    small, large = (activation_memory(shape, Numerics(), tokens=TOKENS, checkpointing=True).saved for shape in shapes)
    assert large - small == TOKENS * 64 * 4


def test_bytes_grow_with_tokens_and_shrink_with_checkpointing() -> None:
    kind, more = FAMILIES["llama"]
    shape = shape_of(config_of(kind, more, 12))
    one, two = (activation_memory(shape, Numerics(), tokens=tokens) for tokens in (100, 200))
    assert two.total == pytest.approx(2 * one.total)
    assert activation_memory(shape, Numerics(), tokens=100, checkpointing=True).total < one.total / 3
