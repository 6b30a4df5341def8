"""The main job, and the parts of it that have a command of their own.

    outcome = run_job(spec, events)              check → train → labels → evaluate → gates → report
    record  = train_job(spec, events)            refuses without a passed check of the same fingerprint
    result  = evaluate_job(spec, "rewardbench2", "rows.jsonl", Path("results"), events)
    gates   = gate_evaluation(spec, "rewardbench2", "rows.jsonl", result, Path("results"))     `evaluate --gates`
    record  = dry_run(spec, events)              what a run would do, found out by opening everything that it needs

A negative verdict on the way (a `fail_on` finding, a margin stop) is raised after the report has been written:
everything made so far is kept and shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rewardsmith import evaluation, gates
from rewardsmith.addresses import is_address
from rewardsmith.attacking.results import ATTACK_FILE
from rewardsmith.benchmarks import rendered_upstream
from rewardsmith.errors import MarginStop, NegativeVerdict, SpecError, UserError
from rewardsmith.evaluation import Benchmark, BenchmarkRows, Evaluation
from rewardsmith.evaluation.causes import diagnose_run
from rewardsmith.modeling.checkpoint import RECORD, refuse_second_epoch
from rewardsmith.modeling.loading import check_base
from rewardsmith.modeling.shapes import check_sizes, lineage_warning
from rewardsmith.pipeline import probing, stages
from rewardsmith.pipeline.checking import check, refuse_failed
from rewardsmith.pipeline.commands.plan import PlanOptions, counted_rows, plan_job
from rewardsmith.pipeline.context import Job, is_main_process, supported_backend
from rewardsmith.pipeline.controls import CONTROLS_FILE, controls_fingerprint, run_controls
from rewardsmith.pipeline.directory import RunDirectory, checkpoint_folder, deletes
from rewardsmith.pipeline.evaluating import as_text, evaluate_renderings, evaluate_with, load_benchmark
from rewardsmith.pipeline.events import Events, followed
from rewardsmith.pipeline.label_noise import NOISE_FILE
from rewardsmith.pipeline.scorers import any_scorer, note_reuse
from rewardsmith.pipeline.stages import (
    attack_fingerprint,
    evaluate_fingerprint,
    labels_fingerprint,
    probe_fingerprint,
    train_fingerprint,
)
from rewardsmith.pipeline.tracking import tracked
from rewardsmith.pipeline.variants import (
    forget_stale_curve,
    read_curve_record,
    read_diagnoses,
    refuse_several_processes,
    run_learning_curve,
    run_replicas,
)
from rewardsmith.planning.time import lengths_of
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import RESULTS_FILE, ROWS_FILE, BenchmarkResult
from rewardsmith.records.files import guard_folder, read_record, write_json, write_text
from rewardsmith.records.plan import StageTime
from rewardsmith.records.run import DryRunRecord, DryRunStage, GatesRecord, StageState
from rewardsmith.records.training import ControlsRecord, LearningCurveRecord, ReplicasRecord, TrainRecord
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.view import view
from rewardsmith.scoring import CachedScorer, LocalScorer
from rewardsmith.spec import BenchmarkSpec, EvaluationSpec, Spec
from rewardsmith.spec.evaluation import HELD_OUT, RenderingProtocol
from rewardsmith.training.resume import find_resumable


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the gates' verdict, the results, and where the report is."""

    passed: bool
    run: Path
    report: Path
    gates: GatesRecord
    results: dict[str, BenchmarkResult]
    diagnosis: DiagnosisRecord
    check: CheckRecord
    replicas: ReplicasRecord | None = None
    curve: LearningCurveRecord | None = None
    controls: ControlsRecord | None = None


def run_job(
    spec: Spec, events: Events, *, overwrite: bool = False, learning_curve: Sequence[float] = ()
) -> Outcome | None:
    """Do the whole job; None on the helping processes of a distributed run, which only train.

    With `learning_curve` (rising fractions of the training prompts) it also trains on these shares; with
    `training.seeds` in the spec, on the other seeds.

    Raises:
        NegativeVerdict: a `fail_on` finding or a margin stop; the report is written first.
        UserError: spec, data or run directory cannot be used.
    """
    supported_backend(spec)
    several = {
        "training.seeds": bool(spec.training.seeds),
        "--learning-curve": bool(learning_curve),
        "evaluation.controls": bool(spec.evaluation.controls.share),
    }
    for what in (name for name, wanted in several.items() if wanted):
        refuse_several_processes(what)
    with RunDirectory.open(spec, overwrite=overwrite, main=is_main_process(), note=events.note) as run:
        if not is_main_process():
            _help_training(Job(spec, run, events))
            return None
        with followed(run.path, events) as watched, tracked(spec, run.path, events.note) as tracking:
            job = Job(spec, run, watched)
            job.tracking = tracking
            if run.made_with:
                watched.note(f"{run.path}: {run.made_with}")
            return _whole_job(job, learning_curve)


def _whole_job(job: Job, learning_curve: Sequence[float]) -> Outcome:
    """All stages, on the process that writes files."""
    run = job.run
    if not (run.path / "train" / "summary.json").exists():
        job.fly()  # first, because reading the data may take hours
    try:
        check_base(job.spec, job.resources.base)  # before the data: hours may lie between them
        checked = check(job)
        _predict(job)
        trained = _train(job, checked)
    except NegativeVerdict:
        run.update(verdict="stopped")
        stages.publish(job)
        raise
    results = stages.evaluate(job)
    probes = stages.probe(job, checked)
    attacked = stages.attack(job, checked)
    controls = run_controls(job, results)
    replicas = run_replicas(job, results)
    forget_stale_curve(job)
    curve = run_learning_curve(job, learning_curve, results) if learning_curve else None
    diagnosis = stages.diagnose(job, results, trained, replicas=read_diagnoses(job), curve=read_curve_record(job))
    verdict = stages.gate(job, results, trained, probes, attacked)
    run.update(verdict="pass" if verdict.passed else "fail")
    if job.tracking:
        job.tracking.gated(results, probes, verdict)
    started = time.perf_counter()
    report = stages.publish(job)
    run.finish("report", run.manifest.stages["gates"].fingerprint, time.perf_counter() - started)
    return Outcome(verdict.passed, run.path, report, verdict, results, diagnosis, checked, replicas, curve, controls)


def _predict(job: Job) -> None:
    """Write the planner's seconds of each stage beside the real ones; what it cannot say stops no run."""
    rows = {key: len(rows.rows) for key, (_, rows) in job.benchmarks.items()} | counted_rows(job.spec)
    try:
        times = plan_job(job.spec, PlanOptions(rows=rows, measure=False), job.events).times
    except UserError as error:
        job.events.note(f"how long the stages take is not predicted: {error.problem}")
        return
    job.run.predict({one.stage: one.seconds for one in times})


def _train(job: Job, checked: CheckRecord) -> TrainRecord:
    """Train, and look at the labels, the more so when the margin monitor has stopped training."""
    try:
        trained = stages.train_model(job, checked)
    except MarginStop:
        _catch_up(job)
        stages.labels(job)
        raise
    _catch_up(job)
    stages.labels(job)
    return trained


def _catch_up(job: Job) -> None:
    """Trackers hear of the steps that they were not told while training."""
    if job.tracking:
        job.tracking.catch_up()


def _help_training(job: Job) -> None:
    """What the other processes of a distributed run do: prepare the same pairs and join the training."""
    stages.train_model(job, job.prepared.record)


def train_job(spec: Spec, events: Events) -> tuple[TrainRecord, Path] | None:
    """Train after a passed check; returns the record and the checkpoint. Raises as `run_job` does."""
    supported_backend(spec)
    with RunDirectory.open(spec, main=is_main_process()) as run:
        if not is_main_process():
            _help_training(Job(spec, run, events))
            return None
        with followed(run.path, events) as watched, tracked(spec, run.path, events.note) as tracking:
            job = Job(spec, run, watched)
            job.tracking = tracking
            checked = stages.require_check(job)
            _predict(job)
            return _train(job, checked), run.model


def evaluate_job(
    spec: Spec | None,
    benchmark: str,
    data: str,
    out: Path,
    events: Events,
    *,
    model: str | Path | None = None,
    rewards: str | None = None,
    cache: bool = True,
    protocol: RenderingProtocol | None = None,
    missing: Literal["protocol", "upstream"] = "protocol",
) -> BenchmarkResult:
    """Score one benchmark into `out`: a checkpoint, the model of a spec's run, or rewards computed elsewhere.

    `model` is a checkpoint, or the URL of a server (`RemoteScorer`). With `cache`, rewards that this checkpoint gave
    before are not computed again. `protocol` as in the spec's benchmarks; `checkpoint` when None. With
    `missing="upstream"` a missing reward counts as the benchmark's own code has it.

    Raises:
        UserError: not exactly one of the three is given, or it does not fit.
    """
    given = [name for name, value in (("SPEC", spec), ("--model", model), ("--rewards", rewards)) if value is not None]
    if len(given) != 1:
        raise UserError(
            f"evaluate takes exactly one of SPEC, --model and --rewards; it got {' and '.join(given) or 'none'}",
            fix="rewardsmith evaluate --model DIR --benchmark rewardbench2 --data FILE --out DIR",
        )
    if protocol is not None and rewards is not None:
        raise UserError(
            "--protocol says how text becomes tokens, and --rewards reads rewards that are there already",
            fix="leave --protocol out",
        )
    names = (RESULTS_FILE, ROWS_FILE, "gates.json", "summary.md")
    guard_folder(out, names, RESULTS_FILE, (data, rewards or data))
    if protocol == "upstream" and is_address(model):
        raise UserError(
            "--protocol upstream renders with the checkpoint's own files, and the model is served elsewhere",
            fix="leave it out, or name the checkpoint's folder",
        )
    kind, rows = load_benchmark(BenchmarkSpec(name=benchmark, data=data), data)
    if protocol == "upstream" and not kind.renders_upstream:
        raise UserError(
            f"--protocol upstream is the rendering of a benchmark's own script, and {kind.name} has none here",
            fix=f"leave it out; it is for {', '.join(rendered_upstream())}",
        )
    kind = kind.as_upstream() if missing == "upstream" else kind
    settings = spec or Spec()
    name = rewards or str(model or checkpoint_folder(settings))
    if rewards is not None:
        found = evaluation.read_offline(rewards, rows.rows)
        noted = replace(rows, note=f"{rows.note} {found.note}".strip())
        done = evaluation.score_rows(kind, noted, found.rewards, seed=settings.seed, model=name, reasons=found.reasons)
    else:
        done = _score_model(settings, name, kind, rows, events, cache, protocol or "checkpoint")
    evaluation.write_evaluation(done, out)
    return done.result


def _score_model(
    spec: Spec,
    model: str,
    kind: Benchmark,
    rows: BenchmarkRows,
    events: Events,
    cache: bool,
    protocol: RenderingProtocol,
) -> Evaluation:
    scorer, name, conversational = any_scorer(spec, model, events, cache=cache)
    if not conversational:
        rows = as_text(rows)

    def progress(done: int, total: int) -> None:
        events.progress(f"scoring {rows.title}", done, total)

    if not isinstance(scorer, LocalScorer | CachedScorer):
        resamples = spec.evaluation.bootstrap
        return evaluate_with(scorer, kind, rows, seed=spec.seed, resamples=resamples, model=name, progress=progress)
    done = evaluate_renderings(
        scorer,
        protocol,
        kind,
        rows,
        seed=spec.seed,
        resamples=spec.evaluation.bootstrap,
        model=name,
        progress=progress,
    )
    note_reuse(scorer, events)
    return done


def gate_evaluation(spec: Spec, benchmark: str, data: str, result: BenchmarkResult, out: Path) -> GatesRecord:
    """Judge one result by the spec's gates and leave `gates.json` and `summary.md` in `out`.

    For a checkpoint that was trained elsewhere, or for CI: only what the spec asks of this benchmark counts; gates on
    other benchmarks, held-out pairs and probes are ignored.

    Args:
        spec: whose `evaluation.gates` apply.
        benchmark: the benchmark's name, or the label under which the spec lists it.
        data: what was evaluated; tells benchmarks of one name apart.
        result: its scores.
        out: folder of `results.json`.

    Raises:
        SpecError: the spec lists no such benchmark, or a threshold that a guessing model would pass.
    """
    asked = _asked(spec, benchmark, data)
    known = {name: subset.baseline for name, subset in result.subsets.items()}
    if result.average_baseline is not None:
        known[gates.AVERAGE] = result.average_baseline
    evaluation = _narrowed(spec.evaluation, asked)
    gates.check_thresholds(evaluation.gates, {asked.key: known})
    verdict = gates.evaluate_gates({asked.key: result}, evaluation)
    write_json(out / "gates.json", verdict)
    results = {asked.key: result}
    records = RunRecords(benchmarks=results, gates=verdict, diagnosis=diagnose_run(results))
    write_text(out / "summary.md", render_markdown(view(records)))
    return verdict


def _asked(spec: Spec, benchmark: str, data: str) -> BenchmarkSpec:
    """The benchmark of the spec that was evaluated: by label, else by name, and by data where several have it."""
    listed = [one for one in spec.evaluation.benchmarks if benchmark in (one.name, one.key)]
    same = [one for one in listed if one.data == data]
    if not listed:
        names = ", ".join(one.key for one in spec.evaluation.benchmarks) or "none"
        raise SpecError(
            f"lists no benchmark {benchmark!r}, so it has no gates for it (there: {names})",
            where="evaluation.benchmarks",
            fix="add the benchmark to the spec, or leave --gates out",
        )
    return (same or listed)[0]


def _narrowed(evaluation: EvaluationSpec, asked: BenchmarkSpec) -> EvaluationSpec:
    """The same rules for this benchmark alone."""
    minimum = {asked.key: evaluation.gates.minimum.get(asked.key, {})}
    rules = evaluation.gates.model_copy(update={"minimum": minimum})
    probes = evaluation.probes.model_copy(update={"pairs": 0})
    return evaluation.model_copy(update={"benchmarks": (asked,), "gates": rules, "probes": probes})


ROWS = 200
"""Rows of each source that go through the data contract: enough for a wrong column, quick on any file."""


def dry_run(spec: Spec, events: Events, *, overwrite: bool = False) -> DryRunRecord:
    """Open what a run of this spec would open, and say what it would do. Nothing of the run is written.

    What would stop the run at its start stops this with the same message: a base, tokenizer or template that does not
    load, a base larger than its policy, a source or benchmark that cannot be read, a threshold that a guessing model
    passes, a run directory that belongs to another spec. A few rows of each source go through the data contract. Then
    the stages are compared with what the run directory holds. Only the cache of embedded models and data is written to.

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
    benchmarks = {key: len(rows.rows) for key, (_, rows) in job.benchmarks.items()}
    times = _times(job, seen, benchmarks, warnings)
    return DryRunRecord(
        run=str(job.run.path),
        deletes=overwrite and deletes(spec),
        base=spec.base_model.id,
        base_parameters=base_size.parameters,
        policy_parameters=policy_size.parameters,
        backend=spec.backend,
        device=spec.hardware.device,
        rows=seen.read,
        findings=tuple(f"{found.severity}: {found.title}" for found in seen.findings if found.severity != "note"),
        benchmarks=benchmarks,
        stages=stages,
        times=times,
        flight=flown.said,
        warnings=tuple(warnings),
    )


def _times(job: Job, seen: CheckRecord, benchmarks: Mapping[str, int], warnings: list[str]) -> tuple[StageTime, ...]:
    """Seconds of each stage: by the run's check, else by the lines of local files and the rows that were looked at."""
    lengths = lengths_of(seen.tokens, pairs=seen.train_pairs, source=f"{seen.read:,} rows that were looked at")
    pairs = _train_pairs(job, seen)
    options = PlanOptions(
        rows={**benchmarks, **counted_rows(job.spec)}, lengths=replace(lengths, pairs=pairs), measure=False
    )
    if pairs is None and not (job.run.path / "check.json").is_file():
        warnings.append("the training pairs have not been counted: times are for 1,000; run check first")
    return plan_job(job.spec, options, job.events).times


def _train_pairs(job: Job, seen: CheckRecord) -> int | None:
    """Training pairs by the lines of local files, if as many are kept and held out as of the rows that were looked at.

    None where a source is no local file of lines, or only a part of it is taken.
    """
    files = []
    for source in job.spec.data.train:
        file = Path(source.path) if source.path else job.resources.pairs.get("train") if source.embedded else None
        partial = source.limit or source.rows or source.share or source.weight
        if file is None or file.suffix != ".jsonl" or not file.is_file() or partial:
            return None
        files.append(file)
    lines = 0
    for file in files:
        with file.open("rb") as rows:
            lines += sum(1 for _ in rows)
    read = sum(one.read for one in seen.sources if one.role == "train")
    return round(lines * seen.train_pairs / read) if read else None


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
        "attack": (wanted.attack.pairs, attack_fingerprint, [run.path / ATTACK_FILE]),
        "controls": (
            wanted.controls.share,
            lambda job: controls_fingerprint(job, wanted.controls.share),
            [run.path / CONTROLS_FILE],
        ),
    }
    return (
        check,
        train,
        *(
            _planned(job, name, fingerprint(job) if trained else "", *files)
            for name, (asked, fingerprint, files) in after.items()
            if asked
        ),
        DryRunStage(name="gates", state="would run", files=("gates.json", "ood.json", "diagnosis.json")),
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
