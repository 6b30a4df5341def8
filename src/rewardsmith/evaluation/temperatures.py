"""A temperature for each subset, where the data carry it. Pure.

    found = by_subset(margins, subsets, prompts, folds, pooled=1.7, given=True)  # one `SubsetTemperature` a subset
    in_use(found)                                                               # {"Math": 0.9}

A subset of at least `FEWEST_PROMPTS` prompts gets a temperature of its own where that predicts its held-out labels
better than the pooled one: five folds by prompt, the subset's temperature and the pooled one both fitted without the
fold, the mean difference of their log losses with a t test over prompts (pairs of one prompt are one unit),
Holm-corrected over the subsets, p < 0.05. Everywhere else the pooled temperature stands. A temperature that is given
(that of a checkpoint) is the pooled one in every fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from rewardsmith import bradley_terry, statistics
from rewardsmith.evaluation.contract import Floats
from rewardsmith.evaluation.distribution import Ints
from rewardsmith.records.routing import SubsetTemperature

FEWEST_PROMPTS = 100
ALPHA = 0.05


def by_subset(
    margins: Floats,
    subsets: Sequence[str],
    prompts: Ints,
    folds: Ints,
    *,
    pooled: float,
    given: bool,
) -> tuple[SubsetTemperature, ...]:
    """What each subset shows, in the order of their names; pairs without a margin or a subset are left out.

    Args:
        margins: chosen minus rejected, shape (pairs,); NaN where a reward is missing.
        subsets: of each pair.
        prompts: number of each pair's prompt.
        folds: equal for equal prompts.
        pooled: the temperature of all pairs.
        given: it was not fitted on these pairs.
    """
    names = np.asarray(subsets)
    there = ~np.isnan(margins) & (names != "")
    pooled_P = _pooled(margins, folds, there, pooled, given)
    found, differences = [], []
    for name in sorted(set(names[there].tolist())):
        here = there & (names == name)
        own, difference = _tried(margins[here], prompts[here], folds[here], pooled_P[here])
        found.append(
            SubsetTemperature(
                subset=name,
                pairs=int(here.sum()),
                prompts=len(np.unique(prompts[here])),
                temperature=own,
                gain=difference.mean if difference else None,
                gain_low=difference.mean - difference.reach if difference else None,
                gain_high=difference.mean + difference.reach if difference else None,
            )
        )
        differences.append(difference)
    corrected = iter(statistics.holm([one.p_value for one in differences if one]))
    return tuple(
        one
        if difference is None
        else one.model_copy(update={"p_value": (p := next(corrected)), "used": p < ALPHA and difference.mean > 0})
        for one, difference in zip(found, differences, strict=True)
    )


def in_use(found: Sequence[SubsetTemperature]) -> dict[str, float]:
    """Subset → its own temperature, of those that have one."""
    return {one.subset: one.temperature for one in found if one.used and one.temperature is not None}


def _pooled(margins: Floats, folds: Ints, there: np.ndarray, pooled: float, given: bool) -> Floats:
    """The pooled temperature of each pair, fitted without the pair's fold where it is fitted on these pairs."""
    found = np.full(len(margins), pooled)
    if not given:
        for fold in np.unique(folds):
            without = bradley_terry.fit_temperature(margins[there & (folds != fold)])
            found[folds == fold] = pooled if without is None else without
    return found


@dataclass(frozen=True, slots=True)
class _Saved:
    """A mean over pairs, half its 95 % interval, and the two-sided p-value of 0; prompts are the units."""

    mean: float
    reach: float
    p_value: float


def _tried(margin_P: Floats, prompt_P: Ints, fold_P: Ints, pooled_P: Floats) -> tuple[float | None, _Saved | None]:
    """The subset's own temperature, and how much log loss a pair it saves out of fold; None with too few prompts."""
    own = bradley_terry.fit_temperature(margin_P)
    if own is None or len(np.unique(prompt_P)) < FEWEST_PROMPTS:
        return own, None
    own_P = np.empty_like(margin_P)
    for fold in np.unique(fold_P):
        without = bradley_terry.fit_temperature(margin_P[fold_P != fold])
        if without is None:
            return own, None
        own_P[fold_P == fold] = without
    return own, _saved(
        bradley_terry.pair_losses(margin_P / pooled_P) - bradley_terry.pair_losses(margin_P / own_P), prompt_P
    )


def _saved(saved_P: Floats, prompt_P: Ints) -> _Saved:
    """Linearised variance of a ratio of sums over prompts."""
    sums_U, sizes_U = statistics.grouped_sums(saved_P, prompt_P).T
    units, mean = len(sums_U), float(saved_P.mean())
    error = float(np.sqrt(units / (units - 1) * ((sums_U - mean * sizes_U) ** 2).sum())) / len(saved_P)
    reach = float(special.stdtrit(units - 1, (1 + statistics.CONFIDENCE) / 2)) * error
    p = float(2 * special.stdtr(units - 1, -abs(mean) / error)) if error > 0 else 1.0
    return _Saved(mean, reach, p)
