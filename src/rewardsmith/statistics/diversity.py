"""How many equally frequent kinds would be as varied as those that there are: Hill numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def effective_number(counts: ArrayLike, order: int = 1) -> float:
    """The Hill number of some counts (Hill 1973, Ecology 54:427; Jost 2006, Oikos 113:363): 0 where all are 0.

    Args:
        counts: how often each kind was seen, shape (K,), not negative.
        order: 1: the exponential of the Shannon entropy. 2: the inverse Simpson index, (Σ n)² / Σ n², which weighs
            frequent kinds more.
    """
    counts_K = np.asarray(counts, dtype=np.float64)
    total = float(counts_K.sum())
    if not total:
        return 0.0
    shares_K = counts_K[counts_K > 0] / total
    if order == 2:
        return float(1 / np.sum(shares_K**2))
    return float(np.exp(-np.sum(shares_K * np.log(shares_K))))
