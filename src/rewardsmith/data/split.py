"""Holds out a share of the prompts: equal prompts are never parted, and the order of the rows decides nothing.

is_held_out = hold_out(keys[:, 0], fraction=0.05, seed=17)
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def hold_out(
    prompts: NDArray[np.void], *, fraction: float, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which rows are held out, shape (P,).

    Prompts are ranked by a hash of seed and prompt, and the first `fraction` of the distinct ones are held out: at
    least one where there are two, never all. A group of prompts goes as a whole, in the rank of its first, and is
    passed over where it would hold out more than `fraction`.

    Args:
        prompts: digest of each row's prompt, shape (P,).
        fraction: share of the distinct prompts, 0 to 1.
        seed: of the draw.
        groups: number of the group that each row's prompt belongs to (near-duplicates, say), shape (P,).
    """
    if not len(prompts):
        return np.zeros(0, dtype=np.bool_)
    distinct, first, prompt_of_row = np.unique(prompts, return_index=True, return_inverse=True)
    count = round(len(distinct) * fraction)
    if fraction > 0:
        count = min(max(count, 1), len(distinct) - 1)
    group_of_prompt = np.arange(len(distinct)) if groups is None else groups[first]
    chosen = _draw(group_of_prompt, [_rank(key.tobytes(), seed) for key in distinct], count)
    return np.isin(group_of_prompt, chosen)[prompt_of_row.reshape(-1)]


def _draw(group_of_prompt: NDArray[np.int64], ranks: list[bytes], count: int) -> list[int]:
    """Groups in the order of their best prompt while they fit into `count` prompts; if none fits, the smallest."""
    numbers, sizes = np.unique(group_of_prompt, return_counts=True)
    size = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
    ranked = dict.fromkeys(int(group_of_prompt[prompt]) for prompt in sorted(range(len(ranks)), key=ranks.__getitem__))
    chosen, taken = [], 0
    for group in ranked:
        if taken + size[group] <= count:
            chosen.append(group)
            taken += size[group]
    if not chosen and count and len(size) > 1:
        return [min(ranked, key=size.__getitem__)]
    return chosen


def _rank(prompt_key: bytes, seed: int) -> bytes:
    return hashlib.blake2b(prompt_key, digest_size=16, salt=seed.to_bytes(16, "little")).digest()
