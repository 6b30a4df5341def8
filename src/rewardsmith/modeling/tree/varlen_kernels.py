"""Which variable-length kernel this environment has, and the proof that it computes what it should.

A kernel is believed once it has given, on the device and in the type that it is asked for, the values and gradients of
`reference_varlen` on a small tree, with a window and without. One that does not, or fails, is named in a warning, and
the next one is tried: attention that is wrong in silence would be noticed at the end of a training, if at all.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardsmith.modeling.tree.token_tree import TreeLayout, pack_sequences
from rewardsmith.modeling.tree.varlen import VarlenCall, VarlenTensors, plan_varlen, reference_varlen, to_tensors

_LOG = logging.getLogger(__name__)

PROOF_TOLERANCE = 0.04
"""Of the largest difference, relative to the largest value. bfloat16 rounds by 1/256, a kernel several times on its
way; a key too many or too few moves values by tenths."""

PROOF_WINDOW = 40


@cache
def varlen_call(dtype: torch.dtype, width: int, softcap: float | None, device: torch.device) -> VarlenCall | None:
    """The first kernel for these inputs that proves itself on `device`, or None.

    FlashAttention 3 where it is installed (Hopper only), then torch's own, then FlashAttention 2. All need capability
    8.0 (Ampere), take half precision only, heads of at most 256 numbers, a multiple of 8; the FlashAttention packages
    can soft-cap, torch's cannot.
    """
    for name, call in candidates(dtype, width, softcap, _capability(device)):
        if _proves_itself(name, call, dtype, width, softcap, device):
            _LOG.info("varlen attention on %s: %s", device, name)
            return call
    return None


def fits_varlen(dtype: torch.dtype, width: int) -> bool:
    """Whether there are varlen kernels for this type and head width at all."""
    return dtype in (torch.float16, torch.bfloat16) and width <= 256 and width % 8 == 0


def candidates(
    dtype: torch.dtype, width: int, softcap: float | None, capability: tuple[int, int]
) -> Iterator[tuple[str, VarlenCall]]:
    """Name and call of the kernels for these inputs on a GPU of that compute capability, the fastest first."""
    if not fits_varlen(dtype, width) or capability < (8, 0):
        return
    if capability[0] == 9:
        yield from _flash_attention("flash_attn_interface")
    if softcap is None:
        yield from _torch_varlen()
    yield from _flash_attention("flash_attn")


def _capability(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return (0, 0)
    # On ROCm the number means something else, and its kernels know neither windows nor this alignment: Triton's do.
    return (0, 0) if torch.version.hip else torch.cuda.get_device_capability(device)


def _proves_itself(
    name: str, call: VarlenCall, dtype: torch.dtype, width: int, softcap: float | None, device: torch.device
) -> bool:
    layout = _small_tree()
    # Whoever asks first may be inside inference mode or autocast; the answer is for the whole process.
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for window in (None, PROOF_WINDOW):
            plan = to_tensors(plan_varlen(layout, window), device)
            tokens = (len(layout), len(plan.keys), len(plan.keys), len(layout))
            draw = np.random.default_rng(0)
            *inputs, upstream = (
                torch.from_numpy(draw.standard_normal((count, heads, width), dtype=np.float32)).to(device, dtype)
                for count, heads in zip(tokens, (4, 2, 2, 4), strict=True)
            )
            wide = [part.float() for part in inputs]
            exact = _with_gradients(reference_varlen, wide, upstream, plan, window, softcap)
            try:
                found = _with_gradients(call, inputs, upstream, plan, window, softcap)
            except torch.OutOfMemoryError:
                raise  # that says nothing of the kernel
            except (RuntimeError, ValueError, TypeError, NotImplementedError) as problem:
                _LOG.warning("%s is not used on %s: %s", name, device, str(problem).strip().split("\n")[0])
                return False
            apart = max(float((a.float() - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True))
            if not apart <= PROOF_TOLERANCE:  # false where NaN
                seen = "everything" if window is None else f"{window} tokens"
                _LOG.warning(
                    "%s is not used on %s: where a token sees %s it is wrong by %.3g of the largest value",
                    *(name, device, seen, apart),
                )
                return False
    return True


def _with_gradients(
    call: VarlenCall,
    inputs: list[Tensor],
    upstream: Tensor,
    plan: VarlenTensors,
    window: int | None,
    softcap: float | None,
) -> list[Tensor]:
    query, key, value = (part.detach().requires_grad_() for part in inputs)
    out = call(query, key, value, plan, query.shape[-1] ** -0.5, window, softcap)
    return [out.detach(), *torch.autograd.grad(out, (query, key, value), upstream.to(out.dtype))]


@cache
def _small_tree() -> TreeLayout:
    """Three levels, texts that end inside a trunk, stretches shorter and longer than the 128 of a kernel's block."""
    prompt, answer, other = (list(range(start, start + 150)) for start in (0, 1000, 2000))
    deep = [prompt + answer[:7], prompt + answer + other[:30], prompt + answer + [1]]
    texts = [*deep, prompt, prompt[:60] + other, other]
    (pack,) = pack_sequences(texts, 1 << 20)
    return pack.layout


def _torch_varlen() -> Iterator[tuple[str, VarlenCall]]:
    """torch's own, from 2.11 on: 2.10 has no windows. 2.11 does not say that query heads may share keys; they may."""
    if find_spec("torch.nn.attention.varlen") is None:
        return
    attend = import_module("torch.nn.attention.varlen").varlen_attn
    known = inspect.signature(attend).parameters
    if "window_size" not in known or "scale" not in known:
        return
    name = f"varlen attention of torch {torch.__version__}"
    if "enable_gqa" in known:
        yield name, _torch_call(attend, enable_gqa=True)
        return
    yield name, _torch_call(attend)
    yield f"{name}, keys repeated for each query head", _torch_call(attend, repeated=True)


def _torch_call(attend: Any, *, repeated: bool = False, **more: Any) -> VarlenCall:
    def call(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        plan: VarlenTensors,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        del softcap
        if repeated:
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        out: Tensor = attend(
            query,
            key,
            value,
            plan.query_edges,
            plan.key_edges,
            plan.longest_queries,
            plan.longest_keys,
            scale=scale,
            # Our window counts the query itself, the kernel's does not.
            window_size=(-1 if window is None else window - 1, 0),
            **more,
        )
        return out

    return call


def _flash_attention(package: str) -> Iterator[tuple[str, VarlenCall]]:
    """FlashAttention 3 (`flash_attn_interface`) or 2 (`flash_attn`)."""
    if find_spec(package) is None:
        return
    try:
        attend = import_module(package).flash_attn_varlen_func
    except (ImportError, OSError, AttributeError) as problem:  # built for another torch, or version 4's empty package
        _LOG.warning("%s is installed and cannot be used: %s", package, problem)
        return

    def call(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        plan: VarlenTensors,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        out = attend(
            query,
            key,
            value,
            cu_seqlens_q=plan.query_edges,
            cu_seqlens_k=plan.key_edges,
            max_seqlen_q=plan.longest_queries,
            max_seqlen_k=plan.longest_keys,
            softmax_scale=scale,
            causal=True,
            # -1 means no limit; a limit counts the tokens before the query, without itself.
            window_size=(-1 if window is None else window - 1, -1 if window is None else 0),
            # 0 means no cap to FlashAttention.
            softcap=softcap or 0.0,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        found: Tensor = out[0] if isinstance(out, tuple) else out  # some builds of version 3 return the log-sum-exp too
        return found

    yield package, call
