"""Attention over trees equals attention over each sequence alone: values and gradients, by kernel and by model."""

from __future__ import annotations

import copy
import math
import re
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import choose_layout, supports_tree, tree_matches_padded
from rewardsmith.modeling.reward_head import restrict_last_layer
from rewardsmith.modeling.tree import attention
from rewardsmith.modeling.tree.attention import TREE_ATTENTION, dense_tree_attention, to_model_inputs
from rewardsmith.modeling.tree.calls import BLOCK, CallPlan, plan_calls, plan_reward_calls, planned_attention
from rewardsmith.modeling.tree.token_tree import Pack, TreeLayout, pack_pairs, pack_sequences

WINDOWS = (None, 40, 7)


def random_sequences(seed: int, prompts: int = 4) -> list[list[int]]:
    """Trees of up to three levels, with runs shorter and longer than a block of the kernel, and texts within texts."""
    draw = np.random.default_rng(seed)
    sequences = []
    for _ in range(prompts):
        prompt = draw.integers(0, 50, draw.choice([3, 40, 2 * BLOCK + 9])).tolist()
        for _ in range(draw.integers(1, 4)):
            opening = prompt + draw.integers(0, 50, draw.choice([1, 10, BLOCK + 30])).tolist()
            ends = draw.choice([0, 1, 20, 70], size=draw.integers(1, 4))
            sequences += [opening + draw.integers(0, 50, size).tolist() for size in ends]
    return sequences


def random_layout(seed: int) -> TreeLayout:
    (pack,) = pack_sequences(random_sequences(seed), 10**9, min_shared=1)
    return pack.layout


def random_qkv(length: int, dtype: torch.dtype = torch.float64, heads: int = 4, kv_heads: int = 2) -> list[Tensor]:
    """(1, heads, T, 8) views of (1, T, heads, 8), as models make them."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, length, number, 8) for number in (heads, kv_heads, kv_heads)]
    made = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensor.transpose(1, 2).requires_grad_() for tensor in made]


def plain_attention(query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, window: int | None) -> Tensor:
    """(T, H, D), one query after the other, each over the keys of its own sequence, by the textbook formula."""
    groups = query.shape[1] // key.shape[1]
    rows = []
    for token in range(len(layout)):
        seen = [k for node in layout.nodes if node.start <= token < node.stop for k in range(node.start, node.end)]
        seen = [k for k in seen if k <= token]
        seen = seen[-window:] if window else seen
        heads = []
        for head in range(query.shape[1]):
            scores = key[0, head // groups, seen] @ query[0, head, token] / math.sqrt(query.shape[-1])
            heads.append(scores.softmax(0) @ value[0, head // groups, seen])
        rows.append(torch.stack(heads))
    return torch.stack(rows)


def covered(plan: CallPlan, shape: tuple[int, int]) -> np.ndarray:
    """How often the plan computes each (query, key)."""
    count = np.zeros(shape, dtype=int)
    for call in (*plan.own, *plan.cross):
        assert call.q_start < call.q_end  # the kernel crashes on nothing
        assert call.k_start < call.k_end
        seen = np.ones((call.q_end - call.q_start, call.k_end - call.k_start), dtype=bool)
        if call.causal:
            assert call.q_start == call.k_start
            seen = np.tril(seen)
        if call.mask is not None:
            seen &= call.mask.numpy() == 0
        count[call.q_start : call.q_end, call.k_start : call.k_end] += seen
    return count


# --- the plan


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(WINDOWS))
def test_plan_computes_each_allowed_pair_once_and_no_other(seed: int, window: int | None):
    layout = random_layout(seed)
    plan = plan_calls(layout, window)
    expected = layout.may_attend(slice(None), slice(None), window)
    np.testing.assert_array_equal(covered(plan, expected.shape), expected)
    own = sorted((call.q_start, call.q_end) for call in plan.own)
    assert own[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(own))
    assert own[-1][1] == len(layout)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(WINDOWS))
def test_plan_of_the_last_layer_computes_the_rows_that_are_read(seed: int, window: int | None):
    layout = random_layout(seed)
    expected = layout.may_attend(layout.reward_positions, slice(None), window)
    np.testing.assert_array_equal(covered(plan_reward_calls(layout, window), expected.shape), expected)


def test_plan_does_not_compute_what_nobody_sees():
    """A trunk of 200 and two branches of 100: less than 0.7 of what two whole causal squares of 300 take."""
    trunk, *branches = np.split(np.arange(400), [200, 300])
    (pack,) = pack_sequences([np.append(trunk, branch) for branch in branches], 10**9)
    plan = plan_calls(pack.layout)
    computed = sum((call.q_end - call.q_start) * (call.k_end - call.k_start) for call in (*plan.own, *plan.cross))
    assert computed <= 0.7 * 2 * 300 * 300
    assert len(plan.cross) == 1


def test_plan_is_made_once_for_layers_that_see_everything():
    layout = random_layout(0)
    assert plan_calls(layout, None) is plan_calls(layout, 10**6)
    assert plan_calls(layout, None) is not plan_calls(layout, 7)


# --- the kernels


@pytest.mark.parametrize("window", WINDOWS)
def test_dense_reference_is_the_textbook_formula(window: int | None):
    (pack,) = pack_sequences(random_sequences(3, prompts=1), 10**9, min_shared=1)
    query, key, value = random_qkv(len(pack))
    dense = dense_tree_attention(query, key, value, pack.layout, 8**-0.5, window=window)
    torch.testing.assert_close(dense[0], plain_attention(query, key, value, pack.layout, window))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("seed", range(4))
def test_calls_equal_the_dense_reference(seed: int, window: int | None):
    layout = random_layout(seed)
    inputs = random_qkv(len(layout))
    ours = planned_attention(*inputs, plan_calls(layout, window), scale=0.3)
    dense = dense_tree_attention(*inputs, layout, 0.3, window=window)
    upstream = torch.randn(dense.shape, dtype=dense.dtype, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours, dense, rtol=1e-11, atol=1e-11)
    ours_grads, dense_grads = (torch.autograd.grad(out, inputs, upstream) for out in (ours, dense))
    torch.testing.assert_close(ours_grads, dense_grads, rtol=1e-10, atol=1e-10)


def test_calls_equal_the_dense_reference_at_the_rewards_only():
    layout = random_layout(1)
    query, key, value = random_qkv(len(layout))
    rows = torch.from_numpy(layout.reward_positions)
    ours = planned_attention(query[:, :, rows], key, value, plan_reward_calls(layout), scale=0.3)
    dense = dense_tree_attention(query, key, value, layout, 0.3)[:, rows]
    torch.testing.assert_close(ours, dense, rtol=1e-11, atol=1e-11)
    ours_grads, dense_grads = (torch.autograd.grad(out.square().sum(), (query, key, value)) for out in (ours, dense))
    torch.testing.assert_close(ours_grads, dense_grads, rtol=1e-10, atol=1e-10)


def test_bf16_is_merged_without_losing_more_than_bf16_does():
    layout = random_layout(2)
    exact = random_qkv(len(layout))
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    ours = planned_attention(*low, plan_calls(layout), scale=0.3)
    dense = dense_tree_attention(*exact, layout, 0.3)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), dense, rtol=2e-2, atol=2e-2)
    ours.float().square().sum().backward()
    dense.square().sum().backward()
    for mine, true in zip(low, exact, strict=True):
        assert mine.grad.dtype == torch.bfloat16
        assert (mine.grad.double() - true.grad).norm() <= 2e-2 * true.grad.norm()


def test_one_head_for_each_query_head():
    layout = random_layout(0)
    inputs = random_qkv(len(layout), heads=3, kv_heads=3)
    dense = dense_tree_attention(*inputs, layout, 0.3)
    torch.testing.assert_close(planned_attention(*inputs, plan_calls(layout), 0.3), dense, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("window", [None, 7])
def test_soft_capping_is_computed_tree_by_tree(window: int | None):
    layout = random_layout(0)
    inputs = random_qkv(len(layout))
    ours, _ = attention.tree_attention(
        torch.nn.Identity(), *inputs, None, 0.3, tree_layout=layout, softcap=2.0, sliding_window=window
    )
    dense = dense_tree_attention(*inputs, layout, 0.3, window=window, softcap=2.0)
    torch.testing.assert_close(ours, dense)
    assert not torch.allclose(dense, dense_tree_attention(*inputs, layout, 0.3, window=window))


def test_dropout_falls_on_weights_and_keeps_their_mean():
    layout = pack_sequences([[1, 2, 3, 4, 5], [1, 2, 6, 7], [8, 9]], 100, min_shared=1)[0].layout
    query, key, value = random_qkv(len(layout))
    torch.manual_seed(0)
    runs = [
        attention.tree_attention(torch.nn.Identity(), query, key, value, None, 0.3, 0.5, tree_layout=layout)[0].detach()
        for _ in range(2000)
    ]
    expected = dense_tree_attention(query, key, value, layout, 0.3)
    assert not torch.equal(runs[0], runs[1])
    assert (torch.stack(runs).mean(0) - expected).abs().max() < 0.1


def test_layout_of_other_inputs_is_refused():
    layout = random_layout(0)
    query, key, value = random_qkv(len(layout) + 1)
    with pytest.raises(ModelError, match=f"layout of {len(layout)} tokens"):
        attention.tree_attention(torch.nn.Identity(), query, key, value, None, tree_layout=layout)


def test_attention_sinks_are_refused():
    query, key, value = random_qkv(4)
    with pytest.raises(ModelError, match="sinks"):
        attention.tree_attention(torch.nn.Identity(), query, key, value, None, s_aux=torch.zeros(4))


# --- whole models

SHAPE = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "num_labels": 1, "pad_token_id": 0,
    "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SLIDING = {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 24}

# name → (model_type, what differs from SHAPE); windows of 24 tokens are shorter than the texts
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen2, sliding": ("qwen2", SLIDING),
    "qwen3": ("qwen3", {}),
    "mistral, sliding": ("mistral", {"sliding_window": 24}),
    "gemma2, sliding and soft-capped": ("gemma2", {"sliding_window": 24, "query_pre_attn_scalar": 8}),
    "gemma3, sliding": ("gemma3_text", {"sliding_window": 24, "query_pre_attn_scalar": 8}),
    "phi": ("phi", {"num_key_value_heads": 4}),
    "phi3, sliding": ("phi3", {"sliding_window": 24}),
    "olmo2": ("olmo2", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "attn_pdrop": 0.0, "resid_pdrop": 0, "embd_pdrop": 0}),
    "mixtral": ("mixtral", {**EXPERTS, "sliding_window": None}),
    "qwen3_moe": ("qwen3_moe", EXPERTS),
}


def make_model(name: str) -> Any:
    """A tiny model whose attention is strong enough to notice a wrong mask. Random, the same every time."""
    model_type, changes = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **(SHAPE | changes))
    # Eager attention takes its softmax in float32; only soft-capping needs it.
    plain = "eager" if "softcap" in str(config).replace("final_logit_softcap", "") else "sdpa"
    model = AutoModelForSequenceClassification.from_config(
        config, attn_implementation=plain, experts_implementation="eager"
    )
    return model.float() if plain == "eager" else model.double()


def tolerance_of(model: Any) -> float:
    return 1e-9 if model.dtype == torch.float64 else 2e-5


def pairs_of_one_step() -> list[tuple[list[int], list[int]]]:
    """Pairs that share a long prompt, a short one, an answer, and nothing; up to 180 tokens."""
    draw = np.random.default_rng(0)
    prompt, short, *answers = (draw.integers(1, 50, size).tolist() for size in (150, 5, 20, 30, 12, 1, 25, 17))
    a, b, c, d, e, f = answers
    return [
        (prompt + a, prompt + b),
        (prompt + c, prompt + b),
        (prompt + d, prompt + a),
        (short + a, short + e),
        (e, f),
    ]


def tree_rewards(model: Any, pack: Pack) -> Tensor:
    inputs = to_model_inputs(pack)
    reads = inputs.pop("reward_positions")
    decoder = getattr(model, model.base_model_prefix)
    return model.score(decoder(**inputs, use_cache=False).last_hidden_state[0, reads])[:, 0]


def padded_rewards(model: Any, texts: list[list[int]]) -> Tensor:
    width = max(map(len, texts))
    ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    decoder = getattr(model, model.base_model_prefix)
    hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return model.score(hidden[torch.arange(len(texts)), mask.sum(1) - 1])[:, 0]


def loss_and_gradients(model: Any, rewards: Tensor) -> tuple[float, dict[str, Tensor]]:
    chosen, rejected = rewards.chunk(2)
    model.zero_grad()
    loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean()
    loss.backward()
    grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss.item(), grads


def compare(model: Any, reference: Any, pairs: list[tuple[list[int], list[int]]], tolerance: float) -> None:
    """Values, loss and the gradient of every parameter: trees against transformers' own attention over padding."""
    (pack,) = pack_pairs(pairs, budget=10**9, min_shared=4)
    ours = tree_rewards(model, pack)
    padded = padded_rewards(reference, [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs])
    assert len(pack) < sum(len(text) for pair in pairs for text in pair)
    assert padded.std() > 0.01
    torch.testing.assert_close(ours, padded, rtol=tolerance, atol=tolerance)
    (our_loss, our_grads), (loss, grads) = loss_and_gradients(model, ours), loss_and_gradients(reference, padded)
    assert our_loss == pytest.approx(loss, rel=tolerance)
    assert our_grads.keys() == grads.keys()
    tolerance = max(tolerance, 1e-6)  # RMS norms work in float32 whatever the model's dtype, and so do their gradients
    largest = max(grad.norm() for grad in grads.values())
    for name, grad in grads.items():
        assert (our_grads[name] - grad).norm() <= tolerance * max(grad.norm(), 1e-3 * largest), name


def tree_model(reference: Any, restricted: bool = False) -> Any:
    model = copy.deepcopy(reference)
    model.set_attn_implementation(TREE_ATTENTION)
    if restricted:
        assert restrict_last_layer(getattr(model, model.base_model_prefix))
    return model


@pytest.mark.parametrize("restricted", [False, True], ids=["whole last layer", "rewards only"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_trees_equal_padded_in_value_and_gradient(name: str, restricted: bool):
    reference = make_model(name)
    assert supports_tree(reference) is None
    compare(tree_model(reference, restricted), reference, pairs_of_one_step(), tolerance_of(reference))


@pytest.mark.parametrize("name", ["llama", "gemma3, sliding", "qwen3_moe"])
def test_trees_equal_padded_in_float32(name: str):
    reference = make_model(name).float()
    compare(tree_model(reference, restricted=True), reference, pairs_of_one_step(), tolerance=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["qwen3", "gpt_neox", "gemma2, sliding and soft-capped"])
def test_gradient_checkpointing_recomputes_with_the_same_layout(name: str, reentrant: bool):
    reference = make_model(name).train()
    model = tree_model(reference, restricted=True)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    compare(model, reference, pairs_of_one_step(), tolerance_of(reference))


def test_adapters_put_on_after_the_restriction():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="SEQ_CLS", r=2, init_lora_weights=False, target_modules=["q_proj", "v_proj", "up_proj"]
    )
    plain = make_model("qwen3")
    torch.manual_seed(1)
    reference = get_peft_model(copy.deepcopy(plain), config)
    torch.manual_seed(1)
    model = get_peft_model(tree_model(plain, restricted=True), config)
    compare(model.get_base_model(), reference.get_base_model(), pairs_of_one_step(), 1e-9)
    assert tree_matches_padded(model)


def test_autocast_to_bf16_stays_near_float32():
    reference = make_model("qwen3").float()
    model = tree_model(reference, restricted=True)
    (pack,) = pack_pairs(pairs_of_one_step(), budget=10**9, min_shared=4)
    with torch.autocast("cpu", torch.bfloat16):
        low = tree_rewards(model, pack)
    exact = tree_rewards(model, pack)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().max() < 0.1 * exact.std()
    low.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_threads_see_the_layout_of_their_own_call():
    model = tree_model(make_model("llama"), restricted=True)
    packs = [pack_sequences(random_sequences(seed), 10**9)[0] for seed in range(4)]
    with torch.no_grad():
        expected = [tree_rewards(model, pack) for pack in packs]
    results: dict[int, list[Tensor]] = {index: [] for index in range(len(packs))}

    def work(index: int) -> None:
        with torch.no_grad():
            results[index] += [tree_rewards(model, packs[index]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(index,)) for index in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, rewards in results.items():
        assert len(rewards) == 5
        torch.testing.assert_close(rewards, [expected[index]] * 5)


@pytest.mark.parametrize("name", ["llama", "mistral, sliding", "gemma2, sliding and soft-capped"])
def test_calls_without_a_layout_are_ordinary_attention(name: str):
    reference = make_model(name)
    model = tree_model(reference, restricted=True)
    texts = [text for pair in pairs_of_one_step() for text in pair]
    close = {"rtol": tolerance_of(reference), "atol": tolerance_of(reference)}
    torch.testing.assert_close(padded_rewards(model, texts), padded_rewards(reference, texts), **close)
    left = torch.tensor([[0] * (180 - len(text)) + text for text in texts])
    ends = [
        each.model(input_ids=left, attention_mask=(left > 0).long()).last_hidden_state for each in (model, reference)
    ]
    torch.testing.assert_close(ends[0][:, -1], ends[1][:, -1], **close)
    ids = torch.tensor([texts[0]])  # no padding mask either
    hidden = [model.model(input_ids=ids, use_cache=False).last_hidden_state for model in (model, reference)]
    torch.testing.assert_close(*hidden, **close)


# --- what cannot


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("bert", {}, "encoder"),
        ("modernbert", {}, "encoder"),
        ("deberta-v2", {}, "AttentionInterface"),
        ("t5", {}, "encoder-decoder"),
        ("falcon", {}, "AttentionInterface"),
        ("qwen3_next", {}, "linear_attention"),
        ("jamba", {}, "linear_attention|of type mamba"),
        ("gpt_oss", {"num_local_experts": 2}, "sinks"),
        ("mamba", {}, "linear_attention|of type mamba"),
        ("recurrent_gemma", {}, "linear_attention|no sequence classification"),
        ("cohere", {}, "no sequence classification"),
    ],
)
def test_what_cannot_share_prefixes_is_named_with_its_reason(model_type: str, changes: dict[str, Any], reason: str):
    config = AutoConfig.for_model(model_type, num_labels=1, pad_token_id=0, **changes)
    assert re.search(reason, str(supports_tree(config)))  # the second is what transformers 5.10 says


def test_configurations_are_enough_to_know():
    model_type, changes = ARCHITECTURES["qwen3"]
    assert supports_tree(AutoConfig.for_model(model_type, **(SHAPE | changes))) is None
    assert "both directions" in str(supports_tree(AutoConfig.for_model(model_type, **SHAPE, is_causal=False)))


@pytest.mark.parametrize("name", ["qwen3", "gemma2, sliding and soft-capped"])
def test_self_check_passes_a_sound_model_and_leaves_it_as_it_was(name: str):
    model = make_model(name).train()
    before = model.config._attn_implementation
    assert tree_matches_padded(model)
    assert model.config._attn_implementation == before
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["qwen3", "gemma2, sliding and soft-capped", "gemma3, sliding"])
def test_self_check_passes_sound_models_in_half_precision(name: str, dtype: torch.dtype):
    """Soft-capped scores were masked by float32's lowest number, which neither half precision holds."""
    assert tree_matches_padded(make_model(name).to(dtype))
    assert tree_matches_padded(make_model(name).float(), autocast=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_soft_capped_padding_in_half_precision_is_that_of_transformers(dtype: torch.dtype):
    """Rewards of padded batches, within what the type rounds: its own attention against ours."""
    reference = make_model("gemma2, sliding and soft-capped").to(dtype)
    model = tree_model(reference)
    texts = [text for pair in pairs_of_one_step() for text in pair]
    with torch.no_grad():
        ours, theirs = padded_rewards(model, texts).float(), padded_rewards(reference, texts).float()
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 0.05 * theirs.abs().max()


def test_a_kind_that_should_share_prefixes_and_does_not_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Upstream's Nemotron layers drop what their model is given, the layout too: padded batches, and a warning."""
    model = make_model("llama")
    layer = type(model.model.layers[0])
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, *a, tree_layout=None, **k: forward(self, *a, **k))
    assert choose_layout("auto", model, 0).name == "padded"
    assert "LlamaForSequenceClassification is of a kind that shares prefixes, but its rewards over trees" in caplog.text
    with pytest.raises(ModelError, match="rewards over trees differ"):
        choose_layout("tree", model, 0)


def test_self_check_catches_a_model_that_drops_the_layout(monkeypatch: pytest.MonkeyPatch):
    model = make_model("llama")
    layer = type(model.model.layers[0])
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, *a, tree_layout=None, **k: forward(self, *a, **k))
    assert not tree_matches_padded(model)


def test_self_check_catches_positions_that_run_through_the_row(monkeypatch: pytest.MonkeyPatch):
    model = make_model("llama")
    rotary = type(model.model.rotary_emb)
    forward = rotary.forward

    def through_the_row(self: Any, states: Tensor, position_ids: Tensor) -> Any:
        return forward(self, states, torch.arange(position_ids.shape[1])[None])

    monkeypatch.setattr(rotary, "forward", through_the_row)
    assert not tree_matches_padded(model)
