"""Where something stands in a row: a column's name, or a path into what the column holds.

    look = path_of("question.full_text", names)
    look(row)                    # None where nothing stands there

`a.b` goes into an object, `a[0]` and `a[-1]` into a list, `a[:-1]` is a list without its last item, `a[*].b` takes
every item of a list and gives a list, and `a|b` is the first that is there. A column that is called exactly so comes
first: Argilla writes columns with dots (`preference.responses`). Text that holds JSON is read on the way, because CSV
and Parquet files store objects so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from rewardsmith.errors import SpecError

Look = Callable[[Mapping[str, Any]], Any]

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d+|\*|:-?\d+)\]")


def path_of(path: str, names: Collection[str] = ()) -> Look:
    """What finds a path in a row; `names` are the columns there are.

    Raises:
        SpecError: it is no path.
    """
    if "|" in path and path not in names:
        return partial(_first, tuple(path_of(one.strip(), names) for one in path.split("|")))
    steps = steps_of(path, names)
    if len(steps) == 1:
        return partial(_column, str(steps[0]))
    return partial(_follow, steps)


def column_of(path: str, names: Collection[str] = ()) -> str:
    """The column in which a path begins; of alternatives the first one's."""
    return str(steps_of(path if path in names else path.partition("|")[0].strip(), names)[0])


def steps_of(path: str, names: Collection[str] = ()) -> tuple[str | int, ...]:
    """A path in parts: names of fields, places in a list, "*" for every item."""
    if path in names:
        return (path,)
    begun = max((name for name in names if path.startswith((f"{name}.", f"{name}["))), key=len, default="")
    rest, steps = path[len(begun) :], [begun] if begun else []
    place = 0
    parts: list[str | int] = [*steps]
    while place < len(rest):
        match = _STEP.match(rest, place)
        if match is None or (place == 0 and not begun and match[1] is None):
            raise SpecError(
                f"{path!r} is no path into a row", where="data", fix="write it like question.text or answers[0].text"
            )
        inner = match[2]
        parts.append(match[1] if inner is None else int(inner) if inner.lstrip("-").isdigit() else inner)
        place = match.end()
    if not parts:
        raise SpecError("an empty name is no column", where="data", fix="name a column")
    return tuple(parts)


def parsed(value: Any) -> Any:
    """What JSON text of an object or a list holds; anything else as it is."""
    if isinstance(value, str) and value[:1] in "[{" and value:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _first(looks: tuple[Look, ...], row: Mapping[str, Any]) -> Any:
    return next((value for look in looks if (value := look(row)) is not None), None)


def _column(name: str, row: Any) -> Any:
    return row.get(name) if isinstance(row, Mapping) else None


def _follow(steps: tuple[str | int, ...], value: Any) -> Any:
    for place, step in enumerate(steps):
        value = parsed(value) if place else value
        if step == "*":
            rest = steps[place + 1 :]
            return [_follow(rest, item) if rest else item for item in value] if isinstance(value, list) else None
        if isinstance(step, str) and step[0] == ":":
            value = value[: int(step[1:])] if isinstance(value, list) else None
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is None:
            return None
    return value
