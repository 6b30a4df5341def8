"""The TRL backend on several workers under Ray Train: the same step, log and checkpoint contracts, on many machines.

    record = train_on_ray(job, Workers(count=2, cpus=0.9, folder=Path("/mnt/shared/rewardsmith")))

A cluster is joined or started before (`pipeline/cluster.py`). Every worker runs `trl_backend.train` on the same job;
rank 0 writes, and sends each step to the driver. When a worker dies, Ray Train starts all of them again and each finds
the last complete checkpoint, as a killed run does: the result is that of an unbroken run. Errors of Rewardsmith (a
spec, a model, a margin stop) are no accidents: they are handed to the driver, and not tried again.

    driver                         worker 0                       worker 1 …
      │ ray.put(job)      ─►          train(job)      gloo / nccl     train(job)
      │ ◄─ steps, record ─ mailbox ─┘   └─► folder: metrics.jsonl, checkpoint-N, model
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue

from rewardsmith.errors import MarginStop, ModelError, RewardsmithError
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.training.job import TrainJob
from rewardsmith.training.progress import EpochProgress, Watch
from rewardsmith.training.trl_backend import train

_PATIENCE_SECONDS = 1.0
_RAYS_OWN = ".ray"


@dataclass(frozen=True, slots=True)
class Workers:
    """How a job is spread.

    Attributes:
        count: training processes.
        cpus, gpus: what each of them reserves; a little less than whole CPUs leaves room for reading and saving.
        threads: CPU threads of each.
        folder: seen by all machines, for checkpoints and logs while training; None where the run directory is.
        restarts: how often dead workers are replaced.
        sharded: FSDP in place of DDP.
    """

    count: int
    cpus: float
    gpus: float = 0.0
    threads: int = 1
    folder: Path | None = None
    restarts: int = 3
    sharded: bool = False


def train_on_ray(job: TrainJob, workers: Workers, note: Callable[[str], None] = lambda _: None) -> TrainRecord:
    """Train for one epoch on all workers, or finish an epoch that was interrupted.

    Args:
        job: as for `trl_backend.train`; its folders are on this machine.
        workers: how many, and where they write.
        note: told when workers start again.

    Raises:
        ModelError: base or device cannot be used, a machine does not see the folder, or workers died too often.
        MarginStop: the monitor stopped training.
    """
    spread = _spread(job, workers)
    mark = _mark(spread.folder)
    mailbox = Queue(actor_options={"num_cpus": 0})
    announced = _Announced(job.announce, note, job.watch)
    try:
        _fit(_trainer(spread, workers, mailbox, mark), mailbox, announced)
    finally:
        mailbox.shutdown(force=True)
        mark.unlink(missing_ok=True)
        _failed(mark).unlink(missing_ok=True)
        shutil.rmtree(spread.folder / _RAYS_OWN, ignore_errors=True)
    return _conclude(job, spread, announced)


def _spread(job: TrainJob, workers: Workers) -> TrainJob:
    """The job as workers get it: whole paths, and a folder of its own on the shared storage where there is one."""
    folder, model_folder = job.folder.resolve(), job.model_folder.resolve()
    if workers.folder is not None:
        place = (workers.folder / f"rewardsmith-{job.fingerprint[:16]}").resolve()
        folder, model_folder = place / "train", place / "model"
    base = str(Path(job.base).resolve()) if Path(job.base).is_dir() else job.base
    sharded = workers.sharded and workers.count > 1
    return replace(
        job, base=base, folder=folder, model_folder=model_folder, announce=None, watch=None, note=None, sharded=sharded
    )


def _mark(folder: Path) -> Path:
    """A file that every worker must see before it trains."""
    mark = folder / f".seen-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise ModelError(
            f"cannot be written: {error.strerror or error}",
            where=str(folder),
            fix="name another folder under hardware.shared_storage",
        ) from error
    return mark


def _failed(mark: Path) -> Path:
    """Stands beside the mark once a worker has met an error that trying again does not fix."""
    return mark.with_suffix(".failed")


def _trainer(job: TrainJob, workers: Workers, mailbox: Queue, mark: Path) -> TorchTrainer:
    resources = {"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {})
    return TorchTrainer(
        _work,
        train_loop_config={"job": ray.put(job), "mailbox": mailbox, "mark": str(mark)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            # Ray's own notes on this attempt; what resumes is our checkpoint, beside it.
            name=uuid.uuid4().hex,
            storage_path=str(mark.parent / _RAYS_OWN),
            failure_config=ray.train.FailureConfig(max_failures=workers.restarts),
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(workers.threads)}},
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )


class _Announced:
    """What the workers said, as it reached the driver."""

    def __init__(
        self,
        announce: Callable[[StepMetrics, int], None] | None,
        note: Callable[[str], None],
        watch: Watch | None = None,
    ) -> None:
        self._announce = announce
        self._note = note
        self._watch = watch
        self._starts = 0
        self.record: TrainRecord | None = None
        self.error: RewardsmithError | None = None

    def take(self, message: tuple[str, Any]) -> None:
        """One message of rank 0, or an error of any."""
        kind, content = message
        if kind == "step" and self._announce is not None:
            self._announce(*content)
        elif kind == "watch" and self._watch is not None:
            self._watch(content)
        elif kind == "started":
            self._starts += 1
            if self._starts > 1:
                self._note("a worker died; all start again from the last complete checkpoint")
        elif kind == "note":
            self._note(content)
        elif kind == "record":
            self.record = content
        elif kind == "error":
            self.error = self.error or content


def _fit(trainer: TorchTrainer, mailbox: Queue, announced: _Announced) -> None:
    """Run until all workers are done, and hand on what they say meanwhile.

    `fit` has a thread of its own: in the main thread it would take Ctrl-C for itself and keep it.
    """
    failures: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            announced.take(mailbox.get(timeout=_PATIENCE_SECONDS))
        except Empty:
            continue
    for message in mailbox.get_nowait_batch(mailbox.qsize()):
        announced.take(message)
    if failures and announced.error is None:
        raise ModelError(
            f"training failed on its workers: {_first_line(failures[0])}",
            where="hardware.workers",
            fix="run it again: it continues after the last complete checkpoint; hardware.restarts sets how often a "
            "worker that died is replaced",
        ) from failures[0]


def _first_line(error: Exception) -> str:
    """What a worker failed with; Ray's own words where no worker said anything."""
    causes = list(getattr(error, "worker_failures", {}).values()) or [error]
    lines = [line for line in str(causes[0]).strip().splitlines() if line.strip()]
    return f"{type(causes[0]).__name__}: {lines[-1].strip() if lines else 'no message'}"


def _work(config: dict[str, Any]) -> None:
    """On every worker."""
    mailbox, mark = config["mailbox"], Path(config["mark"])
    leads = ray.train.get_context().get_world_rank() == 0
    job: TrainJob = ray.get(config["job"])

    def announce(metrics: StepMetrics, steps: int) -> None:
        mailbox.actor.put_nowait.remote(("step", (metrics, steps)))  # nobody waits for the driver

    def watch(at: EpochProgress) -> None:
        mailbox.actor.put_nowait.remote(("watch", at))

    def note(text: str) -> None:
        mailbox.put(("note", text))

    if _failed(mark).exists():  # Ray starts workers again whatever the error was
        return
    if leads:
        mailbox.put(("started", None))
    try:
        _check_sight(mark)
        _settle(job)
        record = train(replace(job, announce=announce, watch=watch, note=note) if leads else job)
    except MarginStop as stop:  # all workers stop together
        mailbox.put(("error", stop))
        return
    except RewardsmithError as error:
        mailbox.put(("error", error))
        with suppress(OSError):
            _failed(mark).touch()
        raise  # not a quiet end: the other workers may be waiting for this one
    if leads:
        mailbox.put(("record", record))


def _check_sight(mark: Path) -> None:
    if not mark.is_file():
        raise ModelError(
            f"the machine {os.uname().nodename} does not see this folder",
            where=str(mark.parent),
            fix="set hardware.shared_storage to a folder that is mounted on all machines",
        )


def _settle(job: TrainJob) -> None:
    """What `accelerate launch` would have set."""
    if not torch.cuda.is_available() or job.spec.hardware.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"


def _conclude(job: TrainJob, spread: TrainJob, announced: _Announced) -> TrainRecord:
    """Bring logs and model to the run directory, and end as the backend in one process ends."""
    error = announced.error
    if error is not None and not isinstance(error, MarginStop):
        raise error
    if spread.folder != job.folder.resolve():
        _bring(spread, job, keep=error is not None)
    if error is not None:
        raise error
    if announced.record is None:
        raise ModelError("the workers ended without a result", where="hardware.workers", fix="run it again")
    return announced.record


def _bring(spread: TrainJob, job: TrainJob, *, keep: bool) -> None:
    """Copy from the shared storage; each folder appears whole. `keep` leaves what a later start continues from."""
    job.folder.mkdir(parents=True, exist_ok=True)
    for file in spread.folder.glob("*.json*"):
        part = job.folder / f".{file.name}.part"
        shutil.copyfile(file, part)
        part.replace(job.folder / file.name)
    if spread.model_folder.is_dir():
        aside = job.model_folder.with_name(job.model_folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(spread.model_folder, aside)
        shutil.rmtree(job.model_folder, ignore_errors=True)
        aside.rename(job.model_folder)
    if not keep:
        shutil.rmtree(spread.folder.parent)
