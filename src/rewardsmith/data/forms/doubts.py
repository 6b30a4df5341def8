"""What a file says against its form: reasons not to read it so, found in its first rows.

    refuse_doubtful(rows, names, source, read, basis)     # DataError: what the file looks like, and which form fits

A form says which answer is better; a column that says it too, and that nothing reads, may say something else. So do
texts that hold whole conversations, or the name of a column where an answer should be. Each doubt is settled in the
spec: by the form that fits, or by naming the column under `ignore`. That is why nobody is asked twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rewardsmith.data.columns import column_of, parsed
from rewardsmith.data.forms.comparison import Ballots, is_order
from rewardsmith.data.forms.form import Basis, number_of
from rewardsmith.data.forms.transcripts import style_of
from rewardsmith.data.forms.wordings import words_of
from rewardsmith.errors import DataError
from rewardsmith.spec import SourceSpec
from rewardsmith.spec.forms import Rankings, same

Rows = Sequence[Mapping[str, Any]]

MOST = 0.5
"""Above this share of the rows a doubt is about the file, not about a row."""

_ORDERS = 5
"""Fewest rankings that say something by being alike: five of two answers are so by chance one time in sixteen."""

_CONTEXT = {
    "system", "system_prompt", "system_message", "history", "context", "input", "instruction", "tools", "functions",
    "image", "images", "image_url", "video", "videos", "audio", "audios", "document", "documents", "passage",
    "passages", "background", "article", "conversation_history", "chat_history", "previous_turns", "dialogue_history",
}  # fmt: skip
_PROMPTS = {"question", "query", "user_prompt", "post", "conversation", "conversations", "trajectory"}
_VERDICT_WORDS = {
    "winner", "win", "label", "labels", "preference", "preferred", "prefer", "choice", "verdict", "better", "best",
    "safer", "judgment", "judgement", "vote", "votes", "tie", "status", "selected", "selection", "rank", "ranking",
}  # fmt: skip
_OUTCOMES = {
    "a", "b", "0", "1", "2", "-1", "left", "right", "first", "second", "true", "false", "both", "neither", "equal",
    "model_a", "model_b", "response_a", "response_b", "answer_a", "answer_b", "response_1", "response_2",
    "chosen", "rejected", "none", "bothbad", "both_bad",
}  # fmt: skip
_SCORE_WORDS = {"score", "scores", "rating", "ratings", "reward", "rewards", "rank", "ranks", "upvotes", "votes"}


def looks_like_context(name: str, source: SourceSpec, basis: Basis) -> bool:
    """Whether a column that nothing reads may belong to the prompt, or be it, by its name.

    Plain texts without a prompt are pairs; messages without one are rejected, so that nothing need be guessed of them.
    """
    without = basis.strings == "text" and basis.columns.prompt is None
    return name not in source.ignore and (name.lower() in _CONTEXT or (without and name.lower() in _PROMPTS))


def refuse_doubtful(
    rows: Rows, names: Collection[str], source: SourceSpec, read: Collection[str], basis: Basis
) -> None:
    """Refuse a source whose first rows say something else than its form.

    Raises:
        DataError: what it looks like, and what to write.
    """
    form = source.form
    where = source.title
    if form.kind == "pair":
        _refuse_names(rows, names, basis, where)
        if not form.transcript:
            _refuse_transcripts(rows, basis, where)
        if not form.repeated and not form.by_turn:
            _refuse_repeats(rows, basis, where)
    if form.kind in ("pair", "transcript"):
        if not form.by_turn:
            _refuse_lists(rows, basis, where)
        unread = [name for name in names if name not in read and name not in source.ignore]
        _refuse_verdicts(rows, unread, source, basis, where)
    elif not form.transcript and not form.by_turn:
        _refuse_marked_prompts(rows, basis, where)
    _refuse_one_order(rows, names, source, where)


def one_order(rankings: Sequence[Sequence[Any]]) -> str:
    """Why lists of names can be no rankings, "" where they may be: every one of several rows has the same order.

    Argilla's client exports a ranking without its ranks, and what its page for annotators saves stands in the order of
    the options (argilla-io/argilla, issue 5712).

    Args:
        rankings: of each row.
    """
    given = [ranking for row in rankings for ranking in row if ranking is not None]
    if len(given) < _ORDERS or not all(map(is_order, given)) or any(ranking != given[0] for ranking in given):
        return ""
    said = f"each of its {len(given)} rankings has the same order ({', '.join(given[0])})"
    return f"{said}: that of the options, it seems, without their ranks"


ONE_ORDER_FIX = (
    "export the rank of each answer too (Argilla's API has it: responses[*].values.QUESTION.value has value and rank); "
    "where all rankings are truly alike, say so: ignore the column that form.rankings names"
)


def _refuse_one_order(rows: Rows, names: Collection[str], source: SourceSpec, where: str) -> None:
    """Rankings that are lists of names, all in one order."""
    rankings: Rankings | None = getattr(source.form, "rankings", None)
    if rankings is None or column_of(rankings.column, names) in source.ignore:
        return
    ballots = Ballots.of(rankings, list(names))
    if said := one_order([ballots.values(row) for row in rows]):
        raise DataError(said, where=where, fix=ONE_ORDER_FIX)


def _refuse_verdicts(rows: Rows, unread: Sequence[str], source: SourceSpec, basis: Basis, where: str) -> None:
    """A column that says which of two answers won, and is not read."""
    mapped = _is_mapped(source)
    for name in unread:
        found = _verdicts(rows, name, mapped=mapped)
        if found:
            fix = "say what it means: form: {kind: comparison, first: NAME, second: NAME, verdict: …}"
            if "tie" in found:
                fix = f"say which of its values are ties: form: {{kind: pair, ties: {{{name}: [tie]}}}}; or that the "
                fix += "answers are compared by it: form: {kind: comparison, …}"
            raise DataError(
                f"column {name!r} seems to say which answer is better ({', '.join(found[:4])}), and nothing reads it",
                where=where,
                fix=f"{fix}; or leave it out knowingly: ignore: [{name}]. docs/public_data.md shows each form",
            )
    for first, second in _score_pairs(rows, unread, basis):
        raise DataError(
            f"columns {first!r} and {second!r} seem to score the two answers, and the higher one is not always chosen",
            where=where,
            fix=f"say what they mean: form: {{kind: comparison, first: {basis.columns.chosen}, second: "
            f"{basis.columns.rejected}, scores: {{first: {first}, second: {second}}}}}; "
            f"or leave them out knowingly: ignore: [{first}, {second}]",
        )


def _is_mapped(source: SourceSpec) -> bool:
    """Whether the spec takes columns of other names for the better and the worse answer."""
    return any(str(ours) in ("chosen", "rejected") and theirs != ours for ours, theirs in source.columns.items())


def _verdicts(rows: Rows, name: str, *, mapped: bool) -> list[str]:
    """The outcomes that a column names, [] where it is no verdict."""
    values = [row.get(name) for row in rows]
    known = [parsed(value) for value in values if value not in (None, "")]
    if not known or len(known) <= MOST * len(rows):
        return []
    if all(isinstance(value, list) for value in known):
        return _rated(known, name)
    if not all(isinstance(value, str | int | float) for value in known):
        return []
    said = sorted({same(value) for value in known})
    ties = [text for text in said if text.startswith("tie")]
    named = bool(words_of(name) & _VERDICT_WORDS)
    if ties and len(said) <= 6:
        return ["tie", *(text for text in said if text not in ties)]
    if not named:
        return []
    numbers = [number_of(value) for value in known]
    signed = all(number is not None and number == int(number) and abs(number) <= 5 for number in numbers)
    is_strength = signed and any(number < 0 for number in numbers if number is not None)
    is_outcome = len(said) <= 6 and all(text in _OUTCOMES or text in {n.lower() for n in rows[0]} for text in said)
    if not (is_outcome or is_strength):
        return []
    return said if mapped or len(said) > 1 else []


def _rated(values: Sequence[Any], name: str) -> list[str]:
    """Lists of two numbers, of which some are equal: by them those rows are ties."""
    pairs = [value for value in values if len(value) == 2 and all(number_of(n) is not None for n in value)]
    if len(pairs) < len(values) or not words_of(name) & _SCORE_WORDS:
        return []
    equal = sum(number_of(a) == number_of(b) for a, b in pairs)
    return ["tie", f"equal in {equal} of the first {len(values)} rows"] if equal else []


def _score_pairs(rows: Rows, unread: Sequence[str], basis: Basis) -> list[tuple[str, str]]:
    """Two columns that are called as the answers' columns are, with numbers that do not always agree with the label."""
    first, second = _suffix(basis.columns.chosen), _suffix(basis.columns.rejected)
    if not first or not second or first == second:
        return []
    found = []
    for name in unread:
        if _suffix(name) != first:
            continue
        other = name[: len(name) - len(first)] + second
        if other not in unread:
            continue
        gaps = [
            mine - theirs
            for row in rows
            if (mine := number_of(row.get(name))) is not None and (theirs := number_of(row.get(other))) is not None
        ]
        if words_of(name) & (_SCORE_WORDS | _VERDICT_WORDS) and any(gap < 0 for gap in gaps):
            found.append((name, other))
    return found


def _suffix(name: str) -> str:
    match = re.search(r"(?:_|-|(?<=[a-z]))(a|b|A|B|0|1|2|j|k|left|right|first|second)$", name)
    return match[1] if match else ""


def _refuse_names(rows: Rows, names: Collection[str], basis: Basis, where: str) -> None:
    """`chosen` that holds the name of a column, or a letter."""
    column = basis.columns.chosen
    values = [basis.look("chosen", row) for row in rows]
    texts = [value.strip() for value in values if isinstance(value, str)]
    if len(texts) < len(rows) or not texts:
        return
    if all(text in names for text in texts):
        fix = f"form: {{kind: comparison, first: NAME, second: NAME, named: {{column: {column}}}}}"
    elif len(texts) > 1 and all(text.lower() in _OUTCOMES for text in texts) and not _short(rows, basis):
        fix = f"form: {{kind: comparison, first: NAME, second: NAME, verdict: {{column: {column}, values: …}}}}"
    else:
        return
    raise DataError(
        f"column {column!r} names the better answer ({', '.join(sorted(set(texts))[:4])}) and does not hold it",
        where=where,
        fix=f"say so: {fix}; `rewardsmith init --data FILE` writes what fits",
    )


def _short(rows: Rows, basis: Basis) -> bool:
    """Whether the rejected answers are outcomes as well: then these are answers to choose from, `A` and `B`."""
    values = [basis.look("rejected", row) for row in rows]
    return all(isinstance(value, str) and len(value.strip()) <= 20 for value in values)


def _share(rows: Rows, has: Sequence[bool]) -> float:
    return sum(has) / len(rows) if rows else 0.0


def _refuse_transcripts(rows: Rows, basis: Basis, where: str) -> None:
    """Texts that begin with a turn marker: whole conversations, which would become one turn."""
    if basis.strings == "text":
        return
    for ours in ("prompt", "chosen"):
        styles = [_style(basis.look(ours, row)) for row in rows]
        if _share(rows, [bool(style) for style in styles]) > MOST:
            style = next(style for style in styles if style)
            raise _transcripts(ours, getattr(basis.columns, ours), style, where)


def _refuse_marked_prompts(rows: Rows, basis: Basis, where: str) -> None:
    """The same of the prompts of another form."""
    styles = [_style(basis.look("prompt", row)) for row in rows]
    if _share(rows, [bool(style) for style in styles]) > MOST:
        style = next(style for style in styles if style)
        raise DataError(
            f"column {basis.columns.prompt!r} holds whole conversations ({style}); as it is, each would be one turn",
            where=where,
            fix=f"say so in the form: transcript: {style}",
        )


def _style(value: Any) -> str:
    return style_of(value) if isinstance(value, str) else ""


def _transcripts(ours: str, column: str, style: str, where: str) -> DataError:
    other = "" if style == "human_assistant" else f"{{kind: transcript, transcript: {style}}}"
    return DataError(
        f"column {column!r} ({ours}) holds whole conversations ({style}); as it is, each would be one turn",
        where=where,
        fix=f"say so: form: {other or 'transcript'}; or, for texts that no template should touch, strings: text",
    )


def _refuse_repeats(rows: Rows, basis: Basis, where: str) -> None:
    """Answers that repeat the prompt: the question would stand there twice."""
    has = []
    for row in rows:
        prompt, *sides = (basis.look(ours, row) for ours in ("prompt", "chosen", "rejected"))
        text = prompt.strip() if isinstance(prompt, str) else ""
        has.append(bool(text) and all(isinstance(side, str) and side.lstrip().startswith(text) for side in sides))
    if _share(rows, has) > MOST:
        raise DataError(
            "both answers begin with the prompt; as it is, the question would stand there twice",
            where=where,
            fix="say so: form: {kind: pair, repeated: true} takes it off",
        )


def _refuse_lists(rows: Rows, basis: Basis, where: str) -> None:
    """Lists of texts, or their JSON, where texts should be."""
    has = []
    for row in rows:
        values = [parsed(basis.look(ours, row)) for ours in ("chosen", "rejected")]
        has.append(
            all(isinstance(value, list) and value and all(isinstance(one, str) for one in value) for value in values)
        )
    if _share(rows, has) > MOST:
        raise DataError(
            "the answers are lists of texts",
            where=where,
            fix="if these are the turns of a conversation: form: {kind: pair, by_turn: true}; otherwise name one text, "
            "for example columns: {chosen: 'chosen[0]'}",
        )
