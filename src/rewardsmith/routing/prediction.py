"""What a calibration predicts of the curve, before any label is seen, and whether the curve keeps to it. Pure.

    band = predict(trial, margins, temperature, interval, limits, judge_accuracy=0.85, seed=17)
    band.low <= accuracies <= band.high, at every limit at once, in 95 of 100 cases where the calibration is right

A calibrated model that keeps a pair is right with probability sigmoid(|margin| / T). So the accuracy at a limit is
predicted by the mean of these over what is kept, plus the judge's part: its stated accuracy over what is escalated, or
(None) its results as they were found. The band is simulated: the temperature is drawn from its interval (log-normal),
then each pair's result, pair by pair; it holds the whole curve at once: mean ± c · standard deviation, with c the 95 %
quantile of the largest deviation anywhere on the curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from rewardsmith import bradley_terry, statistics
from rewardsmith.routing.trial import Floats, Trial

DRAWS = 500


@dataclass(frozen=True, slots=True)
class Band:
    """Shape (limits,) each: the predicted accuracy, and the band that the curve as a whole should stay in."""

    predicted: Floats
    low: Floats
    high: Floats

    def holds(self, accuracy_L: Sequence[float]) -> bool:
        """Whether a curve stays within the band everywhere."""
        found = np.asarray(accuracy_L)
        return bool(np.all((self.low - 1e-9 <= found) & (found <= self.high + 1e-9)))


def predict(
    trial: Trial,
    margins: Sequence[float],
    temperature: float,
    interval: tuple[float, float] | None,
    limits: Sequence[float],
    *,
    judge_accuracy: float | None,
    seed: int,
    draws: int = DRAWS,
) -> Band:
    """The band of the calibration.

    Args:
        trial: the pairs; of the reward model's results nothing is read but where they are missing.
        margins: of each pair; NaN where a reward is missing.
        temperature: of the calibration.
        interval: its 95 % interval, None where it is not known: then the temperature is taken as exact.
        limits: of the points.
        judge_accuracy: of the judge, if it is known; None takes its results as they are.
        seed: of the simulation.
        draws: simulated curves.
    """
    rng = np.random.default_rng(seed)
    margin_P = np.abs(np.asarray(margins, dtype=np.float64))
    kept_LP = np.array([trial.sureness >= limit for limit in limits], dtype=np.float64) / len(trial)
    escalated_LP = 1 / len(trial) - kept_LP
    accuracy_DL = np.empty((draws, len(limits)))
    for draw, found in enumerate(_temperatures(rng, temperature, interval, draws)):
        accuracy_DL[draw] = kept_LP @ _results(rng, margin_P, found)
        judged_P = trial.routed if judge_accuracy is None else (rng.random(len(trial)) < judge_accuracy).astype(float)
        accuracy_DL[draw] += escalated_LP @ judged_P
    mean_L, std_L = accuracy_DL.mean(axis=0), accuracy_DL.std(axis=0)
    largest_D = np.max(np.abs(accuracy_DL - mean_L) / np.where(std_L > 0, std_L, np.inf), axis=1)
    reach = float(np.quantile(largest_D, statistics.CONFIDENCE))
    return Band(mean_L, mean_L - reach * std_L, mean_L + reach * std_L)


def _temperatures(
    rng: np.random.Generator, temperature: float, interval: tuple[float, float] | None, draws: int
) -> Floats:
    if interval is None:
        return np.full(draws, temperature)
    wide = math.log(interval[1] / interval[0]) / (2 * float(special.ndtri((1 + statistics.CONFIDENCE) / 2)))
    return np.asarray(temperature * np.exp(wide * rng.standard_normal(draws)))


def _results(rng: np.random.Generator, margin_P: Floats, temperature: float) -> Floats:
    """Simulated results of the model: right by its confidence, 1/2 where margins are 0, 0 where rewards are missing."""
    confidence_P = bradley_terry.preference_probability(np.nan_to_num(margin_P), temperature)
    right_P = (rng.random(len(margin_P)) < confidence_P).astype(np.float64)
    return np.where(np.isnan(margin_P), 0.0, np.where(margin_P == 0, 0.5, right_P))
