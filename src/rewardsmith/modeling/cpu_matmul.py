"""Float32 matrix products by oneDNN, on CPUs for which MKL has no AVX-512 code.

    use_onednn(model)            # once, after loading and after adapters; returns how many modules it took

torch multiplies float32 matrices with MKL, which keeps its AVX-512 code for Intel's processors and runs AVX2 code on
all others. oneDNN, with which torch multiplies bfloat16, asks the processor what it can do. One core of an AMD EPYC of
2024 (Zen 5), 4,096 tokens by a matrix of 576 x 1,536, GFLOP/s:

                                  MKL   oneDNN
    output                        105      230
    gradient of the input         104      225
    gradient of the weights       105      190

The values are the same sums in another order. On Intel's processors both are equally fast, and nothing is changed.

Modules are swapped by kind (`nn.Linear`, GPT-2's `Conv1D`) for a subclass that overrides the forward; parameters, names
and what is saved stay. What oneDNN is not for goes to torch as before, call by call: other devices and types, autocast,
sharded or quantised weights, tracing, and products so small that preparing the kernel costs more than it saves.

`REWARDSMITH_CPU_MATMUL=torch` leaves all to torch, `onednn` takes oneDNN on any CPU, `auto` is the rule above.

Shape suffixes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError

MATMUL_VARIABLE = "REWARDSMITH_CPU_MATMUL"

LEAST_PRODUCTS = 1 << 24
"""Multiplications of a call that oneDNN gets. It prepares a kernel for each new shape, 0.4 ms; a call of this size is
0.15 ms shorter than MKL's, and a model has many layers of one shape."""

LEAST_WIDTH = 64
"""Inputs and outputs of a weight whose gradient oneDNN computes: below, laying out the many rows costs too much."""

_CPU_INFO = Path("/proc/cpuinfo")


def use_onednn(model: nn.Module) -> int:
    """Let the linear modules of `model` multiply by oneDNN where that is faster; returns how many now do.

    Raises:
        ModelError: `REWARDSMITH_CPU_MATMUL` holds another word, or asks for what this torch cannot do.
    """
    if not wants_onednn():
        return 0
    found = [(module, _SWAPPED.get(type(module), type(module))) for module in model.modules()]
    for module, kind in found:
        module.__class__ = kind
    return sum(issubclass(kind, (OneDnnLinear, OneDnnConv1D)) for _, kind in found)


def wants_onednn() -> bool:
    """What the environment asks for, or else whether oneDNN is the faster one here. Raises as `use_onednn`."""
    word = os.environ.get(MATMUL_VARIABLE, "")
    if word not in ("", "auto", "onednn", "torch"):
        raise ModelError(f"{word!r} multiplies no matrices", where=MATMUL_VARIABLE, fix="write onednn, torch or auto")
    if word == "torch":
        return False
    if word != "onednn":
        return _lacks_avx512_in_mkl() and onednn_agrees()
    if not onednn_agrees():
        raise ModelError(
            f"torch {torch.__version__} has no oneDNN product with the values of its own",
            where=MATMUL_VARIABLE,
            fix="write torch or auto",
        )
    return True


@cache
def _lacks_avx512_in_mkl() -> bool:
    """By the processor's maker, not by timing: the choice decides last bits, so it must not change from run to run."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpu_maker() not in ("", "GenuineIntel")
    )


def cpu_maker(cpu_info: Path = _CPU_INFO) -> str:
    """What CPUID calls the maker of the processor, "AuthenticAMD" for one; empty where that is not known."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # Windows: "AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD".
        return platform.processor().rpartition(", ")[2]
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


@cache
def onednn_agrees() -> bool:
    """Whether this torch has oneDNN's product, and its output and gradients are those of `linear`, to rounding.

    The operator is a private one of torch's, so it is asked rather than its version.
    """
    draw = torch.Generator().manual_seed(0)
    results = []
    # Whoever asks first may stand in inference mode, whose tensors have no gradients.
    with torch.inference_mode(mode=False), torch.enable_grad():
        drawn = [torch.randn(shape, generator=draw) for shape in ((2, 40, 96), (80, 96), (80,), (2, 40, 80))]
        grad = drawn.pop()
        for product in (functional.linear, _Product.apply):
            given = [tensor.clone().requires_grad_() for tensor in drawn]
            try:
                out = product(*given)
                results.append((out.detach(), *torch.autograd.grad(out, given, grad)))
            except Exception:  # whatever another torch makes of a private operator, there is no use for it then
                return False
    return all(
        found.shape == wanted.shape and bool((found - wanted).abs().max() <= 1e-5 * wanted.abs().max())
        for wanted, found in zip(*results, strict=True)
    )


class OneDnnLinear(nn.Linear):
    """`nn.Linear` whose float32 products on a CPU are oneDNN's."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is part of the interface
        """(…, I) to (…, O)."""
        if fits_onednn(input, self.weight):
            return product(input, self.weight, self.bias)
        return super().forward(input)


class OneDnnConv1D(Conv1D):
    """GPT-2's linear map, whose weight is (I, O), with oneDNN's products."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        if fits_onednn(x, self.weight):
            return product(x, self.weight.t(), self.bias)
        plain: Tensor = super().forward(x)
        return plain


_SWAPPED: dict[type, type] = {nn.Linear: OneDnnLinear, Conv1D: OneDnnConv1D}


def fits_onednn(input_NI: Tensor, weight: Tensor) -> bool:
    """Whether a call is one for oneDNN; N may be several dimensions."""
    return (
        input_NI.device.type == weight.device.type == "cpu"
        and input_NI.dtype == weight.dtype == torch.float32
        and input_NI.numel() // max(1, input_NI.shape[-1]) * weight.numel() >= LEAST_PRODUCTS
        # Sharded and quantised weights are subclasses, and know their own products.
        and type(weight) in (nn.Parameter, Tensor)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None  # noqa: SLF001
    )


def product(input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`linear` by oneDNN, (…, I) to (…, O), with gradients."""
    if torch.is_grad_enabled():
        out: Tensor = _Product.apply(input_NI, weight_OI, bias_O)
        return out
    return onednn_linear(input_NI, weight_OI, bias_O)


def onednn_linear(input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """The operator itself, without gradients, for float32 on a CPU."""
    if not (weight_OI.is_contiguous() or weight_OI.t().is_contiguous()):
        # Rows or columns with gaps go through oneDNN's reference code, hundreds of times slower.
        weight_OI = weight_OI.contiguous()
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(  # noqa: SLF001
        input_NI, weight_OI, bias_O, "none", [], ""
    )
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        for_input, for_weight, _ = ctx.needs_input_grad
        # Under an adapter the weights are frozen, and the inputs of all layers would be kept for nothing.
        ctx.save_for_backward(input_NI if for_weight else None, weight_OI if for_input else None)
        return onednn_linear(input_NI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
        input_NI, weight_OI = ctx.saved_tensors
        for_input, for_weight, for_bias = ctx.needs_input_grad
        rows_NO = grad_NO.reshape(-1, grad_NO.shape[-1])
        return (
            onednn_linear(grad_NO, weight_OI.t()) if for_input else None,
            _weight_gradient(rows_NO, input_NI.reshape(-1, input_NI.shape[-1])) if for_weight else None,
            rows_NO.sum(0) if for_bias else None,
        )


def _weight_gradient(grad_NO: Tensor, input_NI: Tensor) -> Tensor:
    """(O, I). Both are transposed in memory on the way, the second in blocks, which is cheaper for the narrower one."""
    outputs, inputs = grad_NO.shape[1], input_NI.shape[1]
    if min(outputs, inputs) < LEAST_WIDTH:
        return grad_NO.t() @ input_NI
    if outputs >= inputs:
        return onednn_linear(grad_NO.t(), input_NI.t())
    return onednn_linear(input_NI.t(), grad_NO.t()).t()
