"""`grouped`: one answer a row (HelpSteer2); the rows of one prompt are compared with each other.

    reader.add(row, number)       # each row; it goes to a file without a name (`data/store.py`)
    for formed in reader.groups(): …

Rows of one prompt need not stand together. Memory: about 40 bytes a row, whatever its length.
"""

from __future__ import annotations

import json
import marshal
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rewardsmith.data.checks import DIGEST, digest_of
from rewardsmith.data.columns import Look, path_of
from rewardsmith.data.forms.form import Basis, Formed, Parts, Row, number_of
from rewardsmith.data.forms.lists import Answer, compared
from rewardsmith.data.store import Spool
from rewardsmith.rendering.messages import RowFault, shown
from rewardsmith.spec.forms import GroupedForm
from rewardsmith.types import Conversation


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one prompt: what they give, and which of them (number, id, reason) are in no pair."""

    number: int
    formed: Formed
    rows: int
    unused: Sequence[tuple[int, str, RowFault]]


@dataclass(slots=True)
class GroupedReader:
    """Collects rows, then gives the pairs of each prompt."""

    basis: Basis
    form: GroupedForm
    answer: Look
    score: Look
    _rows: Spool = field(default_factory=Spool)
    _prompts: bytearray = field(default_factory=bytearray)
    _numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: Row, number: int) -> None:
        """Take a row in.

        Raises:
            RowFault: it has no prompt, no answer or no number.
        """
        value = self.answer(row)
        if value is None:
            raise RowFault("missing_field", f"{self.form.answer} is missing")
        score = number_of(self.score(row))
        if score is None:
            raise RowFault("unknown_verdict", f"{self.form.score} is {shown(self.score(row))}, no finite number")
        if self.basis.joins_texts:
            prompt = self.basis.prompt(row)
            self.basis.parts(row, value, value, (self.form.answer, self.form.answer))  # a fault is told with its row
        else:
            given, _ = self.basis.several(row, (value,), (self.form.answer,))
            prompt = self.basis.prompt(row) if "tools" in self.basis.looks else given
        if not prompt:
            raise RowFault("missing_prompt", "the form `grouped` finds answers to one prompt by their prompt")
        self._rows.append(_packed(row))
        self._prompts += digest_of(prompt)
        self._numbers.append(number)

    def conversation(self, row: Row) -> Conversation:
        """The prompt and the answer of one row.

        Raises:
            RowFault: it has no answer.
        """
        value = self.answer(row)
        prompt, answer, _ = self.basis.parts(row, value, value, (self.form.answer, self.form.answer))
        return prompt + answer

    def groups(self) -> Iterator[Group]:
        """The prompts in the order of their first rows."""
        digests = np.frombuffer(bytes(self._prompts), dtype=f"V{DIGEST}")
        if not len(digests):
            return
        _, first, group = np.unique(digests, return_index=True, return_inverse=True)
        order = np.argsort(first[group.reshape(-1)], kind="stable")
        bounds = np.flatnonzero(np.diff(first[group.reshape(-1)][order])) + 1
        for places in np.split(order, bounds):
            yield self._group(places.tolist())

    def _group(self, places: list[int]) -> Group:
        rows = [_unpacked(self._rows[place]) for place in places]
        numbers = [self._numbers[place] for place in places]
        if len(rows) == 1:
            fault = RowFault("no_comparison", "no other row has this prompt")
            return Group(numbers[0], Formed((), compared=0), 1, ((numbers[0], self.basis.row_id(rows[0]), fault),))
        sign = 1.0 if self.form.better == "higher" else -1.0
        answers = [_answer(self.answer(row), self.score(row), sign) for row in rows]
        found = compared(answers, self.form)
        pairs, used = [], set[int]()
        sides: dict[int, Conversation] = {}
        for better, worse, gap in found.pairs:
            values = answers[better].value, answers[worse].value
            names = (f"{self.form.answer} of row {numbers[better]}", f"{self.form.answer} of row {numbers[worse]}")
            try:
                parts = self._parts(rows, (better, worse), values, names, sides)
            except RowFault as fault:  # sides that are written in two ways; each row alone was sound
                every = [(n, self.basis.row_id(row), fault) for n, row in zip(numbers, rows, strict=True)]
                return Group(numbers[0], Formed((), compared=0), len(rows), every)
            suffix, written = f"-{numbers[worse]}", self.basis.written(rows[better], *values)
            pair = self.basis.pair(rows[better], numbers[better], parts, margin=gap, suffix=suffix, form=written)
            pairs.append(pair)
            used |= {better, worse}
        why = RowFault("tie", "no other answer to its prompt is better or worse by enough")
        if found.capped:
            why = RowFault("no_comparison", f"its pairs are over the cap of {self.form.max_pairs}")
        unused = [
            (numbers[place], self.basis.row_id(rows[place]), why) for place in range(len(rows)) if place not in used
        ]
        return Group(numbers[0], Formed(pairs, found.ties, found.capped, found.made), len(rows), unused)

    def _parts(
        self,
        rows: list[Row],
        places: tuple[int, int],
        values: tuple[Any, Any],
        names: tuple[str, str],
        sides: dict[int, Conversation],
    ) -> Parts:
        """Prompt and sides of the answers at two places; each answer is read once, and the prompt, which all share."""
        if self.basis.joins_texts:
            return self.basis.parts(rows[places[0]], *values, names)
        for place, value, name in zip(places, values, names, strict=True):
            if place not in sides:
                if _PROMPT in sides:
                    sides[place] = self.basis.side(rows[place], value, name)
                else:
                    sides[_PROMPT], (sides[place],) = self.basis.several(rows[place], (value,), (name,))
        return self.basis.join(rows[places[0]], sides[_PROMPT], (sides[places[0]], sides[places[1]]), names)


_PROMPT = -1  # no row's place


def _packed(row: Row) -> bytes:
    """A row for the file without a name: JSON text where it holds what only Parquet does (dates, decimals)."""
    try:
        return b"m" + marshal.dumps(dict(row))
    except ValueError:
        return b"j" + json.dumps(row, default=str).encode()


def _unpacked(record: bytes) -> Any:
    # A fifth of JSON's time, and of no harm: what is read is what this process wrote, into a file nobody can open.
    return marshal.loads(memoryview(record)[1:]) if record[:1] == b"m" else json.loads(record[1:])  # noqa: S302


def _answer(value: Any, score: Any, sign: float) -> Answer:
    return Answer(value, (number_of(score) or 0.0) * sign)


def open_grouped(form: GroupedForm, basis: Basis, names: Sequence[str]) -> GroupedReader:
    """A reader of rows with one answer each."""
    return GroupedReader(basis, form, path_of(form.answer, names), path_of(form.score, names))
