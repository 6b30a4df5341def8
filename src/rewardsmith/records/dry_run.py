"""What `run --dry-run` says."""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record

StageState = Literal["would run", "would continue", "unchanged"]


class DryRunStage(Record):
    """One stage: what a run would do with it, and the files that hold its result, relative to the run directory."""

    name: str
    state: StageState
    files: tuple[str, ...]


class DryRunRecord(Record):
    """What a run would do, and what it found when it opened everything that it needs.

    `rows` of the training and held-out data were looked at, `findings` of them would stop a run or need a look;
    `flight` says what two pairs went through; `benchmarks` has the number of rows by key; sizes are parameters, None
    where they are not known.
    """

    run: str
    deletes: bool = False
    base: str
    base_parameters: int | None
    policy_parameters: int | None
    backend: str
    device: str
    rows: int
    findings: tuple[str, ...] = ()
    benchmarks: dict[str, int]
    stages: tuple[DryRunStage, ...]
    warnings: tuple[str, ...] = ()
    flight: str = ""
