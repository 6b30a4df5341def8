"""The Laplace approximation over the head: against a full Bayesian logistic regression, and through a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardsmith.bradley_terry import preference_probability
from rewardsmith.errors import DataError
from rewardsmith.routing.rules import fit_laplace, load_posterior, save_posterior


def pairs(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Differences of features with the chosen response first, and the true head."""
    rng = np.random.default_rng(seed)
    head = rng.standard_normal(width)
    difference = rng.standard_normal((n, width))
    right = rng.random(n) < preference_probability(difference @ head)
    return np.where(right[:, None], difference, -difference), head


def test_the_variance_is_that_of_the_inverted_precision() -> None:
    difference, head = pairs(200, 3)
    margin = difference @ head
    found = fit_laplace(difference, margin, head, temperature=2.0)
    p = 1 / (1 + np.exp(-margin / 2))
    precision = (difference * (p * (1 - p))[:, None]).T @ difference / 4 + found.prior * np.eye(3)
    expected = np.sqrt(np.einsum("pd,de,pe->p", difference, np.linalg.inv(precision), difference))
    assert found.spread(difference) == pytest.approx(expected)


def test_more_pairs_make_it_surer_by_the_root_of_their_number() -> None:
    few, many = (fit_laplace(d, d @ head, head, 1.0) for d, head in (pairs(500, 4), pairs(8_000, 4)))
    probe = np.random.default_rng(1).standard_normal((50, 4))
    assert np.median(few.spread(probe) / many.spread(probe)) == pytest.approx(4.0, rel=0.2)


def test_directions_without_data_are_unsure() -> None:
    difference, head = pairs(2_000, 4)
    difference[:, 3] = 0.0
    head[3] = 0.5
    found = fit_laplace(difference, difference @ head, head, 1.0)
    seen, unseen = found.spread(np.eye(4)[[0, 3]])
    assert unseen > 5 * seen
    assert unseen == pytest.approx(found.prior**-0.5)


def test_the_prior_follows_the_size_of_the_head() -> None:
    """Where the data say a lot, the evidence is highest near D / |head|² (MacKay); the grid has steps of 1.8."""
    difference, head = pairs(20_000, 6)
    found = fit_laplace(difference, difference @ head, head, 1.0)
    assert found.prior == pytest.approx(6 / float(head @ head), rel=0.5)


def test_a_posterior_is_of_one_model(tmp_path: Path) -> None:
    difference, head = pairs(100, 3)
    found = fit_laplace(difference, difference @ head, head, 1.0, identity="abc")
    save_posterior(found, tmp_path)
    assert load_posterior(tmp_path, "abc").spread(difference) == pytest.approx(found.spread(difference), rel=1e-5)
    with pytest.raises(DataError, match="is of another model"):
        load_posterior(tmp_path, "xyz")
    (tmp_path / "laplace.npz").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_posterior(tmp_path, "abc")
