"""Intervals over groups and of averages: coverage by simulation, properties, and values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewardsmith import statistics
from rewardsmith.statistics import Interval

ACCURACIES = (0.25, 0.5, 0.75, 0.9)
LIMITS = {100: (0.93, 0.97), 1000: (0.94, 0.96)}


@pytest.mark.parametrize("p", ACCURACIES)
@pytest.mark.parametrize("n", LIMITS)
def test_wilson_covers_over_twenty_thousand_simulations(p, n):
    known = np.array([(i.low, i.high) for i in (statistics.wilson_interval(total, n) for total in range(n + 1))])
    found = known[np.random.default_rng(n).binomial(n, p, size=20_000)]
    low, high = LIMITS[n]
    assert low <= np.mean((found[:, 0] <= p) & (p <= found[:, 1])) <= high


def grouped_draws(p, groups, simulations, seed):
    """Right rows of each group of four, results of one group correlated 0.4: shape (simulations, groups)."""
    rng = np.random.default_rng(seed)
    return rng.binomial(4, rng.beta(1.5 * p, 1.5 * (1 - p), size=(simulations, groups)))


@pytest.mark.parametrize("p", ACCURACIES)
@pytest.mark.parametrize("groups", LIMITS)
def test_intervals_over_groups_cover(p, groups):
    """The bootstrap's variance of a mean over equal groups is known, and two samples carry it: the form is tested.

    bench/coverage.py draws the bootstrap itself, 20,000 times a line.
    """
    simulations = 4_000
    drawn = grouped_draws(p, groups, simulations, seed=groups) / 4
    scores, deviations = drawn.mean(axis=1), drawn.std(axis=1) / math.sqrt(groups)
    covered = 0
    for score, deviation in zip(scores, deviations, strict=True):
        found = statistics.score_interval(score, [score - deviation, score + deviation], groups)
        covered += found.low <= p <= found.high
    luck = 2.5 * math.sqrt(0.95 * 0.05 / simulations)
    low, high = LIMITS[groups]
    assert low - luck <= covered / simulations <= high + luck


def test_two_samples_stand_for_the_bootstrap():
    drawn = grouped_draws(0.75, 100, 1, seed=3)[0]
    units = np.column_stack([drawn, np.full(100, 4)])
    sums = statistics.bootstrap_sums(units, seed=1, resamples=20_000)
    score, deviation = drawn.mean() / 4, drawn.std() / 40
    by_bootstrap = statistics.score_interval(score, sums[:, 0] / sums[:, 1], 100)
    by_formula = statistics.score_interval(score, [score - deviation, score + deviation], 100)
    assert (by_bootstrap.low, by_bootstrap.high) == pytest.approx((by_formula.low, by_formula.high), abs=0.001)


def test_the_row_wise_interval_would_not_cover_groups():
    drawn = grouped_draws(0.5, 100, 2_000, seed=9)
    known = [statistics.wilson_interval(total, 400) for total in range(401)]
    covered = np.mean([known[total].low <= 0.5 <= known[total].high for total in drawn.sum(axis=1)])
    assert covered < 0.88


def test_the_interval_over_groups_of_one_row_is_wilsons():
    # Variance p (1 - p) / n · n / (n - 1): the effective size is n - 1; only the quantile is Student's.
    n, right = 10_000, 6_400
    deviation = math.sqrt(0.64 * 0.36 / n)
    found = statistics.score_interval(0.64, [0.64 - deviation, 0.64 + deviation], n)
    wilson = statistics.wilson_interval(right, n)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-6)


def test_groups_that_all_agree_give_no_point():
    found = statistics.score_interval(1.0, np.ones(100), 12)
    t = stats.t.ppf(0.975, 11)
    assert (found.low, found.high) == pytest.approx((12 / (12 + t * t), 1.0))
    half = statistics.score_interval(0.5, np.full(100, 0.5), 12)
    assert half.low < 0.3
    assert half.high > 0.7


def test_one_group_says_nothing():
    assert statistics.score_interval(0.8, np.full(9, 0.8), 1) == Interval(0.0, 1.0)
    assert statistics.score_p_value(0.8, np.full(9, 0.8), 1, 0.5) == 1.0


def test_a_score_above_one_is_held():
    assert statistics.score_interval(1.01, np.full(9, 1.01), 20).high == 1.01


@given(st.floats(0.02, 0.98), st.floats(0.001, 0.2), st.integers(2, 500))
def test_the_interval_holds_the_score_and_mirrors(score, deviation, units):
    straight = statistics.score_interval(score, [score - deviation, score + deviation], units)
    mirrored = statistics.score_interval(1 - score, [1 - score - deviation, 1 - score + deviation], units)
    assert straight.low <= score <= straight.high
    assert straight.low == pytest.approx(1 - mirrored.high, abs=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.005, 0.1), st.integers(3, 200), st.floats(0.05, 0.95))
def test_the_p_value_is_small_exactly_where_the_interval_excludes_the_baseline(score, deviation, units, baseline):
    samples = [score - deviation, score + deviation]
    low = statistics.score_interval(score, samples, units, confidence=0.9).low
    p_value = statistics.score_p_value(score, samples, units, baseline)
    if abs(low - baseline) > 1e-9:
        assert (p_value < 0.05) == (low > baseline)


def test_three_groups_that_are_all_right_are_no_proof():
    # The old share of resamples said 0.0001; by chance at 1/2 all three are right in one case of eight.
    assert statistics.score_p_value(1.0, np.ones(10_000), 3, 0.5) > 0.1


def test_a_baseline_at_the_edge_has_a_p_value():
    assert statistics.score_p_value(0.4, [0.3, 0.5], 20, 0.0) == 0.0
    assert statistics.score_p_value(0.0, [0.0, 0.0], 20, 0.0) == 1.0


def test_weighted_interval_by_hand():
    mean, found = statistics.weighted_interval([0.5, 0.9], [Interval(0.2, 0.6), Interval(0.5, 1.0)], [0.5, 0.5])
    assert mean == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - math.sqrt(0.15**2 + 0.2**2))
    assert found.high == pytest.approx(0.7 + math.sqrt(0.05**2 + 0.05**2))


def test_the_average_of_subsets_covers():
    rng = np.random.default_rng(4)
    known = [statistics.wilson_interval(total, 100) for total in range(101)]
    covered = 0
    for totals in rng.binomial(100, [0.25, 0.5, 0.9], size=(4_000, 3)):
        found = statistics.weighted_interval(totals / 100, [known[total] for total in totals], [1 / 3] * 3)[1]
        covered += found.low <= 0.55 <= found.high
    assert 0.94 <= covered / 4_000 <= 0.96


def test_wilson_of_results_between_0_and_1_covers_more():
    # Half of the rows score 1/2, the others 0 or 1: their variance is half of that of 0/1 rows.
    rng = np.random.default_rng(5)
    right = rng.binomial(50, 0.5, size=4_000)
    found = [statistics.wilson_interval(total + 25, 100) for total in right]
    assert np.mean([i.low <= 0.5 <= i.high for i in found]) >= 0.97


def test_holm_by_hand():
    # 0.01·4 = 0.04; 0.02·3 = 0.06; 0.03·2 = 0.06; 0.5
    assert statistics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx((0.06, 0.04, 0.5, 0.06))
    assert statistics.holm([0.2]) == (0.2,)
    assert statistics.holm([]) == ()
    assert statistics.holm([0.4, 0.9]) == pytest.approx((0.8, 0.9))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_never_reaches_bonferroni(p_values):
    for raw, corrected in zip(p_values, statistics.holm(p_values), strict=True):
        assert raw <= corrected + 1e-15
        assert corrected <= min(1.0, raw * len(p_values)) + 1e-12 or corrected in statistics.holm(p_values)


def test_holm_keeps_the_chance_of_any_false_call():
    drawn = np.random.default_rng(6).random((4_000, 6))
    calls = [min(statistics.holm(p_values)) < 0.05 for p_values in drawn]
    assert np.mean(calls) <= 0.057
    assert np.mean((drawn < 0.05).any(axis=1)) > 0.2


@given(st.integers(1, 200), st.floats(0, 1))
def test_duplicated_rows_keep_the_score_and_narrow_wilsons_interval(n, share):
    once, twice = statistics.wilson_interval(share * n, n), statistics.wilson_interval(2 * share * n, 2 * n)
    assert twice.high - twice.low < once.high - once.low


@given(st.lists(st.integers(0, 4), min_size=3, max_size=40))
def test_duplicated_groups_narrow_the_interval(right):
    def interval(groups):
        drawn = np.array(groups) / 4
        deviation = drawn.std() / math.sqrt(len(drawn))
        return statistics.score_interval(drawn.mean(), [drawn.mean() - deviation, drawn.mean() + deviation], len(drawn))

    once, twice = interval(right), interval(right * 2)
    assert twice.high - twice.low < once.high - once.low
