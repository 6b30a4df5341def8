"""Which form a file seems to be in, for someone who has not written a spec yet.

    found = recognise(names, rows)
    found.form, found.columns, found.ignore      # what the spec must say
    found.title, found.meaning, found.source     # what it was taken for, and from where its label's meaning is known
    found.problem                                # why it cannot be said: what the file looks like, and what would fit

Published schemas first (published.py); then what people write themselves. Where the file itself does not say which
answer a verdict means (`labels: 0` beside answers A and B), nothing is guessed: `problem` says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from rewardsmith.data.columns import BESIDE_THE_TEXTS, known, parsed, score_pair
from rewardsmith.data.forms.doubts import MOST
from rewardsmith.data.forms.form import number_of
from rewardsmith.data.forms.published import find_published, pairwise_column
from rewardsmith.data.forms.transcripts import style_of
from rewardsmith.data.forms.wordings import (
    called,
    columns_of_answers,
    ranked,
    scores_beside,
    strengths,
    voted_turns,
)
from rewardsmith.spec.forms import same

Rows = Sequence[Mapping[str, Any]]

_CHOSEN = {"chosen", "better", "best", "preferred", "winner", "win", "good", "positive", "accepted", "selected"}
_REJECTED = {"rejected", "worse", "worst", "dispreferred", "loser", "lose", "bad", "negative", "refused"}
_PROMPT = {"prompt", "question", "instruction", "query", "request", "task", "problem", "user"}
_LIKELY_PROMPT = {
    *_PROMPT, "input", "conversation", "conversations", "context", "messages", "post", "history", "trajectory",
    "dialog", "dialogue", "turns",
}  # fmt: skip
_SUFFIXES = (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"), ("left", "right"), ("first", "second"), ("one", "two"))
_VERDICT = {
    "winner", "label", "labels", "preference", "preferred", "choice", "chosen", "verdict", "better", "best", "vote",
    "selected", "judgment", "judgement", "answer", "result", "human", "choose",
}  # fmt: skip
_TIES = ("tie", "both", "neither", "equal", "same", "draw", "bothbad", "both_bad", "tie (bothbad)", "none")
_SCORES = {"score", "scores", "rating", "ratings", "reward", "rewards", "rank", "ranks", "overall_score", "quality"}
_LIST_TEXTS = ("text", "response", "answer", "completion", "content", "output", "message")


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


def recognise(names: Collection[str], rows: Rows) -> Recognised:
    """What a file's first rows look like."""
    published = find_published(names, rows)
    if published is not None:
        form = _completed(dict(published.form), names, rows)
        columns = {**_context(names, rows, published.columns_for(names)), **published.columns_for(names)}
        if form.get("kind") == "comparison" and "first" not in form:
            return _sides_of_tool(published.name, form, columns, published.meaning, published.source, names, rows)
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
    ways = (
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
    return next((found for way in ways if (found := way(names, rows)) is not None), _unknown(names, rows))


def _completed(form: dict[str, Any], names: Collection[str], rows: Rows) -> dict[str, Any]:
    """A published form without the columns that this version of the data set lacks."""
    return {
        name: value
        for name, value in form.items()
        if name not in ("first_model", "second_model") or str(value).partition("[")[0] in names
    }


def _sides_of_tool(
    title: str,
    form: dict[str, Any],
    columns: dict[str, Any],
    meaning: str,
    source: str,
    names: Collection[str],
    rows: Rows,
) -> Recognised:
    """The answers of an annotation tool's export, whose names its user chose."""
    inside = "data" if "data" in names else ""
    fields = list(rows[0]["data"]) if inside and isinstance(rows[0].get("data"), dict) else list(names)
    texts = [name for name in fields if _text_share(name, rows, inside) > MOST]
    pair = _two_alike(texts)
    if pair is None:
        there = ", ".join(map(repr, texts))
        return Recognised(
            title,
            problem=f"this looks like {title}, and no two texts are called alike; its texts are {there}",
            fix="write the form: form: {kind: comparison, first: …, second: …}; docs/public_data.md shows it",
        )
    rest = [name for name in texts if name not in pair]
    asked = next((name for name in rest if _words(name) & _LIKELY_PROMPT), rest[0] if len(rest) == 1 else None)
    prefix = f"{inside}." if inside else ""
    if asked is not None:
        columns = {**columns, "prompt": f"{prefix}{asked}"}
    first, second = (f"{prefix}{name}" for name in pair)
    form = _tool_verdict(form, names, rows, pair)
    return Recognised(title, {**form, "first": first, "second": second}, columns, (), meaning, source)


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


def _text_share(name: str, rows: Rows, inside: str) -> float:
    values = [(row.get(inside) or {}).get(name) if inside else row.get(name) for row in rows]
    return sum(isinstance(value, str) and bool(value.strip()) for value in values) / len(rows)


def _named_column(names: Collection[str], rows: Rows) -> Recognised | None:
    """A column that holds the name of another."""
    for name in names:
        values = [row.get(name) for row in rows]
        if not all(isinstance(value, str | int | float | None) for value in values):
            continue
        said = {value for value in values if isinstance(value, str) and value in names}
        others = {value for value in values if value not in said}
        if len(said) in (1, 2) and all(value is None or str(value).lower() in _TIES for value in others):
            pair = _two_alike([other for other in names if other != name]) if len(said) == 1 else None
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
    if any(_is_choice([row.get(side) for row in rows]) for side in sides):
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
    context = _context(names, rows, columns)
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
    left = [name for name in names if name not in sides and _words(name) & _LIKELY_PROMPT]
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


_SAID = ("assistant", "gpt", "bot", "model")


def _settled(names: Collection[str], rows: Rows, form: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of equal ratings, where another column states the ties already."""
    if not form.get("ties"):
        return ()
    return tuple(
        name for name in names if _words(name) & _SCORES and all(isinstance(row.get(name), list) for row in rows)
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
    for first, second in _pairs_alike(names):
        values = [same(row.get(name)) for row in rows for name in (first, second)]
        if not set(values) <= {"0", "1", "true", "false"} or not _words(first) & {*_VERDICT, "win", "wins"}:
            continue
        sides = _answers(names, rows, {first, second}, _ends(first, second))
        if sides is None:
            continue
        stem = first
        tie = next((name for name in names if "tie" in _words(name) and _alike(name, stem)), None)
        hot = {"first": first, "second": second, **({"tie": tie} if tie else {})}
        form = {"kind": "comparison", "first": sides[0], "second": sides[1], "one_hot": hot}
        return _compared("two answers, and a column for each outcome", form, names, rows, {first, second, tie, *sides})
    return None


def _alike(name: str, stem: str) -> bool:
    return name.split("_")[0] == stem.split("_")[0]


def _with_verdict(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and a column of outcomes that names them by their own ending."""
    for first, second in _answer_pairs(names, rows):
        ends = _ends(first, second) or ("", "")
        for name in names:
            if name in (first, second) or not _words(name) & _VERDICT:
                continue
            values = [row.get(name) for row in rows]
            if not _is_choice(values):
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
        if text.lower() in _TIES or text.lower().startswith("tie") or text.lower() == "[[c]]":  # as MT-Bench's judges
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
    for first, second in _answer_pairs(names, rows):
        for name in (one for one in names if one not in (first, second)):
            values = [row.get(name) for row in rows if row.get(name) is not None]
            words = strengths(values, _ends(first, second) or ("", "")) if len(set(map(str, values))) <= 11 else None
            if words:
                said = {"column": name, "first_is": "positive", "words": words}
                form = {"kind": "comparison", "first": first, "second": second, "strength": said}
                title = f"two answers, and {name!r} says in words which is better"
                return _compared(title, form, names, rows, {first, second, name})
    return None


def _probable(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and the probability of one of them, by the column's own name."""
    for first, second in _answer_pairs(names, rows):
        for name in (one for one in names if _words(one) & {"prob", "probability", "p"}):
            numbers = [number_of(row.get(name)) for row in rows]
            named = [end for end in _ends(first, second) or () if end in _pieces(name)]
            if len(named) == 1 and all(number is not None and 0 <= number <= 1 for number in numbers):
                of = "first" if named[0] == (_ends(first, second) or ("",))[0] else "second"
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
    if not scores or not _words(scores[0]) & _SCORES:
        return None
    form = {**listed, "scores": list(scores), "better": _direction(scores[0])}
    return _compared("several answers with numbers", form, names, rows, {*scores, *columns})


def _several(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(item, str) for item in value)


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _with_scores(names: Collection[str], rows: Rows) -> Recognised | None:
    """Two answers and a score of each."""
    for first, second in _pairs_alike(names):
        if not _words(first) & _SCORES:
            continue
        if any(number_of(row.get(name)) is None for row in rows for name in (first, second)):
            continue
        sides = _answers(names, rows, {first, second}, _ends(first, second))
        if sides is None:
            continue
        lower = "rank" in _words(first) or "ranks" in _words(first)
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
    texts = [key for key in _LIST_TEXTS if key in keys and all(isinstance(item[key], str) for item in items)]
    scores = [key for key in keys if _words(key) & _SCORES and all(number_of(item[key]) is not None for item in items)]
    return (texts[0], scores[0]) if texts and len(scores) == 1 else None


def _parallel(names: Collection[str], rows: Rows, lists: Sequence[Any], answers: str) -> str | None:
    for name in names:
        values = [parsed(row.get(name)) for row in rows]
        if (
            name != answers
            and _words(name) & _SCORES
            and all(
                isinstance(value, list) and len(value) == len(items) and all(number_of(n) is not None for n in value)
                for value, items in zip(values, lists, strict=True)
            )
        ):
            return name
    return None


def _direction(name: str) -> str:
    return "lower" if _words(name) & {"rank", "ranks", "ranking"} else "higher"


def _grouped(names: Collection[str], rows: Rows) -> Recognised | None:
    """One answer a row with a number, and prompts that come again."""
    prompt = known("prompt", names) or next((name for name in names if _words(name) & _PROMPT), None)
    answer = next((name for name in names if _words(name) & set(_LIST_TEXTS) and name != prompt), None)
    numbers = [
        name for name in names if _words(name) & _SCORES and all(number_of(row.get(name)) is not None for row in rows)
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
        likely = [name for name in left if _words(name) & _LIKELY_PROMPT and _holds_text(name, rows)]
        best = [name for name in likely if _words(name) & _PROMPT] or likely
        if best:
            columns["prompt"] = best[0]
    asked = columns.get("prompt") or known("prompt", left)
    style = _common_style([row.get(asked) for row in rows]) if asked else ""
    if style:
        form = {**form, "transcript": style}
    sides = [row.get(str(form.get("first", ""))) for row in rows]
    if asked and _lists_of_texts([row.get(asked) for row in rows]) and _lists_of_texts(sides):
        form = {**form, "by_turn": True}
    return Recognised(title, form, {**columns, **_context(left, rows, columns)})


def _holds_text(name: str, rows: Rows) -> bool:
    return sum(isinstance(row.get(name), str | list) for row in rows) > MOST * len(rows)


def _context(names: Collection[str], rows: Rows, columns: Mapping[str, Any]) -> dict[str, str]:
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
        if _words(name) & _VERDICT and _is_choice(values) and lists is None:
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
    pairs = (pair for pair in _answer_pairs(names, rows) if not _words(pair[0]) & {"model", "id", "name", "source"})
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
    inner = next((f".{one}" for one in _LIST_TEXTS if isinstance(sample, dict) and one in sample), "")
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


def guess_columns(names: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Our names for some columns where theirs are others, and the sides that no single column is called after.

    A prompt is never missing: it may be what both responses begin with.
    """
    found: dict[str, Any] = {}
    missing: list[str] = []
    scores = set(score_pair(names) or ())
    texts = [name for name in names if name not in BESIDE_THE_TEXTS and name not in scores]
    for ours, words in (("chosen", _CHOSEN), ("rejected", _REJECTED), ("prompt", {*_PROMPT, "input", "context"})):
        if known(ours, names) is not None:
            continue
        free = [name for name in texts if name not in found.values() and words & _words(name)]
        if ours == "prompt" and len(free) > 1:
            free = [name for name in free if _PROMPT & _words(name)] or free
        if len(free) == 1:
            found[ours] = free[0]
        elif ours != "prompt":
            missing.append(ours)
    return found, tuple(missing)


def _is_choice(values: Sequence[Any]) -> bool:
    """Few short values: outcomes, not answers."""
    there = [value for value in values if value is not None]
    said = {str(value) for value in there}
    if not there or not all(isinstance(value, str | int | float) for value in there):
        return False
    said = {text.strip() for text in said}
    short = all(len(text) <= 20 for text in said)
    few = len(said) <= 5 and (len(there) > len(said) or len(there) <= 3)
    likely = all(
        text.lower() in _TIES
        or re.fullmatch(r"-?\d(\.0)?|[a-d]|\[\[[a-c]\]\]|left|right|first|second|true|false", text.lower())
        or re.search(r"[_ -](a|b|0|1|2|left|right|first|second)$", text.lower())
        for text in said
    )
    return short and few and likely


def _answer_pairs(names: Collection[str], rows: Rows) -> list[tuple[str, str]]:
    """Two columns called alike that hold texts or messages."""
    return [pair for pair in _pairs_alike(names) if all(_is_answer(name, rows) for name in pair)]


def _is_answer(name: str, rows: Rows) -> bool:
    values = [row.get(name) for row in rows]
    return all(isinstance(value, str | list | None) for value in values) and not _is_choice(values)


def _answers(
    names: Collection[str], rows: Rows, taken: Collection[str], ends: tuple[str, str] | None
) -> tuple[str, str] | None:
    """The two answers whose columns are told apart by the same words."""
    for pair in _answer_pairs([name for name in names if name not in taken], rows):
        if _ends(*pair) == ends:
            models = {"model", "models"}
            if not (_words(pair[0]) & models and not _words(pair[0]) & {"response", "answer", "output"}):
                return pair
    return None


def _pairs_alike(names: Collection[str]) -> list[tuple[str, str]]:
    """Columns that differ in one word only, which tells them apart: `response_a` and `response_b`."""
    found = [
        (one, other)
        for first, second in combinations(names, 2)
        for one, other in ((first, second), (second, first))
        if _ends(one, other) is not None
    ]
    return sorted(found, key=lambda pair: bool(_words(pair[0]) & {"model", "id", "name", "source"}))


def _ends(first: str, second: str) -> tuple[str, str] | None:
    """The words that tell two columns apart, where these are a and b, 1 and 2 …; None where more differs."""
    one, other = _pieces(first), _pieces(second)
    differing = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
    if len(one) != len(other) or len(differing) != 1 or differing[0] not in _SUFFIXES:
        return None
    return differing[0]


def _pieces(name: str) -> list[str]:
    """`conv_A_rating` → conv, A, rating; `text1` → text, 1."""
    return re.findall(r"\d+|[a-z]+|[A-Z](?![a-z])|[A-Z][a-z]+", name)


def _two_alike(names: Collection[str]) -> tuple[str, str] | None:
    pairs = _pairs_alike(names)
    return pairs[0] if pairs else None


def _words(name: str) -> set[str]:
    """The words of a column's name: `betterAnswer`, `better_answer`, `Better answer`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
