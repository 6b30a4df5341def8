"""The smooth trend of a value over one variable: against statsmodels, and against weighted least squares by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.statistics import local_linear

PLACES = [10, 12, 12, 15, 20, 26, 30, 44, 50, 80.0]
VALUES = [1, 1.5, 0.5, 2, 1.8, 2.6, 9, 3.1, 3.3, 3.0]


def test_local_linear_equals_statsmodels():
    # statsmodels 0.15: lowess(VALUES, PLACES, frac=…, it=3, return_sorted=False)
    everything = [1.28464058, 1.39713586, 1.39713586, 1.56462689, 1.84111863]
    everything += [2.16939992, 2.38644563, 3.09144725, 3.1090102, 3.10581025]
    half = [0.88189071, 1.28564703, 1.28564703, 2.0, 1.8, 6.27921564, 9.0, 5.01, 3.3, 2.9703885]
    assert local_linear(PLACES, VALUES) == pytest.approx(everything, abs=1e-8)
    assert local_linear(PLACES, VALUES, share=0.5) == pytest.approx(half, abs=1e-8)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(-10, 10)), min_size=2, max_size=40), st.sampled_from([0.4, 1.0])
)
def test_local_linear_without_rounds_is_weighted_least_squares(points, share):
    place, value = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    found = local_linear(place, value, share=share, rounds=0)
    nearest = max(1, int(share * len(place) + 1e-10))
    for centre, fitted in zip(place, found, strict=True):
        distance = np.abs(place - centre)
        reach = np.sort(distance)[nearest - 1]
        weight = (1 - np.minimum(distance / reach, 1) ** 3) ** 3 if reach else (distance == 0).astype(float)
        mean = weight @ place / weight.sum()
        spread = math.sqrt(weight @ (place - mean) ** 2 / weight.sum())
        expected = weight @ value / weight.sum()
        if spread > 0.001 * np.ptp(place) * 1.01:
            slope = weight @ ((place - mean) * value) / (weight @ (place - mean) ** 2)
            expected += slope * (centre - mean)
        elif spread > 0.001 * np.ptp(place) * 0.9:
            continue
        assert fitted == pytest.approx(expected, abs=1e-6)


def test_a_straight_line_is_its_own_trend_and_an_outlier_does_not_bend_it():
    place = np.arange(1000.0)
    value = 3 + 0.5 * place
    assert local_linear(place, value) == pytest.approx(value, abs=1e-8)
    spoiled = value + np.random.default_rng(0).normal(0, 0.1, 1000)
    spoiled[500] += 1e6
    kept = np.arange(1000) != 500
    assert local_linear(place, spoiled)[kept] == pytest.approx(value[kept], abs=0.1)


def test_local_linear_of_little():
    assert local_linear([], []).tolist() == []
    assert local_linear([5, 5, 5], [1, 2, 6]) == pytest.approx([2, 2, 2], abs=1)
    assert local_linear([5], [2]).tolist() == [2]
    with pytest.raises(ValueError, match="need equal shapes"):
        local_linear([1, 2], [1])
    with pytest.raises(ValueError, match="share"):
        local_linear([1], [1], share=0)
