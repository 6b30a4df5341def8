"""The attention of a row of trees on a CUDA device: which kernel a pack takes, and FlexAttention.

    varlen      one variable-length call over gathered paths (`varlen`)
    flex        FlexAttention with a block mask made from the layout on the host, compiled once for all lengths: for
                soft-capping, float32, and trees whose paths gather too much

The choice hangs on the pack's layout, so every layer and the recomputation of a checkpointed one take the same.

`REWARDSMITH_TREE_KERNEL=varlen` or `flex` (or `dense`, in `attention`) takes that kernel for every pack: for
measurements. On a CPU these run too, in plain torch: slow, FlexAttention without gradients, the same code around them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewardsmith.errors import ModelError
from rewardsmith.modeling.reward_head import send
from rewardsmith.modeling.tree.token_tree import TreeLayout
from rewardsmith.modeling.tree.varlen import (
    VarlenCall,
    fits_varlen,
    gathered_tokens,
    reference_varlen,
    varlen_attention,
    varlen_call,
)

Kernel = Literal["varlen", "flex"]

# Keys and values copied for each token of the row, up to which gathering is taken; beyond it FlexAttention is.
# At 8, the gathered keys of Qwen3-4B (2,048 numbers a token) are about as many bytes as one MLP of that layer writes.
# Reasoned, not measured: `python bench/gpu.py kernels` prints both over length and sharing.
MOST_GATHERED = 8

# Kinds of calls that FlexAttention may be compiled for: with and without a window, with and without gradients, rows of
# whole blocks, rows of one block, for each model of a process. Beyond dynamo's own limit of 8 it would run densely,
# without a word.
FLEX_VARIANTS = 64

# FlexAttention's own default, and the side of the blocks that the mask is cut into.
FLEX_BLOCK = 128

KERNEL_VARIABLE = "REWARDSMITH_TREE_KERNEL"

_LOG = logging.getLogger(__name__)


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


def _call_on(device: torch.device, dtype: torch.dtype, width: int, softcap: float | None) -> VarlenCall | None:
    if device.type == "cpu" and forced_kernel() == "varlen":
        return reference_varlen
    return varlen_call(dtype, width, softcap, device)


@cache
def _say_once(kernel: str, device: str, window: int | None, dtype: str, width: int, softcap: float | None) -> None:
    seen = "everything" if window is None else f"{window} tokens"
    capped = "" if softcap is None else f", capped at {softcap:g}"
    _LOG.info("tree attention on %s: %s (%s, heads of %d, sees %s%s)", device, kernel, dtype, width, seen, capped)


def planned_kernel(device: str, dtype: torch.dtype, width: int, softcap: float | None) -> str:
    """What a plan can say before any pack is there: the kernel that packs of this model take on a kind of device."""
    if device == "cpu":
        return "calls" if softcap is None else "dense"
    if device != "cuda":
        return "dense"
    # Of the kernels only torch's own is sure to be there, and a GPU that was rented yesterday has capability 8.0.
    return "varlen" if fits_varlen(dtype, width) and softcap is None else "flex"


def flex_tree_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
    *,
    compiled: bool,
) -> Tensor:
    """FlexAttention over the row: (1, T, H, D). Not compiled it is slow and dense, and runs on a CPU too."""
    block_mask = tree_block_mask(layout, window, query.device)
    groups = query.shape[1] // key.shape[1]
    if groups & (groups - 1):  # its kernels share keys among 2, 4, 8 … query heads only
        key, value, groups = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), 1
    run = _compiled_flex() if compiled else import_module("torch.nn.attention.flex_attention").flex_attention
    out: Tensor = run(
        query, key, value, score_mod=_capped(softcap), block_mask=block_mask, scale=scale, enable_gqa=groups > 1
    )
    return out.transpose(1, 2)


def tree_block_mask(layout: TreeLayout, window: int | None, device: torch.device) -> Any:
    """FlexAttention's block mask of a layout, from its nodes: nothing is evaluated token by token, nothing compiled."""
    from torch.nn.attention.flex_attention import BlockMask

    window = None if layout.fits_window(window) else window

    def make(row: TreeLayout) -> Any:
        some, every = _blocks(row, window)
        return BlockMask.from_kv_blocks(
            *_ordered(some & ~every, device),
            *_ordered(every, device),
            BLOCK_SIZE=FLEX_BLOCK,
            mask_mod=tree_mask_rule(row, window, device),
            seq_lengths=(len(row), len(row)),
        )

    return layout.ask(("block mask", window, str(device)), make)


def tree_mask_rule(layout: TreeLayout, window: int | None, device: torch.device) -> Callable[..., Tensor]:
    """The rule `who attends to whom` in the form that FlexAttention compiles."""
    stops = send(torch.from_numpy(layout.stops()), device)
    positions = send(torch.from_numpy(layout.position_ids), device)

    def allowed(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del batch, head
        seen = (key <= query) & (query < stops[key])
        return seen if window is None else seen & (positions[query] - positions[key] < window)

    return allowed


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    """Compiled once for every length: static shapes compile again for each, and past dynamo's limit run densely."""
    flex = import_module("torch.nn.attention.flex_attention").flex_attention
    dynamo = import_module("torch._dynamo").config
    name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
    setattr(dynamo, name, max(getattr(dynamo, name), FLEX_VARIANTS))
    made: Callable[..., Tensor] = torch.compile(flex, dynamic=True)
    return made


@cache
def _capped(softcap: float | None) -> Callable[..., Tensor] | None:
    if softcap is None:
        return None

    def capped(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del batch, head, query, key
        return softcap * torch.tanh(score / softcap)

    return capped


def _blocks(layout: TreeLayout, window: int | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n, n) for blocks of queries and keys: may any query see any key, and does every query see every key.

    `may` is allowed to be too generous, since the rule is applied inside those blocks; `does` is exact.
    """
    length = len(layout)
    starts = np.arange(0, length, FLEX_BLOCK)
    ends = np.minimum(starts + FLEX_BLOCK, length)
    stops, positions = layout.stops(), layout.position_ids
    last_stop, first_stop = np.maximum.reduceat(stops, starts), np.minimum.reduceat(stops, starts)
    some = (starts[None, :] < ends[:, None]) & (starts[:, None] < last_stop[None, :])
    every = (ends[None, :] - 1 <= starts[:, None]) & (ends[:, None] - 1 < first_stop[None, :])
    if window is not None:
        low, high = np.minimum.reduceat(positions, starts), np.maximum.reduceat(positions, starts)
        some &= low[:, None] - high[None, :] < window
        every &= high[:, None] - low[None, :] < window
    # A last block that the row does not fill has no keys to see in full.
    every &= (ends - starts == FLEX_BLOCK)[None, :]
    return some, every


def _ordered(blocks: NDArray[np.bool_], device: torch.device) -> tuple[Tensor, Tensor]:
    """Number and order of each query block's key blocks, those that count first: (1, 1, n) and (1, 1, n, n)."""
    # False sorts before True: blocks that count come first, in the order of the row.
    order = np.argsort(~blocks, axis=1, kind="stable")
    made = (torch.from_numpy(part.astype(np.int32))[None, None] for part in (blocks.sum(axis=1), order))
    number, indices = (send(part, device) for part in made)
    return number, indices
