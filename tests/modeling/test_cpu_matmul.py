"""Faster products are numpy's in float64, values and gradients; models that take them give the same rewards."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError
from rewardsmith.modeling import cpu_matmul
from rewardsmith.modeling.cpu_matmul import MATMUL_VARIABLE, OneDnnConv1D, OneDnnLinear, product, use_faster_products
from rewardsmith.modeling.reward_head import install_reward_forward

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor | None, wanted: NDArray[np.float64]) -> bool:
    """Equal to rounding: sums of some hundred products, relative to the largest."""
    assert found is not None
    values = found.detach().double().numpy()
    return values.shape == wanted.shape and bool(np.abs(values - wanted).max() <= 2e-6 * np.abs(wanted).max())


# Wider outputs, wider inputs, and a weight below LEAST_WIDTH each take a way of their own to the gradient.
@needs_onednn
@pytest.mark.parametrize(("inputs", "outputs"), [(80, 200), (200, 80), (96, 96), (300, 16), (16, 300)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_numpys(inputs: int, outputs: int, biased: bool) -> None:
    x, weight, grad = drawn(2, 70, inputs), drawn(outputs, inputs, seed=1), drawn(2, 70, outputs, seed=2)
    bias = drawn(outputs, seed=3) if biased else None
    given = [tensor.requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    out = product(x, weight, bias)
    out.backward(grad)
    x64, w64, g64 = (tensor.detach().double().numpy() for tensor in (x, weight, grad))
    assert close(out, np.einsum("bti,oi->bto", x64, w64) + (0 if bias is None else bias.detach().double().numpy()))
    wanted = [np.einsum("bto,oi->bti", g64, w64), np.einsum("bto,bti->oi", g64, x64), g64.sum((0, 1))]
    assert [close(one.grad, two) for one, two in zip(given, wanted, strict=False)] == [True] * len(given)


@needs_onednn
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_does_not_matter_in_which_mode_the_first_call_stands(mode: Any) -> None:
    with mode():
        assert cpu_matmul.onednn_agrees.__wrapped__()


@needs_onednn
def test_views_are_multiplied_as_what_they_show() -> None:
    x = drawn(90, 140).t()
    for weight in (drawn(64, 180, seed=1)[:, ::2], drawn(64, 180, seed=1)[:, :90], drawn(64, 90, seed=1)[::2]):
        assert close(product(x, weight), x.double().numpy() @ weight.double().numpy().T)


@needs_onednn
def test_one_row_alone_has_its_gradients() -> None:
    x, weight = drawn(80).requires_grad_(), drawn(90, 80, seed=1).requires_grad_()
    product(x, weight).sum().backward()
    assert close(x.grad, weight.detach().double().numpy().sum(0))
    assert close(weight.grad, np.tile(x.detach().double().numpy(), (90, 1)))


@needs_onednn
def test_weights_with_gaps_do_not_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    # oneDNN multiplies them by its reference code: 65 ms for what takes 0.04.
    strides: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    real = torch.ops.mkldnn._linear_pointwise.default

    class Spy:
        @staticmethod
        def default(x: Tensor, weight: Tensor, *rest: Any) -> Any:
            strides.append((weight.stride(), tuple(weight.shape)))
            return real(x, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", Spy)
    # The gradients of what a fused projection gives are slices of a wider row.
    x = drawn(60, 300)[:, 10:110].requires_grad_()
    weight = drawn(70, 200, seed=1)[:, :100].requires_grad_()
    product(x, weight).mul(drawn(60, 140, seed=2)[:, ::2]).sum().backward()
    assert len(strides) == 3
    for stride, (rows, columns) in strides:
        assert stride in ((columns, 1), (1, rows))


@needs_onednn
def test_under_a_frozen_weight_no_input_is_kept() -> None:
    x, weight = drawn(50, 70).requires_grad_(), drawn(90, 70, seed=1)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        product(x, weight)
        product(x.detach(), weight.clone().requires_grad_())
    assert kept == [(90, 70), (50, 70)]


def small(kind: str) -> Any:
    """A decoder of random weights, two layers, 96 or 128 wide."""
    torch.manual_seed(0)
    common: dict[str, Any] = {"num_labels": 1, "vocab_size": 64, "pad_token_id": 0}
    fields: dict[str, dict[str, Any]] = {
        "llama": {
            "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        "gpt2": {"n_embd": 96, "n_layer": 2, "n_head": 4},
        "bert": {
            "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
    }  # fmt: skip
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **common, **fields[kind]))


def rewards_and_gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    ids = torch.randint(1, 64, (3, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 30:] = 0
    rewards = model.eval()(input_ids=ids, attention_mask=mask).logits
    model.zero_grad()
    rewards.square().sum().backward()
    return rewards.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@needs_onednn
@pytest.mark.parametrize(("kind", "swapped"), [("llama", 14), ("gpt2", 8), ("bert", 13)])
def test_a_model_has_the_same_rewards_gradients_and_names(
    kind: str, swapped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 7 linear maps a Llama layer, 4 a GPT-2 layer, 6 a BERT layer and its pooler; the head is one more, also swapped.
    plain = small(kind)
    names = list(plain.state_dict())
    monkeypatch.setenv(MATMUL_VARIABLE, "torch")
    wanted, wanted_grads = rewards_and_gradients(install_reward_forward(copy.deepcopy(plain)))
    monkeypatch.setenv(MATMUL_VARIABLE, "onednn")
    monkeypatch.setattr(cpu_matmul, "LEAST_PRODUCTS", 1)
    fast = install_reward_forward(plain)
    assert sum(isinstance(module, (OneDnnLinear, OneDnnConv1D)) for module in fast.modules()) == swapped + 1
    calls: list[int] = []
    real = cpu_matmul.onednn_linear
    monkeypatch.setattr(cpu_matmul, "onednn_linear", lambda *given: calls.append(1) or real(*given))
    found, grads = rewards_and_gradients(fast)
    assert len(calls) >= 3 * swapped  # the output and both gradients of each
    assert list(fast.state_dict()) == names
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    assert grads.keys() == wanted_grads.keys()
    for name, grad in grads.items():
        assert (grad - wanted_grads[name]).abs().max() <= 1e-5 * wanted_grads[name].abs().max() + 1e-9, name


@needs_onednn
def test_adapters_over_swapped_modules_and_copies_of_them_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    monkeypatch.setenv(MATMUL_VARIABLE, "onednn")
    monkeypatch.setattr(cpu_matmul, "LEAST_PRODUCTS", 1)
    model = small("llama")
    use_faster_products(model)
    wanted, _ = rewards_and_gradients(model)
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # noqa: S301 - written a moment ago
    assert torch.equal(rewards_and_gradients(again)[0], wanted)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear"))
    assert torch.equal(rewards_and_gradients(adapted)[0], wanted)  # the second matrix of an adapter begins with zeros
    trained = {name.rpartition("lora_")[2][0] for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert {"A", "B"} <= trained


class Sharded(Tensor):
    pass


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input)


@needs_onednn
def test_kinds_that_compute_something_else_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MATMUL_VARIABLE, "onednn")
    model = nn.Sequential(nn.Linear(4, 4), Doubled(4, 4), Conv1D(4, 4), nn.Bilinear(2, 2, 2))
    assert use_faster_products(model) == 2
    assert [type(module) for module in model] == [OneDnnLinear, Doubled, OneDnnConv1D, nn.Bilinear]
    assert use_faster_products(model) == 2  # asked again: as they are


def test_small_calls_other_types_and_autocast_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weight = torch.zeros(4096, 64), nn.Parameter(torch.zeros(64, 64))  # 2**24 products
    assert cpu_matmul.fits_onednn(rows, weight)
    assert cpu_matmul.fits_onednn(rows.view(2, 32, 64, 64), weight)
    assert not cpu_matmul.fits_onednn(rows[:4095], weight)
    assert not cpu_matmul.fits_onednn(rows.bfloat16(), nn.Parameter(weight.data.bfloat16()))
    assert not cpu_matmul.fits_onednn(rows.double(), weight)
    assert not cpu_matmul.fits_onednn(rows.to("meta"), weight)
    assert not cpu_matmul.fits_onednn(rows, weight.data.as_subclass(Sharded))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not cpu_matmul.fits_onednn(rows, weight)


@pytest.mark.parametrize(
    ("capability", "maker", "mkl", "expected"),
    [
        ("AVX512", "AuthenticAMD", True, True),
        ("AVX512", "GenuineIntel", True, False),
        ("AVX512", "", True, False),
        ("AVX2", "AuthenticAMD", True, False),
        ("AVX512", "AuthenticAMD", False, False),
    ],
)
def test_the_rule_takes_onednn_where_mkl_lacks_avx512(
    capability: str, maker: str, mkl: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MATMUL_VARIABLE, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(cpu_matmul, "cpu_maker", lambda: maker)
    monkeypatch.setattr(cpu_matmul, "_lacks_avx512_in_mkl", cpu_matmul._lacks_avx512_in_mkl.__wrapped__)
    monkeypatch.setattr(cpu_matmul, "onednn_agrees", lambda: True)
    assert cpu_matmul.wants_onednn() is expected
    monkeypatch.setenv(MATMUL_VARIABLE, "torch")
    assert not cpu_matmul.wants_onednn()


def test_the_maker_is_read_from_the_first_processor(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\n\nprocessor\t: 1\n")
    assert cpu_matmul.cpu_maker(info) == "AuthenticAMD"
    info.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")  # Arm
    assert cpu_matmul.cpu_maker(info) == ""


def test_a_torch_without_the_operator_or_with_another_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: Any) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    agrees = cpu_matmul.onednn_agrees.__wrapped__
    wrong = lambda x, weight, bias=None: torch.nn.functional.linear(x, weight, bias) * 1.0001  # noqa: E731
    for broken in (missing, wrong):
        monkeypatch.setattr(cpu_matmul, "onednn_linear", broken)
        assert not agrees()
    monkeypatch.setattr(cpu_matmul, "onednn_agrees", lambda: False)
    monkeypatch.setattr(cpu_matmul, "_lacks_avx512_in_mkl", lambda: True)
    monkeypatch.delenv(MATMUL_VARIABLE, raising=False)
    model = nn.Sequential(nn.Linear(4, 4))
    assert use_faster_products(model) == 0
    assert type(model[0]) is nn.Linear
    monkeypatch.setenv(MATMUL_VARIABLE, "onednn")
    with pytest.raises(ModelError, match=f"{MATMUL_VARIABLE}.*has no oneDNN product"):
        use_faster_products(model)


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MATMUL_VARIABLE, "mkl")
    with pytest.raises(ModelError, match="'mkl' multiplies no matrices"):
        use_faster_products(nn.Linear(4, 4))


HALVES = [torch.bfloat16, torch.float16]


def lacking(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> None:
    """A processor without instructions for half precision, but for those that are named."""
    found = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False, "avx512_fp16": False, "amx_fp16": False}
    monkeypatch.setattr(cpu_matmul, "_capabilities", lambda: found | capabilities)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("biased", [True, False])
def test_widened_values_and_gradients_are_float64s_rounded_once(dtype: torch.dtype, biased: bool) -> None:
    x, weight, grad = (one.to(dtype) for one in (drawn(2, 70, 90), drawn(50, 90, seed=1), drawn(2, 70, 50, seed=2)))
    bias = drawn(50, seed=3).to(dtype) if biased else None
    given = [tensor.requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    out = cpu_matmul.widened_product(x, weight, bias)
    out.backward(grad)
    x64, w64, g64 = (tensor.detach().double().numpy() for tensor in (x, weight, grad))
    wanted = [
        np.einsum("bti,oi->bto", x64, w64) + (0 if bias is None else bias.detach().double().numpy()),
        np.einsum("bto,oi->bti", g64, w64),
        np.einsum("bto,bti->oi", g64, x64),
        g64.sum((0, 1)),
    ]
    found = [out, *(one.grad for one in given)]
    assert len(found) == 3 + biased
    for one, exact in zip(found, wanted, strict=False):
        assert one is not None
        assert one.dtype == dtype
        # Half a unit of the last place, and what sums in float32 add to it where the result is small.
        within = 0.5 * torch.finfo(dtype).eps * np.abs(exact) + 1e-5 * np.abs(exact).max()
        assert (np.abs(one.detach().double().numpy() - exact) <= within).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_no_float32_copy_is_kept_for_the_backward_pass(dtype: torch.dtype) -> None:
    x, weight = drawn(70, 90).to(dtype).requires_grad_(), drawn(50, 90, seed=1).to(dtype).requires_grad_()
    kept: list[torch.dtype] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.dtype)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cpu_matmul.widened_product(x, weight)
    assert kept == [dtype, dtype]


@pytest.mark.parametrize(("kind", "swapped"), [("llama", 14), ("gpt2", 8), ("bert", 13)])
def test_a_bfloat16_model_computes_widened_where_the_processor_has_no_bfloat16(
    kind: str, swapped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MATMUL_VARIABLE, raising=False)
    plain = small(kind)
    exact, exact_grads = rewards_and_gradients(copy.deepcopy(plain).double())
    lacking(monkeypatch)
    model = copy.deepcopy(plain).bfloat16()
    names = list(model.state_dict())
    assert use_faster_products(model) == swapped + 1  # as above, and the head
    assert use_faster_products(model) == swapped + 1
    calls: list[int] = []
    real = cpu_matmul.widened_product
    monkeypatch.setattr(cpu_matmul, "widened_product", lambda *given: calls.append(1) or real(*given))
    found, grads = rewards_and_gradients(model)
    assert len(calls) >= swapped - 1  # 120 rows; the pooler and the head have 3
    assert list(model.state_dict()) == names
    left, left_grads = rewards_and_gradients(copy.deepcopy(plain).bfloat16())  # bfloat16 as torch computes it
    off = {name: float((one.double() - exact_grads[name]).norm()) for name, one in grads.items()}
    torchs = {name: float((one.double() - exact_grads[name]).norm()) for name, one in left_grads.items()}
    assert float((found - exact).abs().max()) <= 2 * float((left - exact).abs().max()) + 1e-3
    for name, distance in off.items():
        assert distance <= 2 * torchs[name] + 1e-2 * float(exact_grads[name].norm()), name


@pytest.mark.parametrize(
    ("capabilities", "bfloat16", "float16"),
    [
        ({}, True, True),
        ({"avx512_bf16": True}, False, True),
        ({"amx_bf16": True, "avx512_fp16": True}, False, False),
        ({"avx_ne_convert": True, "amx_fp16": True}, False, False),
        ({"architecture": "aarch64"}, False, False),
    ],
)
def test_the_rule_widens_what_the_processor_has_no_instructions_for(
    capabilities: dict[str, Any], bfloat16: bool, float16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MATMUL_VARIABLE, raising=False)
    lacking(monkeypatch, **capabilities)
    assert cpu_matmul.lacks_instructions(torch.bfloat16) is bfloat16
    assert cpu_matmul.lacks_instructions(torch.float16) is float16
    assert not cpu_matmul.lacks_instructions(torch.float32)
    model = nn.Sequential(nn.Linear(4, 4).bfloat16())
    use_faster_products(model)
    assert isinstance(model[0], cpu_matmul.WidenedLinear) is bfloat16


def test_a_torch_that_does_not_tell_the_instructions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(cpu_matmul, "_capabilities", cpu_matmul._capabilities.__wrapped__)
    assert not cpu_matmul.lacks_instructions(torch.bfloat16)


def test_a_model_left_to_torch_is_not_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch)
    monkeypatch.setenv(MATMUL_VARIABLE, "torch")
    model = nn.Sequential(nn.Linear(4, 4).bfloat16())
    assert use_faster_products(model) == 0
    assert type(model[0]) is nn.Linear


def test_few_rows_other_types_and_autocast_are_not_widened() -> None:
    rows, weight = torch.zeros(64, 8, dtype=torch.bfloat16), nn.Parameter(torch.zeros(8, 8, dtype=torch.bfloat16))
    assert cpu_matmul.fits_widening(rows, weight)
    assert cpu_matmul.fits_widening(rows.view(2, 32, 8), weight)
    assert not cpu_matmul.fits_widening(rows[:63], weight)
    assert not cpu_matmul.fits_widening(rows.float(), weight)
    assert not cpu_matmul.fits_widening(rows.float(), weight.float())
    assert not cpu_matmul.fits_widening(rows.to("meta"), weight)
    assert not cpu_matmul.fits_widening(rows, weight.data.as_subclass(Sharded))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not cpu_matmul.fits_widening(rows, weight)
