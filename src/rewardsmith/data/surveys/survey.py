"""What a survey is: it sees every kept row once, remembers numbers, and says at the end what it found.

    survey = Labels(setting)
    survey.see(rows)                      # again and again: the kept rows, in order
    survey.finish(table) → Surveyed       # once, after the split

A survey is for what shows in the whole: repeats, overlap, shortcuts, balance. A million rows pass through it, so it
keeps arrays and counters, never rows or texts; what an example needs, it reads again from `table.pairs`. Checks of a
single row (`Check.pair`, `Check.tokens`) need no survey; `Notes`, the simplest one, counts the rows that a check notes.

    comparisons = compare(table.keys)     # digests as small numbers: which rows share a prompt, a response, or both
    comparisons.votes()                   # of every comparison: labels for its first response, and labels in all
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.store import Rejections, TokenizedPair, halves
from rewardsmith.records.checks import ExampleRow, Severity, SourceCount
from rewardsmith.records.files import Record
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation, PreferencePair


class Survey(Protocol):
    """Sees rows, then reports."""

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        ...

    def finish(self, table: Table) -> Surveyed:
        """What was found; called once, after all rows."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a survey knows before the first row. `benchmarks` maps a benchmark's key to its rows."""

    spec: Spec
    renderer: Renderer
    benchmarks: Mapping[str, Sequence[BenchmarkPrompt]]


@dataclass(frozen=True, slots=True)
class BenchmarkPrompt:
    """One row of a benchmark that the spec evaluates: what must not stand in the training data."""

    subset: str
    id: str
    prompt: Conversation


Places = NDArray[np.int64]
"""Places of rows, ascending: the place of a kept row is its number in the order of reading, from 0."""

NOWHERE: Places = np.zeros(0, dtype=np.int64)
"""For findings that are not about rows."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of every kept row, by place, after the split. P is the number of kept rows.

    is_held_out (P,)   whether the row is held out
    source (P,)        index into `sources`
    row (P,)           the row's number in its file
    keys (P, 3)        digests of prompt, chosen and rejected (dtype V16): equal digests, equal texts
    lengths (P, 2)     tokens of chosen and rejected
    cut (P,)           prompt tokens that the length policy took away
    pairs              reads a pair again from disk
    """

    is_held_out: NDArray[np.bool_]
    source: NDArray[np.int32]
    row: NDArray[np.int64]
    keys: NDArray[np.void]
    lengths: NDArray[np.int32]
    cut: NDArray[np.int32]
    sources: Sequence[SourceCount]
    rejected: Rejections
    pairs: Sequence[PreferencePair]

    @property
    def train(self) -> Places:
        """Places of the training rows."""
        return np.flatnonzero(~self.is_held_out)

    @property
    def held_out(self) -> Places:
        """Places of the held-out rows."""
        return np.flatnonzero(self.is_held_out)

    def where(self, place: int) -> str:
        """File and row of a place, as messages name it."""
        return f"{self.sources[self.source[place]].source}:{self.row[place]}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a survey found for one check: the rows that show it, and words for one of them.

    A finding about the set as a whole (a shortcut, say) has no places; then `count` of `of` says how much, `summary`
    what was measured, and `examples` may show where. `of` left None is the size of what the check looks at
    (`Check.of`).

    `remove` names the rows that `--fix` takes out so that the finding is gone: all but the first of a set of
    duplicates, the training side of a leak. None: nothing can be fixed by leaving rows out.

    `severity` is another than the check's own, for what is worse where most rows show it.
    """

    code: str
    places: Places
    detail: Callable[[int], str] = lambda place: ""
    summary: str = ""
    count: int | None = None
    of: int | None = None
    examples: tuple[ExampleRow, ...] = ()
    remove: Places | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The outcome of a survey: findings, and the record of what it measured (a section of check.json)."""

    found: Sequence[Found]
    section: Record | None = None


class Notes:
    """Rows that stay and show a fault of their own: asks every check with a `note` about every kept row."""

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

    Numbers are made by sorting: a million rows take about two seconds, and no Python object is made for any of them.

    Args:
        keys: digests of prompt, chosen and rejected, shape (P, 3), dtype V16.
        apart: what else must be equal for prompts to count as equal (the side of the split, say), shape (P,) each.
    """
    prompt = numbered(*halves(keys[:, 0]).T, *apart)
    responses = numbered(*halves(keys[:, 1:].reshape(-1)).T).reshape(-1, 2)
    chosen, rejected = responses[:, 0].copy(), responses[:, 1].copy()
    # Larger and smaller number: the same two responses are one group, whichever was chosen.
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
    # Backwards: of several assignments to one number the first place is written last.
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first
