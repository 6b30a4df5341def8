"""What the reward head reads: the hidden state at the reward position of each text, beside the reward itself.

    features_ND, rewards_N = head_features(model, texts, layout, token_budget)

A reward is `features @ head + bias`. The features are float32, as the head is; N texts of hidden width D. Only models
that read one token with a linear head have them (`reward_head.reads_one_token`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ModelError
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import Layout
from rewardsmith.modeling.padded import Ids
from rewardsmith.modeling.reward_head import find_head_owner, reads_one_token
from rewardsmith.protocols import Progress


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
