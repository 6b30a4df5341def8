"""`run --dry-run`: what a run would do, found out by opening everything that it needs. Nothing of the run is written.

    record = dry_run(spec, events)

What would stop the run at its start stops this with the same message: a base, tokenizer or template that does not
load, a base larger than its policy, a source or benchmark that cannot be read, a threshold that a guessing model
passes, a run directory that belongs to another spec. A few rows of each source go through the data contract. Then the
stages are compared with what the run directory holds. Only the cache of embedded models and data is written to.
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith import evaluation, gates
from rewardsmith.modeling.checkpoint import RECORD, refuse_second_epoch
from rewardsmith.modeling.loading import check_base
from rewardsmith.modeling.sizes import check_sizes, lineage_warning
from rewardsmith.pipeline import probing
from rewardsmith.pipeline.context import Job, supported_backend
from rewardsmith.pipeline.directory import RunDirectory
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.label_noise import NOISE_FILE
from rewardsmith.pipeline.stage_fingerprints import (
    evaluate_fingerprint,
    labels_fingerprint,
    probe_fingerprint,
    train_fingerprint,
)
from rewardsmith.pipeline.stages import refuse_failed
from rewardsmith.records import CheckRecord, DryRunRecord, DryRunStage, StageState, read_record
from rewardsmith.spec import Spec
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.training.checkpoints import find_resumable

ROWS = 200
"""Rows of each source that go through the data contract: enough for a wrong column, quick on any file."""


def dry_run(spec: Spec, events: Events, *, overwrite: bool = False) -> DryRunRecord:
    """Open what a run of this spec would open, and say what it would do.

    Args:
        overwrite: as of the run: another spec's run in the folder would be deleted.

    Raises:
        NegativeVerdict: the check of these very data is there and did not pass.
        UserError: what the run itself would raise at its start.
    """
    supported_backend(spec)
    job = Job(spec, RunDirectory.look(spec, overwrite=overwrite), events)
    seen = job.sample(ROWS).record
    _check_thresholds(job)
    check_base(spec, job.resources.base)
    base_size, policy_size = check_sizes(spec, job.resources.base)
    flown = job.fly()
    warnings = [found for found in (lineage_warning(base_size, policy_size),) if found]
    if seen.failed_on:
        warnings.append(f"these rows alone would stop the run at its check: {', '.join(seen.failed_on)}")
    if job.run.made_with:
        warnings.append(f"{job.run.path}: {job.run.made_with}")
    stages = _stages(job, warnings)
    return DryRunRecord(
        run=str(job.run.path),
        deletes=overwrite and job.run.path.exists(),
        base=spec.base_model.id,
        base_parameters=base_size.parameters,
        policy_parameters=policy_size.parameters,
        backend=spec.backend,
        device=spec.hardware.device,
        rows=seen.read,
        findings=tuple(f"{found.severity}: {found.title}" for found in seen.findings if found.severity != "note"),
        benchmarks={key: len(rows.rows) for key, (_, rows) in job.benchmarks.items()},
        stages=stages,
        flight=flown.said,
        warnings=tuple(warnings),
    )


def _check_thresholds(job: Job) -> None:
    """Those of benchmarks; that of held-out pairs needs all of the data, and `check` looks at it."""
    minimum = {key: limits for key, limits in job.spec.evaluation.gates.minimum.items() if key != HELD_OUT}
    wanted = job.spec.evaluation.gates.model_copy(update={"minimum": minimum})
    baselines = {
        key: evaluation.random_baselines(kind, rows.rows, job.spec.seed)
        for key, (kind, rows) in job.benchmarks.items()
        if key in minimum
    }
    gates.check_thresholds(wanted, baselines)


def _stages(job: Job, warnings: list[str]) -> tuple[DryRunStage, ...]:
    """Every stage with its state. Each stands on those before it: after one that would run, all would."""
    run, wanted = job.run, job.spec.evaluation
    check = _planned(job, "check", job.check_fingerprint, run.path / "check.json")
    train = _train_stage(job, warnings, checked=check.state == "unchanged")
    trained = train.state == "unchanged"
    results = [run.evaluation(key) / "results.json" for key in job.benchmarks]
    after = {
        "labels": (wanted.label_noise.suspects, labels_fingerprint, [run.path / NOISE_FILE]),
        "evaluate": (True, evaluate_fingerprint, results),
        "probe": (wanted.probes.pairs, probe_fingerprint, [run.path / probing.PROBES_FILE]),
    }
    return (
        check,
        train,
        *(
            _planned(job, name, fingerprint(job) if trained else "", *files)
            for name, (asked, fingerprint, files) in after.items()
            if asked
        ),
        DryRunStage(name="gates", state="would run", files=("gates.json", "ood.json")),
        DryRunStage(name="report", state="would run", files=("report.html", "summary.md")),
    )


def _train_stage(job: Job, warnings: list[str], *, checked: bool) -> DryRunStage:
    run, summary = job.run, job.run.path / "train" / "summary.json"
    fingerprint = ""
    if checked:
        record = read_record(run.path / "check.json", CheckRecord)
        refuse_failed(record, run.path / "check.json")
        refuse_second_epoch(job.resources.base, record.data_fingerprint)
        fingerprint = train_fingerprint(job, record)
    stage = _planned(job, "train", fingerprint, summary, run.model / RECORD)
    if stage.state != "would run" or not fingerprint:
        return stage
    found = find_resumable(summary.parent, fingerprint)
    warnings.extend(f"damaged, would not be resumed: {fault}" for fault in found.damaged)
    return stage.model_copy(update={"state": "would continue"}) if found.checkpoint else stage


def _planned(job: Job, name: str, fingerprint: str, *files: Path) -> DryRunStage:
    state: StageState = "unchanged" if fingerprint and job.run.is_done(name, fingerprint, *files) else "would run"
    return DryRunStage(name=name, state=state, files=tuple(str(file.relative_to(job.run.path)) for file in files))
