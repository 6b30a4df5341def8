"""`list` and what `grouped` shares with it: several answers to one prompt, and the pairs that their numbers make.

`compared` decides which answers are compared. Neither it nor the cap looks at the order in which the answers stand:
answers with equal numbers are put in order by a hash of their texts, and a cap keeps the pairs with the smallest hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from rewardsmith.data.columns import Look, parsed, path_of
from rewardsmith.data.forms.form import Basis, Formed, Row, Tie, number_of
from rewardsmith.rendering.messages import RowFault, shown
from rewardsmith.spec.forms import GroupedForm, ListForm


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


def compared(answers: Sequence[Answer], form: ListForm | GroupedForm) -> Compared:
    """Which answers make pairs, the better one first."""
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
    kept = pairs
    if form.max_pairs is not None and len(pairs) > form.max_pairs:
        ranked = sorted(pairs, key=lambda pair: _pair_key(keys[pair[0]], keys[pair[1]]))
        chosen = set(ranked[: form.max_pairs])
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


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads rows that hold all answers to a prompt."""

    basis: Basis
    form: ListForm
    answers: Look
    text: Look | None
    score: Look | None
    scores: Look | None

    def read(self, row: Row, number: int) -> Formed:
        """The pairs of a row, `row:i-j` after the places of the better and the worse answer, from 0.

        Raises:
            RowFault: the row has no two answers with numbers; `Tie` where all of them are equal.
        """
        answers = self._answers(row)
        found = compared(answers, self.form)
        if not found.pairs and found.ties:
            raise Tie(f"all {found.ties} comparisons of the row are ties", found.ties)
        pairs, basis = [], self.basis
        called = [f"{self.form.answers}[{place}]" for place in range(len(answers))]
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

    def _answers(self, row: Row) -> list[Answer]:
        items = parsed(self.answers(row))
        if not isinstance(items, list):
            raise RowFault("missing_field", f"{self.form.answers} is {shown(items)}, no list of answers")
        if len(items) < 2:
            raise RowFault("no_comparison", f"{self.form.answers} has {len(items)} answers; two are compared")
        values = [item if self.text is None else self.text(item) for item in items]
        numbers = self._numbers(row, items)
        sign = 1.0 if self.form.better == "higher" else -1.0
        return [
            Answer(value, _scored(number, place, self.form) * sign)
            for place, (value, number) in enumerate(zip(values, numbers, strict=True))
        ]

    def _numbers(self, row: Row, items: list[Any]) -> list[Any]:
        if self.scores is None:
            return [None if self.score is None else self.score(item) for item in items]
        numbers = parsed(self.scores(row))
        if not isinstance(numbers, list) or len(numbers) != len(items):
            raise RowFault("unknown_verdict", f"{self.form.scores} has not one number for each of {len(items)} answers")
        return numbers


def _scored(value: Any, place: int, form: ListForm) -> float:
    number = number_of(value)
    if number is None:
        name = form.scores or f"{form.answers}[{place}].{form.score}"
        raise RowFault("unknown_verdict", f"{name} is {shown(value)}, no finite number")
    return number


def open_list(form: ListForm, basis: Basis, names: Sequence[str]) -> ListReader:
    """A reader of rows with several answers."""
    return ListReader(
        basis,
        form,
        path_of(form.answers, names),
        path_of(form.text) if form.text else None,
        path_of(form.score) if form.score else None,
        path_of(form.scores, names) if form.scores else None,
    )
