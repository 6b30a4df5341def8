"""`grouped`: one answer a row (HelpSteer2); the rows of one prompt are compared with each other.

    reader.add(row, number)       # each row; it goes to a file without a name (`data/store.py`)
    for formed in reader.groups(): …

Rows of one prompt need not stand together. Memory: about 50 bytes a row, whatever its length.
"""

from __future__ import annotations

import json
import marshal
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rewardsmith.data.columns import Look, path_of
from rewardsmith.data.forms.form import Basis, Formed, Row, scored
from rewardsmith.data.forms.lists import Answer, compared
from rewardsmith.data.store import DIGEST, Spool, digest_of
from rewardsmith.rendering.messages import RowFault
from rewardsmith.spec.forms import GroupedForm
from rewardsmith.types import Conversation


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one prompt: what they give, and which of them (number, id, reason) are in no pair."""

    number: int
    formed: Formed
    rows: int
    unused: Sequence[tuple[int, str, RowFault]]


@dataclass(frozen=True, slots=True)
class _Rated:
    """A row with its answer as read, None where it must be read together with the other, and its number."""

    row: Row
    number: int
    name: str
    value: Any
    score: float
    side: Conversation | None


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
    _scores: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: Row, number: int) -> None:
        """Take a row in.

        Raises:
            RowFault: it has no prompt, no answer or no number.
        """
        value = self.answer(row)
        if value is None:
            raise RowFault("missing_field", f"{self.form.answer} is missing")
        score = scored(self.score(row), self.form.words, self.form.score)
        prompt = self.basis.prompt(row)
        if not prompt:
            raise RowFault("missing_prompt", "the form `grouped` finds answers to one prompt by their prompt")
        self.basis.refuse_images(row)
        self._rows.append(packed(row))
        self._prompts += digest_of(prompt)
        self._numbers.append(number)
        self._scores.append(score if self.form.better == "higher" else -score)

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
        # By the first row of each prompt; stable, so that the rows of a prompt keep their order.
        order = np.argsort(first[group.reshape(-1)], kind="stable")
        bounds = np.flatnonzero(np.diff(first[group.reshape(-1)][order])) + 1
        for places in np.split(order, bounds):
            yield self._group(places.tolist())

    def _group(self, places: list[int]) -> Group:
        """The pairs of the rows of one prompt; an answer that is none is left out, with its reason."""
        rows, unused = list[_Rated](), list[tuple[int, str, RowFault]]()
        given: Conversation = ()
        for place in places:
            row, number = unpacked(self._rows[place]), self._numbers[place]
            value, side = self.answer(row), None
            name = f"{self.form.answer} of row {number}"
            try:
                if self.basis.joins_texts:
                    self.basis.parts(row, value, value, (name, name))
                elif rows:
                    side = self.basis.side(row, value, name)
                else:
                    given, (side,) = self.basis.several(row, (value,), (name,))
            except RowFault as fault:
                unused.append((number, self.basis.row_id(row), fault))
            else:
                rows.append(_Rated(row, number, name, value, self._scores[place], side))
        formed, used, why = self._formed(rows, given)
        unused += [(r.number, self.basis.row_id(r.row), why) for place, r in enumerate(rows) if place not in used]
        return Group(self._numbers[places[0]], formed, len(places), unused)

    def _formed(self, rows: Sequence[_Rated], given: Conversation) -> tuple[Formed, set[int], RowFault]:
        """What rows of one prompt give, the places of those in a pair, and why the others are in none."""
        if len(rows) < 2:
            return Formed((), compared=0), set(), RowFault("no_comparison", "no other row has this prompt")
        basis, names = self.basis, tuple(row.name for row in rows)
        found = compared([Answer(row.value, row.score) for row in rows], self.form)
        pairs, used = [], set[int]()
        for better, worse, gap in found.pairs:
            best, other = rows[better], rows[worse]
            both = names[better], names[worse]
            try:
                if best.side is None or other.side is None:
                    parts = basis.parts(best.row, best.value, other.value, both)
                else:
                    parts = basis.join(best.row, given, (best.side, other.side), both)
            except RowFault as fault:  # sides that are written in two ways; each row alone was sound
                return Formed((), compared=0), set(), fault
            written = basis.written(best.row, best.value, other.value)
            suffix = f"-{other.number}"
            pairs.append(basis.pair(best.row, best.number, parts, margin=gap, suffix=suffix, form=written))
            used |= {better, worse}
        why = RowFault("tie", "no other answer to its prompt is better or worse by enough")
        if found.capped:
            why = RowFault("no_comparison", f"its pairs are over the cap of {self.form.max_pairs}")
        return Formed(pairs, found.ties, found.capped, found.made), used, why


def packed(row: Row) -> bytes:
    """A row for the file without a name: JSON text where it holds what only Parquet does (dates, decimals)."""
    try:
        return b"m" + marshal.dumps(dict(row))
    except ValueError:
        return b"j" + json.dumps(row, default=str).encode()


def unpacked(record: bytes) -> Any:
    """The row of `packed`."""
    # A fifth of JSON's time, and of no harm: what is read is what this process wrote, into a file nobody can open.
    return marshal.loads(memoryview(record)[1:]) if record[:1] == b"m" else json.loads(record[1:])  # noqa: S302


def open_grouped(form: GroupedForm, basis: Basis, names: Sequence[str]) -> GroupedReader:
    """A reader of rows with one answer each."""
    return GroupedReader(basis, form, path_of(form.answer, names), path_of(form.score, names))
