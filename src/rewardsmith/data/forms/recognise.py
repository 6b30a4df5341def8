"""Which form a file seems to be in, for someone who has not written a spec yet.

    seen = look("ratings.csv")
    seen.names, seen.found                       # its columns, and what its first rows were taken for
    unread_columns(seen.names, source)           # ("where from",): what nothing will read
    found = recognise(names, rows)               # the same of rows that were read already
    found.form, found.columns, found.ignore      # what the spec must say
    found.title, found.meaning, found.source     # what it was taken for, and from where its label's meaning is known
    found.problem                                # why it cannot be said: what the file looks like, and what would fit

Published schemas first (published.py); then what people write themselves (ways.py). Where the file itself does not say
which answer a verdict means (`labels: 0` beside answers A and B), nothing is guessed: `problem` says what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardsmith.data.columns import parsed
from rewardsmith.data.files import read_rows
from rewardsmith.data.forms import columns_read
from rewardsmith.data.forms.comparison import Ballots
from rewardsmith.data.forms.doubts import MOST, ONE_ORDER_FIX, one_order
from rewardsmith.data.forms.form import number_of
from rewardsmith.data.forms.published import find_published, flat_rankings, pairwise_column
from rewardsmith.data.forms.ways import WAYS, Recognised, context_of
from rewardsmith.data.forms.wordings import (
    LIKELY_PROMPT,
    LIST_TEXTS,
    VERDICT,
    Rows,
    answer_pairs,
    guess_columns,
    is_choice,
    two_alike,
    voted_turns,
    words_of,
)
from rewardsmith.errors import DataError
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.forms import Rankings

_PEEK = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """The columns of a file, and what its first rows were taken for."""

    names: tuple[str, ...]
    found: Recognised


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


def unread_columns(names: Collection[str], source: SourceSpec) -> tuple[str, ...]:
    """The columns of a file that nothing will read, and that are not left out knowingly.

    Raises:
        DataError: a column is missing.
    """
    read = columns_read(source, names) | set(source.ignore)
    return tuple(name for name in names if name not in read)


def recognise(names: Collection[str], rows: Rows) -> Recognised:
    """What a file's first rows look like."""
    published = find_published(names, rows)
    if published is not None:
        form = _completed(dict(published.form), names, rows)
        columns = {**context_of(names, rows, published.columns_for(names)), **published.columns_for(names)}
        if form.get("kind") == "comparison" and "first" not in form:
            tool = Recognised(published.name, form, columns, (), published.meaning, published.source)
            return _sides_of_tool(tool, names, rows)
        return Recognised(
            published.name,
            form,
            columns,
            published.ignore_for(names),
            published.meaning,
            published.source,
            published.dropped,
            published.choices,
        )
    return next((found for way in WAYS if (found := way(names, rows)) is not None), _unknown(names, rows))


def _completed(form: dict[str, Any], names: Collection[str], rows: Rows) -> dict[str, Any]:
    """A published form without the columns that this version of the data set lacks."""
    if form["kind"] == "tree" and "root" not in form:
        form["without"] = {name: values for name, values in form["without"].items() if name in names}
    return {
        name: value
        for name, value in form.items()
        if name not in ("first_model", "second_model", "tree") or str(value).partition("[")[0] in names
    }


def _sides_of_tool(tool: Recognised, names: Collection[str], rows: Rows) -> Recognised:
    """The answers of an annotation tool's export, whose names its user chose."""
    if "rankings" in tool.form:
        return _ranked_by_tool(tool, names, rows)
    inside = "data" if "data" in names else ""
    fields = list(rows[0]["data"]) if inside and isinstance(rows[0].get("data"), dict) else list(names)
    texts = [name for name in fields if _text_share(name, rows, inside) > MOST]
    pair = two_alike(texts)
    if pair is None:
        there = ", ".join(map(repr, texts))
        return Recognised(
            tool.title,
            problem=f"this looks like {tool.title}, and no two texts are called alike; its texts are {there}",
            fix="write the form: form: {kind: comparison, first: …, second: …}; docs/public_data.md shows it",
        )
    rest = [name for name in texts if name not in pair]
    asked = next((name for name in rest if words_of(name) & LIKELY_PROMPT), rest[0] if len(rest) == 1 else None)
    prefix = f"{inside}." if inside else ""
    columns = tool.columns if asked is None else {**tool.columns, "prompt": f"{prefix}{asked}"}
    first, second = (f"{prefix}{name}" for name in pair)
    form = _tool_verdict(tool.form, names, rows, pair)
    return replace(tool, form={**form, "first": first, "second": second}, columns=columns)


def _tool_verdict(form: dict[str, Any], names: Collection[str], rows: Rows, sides: tuple[str, str]) -> dict[str, Any]:
    """The columns whose names the user of a tool chose, in place of "*"."""
    if "verdict" in form and form["verdict"]["column"] == "*":
        return {**form, "verdict": {**form["verdict"], "column": pairwise_column(rows)}}
    if "votes" in form and form["votes"]["column"] == "*.responses":
        column = next(name for name in names if name.endswith(".responses"))
        values = {"first": [sides[0]], "second": [sides[1]], "tie": ["tie", "both", "neither"]}
        votes: dict[str, Any] = {"column": column, "values": values}
        if f"{column}.status" in names:
            votes |= {"status": f"{column}.status", "counted": ["submitted"]}
        return {**form, "votes": votes}
    return form


def _ranked_by_tool(tool: Recognised, names: Collection[str], rows: Rows) -> Recognised:
    """The answers that an export's rankings name: two are compared, more are a list."""
    said = dict(tool.form["rankings"])
    if said["column"] == "*.responses":
        said["column"] = flat_rankings(rows)
        if f"{said['column']}.status" in names:
            said |= {"status": f"{said['column']}.status", "counted": ["submitted"]}
    ballots = Ballots.of(Rankings.model_validate(said), list(names))
    ranked = {name for row in rows for name in ballots.names(row)}
    answers = [name for name in names if name in ranked]
    there = ", ".join(sorted(ranked))
    if len(answers) < max(2, len(ranked)):
        return Recognised(
            tool.title,
            problem=f"this looks like {tool.title}, and its rankings name {there}, which are not all columns of the "
            "file",
            fix="rename the columns of the answers as the rankings call them",
        )
    if same := one_order([ballots.values(row) for row in rows]):
        return Recognised(tool.title, problem=f"this looks like {tool.title}, and {same}", fix=ONE_ORDER_FIX)
    texts = [name for name in names if name not in answers and _text_share(name, rows, "") > MOST]
    asked = next((name for name in texts if words_of(name) & LIKELY_PROMPT), texts[0] if len(texts) == 1 else None)
    columns = tool.columns if asked is None else {**tool.columns, "prompt": asked}
    if len(answers) == 2:
        whole = {"kind": "comparison", "first": answers[0], "second": answers[1], "rankings": said}
    else:
        whole = {"kind": "list", "answers": answers, "rankings": said, "better": "lower"}
    return replace(tool, form=whole, columns=columns)


def _text_share(name: str, rows: Rows, inside: str) -> float:
    values = [(row.get(inside) or {}).get(name) if inside else row.get(name) for row in rows]
    return sum(isinstance(value, str) and bool(value.strip()) for value in values) / len(rows)


def _unknown(names: Collection[str], rows: Rows) -> Recognised:
    there = ", ".join(repr(name) for name in names)
    voted = voted_turns(names, rows)
    if voted is not None:
        return Recognised(
            problem=f"column {voted[0]!r} is a conversation whose turns carry {voted[1]!r} of their own, and no form "
            "makes pairs of them",
            fix="write a row for each turn that was voted on: the turns before it as prompt, its answers as a list "
            "with their votes",
        )
    lists = _several_answers(names, rows)
    for name in names:
        values = [row.get(name) for row in rows]
        if words_of(name) & VERDICT and is_choice(values) and lists is None:
            shown = ", ".join(sorted({str(value) for value in values})[:5])
            return Recognised(
                problem=f"column {name!r} says which of two answers won ({shown}), but not which columns hold them; "
                f"there are {there}",
                fix=f"write the form: form: {{kind: comparison, first: NAME, second: NAME, verdict: {{column: {name}, "
                "values: {first: [VALUE], second: [VALUE], tie: []}}}; docs/public_data.md shows it",
            )
    return _two_answers(names, rows, there) or _several_answers(names, rows) or _neither(names, there)


_READ_WAYS = (
    "with verdict, strength, scores, one_hot, named, votes, rankings or probability (see docs/public_data.md); a score "
    "whose middle is not 0 has no form: write who won into a column first"
)
_RANKING = "with a ranking beside it (B>A>C, or a list of names, the best first): ranking: COLUMN, better: lower"


def _two_answers(names: Collection[str], rows: Rows, there: str) -> Recognised | None:
    """Two columns that look like answers, and others of which one may say which is better: the form to complete."""
    pairs = (pair for pair in answer_pairs(names, rows) if not words_of(pair[0]) & {"model", "id", "name", "source"})
    pair = next(pairs, None)
    if pair is None:
        return None
    first, second = pair
    sides = f"form: {{kind: comparison, first: {first}, second: {second}, "
    alike = f"columns {first!r} and {second!r} look like two answers, and "
    for name in names:
        values = [row.get(name) for row in rows if row.get(name) is not None]
        said = sorted({str(value).strip() for value in values})
        if name in pair or not _few(values, said):
            continue
        way = (
            f"verdict: {{column: {name}, values: {{first: [VALUE, …], second: [VALUE, …], tie: [VALUE, …]}}}}}}, with "
        )
        way += "each of its values in one of the three lists"
        if any((number_of(value) or 0) < 0 for value in values):
            way = f"strength: {{column: {name}, first_is: negative}}}}; or positive: the sign that means {first!r}"
        return Recognised(
            "two answers and a verdict",
            problem=f"{alike}{name!r} ({', '.join(said[:7])}) may say which is better, but not which value means which",
            fix=f"write it: {sides}{way}",
        )
    problem = f"{alike}no column seems to say which is better; there are {there}"
    return Recognised("two answers", problem=problem, fix=f"write the form: {sides}…}} {_READ_WAYS}")


def _few(values: Sequence[Any], said: Sequence[str]) -> bool:
    """Whether these may be labels: few, short, and repeated."""
    plain = all(isinstance(value, str | int | float) for value in values)
    whole = all((number := number_of(text)) is None or number == int(number) for text in said)
    return (
        plain and whole and 2 <= len(said) <= 11 and len(said) < len(values) and all(len(text) <= 60 for text in said)
    )


def _several_answers(names: Collection[str], rows: Rows) -> Recognised | None:
    """A column of several answers, by name or by place, of which no number that is read says which is better."""
    for name in names:
        values = [parsed(row.get(name)) for row in rows]
        if all(isinstance(value, dict) and len(value) >= 2 for value in values):
            found = _by_name(name, values)
            if found is not None:
                return found
        if all(isinstance(value, list) and len(value) >= 2 for value in values):
            listed = f"{{kind: list, answers: {name}, text: NAME, score: NAME, better: higher}}"
            two = f"{{kind: comparison, first: '{name}[0]', second: '{name}[1]', verdict: …}}"
            return Recognised(
                "several answers",
                problem=f"column {name!r} holds several answers, and not all of them have a number",
                fix=f"with a score or a rank in each: form: {listed}, or scores: COLUMN in place of score for a list "
                f"beside it (rows that lack one are rejected); for two and a verdict: form: {two}; {_RANKING}",
            )
    return None


def _by_name(name: str, values: Sequence[Any]) -> Recognised | None:
    """Answers in an object, under the names of who gave them."""
    keys = [key for key in values[0] if all(isinstance(value.get(key), str | dict) for value in values)]
    if len(keys) < 2:
        return None
    sample = values[0][keys[0]]
    inner = next((f".{one}" for one in LIST_TEXTS if isinstance(sample, dict) and one in sample), "")
    first, second = (f"{name}.{key}{inner}" for key in keys[:2])
    verdict = f"verdict: {{column: NAME, values: {{first: [{keys[0]}], second: [{keys[1]}], tie: []}}}}"
    scores = f"; or scores: {{first: {name}.{keys[0]}.SCORE, second: {name}.{keys[1]}.SCORE}}" if inner else ""
    return Recognised(
        "answers by name",
        problem=f"column {name!r} holds answers by name ({', '.join(map(str, keys[:4]))}), and not which is better",
        fix=f"write it with paths: form: {{kind: comparison, first: {first}, second: {second}, {verdict}}}{scores}",
    )


def _neither(names: Collection[str], there: str) -> Recognised:
    columns, missing = guess_columns(names)
    sides = " and the ".join(missing)
    return Recognised(
        columns=columns,
        problem=f"no single column seems to hold the {sides} response; there are {there}",
        fix=f"say which it is: rewardsmith init --columns {missing[0] if missing else 'chosen'}=NAME; or, if the row "
        "says in another way which answer is better, write form: {kind: comparison, …} (see docs/public_data.md)",
    )
