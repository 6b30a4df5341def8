"""What the names of columns and the words in them say: answers called alike, verdicts, strengths, rankings, votes.

    guess_columns(names)                                   # {"prompt": "question", …} and the sides that are missing
    answer_pairs(names, rows), ends_of(first, second)      # columns called alike, and what tells them apart: a and b
    is_choice(values)                                      # few short values: outcomes, not answers
    strengths(["A is much better", "tie"], ("a", "b"))     # {"A is much better": 3, "tie": 0}; None: unclear
    ranked(names, rows), columns_of_answers(names, rows)   # a form of several answers, or None
    voted_turns(names, rows)                               # the column and key of votes within a conversation

Used by ways.py and recognise.py. The winner is what the words say; the sizes 1, 2 and 3 (slightly, plainly, much) are
ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from rewardsmith.data.columns import BESIDE_THE_TEXTS, known, parsed, score_pair
from rewardsmith.data.forms.form import number_of

Rows = Sequence[Mapping[str, Any]]

_CHOSEN = {"chosen", "better", "best", "preferred", "winner", "win", "good", "positive", "accepted", "selected"}
_REJECTED = {"rejected", "worse", "worst", "dispreferred", "loser", "lose", "bad", "negative", "refused"}
# Words in the names of columns: of a prompt, of what may hold one, of an outcome, of a number for each answer.
PROMPT = {"prompt", "question", "instruction", "query", "request", "task", "problem", "user"}
LIKELY_PROMPT = {
    *PROMPT, "input", "conversation", "conversations", "context", "messages", "post", "history", "trajectory",
    "dialog", "dialogue", "turns",
}  # fmt: skip
_SUFFIXES = (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"), ("left", "right"), ("first", "second"), ("one", "two"))
VERDICT = {
    "winner", "label", "labels", "preference", "preferred", "choice", "chosen", "verdict", "better", "best", "vote",
    "selected", "judgment", "judgement", "answer", "result", "human", "choose",
}  # fmt: skip
# Values that say tie, and the names of texts inside an answer that is an object.
TIES = ("tie", "both", "neither", "equal", "same", "draw", "bothbad", "both_bad", "tie (bothbad)", "none")
SCORES = {"score", "scores", "rating", "ratings", "reward", "rewards", "rank", "ranks", "overall_score", "quality"}
LIST_TEXTS = ("text", "response", "answer", "completion", "content", "output", "message")

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


def guess_columns(names: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Our names for some columns where theirs are others, and the sides that no single column is called after.

    A prompt is never missing: it may be what both responses begin with.
    """
    found: dict[str, Any] = {}
    missing: list[str] = []
    scores = set(score_pair(names) or ())
    texts = [name for name in names if name not in BESIDE_THE_TEXTS and name not in scores]
    for ours, words in (("chosen", _CHOSEN), ("rejected", _REJECTED), ("prompt", {*PROMPT, "input", "context"})):
        if known(ours, names) is not None:
            continue
        free = [name for name in texts if name not in found.values() and words & words_of(name)]
        if ours == "prompt" and len(free) > 1:
            free = [name for name in free if PROMPT & words_of(name)] or free
        if len(free) == 1:
            found[ours] = free[0]
        elif ours != "prompt":
            missing.append(ours)
    return found, tuple(missing)


def is_choice(values: Sequence[Any]) -> bool:
    """Few short values: outcomes, not answers."""
    there = [value for value in values if value is not None]
    said = {str(value) for value in there}
    if not there or not all(isinstance(value, str | int | float) for value in there):
        return False
    said = {text.strip() for text in said}
    short = all(len(text) <= 20 for text in said)
    few = len(said) <= 5 and (len(there) > len(said) or len(there) <= 3)
    likely = all(
        text.lower() in TIES
        or re.fullmatch(r"-?\d(\.0)?|[a-d]|\[\[[a-c]\]\]|left|right|first|second|true|false", text.lower())
        or re.search(r"[_ -](a|b|0|1|2|left|right|first|second)$", text.lower())
        for text in said
    )
    return short and few and likely


def answer_pairs(names: Collection[str], rows: Rows) -> list[tuple[str, str]]:
    """Two columns called alike that hold texts or messages."""
    return [pair for pair in pairs_alike(names) if all(_is_answer(name, rows) for name in pair)]


def _is_answer(name: str, rows: Rows) -> bool:
    values = [row.get(name) for row in rows]
    return all(isinstance(value, str | list | None) for value in values) and not is_choice(values)


def answers_alike(
    names: Collection[str], rows: Rows, taken: Collection[str], ends: tuple[str, str] | None
) -> tuple[str, str] | None:
    """The two answers whose columns are told apart by the same words."""
    for pair in answer_pairs([name for name in names if name not in taken], rows):
        if ends_of(*pair) == ends:
            models = {"model", "models"}
            if not (words_of(pair[0]) & models and not words_of(pair[0]) & {"response", "answer", "output"}):
                return pair
    return None


def pairs_alike(names: Collection[str]) -> list[tuple[str, str]]:
    """Columns that differ in one word only, which tells them apart: `response_a` and `response_b`."""
    found = [
        (one, other)
        for first, second in combinations(names, 2)
        for one, other in ((first, second), (second, first))
        if ends_of(one, other) is not None
    ]
    return sorted(found, key=lambda pair: bool(words_of(pair[0]) & {"model", "id", "name", "source"}))


def ends_of(first: str, second: str) -> tuple[str, str] | None:
    """The words that tell two columns apart, where these are a and b, 1 and 2 …; None where more differs."""
    one, other = pieces_of(first), pieces_of(second)
    differing = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
    if len(one) != len(other) or len(differing) != 1 or differing[0] not in _SUFFIXES:
        return None
    return differing[0]


def pieces_of(name: str) -> list[str]:
    """`conv_A_rating` → conv, A, rating; `text1` → text, 1."""
    return re.findall(r"\d+|[a-z]+|[A-Z](?![a-z])|[A-Z][a-z]+", name)


def two_alike(names: Collection[str]) -> tuple[str, str] | None:
    """The first two columns called alike."""
    pairs = pairs_alike(names)
    return pairs[0] if pairs else None


def words_of(name: str) -> set[str]:
    """The words of a column's name: `betterAnswer`, `better_answer`, `Better answer`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


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
