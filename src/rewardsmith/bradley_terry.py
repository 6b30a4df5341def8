"""The Bradley-Terry model in numpy: what a margin means, what it costs, and how far its scale can be trusted.

In: margins, each the chosen minus the rejected reward of one pair (or the two reward arrays).
Out: preference probabilities, the training loss, and the temperature that calibrates them.

    P(chosen is preferred) = sigmoid(margin)          loss = mean(-log sigmoid(margin))

This is the oracle that the torch loss is tested against, and the only formula by which evaluation turns margins into
probabilities. It adds nothing to the loss: no target margin, no centring (Bradley and Terry 1952; Ouyang et al. 2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BISECTIONS = 200
_DOUBLINGS = 2_000


def preference_probability(margin: ArrayLike, temperature: float = 1.0) -> Floats:
    """The probability that the chosen response is preferred: `sigmoid(margin / temperature)`.

    Exact to rounding in both tails. Any shape in, the same shape out; NaN stays NaN.

    Raises:
        ValueError: `temperature` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    return np.exp(-pair_losses(np.asarray(margin, dtype=np.float64) / temperature))


def pair_losses(margin: ArrayLike) -> Floats:
    """`-log sigmoid(margin)` of each pair, in nats, without overflow at any margin; same shape as `margin`."""
    return np.asarray(np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64)), dtype=np.float64)


def loss(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """The Bradley-Terry loss in nats: the mean over pairs of `-log sigmoid(chosen - rejected)`.

    Args:
        chosen: rewards of the chosen responses, shape (pairs,).
        rejected: rewards of the rejected responses, same shape and order.

    Raises:
        ValueError: the shapes differ or there is no pair.
    """
    chosen_P = np.asarray(chosen, dtype=np.float64)
    rejected_P = np.asarray(rejected, dtype=np.float64)
    if chosen_P.shape != rejected_P.shape or chosen_P.size == 0:
        raise ValueError(f"need as many chosen as rejected rewards, found {chosen_P.shape} and {rejected_P.shape}")
    return float(pair_losses(chosen_P - rejected_P).mean())


def fit_temperature(margin: ArrayLike) -> float | None:
    """The temperature at which the margins of held-out pairs are most likely (Guo et al. 2017, one parameter).

    Above 1 the rewards are overconfident, below 1 underconfident. In `1 / temperature` the loss is convex, so the
    root of its derivative is the only minimum; it is found by bisection, to rounding.

    Args:
        margin: margins of held-out pairs, shape (pairs,), finite.

    Returns:
        The temperature, or None where no finite positive one is best: no pair is ordered wrongly (the likelihood rises
        for ever as the temperature falls), or the mean margin is not positive (no scale makes the rewards useful).

    Raises:
        ValueError: a margin is not finite.
    """
    margin_P = np.asarray(margin, dtype=np.float64).ravel()
    if not np.isfinite(margin_P).all():
        raise ValueError("margins must be finite: leave out the pairs without a reward")
    scale = float(np.abs(margin_P).max(initial=0.0))
    if scale == 0.0 or margin_P.min() >= 0 or margin_P.mean() <= 0:
        return None
    return scale / _best_inverse_temperature(margin_P / scale)


def _best_inverse_temperature(margin_P: Floats) -> float:
    """The root of `mean(-margin * sigmoid(-beta * margin))` in beta, for margins scaled to a largest size of 1."""

    def slope(beta: float) -> float:
        return float((-margin_P * preference_probability(-beta * margin_P)).mean())

    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if slope(high) >= 0:
            break
        low, high = high, high * 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2
