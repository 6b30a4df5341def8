"""What a run is doing at this moment: `live.json`, there only while it works."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class LiveRecord(Record):
    """The stage at work (empty: what comes before or between them), since when, and how far it has come.

    `done` of `total` counts what `label` names. `process` and `host` say who writes it: a file whose process is gone
    was left by a run that was killed. Times are seconds since 1970.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    process: int
    host: str
    stage: str = ""
    since: float = 0.0
    label: str = ""
    done: int = 0
    total: int = 0
