"""What people write out in words: strengths ("A is much better"), rankings ("B>A=C"), thumbs, votes within turns.

    strengths(["A is much better", "tie"], ("a", "b"))     # {"A is much better": 3, "tie": 0}; None: unclear
    ranked(names, rows), columns_of_answers(names, rows)   # a form of several answers, or None
    voted_turns(names, rows)                               # the column and key of votes within a conversation

Used by recognise.py. The winner is what the words say; the sizes 1, 2 and 3 (slightly, plainly, much) are ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rewardsmith.data.columns import parsed
from rewardsmith.data.forms.form import number_of

Rows = Sequence[Mapping[str, Any]]

_SIZES = {
    "much": 3, "far": 3, "significantly": 3, "strongly": 3, "clearly": 3, "definitely": 3, "way": 3,
    "moderately": 2, "slightly": 1, "somewhat": 1, "marginally": 1, "a bit": 1, "a little": 1, "barely": 1,
}  # fmt: skip
_HOW = "|".join(_SIZES)
_NOUN = r"(?:(?:the )?(?:response|answer|assistant|model|output|option|completion|text|candidate)[ _-]?)?"
_TIE = re.compile(
    r"(?:a )?(?:tie|draw|same|equal|equally (?:good|bad)|neither|no preference|not sure|unsure"
    r"|(?:they are |both (?:are )?)?(?:about |roughly |nearly )?(?:the same|equal|similar|equally (?:good|bad)))\.?"
)
_RANKING = re.compile(r"\s*\w+(?:\s*(?:>+|=)\s*\w+)+\s*")
_VOTES = {"vote", "votes", "rating", "score", "liked", "feedback", "winner", "preference", "thumb", "thumbs", "label"}


def strengths(values: Iterable[Any], ends: tuple[str, str]) -> dict[str, int] | None:
    """A number of each value, positive for the first answer; None where one says nothing of the kind.

    Args:
        values: of the column.
        ends: what tells the two answers apart: `("a", "b")`.
    """
    found: dict[str, int] = {}
    for value in values:
        number = _strength(value, ends) if isinstance(value, str) else None
        if number is None:
            return None
        found[value.strip()] = number
    both = {number > 0 for number in found.values() if number}
    return found if both == {True, False} else None


def _strength(text: str, ends: tuple[str, str]) -> int | None:
    said = " ".join(text.lower().split())
    if _TIE.fullmatch(said):
        return 0
    one, other = (re.escape(end.lower()) for end in ends)
    marks = re.fullmatch(rf"({one}|{other}) ?(>+|=|<+) ?({one}|{other})", said)
    if marks and marks[1] != marks[3]:
        size = 0 if marks[2] == "=" else len(marks[2]) * (1 if marks[2][0] == ">" else -1)
        return size if marks[1] == ends[0].lower() else -size
    better = rf"{_NOUN}({one}|{other})(?: one| response| answer)?(?: is| was|'s)?(?: ({_HOW}))?"
    match = re.fullmatch(rf"{better} (?:better|preferred|stronger)(?: than {_NOUN}(?:{one}|{other}))?\.?", said)
    if match is None:
        liked = re.fullmatch(rf"(?:i )?(?:({_HOW}) )?prefer(?:red)? {_NOUN}({one}|{other})\.?", said)
        winner, how = (liked[2], liked[1]) if liked else ("", None)
    else:
        winner, how = match[1], match[2]
    if not winner:
        return None
    return _SIZES.get(how or "", 2) * (1 if winner == ends[0].lower() else -1)


def columns_of_answers(names: Collection[str], rows: Rows) -> tuple[str, ...]:
    """Three or more columns of texts that are called alike but for a letter or a number: `answer_a`, `answer_b` …"""
    for group in _alike(names):
        if all(any(isinstance(row.get(name), str | list) for row in rows) for name in group) and not any(
            _RANKING.fullmatch(str(row.get(name))) for row in rows for name in group
        ):
            return tuple(group)
    return ()


def _alike(names: Collection[str]) -> list[list[str]]:
    """Groups of three or more columns, each in the order of their endings."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)[_ -]?([a-hA-H]|[0-9])", name)
        if match and match[1]:
            groups.setdefault(match[1], {})[match[2].lower()] = name
    return [[group[end] for end in sorted(group)] for group in groups.values() if len(group) >= 3]


def scores_beside(names: Collection[str], rows: Rows, answers: Sequence[str]) -> tuple[str, ...]:
    """Columns of numbers with the same endings as those of the answers."""
    ends = [name[-1].lower() for name in answers]
    for group in _alike(names):
        numbers = all(number_of(row.get(name)) is not None for row in rows for name in group if row.get(name) != "")
        if list(group) != list(answers) and [name[-1].lower() for name in group] == ends and numbers:
            return tuple(group)
    return ()


def ranked(names: Collection[str], rows: Rows) -> str | None:
    """The column that writes a ranking out with `>` and `=`."""
    for name in names:
        values = [row.get(name) for row in rows]
        if all(isinstance(value, str) and ">" in value and _RANKING.fullmatch(value) for value in values):
            return name
    return None


def called(column: str, rows: Rows, count: int) -> tuple[Any, ...] | None:
    """What a ranking calls so many answers: () for A, B, C …, their numbers from 0 or from 1; None where unclear."""
    said = {part.strip().lower() for row in rows for part in re.split(r">+|=", str(row.get(column)))}
    if said <= set("abcdefgh"[:count]):
        return ()
    for start in (0, 1):
        if said == {str(number) for number in range(start, start + count)}:
            return tuple(range(start, start + count))
    return None


def voted_turns(names: Collection[str], rows: Rows) -> tuple[str, str] | None:
    """A conversation whose turns carry votes of their own, or several answers: the column and the key."""
    for name in names:
        values = [parsed(row.get(name)) for row in rows]
        turns = [turn for value in values if isinstance(value, list) for turn in value if isinstance(turn, dict)]
        speaking = [turn for turn in turns if {"role", "from", "speaker"} & set(turn)]
        keys = {key for turn in speaking for key, value in turn.items() if value is not None and key.lower() in _VOTES}
        if speaking and keys:
            return name, min(keys)
    return None
