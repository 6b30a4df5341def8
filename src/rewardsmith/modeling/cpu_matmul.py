"""Matrix products of linear layers on a CPU, where torch's own are several times slower than the processor allows.

    use_faster_products(model)       # once, after loading and after adapters; returns how many modules it took

Two cases, each by a rule that looks at the processor and never at a clock:

oneDNN. torch multiplies float32 matrices with MKL, which keeps its AVX-512 code for Intel's processors and runs AVX2
code on all others. oneDNN, with which torch multiplies bfloat16, asks the processor what it can do. One core of an AMD
EPYC of 2024 (Zen 5), 4,096 tokens by a matrix of 576 x 1,536, GFLOP/s:

                                  MKL   oneDNN
    output                        105      230
    gradient of the input         104      225
    gradient of the weights       105      190

The values are the same sums in another order. On Intel's processors both are equally fast, and nothing is changed.

Widened. Many x86 processors have no instructions for bfloat16 or float16, and torch multiplies such matrices there 4 to
38 times slower than float32 ones. So both matrices are widened to float32 for the product and the result is rounded
back: the sums are in float32 as before, the weights stay as they are. One core of an Intel Xeon of 2023 without AMX,
512 tokens by a matrix of 576 x 1,536, milliseconds of the output and both gradients:

                 torch   widened
    bfloat16        91        25
    float16        782        20

Modules are swapped by kind (`nn.Linear`, GPT-2's `Conv1D`) for a subclass that overrides the forward; parameters, names
and what is saved stay. What neither is for goes to torch as before, call by call: other devices and types, autocast,
sharded or quantised weights, tracing, and products so small that preparing them costs more than it saves.

`REWARDSMITH_CPU_MATMUL=torch` leaves all to torch, `onednn` takes oneDNN on any CPU, `auto` is the rules above.

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

LEAST_ROWS = 64
"""Rows of a call that is widened. Widening a weight takes as long as torch's slow product of about 48 rows."""

_INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16", "avx_ne_convert"),
    torch.float16: ("avx512_fp16", "amx_fp16"),
}
"""What x86 processors multiply each type with; any of them is enough."""

_CPU_INFO = Path("/proc/cpuinfo")


def use_faster_products(model: nn.Module) -> int:
    """Let the linear modules of `model` multiply by what is faster on this processor; returns how many now do.

    Raises:
        ModelError: `REWARDSMITH_CPU_MATMUL` holds another word, or asks for what this torch cannot do.
    """
    if _asked() == "torch":
        return 0
    onednn = wants_onednn()
    found = [(module, _faster_kind(module, onednn=onednn)) for module in model.modules()]
    for module, kind in found:
        module.__class__ = kind
    return sum(issubclass(kind, _FASTER) for _, kind in found)


def _faster_kind(module: Any, *, onednn: bool) -> type:
    kind = type(module)
    if kind not in _WIDENED:
        return kind
    if lacks_instructions(module.weight.dtype):
        return _WIDENED[kind]
    return _ONEDNN[kind] if onednn else kind


def _asked() -> str:
    word = os.environ.get(MATMUL_VARIABLE, "")
    if word not in ("", "auto", "onednn", "torch"):
        raise ModelError(f"{word!r} multiplies no matrices", where=MATMUL_VARIABLE, fix="write onednn, torch or auto")
    return word or "auto"


def lacks_instructions(dtype: torch.dtype) -> bool:
    """Whether this is an x86 processor that has to emulate products of `dtype`; false where that is not known."""
    names, found = _INSTRUCTIONS.get(dtype), _capabilities()
    return names is not None and found.get("architecture") == "x86_64" and not any(found.get(name) for name in names)


@cache
def _capabilities() -> dict[str, Any]:
    """What torch knows of the processor; nothing where it does not tell."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return {} if ask is None else ask()


def wants_onednn() -> bool:
    """What the environment asks for, or else whether oneDNN is the faster one for float32 here.

    Raises:
        ModelError: as `use_faster_products`.
    """
    word = _asked()
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


class WidenedLinear(nn.Linear):
    """`nn.Linear` whose products of half-precision matrices on a CPU are computed in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is part of the interface
        """(…, I) to (…, O)."""
        if fits_widening(input, self.weight):
            return widened_product(input, self.weight, self.bias)
        return super().forward(input)


class WidenedConv1D(Conv1D):
    """GPT-2's linear map, whose weight is (I, O), with products in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        if fits_widening(x, self.weight):
            return widened_product(x, self.weight.t(), self.bias)
        plain: Tensor = super().forward(x)
        return plain


_ONEDNN: dict[type, type] = {nn.Linear: OneDnnLinear, Conv1D: OneDnnConv1D}
_WIDENED: dict[type, type] = {nn.Linear: WidenedLinear, Conv1D: WidenedConv1D}
_FASTER = (*_ONEDNN.values(), *_WIDENED.values())


def fits_onednn(input_NI: Tensor, weight: Tensor) -> bool:
    """Whether a call is one for oneDNN; N may be several dimensions."""
    return (
        input_NI.dtype == weight.dtype == torch.float32
        and _rows(input_NI) * weight.numel() >= LEAST_PRODUCTS
        and _is_plain(input_NI, weight)
    )


def fits_widening(input_NI: Tensor, weight: Tensor) -> bool:
    """Whether a call is one to be widened; N may be several dimensions."""
    return (
        input_NI.dtype == weight.dtype
        and weight.dtype in _INSTRUCTIONS
        and _rows(input_NI) >= LEAST_ROWS
        and _is_plain(input_NI, weight)
    )


def _rows(input_NI: Tensor) -> int:
    return input_NI.numel() // max(1, input_NI.shape[-1])


def _is_plain(input_NI: Tensor, weight: Tensor) -> bool:
    return (
        input_NI.device.type == weight.device.type == "cpu"
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


def widened_product(input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`linear` of half-precision tensors, (…, I) to (…, O), summed in float32 and rounded once, with gradients."""
    out: Tensor = _WidenedProduct.apply(input_NI, weight_OI, bias_O)
    return out


class _WidenedProduct(torch.autograd.Function):
    """Not left to autograd, which would keep the float32 copies of all layers until the backward pass."""

    @staticmethod
    def forward(ctx: Any, input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        for_input, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input_NI if for_weight else None, weight_OI if for_input else None)
        bias = None if bias_O is None else bias_O.float()
        return functional.linear(input_NI.float(), weight_OI.float(), bias).to(input_NI.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
        input_NI, weight_OI = ctx.saved_tensors
        for_input, for_weight, for_bias = ctx.needs_input_grad
        dtype, grad = grad_NO.dtype, grad_NO.float()
        rows_NO = grad.reshape(-1, grad.shape[-1])
        return (
            (grad @ weight_OI.float()).to(dtype) if for_input else None,
            (rows_NO.t() @ input_NI.reshape(-1, input_NI.shape[-1]).float()).to(dtype) if for_weight else None,
            rows_NO.sum(0).to(dtype) if for_bias else None,
        )
