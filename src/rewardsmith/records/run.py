"""How a run ended: `gates.json` and `manifest.json`.

What `ls` says of the runs in a folder.

What a run is doing at this moment: `live.json`, there only while it works.

What `run --dry-run` says.

What trackers have been told of a run: `trackers.json`. No token and no address is in it.

What `push` uploaded, or would upload.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class GateOutcome(Record):
    """One gate or warning: what was asked, what was found, and the verdict in words.

    A `warning` does not decide the exit code; a gate that is not PASS does.
    """

    name: str
    kind: Literal["gate", "warning"]
    verdict: Literal["PASS", "FAIL", "NO_DATA"]
    benchmark: str = ""
    subset: str = ""
    value: float | None = None
    threshold: float | None = None
    message: str


class GatesRecord(Record):
    """All gates of a run; `passed` when every gate (not every warning) passes."""

    schema_version: Literal[1] = Field(1, alias="schema")
    passed: bool
    outcomes: tuple[GateOutcome, ...]


class StageRecord(Record):
    """One stage of a run: its inputs' fingerprint, when it ended and how long it took. `state` is never inferred."""

    fingerprint: str
    state: Literal["done", "failed", "stopped"]
    seconds: float
    finished: str
    detail: str = ""


class Manifest(Record):
    """What made this run: versions, hashes, seeds, stage fingerprints, timings."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    spec_fingerprint: str
    versions: dict[str, str]
    platform: str
    seeds: dict[str, int]
    hashes: dict[str, str] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    verdict: Literal["pass", "fail", "stopped", "unfinished"] = "unfinished"


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


class PushedFile(Record):
    """One file in the repository, with its size in bytes."""

    path: str
    bytes: int


class PushRecord(Record):
    """What went to the hub. `url` and `commit` are empty where nothing was uploaded (`--dry-run`).

    `verdict` is that of the run's records; "NOT JUDGED" for a checkpoint without a run. `texts` says whether users'
    texts are among it.
    """

    repository: str
    visibility: Literal["private", "public"]
    verdict: str
    texts: bool
    files: tuple[PushedFile, ...]
    notes: tuple[str, ...] = ()
    url: str = ""
    commit: str = ""
