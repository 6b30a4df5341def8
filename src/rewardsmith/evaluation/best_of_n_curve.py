"""Best-of-n, exactly: how good is the answer that the model picks among n, and does more picking make it worse?

    curve = best_of_n_curve(rewards, gold, prompts, seed=…, resamples=…) → BestOfNCurve | None

In: for each row the rewards of its k answers and their gold qualities (benchmarks: 1 for chosen, 0 for rejected).
Out: for n = 1, 2, … the expected gold quality and reward of the best-rewarded of n answers that are drawn from the k
without replacement. No drawing is needed: with the answers in order of reward, the j-th of k is the best of n with
probability

    P(j is the best) = C(j - 1, n - 1) / C(k, n)

and answers of equal reward share theirs. All points are over the same rows, those with at least `answers` answers (the
most common number), because a curve whose rows change with n would bend for that reason alone.

*Over-optimisation* (Gao et al. 2023, arXiv 2210.10760): the reward of the pick rises with n by construction; where its
gold quality falls, the model is being exploited. The n before the fall is named where the fall is sure: the gold
quality at that n is above the one at the last n in so many resamples of prompts that chance, looking at every n
(Bonferroni), is excluded at 5 %. Under 20 prompts a bootstrap proves nothing, and no fall is named.

`kl_bound` is log n - (n - 1) / n, an upper bound on the divergence of best-of-n from the policy (Beirami et al. 2024,
arXiv 2401.01879).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith import statistics
from rewardsmith.evaluation.contract import EvalRow, Floats, Rewards
from rewardsmith.evaluation.distribution import Ints, group_sums
from rewardsmith.records.evaluation import BestOfNCurve, BestOfNPoint

FEWEST_ANSWERS = 3
FEWEST_PROMPTS = 20
MOST_POINTS = 32
_LEVEL = 0.05


def gold_of(rows: Sequence[EvalRow]) -> list[Floats]:
    """1 for each chosen answer, 0 for each rejected one: what a benchmark knows of quality."""
    return [np.repeat([1.0, 0.0], [len(row.chosen), len(row.rejected)]) for row in rows]


def best_of_n_curve(
    rewards: Rewards, gold: Rewards, prompts: Ints, *, seed: int, resamples: int
) -> BestOfNCurve | None:
    """The curve over n; None where no row has at least three answers that all have a reward.

    Args:
        rewards: one array a row; NaN where there is none.
        gold: the quality of each answer, in the same shape, finite.
        prompts: number of each row's prompt: rows of one prompt are one unit of the bootstrap.
        seed: of the bootstrap.
        resamples: bootstrap resamples.
    """
    whole = [place for place, reward_N in enumerate(rewards) if not np.isnan(reward_N).any()]
    sizes = np.array([len(rewards[place]) for place in whole], dtype=np.int64)
    answers = _most_common(sizes[sizes >= FEWEST_ANSWERS])
    if answers is None:
        return None
    kept = [place for place, size in zip(whole, sizes, strict=True) if size >= answers]
    steps = _steps(answers)
    picked_RN, reward_RN, oracle_RN, random_R = _expectations(
        [rewards[place] for place in kept], [gold[place] for place in kept], steps
    )
    units_GF = group_sums([*picked_RN.T, np.ones(len(kept))], prompts[kept])
    sums_BF = statistics.bootstrap_sums(units_GF, seed=seed, resamples=resamples)
    samples_BN = sums_BF[:, :-1] / sums_BF[:, -1:]
    gold_N = picked_RN.mean(axis=0)
    intervals = [_interval(float(gold_N[place]), samples_BN[:, place], len(units_GF)) for place in range(len(steps))]
    points = tuple(
        BestOfNPoint(
            n=n,
            gold=float(gold_N[place]),
            gold_low=intervals[place].low,
            gold_high=intervals[place].high,
            reward=float(reward_RN[:, place].mean()),
            random=float(random_R.mean()),
            oracle=float(oracle_RN[:, place].mean()),
            kl_bound=math.log(n) - (n - 1) / n,
        )
        for place, n in enumerate(steps)
    )
    peak = int(np.argmax(gold_N))
    falls = float((samples_BN[:, peak] > samples_BN[:, -1]).mean()) if peak < len(steps) - 1 else None
    # The level is divided by the number of later points (Bonferroni): the peak is picked among all of them.
    sure = falls is not None and len(units_GF) >= FEWEST_PROMPTS and falls >= 1 - _LEVEL / (len(steps) - 1)
    return BestOfNCurve(
        answers=answers,
        rows=len(kept),
        prompts=len(units_GF),
        left_out=len(rewards) - len(kept),
        points=points,
        peak_n=steps[peak],
        turns_down_at=steps[peak] if sure else None,
        confidence=falls,
        text=_in_words(points, peak, sure),
        method=(
            f"exact order statistics over rows with at least {answers} answers; intervals by bootstrap over "
            f"{len(units_GF)} prompts, {resamples} resamples"
        ),
    )


def pick_probabilities(answers: int, steps: Sequence[int]) -> Floats:
    """P(the j-th lowest of `answers` distinct rewards is the best of n), shape (steps, answers), rows sum to 1.

    By C(j, n) / C(k, n) = product over i < n of (j - i) / (k - i), which neither overflows nor cancels.
    """
    place_K = np.arange(answers + 1, dtype=np.float64)
    below_K = np.ones(answers + 1)
    found = np.empty((len(steps), answers))
    wanted = {n: row for row, n in enumerate(steps)}
    for n in range(1, max(steps) + 1):
        below_K = below_K * np.maximum(place_K - n + 1, 0.0) / (answers - n + 1)
        if n in wanted:
            found[wanted[n]] = np.diff(below_K)
    return found


def _expectations(rewards: Rewards, gold: Rewards, steps: Sequence[int]) -> tuple[Floats, Floats, Floats, Floats]:
    """(gold of the pick, reward of the pick, gold of the best) by row and n, and the mean gold of each row."""
    picked, reward, oracle = (np.empty((len(rewards), len(steps))) for _ in range(3))
    random = np.empty(len(rewards))
    sizes = np.array([len(reward_N) for reward_N in rewards])
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size).tolist()
        reward_RK = np.stack([rewards[row] for row in rows])
        gold_RK = np.stack([gold[row] for row in rows])
        chance_NK = pick_probabilities(size, steps)
        order = np.argsort(reward_RK, axis=1, kind="stable")
        sorted_RK = np.take_along_axis(reward_RK, order, axis=1)
        shared_RK = _shared(sorted_RK, np.take_along_axis(gold_RK, order, axis=1))
        picked[rows] = shared_RK @ chance_NK.T
        reward[rows] = sorted_RK @ chance_NK.T
        oracle[rows] = np.sort(gold_RK, axis=1) @ chance_NK.T
        random[rows] = gold_RK.mean(axis=1)
    return picked, reward, oracle, random


def _shared(reward_RK: Floats, gold_RK: Floats) -> Floats:
    """Gold in order of reward, each run of equal rewards replaced by its mean: they are picked equally often."""
    starts = np.ones(reward_RK.shape, dtype=bool)
    starts[:, 1:] = reward_RK[:, 1:] != reward_RK[:, :-1]
    block: NDArray[np.int64] = np.cumsum(starts.ravel()) - 1
    means = np.bincount(block, weights=gold_RK.ravel()) / np.bincount(block)
    return np.asarray(means[block].reshape(gold_RK.shape), dtype=np.float64)


def _interval(gold: float, samples_B: Floats, units: int) -> statistics.Interval:
    """The percentile interval; a share that is 0 or 1 in every prompt is still no certainty (Wilson)."""
    if gold in (0.0, 1.0) and not np.ptp(samples_B):
        return statistics.score_interval(gold, samples_B, units)
    return statistics.percentile_interval(samples_B)


def _most_common(sizes: Ints) -> int | None:
    """The most common number of answers, the largest where several are."""
    if sizes.size == 0:
        return None
    values, counts = np.unique(sizes, return_counts=True)
    return int(values[counts == counts.max()].max())


def _steps(answers: int) -> list[int]:
    """Every n up to 32; beyond, 32 of them at even ratios, with 1 and the last."""
    if answers <= MOST_POINTS:
        return list(range(1, answers + 1))
    return sorted({round(step) for step in np.geomspace(1, answers, MOST_POINTS).tolist()})


def _in_words(points: Sequence[BestOfNPoint], peak: int, sure: bool) -> str:
    """What the curve says."""
    first, best, last = points[0], points[peak], points[-1]
    ends = f"from {first.gold:.3f} at n = 1 to {last.gold:.3f} at n = {last.n}"
    if sure:
        return (
            f"Gold quality turns down after n = {best.n} ({best.gold:.3f}) while the reward keeps rising: at n = "
            f"{last.n} it is {last.gold:.3f}. Picking harder than n = {best.n} (KL at most {best.kl_bound:.2f}) "
            "exploits the model."
        )
    if peak == 0 and last.gold < first.gold:
        return f"Picking by reward does not help: gold quality goes {ends}."
    if peak < len(points) - 1:
        return f"Gold quality goes {ends}; it is highest at n = {best.n}, but the fall after it may be chance."
    return f"Gold quality rises with n, {ends}; the best possible at n = {last.n} is {last.oracle:.3f}."
