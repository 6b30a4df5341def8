"""The cost-accuracy curve: what each share of escalations gives, beside random routing and the oracle. Pure.

    points = curve(trial, SHARES, seed=17, resamples=2000)

At a limit t the pairs with a sureness below t are escalated. With g = routed - model, the gain of escalating a pair,
and e = 1 where it is escalated:

    router   mean(model + e g)
    random   mean(model) + mean(e) mean(g): as many escalations, drawn blindly, in expectation
    oracle   mean(model) + the largest gains of as many pairs

Accuracies and differences have the intervals of `rewardsmith.statistics`, from a bootstrap over prompts; limits are
taken as fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardsmith import statistics
from rewardsmith.errors import SpecError
from rewardsmith.records import RoutedScore, RoutePoint
from rewardsmith.routing.trial import Floats, Ints, Trial

SHARES = tuple(round(0.05 * step, 2) for step in range(21))
"""Budgets of the curve, as shares of the comparisons."""

ADVANTAGE_SHARES = SHARES[1:11]
"""5 to 50 %: where a router is used; random routing and any other meet at 0 and at 100 %."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit that makes a difference, rising, and how many pairs each escalates."""

    values: Floats
    counts: Ints

    def within(self, most: float) -> int:
        """The place of the limit that escalates the most pairs, but at most `most`; the lowest where none does."""
        return max(0, int(np.searchsorted(self.counts, most + 1e-9, side="right")) - 1)


def limits_of(trial: Trial) -> Limits:
    """All limits, from the one that escalates least to the one that escalates all that may be.

    Raises:
        SpecError: the other rules decide about every pair.
    """
    finite = np.unique(trial.sureness[np.isfinite(trial.sureness)])
    if not len(finite):
        raise SpecError(
            "the other rules decide about every pair, so that no limit makes a difference",
            where="routing.rules",
            fix="combine the rules by the other of any and all, or leave one out",
        )
    values = np.append(finite, np.nextafter(finite[-1], np.inf))
    return Limits(values, np.searchsorted(np.sort(trial.sureness), values, side="left").astype(np.int64))


def curve(trial: Trial, shares: Sequence[float], *, seed: int, resamples: int) -> tuple[RoutePoint, ...]:
    """One point a budget; budgets that the limits cannot tell apart make one point."""
    limits = limits_of(trial)
    places = sorted({limits.within(share * len(trial)) for share in shares})
    return tuple(point(trial, float(limits.values[place]), seed=seed, resamples=resamples) for place in places)


def point(trial: Trial, limit: float, *, seed: int, resamples: int) -> RoutePoint:
    """What the router does at one limit."""
    escalated = trial.sureness < limit
    gain_P = trial.routed - trial.model
    model, whole = float(trial.model.mean()), float(gain_P.mean())
    share, router = float(escalated.mean()), float((trial.model + escalated * gain_P).mean())
    return RoutePoint(
        share=share,
        limit=limit,
        accuracy=accuracy(np.where(escalated, trial.routed, trial.model), trial.units, seed, resamples),
        random=model + share * whole,
        difference=advantage(trial, escalated.astype(np.float64), seed=seed, resamples=resamples),
        oracle=model + _largest(gain_P, int(escalated.sum())),
        gain=(router - model) / whole if whole > 0 else None,
        cost=1000 * float((trial.cost * escalated).mean()),
    )


def accuracy(result_P: Floats, units: Ints, seed: int, resamples: int) -> RoutedScore:
    """A mean of results with its interval."""
    sums_UF = statistics.grouped_sums(result_P, units)
    samples_SF = statistics.bootstrap_sums(sums_UF, seed=seed, resamples=resamples)
    score = float(result_P.mean())
    interval = statistics.score_interval(score, samples_SF[:, 0] / samples_SF[:, 1], len(sums_UF))
    return RoutedScore(value=score, low=interval.low, high=interval.high)


def advantage(trial: Trial, escalated_P: Floats, *, seed: int, resamples: int) -> RoutedScore:
    """The router's accuracy minus that of random routing with as many escalations, with its interval.

    `escalated_P` may be the mean over several budgets: the difference is linear in it.
    """
    gain_P = trial.routed - trial.model
    units_UF = _unit_sums([escalated_P * gain_P, escalated_P, gain_P, np.ones(len(trial))], trial.units)

    def difference(sums: Floats) -> Floats:
        both, escalated, gain, n = np.moveaxis(sums, -1, 0)
        return np.asarray(both / n - (escalated / n) * (gain / n))

    found = float(difference(units_UF.sum(axis=0)))
    samples = difference(statistics.bootstrap_sums(units_UF, seed=seed, resamples=resamples))
    interval = statistics.Difference.of(found, samples, len(units_UF)).interval()
    return RoutedScore(value=found, low=interval.low, high=interval.high)


def mean_advantage(trial: Trial, *, seed: int, resamples: int) -> RoutedScore:
    """`advantage`, the mean over budgets of 5 to 50 %."""
    limits = limits_of(trial)
    chosen = [limits.values[limits.within(share * len(trial))] for share in ADVANTAGE_SHARES]
    escalated_P = np.mean([trial.sureness < limit for limit in chosen], axis=0)
    return advantage(trial, escalated_P, seed=seed, resamples=resamples)


def gain_of_everything(trial: Trial, *, seed: int, resamples: int) -> RoutedScore:
    """The judge's gain: accuracy with everything escalated minus the reward model's, with its interval."""
    gain_P = trial.routed - trial.model
    units_UF = statistics.grouped_sums(gain_P, trial.units)
    samples_SF = statistics.bootstrap_sums(units_UF, seed=seed, resamples=resamples)
    found = float(gain_P.mean())
    difference = statistics.Difference.of(found, samples_SF[:, 0] / samples_SF[:, 1], len(units_UF))
    return RoutedScore(value=found, low=difference.interval().low, high=difference.interval().high)


def _largest(gain_P: Floats, count: int) -> float:
    """The mean over all pairs of the `count` largest gains, none of them negative."""
    return float(np.sort(np.maximum(gain_P, 0.0))[::-1][:count].sum() / len(gain_P))


def _unit_sums(columns: Sequence[Floats], units: Ints) -> Floats:
    _, index_P = np.unique(units, return_inverse=True)
    return np.stack([np.bincount(index_P, weights=column) for column in columns], axis=1)
