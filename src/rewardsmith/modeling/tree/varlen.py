"""A row of trees as one call of a variable-length kernel: queries as they lie, keys and values gathered along paths.

How a tree becomes calls (the row of `token_tree`; `|` ends a stretch):

    row         [ trunk  first branch | second | third ]
    queries       0 … 8                 9 … 12   13 … 15
    keys          0 … 8                 0 … 4, 9 … 12     0 … 4, 13 … 15

A stretch is a node, its first child, that one's first child …: they lie one after the other and read like plain text,
so a pair gathers its prompt once and not twice. With a window only the last `window − 1` tokens before it are gathered.
Causal, aligned at the bottom right: exact at any length and depth, without a mask and without a compilation.

Index tensors are made once for a pack and a kind of layer, and travel once (`layout.ask`), for the next pack while this
one is computed (`TreeLayout.prepare_like`).

A kernel of this environment (`varlen_call`) is believed once it has given, on the device and in the type that it is
asked for, the values and gradients of `reference_varlen` on a small tree, with a window and without. One that does not,
or fails, is named in a warning, and the next one is tried: attention that is wrong in silence would be noticed at the
end of a training, if at all.

Shape suffixes: H query heads, K key heads, T tokens of the row, G gathered tokens, D head width.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewardsmith.modeling.reward_head import reads_rewards_only, send
from rewardsmith.modeling.tree.calls import first_children, siblings
from rewardsmith.modeling.tree.token_tree import Ints, Node, TreeLayout, pack_sequences

_LOG = logging.getLogger(__name__)

PROOF_TOLERANCE = 0.04
"""Of the largest difference, relative to the largest value. bfloat16 rounds by 1/256, a kernel several times on its
way; a key too many or too few moves values by tenths."""

PROOF_WINDOW = 40

VarlenCall = Callable[[Tensor, Tensor, Tensor, "VarlenTensors", float, int | None, float | None], Tensor]


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
