"""Reading the fields of benchmark rows: each reader gives the checked value, or names file, row, field and fix.

In: rows of a table. Out: texts, lists of texts, ids, names of a known list; and checks of whole benchmarks: keys that
stand twice, and whether these rows are the published data set in full.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.evaluation.tables import Table, TableRow
from rewardsmith.spec.section import nearest
from rewardsmith.types import Conversation, Message


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


def user(content: str) -> Conversation:
    """The text as a prompt of one user turn."""
    return (Message("user", content),)


def assistant(content: str) -> Conversation:
    """The text as a response."""
    return (Message("assistant", content),)


def bad(row: TableRow, field: str, problem: str, fix: str) -> BenchmarkError:
    """What is wrong with a field, where, and how to mend it."""
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


def is_published(
    table: Table, rows: Sequence[EvalRow], hub_ids: Collection[str], sizes: Mapping[str, int], sha256: str = ""
) -> bool:
    """Whether these are the published rows in full.

    They are where they come from the hub under a published id at a known revision and every subset has its published
    size, or where the files are the published ones to the byte (`sha256`; empty where that is not known).
    """
    if sha256 and table.dataset.sha256 == sha256:
        return True
    from_hub = table.hub and table.dataset.source in hub_ids and bool(table.dataset.revision)
    return from_hub and Counter(row.subset for row in rows) == dict(sizes)
