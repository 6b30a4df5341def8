"""The data contract: the first stage of a run, and the commands that stop after it.

    record, run = check_job(spec, events)                  `check`: check.json, rejected.jsonl
    record, run = sample_job(spec, events, rows=1000)      `check --sample`: check.sample.json, no verdict
    rows        = shown_job(spec, events, count=3)         `check --show`
    record, run, fixed = fix_job(spec, events, out)        `check --fix`: the data without the rows that findings name

`staged` is how every stage is run: skipped where nothing that it depends on has changed, else done and written down.
Nothing here scores or trains, so that a check loads neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rewardsmith import gates
from rewardsmith.data.fix import FIXED_FILES, Side, write_fixed
from rewardsmith.data.sources import first_pairs
from rewardsmith.errors import FindingsError, MarginStop, UserError
from rewardsmith.evaluation.results import random_baselines
from rewardsmith.pipeline.context import Job, supported_backend
from rewardsmith.pipeline.directory import RunDirectory, read_paths
from rewardsmith.pipeline.events import Events, StageName, followed
from rewardsmith.records.checks import CheckRecord, FixRecord, ShownRow
from rewardsmith.records.files import guard_folder, read_record, write_json, write_jsonl, write_text
from rewardsmith.rendering import Renderer
from rewardsmith.spec import SourceSpec, Spec, dump_spec
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.types import PreferencePair, tools_of

R = TypeVar("R")


def staged(
    job: Job, name: StageName, fingerprint: str, work: Callable[[], R], read: Callable[[], R], *files: Path
) -> R:
    """Skip an unchanged stage by reading its record back; else do the work and write down how it ended."""
    if job.run.is_done(name, fingerprint, *files):
        job.events.stage(name, "unchanged")
        return read()
    job.events.stage(name, "started")
    started = time.perf_counter()
    try:
        result = work()
    except MarginStop as stop:
        job.run.finish(name, fingerprint, time.perf_counter() - started, "stopped", stop.problem)
        raise
    seconds = time.perf_counter() - started
    job.run.finish(name, fingerprint, seconds)
    job.events.stage(name, "done", f"{seconds:.0f} s")
    return result


def check(job: Job) -> CheckRecord:
    """The data contract, before any accelerator time is spent.

    Raises:
        FindingsError: a finding that the spec lists under `data.fail_on`; check.json is written.
        UserError: data, tokenizer or thresholds cannot be used.
    """
    path = job.run.path / "check.json"

    def work() -> CheckRecord:
        prepared = job.survey()
        write_jsonl(job.run.path / "rejected.jsonl", prepared.rejected)
        write_json(path, prepared.record)
        return prepared.record

    record = staged(job, "check", job.check_fingerprint, work, lambda: read_record(path, CheckRecord), path)
    refuse_failed(record, path)
    job.checked = record
    _check_thresholds(job)
    return record


def refuse_failed(record: CheckRecord, path: Path) -> None:
    """A check with findings that the spec does not tolerate goes no further.

    Raises:
        FindingsError: it is one.
    """
    if not record.passed:
        raise FindingsError(
            f"the data contract failed on {', '.join(record.failed_on)}",
            where=str(path),
            fix="rewardsmith check SPEC --fix OUT writes the data without the rows that findings name; or fix them, "
            "or take the severity or code out of data.fail_on",
        )


def _check_thresholds(job: Job) -> None:
    """Refuse thresholds that a guessing model would pass, by the random baselines of the very rows."""
    wanted = job.spec.evaluation.gates.minimum
    sets = job.evaluation_sets if HELD_OUT in wanted else job.benchmarks
    baselines = {key: random_baselines(kind, rows.rows, job.spec.seed) for key, (kind, rows) in sets.items()}
    gates.check_thresholds(job.spec.evaluation.gates, baselines)


def check_job(spec: Spec, events: Events, *, overwrite: bool = False) -> tuple[CheckRecord, Path]:
    """Check the data contract; returns the record and the run directory. Raises as `run_job` does."""
    supported_backend(spec)
    with RunDirectory.open(spec, overwrite=overwrite, note=events.note) as run, followed(run.path, events) as watched:
        return check(Job(spec, run, watched)), run.path


def sample_job(spec: Spec, events: Events, *, rows: int, overwrite: bool = False) -> tuple[CheckRecord, Path]:
    """A quick look at `rows` rows of each source: no verdict that `train` would accept; raises as `run_job` does.

    Its record is check.sample.json; findings about repeats and overlap are what the sample alone shows.
    """
    supported_backend(spec)
    with RunDirectory.open(spec, overwrite=overwrite, note=events.note) as run:
        record = Job(spec, run, events).sample(rows).record
        write_json(run.path / "check.sample.json", record)
        return record, run.path


def shown_job(spec: Spec, events: Events, count: int, *, overwrite: bool = False) -> tuple[ShownRow, ...]:
    """The first `count` pairs of each source, as read and as rendered; raises as `run_job` does."""
    supported_backend(spec)
    with RunDirectory.open(spec, overwrite=overwrite, note=events.note) as run:
        job = Job(spec, run, events)
        pairs = first_pairs(spec, job.resources.pairs, count)
        renderer = job.renderer
    return tuple(_shown(source, number, pair, renderer) for source, number, pair in pairs)


def _shown(source: str, number: int, pair: PreferencePair, renderer: Renderer) -> ShownRow:
    tools, prompt = tools_of(pair.prompt)
    turns = [tuple(turn.as_dict() for turn in side) for side in (prompt, pair.chosen, pair.rejected)]
    return ShownRow(
        source=source,
        row=number,
        id=pair.id,
        prompt=turns[0],
        chosen=turns[1],
        rejected=turns[2],
        tools=tuple(tools),
        chosen_text=renderer.text(pair.prompt + pair.chosen),
        rejected_text=renderer.text(pair.prompt + pair.rejected),
        margin=pair.target_margin,
    )


def fix_job(
    spec: Spec, events: Events, out: Path, *, drop_leaked: Side = "train", overwrite: bool = False
) -> tuple[CheckRecord, Path, FixRecord]:
    """Check the data, and write them to `out` without the rows that findings name, with a spec that reads them.

    Returns what was found, the run directory, and what was written.

    Raises:
        UserError: spec, data or folders cannot be used; `out` has files that are not from here.
    """
    supported_backend(spec)
    guard_folder(out, FIXED_FILES, "fix.json", read_paths(spec))
    if out.exists() and any(out.iterdir()) and not (out / "fix.json").is_file():
        raise UserError("has files that are not from here", where=str(out), fix="name a new folder under --fix")
    with RunDirectory.open(spec, overwrite=overwrite, note=events.note) as run:
        prepared = Job(spec, run, events).survey()
        record = write_fixed(prepared, out, drop_leaked=drop_leaked)
    write_text(out / "spec.yaml", dump_spec(_reading(spec, out)))
    return prepared.record, run.path, record


def _reading(spec: Spec, folder: Path) -> Spec:
    """The same spec over the files of `folder`."""
    own = bool(spec.data.held_out.sources)
    held_out = {"sources": (SourceSpec(path=str(folder / "held_out.jsonl")),)} if own else {}
    changed = spec.data.model_copy(
        update={
            "train": (SourceSpec(path=str(folder / "train.jsonl")),),
            "held_out": spec.data.held_out.model_copy(update=held_out),
        }
    )
    return spec.model_copy(update={"data": changed, "name": f"{spec.name}-fixed"})
