"""From one source of the spec to its preference pairs, with the rows that are none counted and explained.

intake = open_source(source, role="train", strings="chat", seed=17, embedded={})
for number, pair in intake.stream: …       # once; rows that are no pairs join intake.rejected
read_source(…).pairs                       # the same as a list, for small files
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rewardsmith.data.columns import Columns, find_columns
from rewardsmith.data.files import Position, read_rows, sha256_of
from rewardsmith.data.formats import BadLines
from rewardsmith.data.forms import Strings, read_pair
from rewardsmith.data.hub import hub_revision, read_hub
from rewardsmith.data.messages import RowFault
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.store import Rejections
from rewardsmith.errors import DataError
from rewardsmith.records import RejectedRow
from rewardsmith.spec import DataSpec, SourceSpec
from rewardsmith.types import PreferencePair

Role = Literal["train", "held_out"]
Embedded = Mapping[Literal["train", "held_out"], Path]
NumberedRow = tuple[int, dict[str, Any]]

_PEEK = 100  # a row may lack a column; a source lacks it when its first rows all do


@dataclass(slots=True)
class Intake:
    """What one source gives. `stream` yields the pairs once; when it ends, read = pairs + rejected.

    `position` is how far reading has come in the file, for progress.
    """

    title: str
    role: Role
    rejected: Rejections
    sha256: str = ""
    revision: str = ""
    read: int = 0
    left_out: int = 0
    position: Position = field(default_factory=Position)
    stream: Iterator[tuple[int, PreferencePair]] = field(default_factory=lambda: iter(()))

    def reject(self, row: int, pair_id: str, code: str, detail: str) -> None:
        """Leave a row out, with its reason."""
        pair_id, detail = (text.encode("utf-8", "replace").decode() for text in (pair_id[:100], detail))
        self.left_out += 1
        self.rejected.append(
            RejectedRow(source=self.title, row=row, id=pair_id, role=self.role, reason=code, detail=detail)
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """A whole source in memory."""

    sha256: str
    revision: str
    read: int
    pairs: list[tuple[int, PreferencePair]]
    rejected: list[RejectedRow]


def read_source(source: SourceSpec, *, role: Role, strings: Strings, seed: int, embedded: Embedded) -> Pairs:
    """All pairs of a source, for sets that fit into memory.

    Raises:
        DataError: the source cannot be read, has no rows, or lacks a column.
    """
    intake = open_source(source, role=role, strings=strings, seed=seed, embedded=embedded)
    pairs = list(intake.stream)
    return Pairs(intake.sha256, intake.revision, intake.read, pairs, list(intake.rejected))


def open_source(
    source: SourceSpec,
    *,
    role: Role,
    strings: Strings,
    seed: int,
    embedded: Embedded,
    bad_lines: Literal["error", "skip"] = "error",
    sample: int | None = None,
    rejected: Rejections | None = None,
) -> Intake:
    """Open a source; its stream keeps what is a preference pair.

    Args:
        source: where the rows are.
        role: what they are for.
        strings: what plain strings are (`spec.data.strings`).
        seed: of the draw where not all rows are taken.
        embedded: files of the pairs that Rewardsmith generates itself.
        bad_lines: what to do with a line of JSON that cannot be read (`spec.data.bad_lines`).
        sample: take at most this many rows, drawn by `seed`.
        rejected: where rows that are left out go; a list of its own when None.

    Raises:
        DataError: the source cannot be read, has no rows, or lacks a column. The stream raises it at a broken row.
    """
    path = _path(source, embedded)
    sha256, revision = ("", hub_revision(source)) if path is None else (sha256_of(path), "")
    intake = Intake(source.title, role, Rejections() if rejected is None else rejected, sha256, revision)
    skipped: BadLines = [] if bad_lines == "skip" else None
    rows = read_hub(source) if path is None else read_rows(path, bad_lines=skipped, position=intake.position)
    first = list(itertools.islice(rows, _PEEK))
    if not first:
        unreadable = f"; none of its {len(skipped):,} lines can be read" if skipped else ""
        raise DataError(
            f"has no rows{unreadable}", where=intake.title, fix="name a file with one pair a line, or another split"
        )
    names = {name for _, row in first for name in row}
    columns = find_columns(names, {str(ours): theirs for ours, theirs in source.columns.items()}, where=intake.title)
    limit = min((n for n in (source.limit, sample) if n is not None), default=None)
    drawn = _draw(itertools.chain(first, rows), limit, f"{seed}:{intake.title}")
    intake.stream = _pairs(intake, drawn, columns, strings, skipped)
    return intake


def _pairs(
    intake: Intake,
    rows: Iterable[NumberedRow],
    columns: Columns,
    strings: Strings,
    bad_lines: BadLines,
) -> Iterator[tuple[int, PreferencePair]]:
    """The rows that are pairs; the others join the rejected ones, with the lines that could not be read at all."""
    for number, row in rows:
        _note_bad_lines(intake, bad_lines)
        intake.read += 1
        try:
            pair = read_pair(row, columns, strings, source=intake.title, number=number)
        except RowFault as fault:
            intake.reject(number, str(row.get(columns.id or "", "")), fault.code, fault.detail)
            continue
        code, detail = _fault(pair)
        if code:
            intake.reject(number, pair.id, code, detail)
        else:
            yield number, pair
    _note_bad_lines(intake, bad_lines)


def _note_bad_lines(intake: Intake, bad_lines: BadLines) -> None:
    for number, detail in bad_lines or ():
        intake.read += 1
        intake.reject(number, "", "bad_line", detail)
    if bad_lines:
        bad_lines.clear()


def _fault(pair: PreferencePair) -> tuple[str, str]:
    """The first check of its form that a pair fails: code and detail, empty where it fails none."""
    for check in CHECKS.values():
        detail = check.pair(pair) if check.pair else ""
        if detail:
            return check.code, detail
    return "", ""


def source_digests(data: DataSpec, embedded: Embedded) -> dict[str, str]:
    """What decides the content of every source: the SHA-256 of its file, or its hub revision.

    For fingerprints: cheap beside reading.

    Raises:
        DataError: a file cannot be read.
    """
    digests = {}
    for role, sources in (("train", data.train), ("held_out", data.held_out.sources)):
        for index, source in enumerate(sources):
            path = _path(source, embedded)
            digests[f"{role}[{index}] {source.title}"] = hub_revision(source) if path is None else sha256_of(path)
    return digests


def _path(source: SourceSpec, embedded: Embedded) -> Path | None:
    """The source's file; None for the hub."""
    if source.embedded is not None:
        return embedded[source.embedded]
    return None if source.path is None else Path(source.path)


def _draw(rows: Iterable[NumberedRow], limit: int | None, seed: str) -> Iterator[NumberedRow]:
    """All rows, or `limit` of them drawn by `seed` in one pass (reservoir sampling), in the file's order."""
    if limit is None:
        yield from rows
        return
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    kept: list[NumberedRow] = []
    for seen, row in enumerate(rows):
        if seen < limit:
            kept.append(row)
        elif (place := draw.randint(0, seen)) < limit:
            kept[place] = row
    yield from sorted(kept, key=lambda numbered: numbered[0])
