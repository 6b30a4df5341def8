"""Which models wrote the responses, and how much of the label follows from that alone.

Where one model's answers are nearly always chosen, a reward model can learn its manner instead of what makes an answer
good, and will prefer that manner in a policy's answers, which that model did not write.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.surveys.comparisons import Numbers, numbered
from rewardsmith.data.surveys.contract import Found
from rewardsmith.data.surveys.names import Codes
from rewardsmith.records import ModelRate, Models
from rewardsmith.statistics import wilson_interval

_NEARLY = 0.9  # chosen in nine of ten pairs or more, beyond chance
_LEAST_SHARE = 0.05  # a model in fewer than one pair in twenty moves accuracy by less than 2.5 points
_SHOWN = 20


def model_rates(chosen: Codes, rejected: Codes, prompts: Numbers, titles: list[str]) -> Models | None:
    """How often each model's responses are chosen; None where no pair names two models.

    Args:
        chosen: the model of each training pair's chosen response, -1 where it is not known, shape (N,).
        rejected: the same of the rejected response.
        prompts: number of each pair's prompt: pairs of one prompt share answers, so that an interval counts prompts.
        titles: the models' names by number.
    """
    known = (chosen >= 0) & (rejected >= 0) & (chosen != rejected)
    if not known.any():
        return None
    chosen, rejected, prompts = chosen[known], rejected[known], prompts[known]
    pairs_of = np.bincount(np.concatenate([chosen, rejected]))
    rates = [
        _rate(titles[model], chosen == model, rejected == model, prompts)
        for model in np.argsort(-pairs_of, kind="stable")[:_SHOWN].tolist()
        if pairs_of[model]  # a model that has only answered itself meets no other
    ]
    right = _rule_accuracy(chosen, rejected)
    units = len(np.unique(prompts))
    interval = wilson_interval(right * units, units)
    return Models(
        pairs=len(chosen),
        distinct=len(np.unique(np.concatenate([chosen, rejected]))),
        rule_accuracy=right,
        rule_ci=(interval.low, interval.high),
        most=tuple(rates),
    )


def telling_models(
    models: Models | None, chosen: Codes, rejected: Codes, titles: list[str], train: NDArray[np.int64]
) -> Found:
    """Models that are chosen, or rejected, in nine pairs of ten or more; `chosen` and `rejected` as for `train`."""
    telling = [
        rate
        for rate in (models.most if models else ())
        if (rate.ci_low >= _NEARLY or rate.ci_high <= 1 - _NEARLY) and rate.pairs >= _LEAST_SHARE * len(train)
    ]
    numbers = [titles.index(rate.model) for rate in telling]
    shows = (np.isin(chosen, numbers) | np.isin(rejected, numbers)) & (chosen >= 0) & (rejected >= 0)
    places = train[shows & (chosen != rejected)]

    def named(place: int) -> str:
        row = int(np.searchsorted(train, place))
        return f"{titles[chosen[row]]!r} is preferred to {titles[rejected[row]]!r}"

    return Found("model_tells_label", places, named, summary="; ".join(map(_in_words, telling)))


def _in_words(rate: ModelRate) -> str:
    limits = f"95 % interval {rate.ci_low:.1%} to {rate.ci_high:.1%}"
    return f"{rate.model!r} is chosen in {rate.chosen:.1%} of its {rate.pairs:,} pairs with another model ({limits})"


def _rate(title: str, wins: NDArray[np.bool_], losses: NDArray[np.bool_], prompts: Numbers) -> ModelRate:
    pairs, won = int(wins.sum() + losses.sum()), int(wins.sum())
    units = len(np.unique(prompts[wins | losses]))
    interval = wilson_interval(won / pairs * units, units)
    return ModelRate(
        model=title, pairs=pairs, prompts=units, chosen=won / pairs, ci_low=interval.low, ci_high=interval.high
    )


def _rule_accuracy(chosen: Codes, rejected: Codes) -> float:
    """Of the rule that is learnt from the other pairs of the same two models; a tie counts half."""
    couple = numbered(np.maximum(chosen, rejected), np.minimum(chosen, rejected))
    is_forward = chosen < rejected
    forward = np.bincount(couple[is_forward], minlength=int(couple.max()) + 1)[couple]
    same = np.where(is_forward, forward, np.bincount(couple)[couple] - forward)
    opposite = np.bincount(couple)[couple] - same
    return float(np.mean(np.where(same - 1 == opposite, 0.5, same - 1 > opposite)))


MODEL_TELLS_LABEL = Check(
    code="model_tells_label",
    severity="warning",
    title="A model that is nearly always chosen, or never",
    meaning="Of the responses of one model nine in ten or more are on the same side of the label.",
    why="The reward model can learn that model's manner instead of what is good; a policy writes in another.",
    fix="add pairs in which that model's answers meet better or worse ones, or two answers of the same model",
    of="train",
)
