"""Length: correlation given the prompt, pairs where the longer is wrong, and the smooth trend that is taken out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith import statistics
from rewardsmith.evaluation import EvalRow
from rewardsmith.evaluation.analysis import length_bias, within_prompt_correlation, without_length_trend
from rewardsmith.evaluation.distribution import length_rewards
from rewardsmith.types import Message


def row(number, lengths, n_chosen=1, prompt=None):
    """A row whose responses have these numbers of characters, all different texts."""
    responses = tuple(
        (Message("assistant", f"{number}.{place}".ljust(size, "x")),) for place, size in enumerate(lengths)
    )
    asked = (Message("user", str(number if prompt is None else prompt)),)
    return EvalRow(str(number), "all", asked, responses[:n_chosen], responses[n_chosen:])


def bias(rows, rewards, resamples=300):
    return length_bias(rows, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=resamples)


def drawn_rows(n, seed=0, size=2):
    rng = np.random.default_rng(seed)
    return [row(i, rng.integers(10, 400, size)) for i in range(n)], rng


def test_a_length_only_scorer_is_seen_through():
    rows, _ = drawn_rows(80, size=4)
    found = bias(rows, length_rewards(rows))
    assert (found.pearson, found.spearman) == (pytest.approx(1, abs=1e-12), pytest.approx(1, abs=1e-12))
    assert found.pearson_ci == pytest.approx((1, 1), abs=1e-12)
    assert (found.longer_wrong.accuracy, found.longer_right.accuracy) == (0.0, 1.0)
    assert found.longer_wrong.ci_high < 0.1
    assert found.longer_wrong.n + found.longer_right.n + found.equal_length == 240


def test_a_scorer_that_hates_length_has_minus_one():
    rows, _ = drawn_rows(30)
    found = bias(rows, [-3 * reward + 7 for reward in length_rewards(rows)])
    assert (found.pearson, found.longer_wrong.accuracy) == (pytest.approx(-1, abs=1e-12), 1.0)


def test_length_that_only_differs_between_prompts_is_no_bias():
    # reward and length both grow with the prompt; within a prompt they are unrelated by construction
    rows = [row(i, (50 + 100 * i, 60 + 100 * i, 50 + 100 * i + 1, 60 + 100 * i + 1)) for i in range(20)]
    rewards = [np.array([1.0, 1.0, 2.0, 2.0]) + 10 * i for i in range(20)]
    found = bias(rows, rewards)
    lengths = np.array([0, 10, 1, 11]) - 5.5
    expected = (lengths @ np.array([-0.5, -0.5, 0.5, 0.5])) / math.sqrt((lengths @ lengths) * 1.0)
    assert found.pearson == pytest.approx(expected)  # 1 / sqrt(101 + 1), not the 0.99 of the pooled values
    pooled = np.corrcoef(np.concatenate(rewards), np.concatenate(length_rewards(rows)))[0, 1]
    assert pooled > 0.98


def test_correlations_by_hand():
    # prompt a: lengths 10, 20, 30 rewards 1, 3, 2; prompt b: lengths 10, 40 rewards 0, 5
    rows = [row("a", (10, 20, 30)), row("b", (10, 40))]
    found = bias(rows, [(1, 3, 2), (0, 5)])
    products = 10 * 1 + 0 + 0 + 15 * 2.5 + 15 * 2.5  # (-10)(-1) + 0*1 + 10*0, (-15)(-2.5) + (15)(2.5)
    assert found.pearson == pytest.approx(products / math.sqrt((200 + 450) * (2 + 12.5)))
    # centred ranks: a lengths -1, 0, 1 rewards -1, 1, 0; b -.5, .5 both
    assert found.spearman == pytest.approx((1 + 0.5) / math.sqrt((2 + 0.5) * (2 + 0.5)))
    assert (found.prompts, found.responses) == (2, 5)


def test_the_interval_is_the_bootstrap_over_prompts():
    rows, rng = drawn_rows(60, size=3)
    rewards = [0.004 * length + rng.normal(size=3) for length in length_rewards(rows)]
    found = bias(rows, rewards, resamples=4000)
    sums = []
    for reward, length in zip(rewards, length_rewards(rows), strict=True):
        one, other = reward - reward.mean(), length - length.mean()
        sums.append((one @ other, one @ one, other @ other))
    draws = np.array(sums)[rng.integers(0, 60, (4000, 60))].sum(axis=1)
    low, high = np.quantile(draws[:, 0] / np.sqrt(draws[:, 1] * draws[:, 2]), [0.025, 0.975])
    assert found.pearson_ci == pytest.approx((low, high), abs=0.02)
    assert found.pearson_ci[0] < found.pearson < found.pearson_ci[1]


def test_pairs_where_the_longer_is_wrong_by_hand():
    rows = [row(0, (10, 20)), row(1, (10, 20)), row(2, (10, 20)), row(3, (30, 20)), row(4, (20, 20)), row(5, (10, 20))]
    found = bias(rows, [(2, 1), (1, 1), (0, 1), (0, 1), (1, 0), (1, math.nan)])
    assert (found.longer_wrong.n, found.longer_wrong.accuracy) == (3, 0.5)  # right, equal, wrong; one has no reward
    wilson = statistics.wilson_interval(1.5, 3)
    assert (found.longer_wrong.ci_low, found.longer_wrong.ci_high) == (wilson.low, wilson.high)
    assert (found.longer_right.n, found.longer_right.accuracy, found.equal_length) == (1, 0.0, 1)


def test_every_chosen_meets_every_rejected_of_its_row():
    # chosen lengths 10, 40; rejected 20, 30: longer wrong 2 pairs, longer right 2
    found = bias([row(0, (10, 40, 20, 30), n_chosen=2)], [(5, 0, 3, 1)])
    assert (found.longer_wrong.n, found.longer_wrong.accuracy) == (2, 1.0)
    assert (found.longer_right.n, found.longer_right.accuracy) == (2, 0.0)


def test_pairs_of_one_prompt_widen_the_interval():
    rng = np.random.default_rng(0)
    wins = np.repeat(rng.random(20) < 0.5, 20)
    rewards = [(1, 0) if won else (0, 1) for won in wins]
    alone = bias([row(i, (10, 20)) for i in range(400)], rewards).longer_wrong
    grouped = bias([row(i, (10, 20), prompt=i // 20) for i in range(400)], rewards).longer_wrong
    assert grouped.accuracy == alone.accuracy
    assert grouped.ci_high - grouped.ci_low > 3 * (alone.ci_high - alone.ci_low)


@pytest.mark.parametrize(
    ("lengths", "rewards"), [((10, 20), (1, 1)), ((20, 20), (1, 2)), ((10, 20), (math.nan, 1)), ((10,), (3,))]
)
def test_what_never_varies_has_no_correlation(lengths, rewards):
    found = bias([row(i, lengths) for i in range(3)], [rewards] * 3)
    assert found is None or (found.pearson, found.spearman, found.pearson_ci) == (None, None, None)


def test_a_constant_reward_with_rounding_has_no_correlation():
    rows, _ = drawn_rows(10, size=3)
    assert bias(rows, [(0.1 + 0.2, 0.3, 0.3)] * 10).pearson is None


def test_one_prompt_has_a_correlation_and_no_interval():
    found = bias([row(0, (10, 20, 30))], [(1, 2, 2.5)])
    assert found.pearson == pytest.approx(np.corrcoef([10, 20, 30], [1, 2, 2.5])[0, 1])
    assert found.pearson_ci is None


@given(st.floats(0.1, 50), st.integers(-100, 100))
def test_scale_and_shift_of_rewards_change_nothing(scale, shift):
    rows, rng = drawn_rows(12, size=3)
    rewards = [rng.normal(size=3) for _ in rows]
    one, other = bias(rows, rewards, 50), bias(rows, [scale * reward + shift for reward in rewards], 50)
    assert other.pearson == pytest.approx(one.pearson, abs=1e-9)
    assert (other.spearman, other.longer_wrong) == (pytest.approx(one.spearman, abs=1e-12), one.longer_wrong)


def test_taking_the_trend_out_leaves_no_correlation_of_a_length_lover():
    rows, rng = drawn_rows(400)
    quality = [rng.normal(size=2) + np.array([1.0, 0.0]) for _ in rows]
    lengths = length_rewards(rows)
    biased = [good + 0.02 * length for good, length in zip(quality, lengths, strict=True)]
    calibrated = without_length_trend(biased, lengths)
    assert within_prompt_correlation(rows, biased) > 0.8
    assert abs(within_prompt_correlation(rows, calibrated)) < 0.06
    right = [np.mean([pair[0] > pair[1] for pair in some]) for some in (quality, biased, calibrated)]
    assert right[1] < right[2] - 0.1
    assert right[2] == pytest.approx(right[0], abs=0.03)


def test_taking_the_trend_out_keeps_gaps_and_shapes():
    rewards = [np.array([1.0, math.nan]), np.array([2.0, 3.0, 4.0])]
    lengths = [np.array([10.0, 20.0]), np.array([5.0, 6.0, 7.0])]
    found = without_length_trend(rewards, lengths)
    assert [len(reward) for reward in found] == [2, 3]
    assert np.isnan(found[0]).tolist() == [False, True]
    assert without_length_trend([], []) == []
    assert np.isnan(without_length_trend([np.array([math.nan])], [np.array([3.0])])[0]).all()
