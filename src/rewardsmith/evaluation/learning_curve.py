"""More data or a bigger base? How a score changes with each doubling of the training pairs, and what that says.

    slope   = score_per_doubling(benchmark, rows, rewards of each model, pairs of each model, seed=17)
    loss    = loss_per_doubling(…)                       pairs only
    verdict, statement = read_curve(slope, loss, pairs, "held-out accuracy")

All models answer the same rows, so units are resampled for all of them together: what makes a row hard for one makes it
hard for the others, and falls out of the slope. The interval covers the choice of rows. It does not cover the luck of a
training run; `training.seeds` shows how large that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rewardsmith import bradley_terry, statistics
from rewardsmith.evaluation.contract import Benchmark, EvalRow, Floats, Rewards, Tally, pair_margins, unit_numbers
from rewardsmith.evaluation.subsets import average_parts, resample_together, seed_of, tally_models
from rewardsmith.records.training import CurveSlope
from rewardsmith.statistics import Difference, weighted_difference

FLAT = 0.01
"""A doubling that surely brings less than this much of a score is called flat: one point of a hundred."""

CurveConclusion = Literal["more data", "flat", "falling", "undecided"]


def score_per_doubling(
    benchmark: Benchmark,
    rows: Sequence[EvalRow],
    rewards: Sequence[Rewards],
    pairs: Sequence[int],
    *,
    seed: int,
    resamples: int = statistics.RESAMPLES,
) -> CurveSlope:
    """Slope of the benchmark's average, by least squares on log2 of the pairs.

    Args:
        benchmark: the rule.
        rows: what every model was asked.
        rewards: for each model, its rewards of all rows.
        pairs: for each model, its number of training pairs; at least two different ones.
        seed: of the bootstrap.
        resamples: bootstrap resamples.

    Raises:
        ValueError: all models have the same number of pairs.
    """
    weights_P, span = _least_squares(pairs)
    parts = average_parts(benchmark, rows)
    rises = [
        _rise(tally_models(benchmark, name, rows, own, rewards), weights_P * span, seed_of(seed, name), resamples)
        for name, (own, _) in parts.items()
    ]
    return _scaled(weighted_difference(rises, [share for _, share in parts.values()]), span)


def loss_per_doubling(
    rows: Sequence[EvalRow], rewards: Sequence[Rewards], pairs: Sequence[int], *, seed: int
) -> CurveSlope | None:
    """Slope of the mean Bradley-Terry loss of pairs, in nats; None where no pair has its rewards from every model.

    Raises:
        ValueError: all models have the same number of pairs.
    """
    weights_P, _ = _least_squares(pairs)
    margins_PN = np.array([pair_margins(given) for given in rewards])
    there_N = np.isfinite(margins_PN).all(axis=0)
    if not there_N.any():
        return None
    losses_N = weights_P @ np.array([bradley_terry.pair_losses(margins_N[there_N]) for margins_N in margins_PN])
    units = np.array(unit_numbers(rows))[there_N]
    samples = statistics.bootstrap_means(losses_N, units, seed=seed)
    interval = statistics.percentile_interval(samples)
    return CurveSlope(per_doubling=float(losses_N.mean()), low=interval.low, high=interval.high)


def read_curve(score: CurveSlope, loss: CurveSlope | None, pairs: int, name: str) -> tuple[CurveConclusion, str]:
    """What the curve says about collecting more data, in words; nothing is claimed where the interval holds 0.

    Args:
        score: slope of the score that decides.
        loss: slope of the held-out loss, told beside it.
        pairs: of the largest point.
        name: what the score is called.
    """
    found = (
        f"each doubling of the training pairs changes {name} by {100 * score.per_doubling:+.1f} points "
        f"(95 % interval {100 * score.low:+.1f} to {100 * score.high:+.1f})"
    )
    if loss is not None:
        found += f", its loss by {loss.per_doubling:+.3f} ({loss.low:+.3f} to {loss.high:+.3f})"
    if score.low > 0:
        return "more data", f"More data helps: {found}. At {pairs:,} pairs the curve still rises: collect more of them."
    if score.high < 0:
        return "falling", f"More data hurts: {found}. Look at the labels of what a larger share adds."
    if score.high < FLAT:
        return "flat", (
            f"Flat: {found}, less than {100 * FLAT:.0f} point a doubling. More pairs of this kind will hardly move it; "
            "a bigger base, better labels or harder pairs may."
        )
    return "undecided", (
        f"Undecided: {found}. The interval holds 0 and is too wide to call the curve flat: neither more data nor a "
        "bigger base follows from it. More held-out rows or fractions further apart narrow it."
    )


def _least_squares(pairs: Sequence[int]) -> tuple[Floats, float]:
    """Weights that turn one score a model into the slope per doubling, and the doublings from smallest to largest."""
    doublings_P = np.log2(np.asarray(pairs, dtype=np.float64))
    span = float(np.ptp(doublings_P))
    if span == 0:
        raise ValueError(f"a slope needs two different numbers of pairs, found {list(pairs)}")
    centred_P = doublings_P - doublings_P.mean()
    return np.asarray(centred_P / (centred_P @ centred_P), dtype=np.float64), span


def _rise(tallies: Sequence[Tally], weights_P: Floats, seed: int, resamples: int) -> Difference:
    """Rise of the fitted line from its first to its last point: a difference of scores on the same units."""
    estimate = float(weights_P @ np.array([tally.score for tally in tallies]))
    return Difference.of(estimate, weights_P @ resample_together(tallies, seed, resamples), len(tallies[0].units))


def _scaled(rise: Difference, span: float) -> CurveSlope:
    interval = rise.interval()
    return CurveSlope(per_doubling=rise.estimate / span, low=interval.low / span, high=interval.high / span)
