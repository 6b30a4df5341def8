"""What PPE measures beyond pairs, of prompts with K sampled responses that are right or wrong (arXiv 2410.14872).

In: for each prompt its rewards, right responses first, and how many are right. Out: numbers of the best-of-K curve
and the area under the ROC curve.

    curve(k)   chance that the response with the highest reward, of k drawn without replacement, is right; the mean
               over prompts. Exact, by counting draws: no sampling.
    ideal(k)   chance that one of the k is right at all: what an oracle would reach.

    max        max over k of curve(k)
    end        curve(K)
    area       mean over k of curve(k)
    loss       mean over k of ideal(k) - curve(k): the mean squared error of the pick's correctness, which is 0 or 1
    roc_auc    over all responses of all prompts pooled; equal rewards count half

Equal rewards: one of them is picked at random. A missing reward stands below every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from rewardsmith import statistics
from rewardsmith.evaluation.best_of_n_curve import pick_probabilities
from rewardsmith.evaluation.contract import Floats

Labelled = Sequence[tuple[Floats, int]]
"""(rewards with the right responses first, number of right ones) of each prompt."""


def curve_metrics(labelled: Labelled) -> dict[str, float | None]:
    """The numbers above. Prompts with fewer responses than others limit K."""
    size = min(len(reward_N) for reward_N, _ in labelled)
    curve = np.mean([best_of_k(reward_N, n_right)[:size] for reward_N, n_right in labelled], axis=0)
    ideal = np.mean([best_of_k(_oracle(reward_N, n_right), n_right)[:size] for reward_N, n_right in labelled], axis=0)
    return {
        "max": float(curve.max()),
        "end": float(curve[-1]),
        "area": float(curve.mean()),
        "loss": float((ideal - curve).mean()),
        "roc_auc": roc_auc(labelled),
    }


def best_of_k(reward_N: Floats, n_right: int) -> Floats:
    """curve(k) of one prompt for k = 1 … N, shape (N,).

    The response that is j-th from below is the best of k drawn with the chance that `pick_probabilities` counts;
    within a group of equal rewards each is picked equally often, and right with the group's share of right ones.
    """
    _, group, sizes = np.unique(_below(reward_N), return_inverse=True, return_counts=True)
    share_right = np.bincount(group[:n_right], minlength=len(sizes)) / sizes
    return np.asarray(_chances(len(reward_N)) @ share_right[np.sort(group)], dtype=np.float64)


def roc_auc(labelled: Labelled) -> float | None:
    """The chance that a right response of any prompt is above a wrong one of any prompt; equal ones count half."""
    parts = [np.split(_below(reward_N), [n_right]) for reward_N, n_right in labelled]
    return statistics.auc(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))


def _oracle(reward_N: Floats, n_right: int) -> Floats:
    return (np.arange(len(reward_N)) < n_right).astype(np.float64)


def _below(reward_N: Floats) -> Floats:
    return np.where(np.isnan(reward_N), -np.inf, reward_N)


@cache
def _chances(size: int) -> Floats:
    return pick_probabilities(size, range(1, size + 1))
