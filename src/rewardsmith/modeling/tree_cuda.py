"""The attention of a row of trees on a CUDA device: one variable-length call over gathered paths, or FlexAttention.

    varlen      queries are stretches of the row as they lie; the keys and values of each stretch are gathered along the
                path from the root to its end. Causal, aligned at the bottom right: exact at any length and depth, with
                sliding windows, without a mask and without a compilation.
    flex        FlexAttention with a block mask made from the layout on the CPU, compiled once for all lengths. For
                soft-capping where the varlen kernel has none, for float32 and for trees whose paths gather too much.

How a tree becomes calls (the row of `token_tree`; `|` ends a stretch):

    row         [ trunk  first branch | second | third ]
    queries       0 … 8                 9 … 12   13 … 15
    keys          0 … 8                 0 … 4, 9 … 12     0 … 4, 13 … 15

A stretch is a node, its first child, that one's first child …: they lie one after the other and read like plain text,
so a pair gathers its prompt once and not twice. With a window only the last `window − 1` tokens before it are gathered.

The kernel that a pack takes is decided by its layout, so every layer and the recomputation of a checkpointed one take
the same. Index tensors are made once for a pack and a kind of layer, and travel once (`layout.ask`), for the next pack
while this one is computed (`TreeLayout.prepare_like`).

`REWARDSMITH_TREE_KERNEL=varlen` or `flex` (or `dense`, in `tree_attention`) takes that kernel for every pack: for
measurements. On a CPU these run too, in plain torch: slow, FlexAttention without gradients, the same code around them.

Shape suffixes: H query heads, K key heads, T tokens of the row, G gathered tokens, D head width.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewardsmith.errors import ModelError
from rewardsmith.modeling.reward_head import reads_rewards_only, send
from rewardsmith.modeling.token_tree import Ints, Node, TreeLayout
from rewardsmith.modeling.tree_calls import first_children, siblings

Kernel = Literal["varlen", "flex"]
VarlenCall = Callable[[Tensor, Tensor, Tensor, "VarlenTensors", float, int | None, float | None], Tensor]

# Keys and values copied for each token of the row, up to which gathering is taken; beyond it FlexAttention is.
# At 8, the gathered keys of Qwen3-4B (2,048 numbers a token) are about as many bytes as one MLP of that layer writes.
# Reasoned, not measured: `python bench/gpu.py kernels` prints both over length and sharing.
MOST_GATHERED = 8

KERNEL_VARIABLE = "REWARDSMITH_TREE_KERNEL"

# Kinds of calls that FlexAttention may be compiled for: with and without a window, with and without gradients, rows of
# whole blocks, rows of one block, for each model of a process. Beyond dynamo's own limit of 8 it would run densely,
# without a word.
FLEX_VARIANTS = 64

_LOG = logging.getLogger(__name__)

# FlexAttention's own default, and the side of the blocks that the mask is cut into.
FLEX_BLOCK = 128


@dataclass(frozen=True, slots=True)
class VarlenPlan:
    """The stretches of a row, and the keys of each.

    Attributes:
        keys: (G,) the row's token behind each gathered key, path after path.
        query_edges: (S + 1,) where each stretch begins among the queries, and the end.
        key_edges: (S + 1,) where each path begins among the gathered keys, and the end.
    """

    keys: Ints
    query_edges: Ints
    key_edges: Ints

    @property
    def as_they_lie(self) -> bool:
        """Whether the keys are the row's own, in order: nothing branches, and nothing need be copied."""
        return bool(len(self.keys) == self.query_edges[-1] and (np.diff(self.keys, prepend=-1) == 1).all())

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest stretch and of the longest path."""
        return int(np.diff(self.query_edges).max(initial=0)), int(np.diff(self.key_edges).max(initial=0))


@dataclass(frozen=True, slots=True)
class VarlenTensors:
    """A plan on a device, in the types that the kernels want; `as_they_lie`: the keys need not be gathered."""

    keys: Tensor
    query_edges: Tensor
    key_edges: Tensor
    longest_queries: int
    longest_keys: int
    as_they_lie: bool = False


def plan_varlen(layout: TreeLayout, window: int | None = None) -> VarlenPlan:
    """The stretches of a whole row for a layer with sliding window `window` (None: it sees everything)."""
    window = None if layout.fits_window(window) else window
    return layout.derived(("varlen", window), lambda: _plan(_stretches(layout), window))


def plan_reward_varlen(layout: TreeLayout, window: int | None = None) -> VarlenPlan:
    """The same where only the rewards are read: each reward position is a stretch of one token."""
    window = None if layout.fits_window(window) else window
    return layout.derived(("reward varlen", window), lambda: _plan(_reward_stretches(layout), window))


def gathered_tokens(layout: TreeLayout, window: int | None = None) -> int:
    """How many keys a layer gathers; the row's length where nothing branches."""
    return len(plan_varlen(layout, window).keys)


def choose_kernel(
    layout: TreeLayout,
    window: int | None,
    dtype: torch.dtype,
    width: int,
    softcap: float | None,
    device: torch.device | None = None,
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
    return "varlen" if _fits_varlen(dtype, width) and softcap is None else "flex"


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


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
    call: VarlenCall,
) -> Tensor:
    """The varlen path with any kernel that has this signature: (1, T, H, D)."""
    window = None if layout.fits_window(window) else window
    query_THD, key_TKD, value_TKD = (part[0].transpose(0, 1) for part in (query, key, value))
    if not reads_rewards_only(module):
        plan = _on_device(layout, window, query.device, rewards=False)
        return _gather_and_call(query_THD, key_TKD, value_TKD, plan, scale, window, softcap, call)[None]
    device = query.device
    plan = _on_device(layout, window, device, rewards=True)
    # Stretches are planned in the order of the row, rewards lie in the order of the leaves: the same, but for texts
    # that end inside a trunk.
    sorted_rows = layout.ask(
        ("sorted reward rows", str(device)),
        lambda row: send(torch.from_numpy(np.sort(row.reward_positions)), device),
    )
    out = _gather_and_call(
        query_THD.index_select(0, sorted_rows), key_TKD, value_TKD, plan, scale, window, softcap, call
    )
    return out.new_zeros((len(layout), *out.shape[1:])).index_copy(0, sorted_rows, out)[None]


def reference_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: VarlenTensors,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """What a varlen kernel computes, in plain torch, stretch after stretch; for tests and any device.

    Args:
        query: (Q, H, D).
        key: (G, K, D), gathered.
        value: (G, K, D), gathered.
        plan: where stretches and their paths begin.
        scale: of the scores.
        window: tokens that a query sees, itself included.
        softcap: bound of the scores, by a tanh.

    Returns:
        (Q, H, D).
    """
    groups = query.shape[1] // key.shape[1]
    parts = [query[:0]]
    edges = zip(plan.query_edges.tolist(), plan.key_edges.tolist(), strict=True)
    (q_start, k_start), *rest = edges
    for q_end, k_end in rest:
        keys, values = (part[k_start:k_end].repeat_interleave(groups, 1) for part in (key, value))
        scores_HQK = torch.einsum("qhd,khd->hqk", query[q_start:q_end], keys) * scale
        if softcap is not None:
            scores_HQK = softcap * torch.tanh(scores_HQK / softcap)
        # Bottom right: the last query sees the last key.
        back = torch.arange(k_end - k_start - (q_end - q_start), k_end - k_start, device=query.device)[:, None]
        back = back - torch.arange(k_end - k_start, device=query.device)[None, :]
        allowed = (back >= 0) & (back < (window or k_end - k_start))
        weights = scores_HQK.masked_fill(~allowed, -torch.inf).softmax(-1)
        parts.append(torch.einsum("hqk,khd->qhd", weights, values))
        q_start, k_start = q_end, k_end
    return torch.cat(parts)


@cache
def varlen_call(
    dtype: torch.dtype, width: int, softcap: float | None, capability: tuple[int, int] = (8, 0)
) -> VarlenCall | None:
    """The varlen kernel of this environment for these inputs on a GPU of that compute capability, or None.

    FlashAttention 3 where it is installed (Hopper only), then torch's own, then FlashAttention 2. All need capability
    8.0 (Ampere), take half precision only, heads of at most 256 numbers, a multiple of 8; the FlashAttention packages
    can soft-cap, torch's cannot.
    """
    if not _fits_varlen(dtype, width) or capability < (8, 0):
        return None
    if capability[0] == 9:
        call, _ = _flash_attention("flash_attn_interface")
        if call is not None:
            return call
    for call, caps in (_torch_varlen(), _flash_attention("flash_attn")):
        if call is not None and (softcap is None or caps):
            return call
    return None


def _fits_varlen(dtype: torch.dtype, width: int) -> bool:
    return dtype in (torch.float16, torch.bfloat16) and width <= 256 and width % 8 == 0


def _call_on(device: torch.device | None, dtype: torch.dtype, width: int, softcap: float | None) -> VarlenCall | None:
    if device is not None and device.type == "cpu" and forced_kernel() == "varlen":
        return reference_varlen
    if device is None or device.type != "cuda":
        return varlen_call(dtype, width, softcap)
    return varlen_call(dtype, width, softcap, _capability(device))


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    # On ROCm the number means something else, and its kernels know neither windows nor this alignment: Triton's do.
    return (0, 0) if torch.version.hip else torch.cuda.get_device_capability(device)


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


def _stretches(layout: TreeLayout) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """First and last query of each stretch, and the runs of keys before it, in the order of the row."""
    by_start = {node.start: node for node in layout.nodes}
    open_: list[tuple[Node, list[tuple[int, int]]]] = [(root, []) for root in siblings(by_start, 0, len(layout))]
    found = []
    while open_:
        head, path = open_.pop()
        chain = list(first_children(by_start, head))
        found.append((head.start, chain[-1].end, path))
        for node in chain[:-1]:
            _, *others = siblings(by_start, node.end, node.stop)
            open_ += [(other, [*path, (head.start, node.end)]) for other in others]
    return sorted(found)


def _reward_stretches(layout: TreeLayout) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """One query a reward position; its keys are its own stretch up to it, and what leads there."""
    stretches = _stretches(layout)
    starts = [start for start, _, _ in stretches]
    found = []
    for position in np.sort(layout.reward_positions).tolist():
        start, _, path = stretches[int(np.searchsorted(starts, position, side="right")) - 1]
        found.append((position, position + 1, [*path, (start, position)]))
    return found


def _plan(stretches: list[tuple[int, int, list[tuple[int, int]]]], window: int | None) -> VarlenPlan:
    keys: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    queries, paths = [], []
    for start, end, runs in stretches:
        before = np.concatenate([np.empty(0, np.int64), *(np.arange(a, b) for a, b in runs)])
        if window is not None:
            # The first query of a stretch sees window - 1 tokens before it, the later ones fewer of these.
            before = before[max(len(before) - (window - 1), 0) :]
        keys += [before, np.arange(start, end)]
        queries.append(end - start)
        paths.append(len(before) + end - start)
    return VarlenPlan(np.concatenate(keys), _edges(queries), _edges(paths))


def _edges(lengths: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _on_device(layout: TreeLayout, window: int | None, device: torch.device, *, rewards: bool) -> VarlenTensors:
    def make(row: TreeLayout) -> VarlenTensors:
        return to_tensors(plan_reward_varlen(row, window) if rewards else plan_varlen(row, window), device)

    return layout.ask(("varlen tensors", window, rewards, str(device)), make)


def to_tensors(plan: VarlenPlan, device: torch.device | str) -> VarlenTensors:
    """The plan on `device`; from pinned memory, so that the copy does not wait for the kernels before it."""
    # The kernels take edges in int32 only; index_select takes the keys' int64 as it is.
    made = [torch.from_numpy(plan.keys), *(torch.from_numpy(e).int() for e in (plan.query_edges, plan.key_edges))]
    keys, query_edges, key_edges = (send(tensor, device) for tensor in made)
    return VarlenTensors(keys, query_edges, key_edges, *plan.longest, plan.as_they_lie)


def _gather_and_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: VarlenTensors,
    scale: float,
    window: int | None,
    softcap: float | None,
    call: VarlenCall,
) -> Tensor:
    """(Q, H, D). Rows where nothing branches are taken as they lie."""
    if plan.as_they_lie:
        keys, values = key.contiguous(), value.contiguous()
    else:
        keys, values = _Gather.apply(key, plan.keys), _Gather.apply(value, plan.keys)
    return call(query.contiguous(), keys, values, plan, scale, window, softcap)


class _Gather(torch.autograd.Function):
    """`index_select` of tokens, whose backward adds up in float32 what the copies of a token receive.

    A trunk's key gets a share from each of its branches. `index_select` itself would add in the inputs' type, where
    each share is rounded (bfloat16: to 1/256), in an order that a GPU's atomics leave to chance.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = rows.shape
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        wide = torch.promote_types(gradient.dtype, torch.float32)
        total = torch.zeros(ctx.shape, dtype=wide, device=gradient.device)
        # Under `torch.use_deterministic_algorithms` this one adds in a fixed order.
        return total.index_add_(0, index, gradient.to(wide)).to(gradient.dtype), None


def _torch_varlen() -> tuple[VarlenCall | None, bool]:
    """torch's own kernel, from 2.11 on (2.10 has no windows), and that it cannot soft-cap."""
    if find_spec("torch.nn.attention.varlen") is None:
        return None, False
    attend = import_module("torch.nn.attention.varlen").varlen_attn
    known = inspect.signature(attend).parameters
    if "window_size" not in known or "scale" not in known:
        return None, False

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
        shared = query.shape[1] != key.shape[1]
        if shared and "enable_gqa" not in known:
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
            **({"enable_gqa": shared} if "enable_gqa" in known else {}),
        )
        return out

    return call, False


def _flash_attention(package: str) -> tuple[VarlenCall | None, bool]:
    """FlashAttention 3 (`flash_attn_interface`) or 2 (`flash_attn`), and that it can soft-cap."""
    if find_spec(package) is None:
        return None, True
    try:
        attend = import_module(package).flash_attn_varlen_func
    except (ImportError, OSError, AttributeError) as problem:  # built for another torch, or version 4's empty package
        _LOG.warning("%s is installed and cannot be used: %s", package, problem)
        return None, True

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

    return call, True


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
