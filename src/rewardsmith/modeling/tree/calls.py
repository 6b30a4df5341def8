"""The attention of a row of trees as a short list of dense calls: what the CPU kernel runs, layer after layer.

A `TreeLayout` goes in, a `CallPlan` comes out. Every call is one block of queries against one block of keys, both
contiguous in the row, so that no key is gathered or copied.

    own     each query exactly once, always with itself among the keys
    cross   queries again, with more of their keys; results are merged by their log-sum-exp

How a tree is covered:

    row        [ trunk | first branch | second | third ]
    own        [ trunk + first branch ]                    causal: a node and its first descendants read like plain text
                                      [second][third]
    cross                             [second + third] × [trunk]      no mask: every branch sees the whole trunk

Three refinements, measured on CPUs: a causal stretch is cut into blocks of `BLOCK` queries against all keys up to
them, because PyTorch's kernel computes both halves of a short causal square; neighbouring small subtrees are computed
together under a mask, because a call has a fixed price; in a layer whose sliding window is shorter than a tree, the
tree is computed in masked blocks against all of its keys that the window reaches.

`planned_attention` runs a plan on the CPU, forward and backward, through PyTorch's own flash kernel. Each call is a
partial softmax: an output and the log-sum-exp of its scores. Two partial results of the same
queries over different keys merge exactly:

    lse = log(exp(lse_a) + exp(lse_b))        out = exp(lse_a - lse) out_a + exp(lse_b - lse) out_b

The gradient needs no merging: given the *merged* output and log-sum-exp, the flash backward of each call yields that
call's share of dq, dk and dv, and the shares add up (as in ring attention, arXiv 2310.01889). So a trunk is attended to
by all of its branches at once, without masks, gathered keys or padded copies.

Shape suffixes: H query heads, K key heads, G = H / K query heads to a key head, T tokens of the row, Q queries, D head
width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewardsmith.modeling.tree.token_tree import Node, TreeLayout

BLOCK = 128
SPAN = 256


@dataclass(frozen=True, slots=True)
class Call:
    """Queries `[q_start, q_end)` against keys `[k_start, k_end)`: causal (from the same start), masked, or in full.

    `mask` is (Q, K) float32, added to the scores: 0 where a query sees a key, -inf where not.
    """

    q_start: int
    q_end: int
    k_start: int
    k_end: int
    causal: bool = False
    mask: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Calls that together are the attention of one row."""

    own: tuple[Call, ...]
    cross: tuple[Call, ...]


def plan_calls(layout: TreeLayout, window: int | None = None) -> CallPlan:
    """The calls for a layer with sliding window `window` (None: it sees everything). Worked out once for a layout."""
    window = None if layout.fits_window(window) else window
    return layout.derived(("calls", window), lambda: _plan(layout, window))


def plan_reward_calls(layout: TreeLayout, window: int | None = None) -> CallPlan:
    """The same for a layer of which only the reward positions are read: queries are counted among these, not the row.

    Whole trees together, as many as keep to `SPAN` keys; a few queries, so a mask costs little.
    """
    window = None if layout.fits_window(window) else window
    return layout.derived(("reward calls", window), lambda: CallPlan(tuple(_reward_calls(layout, window)), ()))


def _reward_calls(layout: TreeLayout, window: int | None) -> Iterator[Call]:
    stops = [0]
    for node in layout.nodes:
        if node.start < stops[-1]:
            continue  # below a root
        if len(stops) > 1 and node.stop - stops[-2] <= SPAN:
            stops.pop()
        stops.append(node.stop)
    for start, stop in pairwise(stops):
        rows = slice(*np.searchsorted(layout.reward_positions, (start, stop)).tolist())
        allowed = layout.may_attend(layout.reward_positions[rows], slice(start, stop), window)
        yield Call(rows.start, rows.stop, start, stop, mask=_additive(allowed))


def _plan(layout: TreeLayout, window: int | None) -> CallPlan:
    by_start = {node.start: node for node in layout.nodes}
    own: list[Call] = []
    cross: list[Call] = []
    forests: list[list[Node]] = []  # siblings whose keys outside of themselves are taken care of
    for root in siblings(by_start, 0, len(layout)):
        if window is not None and int(layout.position_ids[root.start : root.stop].max()) >= window:
            own += _windowed(layout, root, window)
        elif forests and forests[-1][-1].stop == root.start:
            forests[-1].append(root)
        else:
            forests.append([root])
    while forests:
        for group in _groups(forests.pop()):
            start, stop = group[0].start, group[-1].stop
            if len(group) == 1 and stop - start > BLOCK:
                chain = list(first_children(by_start, group[0]))
                own += _causal(start, chain[-1].end)
                for node in chain[:-1]:
                    _, *others = siblings(by_start, node.end, node.stop)
                    if others:
                        cross.append(Call(others[0].start, node.stop, start, node.end))
                        forests.append(others)
            else:
                own.append(_together(layout, start, stop, group))
    return CallPlan(tuple(own), tuple(cross))


def siblings(by_start: dict[int, Node], start: int, stop: int) -> list[Node]:
    """The subtrees that lie one after the other in `[start, stop)`."""
    found = []
    while start < stop:
        found.append(by_start[start])
        start = found[-1].stop
    return found


def first_children(by_start: dict[int, Node], node: Node) -> Iterator[Node]:
    """A node, its first child, that one's first child, …: contiguous, and causal like plain text."""
    yield node
    while node.end < node.stop:
        node = by_start[node.end]
        yield node


def _groups(nodes: Sequence[Node]) -> list[list[Node]]:
    """Neighbours together as long as they take no more than one block."""
    groups: list[list[Node]] = []
    for node in nodes:
        if groups and node.stop - groups[-1][0].start <= BLOCK:
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _together(layout: TreeLayout, start: int, stop: int, group: Sequence[Node]) -> Call:
    """One call for whole subtrees of at most a block."""
    if len(group) == 1 and group[0].end == group[0].stop:
        return Call(start, stop, start, stop, causal=True)
    inside = slice(start, stop)
    return Call(start, stop, start, stop, mask=_additive(layout.may_attend(inside, inside)))


def _causal(start: int, end: int) -> Iterator[Call]:
    """A stretch of plain text in blocks of queries, each against all keys up to its own end."""
    count = max(1, -(-(end - start) // BLOCK))
    edges = [start + (end - start) * i // count for i in range(count + 1)]
    yield Call(start, edges[1], start, edges[1], causal=True)
    for a, b in pairwise(edges[1:]):
        yield Call(a, b, start, b, mask=_bottom_right(b - a, b - start))


def _windowed(layout: TreeLayout, root: Node, window: int) -> Iterator[Call]:
    """A tree in blocks of queries, each against every key that one of them may see."""
    for start in range(root.start, root.stop, BLOCK):
        stop = min(start + BLOCK, root.stop)
        allowed = layout.may_attend(slice(start, stop), slice(root.start, stop), window)
        unseen = int(allowed.any(axis=0).argmax())
        yield Call(start, stop, root.start + unseen, stop, mask=_additive(allowed[:, unseen:]))


def _additive(allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Tensor:
    return torch.from_numpy(np.where(allowed, np.float32(0), np.float32(-np.inf)))


def _bottom_right(rows: int, columns: int) -> Tensor:
    """Causal mask of the last `rows` of `columns` tokens, (rows, columns): a view, shared by all calls of this size."""
    width = 1 << columns.bit_length()
    return _corner(width)[:rows, width - columns + rows : width + rows]


@lru_cache(maxsize=32)
def _corner(width: int) -> Tensor:
    """(BLOCK, width + BLOCK): `width` columns of zeros, then a causal square."""
    square = torch.full((BLOCK, BLOCK), -torch.inf).triu(1)
    return torch.cat([torch.zeros(BLOCK, width), square], dim=1)


_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default  # noqa: SLF001
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default  # noqa: SLF001


def planned_attention(query_1HQD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, plan: CallPlan, scale: float) -> Tensor:
    """Attention output, (1, Q, H, D), contiguous, in the values' dtype.

    Low precision is computed in float32: PyTorch's CPU kernel is slower in bf16 than in float32 (its backward two to
    four times on blocks of this size), and partial results merge without loss.

    Args:
        query_1HQD: the queries that the plan counts: every token of the row, or its reward positions.
        key_1KTD: keys of every token. Like the others it may be a strided view.
        value_1KTD: values of the same head width.
        plan: each query exactly once among `plan.own`.
        scale: of the scores.
    """
    exact = torch.promote_types(value_1KTD.dtype, torch.float32)
    out: Tensor = _PlannedAttention.apply(query_1HQD.to(exact), key_1KTD.to(exact), value_1KTD.to(exact), plan, scale)
    return out.to(value_1KTD.dtype)


def _by_group(query_1HQD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Views of shape (K, G, Q or T, D); keys and values repeat for their query heads with stride 0, not in memory."""
    kv_heads = key_1KTD.shape[1]
    query_KGQD = query_1HQD[0].unflatten(0, (kv_heads, -1))
    groups = query_KGQD.shape[1]
    return (
        query_KGQD,
        key_1KTD[0, :, None].expand(-1, groups, -1, -1),
        value_1KTD[0, :, None].expand(-1, groups, -1, -1),
    )


class _PlannedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_1HQD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, plan: CallPlan, scale: float
    ) -> Tensor:
        q, k, v = _by_group(query_1HQD, key_1KTD, value_1KTD)
        kv_heads, groups, queries, width = q.shape
        out_QKGD = q.new_empty((queries, kv_heads, groups, width))
        lse_QKG = q.new_empty((queries, kv_heads, groups))
        out, lse = out_QKGD.permute(1, 2, 0, 3), lse_QKG.permute(1, 2, 0)
        for call in plan.own:
            at = slice(call.q_start, call.q_end)
            out[:, :, at], lse[:, :, at] = _attend(q, k, v, call, scale)
        for call in plan.cross:
            at = slice(call.q_start, call.q_end)
            part, part_lse = _attend(q, k, v, call, scale)
            out[:, :, at].lerp_(part, torch.sigmoid(part_lse - lse[:, :, at]).unsqueeze(-1))
            lse[:, :, at] = torch.logaddexp(lse[:, :, at], part_lse)
        ctx.save_for_backward(query_1HQD, key_1KTD, value_1KTD, out_QKGD, lse_QKG)
        ctx.plan, ctx.scale = plan, scale
        return out_QKGD.view(1, queries, kv_heads * groups, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_1QHD: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out_QKGD, lse_QKG = ctx.saved_tensors
        q, k, v = _by_group(query, key, value)
        grad = grad_1QHD.contiguous().view(out_QKGD.shape).permute(1, 2, 0, 3)
        out, lse = out_QKGD.permute(1, 2, 0, 3), lse_QKG.permute(1, 2, 0)
        dq_QKGD = torch.empty_like(out_QKGD)
        dq = dq_QKGD.permute(1, 2, 0, 3)
        dk_TKD, dv_TKD = (q.new_zeros((k.shape[2], k.shape[0], k.shape[3])) for _ in range(2))
        for number, call in enumerate((*ctx.plan.own, *ctx.plan.cross)):
            at, seen = slice(call.q_start, call.q_end), slice(call.k_start, call.k_end)
            part_dq, part_dk, part_dv = _backward(
                grad[:, :, at], q[:, :, at], k[:, :, seen], v[:, :, seen], out[:, :, at], lse[:, :, at],
                0.0, call.causal, attn_mask=_mask_for(call, q), scale=ctx.scale,
            )  # fmt: skip
            if number < len(ctx.plan.own):
                dq[:, :, at] = part_dq
            else:
                dq[:, :, at] += part_dq
            dk_TKD[seen] += part_dk.sum(1).transpose(0, 1)
            dv_TKD[seen] += part_dv.sum(1).transpose(0, 1)
        queries, kv_heads, groups, width = out_QKGD.shape
        dq_1HQD = dq_QKGD.view(1, queries, kv_heads * groups, width).transpose(1, 2)
        return dq_1HQD, dk_TKD.transpose(0, 1)[None], dv_TKD.transpose(0, 1)[None], None, None


def _attend(q: Tensor, k: Tensor, v: Tensor, call: Call, scale: float) -> tuple[Tensor, Tensor]:
    """Partial output (K, G, Q, D) and log-sum-exp (K, G, Q) of one call."""
    at, seen = slice(call.q_start, call.q_end), slice(call.k_start, call.k_end)
    out, lse = _forward(
        q[:, :, at], k[:, :, seen], v[:, :, seen], 0.0, call.causal, attn_mask=_mask_for(call, q), scale=scale
    )
    return out, lse


def _mask_for(call: Call, q: Tensor) -> Tensor | None:
    return None if call.mask is None else call.mask.to(q.dtype)[None, None]
