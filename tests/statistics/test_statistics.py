"""Intervals and tests against published values, exact enumeration and simulation with known truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewardsmith import statistics
from rewardsmith.statistics import intervals as bootstrap


def test_wilson_matches_a_published_example():
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), (low, high) in published.items():
        found = statistics.wilson_interval(successes, n)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_wilson_of_all_right_ends_at_one_and_never_is_a_point():
    found = statistics.wilson_interval(12, 12)
    # 1 / (1 + z²/n) with z = 1.959964
    assert found.high == 1.0
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 12), abs=1e-6)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_mirrors(n, share):
    total = share * n
    straight, mirrored = statistics.wilson_interval(total, n), statistics.wilson_interval(n - total, n)
    assert straight.low == pytest.approx(1 - mirrored.high, abs=1e-12)
    assert 0 <= straight.low <= total / n + 1e-12 <= straight.high + 2e-12 <= 1 + 2e-12


@pytest.mark.parametrize(("total", "n"), [(1, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(total, n):
    with pytest.raises(ValueError, match="need 0 <= total <= n"):
        statistics.wilson_interval(total, n)


def exact_coverage(intervals, n, p):
    """Coverage without simulation: the probability of the outcomes whose interval holds p."""
    outcomes = np.arange(n + 1)
    holds = np.array([interval.low <= p <= interval.high for interval in intervals])
    return float(stats.binom.pmf(outcomes, n, p)[holds].sum())


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize(("n", "low", "high"), [(100, 0.93, 0.97), (1000, 0.94, 0.96)])
def test_wilson_coverage_is_exact(p, n, low, high):
    intervals = [statistics.wilson_interval(total, n) for total in range(n + 1)]
    assert low <= exact_coverage(intervals, n, p) <= high


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75, 0.9])
def test_bootstrap_coverage_of_independent_rows(p):
    n = 100
    intervals = []
    for total in range(n + 1):
        means = statistics.bootstrap_means(np.repeat([1.0, 0.0], [total, n - total]), seed=total, resamples=2_000)
        intervals.append(statistics.percentile_interval(means))
    assert 0.92 <= exact_coverage(intervals, n, p) <= 0.97


def test_bootstrap_by_groups_covers_where_the_row_wise_one_does_not():
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(100), 10)
    covered = {"rows": 0, "groups": 0}
    trials = 300
    for trial in range(trials):
        values = np.repeat(rng.random(100) < 0.6, 10).astype(
            float
        )  # the ten rows of a group are right or wrong together
        for name, labels in (("rows", None), ("groups", groups)):
            samples = statistics.bootstrap_means(values, labels, seed=trial, resamples=400)
            interval = statistics.percentile_interval(samples)
            covered[name] += interval.low <= 0.6 <= interval.high
    assert 0.90 <= covered["groups"] / trials <= 0.98
    assert covered["rows"] / trials < 0.60


def test_bootstrap_deviation_matches_theory():
    values = np.random.default_rng(3).normal(size=400)
    samples = statistics.bootstrap_means(values, seed=1, resamples=20_000)
    assert samples.mean() == pytest.approx(values.mean(), abs=0.002)
    assert samples.std() == pytest.approx(values.std() / math.sqrt(400), rel=0.02)


def test_bootstrap_is_seeded_and_does_not_depend_on_the_order_of_units():
    values = np.random.default_rng(3).normal(size=50)
    first = statistics.bootstrap_means(values, seed=7, resamples=100)
    np.testing.assert_array_equal(first, statistics.bootstrap_means(values[::-1], seed=7, resamples=100))
    assert not np.array_equal(first, statistics.bootstrap_means(values, seed=8, resamples=100))


def test_bootstrap_in_blocks_resamples_everything(monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 1_000)
    sums = statistics.bootstrap_sums(np.column_stack([np.arange(300.0), np.ones(300)]), seed=1, resamples=25)
    assert sums.shape == (25, 2)
    np.testing.assert_array_equal(sums[:, 1], 300.0)  # every resample draws as many units as there are
    assert len(np.unique(sums[:, 0])) > 20


def test_bootstrap_needs_units():
    with pytest.raises(ValueError, match="at least one unit"):
        statistics.bootstrap_sums(np.empty((0, 2)), seed=1)


def test_grouped_sums_by_hand():
    found = statistics.grouped_sums([1.0, 0.0, 0.5, 1.0], ["b", "a", "b", "c"])
    np.testing.assert_array_equal(found, [[0.0, 1.0], [1.5, 2.0], [1.0, 1.0]])


def test_percentile_interval_by_hand():
    found = statistics.percentile_interval(np.arange(101.0), confidence=0.9)
    assert (found.low, found.high) == pytest.approx((5.0, 95.0))


def test_binomial_p_value_by_hand():
    # 3 of 3 at 1/4: (1/4)^3; at least 1 of 2 at 1/4: 1 - (3/4)^2; at least 0: certain
    assert statistics.binomial_p_value(3, 3, 0.25) == pytest.approx(1 / 64)
    assert statistics.binomial_p_value(1, 2, 0.25) == pytest.approx(7 / 16)
    assert statistics.binomial_p_value(0, 2, 0.25) == 1.0


def test_binomial_p_value_of_a_fraction_asks_chance_for_at_least_it():
    assert statistics.binomial_p_value(1.5, 3, 0.5) == statistics.binomial_p_value(2, 3, 0.5)
    third = sum([1 / 3] * 3)  # 1.0 up to rounding
    assert statistics.binomial_p_value(third, 3, 0.5) == statistics.binomial_p_value(1, 3, 0.5)


def test_mean_baseline_is_conservative_for_rows_with_different_ones():
    # Two rows at 0.1 and 0.9: both right has probability 0.09; the binomial at the mean 0.5 says 0.25.
    assert statistics.binomial_p_value(2, 2, 0.5) > 0.09


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_auc_is_mann_and_whitneys_u_over_the_pairs(right, wrong):
    u = stats.mannwhitneyu(right, wrong, method="asymptotic").statistic
    assert statistics.auc(right, wrong) == pytest.approx(u / (len(right) * len(wrong)))


def test_auc_by_hand():
    assert statistics.auc([2.0, np.inf], [1.0, 2.0, -np.inf]) == pytest.approx((2.5 + 3) / 6)
    assert statistics.auc([], [1.0]) is None
    assert statistics.auc([1.0], []) is None


# Trend


def noise(n, phi, trials, seed=0):
    """Stationary AR(1) series of unit variance, shape (trials, n)."""
    rng = np.random.default_rng(seed)
    series = np.empty((trials, n))
    series[:, 0] = rng.normal(size=trials)
    for t in range(1, n):
        series[:, t] = phi * series[:, t - 1] + math.sqrt(1 - phi**2) * rng.normal(size=trials)
    return series


def test_trend_of_a_line_is_exact():
    found = statistics.trend_test(3.0 + 0.25 * np.arange(40))
    assert found.direction == "rising"
    assert found.slope == found.slope_low == found.slope_high == pytest.approx(0.25)
    assert statistics.trend_test(-0.25 * np.arange(40)).direction == "falling"


def test_kendall_statistic_matches_scipy_without_autocorrelation():
    # An alternating disturbance has no positive first lag, so that the correction is 1: plain Mann-Kendall.
    values = np.arange(30.0) % 2 + 0.001 * np.arange(30)
    rises = np.sign(np.subtract.outer(values, values)[np.tril_indices(30, -1)]).sum()
    z = (rises - 1) / math.sqrt(30 * 29 * 65 / 18)
    assert statistics.trend_test(values).p_value == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)


def test_slope_matches_scipy():
    values = np.random.default_rng(2).normal(size=60).cumsum()
    assert statistics.trend_test(values).slope == pytest.approx(stats.theilslopes(values)[0])


@pytest.mark.parametrize(("phi", "limit"), [(0.0, 0.08), (0.3, 0.09), (0.6, 0.12)])
def test_noise_rarely_has_a_trend(phi, limit):
    alarms = np.mean([statistics.trend_test(series).direction != "flat" for series in noise(100, phi, 300)])
    assert alarms <= limit


def test_plain_mann_kendall_would_find_trends_in_autocorrelated_noise():
    series = noise(100, 0.6, 200)
    plain = np.mean([stats.kendalltau(np.arange(100), row).pvalue < 0.05 for row in series])
    corrected = np.mean([statistics.trend_test(row).p_value < 0.05 for row in series])
    assert plain > 0.2
    assert corrected < plain / 2


def test_a_real_trend_is_found_in_noise_and_spikes():
    series = noise(200, 0.3, 50, seed=4) + 0.01 * np.arange(200)
    series[:, ::37] += 50.0
    assert np.mean([statistics.trend_test(row).direction == "rising" for row in series]) >= 0.9


def test_long_series_are_tested_in_blocks_with_slopes_per_step():
    steps = 20_000
    found = statistics.trend_test(noise(steps, 0.3, 1)[0] + 1e-3 * np.arange(steps))
    assert found.n == steps
    assert found.slope == pytest.approx(1e-3, rel=0.01)
    assert found.slope_low <= 1e-3 <= found.slope_high
    assert "means of 40 steps" in found.method


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_steps_have_no_trend(n):
    found = statistics.trend_test(np.arange(float(n)))
    assert (found.direction, found.p_value) == ("too short", 1.0)


def test_a_constant_series_is_flat():
    found = statistics.trend_test(np.full(30, 2.0))
    assert (found.direction, found.p_value, found.slope) == ("flat", 1.0, 0.0)


@given(st.lists(st.integers(-20, 20), min_size=8, max_size=40), st.integers(-100, 100))
def test_trend_ignores_shifts_and_mirrors_with_the_sign(values, shift):
    series = np.array(values, dtype=float)
    found, shifted, mirrored = (statistics.trend_test(v) for v in (series, series + shift, -series))
    assert found.p_value == pytest.approx(shifted.p_value)
    assert found.p_value == pytest.approx(mirrored.p_value)
    assert found.slope == pytest.approx(-mirrored.slope)
