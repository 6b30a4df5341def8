"""Temperature by subset: planted ones are found, equal ones stay pooled, small subsets are left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rewardsmith.bradley_terry import fit_temperature
from rewardsmith.evaluation.calibration import by_subset, in_use


def planted(rng: np.random.Generator, n: int, temperature: float) -> np.ndarray:
    """Margins of a model whose true probability is sigmoid(margin / temperature)."""
    margin = 3 * rng.standard_normal(n)
    right = rng.random(n) < 1 / (1 + np.exp(-np.abs(margin) / temperature))
    return np.where(right, np.abs(margin), -np.abs(margin))


def tried(parts: dict[str, np.ndarray], *, given: float | None = None):
    margins = np.concatenate(list(parts.values()))
    names = [name for name, part in parts.items() for _ in part]
    n = np.arange(len(margins))
    pooled = given or fit_temperature(margins[~np.isnan(margins)])
    return by_subset(margins, names, n, n % 5, pooled=pooled, given=given is not None)


def test_a_subset_with_another_temperature_gets_its_own() -> None:
    rng = np.random.default_rng(1)
    found = tried({"code": planted(rng, 600, 4.0), "math": planted(rng, 600, 1.0)})
    assert {one.subset: one.used for one in found} == {"code": True, "math": True}
    own = in_use(found)
    assert own["code"] == pytest.approx(4.0, rel=0.3)
    assert own["math"] == pytest.approx(1.0, rel=0.2)
    assert all(one.gain > one.gain_low > 0 and one.p_value < 0.05 for one in found)


def test_equal_temperatures_stay_pooled() -> None:
    used = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        used += len(in_use(tried({name: planted(rng, 200, 2.0) for name in "abcd"}, given=2.0)))
    assert used <= 3  # an own temperature only adds noise: the test seldom prefers it


def test_a_subset_of_fewer_than_100_prompts_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    found = {one.subset: one for one in tried({"small": planted(rng, 99, 8.0), "large": planted(rng, 900, 1.0)})}
    assert (found["small"].prompts, found["small"].gain, found["small"].used) == (99, None, False)
    assert found["small"].temperature is not None


def test_the_gain_is_the_mean_loss_that_is_saved_by_hand() -> None:
    # Every fold's subset has margins 1 (three of four right) and -1: sigmoid(1 / T) = 3/4, T = 1 / log 3.
    margins = np.tile([1.0, 1.0, 1.0, -1.0], 40)
    folds = np.repeat(np.arange(5), 32)
    (found,) = by_subset(margins, ["a"] * 160, np.arange(160), folds, pooled=1.0, given=True)
    assert found.temperature == pytest.approx(1 / math.log(3), rel=1e-4)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    pooled = 0.75 * math.log1p(math.exp(-1)) + 0.25 * math.log1p(math.exp(1))
    assert found.gain == pytest.approx(pooled - entropy, rel=1e-3)


def test_missing_margins_and_pairs_without_a_subset_are_left_out() -> None:
    rng = np.random.default_rng(1)
    margins = np.append(planted(rng, 300, 1.0), [np.nan, 1.0])
    names = ["a"] * 301 + [""]
    (found,) = by_subset(margins, names, np.arange(302), np.arange(302) % 5, pooled=1.0, given=True)
    assert found.pairs == 300
