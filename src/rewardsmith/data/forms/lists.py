"""`list` and what `grouped` shares with it: several answers to one prompt, and the pairs that their numbers make.

`compared` decides which answers are compared, `voted` does it where several annotators ranked them. Neither they nor
the cap look at the order in which the answers stand: answers with equal numbers are put in order by a hash of their
texts, and a cap keeps the pairs with the smallest hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from string import ascii_lowercase
from typing import Any

from rewardsmith.data.columns import Look, parsed, path_of
from rewardsmith.data.forms.comparison import Ballots, larger, majority
from rewardsmith.data.forms.form import Basis, Formed, Row, Tie, scored
from rewardsmith.rendering.messages import RowFault, shown
from rewardsmith.spec.forms import GroupedForm, ListForm, TreeForm, same


@dataclass(frozen=True, slots=True)
class Answer:
    """One of several answers: what stands in the file, and its number (higher is better)."""

    value: Any
    score: float


@dataclass(frozen=True, slots=True)
class Compared:
    """Places of better and worse answers with their gaps; and how many comparisons were ties, or over the cap."""

    pairs: Sequence[tuple[int, int, float]]
    ties: int
    capped: int
    made: int


def compared(answers: Sequence[Answer], form: ListForm | GroupedForm | TreeForm) -> Compared:
    """Which answers make pairs, the better one first."""
    # Hashes part equal scores and choose under a cap; where there is neither they need not be computed.
    told_apart = form.max_pairs is None and len({answer.score for answer in answers}) == len(answers)
    keys = [b""] * len(answers) if told_apart else [text_key(answer.value) for answer in answers]
    order = sorted(range(len(answers)), key=lambda place: (-answers[place].score, keys[place], place))
    pairs: list[tuple[int, int, float]] = []
    ties = made = 0
    for better, worse in _chosen(order, form.pairs):
        made += 1
        gap = answers[better].score - answers[worse].score
        if gap > 0 and gap >= form.min_gap:
            pairs.append((better, worse, gap))
        else:
            ties += 1
    return _capped(pairs, keys, ties, made, form.max_pairs)


def voted(answers: Sequence[Answer], ballots: Sequence[Sequence[float]], form: ListForm) -> Compared:
    """Every two answers by the majority of the ballots, each with a rank of every answer; the gap is the lead."""
    pairs: list[tuple[int, int, float]] = []
    ties = made = 0
    for one, other in combinations(range(len(answers)), 2):
        made += 1
        votes = [larger(ballot[other] - ballot[one]) for ballot in ballots]
        winner, lead = majority(votes, form.rankings.column if form.rankings else "")
        gap = 1.0 if lead is None else lead
        if winner == "tie" or gap < form.min_gap:
            ties += 1
        else:
            pairs.append((one, other, gap) if winner == "first" else (other, one, gap))
    return _capped(pairs, [text_key(answer.value) for answer in answers], ties, made, form.max_pairs)


def _capped(
    pairs: Sequence[tuple[int, int, float]], keys: Sequence[bytes], ties: int, made: int, most: int | None
) -> Compared:
    """At most so many pairs, by a hash of the texts: the same ones whatever the order of the answers in the row."""
    if most is None or len(pairs) <= most:
        return Compared(pairs, ties, 0, made)
    chosen = set(sorted(pairs, key=lambda pair: _pair_key(keys[pair[0]], keys[pair[1]]))[:most])
    kept = [pair for pair in pairs if pair in chosen]
    return Compared(kept, ties, len(pairs) - len(kept), made)


def _chosen(order: Sequence[int], which: str) -> Iterator[tuple[int, int]]:
    if which == "best_vs_rest":
        return ((order[0], other) for other in order[1:])
    return pairwise(order) if which == "adjacent" else combinations(order, 2)


def _pair_key(better: bytes, worse: bytes) -> bytes:
    return hashlib.blake2b(better + worse, digest_size=16).digest()


def text_key(value: Any) -> bytes:
    """A hash of an answer, the same wherever it stands."""
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).digest()


Items = dict[str, Any]
"""The answers of a row by what they are called, in order."""


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads rows that hold all answers to a prompt."""

    basis: Basis
    form: ListForm
    items: Callable[[Row], Items]
    text: Look | None
    numbers: Callable[[Row, Items], Sequence[Any]]
    ballots: Ballots | None = None

    def read(self, row: Row, number: int) -> Formed:
        """The pairs of a row, `row:i-j` after the places of the better and the worse answer, from 0.

        Raises:
            RowFault: the row has no two answers with numbers; `Tie` where all of them are equal.
        """
        called, answers = self._answers(row)
        if self.ballots is None:
            found = compared(answers, self.form)
        else:
            found = voted(answers, self.ballots.read(row, list(self.items(row))), self.form)
        if not found.pairs and found.ties:
            raise Tie(f"all {found.ties} comparisons of the row are ties", found.ties)
        pairs, basis = [], self.basis
        read = None if basis.joins_texts else basis.several(row, [answer.value for answer in answers], called)
        for better, worse, gap in found.pairs:
            values, names = (answers[better].value, answers[worse].value), (called[better], called[worse])
            if read is None:
                parts = basis.parts(row, *values, names)
            else:
                parts = basis.join(row, read[0], (read[1][better], read[1][worse]), names)
            suffix, written = f":{better}-{worse}", basis.written(row, *values)
            pairs.append(basis.pair(row, number, parts, margin=gap, suffix=suffix, form=written))
        return Formed(pairs, found.ties, found.capped, found.made)

    def _answers(self, row: Row) -> tuple[list[str], list[Answer]]:
        """What a fault calls each answer, and the answers."""
        items = self.items(row)
        if len(items) < 2:
            raise RowFault("no_comparison", f"{_title(self.form)} has {len(items)} answers; two are compared")
        called = [name if isinstance(self.form.answers, tuple) else f"{self.form.answers}[{name}]" for name in items]
        sign = 1.0 if self.form.better == "higher" else -1.0
        answers = []
        for name, item, number in zip(called, items.values(), self.numbers(row, items), strict=True):
            where = f"{name}.{self.form.score}" if self.form.score else f"the number of {name}"
            score = scored(number, self.form.words, where) * sign
            answers.append(Answer(item if self.text is None else self.text(item), score))
        return called, answers


def _title(form: ListForm) -> str:
    return form.answers if isinstance(form.answers, str) else ", ".join(form.answers)


def _items_in(look: Look, column: str) -> Callable[[Row], Items]:
    """The answers of one column: a list, called by place, or an object, by its names."""

    def items(row: Row) -> Items:
        found = parsed(look(row))
        if isinstance(found, dict):
            return found
        if not isinstance(found, list):
            raise RowFault("missing_field", f"{column} is {shown(found)}, no list of answers")
        return {str(place): item for place, item in enumerate(found)}

    return items


def _items_of(looks: Mapping[str, Look]) -> Callable[[Row], Items]:
    """The answers of several columns; a row may lack some of them."""
    return lambda row: {name: value for name, look in looks.items() if (value := look(row)) not in (None, "")}


def _beside(look: Look, column: str) -> Callable[[Row, Items], Sequence[Any]]:
    """The numbers of another column: a list in the order of the answers, or an object by their names."""

    def numbers(row: Row, items: Items) -> Sequence[Any]:
        found = parsed(look(row))
        if isinstance(found, dict) and set(found) == set(items):
            return [found[name] for name in items]
        if not isinstance(found, list) or len(found) != len(items):
            raise RowFault("unknown_verdict", f"{column} has not one number for each of {len(items)} answers")
        return found

    return numbers


def _ranked(look: Look, form: ListForm) -> Callable[[Row, Items], Sequence[Any]]:
    """Ranks from a ranking that is written out, 1 for the best: `B>A=C`, or a list of names."""

    def numbers(row: Row, items: Items) -> Sequence[Any]:
        value = parsed(look(row))
        levels = [one if isinstance(one, list) else [one] for one in value] if isinstance(value, list) else None
        if isinstance(value, str):
            levels = [level.split("=") for level in re.split(r">+", value)]
        if levels is None:
            raise RowFault("unknown_verdict", f"{form.ranking} is {shown(value)}, no ranking")
        rank_of = {same(name): rank for rank, level in enumerate(levels, start=1) for name in level}
        names = [next((name for name in own if name in rank_of), None) for own in _names(items, form)]
        if None in names or len(set(names)) < sum(map(len, levels)):
            known = ", ".join(own[-1] for own in _names(items, form))
            raise RowFault("unknown_verdict", f"{form.ranking} is {shown(value)}, no ranking of exactly {known}")
        return [rank_of[name] for name in names if name is not None]

    return numbers


def _names(items: Items, form: ListForm) -> list[tuple[str, ...]]:
    """What a ranking may call each answer."""
    if form.called and isinstance(form.answers, tuple):  # by column: a row may lack some
        called = dict(zip(form.answers, form.called, strict=False))
        return [(same(called[name]),) if name in called else () for name in items]
    if form.called:
        return [(same(name),) for name in form.called[: len(items)]]
    if isinstance(form.answers, tuple):  # `answer_b` is b wherever it stands
        return [(same(name), re.split(r"[^a-z0-9]+|(?<=[a-z])(?=[0-9])", name.lower())[-1]) for name in items]
    if all(name.isdigit() for name in items):
        return [(letter,) for letter in ascii_lowercase[: len(items)]]
    return [(same(name),) for name in items]


def open_list(form: ListForm, basis: Basis, names: Sequence[str]) -> ListReader:
    """A reader of rows with several answers."""
    answers = form.answers
    items = (
        _items_in(path_of(answers, names), answers)
        if isinstance(answers, str)
        else _items_of({name: path_of(name, names) for name in answers})
    )
    text = path_of(form.text) if form.text else None
    ballots = Ballots.of(form.rankings, names) if form.rankings else None
    return ListReader(basis, form, items, text, _numbers(form, names), ballots)


def _numbers(form: ListForm, names: Sequence[str]) -> Callable[[Row, Items], Sequence[Any]]:
    if form.rankings is not None:
        return lambda row, items: [0.0] * len(items)
    if form.ranking is not None:
        return _ranked(path_of(form.ranking, names), form)
    if isinstance(form.scores, str):
        return _beside(path_of(form.scores, names), form.scores)
    if form.scores is not None:
        columns = list(form.answers) if isinstance(form.answers, tuple) else [str(n) for n in range(len(form.scores))]
        looks = {name: path_of(score, names) for name, score in zip(columns, form.scores, strict=False)}
        return lambda row, items: [looks[name](row) if name in looks else None for name in items]
    inside = path_of(form.score or "")
    return lambda _, items: [inside(item) for item in items.values()]
