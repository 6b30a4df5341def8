"""What trackers have been told of a run: `trackers.json`. No token and no address is in it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class TrackerState(Record):
    """One tracker: what it calls the run, the last step it was told, and digests of the other numbers it was told."""

    id: str
    step: int = 0
    told: dict[str, str] = Field(default_factory=dict)


class TrackersRecord(Record):
    """Every tracker by name. `fingerprint` is of the training: another one starts afresh."""

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    trackers: dict[str, TrackerState] = Field(default_factory=dict)
