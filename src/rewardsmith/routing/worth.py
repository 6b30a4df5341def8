"""Whether a reward model's doubt is worth routing on, in words. Pure.

    found = judge_worth(points, advantage, gain)       # .verdict, .statement

*worth it*: over budgets of 5 to 50 % routing is surely better than asking the judge at random as often.
*not worth it*: it is surely less than half a point better.
*nothing to gain*: with everything escalated the router is surely no better than the reward model alone.
*undecided*: the pairs are too few to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardsmith.records import RoutedScore, RoutePoint

Worth = Literal["worth it", "not worth it", "undecided", "nothing to gain"]

SMALLEST = 0.005
"""An advantage surely below this is none."""

MOST_OF_THE_GAIN = 0.95


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict, and the sentence for people."""

    verdict: Worth
    statement: str


def judge_worth(points: Sequence[RoutePoint], advantage: RoutedScore, gain: RoutedScore) -> Answer:
    """Whether to route.

    Args:
        points: of the curve.
        advantage: `curve.mean_advantage`.
        gain: `curve.gain_of_everything`.
    """
    verdict = _verdict(advantage, gain)
    return Answer(verdict, _OPENINGS[verdict] + " " + _numbers(verdict, points, advantage, gain))


def _verdict(advantage: RoutedScore, gain: RoutedScore) -> Worth:
    if gain.high <= 0:
        return "nothing to gain"
    if advantage.low > 0:
        return "worth it"
    return "not worth it" if advantage.high < SMALLEST else "undecided"


_OPENINGS: dict[Worth, str] = {
    "worth it": "This model's doubt is worth routing on.",
    "not worth it": "This model's doubt is not worth routing on: it does not know where it is wrong.",
    "undecided": "These pairs do not say whether this model's doubt is worth routing on; more pairs would.",
    "nothing to gain": "There is nothing to gain: this judge is not better than the reward model.",
}


def _numbers(verdict: Worth, points: Sequence[RoutePoint], advantage: RoutedScore, gain: RoutedScore) -> str:
    if verdict == "nothing to gain":
        return f"Escalating everything changes the accuracy by {_points(gain)} points."
    text = (
        "With a budget of 5 to 50 % of the comparisons, asking the judge where the model is unsure is "
        f"{_points(advantage)} points better than asking at random."
    )
    enough = next((one for one in points if one.gain is not None and one.gain >= MOST_OF_THE_GAIN), None)
    if verdict == "worth it" and enough is not None and gain.low > 0:
        text += (
            f" {100 * MOST_OF_THE_GAIN:.0f} % of the judge's gain ({_points(gain)} points) is reached with "
            f"{100 * enough.share:.0f} % of its calls."
        )
    return text


def _points(score: RoutedScore) -> str:
    low, high, value = (f"{100 * number:.1f}" for number in (score.low, score.high, score.value))
    return f"{value} ({low} to {high})"
