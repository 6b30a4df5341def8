"""From one source of the spec to its preference pairs, with the rows that are none counted and explained.

intake = open_source(source, role="train", strings="chat", seed=17, embedded={})
for number, pair in intake.stream: …       # once; rows that are no pairs join intake.rejected
read_source(…).pairs                       # the same as a list, for small files
mixture(sources, …)                        # which rows each source's `rows`, `share` or `weight` takes
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.files import BadLines, Position, hub_revision, read_hub, read_rows, sha256_of
from rewardsmith.data.forms import (
    COLLECTORS,
    Formed,
    GroupedReader,
    LoneReader,
    NestedReader,
    Reader,
    Strings,
    Tie,
    TreeReader,
    columns_read,
    open_form,
)
from rewardsmith.data.forms.doubts import looks_like_context, refuse_doubtful
from rewardsmith.data.forms.recognise import recognise
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.store import DIGEST, Rejections, digest_of, pair_keys
from rewardsmith.errors import DataError
from rewardsmith.records.checks import RejectedRow
from rewardsmith.rendering.messages import RowFault
from rewardsmith.spec import DataSpec, SourceSpec, Spec, load_spec
from rewardsmith.types import Message, PreferencePair

Role = Literal["train", "held_out"]
Embedded = Mapping[Literal["train", "held_out"], Path]
NumberedRow = tuple[int, dict[str, Any]]


@dataclass(slots=True)
class Intake:
    """What one source gives. `stream` yields the pairs once; when it ends,

    read = used + unused + mixed_out, in rows: `used` gave a pair, `unused` none (each of them is rejected, with its
    reason), `mixed_out` were left out by the mixture;

    formed = pairs + ties + capped, in comparisons. Pairs that fail a check of their own are rejected later: `left_out`
    counts everything that is in `rejected`.

    `position` is how far reading has come in the file, for progress. `unread` counts, for each column that looks like
    context and is not read, the rows in which something stands there.
    """

    title: str
    role: Role
    rejected: Rejections
    sha256: str = ""
    revision: str = ""
    read: int = 0
    used: int = 0
    unused: int = 0
    mixed_out: int = 0
    formed: int = 0
    pairs: int = 0
    ties: int = 0
    capped: int = 0
    left_out: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    position: Position = field(default_factory=Position)
    stream: Iterator[tuple[int, PreferencePair]] = field(default_factory=lambda: iter(()))

    def reject(self, row: int, pair_id: str, code: str, detail: str) -> None:
        """Leave a row, or a pair of it, out, with its reason."""
        # Both may quote the row, and a lone surrogate cannot be written to a file.
        pair_id, detail = (text.encode("utf-8", "replace").decode() for text in (pair_id[:100], detail))
        self.left_out += 1
        self.rejected.append(
            RejectedRow(source=self.title, row=row, id=pair_id, role=self.role, reason=code, detail=detail)
        )

    def reject_row(self, row: int, row_id: str, fault: RowFault) -> None:
        """Leave a row out that gave no pair at all."""
        self.unused += 1
        self.reject(row, row_id, fault.code, fault.detail)


def sources_of(data: DataSpec) -> list[tuple[Role, SourceSpec]]:
    """Every source of a spec with what its rows are for, those of training first."""
    held_out: list[tuple[Role, SourceSpec]] = [("held_out", source) for source in data.held_out.sources]
    return [*(("train", source) for source in data.train), *held_out]


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


Mixed = NDArray[np.bool_]
"""Which rows of a source a mixture takes, by their place among the rows."""


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
    mixed: Mixed | None = None,
) -> Intake:
    """Open a source; its stream keeps what is a preference pair.

    Args:
        source: where the rows are, and how they are written.
        role: what they are for.
        strings: what plain strings are (`spec.data.strings`).
        seed: of the draw where not all rows are taken.
        embedded: files of the pairs that Rewardsmith generates itself.
        bad_lines: what to do with a line of JSON that cannot be read (`spec.data.bad_lines`).
        sample: take at most this many rows, drawn by `seed`.
        rejected: where rows that are left out go; a list of its own when None.
        mixed: the rows that a mixture takes; all of them when None and the source names no `rows` or `share`.

    Raises:
        DataError: the source cannot be read, has no rows, lacks a column, or says something else than its form. The
            stream raises it at a broken row.
    """
    if mixed is None and (source.rows is not None or source.share is not None):
        (mixed,) = mixture([source], strings=strings, seed=seed, embedded=embedded, bad_lines=bad_lines)
    path = _path(source, embedded)
    sha256, revision = ("", hub_revision(source)) if path is None else (sha256_of(path), "")
    intake = Intake(source.title, role, Rejections() if rejected is None else rejected, sha256, revision)
    skipped: BadLines = [] if bad_lines == "skip" else None
    rows, names, first = _opened(source, path, skipped, intake.position)
    reader = _reader(source, names, first, strings)
    read = columns_read(source, names)
    refuse_doubtful(first, names, source, read, reader.basis)
    drawn = _drawn(source, reader, rows, seed, sample, lambda: _opened(source, path, [], Position())[0])
    watched = tuple(name for name in names if name not in read and looks_like_context(name, source, reader.basis))
    intake.stream = _pairs(intake, _mix(intake, drawn, mixed), reader, skipped, watched)
    return intake


def _path(source: SourceSpec, embedded: Embedded) -> Path | None:
    """The source's file; None for the hub."""
    if source.embedded is not None:
        return embedded[source.embedded]
    return None if source.path is None else Path(source.path)


_PEEK = 100  # a row may lack a column; a source lacks it when its first rows all do


def _opened(
    source: SourceSpec, path: Path | None, skipped: BadLines, position: Position
) -> tuple[Iterator[NumberedRow], list[str], list[dict[str, Any]]]:
    """The rows of a source, the columns that its first rows have, and these rows."""
    rows = read_hub(source) if path is None else read_rows(path, bad_lines=skipped, position=position)
    first = list(itertools.islice(rows, _PEEK))
    if not first:
        unreadable = f"; none of its {len(skipped):,} lines can be read" if skipped else ""
        raise DataError(
            f"has no rows{unreadable}", where=source.title, fix="name a file with one pair a line, or another split"
        )
    names = list(dict.fromkeys(name for _, row in first for name in row))
    # The rows that were looked at go back in front: the stream can be read once only.
    return itertools.chain(first, rows), names, [row for _, row in first]


def _reader(source: SourceSpec, names: Sequence[str], first: Sequence[dict[str, Any]], strings: Strings) -> Reader:
    """What reads a source; where a side is not there, the error says what the file looks like."""
    try:
        return open_form(source, names, strings=strings, where=source.title)
    except DataError as error:
        found = recognise(names, first)
        said = [f"form: {found.form}"] if found.form != {"kind": "pair"} else []
        said += [f"columns: {found.columns}"] if found.columns else []
        if source.form.kind != "pair" or source.columns or found.problem or not said:
            raise
        raise DataError(
            f"{error.problem}; it looks like {found.title}",
            where=source.title,
            fix=f"{' and '.join(said)}".replace("'", "") + " (rewardsmith init --data FILE writes it)",
        ) from error


def _drawn(
    source: SourceSpec,
    reader: Reader,
    rows: Iterable[NumberedRow],
    seed: int,
    sample: int | None,
    again: Callable[[], Iterable[NumberedRow]],
) -> Iterator[NumberedRow]:
    """At most as many rows as `limit` and `sample` say; of messages that are trees together, whole trees.

    Args:
        again: the same rows once more, to see which are of one tree before any is taken.
    """
    limit = min((n for n in (source.limit, sample) if n is not None), default=None)
    if limit is None or not isinstance(reader, TreeReader) or (reader.tree is None and source.limit is None):
        # A quick look at messages whose trees are not known is a look at all of them: a part would have no prompts.
        return _draw(rows, None if isinstance(reader, TreeReader) else limit, f"{seed}:{source.title}")
    keys = np.frombuffer(b"".join(reader.key(row) for _, row in again()), dtype=f"V{DIGEST}")
    trees, tree_of_row, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    ranked = sorted(range(len(trees)), key=lambda tree: _rank(trees[tree].tobytes(), seed))
    chosen = np.isin(tree_of_row.reshape(-1), _fitting(ranked, sizes, limit))
    return (numbered for numbered, taken in zip(rows, chosen.tolist(), strict=True) if taken)


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
        # Row `seen` enters with probability limit / (seen + 1), so that all rows are equally likely (algorithm R).
        elif (place := draw.randint(0, seen)) < limit:
            kept[place] = row
    # Sampling replaces rows at any place of the sample, so that it has to be put in order again.
    yield from sorted(kept, key=lambda numbered: numbered[0])


def _mix(intake: Intake, rows: Iterable[NumberedRow], mixed: Mixed | None) -> Iterator[NumberedRow]:
    """The rows that a mixture takes."""
    if mixed is None:
        yield from rows
        return
    for place, numbered in enumerate(rows):
        if mixed[place]:
            yield numbered
        else:
            intake.read += 1
            intake.mixed_out += 1


def _pairs(
    intake: Intake, rows: Iterable[NumberedRow], reader: Reader, bad_lines: BadLines, watched: Sequence[str]
) -> Iterator[tuple[int, PreferencePair]]:
    """The rows that are pairs; the others join the rejected ones, with the lines that could not be read at all."""
    for number, row in rows:
        _note_bad_lines(intake, bad_lines)
        intake.read += 1
        if watched:
            intake.unread.update(name for name in watched if row.get(name) not in (None, "", [], {}))
        try:
            if isinstance(reader, COLLECTORS):
                reader.add(row, number)
                continue
            formed = reader.read(row, number)
        except RowFault as fault:
            if isinstance(fault, Tie):
                intake.formed += fault.ties
                intake.ties += fault.ties
            intake.reject_row(number, reader.basis.row_id(row), fault)
            continue
        intake.used += 1
        yield from _taken(intake, number, formed)
    _note_bad_lines(intake, bad_lines)
    if isinstance(reader, COLLECTORS):
        for group in reader.groups():
            intake.used += group.rows - len(group.unused)
            for unused, row_id, why in group.unused:
                intake.reject_row(unused, row_id, why)
            yield from _taken(intake, group.number, group.formed)


def _taken(intake: Intake, number: int, formed: Formed) -> Iterator[tuple[int, PreferencePair]]:
    """The pairs of a row (or of the rows of one prompt), less those that fail a check of their form."""
    intake.formed += formed.compared
    intake.pairs += len(formed.pairs)
    intake.ties += formed.ties
    intake.capped += formed.capped
    for pair in formed.pairs:
        code, detail = _fault(pair)
        if code:
            intake.reject(number, pair.id, code, detail)
        else:
            yield number, pair


def _note_bad_lines(intake: Intake, bad_lines: BadLines) -> None:
    for number, detail in bad_lines or ():
        intake.read += 1
        intake.reject_row(number, "", RowFault("bad_line", detail))
    if bad_lines:
        # The file's reader goes on adding to this very list.
        bad_lines.clear()


def _fault(pair: PreferencePair) -> tuple[str, str]:
    """The first check of its form that a pair fails: code and detail, empty where it fails none."""
    for check in CHECKS.values():
        detail = check.pair(pair) if check.pair else ""
        if detail:
            return check.code, detail
    return "", ""


def mixture(
    sources: Sequence[SourceSpec],
    *,
    strings: Strings,
    seed: int,
    embedded: Embedded,
    bad_lines: Literal["error", "skip"] = "error",
    sample: int | None = None,
) -> list[Mixed | None]:
    """Which rows of each source a spec's `rows`, `share` and `weight` take; None where a source takes all.

    Prompts are ranked by a hash of seed and prompt, and taken in that order, each with all its rows: so a smaller
    mixture is part of a larger one. A prompt that would not fit into what is left is passed over. One pass over the
    sources that name a mixture, which remembers 16 bytes a row.

    Raises:
        DataError: as `open_source`.
    """
    prompts: list[NDArray[np.void] | None] = [
        _prompts(source, strings, seed, embedded, bad_lines, sample)
        if source.rows is not None or source.share is not None or source.weight is not None
        else None
        for source in sources
    ]
    weighed = [
        len(found) / source.weight
        for source, found in zip(sources, prompts, strict=True)
        if source.weight is not None and found is not None
    ]
    mixed: list[Mixed | None] = []
    for source, found in zip(sources, prompts, strict=True):
        if found is None:
            mixed.append(None)
            continue
        digests, prompt_of_row, sizes = np.unique(found, return_inverse=True, return_counts=True)
        # By hash and not by place: the same prompts are taken whatever the order of the rows.
        ranked = sorted(range(len(digests)), key=lambda prompt: _rank(digests[prompt].tobytes(), seed))
        if source.share is not None:
            # At least one prompt, so that a small share of a small source does not drop it in silence.
            taken = ranked[: max(1, round(source.share * len(ranked)))]
        else:
            # The source that is smallest for its weight is taken whole, the others in proportion to it.
            most = source.rows if source.weight is None else max(1, round(source.weight * min(weighed)))
            taken = _fitting(ranked, sizes, most or len(found))
        mixed.append(np.isin(prompt_of_row.reshape(-1), taken))
    return mixed


def _prompts(
    source: SourceSpec,
    strings: Strings,
    seed: int,
    embedded: Embedded,
    bad_lines: Literal["error", "skip"],
    sample: int | None,
) -> NDArray[np.void]:
    """A digest of each row's prompt; a row that is no pair is a prompt of its own."""
    skipped: BadLines = [] if bad_lines == "skip" else None
    path = _path(source, embedded)
    rows, names, _ = _opened(source, path, skipped, Position())
    reader = open_form(source, names, strings=strings, where=source.title)
    found = bytearray()
    for number, row in _drawn(source, reader, rows, seed, sample, lambda: _opened(source, path, [], Position())[0]):
        found += _prompt_digest(reader, row, number)
    return np.frombuffer(bytes(found), dtype=f"V{DIGEST}")


def _prompt_digest(reader: Reader, row: dict[str, Any], number: int) -> bytes:
    if isinstance(reader, TreeReader):
        return reader.key(row)
    try:
        stated = () if isinstance(reader, NestedReader) else reader.basis.prompt(row)
        if stated or isinstance(reader, GroupedReader):
            return digest_of(stated)
        formed = reader.read(row, number).pairs
        return pair_keys(formed[0])[0] if formed else digest_of((Message("row", str(number)),))
    except RowFault:
        return digest_of((Message("row", str(number)),))


def _fitting(ranked: Sequence[int], sizes: NDArray[np.int64], most: int) -> list[int]:
    """Prompts in their order while their rows fit; the first one if none does."""
    taken, count = list[int](), 0
    for prompt in ranked:
        if count + int(sizes[prompt]) <= most:
            taken.append(prompt)
            count += int(sizes[prompt])
    return taken or [ranked[0]]


def _rank(prompt: bytes, seed: int) -> bytes:
    return hashlib.blake2b(prompt, digest_size=16, salt=seed.to_bytes(16, "little"), person=b"mixture").digest()


def first_pairs(spec: Spec, embedded: Embedded, count: int) -> list[tuple[str, int, PreferencePair]]:
    """Source, row and content of the first `count` pairs of each source, before anything is rendered.

    Raises:
        DataError: as `open_source`.
    """
    found = []
    for role, source in sources_of(spec.data):
        intake = open_source(
            source,
            role=role,
            strings=spec.data.strings,
            seed=spec.seed,
            embedded=embedded,
            bad_lines=spec.data.bad_lines,
        )
        found += [(source.title, number, pair) for number, pair in itertools.islice(intake.stream, count)]
    return found


@dataclass(frozen=True, slots=True)
class Shown:
    """The first pair of a source with its row (None where the first rows hold none), and what became of these rows."""

    row: int
    pair: PreferencePair | None
    read: int
    rejected: dict[str, int]
    example: str = ""


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


def named_source(name: str | Path) -> SourceSpec | None:
    """The source that a spec names, where a spec (`.yaml`) stands in place of a data file; None for anything else.

    So every command that reads a file of preferences reads it in the form that the spec says.

    Raises:
        DataError: the spec names several sources, or none that is a file or a hub data set.
        SpecError: the spec cannot be used.
    """
    if Path(name).suffix not in (".yaml", ".yml"):
        return None
    sources = load_spec(Path(name)).data.train
    if len(sources) != 1 or sources[0].embedded is not None:
        found = "the embedded data" if len(sources) == 1 else f"{len(sources)} sources"
        raise DataError(
            f"names {found} under data.train; in place of a data file it names one file or hub data set",
            where=str(name),
            fix="write a spec with that source alone: rewardsmith init DIR --data FILE",
        )
    return sources[0]


def open_reader(source: SourceSpec, strings: Strings) -> LoneReader:
    """What reads the rows of a file in the source's form; its first rows are looked at.

    Raises:
        DataError: the file cannot be read, lacks a column, or says something else than its form; or its rows are
            messages whose prompts are other rows.
    """
    _, names, first = _opened(source, _path(source, {}), None, Position())
    reader = _reader(source, names, first, strings)
    if isinstance(reader, TreeReader):
        raise DataError(
            "has one message of a tree in each row, and its prompt in others: no row can be read alone",
            where=source.title,
            fix="name a file with a conversation, a pair or a whole tree in each row",
        )
    refuse_doubtful(first, names, source, columns_read(source, names), reader.basis)
    return reader
