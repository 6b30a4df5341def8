"""Finds out which column of a source is which, from the names that its first rows have and the spec's column map.

    columns = find_columns(names, spec_map, where="pairs.jsonl")
    columns.prompt                # None: the prompt is implicit, the messages that both sides begin with

Known without a map: our own names, TRL's, OpenRLHF's (`input` for the prompt) and Argilla's (`chosen-model`,
`chosen-rating`). `target_margin` is read from `target_margin`, `margin`, or the difference of a pair of columns that
are called alike but for `chosen` and `rejected` and hold scores, or ranks (then the lower one is better); it never
reaches the loss. Who labelled and which models answered is for the checks only.

A name in the map may be a path (`forms/paths.py`), or null: nothing holds it, whatever a column is called.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rewardsmith.data.paths import column_of
from rewardsmith.errors import DataError

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
