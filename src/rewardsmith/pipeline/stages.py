"""The stages of the main job after the check, in order. Each takes the job and leaves its records in the run directory.

    check      (checking.py) data contract, thresholds  check.json, rejected.jsonl
    train      one epoch, or the rest of one            train/, model/
    labels     what its margins say of the labels       label_noise.json
    evaluate   benchmarks and held-out pairs            eval/*/results.json, rows.jsonl
    probe      edited responses                         probes.json
    attack     searched edits, where they are asked for attack.json
    controls   trainings on changed data (`controls`)   controls/, controls.json
    gate       results and rules                        gates.json, ood.json, diagnosis.json
    publish    records                                  report.html, summary.md

Each stage has a fingerprint, the hash of what it depends on; those after training stand on the training that the run
directory holds. A stage whose fingerprint is unchanged, and whose files are there, is skipped.

`run_training` decides where a training runs: in this process, or on `hardware.workers` workers under Ray. Where
`accelerate launch` or `torchrun` started this process, it is one of several already and Ray is left alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rewardsmith import evaluation, gates
from rewardsmith.attacking.results import ATTACK_FILE
from rewardsmith.errors import RunDirectoryError, SpecError
from rewardsmith.evaluation import Benchmark, BenchmarkRows
from rewardsmith.evaluation.probes import gate_probes
from rewardsmith.modeling.checkpoint import RECORD, read_checkpoint_record, refuse_second_epoch
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.shapes import check_sizes, lineage_warning
from rewardsmith.pipeline import attacking, probing
from rewardsmith.pipeline.checking import staged
from rewardsmith.pipeline.cluster import ray_cluster
from rewardsmith.pipeline.commands.plan import copies_fit, tokens_here, trained_by
from rewardsmith.pipeline.commands.report import report_job
from rewardsmith.pipeline.context import Job, is_main_process
from rewardsmith.pipeline.directory import file_sha256, place_fingerprint, versions
from rewardsmith.pipeline.embedded import uses_embedded_data
from rewardsmith.pipeline.evaluating import evaluate_renderings, prompt_blind_rewards
from rewardsmith.pipeline.events import Events
from rewardsmith.pipeline.label_noise import NOISE_FILE, look_at_labels
from rewardsmith.pipeline.scorers import checkpoint_scorer, note_reuse
from rewardsmith.records.attack import AttackRecord
from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import BenchmarkResult, RewardSummary
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.records.run import GatesRecord
from rewardsmith.records.training import LabelNoiseRecord, LearningCurveRecord, TrainRecord
from rewardsmith.scoring import CheckpointScorer
from rewardsmith.spec import ExportSpec, QloraAdapter, Spec, digest
from rewardsmith.spec.architecture import HardwareSpec
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.training.job import TrainJob, warm_start_finding
from rewardsmith.training.metrics import StepLog
from rewardsmith.training.openrlhf.command import versions_of_backend
from rewardsmith.training.plan import weights_fingerprint
from rewardsmith.training.trl_backend import train


def require_check(job: Job) -> CheckRecord:
    """The passed check of this very fingerprint.

    Raises:
        RunDirectoryError: there is none.
    """
    path = job.run.path / "check.json"
    if job.run.is_done("check", job.check_fingerprint, path):
        record = read_record(path, CheckRecord)
        if record.passed:
            job.checked = record
            return record
    raise RunDirectoryError(
        "train refuses to start: no check of these data, this template and this spec has passed",
        where=str(path),
        fix="run `rewardsmith check` with this spec first, or `rewardsmith run`, which does both",
    )


def train_model(job: Job, checked: CheckRecord) -> TrainRecord:
    """One epoch of training, continued where it was interrupted.

    Raises:
        MarginStop: the monitor stopped training; summary and last checkpoint are kept.
        SpecError, ModelError: the base is larger than the policy, was trained on these pairs already, or cannot be
        loaded.
    """
    base_size, policy_size = check_sizes(job.spec, job.resources.base)
    warning = lineage_warning(base_size, policy_size)
    if warning:
        job.events.note(f"warning: {warning}")
    trained_on = refuse_second_epoch(job.resources.base, checked.data_fingerprint)
    for found in warm_start_finding(trained_on):
        job.events.note(f"warning: {found.title}: {found.meaning}; {found.fix}")
    fingerprint = train_fingerprint(job, checked)
    summary = job.run.path / "train" / "summary.json"

    def work() -> TrainRecord:
        if is_main_process():
            job.fly()
        prepared = job.prepared
        return run_training(
            TrainJob(
                spec=job.spec,
                base=job.resources.base,
                base_size=base_size,
                policy_size=policy_size,
                pairs=[row.pair for row in prepared.train],
                ids=[PairIds(row.chosen_ids, row.rejected_ids) for row in prepared.train],
                renderer=job.renderer,
                folder=job.run.path / "train",
                model_folder=job.run.model,
                fingerprint=fingerprint,
                data_fingerprint=checked.data_fingerprint,
                trained_on=trained_on,
                base_fingerprint=job.base_fingerprint,
                announce=job.announce(fingerprint),
                watch=job.events.micro_batch,
                note=job.events.note,
                held_out=prepared.held_out,
                auto_tokens=tokens_here(job.spec, job.resources.base),
            ),
            job.events,
        )

    files = (summary, job.run.model / RECORD)
    return staged(job, "train", fingerprint, work, lambda: read_record(summary, TrainRecord), *files)


def train_fingerprint(job: Job, checked: CheckRecord) -> str:
    """Of everything that decides the weights."""
    return weights_fingerprint(
        job.spec,
        data_fingerprint=digest([checked.data_fingerprint, job.pairs_fingerprint]),
        base_fingerprint=job.base_fingerprint,
        versions=versions() | versions_of_backend(job.spec),
    )


def run_training(job: TrainJob, events: Events) -> TrainRecord:
    """Train for one epoch, or the rest of one. Raises as `trl_backend.train` and `ray_train.train_on_ray` do."""
    if trained_by(job.spec, job.base) == "openrlhf":
        from rewardsmith.training.openrlhf.backend import train as train_by_openrlhf

        return train_by_openrlhf(replace(job, spec=job.spec.model_copy(update={"backend": "openrlhf"})))
    count = wanted_workers(job.spec.hardware)
    if count == 1 or "WORLD_SIZE" in os.environ:
        return train(job)
    hardware = job.spec.hardware
    with ray_cluster(hardware.ray_address) as cluster:
        from rewardsmith.training.ray_train import Workers, train_on_ray

        share = cluster.share(count, hardware.device)
        workers = Workers(
            count=count,
            cpus=share.cpus,
            gpus=share.gpus,
            threads=share.threads,
            folder=Path(hardware.shared_storage) if hardware.shared_storage else None,
            restarts=hardware.restarts,
            sharded=choose_sharding(job.spec, job.base, count),
        )
        how = "FSDP" if workers.sharded else "DDP"
        events.note(f"{count} workers under Ray ({how}) on {cluster.nodes} machines")
        return train_on_ray(job, workers, events.note)


def wanted_workers(hardware: HardwareSpec) -> int:
    """Training processes over all machines."""
    if hardware.workers is not None:
        return hardware.workers
    return hardware.nodes * (hardware.devices_per_node or 1) if hardware.nodes > 1 else 1


def choose_sharding(spec: Spec, base: str, workers: int) -> bool:
    """Whether each worker holds a share of the weights (FSDP) in place of all of them (DDP).

    `auto`: where the planner's formula says that a device cannot hold all of it. Weights in 4 bits are never parted.

    Raises:
        SpecError: shares of weights held in 4 bits.
    """
    quantised = isinstance(spec.adapter, QloraAdapter)
    if spec.hardware.sharding == "auto":
        return not quantised and not copies_fit(spec, base, workers)
    if spec.hardware.sharding == "fsdp" and quantised:
        raise SpecError(
            "weights in 4 bits cannot be held in shares",
            where="hardware.sharding",
            fix="write ddp; or adapter.kind: lora with fsdp",
        )
    return spec.hardware.sharding == "fsdp"


def labels(job: Job) -> LabelNoiseRecord | None:
    """How many training labels are wrong, and which are suspected; None where the spec does not ask.

    Raises:
        ModelError: the trained checkpoint cannot be opened.
    """
    path, wanted = job.run.path / NOISE_FILE, job.spec.evaluation.label_noise
    if not wanted.suspects or not StepLog(job.run.path / "train").margins_file.exists():
        path.unlink(missing_ok=True)
        return None
    fingerprint = labels_fingerprint(job)

    def work() -> LabelNoiseRecord:
        record = look_at_labels(job, fingerprint)
        write_json(path, record)
        return record

    record = staged(job, "labels", fingerprint, work, lambda: read_record(path, LabelNoiseRecord), path)
    job.events.note(f"  {record.statement}")
    return record


def labels_fingerprint(job: Job) -> str:
    """Of everything that decides what the margins say."""
    trained = job.run.manifest.stages["train"]
    return digest(
        {
            "model": trained.fingerprint,
            "state": trained.state,
            "wanted": job.spec.evaluation.label_noise.model_dump(mode="json"),
            "versions": versions(),
        }
    )


def evaluate(job: Job) -> dict[str, BenchmarkResult]:
    """Every benchmark of the spec and the held-out pairs, by key.

    Raises:
        BenchmarkError, ModelError: rows or checkpoint cannot be used.
    """
    keys = [*job.benchmarks, HELD_OUT]
    files = [job.run.evaluation(key) / "results.json" for key in keys]
    fingerprint = evaluate_fingerprint(job)

    def read() -> dict[str, BenchmarkResult]:
        return {key: read_record(file, BenchmarkResult) for key, file in zip(keys, files, strict=True) if file.exists()}

    def work() -> dict[str, BenchmarkResult]:
        scorer = checkpoint_scorer(job.spec, job.run.model, job.events)
        for key, (kind, rows) in job.evaluation_sets.items():
            _evaluate_one(job, scorer, key, kind, rows)
        note_reuse(scorer, job.events)
        results = read()
        _describe_in_checkpoint(job, results)
        return results

    # Without held-out pairs there is no such result, and its absence is no reason to evaluate again.
    needed = [file for key, file in zip(keys, files, strict=True) if key != HELD_OUT]
    return staged(job, "evaluate", fingerprint, work, read, *needed)


def evaluate_fingerprint(job: Job) -> str:
    """Of everything that decides scores: model, rows, rendering, resampling."""
    return digest(
        {
            "model": job.run.manifest.stages["train"].fingerprint,
            "benchmarks": [
                [key, rows.dataset.sha256, rows.dataset.source] for key, (_, rows) in job.benchmarks.items()
            ],
            "renderings": {benchmark.key: benchmark.protocol for benchmark in job.spec.evaluation.benchmarks},
            "bootstrap": job.spec.evaluation.bootstrap,
            "pairs": job.pairs_fingerprint,
            "versions": versions(),
        }
    )


def _evaluate_one(job: Job, scorer: CheckpointScorer, key: str, kind: Benchmark, rows: BenchmarkRows) -> None:
    blind = {}
    if uses_embedded_data(job.spec):
        blind["bag of words"] = prompt_blind_rewards(rows, [row.pair for row in job.prepared.train])
    protocols = {benchmark.key: benchmark.protocol for benchmark in job.spec.evaluation.benchmarks}
    done = evaluate_renderings(
        scorer,
        protocols.get(key, "checkpoint"),
        kind,
        rows,
        seed=job.spec.seed,
        resamples=job.spec.evaluation.bootstrap,
        model=job.spec.name,
        held_out=key == HELD_OUT,
        others=blind,
        progress=job.progress(f"scoring {rows.title}"),
    )
    evaluation.write_evaluation(done, job.run.evaluation(key))


def _describe_in_checkpoint(job: Job, results: Mapping[str, BenchmarkResult]) -> None:
    """Put scores, spread of rewards and calibration into `rewardsmith.json`; rewards themselves stay raw."""
    record = read_checkpoint_record(job.run.model)
    if record is None or not results:
        return
    summary = {
        key: {"average": result.average, **{name: subset.score for name, subset in result.subsets.items()}}
        for key, result in results.items()
    }
    spread = (results.get(HELD_OUT) or next(iter(results.values()))).rewards
    own = results[HELD_OUT].analysis if HELD_OUT in results else None
    changes = {
        "evaluation": summary,
        "reward_mean": spread.mean,
        "reward_std": spread.std,
        "calibration": evaluation.checkpoint_calibration(own.calibration if own else None),
        "normalization": _normalisation(job.spec.export, spread) or record.normalization,
    }
    write_json(job.run.model / RECORD, record.model_copy(update=changes))


def _normalisation(export: ExportSpec, spread: RewardSummary) -> dict[str, str | float] | None:
    """What the framework that asked for it needs to normalise by itself: recorded, never applied."""
    if not export.normalize_rewards or spread.mean is None or spread.std is None:
        return None
    return {
        "required_by": str(export.required_by),
        "formula": str(export.formula),
        "mean": spread.mean,
        "std": spread.std,
    }


def probe(job: Job, checked: CheckRecord) -> ProbesRecord | None:
    """Bias probes, with verdicts by the spec's limits; None where the spec asks for none or no pairs are held out.

    Raises:
        UserError: the rows that the spec names cannot be used.
    """
    path, wanted = job.run.path / probing.PROBES_FILE, job.spec.evaluation.probes
    if not wanted.pairs or (wanted.data == HELD_OUT and not checked.held_out_pairs):
        path.unlink(missing_ok=True)
        return None
    fingerprint = probe_fingerprint(job)

    def work() -> ProbesRecord:
        scorer = checkpoint_scorer(job.spec, job.run.model, job.events)
        record = probing.probe_rows(
            scorer, probing.rows_of(job), job.spec, job.spec.name, job.progress("scoring edited responses")
        )
        note_reuse(scorer, job.events)
        write_json(path, record)
        return record

    found = staged(job, "probe", fingerprint, work, lambda: read_record(path, ProbesRecord), path)
    gated = gate_probes(found, job.spec.evaluation.gates.probes)
    if gated != found:  # other limits over the same rewards
        write_json(path, gated)
    return gated


def probe_fingerprint(job: Job) -> str:
    """Of everything that decides what edits do to rewards."""
    wanted = job.spec.evaluation.probes
    return digest(
        {
            "model": job.run.manifest.stages["train"].fingerprint,
            "rows": job.pairs_fingerprint if wanted.data == HELD_OUT else place_fingerprint(wanted.data),
            "probes": wanted.model_dump(mode="json"),
            "bootstrap": job.spec.evaluation.bootstrap,
            "seed": job.spec.seed,
            "versions": versions(),
        }
    )


def attack(job: Job, checked: CheckRecord) -> AttackRecord | None:
    """The price of a hack; None where the spec asks for no attack or no pairs are held out.

    Raises:
        UserError: the rows, the phrases or the language model that the spec names cannot be used.
    """
    path, wanted = job.run.path / ATTACK_FILE, job.spec.evaluation.attack
    journal = job.run.path / attacking.JOURNAL_FILE
    if not wanted.pairs or (wanted.data == HELD_OUT and not checked.held_out_pairs):
        path.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        return None
    fingerprint = attack_fingerprint(job)

    def work() -> AttackRecord:
        record = attacking.attack_run(job, journal, fingerprint)
        write_json(path, record)
        journal.unlink(missing_ok=True)
        return record

    return staged(job, "attack", fingerprint, work, lambda: read_record(path, AttackRecord), path)


def attack_fingerprint(job: Job) -> str:
    """Of everything that decides what an attack finds."""
    wanted = job.spec.evaluation.attack
    return digest(
        {
            "model": job.run.manifest.stages["train"].fingerprint,
            "rows": job.pairs_fingerprint if wanted.data == HELD_OUT else place_fingerprint(wanted.data),
            "attack": job.spec.attack_as_before(),
            "phrases": file_sha256(Path(wanted.phrases)) if wanted.phrases and Path(wanted.phrases).is_file() else "",
            **({"fluency": place_fingerprint(wanted.fluency)} if wanted.fluency else {}),
            "bootstrap": job.spec.evaluation.bootstrap,
            "seed": job.spec.seed,
            "versions": versions(),
        }
    )


def gate(
    job: Job,
    results: Mapping[str, BenchmarkResult],
    trained: TrainRecord | None,
    probes: ProbesRecord | None = None,
    attacked: AttackRecord | None = None,
) -> GatesRecord:
    """Results and rules → gates.json, ood.json. Pure and cheap: done afresh every time."""
    started = time.perf_counter()
    record = gates.evaluate_gates(results, job.spec.evaluation, trained, probes, attacked)
    write_json(job.run.path / "gates.json", record)
    write_json(job.run.path / "ood.json", evaluation.skills(results))
    fingerprint = digest([job.spec.fingerprint("evaluation"), file_sha256(job.run.path / "gates.json")])
    job.run.finish("gates", fingerprint, time.perf_counter() - started)
    return record


def diagnose(
    job: Job,
    results: Mapping[str, BenchmarkResult],
    trained: TrainRecord | None,
    *,
    replicas: Mapping[int, DiagnosisRecord] = MappingProxyType({}),
    curve: LearningCurveRecord | None = None,
) -> DiagnosisRecord:
    """Results, data check and training → diagnosis.json. Pure and cheap: done afresh every time."""
    record = evaluation.diagnose_run(results, job.checked, trained, replicas=replicas, curve=curve)
    write_json(job.run.path / evaluation.DIAGNOSIS_FILE, record)
    return record


def publish(job: Job) -> Path:
    """Everything in the run directory → report.html and summary.md; returns the former."""
    return report_job(job.run.path, job.events)
