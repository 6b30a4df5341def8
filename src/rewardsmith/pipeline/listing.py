"""`rewardsmith ls`: the runs in a folder, each in a line, read from their records.

    record = list_runs(Path("runs"), now=time.time())

Reads a few small files of each run and writes nothing. A run whose records cannot be read is a line that says why.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar

from rewardsmith.errors import UserError
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
    found = [folder] if (folder / MANIFEST).is_file() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    runs = [_summary(path, now) for path in found]
    runs.sort(key=lambda run: (run.age is None, run.age or 0.0, run.name))
    return RunsRecord(folder=str(folder), runs=tuple(runs))


def _summary(path: Path, now: float) -> RunSummary:
    name = path.resolve().name
    try:
        manifest = read_record(path / MANIFEST, Manifest)
        train = _optional(path / "train" / "summary.json", TrainRecord)
        gates = _optional(path / "gates.json", GatesRecord)
        spec = load_spec(path / "spec.yaml") if (path / "spec.yaml").is_file() else Spec()
        key, result = _result(path, spec)
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
        age=_age(manifest, now),
    )


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


def _age(manifest: Manifest, now: float) -> float | None:
    ends = [datetime.fromisoformat(stage.finished).timestamp() for stage in manifest.stages.values()]
    return max(0.0, now - max(ends)) if ends else None


def _optional(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.is_file() else None
