"""Differences on the same units and the choice of the best: known formulas, simulation with known truth, properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewardsmith import statistics
from rewardsmith.statistics import Difference


def of_rows(gained, lost, n):
    """The difference of two models on n rows, from the variance that the bootstrap of these rows has."""
    estimate = (gained - lost) / n
    deviation = math.sqrt(((gained + lost) / n - estimate**2) / n)
    return Difference.of(estimate, [estimate - deviation, estimate + deviation], n)


def test_difference_is_bonett_and_prices_interval():
    # Bonett and Price 2012, their formula for n = 100 with 12 rows gained and 4 lost, with Student's quantile.
    n, gained, lost = 100, 12, 4
    p12, p21 = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = stats.t.ppf(0.975, n - 1) * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    found = of_rows(gained, lost, n).interval()
    assert (found.low, found.high) == pytest.approx((p12 - p21 - half, p12 - p21 + half))


def test_difference_comes_from_a_paired_bootstrap():
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [50, 4, 12, 34])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [50, 4, 12, 34])
    sums = statistics.bootstrap_sums(np.column_stack([first, second, np.ones(100)]), seed=1, resamples=20_000)
    found = Difference.of(0.08, (sums[:, 1] - sums[:, 0]) / sums[:, 2], 100).interval()
    wanted = of_rows(12, 4, 100).interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.002)


def test_equal_models_still_have_an_interval():
    found = of_rows(0, 0, 100)
    assert (found.estimate, found.p_value) == (0.0, 1.0)
    assert found.interval().low == -found.interval().high == pytest.approx(-found.reach())
    assert 0.02 < found.reach() < 0.04


def test_few_flips_to_one_side_are_no_proof():
    # Four rows won and none lost: the bootstrap's percentiles exclude 0, McNemar says 1/8.
    assert of_rows(4, 0, 100).p_value > 0.05
    assert statistics.mcnemar_p_value(4, 0) == 0.125
    rows = np.repeat([1.0, 0.0], [4, 96])
    assert statistics.percentile_interval(statistics.bootstrap_means(rows, seed=1)).low > 0


def test_one_unit_says_nothing():
    found = Difference.of(1.0, [1.0, 1.0], 1)
    assert (found.p_value, found.interval().low <= 0 <= found.interval().high) == (1.0, True)


@given(st.integers(2, 400), st.data())
def test_swapping_negates_and_the_interval_holds_the_estimate(n, data):
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    forth, back = of_rows(gained, lost, n), of_rows(lost, gained, n)
    interval, mirrored = forth.interval(), back.interval()
    assert (interval.low, interval.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-12)
    assert forth.p_value == pytest.approx(back.p_value)
    assert -1 <= interval.low <= forth.estimate <= interval.high <= 1
    if abs(forth.p_value - 0.05) > 1e-9:
        assert (forth.p_value < 0.05) == (not interval.low <= 0 <= interval.high)


@given(st.integers(10, 200), st.integers(0, 5), st.integers(0, 5), st.integers(2, 5))
def test_more_of_the_same_rows_narrow_the_interval(n, gained, lost, times):
    once, more = of_rows(gained, lost, n), of_rows(gained * times, lost * times, n * times)
    assert more.estimate == pytest.approx(once.estimate)
    assert more.reach() < once.reach()


def test_weighted_difference_by_hand():
    first, second = of_rows(12, 4, 100), of_rows(3, 5, 50)
    found = statistics.weighted_difference([first, second], [0.75, 0.25])
    assert found.estimate == pytest.approx(0.75 * 0.08 - 0.25 * 0.04)
    assert found.error == pytest.approx(math.hypot(0.75 * first.error, 0.25 * second.error))
    variances = (0.75 * first.error) ** 2, (0.25 * second.error) ** 2
    assert found.freedom == pytest.approx(sum(variances) ** 2 / (variances[0] ** 2 / 99 + variances[1] ** 2 / 49))


def test_a_subset_without_weight_changes_nothing():
    alone = of_rows(12, 4, 100)
    assert statistics.weighted_difference([alone, Difference.of(0.0, [0.0], 1)], [1.0, 0.0]) == Difference(
        alone.estimate, alone.centre, pytest.approx(alone.error), pytest.approx(alone.freedom)
    )


def test_a_subset_of_one_unit_leaves_the_average_open():
    lone = Difference.of(1.0, [1.0], 1)
    assert statistics.weighted_difference([of_rows(12, 4, 100), lone], [0.5, 0.5]).p_value == 1.0


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (4, 0), (5, 6), (12, 4), (30, 60), (7, 7)])
def test_mcnemar_matches_scipys_binomial_test(gained, lost):
    wanted = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert statistics.mcnemar_p_value(gained, lost) == pytest.approx(wanted)


@pytest.mark.parametrize("differ", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("sizes", [(100,), (60, 40, 20, 20, 10)])
def test_noise_of_equal_accuracy_is_rarely_called_a_winner(differ, sizes):
    rng = np.random.default_rng([len(sizes), int(100 * differ)])
    calls = 0
    for _ in range(4_000):
        parts = []
        for n in sizes:
            gained, lost, _ = rng.multinomial(n, [differ / 2, differ / 2, 1 - differ])
            parts.append(of_rows(int(gained), int(lost), n))
        found = statistics.weighted_difference(parts, [1 / len(sizes)] * len(sizes)).interval()
        calls += not found.low <= 0 <= found.high
    assert calls / 4_000 <= 0.057


def test_noise_over_groups_is_rarely_called_a_winner():
    # The rows of a prompt flip together: 60 groups of 1 to 4 rows.
    rng = np.random.default_rng(8)
    sizes = np.resize([1, 2, 3, 4], 60)
    calls = 0
    for _ in range(4_000):
        changes = rng.choice([-1, 0, 1], size=60, p=[0.15, 0.7, 0.15]) * sizes
        estimate = changes.sum() / sizes.sum()
        deviation = math.sqrt(((changes - estimate * sizes) ** 2).sum()) / sizes.sum()
        found = Difference.of(estimate, [estimate - deviation, estimate + deviation], 60).interval()
        calls += not found.low <= 0 <= found.high
    assert calls / 4_000 <= 0.057


def test_a_planted_difference_is_found():
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(500):
        gained, lost, _ = rng.multinomial(300, [0.15, 0.05, 0.8])
        found += of_rows(int(gained), int(lost), 300).interval().low > 0
    assert found / 500 > 0.95


# The best of several


def ranked(scores, n, seed, differ=0.2):
    """Models whose results on n rows are drawn around these true scores; their ranking."""
    rng = np.random.default_rng(seed)
    base = rng.random((n, 1))
    flips = rng.random((n, len(scores))) < differ
    results = np.where(flips, rng.random((n, len(scores))), base) < scores
    sums = statistics.bootstrap_sums(results.astype(float), seed=seed, resamples=400)
    errors = np.zeros((len(scores), len(scores)))
    for i in range(len(scores)):
        for j in range(len(scores)):
            gained, lost = (results[:, j] & ~results[:, i]).sum(), (results[:, i] & ~results[:, j]).sum()
            errors[i, j] = of_rows(int(gained), int(lost), n).error
    return statistics.rank_scores(results.mean(axis=0), (sums / n).T, errors)


def test_the_best_is_named_with_its_probability():
    found = ranked([0.5, 0.8, 0.55], 500, seed=1)
    assert found.candidates == (False, True, False)
    assert found.probabilities == (0.0, 1.0, 0.0)


def test_equal_scores_share_the_probability():
    found = statistics.rank_scores([0.5, 0.5], np.full((2, 40), 0.5), np.full((2, 2), 0.02))
    assert (found.probabilities, found.candidates) == ((0.5, 0.5), (True, True))


def test_the_true_best_stays_a_candidate():
    # Six checkpoints of one true score: any of them is a true best. One by one at 5 % some would be dropped more often.
    kept = [ranked([0.6] * 6, 150, seed).candidates[0] for seed in range(300)]
    assert np.mean(kept) >= 0.93


def test_probabilities_sum_to_one():
    assert sum(ranked([0.6, 0.6, 0.62, 0.58], 80, seed=2).probabilities) == pytest.approx(1.0)


def test_nan_and_infinity_are_inside_no_tolerance():
    """By hand: `nan > tolerance` is false, and Python's `max(0.1, nan)` is 0.1."""
    nan, inf = math.nan, math.inf
    assert statistics.largest_difference([1.0, 2.0], [1.5, 1.75]) == 0.5
    assert statistics.largest_difference([], []) == 0.0
    for odd in ([nan, 1.0], [1.0, nan], [inf, 1.0], [-inf, 1.0]):
        assert statistics.largest_difference(odd, [1.0, 1.0]) == inf
        assert statistics.largest_difference([1.0, 1.0], odd) == inf
        assert statistics.largest_difference(odd, odd) == inf
    assert statistics.within(0.1, 0.1)
    assert not statistics.within(0.1, 0.09)
    assert not any(statistics.within(*pair) for pair in ((nan, 1.0), (0.0, nan), (inf, 1.0), (inf, inf), (nan, nan)))
