"""Rewards of tokenised texts from a model in memory: the one forward loop that scoring, checkpoints and tests share.

What the reward head reads: the hidden state at the reward position of each text, beside the reward itself.

    features_ND, rewards_N = head_features(model, texts, layout, token_budget)

A reward is `features @ head + bias`. The features are float32, as the head is; N texts of hidden width D. Only models
that read one token with a linear head have them (`reward_head.reads_one_token`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import Layout
from rewardsmith.modeling.reward_head import Ids, find_head_owner, reads_one_token
from rewardsmith.protocols import Progress

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
    device = next(model.parameters()).device
    done = 0
    with torch.inference_mode():
        for part in layout.batches(texts, token_budget):
            inputs = {name: _to(value, device) for name, value in part.inputs().items()}
            rewards[part.indices] = model(**inputs).logits.squeeze(-1).float().cpu().numpy()
            done += len(part.indices)
            if keep is not None:
                keep(part.indices, rewards[part.indices])
            if progress is not None:
                progress(done, len(texts))
    return rewards


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value


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
        features[list(indices)] = seen.pop().float().cpu().numpy()

    try:
        rewards = compute_rewards(model, texts, layout, token_budget, progress, keep)
    finally:
        hook.remove()
    return features, rewards
