"""Sequential tests: what they promise, proven by enumeration; their numbers, by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.statistics import change_point, evidence_below, mean_sequence
from rewardsmith.statistics.intervals import FRACTIONS

T = 9
PATHS = np.array(list(itertools.product((0.0, 1.0), repeat=T)))


def chances(ones: np.ndarray, p: float) -> np.ndarray:
    return np.prod(np.where(ones == 1, p, 1 - p), axis=1)


@pytest.mark.parametrize("mean", [0.2, 0.4, 0.5, 0.9])
def test_at_the_limit_the_wealth_is_a_martingale_and_above_it_a_supermartingale(mean: float) -> None:
    """Over all 512 paths of coins: the mean stays 1 after each value, and given any beginning it stays where it is."""
    wealth = evidence_below(PATHS, mean)
    np.testing.assert_allclose(chances(PATHS, mean) @ wealth, 1.0, rtol=1e-12)
    for known in range(1, T):
        pairs = wealth.reshape(2**known, -1, T)
        weights = chances(PATHS, mean).reshape(2**known, -1)
        after = (pairs[..., known] * weights).sum(axis=1) / weights.sum(axis=1)
        np.testing.assert_allclose(after, pairs[:, 0, known - 1], rtol=1e-12)
    better = min(0.99, mean + 0.05)
    assert (np.diff(chances(PATHS, better) @ wealth) < 0).all()


@pytest.mark.parametrize("alpha", [0.2, 0.3, 0.5])
def test_ville_holds_exactly(alpha: float) -> None:
    """The probability that the wealth ever reaches 1/alpha, summed over all paths, is at most alpha."""
    ever = evidence_below(PATHS, 0.4).max(axis=1) >= 1 / alpha
    assert 0 < chances(PATHS, 0.4) @ ever <= alpha
    assert chances(PATHS, 0.1) @ ever > 2 * (chances(PATHS, 0.4) @ ever), "it has power where the mean is below"


def test_the_first_wealth_by_hand() -> None:
    """One value of 0 at a limit of 0.5: half of the wealth began, each bet of share f won (1 + f)."""
    won = 0.5 * np.mean([1 + share for share in FRACTIONS]) + 0.5
    assert evidence_below([0.0], 0.5)[0] == pytest.approx(won)
    # A second batch: a sixth begins beside the first; a third lies still.
    parts = [(0.5 * (1 + f) + 1 / 6) * (1 - f) for f in FRACTIONS]
    assert evidence_below([0.0, 1.0], 0.5)[1] == pytest.approx(np.mean(parts) + 1 / 3)
    same = [0.5 * (1 + f) * (1 - f) for f in FRACTIONS]
    assert evidence_below([0.0, 1.0], 0.5, [4, 4])[1] == pytest.approx(np.mean(same) + 1 / 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_many_series_at_once_are_each_alone_and_a_missing_value_changes_nothing(
    values: list[float], mean: float
) -> None:
    together = evidence_below([values, values[::-1]], [mean, 0.5])
    np.testing.assert_allclose(together[0], evidence_below(values, mean))
    np.testing.assert_allclose(together[1], evidence_below(values[::-1], 0.5))
    assert (together > 0).all()
    known = [value for value in values if not math.isnan(value)]
    if known:
        one_batch = evidence_below(values, mean, [0] * len(values))
        assert one_batch[-1] == pytest.approx(evidence_below(known, mean, [0] * len(known))[-1])


def test_a_change_is_dated() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.random(60) < 0.7, rng.random(40) < 0.1]).astype(float)
    batches = np.repeat(np.arange(20), 5)
    found = change_point(values, 0.5, batches)
    assert found % 5 == 0
    assert 50 <= found <= 65
    assert change_point([1.0, 0.0, 0.0], 0.5) == 1


def test_values_outside_are_refused() -> None:
    for values, mean in (([1.2], 0.5), ([0.5], 1.0), ([-0.1], 0.5), ([0.5], 0.0)):
        with pytest.raises(ValueError, match="must lie"):
            evidence_below(values, mean)


def test_a_confidence_sequence_covers_at_every_time() -> None:
    """Howard et al. 2021, equation 14: the radius by hand; and 400 series of coins, of which 5 % may ever miss."""
    mean, low, high = mean_sequence([0.0, 1.0, math.nan])
    assert (mean[1], mean[2]) == (0.5, 0.5)
    rho = 100 / 8.212  # w - 1 where w exp(-w) = 0.05**2 / e
    half = 0.5 * math.sqrt((2 + rho) * math.log((2 + rho) / (rho * 0.05**2))) / 2
    assert high[1] - mean[1] == pytest.approx(half, rel=1e-4)
    assert math.isnan(mean_sequence([math.nan])[0][0])
    coins = (np.random.default_rng(0).random((400, 600)) < np.linspace(0.2, 0.8, 600)).astype(float)
    truth = np.cumsum(np.linspace(0.2, 0.8, 600)) / np.arange(1, 601)
    _, low, high = mean_sequence(coins)
    assert ((truth < low) | (truth > high)).any(axis=1).mean() <= 0.05
    assert (high - low)[0, 99] < 0.4
    wide = mean_sequence(coins * 2 - 1, span=2.0)
    np.testing.assert_allclose(wide[2] - wide[1], 2 * (high - low))
