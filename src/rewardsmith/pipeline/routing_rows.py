"""The rows that `route run` decides about: read from the file, and written from the audit log. Pure but for reading.

    for row in read_comparisons(path, "chat"): …         # RouteInput: prompt, responses, or why there is nothing
    written = row_of(row, entries)                        # RouteRow from the decisions in the log

A row has two or more responses, in any form that `rewardsmith score` reads: `prompt` with `responses`, or a pair's
`chosen` and `rejected` (place 0 and 1; the label is not looked at). Its `id`, `subset` and `source` are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.data.files import read_rows
from rewardsmith.data.forms import Strings
from rewardsmith.data.responses import Responses, read_responses
from rewardsmith.records import AuditEntry, RouteRow
from rewardsmith.types import Comparison, Conversation


@dataclass(frozen=True, slots=True)
class RouteInput:
    """One row: its number, id, subset, source, and what to compare; or the reason why there is nothing to compare."""

    number: int
    id: str | None
    subset: str = ""
    source: str = ""
    prompt: Conversation = ()
    responses: tuple[Conversation, ...] = ()
    reason: str = ""

    @property
    def conversations(self) -> list[Conversation]:
        """The prompt with each response."""
        return [self.prompt + response for response in self.responses]

    def comparison(self, first: int, second: int) -> Comparison:
        """Two of its responses; of a row of two the id is the row's own."""
        name = self.id if self.id is not None else str(self.number)
        name = name if len(self.responses) == 2 else f"{name}#{first}:{second}"
        return Comparison(self.prompt, self.responses[first], self.responses[second], name, self.source, self.subset)


def read_comparisons(path: Path, strings: Strings) -> Iterator[RouteInput]:
    """Every row of a file; lines that cannot be read stand in their place, with the reason.

    Raises:
        DataError: the file cannot be read.
    """
    broken: list[tuple[int, str]] = []
    for number, row in read_rows(path, bad_lines=broken):
        yield from _broken(broken)
        yield _input(number, row, strings, path.name)
    yield from _broken(broken)


def row_of(row: RouteInput, entries: Sequence[AuditEntry]) -> RouteRow:
    """What is written of a row, from the decisions about it in their order."""
    if not entries:
        return _undecided(row)
    champion, undecided, last = entries[0].places[0], True, entries[0]
    for entry in entries:
        first, second = entry.places
        undecided = undecided and entry.winner is None
        if first == champion and entry.winner == "second":
            champion = second
        if champion in (first, second):
            last = entry
    tied = len(entries) == 1 and entries[0].winner == "tie"
    verdicts = [entry.verdict for entry in entries if entry.verdict is not None]
    alone = entries[0] if len(entries) == 1 else None
    judged = alone is not None and alone.by == "judge" and alone.verdict is not None
    probability = None if alone is None else alone.verdict.probability if judged else alone.opinion.probability  # type: ignore[union-attr]
    places = alone.places if alone else (0, 1)
    return RouteRow(
        row=row.number,
        id=row.id,
        best=None if undecided or tied else champion,
        by=last.by,
        escalated=sum(entry.escalated for entry in entries),
        judged=sum(entry.by == "judge" for entry in entries),
        comparisons=len(entries),
        rule=last.rule,
        why=last.why,
        fallback=last.fallback,
        probability=probability if places == (0, 1) or probability is None else 1 - probability,
        margin=None if alone is None else _signed(alone),
        calls=sum(verdict.calls for verdict in verdicts),
        cost=sum(verdict.cost for verdict in verdicts),
    )


def _signed(entry: AuditEntry) -> float | None:
    """The margin of the response at place 0 over that at place 1."""
    margin = entry.opinion.margin
    return margin if margin is None or entry.places == (0, 1) else -margin


def _undecided(row: RouteInput) -> RouteRow:
    return RouteRow(
        row=row.number,
        id=row.id,
        best=None,
        by="nobody",
        escalated=0,
        judged=0,
        comparisons=0,
        rule="",
        why=row.reason,
        fallback="",
        probability=None,
        margin=None,
        calls=0,
        cost=0.0,
    )


def _broken(lines: list[tuple[int, str]]) -> Iterator[RouteInput]:
    for number, fault in lines:
        yield RouteInput(number, None, reason=f"the line cannot be read: {fault}")
    lines.clear()


def _input(number: int, row: dict[str, Any], strings: Strings, source: str) -> RouteInput:
    name = row.get("id")
    known = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None
    subset, given = (str(row[key]) if isinstance(row.get(key), str) else "" for key in ("subset", "source"))
    found = read_responses(row, strings)
    if not isinstance(found, Responses):
        return RouteInput(number, known, subset, given or source, reason=found.detail)
    if len(found.conversations) < 2:
        return RouteInput(number, known, subset, given or source, reason="has one response, and nothing to compare")
    shared = _shared(found.conversations)
    responses = tuple(one[len(shared) :] for one in found.conversations)
    return RouteInput(number, known, subset, given or source, shared, responses)


def _shared(conversations: Sequence[Conversation]) -> Conversation:
    """The longest common beginning that leaves every conversation a turn."""
    length, most = 0, min(map(len, conversations)) - 1
    while length < most and len({one[length] for one in conversations}) == 1:
        length += 1
    return conversations[0][:length]
