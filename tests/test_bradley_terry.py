"""The Bradley-Terry oracle against closed forms, mpmath-like exact values and finite differences."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith import bradley_terry as bt

MARGINS = st.lists(st.floats(-50, 50), min_size=1, max_size=20)


def test_probability_of_known_margins():
    # sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2, sigmoid(-ln 4) = 1/5
    margins = [math.log(3), 0.0, -math.log(4)]
    np.testing.assert_allclose(bt.preference_probability(margins), [0.75, 0.5, 0.2], rtol=1e-15)


def test_temperature_divides_the_margin():
    assert bt.preference_probability(2 * math.log(3), temperature=2.0) == pytest.approx(0.75, rel=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        bt.preference_probability(1.0, temperature)


def test_loss_of_known_rewards():
    # margins ln 3 and 0: (-ln 3/4 - ln 1/2) / 2
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert bt.loss([math.log(3) + 5, 7.0], [5.0, 7.0]) == pytest.approx(expected, rel=1e-15)


def test_loss_is_exact_at_extreme_margins():
    # -log sigmoid(-1000) = 1000 + log(1 + e^-1000) = 1000; -log sigmoid(40) = log1p(e^-40)
    np.testing.assert_allclose(bt.pair_losses([-1000.0, 40.0]), [1000.0, math.log1p(math.exp(-40))], rtol=1e-14)


def test_probability_keeps_its_precision_in_the_lower_tail():
    assert float(bt.preference_probability(-40.0)) == pytest.approx(math.exp(-40), rel=1e-13)


def test_loss_needs_matching_rewards():
    with pytest.raises(ValueError, match="as many chosen as rejected"):
        bt.loss([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="as many chosen as rejected"):
        bt.loss([], [])


@given(MARGINS)
def test_swapping_chosen_and_rejected_gives_the_complement(margins):
    forward, backward = bt.preference_probability(margins), bt.preference_probability(-np.array(margins))
    np.testing.assert_allclose(forward + backward, 1.0, rtol=1e-14)


@given(MARGINS, st.integers(-1000, 1000))
def test_a_shift_of_all_rewards_changes_nothing(margins, shift):
    rejected = np.zeros(len(margins))
    chosen = np.round(margins)
    assert bt.loss(chosen + shift, rejected + shift) == bt.loss(chosen, rejected)


def test_temperature_of_two_margins_in_closed_form():
    # Margins +1 (three times) and -1 (once): the likelihood is best where sigmoid(1/T) = 3/4, so T = 1 / ln 3.
    assert bt.fit_temperature([1.0, 1.0, 1.0, -1.0]) == pytest.approx(1 / math.log(3), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_temperature_scales_with_the_margins(scale):
    margins = np.array([2.0, 0.5, -0.7, 1.5, -0.1])
    fitted = bt.fit_temperature(margins)
    assert fitted is not None
    assert bt.fit_temperature(margins * scale) == pytest.approx(fitted * scale, rel=1e-9)


def test_temperature_of_overconfident_margins_is_recovered():
    rng = np.random.default_rng(5)
    true_margins = rng.normal(1.0, 1.0, 200_000)
    ordered = rng.random(len(true_margins)) < bt.preference_probability(true_margins)
    observed = np.where(ordered, true_margins, -true_margins) * 3.0
    assert bt.fit_temperature(observed) == pytest.approx(3.0, rel=0.02)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=12))
def test_no_other_temperature_is_more_likely(margins):
    fitted = bt.fit_temperature(margins)
    if fitted is None:
        return
    best = bt.pair_losses(np.array(margins) / fitted).mean()
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert best <= bt.pair_losses(np.array(margins) / (fitted * factor)).mean() + 1e-12


@pytest.mark.parametrize("margins", [[1.0, 2.0], [0.0, 0.0], [0.0, 1.0], [-1.0, -2.0], [1.0, -1.0], [1.0, -3.0], []])
def test_no_temperature_where_none_is_best(margins):
    assert bt.fit_temperature(margins) is None


def test_temperature_refuses_missing_rewards():
    with pytest.raises(ValueError, match="margins must be finite"):
        bt.fit_temperature([1.0, math.nan])
