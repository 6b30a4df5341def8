"""What stands beside the scores of a benchmark: length, calibration, agreement, and what picking by reward would gain.

    analyse(benchmark, rows, rewards, seed=…, resamples=…) → Analysis       one record: what applies to these rows

    length             every benchmark: how much of the reward is length (`length_bias`), and the scores without the
                       length trend
    calibration        where every row is one chosen and one rejected response (`calibration`)
    best_of_n          where rows have at least three answers (`best_of_n_curve`)
    label_agreement    where comparisons were labelled more than once

Intervals here use at most `RESAMPLES` resamples: they stand beside the scores and decide no gate, and all of this takes
seconds for 100,000 responses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith import statistics
from rewardsmith.evaluation.calibration import calibrate, folds_of, is_pairwise
from rewardsmith.evaluation.contract import Benchmark, EvalRow, Floats, Rewards, pair_margins
from rewardsmith.evaluation.distribution import (
    Answers,
    Ints,
    Margins,
    answers_of,
    centred,
    compact,
    group_sums,
    length_rewards,
    margins_of,
    prompts_of,
    ranks_within,
)
from rewardsmith.evaluation.subsets import average_parts, seed_of, subset_places, tally_models
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.evaluation import (
    Analysis,
    BestOfNCurve,
    BestOfNPoint,
    LabelAgreement,
    LengthBias,
    LengthCalibrated,
)
from rewardsmith.types import Conversation

RESAMPLES = 1_000


def analyse(benchmark: Benchmark, rows: Sequence[EvalRow], rewards: Rewards, *, seed: int, resamples: int) -> Analysis:
    """All analyses that apply.

    Args:
        benchmark: whose rule gives the scores without the length trend.
        rows: all rows of the benchmark.
        rewards: one array a row, chosen first; NaN where there is none.
        seed: of the bootstraps.
        resamples: as for the scores; at most `RESAMPLES` are used.
    """
    resamples = min(resamples, RESAMPLES)
    prompts = prompts_of(rows)
    pairwise = is_pairwise(rows)
    calibration_seed, curve_seed = seed_of(seed, "calibration"), seed_of(seed, "best of n")
    return Analysis(
        length=_length(benchmark, rows, rewards, seed_of(seed, "length"), resamples),
        calibration=calibrate(
            pair_margins(rewards), prompts, folds_of(rows, seed), seed=calibration_seed, resamples=resamples
        )
        if pairwise
        else None,
        best_of_n=best_of_n_curve(rewards, gold_of(rows), prompts, seed=curve_seed, resamples=resamples),
        label_agreement=label_agreement(rows),
    )


def _length(
    benchmark: Benchmark, rows: Sequence[EvalRow], rewards: Rewards, seed: int, resamples: int
) -> LengthBias | None:
    """Length bias with the scores that the benchmark's rule gives without the length trend."""
    found = length_bias(rows, rewards, seed=seed, resamples=resamples)
    if found is None:
        return None
    untrended = without_length_trend(rewards, length_rewards(rows))
    average, subsets = _scores(benchmark, rows, untrended)
    calibrated = LengthCalibrated(
        method=CALIBRATION_METHOD,
        average=average,
        subsets=subsets,
        pearson=within_prompt_correlation(rows, untrended),
    )
    return found.model_copy(update={"calibrated": calibrated})


def _scores(benchmark: Benchmark, rows: Sequence[EvalRow], rewards: Rewards) -> tuple[float, dict[str, float]]:
    """(average, score of each subset) by the benchmark's own rule."""

    def score(name: str, places: Sequence[int]) -> float:
        return tally_models(benchmark, name, rows, places, [rewards])[0].score

    scores = {name: score(name, places) for name, places in subset_places(benchmark, rows).items()}
    average = sum(share * score(name, places) for name, (places, share) in average_parts(benchmark, rows).items())
    return average, scores


SHARE, ROUNDS = 1.0, 3
"""LOESS: the part of all responses that each line sees, and rounds of robust reweighting."""

CALIBRATION_METHOD = (
    "LOESS of reward over characters through all responses, subtracted (arXiv 2409.17407; all points in each line, "
    "three robust rounds)"
)
_ROUNDING = 1e-12


def length_bias(rows: Sequence[EvalRow], rewards: Rewards, *, seed: int, resamples: int) -> LengthBias | None:
    """How much of the reward is length; None where nothing can be compared.

    *Given the prompt.* Long prompts draw long answers, and rewards of different prompts do not share a zero. So reward
    and length are compared within prompts: both are centred on their prompt's mean before they are correlated
    (Pearson), or ranked within the prompt (Spearman: the correlation of the centred ranks). A scorer that only measures
    length has 1 in both. Intervals resample whole prompts.

    *Where the longer is wrong.* A scorer that only measures length is right on every pair whose longer response was
    chosen, and on none of the others; both accuracies are shown.

    Args:
        rows: rows of one benchmark.
        rewards: one array a row, chosen first; NaN where there is none.
        seed: of the bootstrap over prompts.
        resamples: bootstrap resamples.
    """
    answers = _several(answers_of(rows, rewards))
    margins = margins_of(rows, rewards, length_rewards(rows))
    if answers.rewards.size == 0 and margins.rewards.size == 0:
        return None
    ranks = [ranks_within(values, answers.prompts) for values in (answers.rewards, answers.lengths)]
    both = [(answers.rewards, answers.lengths), (ranks[0], ranks[1])]
    (pearson, pearson_ci), (spearman, spearman_ci) = correlations(answers.prompts, both, seed, resamples)
    return LengthBias(
        prompts=compact(answers.prompts)[1],
        responses=answers.rewards.size,
        pearson=pearson,
        pearson_ci=pearson_ci,
        spearman=spearman,
        spearman_ci=spearman_ci,
        longer_wrong=pair_share(margins, margins.lengths < 0, seed, resamples),
        longer_right=pair_share(margins, margins.lengths > 0, seed, resamples),
        equal_length=int((margins.lengths == 0).sum()),
        method=f"within prompts; intervals by bootstrap over prompts, {resamples} resamples",
    )


def within_prompt_correlation(rows: Sequence[EvalRow], rewards: Rewards) -> float | None:
    """Pearson's correlation of reward and length given the prompt, without an interval."""
    answers = _several(answers_of(rows, rewards))
    return correlations(answers.prompts, [(answers.rewards, answers.lengths)], 0, 0)[0][0]


def without_length_trend(rewards: Rewards, lengths: Rewards) -> list[Floats]:
    """Rewards minus their smooth trend over length, in the shape of `rewards`; NaN stays NaN.

    Post-hoc calibration as in Huang et al. 2024 (arXiv 2409.17407): a LOESS of reward over length through all responses
    of the benchmark is subtracted, with the setting of their published RewardBench script (characters, all points in
    each line, three robust rounds). It needs no labels. The scores after it stand beside the raw ones; rewards
    themselves stay raw everywhere.
    """
    reward_N, length_N = (np.concatenate([np.empty(0), *values]) for values in (rewards, lengths))
    present_N = ~np.isnan(reward_N)
    trend_N = np.zeros_like(reward_N)
    trend_N[present_N] = statistics.local_linear(length_N[present_N], reward_N[present_N], share=SHARE, rounds=ROUNDS)
    ends = np.cumsum([len(values) for values in rewards])
    return np.split(reward_N - trend_N, ends[:-1]) if len(ends) else []


def _several(answers: Answers) -> Answers:
    """The answers of prompts that have at least two."""
    keep = np.bincount(answers.prompts, minlength=1)[answers.prompts] > 1
    return Answers(answers.rewards[keep], answers.lengths[keep], answers.prompts[keep])


def correlations(
    prompt_A: Ints, values: Sequence[tuple[Floats, Floats]], seed: int, resamples: int
) -> list[tuple[float | None, tuple[float, float] | None]]:
    """For each two values: (correlation given the prompt, interval); None where one never varies in a prompt.

    One bootstrap serves all of them; 0 resamples give no intervals.
    """
    if prompt_A.size == 0:
        return [(None, None)] * len(values)
    columns = []
    for first_A, second_A in values:
        one_A, other_A = _unit(first_A, prompt_A), _unit(second_A, prompt_A)
        columns += [one_A * other_A, one_A**2, other_A**2]
    units_GF = group_sums(columns, prompt_A)
    whole = np.split(units_GF.sum(axis=0, keepdims=True), len(values), axis=1)
    found = [float(_ratio(sums)[0]) for sums in whole]
    intervals: list[tuple[float, float] | None] = [None] * len(values)
    if resamples and len(units_GF) > 1:
        sums_BF = statistics.bootstrap_sums(units_GF, seed=seed, resamples=resamples)
        intervals = [_interval(_ratio(part)) for part in np.split(sums_BF, len(values), axis=1)]
    return [
        (None, None) if np.isnan(value) else (value, interval) for value, interval in zip(found, intervals, strict=True)
    ]


def _unit(value_A: Floats, prompt_A: Ints) -> Floats:
    """Centred on the prompt and scaled to a largest size of 1; zeros where only rounding is left."""
    scale = float(np.abs(value_A).max(initial=0.0))
    apart_A = centred(value_A, prompt_A)
    apart_A[np.abs(apart_A) <= _ROUNDING * scale] = 0.0
    return apart_A / (float(np.abs(apart_A).max(initial=0.0)) or 1.0)


def _ratio(sums_BF: Floats) -> Floats:
    """Correlation from sums of products and squares, clipped to [-1, 1]; NaN without variance."""
    scale_B = np.sqrt(sums_BF[:, 1] * sums_BF[:, 2])
    ratio_B = np.divide(sums_BF[:, 0], scale_B, out=np.full(len(sums_BF), np.nan), where=scale_B > 0)
    return np.asarray(np.clip(ratio_B, -1.0, 1.0), dtype=np.float64)


def _interval(samples_B: Floats) -> tuple[float, float] | None:
    """Percentile interval of the resamples in which the statistic exists; None where most have none."""
    known = samples_B[~np.isnan(samples_B)]
    if known.size * 2 < samples_B.size:
        return None
    interval = statistics.percentile_interval(known)
    return interval.low, interval.high


def pair_share(margins: Margins, chosen: NDArray[np.bool_], seed: int, resamples: int) -> PairShare:
    """Accuracy over some pairs: Wilson's interval where every prompt has one of them, else bootstrap over prompts."""
    reward_P, prompt_P = margins.rewards[chosen], margins.prompts[chosen]
    if reward_P.size == 0:
        return PairShare(n=0)
    right_P = np.where(reward_P > 0, 1.0, np.where(reward_P == 0, 0.5, 0.0))
    accuracy = float(right_P.mean())
    units_GF = group_sums([right_P, np.ones_like(right_P)], prompt_P)
    if len(units_GF) == right_P.size:
        interval = statistics.wilson_interval(float(right_P.sum()), right_P.size)
    else:
        sums_BF = statistics.bootstrap_sums(units_GF, seed=seed, resamples=resamples)
        interval = statistics.score_interval(accuracy, sums_BF[:, 0] / sums_BF[:, 1], len(units_GF))
    return PairShare(n=right_P.size, accuracy=accuracy, ci_low=interval.low, ci_high=interval.high)


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
    """How good the answer is that the model picks among n, and whether more picking makes it worse.

    For n = 1, 2, … the expected gold quality and reward of the best-rewarded of n answers that are drawn from a row's k
    without replacement; None where no row has at least three answers that all have a reward. No drawing is needed: with
    the answers in order of reward, the j-th of k is the best of n with probability

        P(j is the best) = C(j - 1, n - 1) / C(k, n)

    and answers of equal reward share theirs. All points are over the same rows, those with at least `answers` answers
    (the most common number), because a curve whose rows change with n would bend for that reason alone.

    *Over-optimisation* (Gao et al. 2023, arXiv 2210.10760): the reward of the pick rises with n by construction; where
    its gold quality falls, the model is being exploited. The n before the fall is named where the fall is sure: the
    gold quality at that n is above the one at the last n in so many resamples of prompts that chance, looking at every
    n (Bonferroni), is excluded at 5 %. Under 20 prompts a bootstrap proves nothing, and no fall is named.

    `kl_bound` is log n - (n - 1) / n, an upper bound on the divergence of best-of-n from the policy (Beirami et al.
    2024, arXiv 2401.01879).

    Args:
        rewards: one array a row; NaN where there is none.
        gold: the quality of each answer, in the same shape, finite (benchmarks: 1 for chosen, 0 for rejected).
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
    intervals = [_gold_ci(float(gold_N[place]), samples_BN[:, place], len(units_GF)) for place in range(len(steps))]
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


def _gold_ci(gold: float, samples_B: Floats, units: int) -> statistics.Interval:
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


def label_agreement(rows: Sequence[EvalRow]) -> LabelAgreement | None:
    """How accurate a model can be on these labels: the ceiling that people's disagreement sets.

    Some data compare the same two responses more than once, and the labels do not always agree. How often two labels of
    one comparison agree bounds the accuracy of the best possible model (`statistics.label_agreement`); None where no
    comparison was labelled twice.
    """
    votes = _votes(rows).values()
    found = statistics.label_agreement([one for one, _ in votes], [one + other for one, other in votes])
    if found is None:
        return None
    return LabelAgreement(
        comparisons=found.comparisons,
        labels=found.labels,
        agreement=found.agreement,
        agreement_ci=(found.interval.low, found.interval.high),
        ceiling_low=found.ceiling_low,
        ceiling_high=found.ceiling_high,
    )


def _votes(rows: Sequence[EvalRow]) -> dict[tuple[Conversation, Conversation, Conversation], tuple[int, int]]:
    """(prompt, two responses in the order they were first seen) → (labels for the first, labels for the second)."""
    votes: dict[tuple[Conversation, Conversation, Conversation], tuple[int, int]] = {}
    for row in rows:
        if len(row.chosen) == len(row.rejected) == 1:
            chosen, rejected = row.chosen[0], row.rejected[0]
            turned = (row.prompt, rejected, chosen)
            if turned in votes:
                first, second = votes[turned]
                votes[turned] = first, second + 1
            else:
                first, second = votes.get((row.prompt, chosen, rejected), (0, 0))
                votes[row.prompt, chosen, rejected] = first + 1, second
    return votes
