"""PPE's human preference as a ranking of the models that answered (arXiv 2410.14872; terms: Arena-Hard, 2406.11939).

In: battles, each with the model that people preferred and the one that lost, and the margin of the winner's reward.
Out: how well the reward model's own verdicts on the same battles rebuild the people's leaderboard.

    rating                  Bradley-Terry strength of a model from its battles; half a win each way is added for every
                            pair of models that met, so that a model that never lost has a finite strength
    interval                2.5 and 97.5 % of the ratings over resampled battles, the same resamples for both
    spearman, kendall       of the two lists of ratings
    row_pearson             the mean over models of Pearson's correlation of its two rows of win rates
    separability            share of the pairs of models whose intervals by the reward model do not overlap
    confidence_agreement    over the pairs that people separate: +1 where the reward model separates them the same way,
                            -1 the other way, 0 where it does not; the mean
    brier                   over all pairs: (share of resamples that rank one above the other - 1 or 0)², the mean

PPE's code was not at hand: prior, intervals and that ties and battles with a missing reward are left out are this
project's reading. Equal rewards are half a win each. Fewer than three models have no ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rewardsmith.evaluation.contract import Floats

RESAMPLES = 200
FEWEST_MODELS = 3
_SEED = 17
_ROUNDS, _CLOSE = 500, 1e-9
_PRIOR = 0.5

NAMES = ("spearman", "kendall", "row_pearson", "separability", "confidence_agreement", "brier")


@dataclass(frozen=True, slots=True)
class Battles:
    """Battles that people decided: names of winner and loser, and the margin of the winner's reward, NaN if missing."""

    won: Sequence[str]
    lost: Sequence[str]
    margins: Floats


def leaderboard_metrics(battles: Battles) -> dict[str, float | None]:
    """The numbers above, None where there are fewer than three models with battles."""
    there = ~np.isnan(battles.margins)
    names = sorted({*np.array(battles.won)[there].tolist(), *np.array(battles.lost)[there].tolist()})
    if len(names) < FEWEST_MODELS:
        return dict.fromkeys(NAMES)
    number = {name: place for place, name in enumerate(names)}
    won, lost = (np.array([number[name] for name in side])[there] for side in (battles.won, battles.lost))
    share = np.where(battles.margins[there] > 0, 1.0, np.where(battles.margins[there] < 0, 0.0, 0.5))
    counts = np.random.default_rng(_SEED).multinomial(len(won), np.full(len(won), 1 / len(won)), size=RESAMPLES)
    weights = np.vstack([np.ones(len(won)), counts])  # the battles themselves first
    people = _wins(won, lost, np.ones(len(won)), weights, len(names))
    model = _wins(won, lost, share, weights, len(names))
    rated = [bradley_terry_ratings(wins) for wins in (people, model)]
    (own, samples), (other, other_samples) = [(found[0], found[1:]) for found in rated]
    pairs = np.array(list(combinations(range(len(names)), 2)))
    sides = [_separated(found, pairs) for found in (samples, other_samples)]
    sure = sides[0] != 0
    above = (other_samples[:, pairs[:, 0]] > other_samples[:, pairs[:, 1]]).mean(axis=0)
    truth = (own[pairs[:, 0]] > own[pairs[:, 1]]).astype(np.float64)
    return {
        "spearman": _correlation(stats.spearmanr, own, other),
        "kendall": _correlation(stats.kendalltau, own, other),
        "row_pearson": _row_pearson(people[0], model[0]),
        "separability": float((sides[1] != 0).mean()),
        "confidence_agreement": float((sides[0] * sides[1])[sure].mean()) if sure.any() else None,
        "brier": float(((above - truth) ** 2).mean()),
    }


def bradley_terry_ratings(wins_RMM: Floats) -> Floats:
    """Log strengths, mean 0, shape (resamples, models), of wins, shape (resamples, models, models): row over column.

    Hunter's minorisation (2004), until no strength moves by more than a part in 10⁹.
    """
    met = (wins_RMM + wins_RMM.swapaxes(1, 2)) > 0
    wins_RMM = wins_RMM + _PRIOR * met
    games, total = wins_RMM + wins_RMM.swapaxes(1, 2), wins_RMM.sum(axis=2)
    strength = np.ones(total.shape)
    for _ in range(_ROUNDS):
        expected = (games / (strength[:, :, None] + strength[:, None, :])).sum(axis=2)
        # A model that a resample left without battles keeps its strength.
        moved = np.divide(total, expected, out=strength.copy(), where=expected > 0)
        moved /= np.exp(np.log(moved).mean(axis=1, keepdims=True))
        done = np.abs(moved - strength).max() <= _CLOSE * strength.max()
        strength = moved
        if done:
            break
    return np.asarray(np.log(strength), dtype=np.float64)


def _wins(won: NDArray[np.int64], lost: NDArray[np.int64], share: Floats, weights: Floats, models: int) -> Floats:
    """Wins [row over column] under each list of weights; `share` of a battle goes to the people's winner."""
    cells = np.concatenate([won * models + lost, lost * models + won])
    parts = np.hstack([weights * share, weights * (1 - share)])
    tables = [np.bincount(cells, part, minlength=models * models) for part in parts]
    return np.array(tables, dtype=np.float64).reshape(len(weights), models, models)


def _separated(samples_RM: Floats, pairs: NDArray[np.int64]) -> Floats:
    """1 where the first model's interval is above the second's, -1 where it is below, 0 where they overlap."""
    low, high = np.quantile(samples_RM, [0.025, 0.975], axis=0)
    first, second = pairs.T
    return np.where(low[first] > high[second], 1.0, np.where(high[first] < low[second], -1.0, 0.0))


def _row_pearson(people_MM: Floats, model_MM: Floats) -> float | None:
    """Pearson's correlation of each model's win rates against the models that it met; rows without spread left out."""
    games = people_MM + people_MM.T
    found = []
    for row in range(len(games)):
        met = games[row] > 0
        rates = [wins[row][met] / games[row][met] for wins in (people_MM, model_MM)]
        if met.sum() > 1 and all(np.ptp(rate) > 0 for rate in rates):
            found.append(np.corrcoef(*rates)[0, 1])
    return float(np.mean(found)) if found else None


def _correlation(measure: object, first: Floats, second: Floats) -> float | None:
    """None where one side is constant: it ranks nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(measure(first, second).statistic)  # type: ignore[operator]
