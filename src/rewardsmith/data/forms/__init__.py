"""From a row of a file to preference pairs, in every form that preference data comes in.

    reader = open_form(source, names, strings="chat", where="pairs.jsonl")
    reader.read(row, number)            # Formed: pairs, ties, capped; RowFault where the row is none
    columns_read(source, names)         # the columns of the file that it reads

| form | what it is | file |
|---|---|---|
| `pair` | a better and a worse answer in columns of their own | pair.py |
| `comparison` | two answers and a verdict | comparison.py |
| `list` | several answers with scores or ranks | lists.py |
| `grouped` | one answer a row, compared by prompt | grouped.py |
| `tree` | messages that answer each other; siblings are compared by rank | trees.py |
| `transcript` | sides written as `Human: … Assistant: …`, ChatML … | transcripts.py |
| `openai` | `input.messages`, `preferred_output`, `non_preferred_output` | here |

What they share (prompt, system, history, context, tools, and how texts become messages) is in form.py. recognise.py
says which form a file seems to be in: published.py knows the public data sets, ways.py the rest of what people write,
by the words in wordings.py. doubts.py refuses a file that says something else than its form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rewardsmith.data.columns import Columns, column_of, find_columns
from rewardsmith.data.forms.comparison import ComparisonReader, open_comparison
from rewardsmith.data.forms.form import Basis, Formed, Row, Strings, Tie
from rewardsmith.data.forms.grouped import Group, GroupedReader, open_grouped
from rewardsmith.data.forms.lists import ListReader, open_list
from rewardsmith.data.forms.pair import PairReader, looks_of, open_pair, read_pair
from rewardsmith.data.forms.trees import NestedReader, TreeReader, open_tree
from rewardsmith.errors import DataError
from rewardsmith.rendering.messages import Turns
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.forms import PairForm, TreeForm

RowReader = PairReader | ComparisonReader | ListReader | NestedReader
LoneReader = RowReader | GroupedReader
"""Readers of rows that can be read alone; `GroupedReader.conversation` gives the one answer of its row."""
Reader = LoneReader | TreeReader
COLLECTORS = (GroupedReader, TreeReader)
"""Readers that need all rows before they give a pair."""

FORMS: dict[str, Callable[[Any, Basis, Sequence[str]], Reader]] = {
    "pair": open_pair,
    "comparison": open_comparison,
    "list": open_list,
    "grouped": open_grouped,
    "tree": open_tree,
    "transcript": open_pair,
    "openai": open_pair,
}
"""By the `kind` of `data.train[].form`: what opens a reader of it."""

_OPENAI = {
    "prompt": "input.messages",
    "chosen": "preferred_output",
    "rejected": "non_preferred_output",
    "tools": "input.tools",
}
_WITH_SIDES = ("pair", "transcript", "openai")
_COLUMN_FIELDS = {
    "first", "second", "tie", "column", "status", "first_model", "second_model", "answers", "scores", "answer",
    "ranking",
}  # fmt: skip
IMAGES = ("image", "images", "image_url", "video", "videos", "audio", "audios")
"""Columns of what a text model cannot see."""

__all__ = [
    "COLLECTORS",
    "FORMS",
    "Formed",
    "Group",
    "GroupedReader",
    "LoneReader",
    "NestedReader",
    "Reader",
    "Row",
    "Strings",
    "Tie",
    "TreeReader",
    "columns_read",
    "open_form",
    "read_pair",
]


def open_form(source: SourceSpec, names: Collection[str], *, strings: Strings, where: str) -> Reader:
    """What reads the rows of a source.

    Args:
        source: its `form`, `columns`, `roles` and `ignore` are used.
        names: the columns that its first rows have.
        strings: what plain strings are (`spec.data.strings`).
        where: what to call the source in an error.

    Raises:
        DataError: a column that the form names is not there.
    """
    form = source.form
    columns = _columns(source, names, where)
    for path in _form_paths(form):
        if column_of(path, names) not in names:
            there = ", ".join(repr(name) for name in sorted(names))
            raise DataError(
                f"has no column {column_of(path, names)!r}, which its form names; its columns are {there}",
                where=where,
                fix=f"correct form ({form.kind}) in the spec; `rewardsmith init --data FILE` writes the one that fits",
            )
    basis = Basis(
        columns,
        looks_of(columns, names),
        strings,
        where,
        turns=Turns(dict(source.roles), frozenset(source.ignore)),
        style=form.transcript or "",
        by_turn=form.by_turn,
        repeated=form.repeated,
        strip=form.strip,
        refused=tuple(name for name in IMAGES if name in names and name not in source.ignore),
    )
    return FORMS[form.kind](form, basis, list(names))


def columns_read(source: SourceSpec, names: Collection[str]) -> frozenset[str]:
    """The columns of a file that a source's form and column map read.

    Raises:
        DataError: a column is missing.
    """
    columns = _columns(source, names, source.title)
    paths = [getattr(columns, name) for name in Columns.__dataclass_fields__ if name not in ("scores", "ranks")]
    paths += [*(columns.scores or ()), *_form_paths(source.form)]
    alternatives = [one for path in paths if path for one in ([path] if path in names else path.split("|"))]
    return frozenset(column_of(one.strip(), names) for one in alternatives)


def _columns(source: SourceSpec, names: Collection[str], where: str) -> Columns:
    mapped: dict[str, str | None] = {str(ours): theirs for ours, theirs in source.columns.items()}
    if source.form.kind == "openai":
        mapped = {**_OPENAI, **mapped}
        if "input" not in names:
            raise DataError("has no column 'input'", where=where, fix="name another form in the spec")
    return find_columns(names, mapped, where=where, sides=source.form.kind in _WITH_SIDES)


def _form_paths(form: Any) -> list[str]:
    """Every path of a form that begins at a column."""
    if isinstance(form, TreeForm):
        inside = () if form.root else (form.id, form.parent, form.role, form.text, form.score, *form.without)
        return [*inside, *filter(None, (form.root, form.tree))]
    found: list[str] = list(form.ties) if isinstance(form, PairForm) else []

    def walk(content: Mapping[str, Any]) -> None:
        for name, value in content.items():
            # Below these stand values of the data, which may be called as fields of ours are.
            if isinstance(value, dict) and name not in ("values", "words"):
                walk(value)
            elif name in _COLUMN_FIELDS and isinstance(value, str):
                found.append(value)
            elif name in ("answers", "scores") and isinstance(value, tuple):
                found.extend(value)

    content = form.model_dump(exclude_none=True)
    walk(content)
    if content["kind"] == "grouped":
        found.append(content["score"])
    return found
