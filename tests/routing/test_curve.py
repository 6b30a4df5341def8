"""The curve, the limit and the prediction: by hand, and on planted pairs whose accuracies are known."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_world import CALL, planted

from rewardsmith.errors import SpecError
from rewardsmith.routing import SHARES, Rule, Rules, Target, curve, fit_limit, make_trial, opinions
from rewardsmith.routing.curve import (
    Trial,
    accuracy,
    cross_fit,
    gain_of_everything,
    judge_worth,
    limits_of,
    mean_advantage,
    predict,
    weigh,
)
from rewardsmith.types import JudgeAnswer, Opinion, Usage

RESAMPLES = 500
SOME = (0.1, 0.3, 0.5, 1.0)


def trial(sureness: list[float], model: list[float], routed: list[float], cost: float = 0.0) -> Trial:
    n = len(model)
    arrays = [np.array(values, dtype=np.float64) for values in (sureness, model, routed, routed, [cost] * n)]
    return Trial(*arrays, units=np.arange(n))


FOUR = trial([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1], [1, 0, 1, 0], cost=0.02)
"""Escalating them one by one gives 3/4, 3/4, 3/4, 2/4."""


def test_the_curve_by_hand() -> None:
    points = curve(FOUR, (0.0, 0.25, 0.5, 0.75, 1.0), seed=1, resamples=RESAMPLES)
    assert [one.share for one in points] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [one.accuracy.value for one in points] == [0.5, 0.75, 0.75, 0.75, 0.5]
    assert [one.random for one in points] == [0.5] * 5  # the judge is right as often
    assert [one.oracle for one in points] == [0.5, 0.75, 0.75, 0.75, 0.75]
    assert [one.difference.value for one in points] == [0.0, 0.25, 0.25, 0.25, 0.0]
    assert [one.cost for one in points] == pytest.approx([0.0, 5.0, 10.0, 15.0, 20.0])
    assert [one.gain for one in points] == [None] * 5
    assert all(one.accuracy.low <= one.accuracy.value <= one.accuracy.high for one in points)


def test_equal_sureness_is_escalated_together_or_not_at_all() -> None:
    tied = replace(FOUR, sureness=np.array([0.6, 0.7, 0.7, 0.9]))
    assert [one.share for one in curve(tied, SHARES, seed=1, resamples=RESAMPLES)] == [0.0, 0.25, 0.75, 1.0]


def test_what_other_rules_decide_stays_decided() -> None:
    fixed = replace(FOUR, sureness=np.array([-math.inf, 0.7, 0.8, math.inf]))
    assert [one.share for one in curve(fixed, SHARES, seed=1, resamples=RESAMPLES)] == [0.25, 0.5, 0.75]
    with pytest.raises(SpecError, match="no limit makes a difference"):
        limits_of(replace(FOUR, sureness=np.full(4, math.inf)))


@pytest.mark.parametrize(
    ("kind", "value", "limit", "reached"),
    [
        ("accuracy", 0.75, 0.7, True),  # below 0.7 there is one pair
        ("accuracy", 0.5, 0.6, True),  # none needed
        ("accuracy", 0.8, 0.7, False),  # the best there is
        ("share", 0.5, 0.8, True),
        ("share", 0.49, 0.7, True),
        ("share", 0.0, 0.6, True),
        ("cost", 15.0, 0.9, True),
        ("cost", 4.9, 0.6, True),
        ("gain", 0.95, 0.7, False),  # there is no gain
    ],
)
def test_the_limit_for_a_target_by_hand(kind, value, limit, reached):
    found = fit_limit(FOUR, Target(kind, value))
    assert (found.limit, found.reached) == (limit, reached)


def test_a_share_that_other_rules_pass_alone_is_not_reached() -> None:
    fixed = replace(FOUR, sureness=np.array([-math.inf, -math.inf, 0.8, 0.9]))
    assert fit_limit(fixed, Target("share", 0.25)).reached is False


def test_results_of_model_judge_and_router_by_hand() -> None:
    opinions = [Opinion(1.0), Opinion(-1.0), Opinion(0.0), Opinion(None), Opinion(2.0), Opinion(-3.0)]
    verdicts = [
        JudgeAnswer(0.9),
        JudgeAnswer(0.5),
        JudgeAnswer(0.1, usage=Usage(cost=0.5)),
        JudgeAnswer(1.0),
        JudgeAnswer(None, missing="failed"),
        JudgeAnswer(0.8),
    ]
    found = make_trial(Rules((Rule("margin"),)), opinions, [""] * 6, verdicts)
    assert found.model.tolist() == [1, 0, 0.5, 0, 1, 0]
    assert found.judge.tolist() == [1, 0.5, 0, 1, 0, 1]
    assert found.routed.tolist() == [1, 0, 0, 1, 1, 1]
    assert found.sureness.tolist() == [1, 1, 0, -math.inf, 2, 3]
    assert found.cost.tolist() == [0, 0, 0.5, 0, 0, 0]


results = st.sampled_from([0.0, 0.5, 1.0])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0.5, 1.0), results, results), min_size=2, max_size=30))
def test_no_router_beats_the_oracle_and_all_meet_at_the_ends(rows):
    found = trial([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    points = curve(found, SHARES, seed=1, resamples=50)
    assert all(one.oracle >= max(one.accuracy.value, one.random) - 1e-9 for one in points)
    assert points[0].accuracy.value == pytest.approx(found.model.mean())
    assert points[-1].accuracy.value == pytest.approx(found.routed.mean())
    assert points[-1].difference.value == pytest.approx(0.0, abs=1e-12)


# What the issue asks to be shown, on 20,000 planted pairs.

PLANTED = planted(20_000)


def test_the_planted_accuracies_are_found() -> None:
    for results_P, truth in ((PLANTED.model, 0.78), (PLANTED.judge, 0.85)):
        found = accuracy(results_P, PLANTED.units, 1, RESAMPLES)
        assert found.low <= truth <= found.high


def test_routing_by_calibrated_probability_beats_random_at_every_budget() -> None:
    points = curve(PLANTED, SHARES[1:11], seed=1, resamples=RESAMPLES)
    assert [one.share for one in points] == pytest.approx(SHARES[1:11], abs=1e-4)
    assert all(one.difference.low > 0 for one in points)


def test_most_of_the_judges_gain_takes_at_most_60_per_cent_of_its_calls() -> None:
    found = fit_limit(PLANTED, Target("gain", 0.95))
    assert found.reached
    assert float((PLANTED.sureness < found.limit).mean()) <= 0.6
    checked = cross_fit(PLANTED, Target("gain", 0.95), seed=1, resamples=RESAMPLES)
    assert checked is not None
    assert checked.share <= 0.6
    whole = float(PLANTED.routed.mean())
    assert checked.accuracy.high >= 0.78 + 0.95 * (whole - 0.78)


def test_the_judges_gain_is_the_planted_one() -> None:
    found = gain_of_everything(PLANTED, seed=1, resamples=RESAMPLES)
    assert found.low <= 0.07 <= found.high


def test_a_model_that_does_not_know_where_it_is_wrong_is_not_worth_routing_on() -> None:
    blind = planted(20_000, calibrated=False)
    advantage = mean_advantage(blind, seed=1, resamples=RESAMPLES)
    assert advantage.low <= 0 <= advantage.high
    verdict, statement = weigh(
        curve(blind, SOME, seed=1, resamples=RESAMPLES), advantage, gain_of_everything(blind, seed=1, resamples=99)
    )
    assert verdict == "not worth it"
    assert "does not know where it is wrong" in statement


@pytest.mark.parametrize(
    ("n", "judge", "verdict"), [(20_000, 0.85, "worth it"), (20_000, 0.5, "nothing to gain"), (40, 0.85, "undecided")]
)
def test_whether_it_is_worth_it_in_words(n, judge, verdict):
    found = planted(n, judge=judge)
    points = curve(found, SOME, seed=1, resamples=RESAMPLES)
    found_verdict, statement = weigh(
        points,
        mean_advantage(found, seed=1, resamples=RESAMPLES),
        gain_of_everything(found, seed=1, resamples=RESAMPLES),
    )
    assert found_verdict == verdict
    if verdict == "worth it":
        assert "95 % of the judge's gain" in statement
        assert "better than asking at random" in statement


def worth(found: Trial, calls: int = 1000, cached: int = 0) -> tuple[bool | None, str]:
    return judge_worth(
        accuracy(found.model, found.units, 1, RESAMPLES),
        accuracy(found.judge, found.units, 1, RESAMPLES),
        gain_of_everything(found, seed=1, resamples=RESAMPLES),
        pairs=len(found),
        calls=calls,
        cached=cached,
    )


@pytest.mark.parametrize(
    ("calls", "cached", "said"),
    [
        (1000, 0, "for 1,000 calls"),
        (0, 1000, "for 1,000 calls, all answered before"),
        (77, 923, "for 1,000 calls, 77 of them new"),
        (0, 0, "for verdicts that were given"),
    ],
)
def test_answers_of_earlier_calls_are_counted_as_what_the_judge_costs(calls: int, cached: int, said: str) -> None:
    assert f" points, {said}." in worth(planted(500, model=0.7, judge=0.5, seed=1), calls, cached)[1]


@pytest.mark.parametrize("model", [0.55, 0.7])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_judge_that_tosses_a_coin_is_not_worth_its_cost_beside_any_model(model: float, seed: int) -> None:
    pays, statement = worth(planted(500, model=model, judge=0.5, seed=seed))
    assert pays is False
    assert statement.startswith("This judge is not worth its cost: on the 500 pairs that it was asked about")
    assert "for 1,000 calls" in statement


@pytest.mark.parametrize(("judge", "model"), [(0.85, 0.6), (0.85, 0.7), (0.7, 0.55)])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_good_judge_is_not_called_worthless(judge: float, model: float, seed: int) -> None:
    pays, statement = worth(planted(500, model=model, judge=judge, seed=seed))
    assert pays is True
    assert "not worth" not in statement


@pytest.mark.parametrize("seed", range(8))
def test_few_pairs_call_no_judge_worthless_that_may_be_good(seed: int) -> None:
    """Of 24 answers of a judge that is right in 80 %, at least 15 are right in 97 of 100 draws: never surely a coin."""
    assert worth(planted(24, model=0.6, judge=0.8, seed=seed))[0] is not False


def test_a_judge_that_is_worse_than_the_model_is_not_worth_its_cost_though_it_is_no_coin() -> None:
    pays, statement = worth(planted(2000, model=0.85, judge=0.7))
    assert pays is False
    assert "coin" not in statement


def verdicts_of(answers: list[JudgeAnswer], margins: list[float]) -> Trial:
    found = opinions(np.stack([np.array(margins), np.zeros(len(margins))], axis=1), 1.0)
    return make_trial(Rules((Rule("probability"),)), found, [""] * len(margins), answers)


def test_ties_and_replies_that_cannot_be_read_leave_the_model_and_cost_the_same() -> None:
    """300 pairs, the model right in 180 of them: 60 % (54.4 to 65.4 by Wilson), and nothing that a judge adds."""
    margins = [1.0] * 180 + [-1.0] * 120
    tie, unread = JudgeAnswer(0.5, False, "", CALL), JudgeAnswer(None, None, "unparsed", CALL)
    for answer, share, why in ((tie, "50.0", "cannot be told from a coin"), (unread, "0.0", "worse than a coin")):
        pays, statement = worth(verdicts_of([answer] * 300, margins))
        assert pays is False
        assert f"it is right in {share} % (" in statement
        low, high = re.findall(r"the reward model in 60\.0 % \(([0-9.]+) to ([0-9.]+)\)", statement)[0]
        assert (float(low), float(high)) == pytest.approx((54.4, 65.4), abs=0.5)
        assert "changes the accuracy by 0.0 (-" in statement
        assert why in statement


def test_a_coin_that_beats_a_broken_model_is_not_called_worthless() -> None:
    """The model is right in 20 % of 500 pairs; a coin is surely better."""
    rng = np.random.default_rng(5)
    answers = [JudgeAnswer(float(one), True, "", CALL) for one in rng.random(500) < 0.5]
    assert worth(verdicts_of(answers, [1.0] * 100 + [-1.0] * 400))[0] is True


def accuracy_at(found: Trial, limit: float) -> float:
    return float(np.where(found.sureness < limit, found.routed, found.model).mean())


def margins_of(found: Trial) -> np.ndarray:
    """The margins behind planted sureness: log-odds."""
    return np.log(found.sureness / (1 - found.sureness))


def test_the_curve_of_a_calibrated_model_keeps_to_its_prediction() -> None:
    """In 95 of 100 cases: of 40 seeds the binomial 99.9 % quantile of misses at 5 % is 8."""
    limits = [float(np.quantile(planted(2_000).sureness, share)) for share in (0.05, 0.2, 0.4, 0.6, 0.8)]
    misses = 0
    for seed in range(40):
        found = planted(2_000, seed=seed)
        band = predict(found, margins_of(found), 1.0, None, limits, judge_accuracy=0.85, seed=seed, draws=200)
        misses += not band.holds([accuracy_at(found, limit) for limit in limits])
    assert misses <= 8


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_a_wrong_temperature_is_found(temperature: float) -> None:
    limits = limits_of(PLANTED).values[[1000, 5000, 10_000]].tolist()
    accuracies = [accuracy_at(PLANTED, limit) for limit in limits]
    for stated, holds in ((1.0, True), (temperature, False)):
        band = predict(PLANTED, margins_of(PLANTED), stated, None, limits, judge_accuracy=None, seed=1, draws=100)
        assert band.holds(accuracies) is holds


def test_the_predicted_accuracy_is_the_mean_confidence_by_hand() -> None:
    found = trial([0.6, 0.9], [0, 1], [1, 1])
    band = predict(
        found, [math.log(1.5), math.log(9)], 1.0, None, [0.0, 0.7, 2.0], judge_accuracy=0.85, seed=1, draws=20_000
    )
    assert band.predicted == pytest.approx([(0.6 + 0.9) / 2, (0.85 + 0.9) / 2, 0.85], abs=0.01)


def test_an_uncertain_temperature_widens_the_band() -> None:
    limits = [0.5]
    sharp, wide = (
        predict(PLANTED, margins_of(PLANTED), 1.0, interval, limits, judge_accuracy=None, seed=1, draws=200)
        for interval in (None, (0.5, 2.0))
    )
    assert (wide.high - wide.low)[0] > 3 * (sharp.high - sharp.low)[0]


def test_pairs_of_one_prompt_are_one_unit() -> None:
    small = planted(400)
    same = replace(small, units=np.arange(400) // 4)
    alike = replace(small.take(np.arange(400) % 4 == 0), units=np.arange(100))
    fourfold = Trial(*(np.repeat(getattr(alike, name), 4) for name in Trial.__slots__))
    narrow = accuracy(same.model, same.units, 1, RESAMPLES)
    wide = accuracy(fourfold.model, fourfold.units, 1, RESAMPLES)
    assert (wide.high - wide.low) > 1.5 * (narrow.high - narrow.low)


def test_limits_are_checked_on_prompts_that_they_were_not_fitted_on() -> None:
    noise = planted(300, model=0.75, judge=0.75, calibrated=False)
    fitted = fit_limit(noise, Target("accuracy", 0.9))
    seen = accuracy_at(noise, fitted.limit)
    checked = cross_fit(noise, Target("accuracy", 0.9), seed=1, resamples=RESAMPLES)
    assert checked is not None
    assert checked.accuracy.value < seen
    assert cross_fit(noise.take(np.arange(300) < 4), Target("gain", 0.9), seed=1, resamples=9) is None
