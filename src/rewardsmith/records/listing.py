"""What `ls` says of the runs in a folder."""

from __future__ import annotations

from rewardsmith.records.files import Record


class RunSummary(Record):
    """One run in a line.

    `stage` is what it is doing, or the last that ended; `verdict` PASS, FAIL, STOPPED or UNFINISHED by its records;
    `pairs` the training pairs; `average` that of `benchmark`; `age` seconds since a stage last ended. `notes`
    are faults known of the version of Rewardsmith that made its model. `problem` says why a folder that looks like a
    run cannot be read. `missing` counts the rewards that the average lacks.
    """

    name: str
    path: str
    stage: str = ""
    working: bool = False
    verdict: str = ""
    base: str = ""
    pairs: int | None = None
    benchmark: str = ""
    average: float | None = None
    missing: int = 0
    age: float | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


class RunsRecord(Record):
    """All runs of a folder, the newest first."""

    folder: str
    runs: tuple[RunSummary, ...]
