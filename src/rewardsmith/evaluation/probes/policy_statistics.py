"""Rewards on a policy's own samples: will policy optimisation move, and will it move the right way?

A policy gradient sees only differences among completions of one prompt: adding a number to all rewards of a prompt
changes nothing, and GRPO and RLOO subtract the prompt's mean outright. So the variance *within* prompts decides how
fast the policy moves; a reward model with more accuracy and less of it can be the slower teacher (Razin et al. 2025,
arXiv 2503.15477). Labels, where they exist, say whether it moves the right way.

    record = policy_record(samples, rewards, seed=17, resamples=2000, model="runs/x/model")
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rewardsmith import statistics
from rewardsmith.evaluation.best_of_n_curve import best_of_n_curve, pick_probabilities
from rewardsmith.evaluation.contract import Floats, Rewards
from rewardsmith.evaluation.distribution import FLAT
from rewardsmith.evaluation.probes.policy_samples import PolicySamples
from rewardsmith.evaluation.probes.policy_words import read_in_words
from rewardsmith.records import PolicyLabels, PolicySamplesRecord


def policy_record(
    samples: PolicySamples, rewards: Rewards, *, seed: int, resamples: int, model: str
) -> PolicySamplesRecord:
    """Variance, flat prompts, gain of best-of-n, and accuracy where labels exist.

    Args:
        samples: the prompts.
        rewards: one array a prompt; NaN where there is no reward.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
        model: name of the scored model, for the record.
    """
    present = [reward_N[~np.isnan(reward_N)] for reward_N in rewards]
    judged = [reward_N for reward_N in present if len(reward_N) > 1]
    every = np.concatenate([np.empty(0), *present])
    std = None if not every.size else 0.0 if np.ptp(every) == 0 else float(every.std())
    flat = sum(float(np.ptp(reward_N)) <= FLAT * (std or 0.0) for reward_N in judged)
    flat_interval = statistics.wilson_interval(flat, len(judged)) if judged else None
    record = PolicySamplesRecord(
        model=model,
        dataset=samples.dataset,
        prompts=len(samples.prompts),
        completions=sum(len(sample.completions) for sample in samples.prompts),
        n_missing=sum(int(np.isnan(reward_N).sum()) for reward_N in rewards),
        judged=len(judged),
        reward_mean=float(every.mean()) if every.size else None,
        reward_std=std,
        **_spread(judged, seed, resamples),
        flat=flat,
        flat_share=flat / len(judged) if judged else None,
        flat_low=flat_interval.low if flat_interval else None,
        flat_high=flat_interval.high if flat_interval else None,
        flat_below=None if std is None else FLAT * std,
        same_text=sum(len(sample.completions) > 1 and len(set(sample.completions)) == 1 for sample in samples.prompts),
        gains=_gains(judged),
        labels=_labels(samples, rewards, seed, resamples),
        reading=(),
    )
    return record.model_copy(update={"reading": read_in_words(record)})


def _spread(judged: Rewards, seed: int, resamples: int) -> dict[str, float | None]:
    """Standard deviations within and between prompts, and the part of the variance that lies within."""
    if not judged:
        names = ("within_std", "within_std_low", "within_std_high", "between_std", "within_share")
        return dict.fromkeys(names)
    variance_P = np.array([reward_N.var(ddof=1) if np.ptp(reward_N) else 0.0 for reward_N in judged])
    samples = statistics.bootstrap_means(variance_P, seed=seed, resamples=resamples)
    interval = statistics.percentile_interval(samples)
    mean_P = np.array([reward_N.mean() for reward_N in judged])
    every = np.concatenate(list(judged))
    within = sum(float(((reward_N - reward_N.mean()) ** 2).sum()) for reward_N in judged if np.ptp(reward_N))
    whole = float(((every - every.mean()) ** 2).sum()) if np.ptp(every) else 0.0
    return {
        "within_std": math.sqrt(variance_P.mean()),
        "within_std_low": math.sqrt(max(0.0, interval.low)),
        "within_std_high": math.sqrt(max(0.0, interval.high)),
        "between_std": float(mean_P.std()) if np.ptp(every) else 0.0,
        "within_share": within / whole if whole else None,
    }


def _gains(judged: Rewards) -> dict[str, float]:
    """n → expected best reward of n completions minus their mean, for n = 2, 4, 8, … and all.

    Over the prompts with at least as many completions as most prompts have, so that all points are over the same ones.
    """
    if not judged:
        return {}
    counts = Counter(len(reward_N) for reward_N in judged)
    most = max(counts, key=lambda size: (counts[size], size))
    steps = sorted({most, *(2**power for power in range(1, most.bit_length()) if 2**power <= most)})
    gain_PN = [
        pick_probabilities(len(reward_N), steps) @ np.sort(reward_N) - reward_N.mean()
        for reward_N in judged
        if len(reward_N) >= most
    ]
    return {str(n): float(gain) for n, gain in zip(steps, np.mean(gain_PN, axis=0), strict=True)}


def _labels(samples: PolicySamples, rewards: Rewards, seed: int, resamples: int) -> PolicyLabels | None:
    """What labels say; None where no completion with a reward has one."""
    labelled = [_labelled(reward_N, sample.labels) for sample, reward_N in zip(samples.prompts, rewards, strict=True)]
    labelled = [(reward_N, right_N) for reward_N, right_N in labelled if reward_N.size]
    if not labelled:
        return None
    mixed = [auc for reward_N, right_N in labelled if (auc := _auc(reward_N, right_N)) is not None]
    interval = None
    if mixed:
        resampled = statistics.bootstrap_means(mixed, seed=seed, resamples=resamples)
        interval = statistics.score_interval(float(np.mean(mixed)), resampled, len(mixed))
    right = np.concatenate([right_N for _, right_N in labelled])
    return PolicyLabels(
        completions=len(right),
        correct=float(right.mean()),
        mixed=len(mixed),
        auc=float(np.mean(mixed)) if mixed else None,
        auc_low=interval.low if interval else None,
        auc_high=interval.high if interval else None,
        pooled_auc=_auc(np.concatenate([reward_N for reward_N, _ in labelled]), right),
        best_of_n=best_of_n_curve(
            [reward_N for reward_N, _ in labelled],
            [right_N for _, right_N in labelled],
            np.arange(len(labelled)),
            seed=seed,
            resamples=resamples,
        ),
    )


def _labelled(reward_N: Floats, labels: Sequence[bool | None]) -> tuple[Floats, Floats]:
    """Rewards and labels (1 right, 0 wrong) of the completions that have both."""
    right_N = np.array([np.nan if label is None else float(label) for label in labels])
    both_N = ~np.isnan(right_N) & ~np.isnan(reward_N)
    return reward_N[both_N], right_N[both_N]


def _auc(reward_N: Floats, right_N: Floats) -> float | None:
    return statistics.auc(reward_N[right_N == 1], reward_N[right_N == 0])
