"""A row of trees by FlexAttention: a block mask made from the layout on the host, compiled once for all lengths.

For soft-capping where the varlen kernel has none, for float32 and for trees whose paths gather too much.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardsmith.modeling.reward_head import send
from rewardsmith.modeling.tree.token_tree import TreeLayout

# Kinds of calls that FlexAttention may be compiled for: with and without a window, with and without gradients, rows of
# whole blocks, rows of one block, for each model of a process. Beyond dynamo's own limit of 8 it would run densely,
# without a word.
FLEX_VARIANTS = 64

# FlexAttention's own default, and the side of the blocks that the mask is cut into.
FLEX_BLOCK = 128


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
