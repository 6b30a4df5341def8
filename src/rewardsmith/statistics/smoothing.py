"""The smooth trend of a value over one variable: locally weighted linear regression (LOESS, Cleveland 1979).

    trend = local_linear(lengths, rewards)        the fitted value at each point

At each place: a straight line through the nearest `share` of the points, weighted by the tricube of their distance;
then rounds of reweighting by the bisquare of the residuals, so that outliers do not bend the trend. The same as
`lowess` of statsmodels and of R, which the tests compare with. Written here because that package and its dependencies
(pandas, patsy) weigh 100 MB for this one function, and because lengths repeat: points of equal place are added up
first, so that 100,000 of them cost what their few thousand distinct lengths cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardsmith.statistics.intervals import Floats

PLACES = 400
"""Distinct places up to which every one is fitted; beyond, as many at even ranks, and straight lines between them."""

_BLOCK = 64
_FAR, _NEAR = 0.999, 0.001  # statsmodels and R treat these shares of the bandwidth as 1 and 0
_ROBUST_REACH = 6.0  # medians of the residuals, beyond which a point has no weight (Cleveland 1979)


def local_linear(place: ArrayLike, value: ArrayLike, *, share: float = 1.0, rounds: int = 3) -> Floats:
    """The fitted value at each point, shape (points,).

    Args:
        place: the variable, shape (points,), finite.
        value: what is smoothed, same shape, finite.
        share: the part of all points that each line sees, in (0, 1].
        rounds: how often points are weighed anew by their residuals.

    Raises:
        ValueError: the shapes differ or `share` is not in (0, 1].
    """
    place_N, value_N = np.asarray(place, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if place_N.shape != value_N.shape or not 0 < share <= 1:
        raise ValueError(f"need equal shapes and 0 < share <= 1, found {place_N.shape}, {value_N.shape}, {share}")
    if place_N.size == 0:
        return value_N.copy()
    place_D, index_N, count_D = np.unique(place_N, return_inverse=True, return_counts=True)
    grid = _grid(place_D)
    bandwidth_G = _bandwidths(grid, place_D, count_D, share)
    weight_N = np.ones_like(value_N)
    fitted_N = value_N
    for again in range(rounds + 1):
        fit_G = _fit(grid, bandwidth_G, place_D, _sums(index_N, weight_N), _sums(index_N, weight_N * value_N))
        fitted_N = np.interp(place_D, grid, fit_G)[index_N]
        if again < rounds:
            weight_N = _robust_weights(value_N - fitted_N)
    return fitted_N


def _grid(place_D: Floats) -> Floats:
    """Where lines are fitted: every place, or `PLACES` of them at even ranks."""
    if len(place_D) <= PLACES:
        return place_D
    return np.asarray(place_D[np.linspace(0, len(place_D) - 1, PLACES).round().astype(np.int64)], dtype=np.float64)


def _bandwidths(grid: Floats, place_D: Floats, count_D: NDArray[np.int64], share: float) -> Floats:
    """For each fitted place, the distance to the farthest of its nearest points."""
    nearest = max(1, int(share * count_D.sum() + 1e-10))
    found = np.empty(len(grid))
    for start in range(0, len(grid), _BLOCK):
        distance_GD = np.abs(grid[start : start + _BLOCK, None] - place_D)
        order_GD = np.argsort(distance_GD, axis=1, kind="stable")
        last_G = (np.cumsum(count_D[order_GD], axis=1) < nearest).sum(axis=1)
        rows = np.arange(len(last_G))
        found[start : start + _BLOCK] = distance_GD[rows, order_GD[rows, last_G]]
    return found


def _fit(grid: Floats, bandwidth_G: Floats, place_D: Floats, weight_D: Floats, value_D: Floats) -> Floats:
    """The weighted line at each fitted place; the weighted mean where the points allow no slope."""
    fit_G = np.empty(len(grid))
    extent = float(np.ptp(place_D))
    for start in range(0, len(grid), _BLOCK):
        block = slice(start, start + _BLOCK)
        offset_GD = place_D - grid[block, None]
        kernel_GD = _tricube(np.abs(offset_GD), bandwidth_G[block, None])
        total, first, second = (kernel_GD * offset_GD**power @ weight_D for power in (0, 1, 2))
        value, slope = kernel_GD @ value_D, (kernel_GD * offset_GD) @ value_D
        spread = total * second - first**2
        steep = spread > (0.001 * extent * total) ** 2  # statsmodels' own bound for a slope
        with np.errstate(divide="ignore", invalid="ignore"):
            fit_G[block] = np.where(steep, (second * value - first * slope) / spread, value / total)
    known_G = np.isfinite(fit_G)  # where every near point is an outlier there is no line: straight between the others
    return np.interp(grid, grid[known_G], fit_G[known_G]) if known_G.any() else np.zeros_like(fit_G)


def _tricube(distance: Floats, bandwidth: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(bandwidth > 0, distance / bandwidth, np.where(distance > 0, 1.0, 0.0))
    weight = (1 - np.minimum(share, 1.0) ** 3) ** 3
    return np.asarray(np.where(share <= _NEAR, 1.0, np.where(share > _FAR, 0.0, weight)), dtype=np.float64)


def _robust_weights(residual_N: Floats) -> Floats:
    """Bisquare weights by six times the median size of the residuals (Cleveland 1979)."""
    size_N = np.abs(residual_N)
    median = float(np.median(size_N))
    if median <= 1e-12 * float(size_N.max(initial=0.0)) or median == 0.0:
        return np.ones_like(residual_N)
    share_N = size_N / (_ROBUST_REACH * median)
    weight_N = (1 - np.minimum(share_N, 1.0) ** 2) ** 2
    return np.asarray(np.where(share_N <= _NEAR, 1.0, np.where(share_N > _FAR, 0.0, weight_N)), dtype=np.float64)


def _sums(index_N: NDArray[np.int64], value_N: Floats) -> Floats:
    return np.bincount(index_N, weights=value_N).astype(np.float64)
