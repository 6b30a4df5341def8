"""What `rewardsmith score` leaves beside its output while it works, and what it says when it is done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class BulkState(Record):
    """How far an unfinished job has come: rows whose rewards are on disk, and how long the files were then.

    `reasons` counts rows, `missing` nulls. `fingerprint` is of everything that the rewards depend on: the input, the
    models, how they are combined, versions.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    rows: int = 0
    rewards: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    missing: dict[str, int] = Field(default_factory=dict)
    output_bytes: int = 0
    rejected_bytes: int = 0


class BulkRecord(Record):
    """A finished job: input rows, rewards, rows that lack one (`reasons`), rows that an earlier start had done.

    `missing` counts nulls by reason: a row may have several, and a row that cannot be read has none.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    output: str
    rejected: str | None
    rows: int
    rewards: int
    bad_rows: int
    reasons: dict[str, int]
    missing: dict[str, int] = Field(default_factory=dict)
    resumed_rows: int
