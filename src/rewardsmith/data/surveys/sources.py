"""Sources of which more than half could not be used: probably not what the spec takes them for."""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import NOWHERE, Found, Setting, Surveyed, Table
from rewardsmith.records import ExampleRow, SourceCount

_MANY = 0.5


class Sources:
    """Counts what was left out of each source.

    Rows over the length limit do not count: dropping them is the spec's own choice, and has its own finding. Nor do
    ties: they say something, but not which answer is better.
    """

    def __init__(self, setting: Setting) -> None:
        del setting

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Nothing: the kept rows are not what this is about."""

    def finish(self, table: Table) -> Surveyed:
        """The sources, each as an example of its own."""
        left_out = [(source, _left_out(source, table)) for source in table.sources]
        examples = tuple(
            ExampleRow(file=source.source, row=0, detail=f"{count:,} of {source.read:,} rows were left out")
            for source, count in left_out
            if count > _MANY * source.read
        )
        return Surveyed([Found("mostly_rejected", NOWHERE, count=len(examples), examples=examples), _unread(table)])


def _left_out(source: SourceCount, table: Table) -> int:
    return sum(
        count
        for (role, name, reason), count in table.rejected.counts.items()
        if (role, name) == (source.role, source.source) and reason not in ("over_length", "tie")
    )


def _unread(table: Table) -> Found:
    """Columns that look like context: an error where something stands there in every row of a source."""
    found = [(source, name, count) for source in table.sources for name, count in source.unread.items() if count]
    rows = [source.read - source.mixed_out for source, _, _ in found]
    examples = tuple(
        ExampleRow(file=source.source, row=0, detail=f"column {name!r} is not read; {count:,} of {of:,} rows have it")
        for (source, name, count), of in zip(found, rows, strict=True)
    )
    everywhere = any(count == of for (_, _, count), of in zip(found, rows, strict=True))
    named = ", ".join(sorted({name for _, name, _ in found}))
    return Found(
        "unread_context",
        NOWHERE,
        count=max((count for _, _, count in found), default=0),
        of=sum(source.read for source in table.sources),
        summary=f"not read: {named}" if found else "",
        examples=examples,
        severity="error" if everywhere else None,
    )


UNREAD_CONTEXT = Check(
    code="unread_context",
    severity="warning",
    title="Columns that look like context are not read",
    meaning="A column such as system, context, input, history or tools has something in it, and nothing reads it. "
    "Where every row of a source has it, it is an error.",
    why="The answers were judged with it; without it the model learns from half of what was asked.",
    fix="map it: columns: {system: NAME} (or history, context, input, tools); or leave it out: ignore: [NAME]",
)


MOSTLY_REJECTED = Check(
    code="mostly_rejected",
    severity="error",
    title="More than half of a source cannot be used",
    meaning="Most rows of a source were left out for another reason than their length.",
    why="The file is probably not what the spec takes it for; what is left is no fair sample of it.",
    fix="look at rejected.jsonl; correct columns, strings or the file, or remove the source",
    of="sources",
)
