"""The rows of a benchmark file, folder or hub data set as plain objects, and the readers of their fields.

    read_table("rows.jsonl.gz")                            a file, in any format that `data` reads
    read_table("RM-Bench/data", pattern="*_filtered.json") the files of a folder, one after the other
    read_table("allenai/reward-bench-2")                   a hub id, with an optional revision
    text(row, "question"), prompt(row), one_of(row, "subset", names)        a checked value of a field
    check_keys(rows), published(table, rows, …)                             of a benchmark as a whole

The reading is `data`'s; a `TableRow` adds where the row stands, and a table where it came from. What fields the rows
need is the benchmark's business: each reader gives the checked value, or names file, row, field and fix.
"""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.data.files import FORMATS, hub_revision, read_hub, read_rows, sha256_of
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import BenchmarkRows, EvalRow
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.rendering.messages import RowFault, read_messages
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.section import nearest
from rewardsmith.types import Conversation, Message

SPLIT = "test"
"""Split of a hub data set that benchmarks read where they name no other."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One object of a table; `where` is the file or hub id with its 1-based row.

    `file` is the path of the file that the row stands in, empty for rows of the hub: some benchmarks keep the subset
    in the names of files and folders.
    """

    where: str
    fields: Mapping[str, Any]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of one source. `hub` says that it was read from the hub under this very id."""

    rows: tuple[TableRow, ...]
    dataset: DatasetInfo
    title: str
    hub: bool


def read_table(
    source: str,
    revision: str | None = None,
    *,
    split: str = SPLIT,
    config: str | None = None,
    pattern: str | None = None,
) -> Table:
    """Read all rows of a file, a folder of files or a hub data set.

    Args:
        source: path or hub id.
        revision: hub revision; the default branch when None.
        split, config: which part of a hub data set.
        pattern: which files of a folder, as `Path.glob` reads it, in the order of their names; a benchmark that comes
            as one file gives none, and refuses a folder.

    Raises:
        BenchmarkError: there are no rows, or no file in the folder.
        DataError: a file or the data set cannot be read.
    """
    place = locate(source, revision, split, config)
    if place.path is None:
        rows = tuple(TableRow(where=f"{source}:{number}", fields=row) for number, row in read_hub(place))
        dataset = DatasetInfo(source=source, revision=hub_revision(place))
    else:
        files = _files(Path(source), pattern)
        rows = tuple(row for path in files.values() for row in _file_rows(path))
        dataset = DatasetInfo(source=source, sha256=_sha256(Path(source), files))
    if not rows:
        raise BenchmarkError("has no rows", where=source, fix="name a source that has rows")
    hub = place.path is None
    return Table(rows=rows, dataset=dataset, title=source if hub else Path(source).name, hub=hub)


def locate(source: str, revision: str | None = None, split: str = SPLIT, config: str | None = None) -> SourceSpec:
    """Whether `source` names a path or a hub data set: a path that exists or ends like a data file is a path."""
    if _HUB_ID.fullmatch(source) and not _readable(source) and not Path(source).exists():
        return SourceSpec(id=source, name=config, split=split, revision=revision)
    return SourceSpec(path=source)


def _files(source: Path, pattern: str | None) -> dict[str, Path]:
    """The files to read, by name: the source itself, or what lies in the folder."""
    if pattern is None or not source.is_dir():
        return {source.name: source}
    found = sorted(path for path in source.glob(pattern) if path.is_file() and _readable(path.name))
    if not found:
        raise BenchmarkError(
            f"has no file {pattern} that can be read",
            where=str(source),
            fix=f"name the folder that has them (formats: {', '.join(FORMATS)}), or one file",
        )
    return {path.relative_to(source).as_posix(): path for path in found}


def _file_rows(path: Path) -> Iterator[TableRow]:
    for number, row in read_rows(path):
        yield TableRow(where=f"{path}:{number}", fields=row, file=str(path))


def _sha256(source: Path, files: Mapping[str, Path]) -> str:
    """Hash of the file, or of the names and hashes of a folder's files."""
    if not source.is_dir():
        return sha256_of(source)
    listed = "".join(f"{sha256_of(path)}  {name}\n" for name, path in files.items())
    return hashlib.sha256(listed.encode()).hexdigest()


def _readable(name: str) -> bool:
    return name.removesuffix(".gz").endswith(tuple(FORMATS))


def text(row: TableRow, field: str) -> str:
    """A string, which may be empty."""
    value = row.fields.get(field)
    if not isinstance(value, str):
        raise bad(row, field, missing_or(row, field, "a string"), f'write "{field}": "text"')
    return value


def texts(row: TableRow, field: str) -> list[str]:
    """A list of one or more strings."""
    value = row.fields.get(field)
    if not isinstance(value, list):
        raise bad(row, field, missing_or(row, field, "a list of strings"), f'write "{field}": ["text", ...]')
    if not value:
        raise bad(row, field, "is an empty list", "give at least one response, or remove the row")
    for place, item in enumerate(value):
        if not isinstance(item, str):
            problem = f"is {reprlib.repr(item)}, not a string"
            raise bad(row, f"{field}[{place}]", problem, "write each response as one string")
    return value


def row_id(row: TableRow, field: str = "id") -> str:
    """A string or whole number, as a string."""
    value = row.fields.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        problem = "is empty" if value == "" else missing_or(row, field, "a string")
        raise bad(row, field, problem, "give each row of a subset its own id")
    return str(value)


def one_of(row: TableRow, field: str, names: Iterable[str], *, what: str = "value") -> str:
    """A string that is one of `names`; else the nearest one is named."""
    value = text(row, field)
    known = list(names)
    if value not in known:
        raise bad(row, field, f"unknown {what} {value!r}", nearest(value, known))
    return value


ROLES = ("system", "user", "assistant", "tool")


def prompt(row: TableRow, field: str = "prompt") -> Conversation:
    """The prompt that stands in a field.

    Raises:
        BenchmarkError: it is neither text nor a list of messages (row, field and place are named).
    """
    value = row.fields.get(field)
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not value:
        problem = "is an empty list" if value == [] else missing_or(row, field, "text or messages")
        raise bad(row, field, problem, f'write "{field}": "text", or a list of messages with role and content')
    return tuple(_message(row, f"{field}[{place}]", turn) for place, turn in enumerate(value))


def _message(row: TableRow, place: str, turn: object) -> Message:
    role = turn.get("role") if isinstance(turn, dict) else None
    fix = f'write {{"role": …, "content": "text"}} with a role of {", ".join(ROLES)}'
    if role not in ROLES:
        raise bad(row, place, f"is {reprlib.repr(turn)}, not a message", fix)
    try:
        return read_messages(turn, place)[0]
    except RowFault as fault:
        raise bad(row, place, f"is {reprlib.repr(turn)}, not a message: {fault.detail}", fix) from fault


def prompt_group(conversation: Conversation) -> str:
    """A short name that rows of the same prompt share: they were not drawn independently.

    Empty for a prompt without text: rows whose texts are left out (offline rewards) are not one prompt.
    """
    if not any(message.text for message in conversation):
        return ""
    text = "\x1e".join(f"{message.role}\x1f{message.text}" for message in conversation)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def user(content: str) -> Conversation:
    """The text as a prompt of one user turn."""
    return (Message("user", content),)


def assistant(content: str) -> Conversation:
    """The text as a response."""
    return (Message("assistant", content),)


def bad(row: TableRow, field: str, problem: str, fix: str) -> BenchmarkError:
    """What is wrong with a field, where, and how to fix it."""
    return BenchmarkError(problem, where=f"{row.where}, field {field!r}", fix=fix)


def missing_or(row: TableRow, field: str, wanted: str) -> str:
    """In words: the field is not there, or it is not what was wanted."""
    return f"is {reprlib.repr(row.fields[field])}, not {wanted}" if field in row.fields else "is missing"


def check_keys(rows: Sequence[EvalRow], field: str = "id") -> None:
    """Ids are unique within a subset.

    Raises:
        BenchmarkError: one stands twice.
    """
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.key in first:
            problem = f"the id {row.id!r} stands twice in {row.subset}: first in {first[row.key]}"
            raise BenchmarkError(problem, where=f"{row.where}, field {field!r}", fix="rename it, or remove the row")
        first[row.key] = row.where


def distinct_id(subset: str, name: str, seen: Counter[tuple[str, str]]) -> str:
    """The id, with the first free `#n` where it is taken in its subset; `seen` is kept up to date."""
    seen[subset, name] += 1
    found = name if seen[subset, name] == 1 else f"{name}#{seen[subset, name]}"
    return found if found == name else distinct_id(subset, found, seen)


def published(
    table: Table,
    rows: tuple[EvalRow, ...],
    title: str,
    hub_ids: Collection[str],
    sizes: Mapping[str, int],
    sha256: str = "",
) -> BenchmarkRows:
    """The rows of a table; under the benchmark's own title, and `official`, where they are the published ones in full.

    They are where they come from the hub under a published id at a known revision and every subset has its published
    size, or where the files are the published ones to the byte (`sha256`; empty where that is not known).
    """
    official = _is_published(table, rows, hub_ids, sizes) or (bool(sha256) and table.dataset.sha256 == sha256)
    dataset = table.dataset.model_copy(update={"official": official})
    return BenchmarkRows(rows=rows, dataset=dataset, title=title if official else table.title)


def _is_published(table: Table, rows: Sequence[EvalRow], hub_ids: Collection[str], sizes: Mapping[str, int]) -> bool:
    from_hub = table.hub and table.dataset.source in hub_ids and bool(table.dataset.revision)
    return from_hub and Counter(row.subset for row in rows) == dict(sizes)
