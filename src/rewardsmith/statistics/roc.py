"""How well one number tells two kinds apart: the area under the ROC curve.

In: the numbers of the right ones and of the wrong ones. Out: the chance that a right one stands above a wrong one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def auc(right: ArrayLike, wrong: ArrayLike) -> float | None:
    """Share of (right, wrong) pairs whose right one is higher, equal ones as half; None without such a pair.

    This is Mann and Whitney's U over the number of pairs, and the area under the ROC curve (Hanley and McNeil 1982,
    Radiology 143:29). Sorted, not paired: n log n.

    Args:
        right: shape (n,); infinities are numbers like others, NaN is not allowed.
        wrong: shape (m,).
    """
    right_N, wrong_M = np.sort(np.asarray(right, dtype=np.float64)), np.asarray(wrong, dtype=np.float64)
    if not right_N.size or not wrong_M.size:
        return None
    below, up_to = (np.searchsorted(right_N, wrong_M, side=side) for side in ("left", "right"))
    return float((right_N.size - (below + up_to) / 2).sum() / (right_N.size * wrong_M.size))
