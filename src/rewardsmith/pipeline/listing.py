"""`rewardsmith ls`: the runs in a folder, each in a line, read from their records.

    record = list_runs(Path("runs"), now=time.time())

Reads a few small files of each run and writes nothing. A run whose records cannot be read is a line that says why.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar

from rewardsmith.errors import RunDirectoryError, UserError
from rewardsmith.modeling.known_faults import known_faults
from rewardsmith.pipeline.directory import MODEL
from rewardsmith.pipeline.following import read_live
from rewardsmith.records import (
    BenchmarkResult,
    GatesRecord,
    Manifest,
    Record,
    RunsRecord,
    RunSummary,
    TrainRecord,
    read_record,
)
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.verdict import judge_run
from rewardsmith.spec import Spec, load_spec
from rewardsmith.spec.evaluation import HELD_OUT

MANIFEST = "manifest.json"

R = TypeVar("R", bound=Record)


def list_runs(folder: Path, now: float) -> RunsRecord:
    """Runs directly in a folder, or the folder itself where it is a run; the newest first.

    Args:
        folder: as `output_dir` of a spec.
        now: seconds since 1970; ages count back from it.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder), fix="name a folder of runs, as output_dir in the spec")
    found = [folder] if (folder / MANIFEST).is_file() else sorted(filter(_is_run, _entries(folder)))
    runs = [_summary(path, now) for path in found]
    runs.sort(key=lambda run: (run.age is None, run.age or 0.0, run.name))
    return RunsRecord(folder=str(folder), runs=tuple(runs))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=str(folder), fix="name a folder that you may read"
        ) from error


def _is_run(path: Path) -> bool:
    """Whether something is called as a manifest is, also where it cannot be read: then the line of the run says why."""
    try:
        (path / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return path.is_dir()
    return True


def _summary(path: Path, now: float) -> RunSummary:
    name = path.name or path.resolve().name
    try:
        manifest = read_record(path / MANIFEST, Manifest)
        train = _optional(path / "train" / "summary.json", TrainRecord)
        gates = _optional(path / "gates.json", GatesRecord)
        spec = load_spec(path / "spec.yaml") if (path / "spec.yaml").is_file() else Spec()
        key, result = _result(path, spec)
        age = _age(path, manifest, now)
    except UserError as error:
        return RunSummary(name=name, path=str(path), problem=f"{error.where}: {error.problem}")
    live = read_live(path)
    stage = live.stage or "between stages" if live else next(reversed(manifest.stages), "")
    return RunSummary(
        name=manifest.name,
        path=str(path),
        stage=f"{stage} {live.done}/{live.total}" if live and live.total else stage,
        working=live is not None,
        verdict=_verdict(manifest, train, gates),
        base=spec.base_model.id,
        pairs=train.pairs if train else None,
        benchmark=key,
        average=result.average if result else None,
        missing=sum(result.missing_rewards.values()) if result else 0,
        age=age,
        notes=known_faults_of(path),
    )


def known_faults_of(run: Path) -> tuple[str, ...]:
    """What is known to be wrong with a run's model because of the version of Rewardsmith that made it, in words."""
    return tuple(map(str, known_faults(run / MODEL)))


def _verdict(manifest: Manifest, train: TrainRecord | None, gates: GatesRecord | None) -> str:
    """By the records; the manifest alone knows of a check that ended a run."""
    word = judge_run(RunRecords(train=train, gates=gates)).word
    return "STOPPED" if word == "UNFINISHED" and manifest.verdict == "stopped" else word


def _result(path: Path, spec: Spec) -> tuple[str, BenchmarkResult | None]:
    """The first benchmark of the spec that has results; the held-out pairs where none has."""
    for key in (*(benchmark.key for benchmark in spec.evaluation.benchmarks), HELD_OUT):
        result = _optional(path / "eval" / key / "results.json", BenchmarkResult)
        if result is not None:
            return key, result
    return "", None


def _age(path: Path, manifest: Manifest, now: float) -> float | None:
    ends = []
    for name, stage in manifest.stages.items():
        try:
            ends.append(datetime.fromisoformat(stage.finished).timestamp())
        except (ValueError, OverflowError, OSError) as error:
            raise RunDirectoryError(
                f"is not a Manifest: field 'stages.{name}.finished': {error}",
                where=str(path / MANIFEST),
                fix="delete the file and run the stage again",
            ) from error
    return max(0.0, now - max(ends)) if ends else None


def _optional(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.is_file() else None
