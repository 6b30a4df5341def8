"""`pair`: a better and a worse answer in columns of their own.

| written as | prompt | chosen, rejected |
|---|---|---|
| conversational | list of messages | list of messages |
| implicit prompt | - | lists that begin with the same messages: the longest common beginning is the prompt |
| repeated prompt | text or list | lists that begin with the prompt: it is taken off |
| plain strings, `chat` | text | text; the prompt becomes a user turn, the response an assistant turn |
| plain strings, `text` | text or none | text; joined as they are, no template; without one it ends at a turn marker |
| OpenRLHF | `input`: text or list | text or list |

Messages that stand as text (JSON, or as Python and numpy print them) are read as messages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.data.columns import Columns, Look, path_of
from rewardsmith.data.forms.form import Basis, Formed, Row, Strings, Tie, number_of
from rewardsmith.records.evaluation import LARGEST_REWARD
from rewardsmith.rendering.messages import RowFault
from rewardsmith.spec.forms import OpenAIForm, PairForm, TranscriptForm, same
from rewardsmith.types import PreferencePair

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class PairReader:
    """Reads rows of the forms `pair`, `transcript` and `openai`, which differ in where things stand."""

    basis: Basis
    ties: Sequence[tuple[str, Look, frozenset[str]]] = ()
    equal_is_tie: bool = False

    def read(self, row: Row, number: int) -> Formed:
        """One pair.

        Raises:
            RowFault: the row is no preference pair; `Tie` where it says so.
        """
        return Formed((self.pair(row, number),))

    def pair(self, row: Row, number: int) -> PreferencePair:
        """The pair that a row holds; raises as `read` does."""
        basis = self.basis
        for name, look, values in self.ties:
            if same(value := look(row)) in values:
                raise Tie(f"{name} is {value!r}")
        sides = tuple(self._present(row, name) for name in ("chosen", "rejected"))
        parts = basis.parts(row, *sides)
        margin, unread = self._margin(row)
        if margin == 0 and self.equal_is_tie:
            raise Tie("both answers have the same score")
        written = basis.written(row, *sides)
        return basis.pair(row, number, parts, margin=margin, unread_margin=unread, form=written)

    def _present(self, row: Row, ours: str) -> Any:
        value = self.basis.look(ours, row)
        if value is None:
            column = getattr(self.basis.columns, ours)
            raise RowFault("missing_field", f"{ours} is missing" if ours == column else f"{ours} ({column}) is missing")
        return value

    def _margin(self, row: Row) -> tuple[float | None, str]:
        """The stated margin, else the difference of the stated scores; and what stands there if it is no number."""
        columns = self.basis.columns
        names = ("target_margin",) if columns.target_margin is not None else columns.scores or ()
        stated = [self.basis.look(name, row) for name in names]
        if not stated or any(value is None or value == "" for value in stated):
            return None, ""
        numbers = [number for number in map(number_of, stated) if number is not None]
        margin = numbers[0] - sum(numbers[1:]) if len(numbers) == len(stated) else math.nan
        if abs(margin) <= LARGEST_REWARD:  # training holds margins in float32
            # `or 0.0` turns a negative zero into zero.
            return (-margin or 0.0) if columns.ranks and columns.target_margin is None else margin, ""
        shown = " and ".join(repr(value)[:_SHOWN] for value in stated)
        return None, shown.encode("utf-8", "replace").decode()


def open_pair(form: PairForm | TranscriptForm | OpenAIForm, basis: Basis, names: Sequence[str]) -> PairReader:
    """A reader of pairs in columns of their own."""
    if not isinstance(form, PairForm):
        return PairReader(basis)
    ties = tuple((column, path_of(column, names), frozenset(map(same, values))) for column, values in form.ties.items())
    return PairReader(basis, ties, form.equal_scores == "tie")


def read_pair(
    row: Mapping[str, Any], columns: Columns, strings: Strings, *, source: str, number: int
) -> PreferencePair:
    """The pair that a row of the plain form holds.

    Args:
        row: the row as read.
        columns: which column is which.
        strings: what plain strings are (`spec.data.strings`).
        source: name of the source, for rows that name none.
        number: the row's number, for rows without an id.

    Raises:
        RowFault: the row is no preference pair.
    """
    return PairReader(Basis(columns, looks_of(columns, row.keys()), strings, source)).pair(row, number)


def looks_of(columns: Columns, names: Any) -> dict[str, Look]:
    """What finds each of our columns in a row."""
    ours = [name for name in Columns.__dataclass_fields__ if name not in ("scores", "ranks")]
    looks = {name: path_of(path, names) for name in ours if (path := getattr(columns, name))}
    looks.update({name: path_of(name, names) for name in columns.scores or ()})
    return looks
