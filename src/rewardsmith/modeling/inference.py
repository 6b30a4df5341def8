"""Rewards of tokenised texts from a model in memory: the one forward loop that scoring, checkpoints and tests share.

    rewards_N = compute_rewards(model, texts, layout, token_budget)
    features_ND, rewards_N = head_features(model, texts, layout, token_budget)

Features are what the reward head reads, the hidden state at the reward position of each text: a reward is
`features @ head + bias`. They are float32, as the head is; N texts of hidden width D. Only models that read one token
with a linear head have them (`reward_head.reads_one_token`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardsmith.allocation import keep_freed_memory
from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import Layout, Part, send_inputs
from rewardsmith.modeling.reward_head import find_head_owner, reads_one_token
from rewardsmith.modeling.tree.token_tree import TreeLayout
from rewardsmith.protocols import Progress
from rewardsmith.rendering.encoding import Ids

Keep = Callable[[Sequence[int], NDArray[np.float64]], None]
"""Called after each forward pass with the indices of its texts and their rewards."""


def compute_rewards(
    model: Any,
    texts: Sequence[Ids],
    layout: Layout,
    token_budget: int,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> NDArray[np.float64]:
    """One raw reward per text, shape (len(texts),), in input order.

    Args:
        model: a reward model with `install_reward_forward` applied, in evaluation mode.
        texts: token ids, EOS included; none may be empty.
        layout: how texts become batches; the rewards do not depend on it beyond rounding.
        token_budget: tokens per forward pass as laid out.
        progress: called after each forward pass with the number of texts done.
        keep: receives each forward pass's rewards as soon as they are there, for what must survive a kill.
    """
    rewards = np.full(len(texts), np.nan)
    done = 0
    # A GPU is given the next part before the rewards of this one are waited for.
    behind = 1 if next(model.parameters()).device.type == "cuda" else 0
    for part, rewards_R in _passes(model, layout.batches(texts, token_budget), behind):
        rewards[part.indices] = rewards_R.numpy()
        done += len(part.indices)
        if keep is not None:
            keep(part.indices, rewards[part.indices])
        if progress is not None:
            progress(done, len(texts))
    return rewards


def _passes(model: Any, parts: Iterable[Part], behind: int) -> Iterator[tuple[Part, Tensor]]:
    """Each part with its rewards on the host, read `behind` parts later than the model was given it.

    So a GPU computes while the next row is laid out, and nothing is read from it but one copy a part.
    """
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    waiting: deque[tuple[Part, Tensor, Any]] = deque()
    before: TreeLayout | None = None
    for part in parts:
        inputs = send_inputs(part.inputs(), device)
        row: TreeLayout | None = inputs.get("tree_layout")
        if row is not None and before is not None:
            row.prepare_like(before)
        before = row
        with torch.inference_mode():
            # To the host without waiting: torch takes pinned memory for it.
            rewards_R = model(**inputs).logits.squeeze(-1).float().to("cpu", non_blocking=True)
        waiting.append((part, rewards_R, _mark(device)))
        if len(waiting) > behind:
            yield _received(*waiting.popleft())
    while waiting:
        yield _received(*waiting.popleft())


def _mark(device: torch.device) -> Any:
    """An event after everything that the GPU was given so far; None elsewhere."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def _received(part: Part, rewards_R: Tensor, event: Any) -> tuple[Part, Tensor]:
    if event is not None:
        event.synchronize()
    return part, rewards_R


def head_features(
    model: Any, texts: Sequence[Ids], layout: Layout, token_budget: int, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features (N, D) and rewards (N,) of rendered texts, in their order; arguments as of `compute_rewards`.

    Raises:
        ModelError: the model has no linear head on one token.
    """
    if not reads_one_token(model):
        raise ModelError(
            "the model reads its reward with a pooler of its own, not with a linear head",
            where="features of the reward head",
            fix="use a decoder",
        )
    head = find_head_owner(model).score
    features = np.zeros((len(texts), head.weight.shape[1]), dtype=np.float32)
    seen: list[Any] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def keep(indices: Sequence[int], _: NDArray[np.float64]) -> None:
        # The oldest: a GPU may have begun the next part.
        features[list(indices)] = seen.pop(0).float().cpu().numpy()

    try:
        rewards = compute_rewards(model, texts, layout, token_budget, progress, keep)
    finally:
        hook.remove()
    return features, rewards
