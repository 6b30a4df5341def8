"""What a survey is: it sees every kept row once, remembers numbers, and says at the end what it found.

    survey = Overlap(setting)
    survey.see(rows)                      # again and again: the kept rows, in order
    survey.finish(table) → Surveyed       # once, after the split

Checks of a single row (`Check.pair`, `Check.tokens`) need no survey. A survey is for what shows in the whole: repeats,
overlap, shortcuts, balance. A million rows pass through it, so it keeps arrays and counters, never rows or texts; what
an example needs, it reads again from `table.pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.store import Rejections
from rewardsmith.records import ExampleRow, Severity, SourceCount
from rewardsmith.records.files import Record
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.types import Conversation, PreferencePair

Places = NDArray[np.int64]
"""Places of rows, ascending: the place of a kept row is its number in the order of reading, from 0."""

NOWHERE: Places = np.zeros(0, dtype=np.int64)
"""For findings that are not about rows."""


@dataclass(frozen=True, slots=True)
class BenchmarkPrompt:
    """One row of a benchmark that the spec evaluates: what must not stand in the training data."""

    subset: str
    id: str
    prompt: Conversation


@dataclass(frozen=True, slots=True)
class Setting:
    """What a survey knows before the first row. `benchmarks` maps a benchmark's key to its rows."""

    spec: Spec
    renderer: Renderer
    benchmarks: Mapping[str, Sequence[BenchmarkPrompt]]


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
    duplicates, the training side of a leak. None: nothing can be mended by leaving rows out.

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


class Survey(Protocol):
    """Sees rows, then reports."""

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        ...

    def finish(self, table: Table) -> Surveyed:
        """What was found; called once, after all rows."""
        ...
