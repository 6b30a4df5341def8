"""Attention over trees for any transformers decoder, registered under the name `"rewardsmith_tree"`.

    model = AutoModelForSequenceClassification.from_pretrained(…, attn_implementation=TREE_ATTENTION)
    inputs = to_model_inputs(pack, model.device)
    reads = inputs.pop("reward_positions")
    hidden_1TD = model.model(**inputs, use_cache=False).last_hidden_state     # no attention_mask: the layout is it
    rewards = model.score(hidden_1TD[0, reads])

The layout travels as the keyword argument `tree_layout` from the model through its layers to the attention function,
as flash attention's arguments do; there is no global state, so gradient checkpointing and threads see the layout of
their own call. Calls without `tree_layout` are ordinary attention (padding mask, cache, sliding window), so a model
that is set to this implementation keeps working everywhere else.

Which kernel runs:

    calls       CPU: those of `calls`, merged by log-sum-exp
    varlen      CUDA, half precision: one variable-length call over gathered paths (`varlen`)
    flex        CUDA, what varlen does not take: FlexAttention with a block mask made from the layout (`cuda`)
    dense       elsewhere, and for what those two cannot do (dropout, soft-capping on the CPU, unequal head widths):
                one boolean mask over the row; the reference that tests compare with

What a row took is noted in `layout.kernels`. `REWARDSMITH_TREE_KERNEL` (varlen, flex, dense) takes one for all.

Shape suffixes: H query heads, K key heads, T tokens of the row, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rewardsmith.errors import ModelError
from rewardsmith.modeling.reward_head import reads_rewards_only, reward_rows, send
from rewardsmith.modeling.tree.calls import plan_calls, plan_reward_calls, planned_attention
from rewardsmith.modeling.tree.cuda import cuda_attention, forced_kernel
from rewardsmith.modeling.tree.token_tree import Pack, TreeLayout

TREE_ATTENTION = "rewardsmith_tree"


def to_model_inputs(pack: Pack, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What the model's forward takes for one pack.

    Returns:
        input_ids: (1, T) int64.
        position_ids: (1, T) int64.
        tree_layout: the layout, to be passed on as it is.
        reward_positions: (M,) int64, where to read: a reward for each member sequence in the order of `pack.members`,
            or all chosen, then all rejected, of the member pairs.
    """
    tensors = {
        "input_ids": torch.from_numpy(pack.input_ids)[None],
        "position_ids": torch.from_numpy(pack.position_ids)[None],
        "reward_positions": torch.from_numpy(pack.reward_positions),
    }
    return {name: send(tensor, device) for name, tensor in tensors.items()} | {"tree_layout": pack.layout}


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    tree_layout: TreeLayout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer.

    Args:
        module: the attention layer.
        query: (B, H, T, D); B is 1 with a layout.
        key: (B, K, T, D).
        value: (B, K, T, D).
        attention_mask: used only without a layout.
        scaling: of the scores; 1/√D if not given.
        dropout: of the attention weights.
        tree_layout: who attends to whom in a row of trees.
        sliding_window: how many tokens back this layer sees, itself included.
        softcap: bound of the scores, by a tanh (Gemma 2).
        s_aux: attention sinks, which are not covered.
        kwargs: passed on where there is no layout.

    Returns:
        (B, T, H, D) and no weights.

    Raises:
        ModelError: the layer has attention sinks, or the layout does not belong to these inputs.
    """
    if s_aux is not None:
        raise ModelError("attention sinks cannot be computed over trees", fix="layout: padded")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if tree_layout is None:
        return _without_trees(
            module, query, key, value, attention_mask, scale, dropout, sliding_window, softcap, kwargs
        )
    if query.shape[0] != 1 or query.shape[2] != len(tree_layout):
        problem = f"layout of {len(tree_layout)} tokens for inputs of shape {(query.shape[0], query.shape[2])}"
        raise ModelError(problem, fix="pass the inputs of one pack together, as to_model_inputs gives them")
    forced = forced_kernel()
    # FlexAttention's kernels begin at heads of 16 numbers, and test models have fewer.
    narrow = query.device.type == "cuda" and query.shape[-1] < 16
    unequal = query.shape[-1] != value.shape[-1]
    if dropout or unequal or narrow or forced == "dense" or query.device.type not in _KERNELS:
        tree_layout.kernels.add("dense")
        return dense_tree_attention(query, key, value, tree_layout, scale, dropout, sliding_window, softcap), None
    kernel = _KERNELS[query.device.type] if forced is None else cuda_attention
    return kernel(module, query, key, value, tree_layout, scale, sliding_window, softcap), None


def dense_tree_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The reference: (1, T, H, D) from one boolean mask over the whole row."""
    allowed = torch.from_numpy(layout.may_attend(slice(None), slice(None), window)).to(query.device)
    return _masked(query, key, value, allowed, scale, dropout, softcap)


def _calls(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    layout.kernels.add("calls" if softcap is None else "dense")
    if softcap is not None:
        return _tree_by_tree(query, key, value, layout, scale, window, softcap)
    if reads_rewards_only(module):
        rows = reward_rows(layout, query.device)
        plan = plan_reward_calls(layout, window)
        out = planned_attention(query.index_select(2, rows), key, value, plan, scale)
        row = out.new_zeros((1, len(layout), *out.shape[2:]))
        return row.index_copy(1, rows, out)
    return planned_attention(query, key, value, plan_calls(layout, window), scale)


_KERNELS: dict[str, Callable[..., Tensor]] = {"cpu": _calls, "cuda": cuda_attention}


def _tree_by_tree(
    query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, scale: float, window: int | None, softcap: float
) -> Tensor:
    """A mask for each tree instead of one for the row: what is left where the flash kernel has no soft-cap."""
    parts, start = [], 0
    for node in layout.nodes:
        if node.start == start:  # a root: descendants start before their root's `stop`
            start = node.stop
            tree = slice(node.start, node.stop)
            allowed = torch.from_numpy(layout.may_attend(tree, tree, window))
            parts.append(_masked(query[:, :, tree], key[:, :, tree], value[:, :, tree], allowed, scale, 0.0, softcap))
    return torch.cat(parts, dim=1)


def _masked(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, scale: float, dropout: float, softcap: float | None
) -> Tensor:
    """Attention where `allowed` (broadcasts to B, H, Q, K) is true; (B, Q, H, D)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if softcap is None:
        out = functional.scaled_dot_product_attention(query, key, value, allowed, dropout, scale=scale)
    else:
        scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)
        # Not -inf: a row of padding may see nothing at all, and NaN there would reach the others through the values.
        weights = (
            scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1, dtype=torch.float32).to(value.dtype)
        )
        out = functional.dropout(weights, dropout) @ value
    return out.transpose(1, 2).contiguous()


def _without_trees(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    kwargs: dict[str, Any],
) -> tuple[Tensor, None]:
    """Ordinary attention. Without a mask it is causal, within the window."""
    queries, keys = query.shape[2], key.shape[2]
    if softcap is None and (mask is not None or window is None or keys <= window):
        out, _ = sdpa_attention_forward(module, query, key, value, mask, dropout, scale, **kwargs)
        return out, None
    if mask is None:
        back = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)[None, :]
        mask = ((back >= 0) & (back < (window or keys))).to(query.device)
    return _masked(query, key, value, mask, scale, dropout, softcap), None


def _mask_without_trees(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """A padded batch brings a mask and gets one; a row of trees brings none and needs none."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, _mask_without_trees)
