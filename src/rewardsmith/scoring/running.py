"""The reward after each token of one text: where along a response a model makes up its mind.

    running = running_rewards(scorer, ids_T)
    running.rewards                    # (T,): the reward of the text that ends with token t; the last is the reward

A causal decoder sees nothing to the right of a token, so the reward head applied at every position of one forward pass
gives the reward of every prefix, exactly. For anything else (encoders, whose tokens see both sides; positions that
change with the length of the text) each prefix is computed on its own, of a long text only the last `MOST_PREFIXES`.

The head was trained at EOS only. A reward in the middle of a text shows where the number moves; it is no grade of the
unfinished text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.modeling.tree_support import supports_tree
from rewardsmith.rendering import Ids
from rewardsmith.scoring.local import LocalScorer

MOST_PREFIXES = 256


@dataclass(frozen=True, slots=True)
class RunningRewards:
    """Rewards of all prefixes, shape (T,), NaN where none was computed; and how, in words."""

    rewards: NDArray[np.float64]
    method: str


def running_rewards(scorer: LocalScorer, ids_T: Ids) -> RunningRewards:
    """Rewards of the text cut after each of its tokens.

    Args:
        scorer: the model.
        ids_T: token ids, at least one.
    """
    regimes = regimes_of(scorer.checkpoint.model)
    one_regime = regimes is None or regimes.key(1) == regimes.key(len(ids_T))
    if supports_tree(scorer.checkpoint.model) is None and one_regime:
        return RunningRewards(_one_pass(scorer.checkpoint.model, ids_T), "one forward pass, exact for a causal model")
    return _prefix_by_prefix(scorer, ids_T, "the model is not causal" if one_regime else "its positions grow with them")


def _one_pass(model: torch.nn.Module, ids_T: Ids) -> NDArray[np.float64]:
    device = next(model.parameters()).device
    positions_T = torch.arange(len(ids_T), device=device)
    input_ids = torch.from_numpy(np.asarray(ids_T, dtype=np.int64))[None].to(device)
    with torch.inference_mode():
        rewards_T1 = model(input_ids=input_ids, position_ids=positions_T[None], reward_positions=positions_T).logits
    return np.asarray(rewards_T1.squeeze(-1).float().cpu().numpy(), dtype=np.float64)


def _prefix_by_prefix(scorer: LocalScorer, ids_T: Ids, why: str) -> RunningRewards:
    first = max(0, len(ids_T) - MOST_PREFIXES)
    rewards = np.full(len(ids_T), np.nan)
    rewards[first:] = scorer.score_ids([ids_T[: end + 1] for end in range(first, len(ids_T))])
    method = f"each prefix on its own: {why}"
    return RunningRewards(rewards, method + (f"; the last {MOST_PREFIXES} of {len(ids_T)} only" if first else ""))
