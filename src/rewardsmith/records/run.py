"""How a run ended, what it is doing, what it would do: `gates.json`, `manifest.json`, `live.json`, `trackers.json`.

`live.json` is there only while a run works. `RunsRecord` is the answer of `ls`, `DryRunRecord` that of `run --dry-run`,
`PushRecord` that of `push`. No token and no address is in any of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from rewardsmith.records.files import Record
from rewardsmith.records.plan import StageTime

Verdict = Literal["PASS", "FAIL", "NO_DATA"]
"""What a gate, a probe's limit or a way to a reward gives; NO_DATA never passes."""


class GateOutcome(Record):
    """One gate or warning. A `warning` does not decide the exit code; a gate that is not PASS does."""

    name: str
    """Of the rule."""
    kind: Literal["gate", "warning"]
    """Whether it decides."""
    verdict: Verdict
    """NO_DATA where there is nothing to apply the rule to."""
    benchmark: str = ""
    """Key that it is about; empty for training."""
    subset: str = ""
    """That it is about; empty for the whole."""
    value: float | None = None
    """What was found; null for NO_DATA, and for rules without a number."""
    threshold: float | None = None
    """What was asked for; null for rules without a limit."""
    message: str
    """The verdict in a sentence."""


class GatesRecord(Record):
    """`gates.json`: all gates of a run."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    passed: bool
    """Whether every gate (not every warning) is PASS."""
    outcomes: tuple[GateOutcome, ...]
    """In a fixed order: benchmarks, held-out pairs, other domains, probes, training."""


class StageRecord(Record):
    """How a stage of a run ended."""

    fingerprint: str
    """Of its inputs: a stage of equal fingerprint need not run again."""
    state: Literal["done", "failed", "stopped"]
    """Done, failed by an error, or stopped by its own rule."""
    seconds: float
    """That it took, since it was last begun: of a continued training the rest."""
    predicted: float | None = None
    """Seconds that the planner gives it, with the pairs, lengths and rows that were counted by then; null where it says
    nothing, and in older records."""
    finished: str
    """When it ended: UTC, ISO 8601."""
    detail: str = ""
    """The error or the reason; empty where it is done."""


class Manifest(Record):
    """`manifest.json`: what made this run."""

    when_lost: ClassVar[str] = (
        "restore it from a copy; without one move the run's folder away, and every stage is done again "
        "(its model/ stays a checkpoint that every command takes)"
    )
    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    name: str
    """Of the spec."""
    spec_fingerprint: str
    """Of the spec."""
    versions: dict[str, str]
    """Package → version."""
    platform: str
    """Operating system, processor and their number."""
    seeds: dict[str, int]
    """`spec` and `training`."""
    hashes: dict[str, str] = Field(default_factory=dict)
    """Name → SHA-256 of further inputs; empty in runs of this version."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    """Stage → how it ended, in the order in which they ended."""
    verdict: Literal["pass", "fail", "stopped", "unfinished"] = "unfinished"
    """Of the gates; stopped and unfinished where they were not reached."""


class LiveRecord(Record):
    """`live.json`: the stage at work, and how far it has come.

    A file whose process is gone was left by a run that was killed.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    process: int
    """Id of the process that writes it."""
    host: str
    """Name of its machine."""
    stage: str = ""
    """At work; empty for what comes before or between stages."""
    since: float = 0.0
    """When it began, in seconds since 1970."""
    label: str = ""
    """What is counted; empty where nothing is."""
    done: int = 0
    """How far it is."""
    total: int = 0
    """How far it goes; 0 where nothing is counted."""
    part: int = 0
    """How far the next of what is counted is: micro-batches of the training step at work."""
    parts: int = 0
    """How far that goes; 0 where it has no parts."""
    tokens_per_second: float | None = None
    """That training computes; null where nothing is trained, and before the first micro-batch."""
    seconds_left: float | None = None
    """Of what is counted, by tokens done and to come; null where only counts are known."""


class RunSummary(Record):
    """One run in a line."""

    name: str
    """Of the spec, or of the folder where the spec cannot be read."""
    path: str
    """Folder."""
    stage: str = ""
    """What it is doing, or the last that ended."""
    working: bool = False
    """Whether a process is at work on it."""
    verdict: str = ""
    """PASS, FAIL, STOPPED or UNFINISHED by its records; empty where they cannot be read."""
    base: str = ""
    """Id of the base model."""
    pairs: int | None = None
    """Training pairs; null before training."""
    benchmark: str = ""
    """Key of the evaluated set that `average` is of; empty before evaluation."""
    average: float | None = None
    """Its score, 0 to 1; null before evaluation."""
    missing: int = 0
    """Rewards that the average lacks."""
    age: float | None = None
    """Seconds since a stage last ended; null where none did."""
    notes: tuple[str, ...] = ()
    """Faults known of the version of Rewardsmith that made its model."""
    problem: str = ""
    """Why a folder that looks like a run cannot be read; empty where it can."""


class RunsRecord(Record):
    """All runs of a folder."""

    folder: str
    """That was looked at."""
    runs: tuple[RunSummary, ...]
    """The newest first."""


StageState = Literal["would run", "would continue", "unchanged"]


class DryRunStage(Record):
    """One stage: what a run would do with it."""

    name: str
    """Of the stage."""
    state: StageState
    """What a run would do."""
    files: tuple[str, ...]
    """That hold its result, relative to the run directory."""


class DryRunRecord(Record):
    """What a run would do, and what it found when it opened everything that it needs."""

    run: str
    """Folder."""
    deletes: bool = False
    """Whether what is in it would be deleted first."""
    base: str
    """Id of the base model."""
    base_parameters: int | None
    """Of the base; null where they are not known."""
    policy_parameters: int | None
    """Of the policy; null where the spec does not say."""
    backend: str
    """That would train."""
    device: str
    """As the spec names it."""
    rows: int
    """Of the data that were looked at."""
    findings: tuple[str, ...] = ()
    """Errors and warnings in these rows."""
    benchmarks: dict[str, int]
    """Key → rows."""
    stages: tuple[DryRunStage, ...]
    """In their order."""
    warnings: tuple[str, ...] = ()
    """What to look at before the run."""
    times: tuple[StageTime, ...] = ()
    """How long each stage takes, done or not, by the planner; empty in older records, and where it cannot say."""
    flight: str = ""
    """What two pairs went through: forward, step, save, reload; in words."""


class TrackerState(Record):
    """What one tracker was told."""

    id: str
    """What the tracker calls the run."""
    step: int = 0
    """The last one it was told."""
    told: dict[str, str] = Field(default_factory=dict)
    """Name → digest of other numbers that it was told."""


class TrackersRecord(Record):
    """`trackers.json`: what trackers have been told of a run. No token and no address is in it."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of the training: another one starts afresh."""
    trackers: dict[str, TrackerState] = Field(default_factory=dict)
    """Name → state."""


class PushedFile(Record):
    """One file in the repository."""

    path: str
    """In the repository."""
    bytes: int
    """Its size."""


class PushRecord(Record):
    """What went to the hub, or would go."""

    repository: str
    """On the hub."""
    visibility: Literal["private", "public"]
    """Of a repository that is made."""
    verdict: str
    """Of the run's records; "NOT JUDGED" for a checkpoint without a run."""
    texts: bool
    """Whether users' texts are among it."""
    files: tuple[PushedFile, ...]
    """That were uploaded, or would be."""
    notes: tuple[str, ...] = ()
    """What to know of them."""
    url: str = ""
    """Of the repository; empty where nothing was uploaded (`--dry-run`)."""
    commit: str = ""
    """On the hub; empty where nothing was uploaded."""
