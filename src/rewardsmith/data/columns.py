"""Finds out which column of a source is which, from the names that its first rows have and the spec's column map.

    columns = find_columns(names, spec_map, where="pairs.jsonl")
    columns.prompt                # None: the prompt is implicit, the messages that both sides begin with

Known without a map: our own names, TRL's, OpenRLHF's (`input` for the prompt) and Argilla's (`chosen-model`,
`chosen-rating`). `target_margin` is read from `target_margin`, `margin`, or the difference of a pair of score columns;
it never reaches the loss. Who labelled and which models answered is for the checks only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
    "tools": ("tools", "functions"),
}
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
)


BESIDE_THE_TEXTS = frozenset(name for pair in _SCORES for name in pair) | {
    name for ours, names in _ALIASES.items() if ours not in ("prompt", "chosen", "rejected") for name in names
}
"""Names that are known to hold something else than a text of the pair: `chosen_score` is no response."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names in the file, None where it has none. `scores`: the columns with the score of chosen and of rejected."""

    chosen: str
    rejected: str
    prompt: str | None = None
    target_margin: str | None = None
    id: str | None = None
    source: str | None = None
    subset: str | None = None
    annotator: str | None = None
    chosen_model: str | None = None
    rejected_model: str | None = None
    scores: tuple[str, str] | None = None
    tools: str | None = None


def find_columns(names: Collection[str], mapped: Mapping[str, str], *, where: str) -> Columns:
    """Columns of a source.

    Args:
        names: the names that its first rows have.
        mapped: `columns` of the spec, our name to theirs.
        where: what to call the source in an error.

    Raises:
        DataError: a column is missing, or it is not clear which one holds the prompt.
    """
    for ours, theirs in mapped.items():
        if theirs not in names:
            raise _missing(theirs, names, where, f"columns.{ours} names it; name one of the columns there are")
    if "prompt" not in mapped and {"instruction", "input"} <= set(names) and "prompt" not in names:
        raise DataError(
            "has the columns 'instruction' and 'input', and either may be the prompt",
            where=where,
            fix="join them into one column, or say which it is: columns: {prompt: instruction}",
        )
    found = {ours: mapped.get(ours) or known(ours, names) for ours in _ALIASES}
    for ours in ("chosen", "rejected"):
        if found[ours] is None:
            raise _missing(ours, names, where, f"say which column it is: columns: {{{ours}: NAME}}")
    scores = next((pair for pair in _SCORES if set(pair) <= set(names)), None)
    return Columns(**found, scores=scores)  # type: ignore[arg-type]


def known(ours: str, names: Collection[str]) -> str | None:
    """The column that holds `ours` under a name that needs no map, None where there is none."""
    return next((name for name in _ALIASES[ours] if name in names), None)


def _missing(name: str, names: Collection[str], where: str, fix: str) -> DataError:
    there = ", ".join(repr(other) for other in sorted(names)) or "none"
    return DataError(f"has no column {name!r}; its columns are {there}", where=where, fix=fix)
