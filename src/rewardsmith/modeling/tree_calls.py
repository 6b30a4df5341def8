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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from rewardsmith.modeling.token_tree import Node, TreeLayout

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
