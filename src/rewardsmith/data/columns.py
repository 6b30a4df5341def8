"""How values are found in a row: which column of a source is which, and paths into what a column holds.

    columns = find_columns(names, spec_map, where="pairs.jsonl")      # names: the columns that the first rows have
    columns.prompt                # None: the prompt is implicit, the messages that both sides begin with
    look = path_of("question.full_text", names)
    look(row)                     # None where nothing stands there

A path: `a.b` goes into an object, `a[0]` and `a[-1]` into a list, `a[:-1]` is a list without its last item, `a[*].b`
takes every item of a list and gives a list, and `a|b` is the first that is there. A column that is called exactly so
comes first: Argilla writes columns with dots (`preference.responses`). Text that holds JSON is read on the way, because
CSV and Parquet files store objects so.

Columns known without a map: our own names, TRL's, OpenRLHF's (`input` for the prompt) and Argilla's (`chosen-model`,
`chosen-rating`). A name in the map may be a path, or null: nothing holds it, whatever a column is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rewardsmith.errors import DataError, SpecError

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
    # The longest that fits, since the name of a column may hold dots itself.
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
    # The empty text lies in every text, hence the last condition.
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


_ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "input"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "target_margin": ("target_margin", "margin"),
    "id": ("id", "prompt_id"),
    "source": ("source",),
    "subset": ("subset",),
    "annotator": ("annotator", "annotator_id", "worker", "labeler"),
    "chosen_model": ("chosen_model", "chosen-model", "model_chosen"),
    "rejected_model": ("rejected_model", "rejected-model", "model_rejected"),
    "tools": ("tools",),
    "system": (),
    "history": (),
    "context": (),
    "input": (),
}
_SIDES = ("prompt", "chosen", "rejected")
_SCORE_WORDS = {"score", "scores", "rating", "reward", "rank"}

BESIDE_THE_TEXTS = frozenset(name for ours, names in _ALIASES.items() if ours not in _SIDES for name in names)
"""Names that are known to hold something else than a text of the pair; `score_pair` finds the scores."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names in the file, None where it has none. `scores`: the columns with the score of chosen and of rejected.

    The better of two scores is the higher one, of two `ranks` the lower.
    """

    chosen: str = ""
    rejected: str = ""
    prompt: str | None = None
    target_margin: str | None = None
    id: str | None = None
    source: str | None = None
    subset: str | None = None
    annotator: str | None = None
    chosen_model: str | None = None
    rejected_model: str | None = None
    tools: str | None = None
    system: str | None = None
    history: str | None = None
    context: str | None = None
    input: str | None = None
    scores: tuple[str, str] | None = None
    ranks: bool = False


def find_columns(
    names: Collection[str], mapped: Mapping[str, str | None], *, where: str, sides: bool = True
) -> Columns:
    """Columns of a source.

    `target_margin` is read from `target_margin`, `margin`, or the difference of a pair of columns that are called alike
    but for `chosen` and `rejected` and hold scores, or ranks (then the lower one is better); it never reaches the loss.
    Who labelled and which models answered is for the checks only.

    Args:
        names: the names that its first rows have.
        mapped: `columns` of the spec, our name to theirs.
        where: what to call the source in an error.
        sides: whether it must have chosen and rejected; the forms that find them otherwise do without.

    Raises:
        DataError: a column is missing, or it is not clear which one holds the prompt.
    """
    for ours, theirs in mapped.items():
        if theirs is not None and column_of(theirs, names) not in names:
            raise _missing(
                column_of(theirs, names), names, where, f"columns.{ours} names it; name one of the columns there are"
            )
    if "prompt" not in mapped and {"instruction", "input"} <= set(names) and "prompt" not in names:
        raise DataError(
            "has the columns 'instruction' and 'input', and either may be the prompt",
            where=where,
            fix="say which it is: columns: {prompt: instruction, input: input} writes the input below the instruction",
        )
    taken = {theirs for theirs in mapped.values() if theirs is not None}
    found = {ours: mapped[ours] if ours in mapped else known(ours, names, taken) for ours in _ALIASES}
    for ours in ("chosen", "rejected"):
        if sides and found[ours] is None:
            raise _missing(ours, names, where, f"say which column it is: columns: {{{ours}: NAME}}")
        found[ours] = found[ours] or ""
    scores = score_pair(names) if sides else None
    return Columns(**found, scores=scores, ranks=bool(scores and "rank" in _words(scores[0])))  # type: ignore[arg-type]


def known(ours: str, names: Collection[str], taken: Collection[str] = ()) -> str | None:
    """The column that holds `ours` under a name that needs no map, None where there is none."""
    return next((name for name in _ALIASES[ours] if name in names and name not in taken), None)


def score_pair(names: Collection[str]) -> tuple[str, str] | None:
    """Two columns called alike but for `chosen` and `rejected` that hold scores or ranks: `chosen_score`."""
    for name in names:
        other = name.replace("chosen", "rejected")
        if other != name and other in names and _words(name) & _SCORE_WORDS:
            return name, other
    return None


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _missing(name: str, names: Collection[str], where: str, fix: str) -> DataError:
    there = ", ".join(repr(other) for other in sorted(names)) or "none"
    return DataError(f"has no column {name!r}; its columns are {there}", where=where, fix=fix)
