"""What a file of preferences seems to hold, for someone who has not written a spec yet.

seen = look("ratings.csv")
seen.names          # its columns
seen.found          # what it was taken for: form, columns, where the label's meaning is known (forms/recognise.py)
first_pair(source)  # the first row that is a pair, read as `check` would; and how many of the first rows are none
unread_columns(seen.names, source)      # ("where from",): what nothing will read
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.data.files import read_rows
from rewardsmith.data.forms import columns_read
from rewardsmith.data.forms.recognise import recognise
from rewardsmith.data.forms.ways import Recognised
from rewardsmith.data.sources import open_source
from rewardsmith.errors import DataError
from rewardsmith.spec import SourceSpec
from rewardsmith.types import PreferencePair

_PEEK = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """The columns of a file, and what its first rows were taken for."""

    names: tuple[str, ...]
    found: Recognised


@dataclass(frozen=True, slots=True)
class Shown:
    """The first pair of a source with its row (None where the first rows hold none), and what became of these rows."""

    row: int
    pair: PreferencePair | None
    read: int
    rejected: dict[str, int]
    example: str = ""


def look(path: str | Path) -> Seen:
    """The columns of a file's first rows, and what they seem to hold.

    Raises:
        DataError: the file cannot be read or has no rows.
    """
    rows = [row for _, row in itertools.islice(read_rows(Path(path)), _PEEK)]
    if not rows:
        raise DataError("has no rows", where=str(path), fix="name a file with one pair a line")
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Seen(names, recognise(names, rows))


def first_pair(source: SourceSpec) -> Shown:
    """Read a source's beginning as `check` will.

    Raises:
        DataError: the file says something else than its form.
    """
    intake = open_source(source, role="train", strings="chat", seed=0, embedded={}, sample=None)
    found = next(intake.stream, None)
    reasons = Counter(row.reason for row in intake.rejected)
    example = next((f"row {row.row}: {row.detail}" for row in intake.rejected if row.reason != "tie"), "")
    number, pair = found if found is not None else (0, None)
    return Shown(number, pair, intake.read, dict(reasons), example)


def unread_columns(names: Collection[str], source: SourceSpec) -> tuple[str, ...]:
    """The columns of a file that nothing will read, and that are not left out knowingly.

    Raises:
        DataError: a column is missing.
    """
    read = columns_read(source, names) | set(source.ignore)
    return tuple(name for name in names if name not in read)
