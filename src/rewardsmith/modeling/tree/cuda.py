"""The attention of a row of trees on a CUDA device: which kernel a pack takes.

    varlen      one variable-length call over gathered paths (`varlen`, its kernels in `varlen_kernels`)
    flex        FlexAttention with a block mask (`flex`): soft-capping, float32, trees whose paths gather too much

The choice hangs on the pack's layout, so every layer and the recomputation of a checkpointed one take the same.

`REWARDSMITH_TREE_KERNEL=varlen` or `flex` (or `dense`, in `attention`) takes that kernel for every pack: for
measurements. On a CPU these run too, in plain torch: slow, FlexAttention without gradients, the same code around them.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from rewardsmith.errors import ModelError
from rewardsmith.modeling.tree.flex import flex_tree_attention
from rewardsmith.modeling.tree.token_tree import TreeLayout
from rewardsmith.modeling.tree.varlen import VarlenCall, gathered_tokens, reference_varlen, varlen_attention
from rewardsmith.modeling.tree.varlen_kernels import fits_varlen, varlen_call

Kernel = Literal["varlen", "flex"]

# Keys and values copied for each token of the row, up to which gathering is taken; beyond it FlexAttention is.
# At 8, the gathered keys of Qwen3-4B (2,048 numbers a token) are about as many bytes as one MLP of that layer writes.
# Reasoned, not measured: `python bench/gpu.py kernels` prints both over length and sharing.
MOST_GATHERED = 8

KERNEL_VARIABLE = "REWARDSMITH_TREE_KERNEL"

_LOG = logging.getLogger(__name__)


def choose_kernel(
    layout: TreeLayout,
    window: int | None,
    dtype: torch.dtype,
    width: int,
    softcap: float | None,
    device: torch.device,
) -> Kernel:
    """Which kernel this pack takes in a layer: `varlen` wherever there is one for it and the paths gather little.

    Raises:
        ModelError: `REWARDSMITH_TREE_KERNEL` asks for varlen, and there is none for these inputs.
    """
    forced, call = forced_kernel(), _call_on(device, dtype, width, softcap)
    if forced == "varlen" and call is None:
        raise ModelError(
            f"no varlen kernel takes {str(dtype).removeprefix('torch.')}, heads of {width} numbers"
            f"{' and soft-capping' if softcap else ''} here",
            where=KERNEL_VARIABLE,
            fix="leave it unset, or train in bfloat16 on a GPU of compute capability 8.0 or higher",
        )
    if call is None or forced == "flex":
        return "flex"
    if forced == "varlen":
        return "varlen"
    return "varlen" if gathered_tokens(layout, window) <= MOST_GATHERED * len(layout) else "flex"


def forced_kernel() -> str | None:
    """What `REWARDSMITH_TREE_KERNEL` asks for: varlen, flex, dense, or None for the choice by pack.

    Raises:
        ModelError: it holds another word.
    """
    word = os.environ.get(KERNEL_VARIABLE, "")
    if word not in ("", "auto", "varlen", "flex", "dense"):
        raise ModelError(f"{word!r} is no kernel", where=KERNEL_VARIABLE, fix="write varlen, flex, dense or auto")
    return None if word in ("", "auto") else word


def planned_kernel(device: str, dtype: torch.dtype, width: int, softcap: float | None) -> str:
    """What a plan can say before any pack is there: the kernel that packs of this model take on a kind of device."""
    if device == "cpu":
        return "calls" if softcap is None else "dense"
    if device != "cuda":
        return "dense"
    # Of the kernels only torch's own is sure to be there, and a GPU that was rented yesterday has capability 8.0.
    return "varlen" if fits_varlen(dtype, width) and softcap is None else "flex"


def cuda_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Attention of one row on a CUDA device: (1, H, T, D) and (1, K, T, D) → (1, T, H, D)."""
    # Under autocast, rotary positions of float32 weights leave queries and keys in float32, values in bfloat16.
    query, key = query.to(value.dtype), key.to(value.dtype)
    dtype, width, device = value.dtype, value.shape[-1], value.device
    kind = ("kernel", window, dtype, width, softcap, str(device))
    kernel = layout.ask(kind, lambda row: choose_kernel(row, window, dtype, width, softcap, device))
    if kernel not in layout.kernels:
        layout.kernels.add(kernel)
        _say_once(kernel, str(device), window, str(dtype), width, softcap)
    call = _call_on(device, dtype, width, softcap)
    if kernel == "varlen" and call is not None:
        return varlen_attention(module, query, key, value, layout, scale, window, softcap, call)
    # Uncompiled on a CPU: there it is asked for by tests and measurements alone.
    return flex_tree_attention(query, key, value, layout, scale, window, softcap, compiled=device.type == "cuda")


@cache
def _say_once(kernel: str, device: str, window: int | None, dtype: str, width: int, softcap: float | None) -> None:
    seen = "everything" if window is None else f"{window} tokens"
    capped = "" if softcap is None else f", capped at {softcap:g}"
    _LOG.info("tree attention on %s: %s (%s, heads of %d, sees %s%s)", device, kernel, dtype, width, seen, capped)


def _call_on(device: torch.device, dtype: torch.dtype, width: int, softcap: float | None) -> VarlenCall | None:
    if device.type == "cpu" and forced_kernel() == "varlen":
        return reference_varlen
    return varlen_call(dtype, width, softcap, device)
