"""A Laplace approximation over the reward head: how much other heads, as probable by the data, would differ. Pure.

    posterior = fit_laplace(difference_PD, margin_P, head_D, temperature=1.7)
    spread_P = posterior.spread(difference_PD)          # standard deviation of each margin, in units of the reward

The reward of a text is head · φ, so a margin is head · Δφ with Δφ the difference of what the head reads, and the
Bradley-Terry likelihood is logistic regression in the head. Around the trained head the posterior is normal with

    precision = Σ p (1 - p) Δφ Δφᵀ / T² + λ I,     p = sigmoid(margin / T)

and the variance of a margin is Δφᵀ precision⁻¹ Δφ. The prior's λ has the highest evidence on a grid (MacKay 1992;
Daxberger et al. 2021, "Laplace Redux", post hoc, last layer). What lies below the head is taken as certain.

P pairs, D hidden width. Memory: D² numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardsmith.bradley_terry import pair_losses, preference_probability
from rewardsmith.errors import DataError

Floats = NDArray[np.float64]

PRIORS = np.logspace(-4, 6, 41)
"""The values of λ that are tried."""

FILE = "laplace.npz"


@dataclass(frozen=True, slots=True)
class Posterior:
    """The normal posterior of a head, as eigenvectors (D, D) and eigenvalues (D,) of its precision without the prior.

    `identity` is of the model whose head it is.
    """

    vectors: Floats
    values: Floats
    prior: float
    identity: str = ""

    def spread(self, difference_PD: NDArray[np.floating]) -> Floats:
        """Standard deviation of each margin, shape (pairs,)."""
        projected_PD = difference_PD.astype(np.float64) @ self.vectors
        return np.asarray(np.sqrt((projected_PD**2 / (np.maximum(self.values, 0.0) + self.prior)).sum(axis=1)))


def fit_laplace(
    difference_PD: NDArray[np.floating], margin_P: Floats, head_D: Floats, temperature: float, identity: str = ""
) -> Posterior:
    """The posterior on pairs with known preference.

    Args:
        difference_PD: features of the chosen minus those of the rejected response.
        margin_P: chosen minus rejected reward.
        head_D: the trained head.
        temperature: of the calibration.
        identity: of the model.
    """
    p_P = preference_probability(margin_P, temperature)
    weighted_PD = difference_PD.astype(np.float64) * (np.sqrt(p_P * (1 - p_P)) / temperature)[:, None]
    values, vectors = np.linalg.eigh(weighted_PD.T @ weighted_PD)
    loss = float(pair_losses(margin_P / temperature).sum())
    square = float((np.asarray(head_D, dtype=np.float64) ** 2).sum())
    evidence = [_evidence(float(prior), np.maximum(values, 0.0), loss, square) for prior in PRIORS]
    return Posterior(vectors, values, float(PRIORS[int(np.argmax(evidence))]), identity)


def save_posterior(posterior: Posterior, folder: Path) -> None:
    """Write `laplace.npz`."""
    aside = folder / f".{FILE}"
    with aside.open("wb") as handle:
        np.savez(
            handle,
            vectors=posterior.vectors.astype(np.float32),
            values=posterior.values,
            prior=posterior.prior,
            identity=posterior.identity,
        )
    aside.replace(folder / FILE)


def load_posterior(folder: Path, identity: str) -> Posterior:
    """Read `laplace.npz`, of this very model.

    Raises:
        DataError: it is not there, cannot be read, or is of another model.
    """
    path = folder / FILE
    fix = "run `rewardsmith route calibrate` for this model again"
    try:
        with np.load(path, allow_pickle=False) as found:
            posterior = Posterior(
                found["vectors"].astype(np.float64),
                found["values"],
                float(found["prior"]),
                str(found["identity"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix=fix) from error
    if posterior.identity != identity:
        raise DataError("is of another model", where=str(path), fix=fix)
    return posterior


def _evidence(prior: float, values_D: Floats, loss: float, square: float) -> float:
    """The log evidence of a prior, up to a constant."""
    return -loss - prior * square / 2 + float((np.log(prior) - np.log(values_D + prior)).sum()) / 2
