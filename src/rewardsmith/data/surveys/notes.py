"""Rows that stay in the data and show a fault of their own: every check with a `note` function, in one pass."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import Found, Surveyed, Table


class Notes:
    """Asks every noting check about every kept row."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self._notes = {check.code: check.note for check in checks if check.note is not None}
        self._places = {code: array("q") for code in self._notes}
        self._seen = 0

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Remember the places of the rows with something to note."""
        for place, row in enumerate(rows, start=self._seen):
            for code, note in self._notes.items():
                if note(row.pair):
                    self._places[code].append(place)
        self._seen += len(rows)

    def finish(self, table: Table) -> Surveyed:
        """One finding a check; its words are made again from the row."""
        return Surveyed([self._found(code, table) for code in self._notes])

    def _found(self, code: str, table: Table) -> Found:
        note = self._notes[code]

        def words(place: int) -> str:
            return note(table.pairs[place])

        return Found(code, np.array(self._places[code], dtype=np.int64), words)
