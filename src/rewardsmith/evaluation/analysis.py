"""Everything beside the scores of one benchmark, in one record: what applies to its rows, and nothing else.

    analyse(benchmark, rows, rewards, seed=…, resamples=…) → Analysis

    length             every benchmark: correlation given the prompt, pairs where the longer is wrong, scores without
                       the length trend
    calibration        where every row is one chosen and one rejected response
    best_of_n          where rows have at least three answers
    label_agreement    where comparisons were labelled more than once

Intervals here use at most `RESAMPLES` resamples: they stand beside the scores and decide no gate, and all of this takes
seconds for 100,000 responses.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.evaluation.answers import prompts_of
from rewardsmith.evaluation.best_of_n_curve import best_of_n_curve, gold_of
from rewardsmith.evaluation.calibration import calibrate, folds_of, is_pairwise
from rewardsmith.evaluation.contract import Benchmark, EvalRow, Rewards
from rewardsmith.evaluation.distribution import length_rewards
from rewardsmith.evaluation.label_agreement import label_agreement
from rewardsmith.evaluation.length_bias import (
    CALIBRATION_METHOD,
    length_bias,
    within_prompt_correlation,
    without_length_trend,
)
from rewardsmith.evaluation.pairwise import pair_margins
from rewardsmith.evaluation.subsets import average_parts, seed_of, subset_places, tally_models
from rewardsmith.records import Analysis, LengthBias, LengthCalibrated

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
