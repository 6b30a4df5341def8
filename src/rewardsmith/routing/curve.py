"""What routing gives and costs on held-out pairs, beside random routing and the oracle; the limit for a target. Pure.

    trial = make_trial(rules, opinions, subsets, verdicts, units)   # flat arrays: results of model, judge and router
    points = curve(trial, SHARES, seed=17, resamples=2000)          # one a budget
    fitted = fit_limit(trial, Target("gain", 0.95))                 # .limit, .reached
    checked = cross_fit(trial, target, seed=17, resamples=2000)     # on prompts that the limit was not fitted on
    band = predict(trial, margins, temperature, interval, limits, judge_accuracy=0.85, seed=17)
    verdict, statement = weigh(points, advantage, gain)             # whether to route, in words
    pays, statement = judge_worth(model, judge, gain, pairs=500, calls=1000)

At a limit t the pairs with a sureness below t are escalated. With g = routed - model, the gain of escalating a pair,
and e = 1 where it is escalated:

    router   mean(model + e g)
    random   mean(model) + mean(e) mean(g): as many escalations, drawn blindly, in expectation
    oracle   mean(model) + the largest gains of as many pairs

Accuracies and differences have the intervals of `rewardsmith.statistics`, from a bootstrap over prompts; limits are
taken as fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rewardsmith import bradley_terry, statistics
from rewardsmith.errors import SpecError
from rewardsmith.records.routing import RoutedScore, RoutePoint
from rewardsmith.routing.rules import Look, Rules, settle
from rewardsmith.types import JudgeAnswer, Opinion

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_RESULTS = {"first": 1.0, "tie": 0.5, "second": 0.0, None: 0.0}
_KEPT, _ESCALATED = Look(False, "", ""), Look(True, "", "")


@dataclass(frozen=True, slots=True)
class Trial:
    """Held-out pairs as arrays of shape (pairs,).

    A result is 1 where the chosen response wins, 1/2 for a tie, 0 otherwise.

    Attributes:
        sureness: escalated below the limit (`Rules.sureness`).
        model: the reward model alone; 0 where a reward is missing.
        judge: the judge alone; 0 where its verdict is missing.
        routed: what an escalated pair gets: the judge's winner; where the judge ties or is missing, the model's.
        cost: of asking the judge, in money.
        units: numbers of the prompts: pairs of one prompt are one unit for intervals.
    """

    sureness: Floats
    model: Floats
    judge: Floats
    routed: Floats
    cost: Floats
    units: Ints

    def __len__(self) -> int:
        return len(self.model)

    def take(self, chosen: Bools) -> Trial:
        """The pairs where `chosen` is true."""
        return Trial(
            self.sureness[chosen],
            self.model[chosen],
            self.judge[chosen],
            self.routed[chosen],
            self.cost[chosen],
            self.units[chosen],
        )


def make_trial(
    rules: Rules,
    opinions: Sequence[Opinion],
    subsets: Sequence[str],
    verdicts: Sequence[JudgeAnswer],
    units: Sequence[int] | Ints | None = None,
) -> Trial:
    """Results of the model, the judge and the router on every pair.

    Opinions and verdicts are of "the chosen response is first", in whatever order the judge saw the two.

    Raises:
        SpecError: the rules have nothing to fit, or ask for what the model does not say.
    """
    said = [one.probability for one in verdicts]
    routed = [
        settle("", _ESCALATED, opinion, "", verdict).winner for opinion, verdict in zip(opinions, verdicts, strict=True)
    ]
    return Trial(
        sureness=rules.sureness(opinions, subsets),
        model=np.array([_RESULTS[settle("", _KEPT, one, "", None).winner] for one in opinions]),
        judge=np.array([0.0 if p is None else float(p > 0.5) + 0.5 * (p == 0.5) for p in said]),
        routed=np.array([_RESULTS[winner] for winner in routed]),
        cost=np.array([one.usage.cost for one in verdicts]),
        units=np.arange(len(opinions)) if units is None else np.asarray(units, dtype=np.int64),
    )


SHARES = tuple(round(0.05 * step, 2) for step in range(21))
"""Budgets of the curve, as shares of the comparisons."""

ADVANTAGE_SHARES = SHARES[1:11]
"""5 to 50 %: where a router is used; random routing and any other meet at 0 and at 100 %."""


def curve(trial: Trial, shares: Sequence[float], *, seed: int, resamples: int) -> tuple[RoutePoint, ...]:
    """One point a budget; budgets that the limits cannot tell apart make one point."""
    limits = limits_of(trial)
    # A set: several budgets may end at one limit where many pairs are equally sure.
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
        # A share of a gain that is zero or negative would mean nothing.
        gain=(router - model) / whole if whole > 0 else None,
        cost=1000 * float((trial.cost * escalated).mean()),
    )


def _largest(gain_P: Floats, count: int) -> float:
    """The mean over all pairs of the `count` largest gains, none of them negative."""
    return float(np.sort(np.maximum(gain_P, 0.0))[::-1][:count].sum() / len(gain_P))


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


def _unit_sums(columns: Sequence[Floats], units: Ints) -> Floats:
    _, index_P = np.unique(units, return_inverse=True)
    return np.stack([np.bincount(index_P, weights=column) for column in columns], axis=1)


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
    interval = statistics.Difference.of(found, samples_SF[:, 0] / samples_SF[:, 1], len(units_UF)).interval()
    return RoutedScore(value=found, low=interval.low, high=interval.high)


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit that makes a difference, rising, and how many pairs each escalates."""

    values: Floats
    counts: Ints

    def within(self, most: float) -> int:
        """The place of the limit that escalates the most pairs, but at most `most`; the lowest where none does."""
        # 1e-9: a share times the number of pairs may fall just short of the whole number that it means.
        return max(0, int(np.searchsorted(self.counts, most + 1e-9, side="right")) - 1)


def limits_of(trial: Trial) -> Limits:
    """All limits, from the one that escalates least to the one that escalates all that may be.

    Raises:
        SpecError: the other rules decide about every pair.
    """
    # Infinite ones are decided by the other rules, whatever the limit.
    finite = np.unique(trial.sureness[np.isfinite(trial.sureness)])
    if not len(finite):
        raise SpecError(
            "the other rules decide about every pair, so that no limit makes a difference",
            where="routing.rules",
            fix="combine the rules by the other of any and all, or leave one out",
        )
    # One step above the highest value, since a pair is escalated below a limit and not at it.
    values = np.append(finite, np.nextafter(finite[-1], np.inf))
    return Limits(values, np.searchsorted(np.sort(trial.sureness), values, side="left").astype(np.int64))


FOLDS = 5
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Target:
    """What the limit is chosen for.

    `accuracy` and `gain` (a part of the judge's gain over the reward model) ask for the fewest escalations that reach
    them; `share` and `cost` (money for 1,000 comparisons) for the most escalations that stay within them. `wrong` with
    its confidence is fitted by `abstention`.
    """

    kind: Literal["accuracy", "share", "cost", "gain", "wrong"]
    value: float
    confidence: float = 0.9


@dataclass(frozen=True, slots=True)
class Fitted:
    """The limit, and whether the pairs allow the target; where they do not, the limit that comes closest."""

    limit: float
    reached: bool


def fit_limit(trial: Trial, target: Target) -> Fitted:
    """The limit for a target.

    Raises:
        SpecError: no limit makes a difference.
    """
    limits = limits_of(trial)
    # In this order one cumulative sum answers for every limit at once.
    order = np.argsort(trial.sureness, kind="stable")
    n = len(trial)

    def reached_by(values: Floats) -> Floats:
        return np.asarray(np.concatenate([[0.0], np.cumsum(values[order])])[limits.counts] / n)

    gain_L = reached_by(trial.routed - trial.model)
    if target.kind in ("share", "cost"):
        used_L = limits.counts / n if target.kind == "share" else 1000 * reached_by(trial.cost)
        allowed = np.flatnonzero(used_L <= target.value + _ROUNDING)
        return Fitted(float(limits.values[allowed[-1] if len(allowed) else 0]), bool(len(allowed)))
    wanted = target.value - float(trial.model.mean()) if target.kind == "accuracy" else target.value * gain_L[-1]
    enough = np.flatnonzero(gain_L >= wanted - _ROUNDING)
    # A part of a judge's gain that is no gain would be reached with nothing escalated.
    there = bool(len(enough)) and not (target.kind == "gain" and gain_L[-1] <= 0)
    return Fitted(float(limits.values[enough[0] if there else int(np.argmax(gain_L))]), there)


@dataclass(frozen=True, slots=True)
class Checked:
    """Out of sample: accuracy with its interval, and the share that was escalated."""

    accuracy: RoutedScore
    share: float


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
        # On these folds the other rules decide everything, so that there is no limit to fit.
        if not np.isfinite(trial.sureness[~here]).any():
            return None
        escalated_P[here] = trial.sureness[here] < fit_limit(trial.take(~here), target).limit
    result_P = np.where(escalated_P, trial.routed, trial.model)
    return Checked(accuracy(result_P, trial.units, seed, resamples), float(escalated_P.mean()))


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
    """What the calibration predicts of the curve, before any label is seen.

    A calibrated model that keeps a pair is right with probability sigmoid(|margin| / T). So the accuracy at a limit is
    predicted by the mean of these over what is kept, plus the judge's part over what is escalated. The band is
    simulated: the temperature is drawn from its interval (log-normal), then each pair's result. It holds the whole
    curve at once, in 95 of 100 cases where the calibration is right: mean ± c · standard deviation, with c the 95 %
    quantile of the largest deviation anywhere on the curve.

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
    # Divided by the pairs at once, so that each curve is two matrix products.
    kept_LP = np.array([trial.sureness >= limit for limit in limits], dtype=np.float64) / len(trial)
    escalated_LP = 1 / len(trial) - kept_LP
    accuracy_DL = np.empty((draws, len(limits)))
    for draw, found in enumerate(_temperatures(rng, temperature, interval, draws)):
        accuracy_DL[draw] = kept_LP @ _results(rng, margin_P, found)
        judged_P = trial.routed if judge_accuracy is None else (rng.random(len(trial)) < judge_accuracy).astype(float)
        accuracy_DL[draw] += escalated_LP @ judged_P
    mean_L, std_L = accuracy_DL.mean(axis=0), accuracy_DL.std(axis=0)
    # A limit whose accuracy never varies has no deviation to count: x / inf is 0.
    largest_D = np.max(np.abs(accuracy_DL - mean_L) / np.where(std_L > 0, std_L, np.inf), axis=1)
    reach = float(np.quantile(largest_D, statistics.CONFIDENCE))
    return Band(mean_L, mean_L - reach * std_L, mean_L + reach * std_L)


def _temperatures(
    rng: np.random.Generator, temperature: float, interval: tuple[float, float] | None, draws: int
) -> Floats:
    if interval is None:
        return np.full(draws, temperature)
    # A 95 % interval spans 2 · 1.96 standard deviations of the logarithm.
    wide = math.log(interval[1] / interval[0]) / (2 * float(special.ndtri((1 + statistics.CONFIDENCE) / 2)))
    return np.asarray(temperature * np.exp(wide * rng.standard_normal(draws)))


def _results(rng: np.random.Generator, margin_P: Floats, temperature: float) -> Floats:
    """Simulated results of the model: right by its confidence, 1/2 where margins are 0, 0 where rewards are missing."""
    confidence_P = bradley_terry.preference_probability(np.nan_to_num(margin_P), temperature)
    right_P = (rng.random(len(margin_P)) < confidence_P).astype(np.float64)
    return np.where(np.isnan(margin_P), 0.0, np.where(margin_P == 0, 0.5, right_P))


Worth = Literal["worth it", "not worth it", "undecided", "nothing to gain"]
SMALLEST = 0.005
"""An advantage surely below this is none."""

MOST_OF_THE_GAIN = 0.95


def weigh(points: Sequence[RoutePoint], advantage: RoutedScore, gain: RoutedScore) -> tuple[Worth, str]:
    """Whether the model's doubt beats random escalation at equal cost: the verdict, and a sentence for people.

    *worth it*: over budgets of 5 to 50 % routing is surely better than asking the judge at random as often.
    *not worth it*: it is surely less than half a point better.
    *nothing to gain*: with everything escalated the router is surely no better than the reward model alone.
    *undecided*: the pairs are too few to say.

    Args:
        points: of the curve.
        advantage: of `mean_advantage`.
        gain: of `gain_of_everything`.
    """
    verdict = _verdict(advantage, gain)
    return verdict, f"{_OPENINGS[verdict]} {_numbers(verdict, points, advantage, gain)}"


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


COIN = 0.5
USEFUL = 0.6
"""A judge that may be a coin and is surely below this is not worth asking; too few pairs do not say so."""


def judge_worth(
    model: RoutedScore,
    judge: RoutedScore,
    gain: RoutedScore,
    *,
    pairs: int,
    calls: int,
    cached: int = 0,
    money: str = "",
) -> tuple[bool | None, str]:
    """Whether this judge pays, and the numbers behind it: True where it is surely better than the model, None where the
    pairs do not say.

    It does not pay where it is surely no better than the reward model, and where it may be a coin or worse and is
    surely below 60 %, on pairs on which it does not surely beat the reward model either.

    Args:
        model: accuracy of the reward model alone, on the pairs that the judge was asked about.
        judge: that of the judge alone: a tie scores 1/2, a missing verdict 0.
        gain: `gain_of_everything`.
        pairs: that it was asked about.
        calls: that this took.
        cached: answers that were there from earlier calls, which cost as much when they were asked for.
        money: what they cost, in words; "" where no price is known.
    """
    poor = judge.low <= COIN and judge.high < USEFUL
    pays = True if gain.low > 0 else False if gain.high <= 0 or poor else None
    numbers = (
        f"on the {pairs:,} pairs that it was asked about it is right in {_percent(judge)}, the reward model in "
        f"{_percent(model)}; asking it about all of them changes the accuracy by {_points(gain)} points, for "
        f"{_asked(calls, cached)}{f' and {money}' if money else ''}"
    )
    if pays is None:
        return None, f"These pairs do not say whether this judge is worth its cost: {numbers}."
    if pays:
        return True, f"This judge is better than the reward model: {numbers}."
    worse = " It is worse than a coin: a missing verdict counts as wrong."
    why = "" if not poor else worse if judge.high < COIN else " It cannot be told from a coin."
    return False, f"This judge is not worth its cost: {numbers}.{why}"


def _asked(calls: int, cached: int) -> str:
    if not cached:
        return f"{calls:,} calls" if calls else "verdicts that were given"
    new = f", {calls:,} of them new" if calls else ", all answered before"
    return f"{calls + cached:,} calls{new}"


def _percent(score: RoutedScore) -> str:
    return f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _points(score: RoutedScore) -> str:
    low, high, value = (f"{100 * number:.1f}" for number in (score.low, score.high, score.value))
    return f"{value} ({low} to {high})"
