"""The ways in which people write preferences of their own accord: each looks at a file's first rows and says its form.

    next((found for way in WAYS if (found := way(names, rows)) is not None), None)      # Recognised, or None

Used by recognise.py, which knows the published schemas and says what is missing where no way fits. A verdict whose
values do not say which answer they mean ends the search: `problem` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.data.columns import known, parsed, score_pair
from rewardsmith.data.forms.doubts import MOST
from rewardsmith.data.forms.form import number_of
from rewardsmith.data.forms.transcripts import style_of
from rewardsmith.data.forms.wordings import (
    LIKELY_PROMPT,
    LIST_TEXTS,
    PROMPT,
    SCORES,
    TIES,
    VERDICT,
    Rows,
    answer_pairs,
    answers_alike,
    called,
    columns_of_answers,
    ends_of,
    guess_columns,
    is_choice,
    pairs_alike,
    pieces_of,
    ranked,
    scores_beside,
    strengths,
    two_alike,
    words_of,
)
from rewardsmith.spec.forms import same

_SAID = ("assistant", "gpt", "bot", "model")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file was taken for; `problem` and `fix` where it cannot be said."""

    title: str = ""
    form: dict[str, Any] = field(default_factory=lambda: {"kind": "pair"})
    columns: dict[str, Any] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    meaning: str = ""
    source: str = ""
    dropped: str = ""
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str = ""
    fix: str = ""


def _named_column(names: Collection[str], rows: Rows) -> Recognised | None:
    """A column that holds the name of another."""
    for name in names:
        values = [row.get(name) for row in rows]
        if not all(isinstance(value, str | int | float | None) for value in values):
            continue
        said = {value for value in values if isinstance(value, str) and value in names}
        others = {value for value in values if value not in said}
        if len(said) in (1, 2) and all(value is None or str(value).lower() in TIES for value in others):
            pair = two_alike([other for other in names if other != name]) if len(said) == 1 else None
            sides = tuple(sorted(said)) if len(said) == 2 else pair
            if sides is None or not said <= set(sides):
                continue
            ties = sorted({value for value in others if isinstance(value, str)})
            named = {"column": name, **({"tie": ties} if ties else {})}
            form = {"kind": "comparison", "first": sides[0], "second": sides[1], "named": named}
            return _compared(f"two answers, and {name!r} names the better one", form, names, rows, {name, *sides})
    return None


def _pairs(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two columns called after the better and the worse answer."""
    columns, missing = guess_columns(names)
    if missing:
        return None
    sides = [columns.get(ours) or str(known(ours, names)) for ours in ("chosen", "rejected")]
    if any(is_choice([row.get(side) for row in rows]) for side in sides):
        return None
    form: dict[str, Any] = {"kind": "pair"}
    texts = [row.get(sides[0]) for row in rows]
    style = _common_style(texts) or _common_style([_first(row, names, columns) for row in rows])
    if style:
        form = {"kind": "transcript", **({} if style == "human_assistant" else {"transcript": style})}
    elif _lists_of_texts(texts):
        form["by_turn"] = True
    elif _repeat_prompt(rows, names, columns, sides):
        form["repeated"] = True
    if form["kind"] == "pair":
        if score_pair(names):
            form["equal_scores"] = "tie"
        ties = _tie_columns(names, rows, {*sides, *columns.values()})
        if ties:
            form["ties"] = ties
    columns |= _asked(names, columns, sides, texts)
    context = context_of(names, rows, columns)
    ignore = () if form["kind"] != "pair" else _settled(names, rows, form)
    return Recognised("a better and a worse answer", form, {**columns, **context}, ignore)


def _asked(
    names: Collection[str], columns: Mapping[str, Any], sides: Sequence[str], answers: Sequence[Any]
) -> dict[str, str]:
    """The prompt's column, where the answers do not hold it and one column alone can."""
    if {"instruction", "input"} <= set(names) and "prompt" not in names:
        return {"prompt": "instruction", "input": "input"}
    if columns.get("prompt") is not None or known("prompt", names) is not None or not _alone(answers):
        return {}
    left = [name for name in names if name not in sides and words_of(name) & LIKELY_PROMPT]
    return {"prompt": left[0]} if len(left) == 1 else {}


def _alone(values: Sequence[Any]) -> bool:
    """Whether answers do not hold their prompt."""
    read = [parsed(value) for value in values]
    return all(
        isinstance(value, str | dict)
        or (_is_list(value) and str(value[0].get("role", value[0].get("from"))).lower() in _SAID)
        for value in read
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _settled(names: Collection[str], rows: Rows, form: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of equal ratings, where another column states the ties already."""
    if not form.get("ties"):
        return ()
    return tuple(
        name for name in names if words_of(name) & SCORES and all(isinstance(row.get(name), list) for row in rows)
    )


def _first(row: Mapping[str, Any], names: Collection[str], columns: Mapping[str, Any]) -> Any:
    name = columns.get("prompt") or known("prompt", names)
    return row.get(name) if name else None


def _common_style(values: Sequence[Any]) -> str:
    styles = [style_of(value) if isinstance(value, str) else "" for value in values]
    most = max(set(styles), key=styles.count, default="")
    return most if most and styles.count(most) > MOST * len(values) else ""


def _lists_of_texts(values: Sequence[Any]) -> bool:
    read = [parsed(value) for value in values]
    return bool(read) and all(isinstance(v, list) and v and all(isinstance(one, str) for one in v) for v in read)


def _repeat_prompt(rows: Rows, names: Collection[str], columns: Mapping[str, Any], sides: Sequence[str]) -> bool:
    count = 0
    for row in rows:
        asked = _first(row, names, columns)
        answers = [row.get(side) for side in sides]
        if isinstance(asked, str) and asked.strip() and all(isinstance(answer, str) for answer in answers):
            count += all(str(answer).lstrip().startswith(asked.strip()) for answer in answers)
    return count > MOST * len(rows)


def _tie_columns(names: Collection[str], rows: Rows, taken: Collection[str]) -> dict[str, list[str]]:
    """Columns with few values of which one says tie."""
    found = {}
    for name in names:
        said = {value for row in rows if isinstance(value := row.get(name), str)}
        ties = sorted(value for value in said if value.lower().startswith("tie"))
        if name not in taken and ties and len(said) <= 6:
            found[name] = ties
    return found


def _one_hot(names: Collection[str], rows: Rows) -> Recognised | None:
    """A column for each outcome, called after the answers."""
    for first, second in pairs_alike(names):
        values = [same(row.get(name)) for row in rows for name in (first, second)]
        if not set(values) <= {"0", "1", "true", "false"} or not words_of(first) & {*VERDICT, "win", "wins"}:
            continue
        sides = answers_alike(names, rows, {first, second}, ends_of(first, second))
        if sides is None:
            continue
        stem = first
        tie = next((name for name in names if "tie" in words_of(name) and _alike(name, stem)), None)
        hot = {"first": first, "second": second, **({"tie": tie} if tie else {})}
        form = {"kind": "comparison", "first": sides[0], "second": sides[1], "one_hot": hot}
        return _compared("two answers, and a column for each outcome", form, names, rows, {first, second, tie, *sides})
    return None


def _alike(name: str, stem: str) -> bool:
    return name.split("_")[0] == stem.split("_")[0]


def _with_verdict(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and a column of outcomes that names them by their own ending."""
    for first, second in answer_pairs(names, rows):
        ends = ends_of(first, second) or ("", "")
        for name in names:
            if name in (first, second) or not words_of(name) & VERDICT:
                continue
            values = [row.get(name) for row in rows]
            if not is_choice(values):
                continue
            meaning = _meanings({str(value): value for value in values if value is not None}, ends)
            if meaning is None:
                shown = ", ".join(sorted({str(value) for value in values})[:5])
                return Recognised(
                    "two answers and a verdict",
                    problem=f"columns {first!r} and {second!r} look like two answers, and {name!r} ({shown}) says "
                    "which is better, but not which value means which",
                    fix=f"write it: form: {{kind: comparison, first: {first}, second: {second}, verdict: {{column: "
                    f"{name}, values: {{first: [VALUE], second: [VALUE], tie: []}}}}}}",
                )
            form = {
                "kind": "comparison",
                "first": first,
                "second": second,
                "verdict": {"column": name, "values": meaning},
            }
            title = f"two answers, and {name!r} says which is better"
            return _compared(title, form, names, rows, {first, second, name})
    return None


def _meanings(values: Mapping[str, Any], ends: tuple[str, str]) -> dict[str, list[Any]] | None:
    """What each value means, where each ends as the one answer's column does or says tie; None where one does not."""
    found: dict[str, list[Any]] = {"first": [], "second": [], "tie": []}
    for text, value in ((text.strip(), _stripped(value)) for text, value in values.items()):
        last = next(iter(re.findall(r"[a-z0-9]+", text.lower())[-1:]), "")
        if text.lower() in TIES or text.lower().startswith("tie") or text.lower() == "[[c]]":  # as MT-Bench's judges
            found["tie"].append(value)
        elif last == ends[0].lower():
            found["first"].append(value)
        elif last == ends[1].lower():
            found["second"].append(value)
        elif text.lower() in ("left", "right"):
            found["first" if text.lower() == "left" else "second"].append(value)
        else:
            return None
    if not found["first"] and not found["second"]:
        return None
    for name, end in (("first", ends[0]), ("second", ends[1])):
        found[name] = found[name] or [end]
    return {
        name: sorted({same(item): item for item in items}.values(), key=str) for name, items in found.items() if items
    }


def _worded(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and a strength in words: `A is much better`."""
    for first, second in answer_pairs(names, rows):
        for name in (one for one in names if one not in (first, second)):
            values = [row.get(name) for row in rows if row.get(name) is not None]
            words = strengths(values, ends_of(first, second) or ("", "")) if len(set(map(str, values))) <= 11 else None
            if words:
                said = {"column": name, "first_is": "positive", "words": words}
                form = {"kind": "comparison", "first": first, "second": second, "strength": said}
                title = f"two answers, and {name!r} says in words which is better"
                return _compared(title, form, names, rows, {first, second, name})
    return None


def _probable(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and the probability of one of them, by the column's own name."""
    for first, second in answer_pairs(names, rows):
        for name in (one for one in names if words_of(one) & {"prob", "probability", "p"}):
            numbers = [number_of(row.get(name)) for row in rows]
            named = [end for end in ends_of(first, second) or () if end in pieces_of(name)]
            if len(named) == 1 and all(number is not None and 0 <= number <= 1 for number in numbers):
                of = "first" if named[0] == (ends_of(first, second) or ("",))[0] else "second"
                said = {"column": name, "of": of}
                form = {"kind": "comparison", "first": first, "second": second, "probability": said}
                title = f"two answers, and {name!r} is the probability of the {of} one"
                return _compared(title, form, names, rows, {first, second, name})
    return None


def _ranked(names: Collection[str], rows: Rows) -> Recognised | None:
    """Several answers in columns of their own with scores, or with a ranking that is written out."""
    answers: Any = columns_of_answers(names, rows)
    order = ranked(names, rows)
    if not answers and order is not None:
        lists = (one for one in names if all(_several(parsed(row.get(one))) for row in rows))
        answers = next(lists, "")
    if not answers:
        return None
    listed = {"kind": "list", "answers": list(answers) if isinstance(answers, tuple) else answers}
    columns = {*(answers if isinstance(answers, tuple) else (answers,))}
    title = "several answers and their ranking"
    if order is not None:
        count = len(answers) if isinstance(answers, tuple) else max(len(parsed(row[answers])) for row in rows)
        by = called(order, rows, count)
        if by is None:
            return None
        ends = [name[-1].lower() for name in answers] if isinstance(answers, tuple) else []
        more = {"called": list(by)} if by and ends != [str(one) for one in by] else {}
        if not by and ends and ends[0].isdigit():  # A is the first column: the file does not say so
            return None
        form = {**listed, "ranking": order, "better": "lower", **more}
        return _compared(title, form, names, rows, {order, *columns})
    scores = scores_beside(names, rows, answers)
    if not scores or not words_of(scores[0]) & SCORES:
        return None
    form = {**listed, "scores": list(scores), "better": _direction(scores[0])}
    return _compared("several answers with numbers", form, names, rows, {*scores, *columns})


def _several(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(item, str) for item in value)


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _with_scores(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and a score of each."""
    for first, second in pairs_alike(names):
        if not words_of(first) & SCORES:
            continue
        if any(number_of(row.get(name)) is None for row in rows for name in (first, second)):
            continue
        sides = answers_alike(names, rows, {first, second}, ends_of(first, second))
        if sides is None:
            continue
        lower = "rank" in words_of(first) or "ranks" in words_of(first)
        scores = {"first": first, "second": second, "better": "lower" if lower else "higher"}
        form = {"kind": "comparison", "first": sides[0], "second": sides[1], "scores": scores}
        return _compared("two answers and a score of each", form, names, rows, {first, second, *sides})
    return None


def _listed(names: Collection[str], rows: Rows) -> Recognised | None:
    """Several answers in a row, with numbers in them or in a list beside them."""
    for name in names:
        lists = [parsed(row.get(name)) for row in rows]
        if not all(isinstance(items, list) and len(items) >= 2 for items in lists):
            continue
        found = _scored_items(lists) if all(isinstance(item, dict) for items in lists for item in items) else None
        if found is not None:
            text, score = found
            form = {"kind": "list", "answers": name, "text": text, "score": score, "better": _direction(score)}
            return _compared("several answers with numbers", form, names, rows, {name})
        if all(isinstance(item, str) for items in lists for item in items):
            scores = _parallel(names, rows, lists, name)
            if scores is not None:
                form = {"kind": "list", "answers": name, "scores": scores, "better": _direction(scores)}
                return _compared("several answers with numbers", form, names, rows, {name, scores})
    return None


def _scored_items(lists: Sequence[Any]) -> tuple[str, str] | None:
    items = [item for items in lists for item in items]
    keys = [key for key in items[0] if all(key in item for item in items)]
    texts = [key for key in LIST_TEXTS if key in keys and all(isinstance(item[key], str) for item in items)]
    scores = [key for key in keys if words_of(key) & SCORES and all(number_of(item[key]) is not None for item in items)]
    return (texts[0], scores[0]) if texts and len(scores) == 1 else None


def _parallel(names: Collection[str], rows: Rows, lists: Sequence[Any], answers: str) -> str | None:
    for name in names:
        values = [parsed(row.get(name)) for row in rows]
        if (
            name != answers
            and words_of(name) & SCORES
            and all(
                isinstance(value, list) and len(value) == len(items) and all(number_of(n) is not None for n in value)
                for value, items in zip(values, lists, strict=True)
            )
        ):
            return name
    return None


def _direction(name: str) -> str:
    return "lower" if words_of(name) & {"rank", "ranks", "ranking"} else "higher"


def _grouped(names: Collection[str], rows: Rows) -> Recognised | None:
    """One answer a row with a number, and prompts that come again."""
    prompt = known("prompt", names) or next((name for name in names if words_of(name) & PROMPT), None)
    answer = next((name for name in names if words_of(name) & set(LIST_TEXTS) and name != prompt), None)
    numbers = [
        name for name in names if words_of(name) & SCORES and all(number_of(row.get(name)) is not None for row in rows)
    ]
    if prompt is None or answer is None or len(numbers) != 1:
        return None
    asked = [repr(row.get(prompt)) for row in rows]
    # Prompts that hardly ever come again leave nothing to compare an answer with.
    if len(set(asked)) > 0.8 * len(asked):
        return None
    form = {"kind": "grouped", "answer": answer, "score": numbers[0], "better": _direction(numbers[0])}
    return _compared("one answer a row with a number", form, names, rows, {answer, numbers[0]})


def _compared(
    title: str, form: dict[str, Any], names: Collection[str], rows: Rows, taken: Iterable[str | None]
) -> Recognised:
    """With the prompt and its context, of the columns that are left."""
    left = [name for name in names if name not in set(taken)]
    columns: dict[str, Any] = {}
    if "instruction" in left and "prompt" not in left:
        columns = {"prompt": "instruction", **({"input": "input"} if "input" in left else {})}
    elif known("prompt", left) is None:
        likely = [name for name in left if words_of(name) & LIKELY_PROMPT and _holds_text(name, rows)]
        best = [name for name in likely if words_of(name) & PROMPT] or likely
        if best:
            columns["prompt"] = best[0]
    asked = columns.get("prompt") or known("prompt", left)
    style = _common_style([row.get(asked) for row in rows]) if asked else ""
    if style:
        form = {**form, "transcript": style}
    sides = [row.get(str(form.get("first", ""))) for row in rows]
    if asked and _lists_of_texts([row.get(asked) for row in rows]) and _lists_of_texts(sides):
        form = {**form, "by_turn": True}
    return Recognised(title, form, {**columns, **context_of(left, rows, columns)})


def _holds_text(name: str, rows: Rows) -> bool:
    return sum(isinstance(row.get(name), str | list) for row in rows) > MOST * len(rows)


def context_of(names: Collection[str], rows: Rows, columns: Mapping[str, Any]) -> dict[str, str]:
    """What belongs to the prompt beside it, by the names that say so."""
    taken = {value for value in columns.values() if value}
    found: dict[str, str] = {}
    for ours, theirs in (
        ("system", ("system", "system_prompt", "system_message")),
        ("history", ("history", "chat_history", "conversation_history", "previous_turns")),
        ("context", ("context", "passage", "document", "background")),
    ):
        name = next((name for name in theirs if name in names and name not in taken), None)
        if name is not None and ours not in columns and any(row.get(name) not in (None, "", [], {}) for row in rows):
            found[ours] = name
    return found


WAYS: tuple[Callable[[Collection[str], Rows], Recognised | None], ...] = (
    _named_column,
    _pairs,
    _ranked,
    _one_hot,
    _with_verdict,
    _worded,
    _probable,
    _with_scores,
    _listed,
    _grouped,
)
"""In this order: the first that fits is taken."""
