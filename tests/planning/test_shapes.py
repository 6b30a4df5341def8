"""Shapes from configs: equal to what the modules themselves and peft count."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import transformers

from rewardsmith.errors import ModelError
from rewardsmith.modeling.shapes import read_shape, shape_of

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DENSE = {
    "llama": transformers.LlamaConfig(**SMALL),
    "qwen3": transformers.Qwen3Config(**SMALL, head_dim=24),
    "qwen2": transformers.Qwen2Config(**SMALL),
    "gemma2": transformers.Gemma2Config(**SMALL, head_dim=16),
    "phi3": transformers.Phi3Config(**SMALL),
    "gpt_neox": transformers.GPTNeoXConfig(**SMALL),
}
EXPERTS = transformers.Qwen3MoeConfig(
    **SMALL, head_dim=16, moe_intermediate_size=32, num_experts=8, num_experts_per_tok=2
)


def real(config: Any) -> Any:
    config.num_labels = 1
    return transformers.AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("family", DENSE)
def test_parameters_are_those_of_the_modules(family: str) -> None:
    config = DENSE[family]
    shape, model = shape_of(config), real(config)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    matrices = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    head = model.get_submodule("score" if hasattr(model, "score") else "classifier").weight.numel()
    assert shape.active == sum(part.weight.numel() for part in matrices) - head
    assert shape.largest_table == 500 * 64
    assert (shape.layers, shape.hidden, shape.mlp) == (3, 64, 160)


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "v_proj"]])
def test_adapters_are_as_large_as_pefts(family: str, modules: Any) -> None:
    if modules != "all-linear" and family in ("phi3", "gpt_neox"):
        modules = ["dense", "o_proj"]
    lora = peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS, r=4, target_modules=modules, bias="none")
    model = peft.get_peft_model(real(DENSE[family]), lora)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert shape_of(DENSE[family]).adapter_parameters(4, modules) == trained


def test_a_layer_by_hand() -> None:
    shape = shape_of(DENSE["qwen3"])
    # queries 64·96, keys and values 64·48 each, output 96·64, three matrices of the MLP 64·160
    assert shape.active == 3 * (64 * 96 + 2 * 64 * 48 + 96 * 64 + 3 * 64 * 160)
    # two norms of 64, two of a head of 24
    assert shape.layer_parameters == shape.active // 3 + 2 * 64 + 2 * 24
    assert (shape.attention, shape.keys, shape.head_norms, shape.norms) == (96, 48, 144, 2)
    assert (shape.readers, shape.gated, shape.experts, shape.no_tree) == (5, True, 0, None)


def test_of_experts_a_token_passes_some() -> None:
    shape = shape_of(EXPERTS)
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64
    router = 8 * 64
    assert shape.active == 3 * (attention + router + 2 * 3 * 64 * 32)
    assert shape.parameters > 2 * shape.active
    assert (shape.experts, shape.mlp) == (2, 64)


def test_what_is_not_gated_or_not_causal() -> None:
    neox = shape_of(DENSE["gpt_neox"])
    assert (neox.gated, neox.layer_norm, neox.readers) == (False, True, 2)
    bert = shape_of(transformers.BertConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=90))
    assert "encoder" in str(bert.no_tree)


def test_a_config_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match=r"base_model\.id: no such folder .*nothing"):
        read_shape(str(tmp_path / "nothing"))


def test_a_model_without_a_reward_head() -> None:
    with pytest.raises(ModelError, match="no reward head"):
        shape_of(transformers.CLIPConfig())
