"""Lone rules, words and classifiers: counts, intervals and tests against values worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.sparse import csr_matrix

from rewardsmith import statistics
from rewardsmith.data.shortcuts.rules import (
    at_equal_length,
    edge,
    grade,
    length_bins,
    length_features,
    out_of_fold,
    share_of,
    simultaneous,
    tally,
)
from rewardsmith.data.shortcuts.tables import bag, compare_bags, length_rule, log_odds, word_rules
from rewardsmith.records.texts import Estimate
from rewardsmith.statistics import Interval


def column(*signs: int) -> np.ndarray:
    return np.array(signs, dtype=np.int8)[:, None]


def test_a_rule_over_independent_pairs_is_wilson_and_the_binomial_test() -> None:
    signs = np.repeat(np.array([1, -1, 0], dtype=np.int8), [60, 40, 20])[:, None]
    rule = tally(signs, np.arange(120)).records()[0]
    wilson = stats.binomtest(60, 100).proportion_ci(method="wilson")
    assert (rule.more, rule.less, rule.equal, rule.effective) == (60, 40, 20, 100)
    assert (rule.accuracy, rule.coverage) == (0.6, pytest.approx(100 / 120))
    assert (rule.ci_low, rule.ci_high) == pytest.approx((wilson.low, wilson.high))
    assert rule.p_value == pytest.approx(stats.binomtest(60, 100).pvalue)


def test_copies_of_a_prompts_pairs_are_worth_the_prompt() -> None:
    signs = np.array([1, 1, 1, -1] * 25, dtype=np.int8)
    once = tally(signs[:, None], np.arange(100))
    often = tally(np.repeat(signs, 8)[:, None], np.repeat(np.arange(100), 8))
    assert often.more[0] == 8 * once.more[0]
    assert often.effective.tolist() == once.effective.tolist() == [100]


def test_where_all_agree_every_prompt_counts_once() -> None:
    assert tally(column(*[1] * 12), np.repeat(np.arange(4), 3)).effective.tolist() == [4]


def test_a_rule_that_decides_nothing_is_unknown() -> None:
    rule = tally(column(0, 0), np.arange(2)).records()[0]
    assert (rule.accuracy, rule.ci_low, rule.p_value, rule.equal, rule.coverage) == (None, None, None, 2, 0.0)


def test_p_values_are_corrected_over_the_rules() -> None:
    signs = np.ones((10, 3), dtype=np.int8)
    rules = tally(signs, np.arange(10)).records()
    assert rules[0].p_value == pytest.approx(3 * stats.binomtest(10, 10).pvalue)


@given(
    st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]), st.integers(0, 4)), min_size=1),
)
def test_sparse_and_dense_agree_and_sides_mirror(rows: list[tuple[int, int, int]]) -> None:
    signs = np.array([row[:2] for row in rows], dtype=np.int8)
    prompts = np.array([row[2] for row in rows])
    dense, sparse, mirrored = tally(signs, prompts), tally(csr_matrix(signs), prompts), tally(-signs, prompts)
    for name in ("more", "less", "effective"):
        np.testing.assert_array_equal(getattr(dense, name), getattr(sparse, name))
    np.testing.assert_array_equal(dense.more, mirrored.less)
    np.testing.assert_array_equal(dense.effective, mirrored.effective)
    np.testing.assert_allclose(dense.p_values(), mirrored.p_values())
    assert (dense.effective <= dense.more + dense.less).all()


def test_a_share_with_halves_has_wilsons_interval() -> None:
    values = np.array([1.0, 0.0, 1.0, 1.0] * 20)
    share, wilson = share_of(values, np.arange(80)), statistics.wilson_interval(60, 80)
    assert (share.value, share.ci_low, share.ci_high) == pytest.approx((0.75, wilson.low, wilson.high))
    assert share_of(np.full(6, 0.5), np.arange(6)).value == 0.5


def test_the_length_rule_by_how_much_longer() -> None:
    lengths = np.array([[105, 100], [100, 105], [130, 100], [100, 700], [50, 50], [10, 0]], dtype=np.int32)
    prompts = np.arange(6)
    rule = tally(np.sign(lengths[:, 0] - lengths[:, 1])[:, None], prompts).records()[0]
    table = length_rule("words", lengths, prompts, rule, "")
    assert (table.rule.more, table.rule.less, table.rule.equal) == (3, 2, 1)
    counts = {bin_.low: (bin_.rule.more, bin_.rule.less) for bin_ in table.bins}
    assert counts == {1.0: (1, 1), 1.1: (0, 0), 1.25: (1, 0), 1.5: (0, 0), 2.0: (0, 0), 3.0: (0, 0), 5.0: (1, 1)}
    assert table.bins[-1].high is None
    assert table.chosen_quantiles["p50"] == 100.0


def test_grades() -> None:
    assert grade(Interval(0.61, 0.7), 0.5) == grade(Interval(0.3, 0.39), 0.5) == "strong"
    assert grade(Interval(0.56, 0.7), 0.5) == "weak"
    assert grade(Interval(0.54, 0.9), 0.5) == ""
    assert grade(Interval(0.9, 1.0), 0.04) == ""
    assert grade(Interval(0.9, 1.0), 0.5, Estimate(value=0.52, ci_low=0.5, ci_high=0.54)) == ""
    assert grade(Interval(0.9, 1.0), 0.5, Estimate(value=0.30, ci_low=0.2, ci_high=0.4)) == ""
    assert grade(Interval(0.1, 0.2), 0.5, Estimate(value=0.30, ci_low=0.2, ci_high=0.4)) == "strong"
    assert edge(Interval(0.2, 0.9)) == 0.5
    assert simultaneous(1) == pytest.approx(0.95)
    assert simultaneous(100) == pytest.approx(0.9995)


def made_pairs(n: int, of_length: float, of_feature: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and signs of n pairs: longer ones have the feature twice as often; labels are drawn from the model."""
    draw = np.random.default_rng(seed)
    first, second = draw.integers(20, 200, size=(2, n))
    has_first, has_second = (
        draw.random(n) < np.where(mine > other, 0.6, 0.3) for mine, other in ((first, second), (second, first))
    )
    x = has_first.astype(int) - has_second.astype(int)
    flip = np.where(draw.random(n) < 1 / (1 + np.exp(-(of_length * np.sign(first - second) + of_feature * x))), 1, -1)
    lengths = np.where(flip[:, None] == 1, np.stack([first, second], axis=1), np.stack([second, first], axis=1))
    return lengths.astype(np.int32), (flip * x).astype(np.int8)[:, None]


@pytest.mark.parametrize(("of_length", "of_feature"), [(1.5, 0.0), (0.0, 0.8), (1.5, 0.8), (1.5, -0.8)])
def test_at_equal_length_a_rule_shows_its_own_effect(of_length: float, of_feature: float) -> None:
    lengths, signs = made_pairs(8000, of_length, of_feature)
    tallies = tally(signs, np.arange(8000))
    estimate = at_equal_length(signs, length_bins(lengths), tallies)[0]
    assert estimate is not None
    assert estimate.value == pytest.approx(1 / (1 + np.exp(-of_feature)), abs=0.02)
    assert estimate.ci_low < 1 / (1 + np.exp(-of_feature)) < estimate.ci_high
    if of_length and not of_feature:
        assert tallies.accuracy[0] > 0.6  # what it looks like when the length is not taken out


def test_equal_length_agrees_with_a_general_fit() -> None:
    lengths, signs = made_pairs(600, 1.0, 0.5, seed=9)
    bins = length_bins(lengths)
    turned = bins.longer != 0
    design = np.zeros((600, 8))
    design[np.arange(600), bins.bins] = turned
    design[:, 7] = signs[:, 0] * np.where(turned, bins.longer, 1)
    chosen = np.where(turned, bins.longer > 0, True)

    def loss(weights: np.ndarray) -> float:
        margin = design @ weights
        return float(np.logaddexp(0, np.where(chosen, -margin, margin)).sum() + 0.05 * weights @ weights)

    slope = optimize.minimize(loss, np.zeros(8), tol=1e-12).x[7]
    estimate = at_equal_length(signs, bins, tally(signs, np.arange(600)))[0]
    assert estimate is not None
    assert estimate.value == pytest.approx(1 / (1 + np.exp(-slope)), abs=1e-4)


def test_where_bearers_are_always_a_little_longer_the_two_cannot_be_told_apart() -> None:
    signs = column(*[1] * 300, *[-1] * 100)
    lengths = np.where(signs == 1, [[104, 100]], [[100, 104]]).astype(np.int32)
    assert at_equal_length(signs, length_bins(lengths), tally(signs, np.arange(400))) == [None]


def test_length_bins_by_hand() -> None:
    bins = length_bins(np.array([[5, 5], [109, 100], [100, 111], [0, 9], [0, 0]], dtype=np.int32))
    assert bins.longer.tolist() == [0, 1, -1, -1, 0]
    assert bins.bins.tolist() == [0, 0, 1, 6, 0]


def test_a_bag_has_different_words_and_openings() -> None:
    assert bag("The dog. The DOG!") == {"the", "dog", "^the", "^the dog", "^the dog the"}
    assert bag("...") == set()


def test_bags_say_which_side_has_a_word() -> None:
    chosen = ["apple pie"] * 30 + ["pear pie"] * 10
    rejected = ["pear pie"] * 30 + ["apple pie"] * 10
    bags = compare_bags([*chosen, *rejected], 40)
    assert sorted(bags.words) == ["^apple", "^apple pie", "^pear", "^pear pie", "apple", "pear"]
    apple = bags.signs[:, bags.words.index("apple")].toarray().ravel()
    assert apple.tolist() == [1] * 30 + [-1] * 10


def test_texts_without_words_have_empty_bags() -> None:
    bags = compare_bags(["!"] * 30 + ["?"] * 30, 30)
    assert bags.signs.shape == (30, 0)
    assert word_rules(bags, length_bins(np.ones((30, 2), dtype=np.int32)), np.arange(30), confidence=0.95) == ((), ())


def test_log_odds_by_hand() -> None:
    odds, z = log_odds(tally(column(*[1] * 45, *[-1] * 15), np.arange(60)))
    assert odds[0] == pytest.approx(np.log(50 / 20))
    assert z[0] == pytest.approx(np.log(50 / 20) / np.sqrt(1 / 50 + 1 / 20))


def test_a_classifier_is_not_fitted_on_the_prompts_that_it_judges() -> None:
    # Every prompt has a feature of its own that gives its label away: useless for other prompts.
    prompts = np.repeat(np.arange(60), 4)
    features = np.zeros((240, 60))
    features[np.arange(240), prompts] = 1.0
    assert (out_of_fold(features, prompts, seed=17) == 0).all()


def test_a_classifier_finds_a_shared_feature_and_mirrors() -> None:
    draw = np.random.default_rng(5)
    features = np.concatenate(
        [draw.choice([1.0, -1.0], p=[0.8, 0.2], size=(400, 1)), draw.normal(size=(400, 3))], axis=1
    )
    prompts = np.arange(400)
    margins = out_of_fold(features, prompts, seed=17)
    assert np.mean((margins > 0) == (features[:, 0] > 0)) > 0.95
    np.testing.assert_array_equal(margins, out_of_fold(features, prompts, seed=17))


def test_length_features_negate_when_sides_are_swapped() -> None:
    lengths = np.array([[[100, 50], [10, 10], [7, 0]], [[3, 9], [1, 2], [4, 5]]], dtype=np.int32)
    np.testing.assert_allclose(length_features(lengths), -length_features(lengths[:, :, ::-1]))
    assert length_features(lengths).shape == (2, 21)
