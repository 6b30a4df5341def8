"""What a scanner of one text gives back: where a rule's old name stands, and which edits would mend it.

Offsets count characters of the text that was scanned, so that a fix changes these spans and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rewardsmith.doctor.rules import Rule, Severity

Judged = tuple[Rule, Severity]


@dataclass(frozen=True, order=True)
class Edit:
    """Replace the characters from `start` to before `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Hit:
    """One old name at one place; `edits` is empty where nobody but the author can mend it.

    Flags of one command share a `command`: where its program stands; -1 elsewhere.
    """

    rule: Rule
    severity: Severity
    found: str
    replacement: str
    start: int
    edits: tuple[Edit, ...] = ()
    command: int = -1

    def shifted(self, by: int) -> Hit:
        """The same hit in a text that has `by` characters more in front."""
        moved = tuple(Edit(edit.start + by, edit.end + by, edit.text) for edit in self.edits)
        command = self.command if self.command < 0 else self.command + by
        return replace(self, start=self.start + by, edits=moved, command=command)


def each_once(hits: Iterable[Hit]) -> list[Hit]:
    """In the order of the text; a place that was reached twice, as a variable's words, counts once."""
    unique = {(hit.start, hit.rule.id, hit.found): hit for hit in hits}
    return [unique[key] for key in sorted(unique)]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits made; equal ones count once, and of two that overlap the first is made."""
    parts, end = [], 0
    for edit in sorted(set(edits)):
        if edit.start >= end:
            parts += [text[end : edit.start], edit.text]
            end = edit.end
    return "".join((*parts, text[end:]))


def line_of(text: str, offset: int) -> int:
    """The line of an offset, from 1."""
    return text.count("\n", 0, offset) + 1
