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

    Rows over the length limit do not count: dropping them is the spec's own choice, and has its own finding.
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
        return Surveyed([Found("mostly_rejected", NOWHERE, count=len(examples), examples=examples)])


def _left_out(source: SourceCount, table: Table) -> int:
    return sum(
        count
        for (role, name, reason), count in table.rejected.counts.items()
        if (role, name) == (source.role, source.source) and reason != "over_length"
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
