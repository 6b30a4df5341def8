"""The limit for a target, and what it is worth on pairs that it was not fitted on. Pure.

    fitted = fit_limit(trial, Target("gain", 0.95))         # .limit, .reached
    checked = cross_fit(trial, target, seed=17)             # .accuracy, .share of other folds' limits

Targets: `accuracy` and `gain` (a part of the judge's gain over the reward model) ask for the fewest escalations that
reach them; `share` and `cost` (money for 1,000 comparisons) for the most escalations that stay within them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rewardsmith.records import RoutedScore
from rewardsmith.routing.curve import accuracy, limits_of
from rewardsmith.routing.trial import Trial

FOLDS = 5
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Target:
    """What the limit is chosen for; see the module."""

    kind: Literal["accuracy", "share", "cost", "gain"]
    value: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The limit, and whether the pairs allow the target; where they do not, the limit that comes closest."""

    limit: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """Out of sample: accuracy with its interval, and the share that was escalated."""

    accuracy: RoutedScore
    share: float


def fit_limit(trial: Trial, target: Target) -> Fitted:
    """The limit for a target.

    Raises:
        SpecError: no limit makes a difference.
    """
    limits = limits_of(trial)
    order = np.argsort(trial.sureness, kind="stable")
    n = len(trial)

    def reached_by(
        values: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.asarray(np.concatenate([[0.0], np.cumsum(values[order])])[limits.counts] / n)

    gain_L = reached_by(trial.routed - trial.model)
    if target.kind in ("share", "cost"):
        used_L = limits.counts / n if target.kind == "share" else 1000 * reached_by(trial.cost)
        allowed = np.flatnonzero(used_L <= target.value + _ROUNDING)
        return Fitted(float(limits.values[allowed[-1] if len(allowed) else 0]), bool(len(allowed)))
    wanted = target.value - float(trial.model.mean()) if target.kind == "accuracy" else target.value * gain_L[-1]
    enough = np.flatnonzero(gain_L >= wanted - _ROUNDING)
    there = bool(len(enough)) and not (target.kind == "gain" and gain_L[-1] <= 0)
    return Fitted(float(limits.values[enough[0] if there else int(np.argmax(gain_L))]), there)


def cross_fit(trial: Trial, target: Target, *, seed: int, resamples: int) -> Checked | None:
    """What limits are worth on prompts that they were not fitted on (five folds); None with fewer prompts than that."""
    units, index_P = np.unique(trial.units, return_inverse=True)
    if len(units) < FOLDS:
        return None
    fold_U = np.random.default_rng(seed).permutation(len(units)) % FOLDS
    fold_P = fold_U[index_P]
    escalated_P = np.zeros(len(trial), dtype=np.bool_)
    for fold in range(FOLDS):
        here = fold_P == fold
        if not np.isfinite(trial.sureness[~here]).any():
            return None
        escalated_P[here] = trial.sureness[here] < fit_limit(trial.take(~here), target).limit
    result_P = np.where(escalated_P, trial.routed, trial.model)
    return Checked(accuracy(result_P, trial.units, seed, resamples), float(escalated_P.mean()))
