"""From digests to small numbers: which rows share a prompt, a response, or compare the same two responses.

    comparisons = compare(table.keys)
    comparisons.votes()             # of every comparison: labels for its first response, and labels in all

Numbers are made by sorting: a million rows take about two seconds, and no Python object is made for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import halves

Numbers = NDArray[np.int64]
"""Equal numbers where the values were equal; 0 to the number of distinct values - 1."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What every row compares, shape (P,) each.

    `chosen` and `rejected` number responses alike. `group` numbers comparisons: the same prompt and the same two
    responses, whichever was chosen. `is_forward` says which of the two: rows of one group with the same value agree.
    """

    prompt: Numbers
    chosen: Numbers
    rejected: Numbers
    group: Numbers
    is_forward: NDArray[np.bool_]

    def votes(self) -> tuple[Numbers, Numbers]:
        """Labels for the one response, and all labels, of every group, shape (C,)."""
        everyone = np.bincount(self.group)
        return np.bincount(self.group[self.is_forward], minlength=len(everyone)), everyone


def compare(keys: NDArray[np.void], *apart: NDArray[np.generic]) -> Comparisons:
    """Number the prompts, responses and comparisons of rows.

    Args:
        keys: digests of prompt, chosen and rejected, shape (P, 3), dtype V16.
        apart: what else must be equal for prompts to count as equal (the side of the split, say), shape (P,) each.
    """
    prompt = numbered(*halves(keys[:, 0]).T, *apart)
    responses = numbered(*halves(keys[:, 1:].reshape(-1)).T).reshape(-1, 2)
    chosen, rejected = responses[:, 0].copy(), responses[:, 1].copy()
    group = numbered(np.maximum(chosen, rejected), np.minimum(chosen, rejected), prompt)
    return Comparisons(prompt, chosen, rejected, group, chosen < rejected)


def numbered(*columns: NDArray[np.generic]) -> Numbers:
    """Number the distinct rows of some columns, shape (N,) each, in the order of sorting (the last column first)."""
    order = np.lexsort(columns)
    is_new = np.zeros(len(order), dtype=np.bool_)
    for column in columns:
        ordered = column[order]
        is_new[1:] |= ordered[1:] != ordered[:-1]
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.cumsum(is_new)
    return numbers


def first_of(numbers: Numbers) -> Numbers:
    """The first place of every number, shape (number of distinct values,)."""
    first = np.empty(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first
