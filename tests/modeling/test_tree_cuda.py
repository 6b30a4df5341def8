"""What a CUDA device takes, as far as a CPU can run it: plans, masks, the varlen algorithm in plain torch, models."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tree_attention import (
    ARCHITECTURES,
    WINDOWS,
    compare,
    make_model,
    pairs_of_one_step,
    random_layout,
    random_qkv,
    tolerance_of,
    tree_model,
)
from torch import Tensor

from rewardsmith.errors import ModelError
from rewardsmith.modeling import inference, reward_head
from rewardsmith.modeling.layouts import choose_layout
from rewardsmith.modeling.reward_head import install_reward_forward
from rewardsmith.modeling.tree import attention as tree_attention
from rewardsmith.modeling.tree import cuda as tree_cuda
from rewardsmith.modeling.tree import varlen
from rewardsmith.modeling.tree.attention import dense_tree_attention
from rewardsmith.modeling.tree.cuda import (
    MOST_GATHERED,
    choose_kernel,
    flex_tree_attention,
    tree_block_mask,
    tree_mask_rule,
)
from rewardsmith.modeling.tree.token_tree import Pack, TreeLayout, pack_pairs, pack_sequences
from rewardsmith.modeling.tree.varlen import (
    VarlenPlan,
    candidates,
    gathered_tokens,
    plan_reward_varlen,
    plan_varlen,
    reference_varlen,
    to_tensors,
    varlen_attention,
)

CPU = torch.device("cpu")


def layout_of(*sequences: list[int], min_shared: int = 1) -> TreeLayout:
    (pack,) = pack_sequences(list(sequences), 10**9, min_shared=min_shared)
    return pack.layout


def seen(plan: VarlenPlan, length: int, queries: np.ndarray, window: int | None) -> np.ndarray:
    """How often each query meets each token of the row, by the definition of a causal varlen call."""
    count = np.zeros((len(queries), length), dtype=int)
    for i in range(len(plan.query_edges) - 1):
        rows = range(*plan.query_edges[i : i + 2])
        keys = plan.keys[slice(*plan.key_edges[i : i + 2])]
        for place, row in enumerate(rows):
            end = len(keys) - len(rows) + place + 1
            for key in keys[max(0, end - window) if window else 0 : end]:
                count[row, key] += 1
    return count


def test_a_tree_by_hand():
    """Trunk 0 1 2, branches 3 | 4 5, another text 6 7: the first branch reads on from the trunk and gathers nothing."""
    plan = plan_varlen(layout_of([1, 2, 3, 4], [1, 2, 3, 5, 6], [8, 9]))
    assert plan.query_edges.tolist() == [0, 4, 6, 8]
    assert plan.keys.tolist() == [0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7]
    assert plan.key_edges.tolist() == [0, 4, 9, 11]
    assert plan.longest == (4, 5)
    rewards = plan_reward_varlen(layout_of([1, 2, 3, 4], [1, 2, 3, 5, 6], [8, 9]))
    assert rewards.query_edges.tolist() == [0, 1, 2, 3]
    assert rewards.keys.tolist() == [0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7]


def test_a_window_gathers_only_what_the_stretch_can_see():
    """Window 3: the first token of the second branch sees two tokens of the trunk of 100."""
    trunk = list(range(100))
    plan = plan_varlen(layout_of([*trunk, 200], [*trunk, 300, 301]), window=3)
    assert plan.keys[-4:].tolist() == [98, 99, 101, 102]
    assert np.diff(plan.key_edges).tolist() == [101, 4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(WINDOWS))
def test_every_query_meets_exactly_the_tokens_that_it_may(seed: int, window: int | None):
    layout = random_layout(seed)
    every = np.arange(len(layout))
    expected = layout.may_attend(slice(None), slice(None), window)
    np.testing.assert_array_equal(seen(plan_varlen(layout, window), len(layout), every, window), expected)
    rows = np.sort(layout.reward_positions)
    read = seen(plan_reward_varlen(layout, window), len(layout), rows, window)
    np.testing.assert_array_equal(read, expected[rows])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(WINDOWS), st.sampled_from([None, 2.0]), st.sampled_from([(4, 2), (3, 3)]))
def test_varlen_equals_dense_in_value_and_gradient(
    seed: int, window: int | None, softcap: float | None, heads: tuple[int, int]
):
    layout = random_layout(seed)
    inputs = [part.detach().float().requires_grad_() for part in random_qkv(len(layout), torch.float64, *heads)]
    ours = varlen_attention(torch.nn.Identity(), *inputs, layout, 0.3, window, softcap, reference_varlen)
    dense = dense_tree_attention(*inputs, layout, 0.3, window=window, softcap=softcap)
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1))
    for mine, true in zip(*(torch.autograd.grad(out, inputs, upstream) for out in (ours, dense)), strict=True):
        assert (mine - true).norm() <= 1e-4 * true.norm()


def test_the_reference_is_causal_at_the_bottom_right():
    """One query against three keys sees all three; two queries see two and three: worked out by numpy."""
    draw = np.random.default_rng(0)
    query, key, value = (draw.normal(size=(n, 1, 4)) for n in (2, 3, 3))
    plan = VarlenPlan(np.arange(3), np.array([0, 2]), np.array([0, 3]))
    out = reference_varlen(
        *(torch.from_numpy(part) for part in (query, key, value)), to_tensors(plan, "cpu"), 1.0, None, None
    )
    for row, count in ((0, 2), (1, 3)):
        weights = np.exp(key[:count, 0] @ query[row, 0])
        np.testing.assert_allclose(out[row, 0].numpy(), (weights / weights.sum()) @ value[:count, 0])


LONG = layout_of([*range(600)], [*range(500), *range(700, 750)])


@pytest.mark.parametrize("layout", [random_layout(0), LONG], ids=["short trunks", "a long trunk"])
@pytest.mark.parametrize("window", WINDOWS)
def test_flex_mask_is_the_same_rule_and_its_blocks_are_sound(layout: TreeLayout, window: int | None):
    from torch.nn.attention.flex_attention import create_mask

    size = len(layout)
    allowed = layout.may_attend(slice(None), slice(None), window)
    rule = create_mask(tree_mask_rule(layout, window, CPU), None, None, size, size, device="cpu")
    np.testing.assert_array_equal(rule[0, 0].numpy(), allowed)
    blocks = tree_block_mask(layout, window, CPU)
    padded = np.pad(allowed, (0, -size % 128))
    tiles = padded.reshape(len(padded) // 128, 128, -1, 128)
    computed = blocks.to_dense()[0, 0].numpy().astype(bool)
    assert not (tiles.any(axis=(1, 3)) & ~computed).any(), "a block with something to see is left out"
    n = computed.shape[0]
    full = np.zeros((n, n), dtype=bool)
    for row in range(n):
        full[row, blocks.full_kv_indices[0, 0, row, : blocks.full_kv_num_blocks[0, 0, row]].numpy()] = True
    short = size % 128
    last = np.arange(n) == n - 1
    whole = tiles.all(axis=(1, 3)) | (tiles[:, : short or 128].all(axis=(1, 3)) & last[:, None])
    assert not (full & ~whole).any(), "a block counts as seen in full that is not"
    assert full.any() == (layout is LONG and window is None), "only a trunk of 600 holds whole blocks"


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (40, None), (7, 5.0)])
def test_flex_uncompiled_equals_dense(heads: tuple[int, int], window: int | None, softcap: float | None):
    layout = random_layout(0)
    query, key, value = (part.detach().float() for part in random_qkv(len(layout), torch.float64, *heads))
    ours = flex_tree_attention(query, key, value, layout, 0.3, window, softcap, compiled=False)
    dense = dense_tree_attention(query, key, value, layout, 0.3, window=window, softcap=softcap)
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)


def test_the_kernel_is_chosen_by_what_is_gathered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree_cuda, "varlen_call", lambda *_: reference_varlen)
    trunk = list(range(1000))
    few = layout_of(*([*trunk, 2000 + i, 2001 + i] for i in range(4)))
    many = layout_of(*([*trunk, 2000 + i, 5001 + i] for i in range(64)))
    # By hand: the first stretch has 1,002 keys and so has each other one; 1,008 and 1,128 tokens in the row.
    assert (gathered_tokens(few), len(few)) == (4 * 1002, 1008)
    assert (gathered_tokens(many), len(many)) == (64 * 1002, 1128)
    assert gathered_tokens(few) <= MOST_GATHERED * len(few)
    choice = (torch.bfloat16, 64, None, CPU)
    assert choose_kernel(few, None, *choice) == "varlen"
    assert choose_kernel(many, None, *choice) == "flex"
    assert choose_kernel(many, 100, *choice) == "varlen", "a window bounds what is gathered"
    monkeypatch.setattr(tree_cuda, "varlen_call", lambda *_: None)
    assert choose_kernel(few, None, *choice) == "flex"


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models on the CPU take the CUDA path, with the reference for a kernel; returns what each layer took."""
    taken: list[str] = []

    def noted(*args: Any) -> Tensor:
        taken.append("varlen")
        return reference_varlen(*args)

    monkeypatch.setattr(tree_cuda, "varlen_call", lambda *_: noted)
    monkeypatch.setitem(tree_attention._KERNELS, "cpu", tree_cuda.cuda_attention)
    return taken


@pytest.mark.parametrize("restricted", [False, True], ids=["whole last layer", "rewards only"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_on_the_varlen_path_equal_padded(name: str, restricted: bool, as_on_a_gpu: list[str]):
    reference = make_model(name)
    compare(tree_model(reference, restricted), reference, pairs_of_one_step(), tolerance_of(reference))
    assert len(as_on_a_gpu) >= reference.config.num_hidden_layers


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_on_the_varlen_path(reentrant: bool, as_on_a_gpu: list[str]):
    reference = make_model("qwen3").train()
    model = tree_model(reference, restricted=True)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    compare(model, reference, pairs_of_one_step(), tolerance_of(reference))
    assert len(as_on_a_gpu) == 2 * reference.config.num_hidden_layers


def test_index_tensors_are_made_once_for_a_pack_and_a_kind_of_layer(
    as_on_a_gpu: list[str], monkeypatch: pytest.MonkeyPatch
):
    made: list[VarlenPlan] = []
    monkeypatch.setattr(varlen, "to_tensors", lambda plan, device: made.append(plan) or to_tensors(plan, device))
    reference = make_model("gemma3, sliding")
    compare(tree_model(reference), reference, pairs_of_one_step(), tolerance_of(reference))
    assert (len(made), len(as_on_a_gpu)) == (1, 3), "three sliding layers share one plan"


def test_rows_where_nothing_branches_are_not_copied(monkeypatch: pytest.MonkeyPatch):
    """Two texts without a common token: their keys are the row itself. With a common token they are gathered."""
    apart, together = layout_of([1, 2, 3], [4, 5]), layout_of([1, 2, 3], [1, 5])
    assert plan_varlen(apart).as_they_lie
    assert not plan_varlen(together).as_they_lie
    # One text in a window of 2: all of its keys lie in the row, in order, once.
    assert plan_varlen(layout_of([1, 2, 3]), window=2).as_they_lie
    gathered: list[int] = []
    real = varlen._Gather.apply
    monkeypatch.setattr(varlen._Gather, "apply", lambda rows, index: gathered.append(len(index)) or real(rows, index))
    for layout in (apart, together):
        query, key, value = (part.detach() for part in random_qkv(len(layout), torch.float64, 2, 1))
        ours = varlen_attention(torch.nn.Identity(), query, key, value, layout, 0.3, None, None, reference_varlen)
        torch.testing.assert_close(ours, dense_tree_attention(query, key, value, layout, 0.3))
    assert gathered == [5, 5], "keys and values of the second row: 1 2 3 and 1 5"


def test_the_gather_adds_up_in_float32():
    """300 copies of a token, each with gradient 1: bfloat16 stops counting at 256, float32 does not."""
    rows = torch.zeros(2, 1, 8, dtype=torch.bfloat16, requires_grad=True)
    index = torch.tensor([0] * 300 + [1])
    gradient = torch.ones(301, 1, 8, dtype=torch.bfloat16)
    (ours,) = torch.autograd.grad(varlen._Gather.apply(rows, index), rows, gradient)
    assert ours[:, 0, 0].tolist() == [300.0, 1.0]
    exact = torch.randn(64, 3, 8, dtype=torch.float64, requires_grad=True)
    index = torch.randint(0, 64, (500,), generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(500, 3, 8, dtype=torch.float64)
    (ours,) = torch.autograd.grad(varlen._Gather.apply(exact, index), exact, upstream)
    (theirs,) = torch.autograd.grad(exact.index_select(0, index), exact, upstream)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("word", "dtype", "softcap", "wanted"),
    [
        ("varlen", torch.float32, None, {"varlen"}),
        ("flex", torch.bfloat16, None, {"flex"}),
        ("dense", torch.bfloat16, None, {"dense"}),
        ("auto", torch.float32, None, {"calls"}),
        ("auto", torch.float32, 5.0, {"dense"}),
    ],
)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_environment_takes_a_kernel_for_every_row(
    word: str, dtype: torch.dtype, softcap: float | None, wanted: set[str], monkeypatch: pytest.MonkeyPatch
):
    layout = random_layout(0)
    inputs = [part.detach().to(dtype) for part in random_qkv(len(layout), torch.float64, 4, 2)]
    dense = dense_tree_attention(*(part.double() for part in inputs), layout, 0.3, softcap=softcap)
    monkeypatch.setenv(tree_cuda.KERNEL_VARIABLE, word)
    out, _ = tree_attention.tree_attention(torch.nn.Identity(), *inputs, None, 0.3, tree_layout=layout, softcap=softcap)
    assert layout.kernels == wanted
    assert (out.double() - dense).abs().max() < (1e-4 if dtype == torch.float32 else 5e-2)


def test_a_kernel_that_is_none_or_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch):
    layout = random_layout(0)
    monkeypatch.setenv(tree_cuda.KERNEL_VARIABLE, "varlan")
    with pytest.raises(ModelError, match=r"'varlan' is no kernel(.|\n)*write varlen, flex, dense or auto"):
        choose_kernel(layout, None, torch.bfloat16, 64, None, CPU)
    monkeypatch.setenv(tree_cuda.KERNEL_VARIABLE, "varlen")
    with pytest.raises(ModelError, match=r"no varlen kernel takes float32, heads of 64 numbers(.|\n)*bfloat16"):
        choose_kernel(layout, None, torch.float32, 64, None, torch.device("meta"))


def test_what_a_plan_says():
    assert tree_cuda.planned_kernel("cpu", torch.bfloat16, 128, None) == "calls"
    assert tree_cuda.planned_kernel("cpu", torch.float32, 256, 50.0) == "dense"
    assert tree_cuda.planned_kernel("cuda", torch.bfloat16, 128, None) == "varlen"
    assert tree_cuda.planned_kernel("cuda", torch.float32, 128, None) == "flex"
    assert tree_cuda.planned_kernel("cuda", torch.bfloat16, 256, 50.0) == "flex"
    assert tree_cuda.planned_kernel("mps", torch.float32, 128, None) == "dense"


def test_the_next_row_is_prepared_like_the_one_before(as_on_a_gpu: list[str], monkeypatch: pytest.MonkeyPatch):
    """Its plans, positions and choice are there before its first layer asks, and the layers then make nothing."""
    made: list[VarlenPlan] = []
    monkeypatch.setattr(varlen, "to_tensors", lambda plan, device: made.append(plan) or to_tensors(plan, device))
    model = tree_model(make_model("qwen3"), restricted=True)
    first, second = (layout_pack(*texts) for texts in ([[1, 2, 3], [1, 2, 4]], [[*range(1, 30)], [*range(1, 20), 5]]))
    forward(model, first)
    assert len(made) == 2, "a plan for whole layers, one for the last, of which only rewards are read"
    second.layout.prepare_like(first.layout)
    assert [len(plan.query_edges) for plan in made[2:]] == [3, 3]
    forward(model, second)
    assert len(made) == 4, "nothing is left to be made in the layers"
    assert first.layout.kernels == second.layout.kernels == {"varlen"}


def layout_pack(*texts: list[int]) -> Pack:
    (pack,) = pack_sequences(texts, 1000, min_shared=1)
    return pack


def forward(model: Any, pack: Pack) -> None:
    inputs = tree_attention.to_model_inputs(pack)
    inputs.pop("reward_positions")
    with torch.no_grad():
        model.model(**inputs, use_cache=False)


def test_rewards_read_a_pass_later_are_the_same_in_the_same_order():
    """As a GPU is read: the next pass is begun before the one before it is waited for."""
    model = install_reward_forward(make_model("qwen3")).eval()
    layout = choose_layout("tree", model, 0)
    texts = [np.arange(1, 5 + index, dtype=np.int32) for index in range(12)]
    events: list[str] = []
    model.register_forward_pre_hook(lambda *_: events.append("begun"))

    def read(behind: int) -> list[tuple[list[int], list[float]]]:
        events.clear()
        found = []
        for part, rewards in inference._passes(model, layout.batches(texts, 30), behind):
            events.append("read")
            found.append((part.indices, rewards.tolist()))
        return found

    at_once = read(0)
    assert len(at_once) > 2
    assert events == ["begun", "read"] * len(at_once)
    assert read(1) == at_once
    assert events == ["begun", *["begun", "read"] * (len(at_once) - 1), "read"]


THAT_WAIT = {"gemma2, sliding and soft-capped", "mixtral", "qwen3_moe"}
"""FlexAttention has no meta function; upstream's plain code for experts reads back how many tokens each one gets."""


@pytest.mark.skipif(not [*candidates(torch.bfloat16, 8, None, (8, 0))], reason="this torch has no varlen kernel")
@pytest.mark.parametrize("mode", ["training", "recomputing", "scoring"])
@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if not name.startswith(("gemma2", "mixtral", "qwen3_moe"))]
)
def test_no_forward_or_backward_pass_waits_for_the_device(name: str, mode: str, monkeypatch: pytest.MonkeyPatch):
    """On the meta device nothing can be read back, so whatever would make the host wait for a GPU raises here.

    The kernel is torch's own, by its meta function.
    """
    monkeypatch.setitem(tree_attention._KERNELS, "meta", tree_cuda.cuda_attention)
    monkeypatch.setattr(
        tree_cuda, "varlen_call", lambda *given: next(call for _, call in candidates(*given[:3], (8, 0)))
    )
    monkeypatch.setattr(reward_head.torch, "autocast", lambda *_, **__: nullcontext())
    model = tree_model(install_reward_forward(make_model(name).bfloat16()), restricted=True).to("meta")
    if mode == "recomputing":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train(mode != "scoring")
    pairs = pairs_of_one_step()
    packs = [pack for budget in (10**9, 300) for pack in pack_pairs(pairs, budget, min_shared=4)]
    before = None
    for pack in packs:
        if before is not None:
            pack.layout.prepare_like(before)
        before = pack.layout
        with torch.inference_mode(mode == "scoring"):
            rewards = model(**tree_attention.to_model_inputs(pack, "meta")).logits
        assert rewards.shape == (len(pack.reward_positions), 1)
        assert pack.layout.kernels == {"varlen"}
        if mode != "scoring":
            chosen, rejected = rewards.squeeze(-1).chunk(2)
            (-torch.nn.functional.logsigmoid(chosen - rejected).mean()).backward()
    if mode != "scoring":
        assert all(weight.grad is not None for weight in model.parameters())


def test_rows_of_any_length_are_compiled_four_times(monkeypatch: pytest.MonkeyPatch):
    """FlexAttention through dynamo itself, with a backend that counts: a window or none, one block or several."""
    graphs: list[Any] = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    dynamo = torch._dynamo.config
    monkeypatch.setattr(dynamo, "recompile_limit", dynamo.recompile_limit)  # put back afterwards
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    monkeypatch.setattr(tree_cuda, "_compiled_flex", cache(tree_cuda._compiled_flex.__wrapped__))
    torch._dynamo.reset()
    after = []
    for seed, length in enumerate((90, 300, 127, 128, 129, 600, 256, 500, 40, 384, 71, 433)):
        draw = np.random.default_rng(seed)
        texts = [draw.integers(0, 9, length // 3).tolist() for _ in range(3)]
        layout = layout_of(*texts, min_shared=1)
        query, key, value = (part.detach().float() for part in random_qkv(len(layout), torch.float64, 4, 2))
        for window in (None, 17):
            ours = flex_tree_attention(query, key, value, layout, 0.3, window, None, compiled=True)
            dense = dense_tree_attention(query, key, value, layout, 0.3, window=window)
            torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)
        after.append(len(graphs))
    torch._dynamo.reset()
    assert after == [2, *[4] * 11]


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@on_a_gpu
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("kernel", "dtype", "values", "gradients"),
    [("varlen", torch.bfloat16, 2e-2, 2e-2), ("flex", torch.bfloat16, 2e-2, 2e-2), ("flex", torch.float32, 1e-4, 1e-3)],
)
def test_the_kernels_of_a_gpu_equal_dense_float32(
    kernel: str,
    dtype: torch.dtype,
    values: float,
    gradients: float,
    window: int | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Bounds relative to the norm: bfloat16 rounds to 1/256 = 4e-3, in queries, keys, weights and values."""
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setenv(tree_cuda.KERNEL_VARIABLE, kernel)
    for seed in range(3):
        layout = random_layout(seed)
        size = ((1, heads, len(layout), 64) for heads in (4, 2, 2))
        draw = torch.Generator("cuda").manual_seed(seed)
        inputs = [torch.randn(s, device="cuda", generator=draw).to(dtype).requires_grad_() for s in size]
        exact = [part.detach().float().requires_grad_() for part in inputs]
        out, _ = tree_attention.tree_attention(
            torch.nn.Identity(), *inputs, None, 0.125, tree_layout=layout, sliding_window=window
        )
        assert layout.kernels == {kernel}
        dense = dense_tree_attention(*exact, layout, 0.125, window=window)
        assert (out.float() - dense).norm() <= values * dense.norm()
        upstream = torch.randn(dense.shape, device="cuda", generator=draw)
        ours = torch.autograd.grad(out, inputs, upstream.to(dtype))
        for mine, true in zip(ours, torch.autograd.grad(dense, exact, upstream), strict=True):
            assert (mine.float() - true).norm() <= gradients * true.norm()
