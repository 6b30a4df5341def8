"""The records of a run directory, as far as they are there.

    records = read_run(Path("runs/demo"))      raises RunDirectoryError, SpecError

An absent file is an absent stage (`None`, or empty). A file that is there and cannot be read is an error: a report on
half of the evidence would look like a report on all of it. The one exception is the last line of a `.jsonl` file that
a running or killed stage was still writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.checks import CheckRecord, RejectedRow
from rewardsmith.records.comparison import ComparisonRecord, PairComparison
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import BenchmarkResult, OodRecord, RowResult
from rewardsmith.records.files import Record, read_jsonl, read_record, read_row
from rewardsmith.records.judging import JudgeRecord
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.records.routing import RoutingRecord
from rewardsmith.records.run import GatesRecord, Manifest
from rewardsmith.records.training import (
    ControlsRecord,
    LabelNoiseRecord,
    LearningCurveRecord,
    ReplicasRecord,
    TrainRecord,
)
from rewardsmith.records.watch import WatchRecord
from rewardsmith.spec import Spec, load_spec

REJECTED_SHOWN = 20

Step = Mapping[str, float | None]
"""One line of `metrics.jsonl`; `None` where a number was not finite."""

R = TypeVar("R", bound=Record)
F = TypeVar("F", CheckRecord, TrainRecord)


@dataclass(frozen=True, slots=True)
class RowRewards:
    """Finite rewards of one subset's rows, chosen and rejected apart."""

    chosen: tuple[float, ...]
    rejected: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunRecords:
    """All that a report knows. `benchmarks` is keyed by the folder under `eval/`, in the spec's order, held-out last.

    `rows` maps folder → evaluated rows, `rewards` folder → subset → rewards; `rejected` holds the first rows that were
    left out; `files` maps the names of the checkpoint's files to their sizes in bytes.
    """

    spec: Spec | None = None
    manifest: Manifest | None = None
    check: CheckRecord | None = None
    rejected: tuple[RejectedRow, ...] = ()
    train: TrainRecord | None = None
    steps: tuple[Step, ...] = ()
    noise: LabelNoiseRecord | None = None
    benchmarks: Mapping[str, BenchmarkResult] = field(default_factory=dict)
    rows: Mapping[str, tuple[RowResult, ...]] = field(default_factory=dict)
    rewards: Mapping[str, Mapping[str, RowRewards]] = field(default_factory=dict)
    gates: GatesRecord | None = None
    ood: OodRecord | None = None
    diagnosis: DiagnosisRecord | None = None
    probes: ProbesRecord | None = None
    attack: AttackRecord | None = None
    watch: WatchRecord | None = None
    controls: ControlsRecord | None = None
    replicas: ReplicasRecord | None = None
    curve: LearningCurveRecord | None = None
    comparison: ComparisonRecord | None = None
    routing: RoutingRecord | None = None
    judges: Mapping[str, JudgeRecord] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)


def read_run(run_dir: Path) -> RunRecords:
    """Read whatever stages have left in a run directory.

    Raises:
        RunDirectoryError: there is no such folder, it holds no record, or a record cannot be read.
        SpecError: `spec.yaml` cannot be read.
    """
    if not run_dir.is_dir():
        raise RunDirectoryError(
            "no such folder", where=str(run_dir), fix="name a folder that `rewardsmith run` has made"
        )
    spec_path = run_dir / "spec.yaml"
    spec = load_spec(spec_path) if spec_path.exists() else None
    rows = {path.parent.name: _rows(path) for path in sorted((run_dir / "eval").glob("*/rows.jsonl"))}
    records = RunRecords(
        spec=spec,
        manifest=_optional(run_dir / "manifest.json", Manifest),
        check=_optional(run_dir / "check.json", CheckRecord),
        rejected=tuple(
            read_row(RejectedRow, row, "rejected.jsonl")
            for row in islice(_lines(run_dir / "rejected.jsonl"), REJECTED_SHOWN)
        ),
        train=_optional(run_dir / "train" / "summary.json", TrainRecord),
        steps=read_steps(run_dir),
        noise=_optional(run_dir / "label_noise.json", LabelNoiseRecord),
        benchmarks=_benchmarks(run_dir / "eval", spec),
        rows=rows,
        rewards={key: _rewards(found) for key, found in rows.items()},
        gates=_optional(run_dir / "gates.json", GatesRecord),
        ood=_optional(run_dir / "ood.json", OodRecord),
        diagnosis=_optional(run_dir / "diagnosis.json", DiagnosisRecord),
        probes=_optional(run_dir / "probes.json", ProbesRecord),
        attack=_optional(run_dir / "attack.json", AttackRecord),
        watch=_optional(run_dir / "watch.json", WatchRecord),
        controls=_optional(run_dir / "controls.json", ControlsRecord),
        replicas=_optional(run_dir / "replicas.json", ReplicasRecord),
        curve=_optional(run_dir / "learning_curve.json", LearningCurveRecord),
        comparison=_optional(run_dir / "comparison.json", ComparisonRecord),
        routing=_optional(run_dir / "routing" / "routing.json", RoutingRecord),
        judges={
            path.parent.name: read_record(path, JudgeRecord) for path in sorted((run_dir / "eval").glob("*/judge.json"))
        },
        files={path.name: path.stat().st_size for path in sorted((run_dir / "model").glob("*")) if path.is_file()},
    )
    if records == RunRecords():
        raise RunDirectoryError(
            "holds no record of a run", where=str(run_dir), fix="name a folder that `rewardsmith run` has made"
        )
    return records


def read_steps(run_dir: Path) -> tuple[Step, ...]:
    """The steps of training that are written down, none where there are none yet.

    Raises:
        RunDirectoryError: a line is not JSON.
    """
    return tuple(_numbers(row) for row in _lines(run_dir / "train" / "metrics.jsonl"))


def without_texts(records: RunRecords) -> RunRecords:
    """The same without what users wrote: examples of findings and probes, details of rejected rows, texts of flipped
    rows. Ids stay.
    """
    return replace(
        records,
        check=records.check and _without_examples(records.check),
        rejected=tuple(row.model_copy(update={"detail": ""}) for row in records.rejected),
        train=records.train and _without_examples(records.train),
        comparison=records.comparison and _without_prompts(records.comparison),
        attack=records.attack and _without_words(records.attack),
        watch=records.watch and records.watch.model_copy(update={"examples": ()}),
        probes=records.probes
        and records.probes.model_copy(
            update={
                "probes": {
                    code: probe.model_copy(update={"examples": ()}) for code, probe in records.probes.probes.items()
                }
            }
        ),
    )


def _without_prompts(record: ComparisonRecord) -> ComparisonRecord:
    bare = {"prompt": None, "chosen": None, "rejected": None}

    def pair(found: PairComparison) -> PairComparison:
        sides = {"gained": found.gained, "lost": found.lost}
        return found.model_copy(
            update={side: tuple(row.model_copy(update=bare) for row in rows) for side, rows in sides.items()}
        )

    benchmarks = {
        key: found.model_copy(update={"pairs": tuple(map(pair, found.pairs))})
        for key, found in record.benchmarks.items()
    }
    return record.model_copy(update={"benchmarks": benchmarks})


def _without_words(record: AttackRecord) -> AttackRecord:
    """Without examples, and without the words of a learned ending, which are those of users' rows."""
    tokens = record.tokens and record.tokens.model_copy(update={"words": ()})
    return record.model_copy(update={"examples": (), "tokens": tokens})


def _without_examples(record: F) -> F:
    findings = tuple(finding.model_copy(update={"examples": ()}) for finding in record.findings)
    return record.model_copy(update={"findings": findings})


def _optional(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.exists() else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a `.jsonl` file; a broken last line was still being written and is left out."""
    return read_jsonl(path, growing=True) if path.exists() else iter(())


def _numbers(row: Mapping[str, Any]) -> Step:
    return {name: value for name, value in row.items() if value is None or isinstance(value, int | float)}


def _benchmarks(folder: Path, spec: Spec | None) -> dict[str, BenchmarkResult]:
    found = {path.parent.name: read_record(path, BenchmarkResult) for path in sorted(folder.glob("*/results.json"))}
    order = [benchmark.key for benchmark in spec.evaluation.benchmarks] if spec else []

    def place(key: str) -> tuple[bool, int, str]:
        return found[key].held_out, order.index(key) if key in order else len(order), key

    return {key: found[key] for key in sorted(found, key=place)}


def _rows(path: Path) -> tuple[RowResult, ...]:
    return tuple(read_row(RowResult, row, str(path)) for row in _lines(path))


def _rewards(rows: Iterable[RowResult]) -> dict[str, RowRewards]:
    """Rewards per subset; those that could not be computed are left out (`n_missing` counts them)."""
    chosen: dict[str, list[float]] = {}
    rejected: dict[str, list[float]] = {}
    for row in rows:
        sides = row.rewards[: row.n_chosen], row.rewards[row.n_chosen :]
        for found, side in zip((chosen, rejected), sides, strict=True):
            found.setdefault(row.subset, []).extend(reward for reward in side if reward is not None)
    return {subset: RowRewards(tuple(chosen[subset]), tuple(rejected[subset])) for subset in chosen}
