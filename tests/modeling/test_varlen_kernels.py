"""Which varlen kernel there is, how it is called, and that a wrong one is noticed; their own numbers need a GPU."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest
import torch
from test_tree_attention import random_layout
from torch import Tensor

from rewardsmith.modeling.tree import varlen
from rewardsmith.modeling.tree.varlen import (
    VarlenCall,
    VarlenTensors,
    candidates,
    plan_varlen,
    reference_varlen,
    to_tensors,
    varlen_call,
)

# From torch 2.10 on; with an older one there is no varlen kernel of its own to ask.
of_torch = pytest.importorskip("torch.nn.attention.varlen")

OURS = [f"varlen attention of torch {torch.__version__}"]
if "enable_gqa" not in inspect.signature(of_torch.varlen_attn).parameters:  # 2.11: asked to share, and not to
    OURS.append(f"{OURS[0]}, keys repeated for each query head")

CPU = torch.device("cpu")
AMPERE, HOPPER, BLACKWELL = (8, 0), (9, 0), (10, 0)


def names(dtype: torch.dtype, width: int, softcap: float | None, capability: tuple[int, int]) -> list[str]:
    return [name for name, _ in candidates(dtype, width, softcap, capability)]


def test_the_varlen_kernels_take_half_precision_and_narrow_heads_only():
    assert names(torch.bfloat16, 64, None, AMPERE) == names(torch.float16, 256, None, (8, 6)) == OURS
    assert names(torch.float32, 64, None, AMPERE) == []
    assert names(torch.bfloat16, 264, None, AMPERE) == []
    assert names(torch.bfloat16, 20, None, AMPERE) == []
    assert names(torch.bfloat16, 64, 50.0, AMPERE) == [], "torch's own has no soft-capping"
    assert names(torch.float16, 64, None, (7, 5)) == [], "a T4 has no FlashAttention kernel"
    assert varlen_call(torch.bfloat16, 64, None, CPU) is None


@pytest.mark.parametrize("window", [None, 7])
def test_torch_takes_the_call_as_we_make_it(monkeypatch: pytest.MonkeyPatch, window: int | None):
    """Shapes by its own meta function, arguments by its signature; the numbers need a GPU."""
    layout = random_layout(0)
    given: dict[str, Any] = {}
    real = of_torch.varlen_attn
    signature = inspect.signature(real)
    plan = to_tensors(plan_varlen(layout, window), "cpu")
    query = torch.empty(len(layout), 4, 8, dtype=torch.bfloat16, device="meta")
    keys = torch.empty(len(plan.keys), 2, 8, dtype=torch.bfloat16, device="meta")

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        given.update(signature.bind(*args, **kwargs).arguments)
        return real(*args, **kwargs)

    spy.__signature__ = signature
    monkeypatch.setattr(of_torch, "varlen_attn", spy)
    calls = [call for _, call in candidates(torch.bfloat16, 8, None, AMPERE)]
    assert len(calls) == len(OURS)
    for call in calls:
        given.clear()
        out = call(query, keys, keys, plan, 0.25, window, None)
        assert out.shape == query.shape
        assert given["window_size"] == ((-1, 0) if window is None else (6, 0)), (
            "a window of 7: 6 tokens back and itself"
        )
        assert given["scale"] == 0.25
        assert given.get("enable_gqa", True)
        assert given["cu_seq_q"].dtype == given["cu_seq_k"].dtype == torch.int32
        assert (given["max_q"], given["max_k"]) == plan_varlen(layout, window).longest


def test_torch_2_11_is_asked_to_share_keys_then_not_to_and_2_10_has_no_windows(monkeypatch: pytest.MonkeyPatch):
    """By the signatures of those versions."""
    seen = []

    def of_2_11(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
    ):
        del value, cu_seq_q, cu_seq_k, max_q, max_k, return_aux
        seen.append((key, scale, window_size))
        return query

    def of_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
        raise AssertionError("not to be called")

    layout = random_layout(0)
    plan = to_tensors(plan_varlen(layout), "cpu")
    query, key = torch.randn(len(layout), 6, 8), torch.randn(len(plan.keys), 2, 8)
    monkeypatch.setattr(of_torch, "varlen_attn", of_2_11)
    (_, sharing), (name, repeating) = candidates(torch.bfloat16, 8, None, AMPERE)
    assert name.endswith("keys repeated for each query head")
    sharing(query, key, key, plan, 0.25, 7, None)
    repeating(query, key, key, plan, 0.25, 7, None)
    (first, *rest), (second, *again) = seen
    assert rest == again == [0.25, (6, 0)]
    assert first is key
    assert [bool((second[:, head] == key[:, head // 3]).all()) for head in range(6)] == [True] * 6
    monkeypatch.setattr(of_torch, "varlen_attn", of_2_10)
    assert names(torch.bfloat16, 8, None, AMPERE) == []


def test_a_broken_package_is_named_and_passed_over(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def broken(name: str) -> Any:
        if name.startswith("flash_attn"):
            raise ImportError("undefined symbol: _ZN3c10")
        return of_torch

    monkeypatch.setattr(varlen, "find_spec", lambda name: name)
    monkeypatch.setattr(varlen, "import_module", broken)
    assert names(torch.bfloat16, 64, None, HOPPER) == OURS
    assert "flash_attn is installed and cannot be used: undefined symbol" in caplog.text
    assert "flash_attn_interface is installed and cannot be used" in caplog.text


def test_version_3_comes_first_and_is_for_hopper_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(varlen, "_flash_attention", lambda package: iter([(package, reference_varlen)]))
    assert names(torch.bfloat16, 128, None, HOPPER) == ["flash_attn_interface", *OURS, "flash_attn"]
    assert names(torch.bfloat16, 128, None, BLACKWELL) == [*OURS, "flash_attn"]
    assert names(torch.bfloat16, 128, 30.0, AMPERE) == ["flash_attn"]


def top_left(query: Tensor, key: Tensor, value: Tensor, plan: VarlenTensors, *rest: Any) -> Tensor:
    """The other alignment: a branch sees the beginning of its trunk only, as FlashAttention before 2.1 had it."""
    parts = []
    for i in range(len(plan.query_edges) - 1):
        (a, b), c = plan.query_edges[i : i + 2].tolist(), int(plan.key_edges[i])
        one = VarlenTensors(plan.keys, torch.tensor([0, b - a]), torch.tensor([0, b - a]), b - a, b - a)
        parts.append(reference_varlen(query[a:b], key[c : c + b - a], value[c : c + b - a], one, *rest))
    return torch.cat(parts)


def one_token_less(query: Tensor, key: Tensor, value: Tensor, plan: VarlenTensors, *rest: Any) -> Tensor:
    """A window that counts the tokens before the query, where ours counts the query itself."""
    scale, window, softcap = rest
    return reference_varlen(query, key, value, plan, scale, window and window + 1, softcap)


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient / 2


def wrong_gradient(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> Tensor:
    return reference_varlen(query, key, _HalfGradient.apply(value), *rest)


def no_number(*given: Any) -> Tensor:
    return reference_varlen(*given) * torch.nan


def raises(*_: Any) -> Tensor:
    raise RuntimeError("no kernel image is available for execution on the device\nmore lines")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (top_left, "where a token sees everything it is wrong by"),
        (one_token_less, "where a token sees 40 tokens it is wrong by"),
        (wrong_gradient, "where a token sees everything it is wrong by 0."),
        (no_number, "it is wrong by nan"),
        (raises, "no kernel image is available for execution on the device"),
    ],
)
def test_a_kernel_that_is_wrong_is_named_and_the_next_one_taken(
    wrong: VarlenCall,
    said: str,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(varlen, "candidates", lambda *_: iter([("wrong", wrong), ("right", reference_varlen)]))
    with torch.inference_mode():  # whoever asks first may be scoring
        assert varlen_call.__wrapped__(dtype, 16, None, CPU) is reference_varlen
    warned, taken = caplog.records
    assert warned.levelname == "WARNING"
    assert warned.getMessage().startswith("wrong is not used on cpu: ")
    assert said in warned.getMessage()
    assert "more lines" not in warned.getMessage()
    assert taken.getMessage() == "varlen attention on cpu: right"


def test_without_a_right_kernel_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(varlen, "candidates", lambda *_: iter([("wrong", top_left)]))
    assert varlen_call.__wrapped__(torch.bfloat16, 16, 30.0, CPU) is None


def test_a_full_memory_says_nothing_of_a_kernel(monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(varlen, "candidates", lambda *_: iter([("full", full)]))
    with pytest.raises(torch.OutOfMemoryError):
        varlen_call.__wrapped__(torch.bfloat16, 16, None, CPU)


def test_the_proof_draws_nothing_from_the_generator_of_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(varlen, "candidates", lambda *_: iter([("right", reference_varlen)]))
    before = torch.get_rng_state()
    varlen_call.__wrapped__(torch.bfloat16, 16, None, CPU)
    assert torch.equal(torch.get_rng_state(), before)
