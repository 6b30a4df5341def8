"""Small numbers for names that rows carry (sources, subsets, annotators, models), four bytes a row.

names = Names()
names.see(["hh", "hh", ""])
names.codes()                # [0, 0, -1]: no name is -1
names.titles                 # ["hh"]
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.records import NamedCount, NamedCounts
from rewardsmith.statistics import effective_number

Codes = NDArray[np.int32]

_LIMIT = 10_000  # distinct names; a column with more is no grouping, and its names would fill the memory
_REST = "(others)"
_SHOWN = 50


class Names:
    """Numbers names in the order in which they come; all beyond ten thousand share one number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": -1}
        self._codes = array("i")

    def see(self, names: Iterable[str]) -> None:
        """The names of the next rows."""
        numbers = self._numbers
        for name in names:
            code = numbers.get(name)
            if code is None:
                name = name if len(numbers) <= _LIMIT else _REST
                code = numbers.setdefault(name, len(numbers) - 1)
            self._codes.append(code)

    def codes(self) -> Codes:
        """The number of every row's name, shape (P,)."""
        return np.array(self._codes, dtype=np.int32)

    @property
    def titles(self) -> list[str]:
        """Names by number."""
        return [name for name in self._numbers if name]

    def counts(self, is_held_out: NDArray[np.bool_]) -> NamedCounts | None:
        """The most frequent names on both sides of the split; None where no row has one."""
        codes, titles = self.codes(), self.titles
        if not titles:
            return None
        train, held_out = (
            np.bincount(codes[side & (codes >= 0)], minlength=len(titles)) for side in (~is_held_out, is_held_out)
        )
        order = np.argsort(-(train + held_out), kind="stable")[:_SHOWN]
        return NamedCounts(
            distinct=len(titles),
            effective=effective_number(train),
            most=tuple(
                NamedCount(name=titles[code], train=int(train[code]), held_out=int(held_out[code])) for code in order
            ),
        )
