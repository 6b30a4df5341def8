"""In which order candidates are shown: drawn from a seed, and balanced.

A judge may prefer the first answer, or the last. So that this cannot favour any one answer, the order of a row is drawn
from the judge's seed and the row's name; where all rows are known beforehand, they are taken in blocks of n rows, in
which each answer stands at each place exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

Order = tuple[int, ...]
"""The answers' numbers by place: `order[0]` is shown first."""


def drawn_order(seed: int, row: str, answers: int) -> Order:
    """An order that depends on nothing but the seed and the row's name."""
    return _permutation(answers, seed, row)


def balanced_orders(seed: int, rows: Mapping[str, int]) -> dict[str, Order]:
    """An order for each of these rows; `rows` maps a row's name to the number of its answers.

    Rows with the same number n of answers are shuffled by the seed and cut into blocks of n; the rows of a block get
    the n rotations of one drawn order. So over all rows an answer's place counts differ by one at most.
    """
    found: dict[str, Order] = {}
    for answers in sorted(set(rows.values())):
        names = sorted((name for name, n in rows.items() if n == answers), key=lambda name: (_hash(seed, name), name))
        for place, name in enumerate(names):
            block, turn = divmod(place, answers)
            found[name] = rotated(_permutation(answers, seed, f"{answers}\x1f{block}"), turn)
    return {name: found[name] for name in rows}


def rotated(order: Order, by: int) -> Order:
    """The same order, begun `by` places later; n rotations put each answer at each place once."""
    turn = by % len(order)
    return order[turn:] + order[:turn]


def _permutation(size: int, seed: int, name: str) -> Order:
    rng = np.random.default_rng(_hash(seed, name))
    return tuple(int(place) for place in rng.permutation(size))


def _hash(seed: int, name: str) -> int:
    text = f"{seed}\x1f{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
