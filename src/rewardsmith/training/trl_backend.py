"""The TRL backend: from a job to a checkpoint folder and a record of what happened.

    record = train(TrainJob(...))

A killed run continues from its newest complete checkpoint and ends with the same weights as an unbroken one: the
order of pairs is a function of the seed, optimizer, schedule and random states are restored, and the step log is cut
back.

What every backend says at the end of an epoch: findings, the checkpoint's record, the monitor's stop.

TRL's own `RewardTrainer`, given whole optimizer steps.

TRL's loss (`compute_loss`), optimizer, schedule, checkpoints and loop run unchanged. What this subclass does:

- A DataLoader item is a whole optimizer step (`StepSampler`), so that no pair is dropped or repeated at the tail.
- `training_step` cuts the step into micro-batches by tokens and weighs each by its share of the step's pairs. TRL
  averages micro-batch means, which weighs pairs unequally when micro-batches differ in size; here every pair weighs
  the same whatever the cut and however many processes share the step.
- Gradients are synchronised once a step, on the last micro-batch.
- A GPU is not waited for between micro-batches, but for the numbers that TRL's `compute_loss` reads of each: rewards
  are read when the step is written down, and the next step is laid out before that.
- Each step is written down with the rewards of all its pairs, gathered from all processes.
- A checkpoint is marked complete after its last file. The one before it stays until the next is to be written: it is
  what a resume falls back on, and there are never more than two on the disk.

Which checkpoints of a training run can be resumed.

A checkpoint is whole when its marker stands beside the weights and every file is the one that the marker names by its
SHA-256. The marker is written last, holds the fingerprint of what decides the weights, and is hashed itself. A folder
without one was being written when the process was killed. What the marker does not vouch for is never resumed, because
a lost schedule or a flipped byte of the optimizer's state gives other weights and no error.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import re
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import RewardConfig, RewardTrainer

import rewardsmith
from rewardsmith.allocation import keep_freed_memory
from rewardsmith.errors import MarginStop, ModelError
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.cpu_matmul import lacks_instructions
from rewardsmith.modeling.layouts import Layout, PairIds, Part, choose_layout, send_inputs
from rewardsmith.modeling.loading import choose_device, load_base, multiplies_bfloat16
from rewardsmith.modeling.regimes import Regimes, regimes_of
from rewardsmith.modeling.shapes import Size
from rewardsmith.modeling.stored import quiet_upstream
from rewardsmith.modeling.tree.token_tree import TreeLayout
from rewardsmith.modeling.weights import check_saved
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.checks import Finding
from rewardsmith.records.files import write_json, write_text
from rewardsmith.records.training import MonitorRecord, StepMetrics, TrainRecord
from rewardsmith.rendering import Renderer
from rewardsmith.spec import QloraAdapter, Spec
from rewardsmith.threads import in_words
from rewardsmith.training.metrics import MarginMonitor, StepLog, step_metrics
from rewardsmith.training.pace import THREADS_FILE, Pace, settle_threads
from rewardsmith.training.plan import StepSampler, TrainingPlan, deal, make_plan, order_pairs, refuse_data_parallel
from rewardsmith.training.progress import EpochClock, EpochProgress, Watch, pair_tokens
from rewardsmith.types import Conversation, PreferencePair


def number_prompts(pairs: Sequence[PreferencePair]) -> NDArray[np.int64]:
    """A number for each pair's prompt; pairs without a prompt have one each."""
    numbers: dict[Conversation | int, int] = {}
    keys = [pair.prompt or index for index, pair in enumerate(pairs)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def checkpoint_record(job: TrainJob) -> CheckpointRecord:
    """`rewardsmith.json` of the trained model, without its golden rewards."""
    return CheckpointRecord(
        rewardsmith_version=rewardsmith.__version__,
        base_model=job.spec.base_model.id,
        base_fingerprint=job.base_fingerprint,
        rendering=job.renderer.record,
        data_fingerprints=(*job.trained_on, job.data_fingerprint),
        reward_range=job.spec.training.reward_range,
    )


def range_finding(expected: tuple[float, float] | None, steps: Sequence[StepMetrics]) -> tuple[Finding, ...]:
    """One finding where rewards of some step left the expected range; its `count` is the number of such steps."""
    low, high = expected or (-np.inf, np.inf)
    outside = [step for step in steps if step.reward_min < low or step.reward_max > high]
    if not outside:
        return ()
    lowest, highest = min(step.reward_min for step in outside), max(step.reward_max for step in outside)
    return (
        Finding(
            code="reward_range",
            severity="warning",
            title="Rewards left the expected range",
            meaning=f"rewards went from {lowest:.3g} to {highest:.3g}; expected {expected}",
            why="rewards that drift or grow without bound saturate advantages and KL penalties in policy optimisation",
            fix="lower the learning rate if rewards still grow at the end, or widen training.reward_range",
            count=len(outside),
            of=len(steps),
        ),
    )


def damage_finding(damaged: Sequence[str], resumed: int) -> tuple[Finding, ...]:
    """One finding where checkpoints of this training could not be resumed because they were damaged."""
    if not damaged:
        return ()
    return (
        Finding(
            code="damaged_checkpoint",
            severity="warning",
            title="A training checkpoint was damaged and was not resumed",
            meaning="; ".join(damaged),
            why="a lost schedule or a changed byte of the optimizer's state gives other weights without an error",
            fix=f"nothing for this model: it was trained from {f'step {resumed}' if resumed else 'the start'} again. "
            "Look at the disk",
            count=len(damaged),
            of=len(damaged) + (resumed > 0),
        ),
    )


def monitor_finding(verdict: MonitorRecord) -> tuple[Finding, ...]:
    """One finding where the margin monitor did not see learning."""
    if verdict.verdict not in ("stall", "collapse"):
        return ()
    return (
        Finding(
            code=f"margin_{verdict.verdict}",
            severity="warning",
            title=f"The margin monitor says {verdict.verdict}",
            meaning=f"the step margin's trend is {verdict.trend.direction} (p = {verdict.trend.p_value:.3g})",
            why="a model whose margin does not rise has not learned what its labels say",
            fix=verdict.advice,
            count=verdict.falls,
            of=verdict.steps,
        ),
    )


def margin_stop(monitor: MonitorRecord, steps: int) -> MarginStop:
    """The verdict as an error; `steps` were planned."""
    return MarginStop(
        f"training stopped at step {monitor.steps} of {steps}: {monitor.verdict}. " + monitor.advice,
        where="training.monitor",
        fix="fix the data; or set training.monitor.on_collapse / on_stall to warn and run again to continue",
    )


MARKER = "rewardsmith_checkpoint.json"


@dataclass(frozen=True, slots=True)
class Resumable:
    """The newest whole checkpoint, None where there is none, and what is wrong with each newer one."""

    checkpoint: Path | None
    damaged: tuple[str, ...] = ()


def step_of(folder: Path) -> int:
    """The optimizer step after which a `checkpoint-N` folder was saved; -1 for any other folder."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match[1]) if match else -1


def mark_complete(folder: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole. Call it after every other file is written."""
    content = {"fingerprint": fingerprint, "step": step_of(folder), "files": _hashes(folder)}
    write_text(folder / MARKER, json.dumps(content | {"sha256": _own_hash(content)}, indent=1) + "\n")


def find_resumable(folder: Path, fingerprint: str) -> Resumable:
    """Look for the newest whole checkpoint of this fingerprint under `folder`; reads every file of those it tries.

    Checkpoints of other data or another spec, and those that were being written, are passed over without a word.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        marker = _read_marker(path)
        if marker is None or (isinstance(marker, dict) and marker["fingerprint"] != fingerprint):
            continue
        fault = marker if isinstance(marker, str) else _fault(path, marker["files"])
        if fault is None:
            return Resumable(path, tuple(damaged))
        damaged.append(f"{path.name}: {fault}")
    return Resumable(None, tuple(damaged))


def remove_all_but(folder: Path, keep: Path | None) -> None:
    """Delete every checkpoint under `folder` except `keep`: older, damaged, incomplete or of another fingerprint."""
    for path in folder.glob("checkpoint-*"):
        if path != keep:
            shutil.rmtree(path)


def _read_marker(path: Path) -> dict[str, Any] | str | None:
    """The marker; what is wrong with it; or None where it was never written."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        content = {name: marker[name] for name in ("fingerprint", "step", "files")}
    except FileNotFoundError:
        return None
    except KeyError:
        return f"{MARKER} does not say what the files were; an older version wrote it"
    except (OSError, ValueError, TypeError):
        return f"{MARKER} cannot be read"
    if marker.get("sha256") != _own_hash(content) or content["step"] != step_of(path):
        return f"{MARKER} is not as it was written"
    return content


def _fault(path: Path, files: dict[str, str]) -> str | None:
    """The first file that is missing, was not there, or is not as it was written."""
    there = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - {MARKER}
    if lost := sorted(files.keys() - there):
        return f"{', '.join(lost)} is missing"
    if more := sorted(there - files.keys()):
        return f"{', '.join(more)} was not written by training"
    found = _hashes(path)
    changed = [name for name in sorted(files) if files[name] != found[name]]
    return f"{', '.join(changed)} is not as it was written" if changed else None


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MARKER:
            with file.open("rb") as handle:
                found[str(file.relative_to(folder))] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found


def _own_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


OnStep = Callable[[StepMetrics, list[int], NDArray[np.float64]], bool]
"""Called on every process with the step's metrics, its pairs and their margins; True stops training."""


class Step(NamedTuple):
    """One optimizer step: its pairs (the same on every process) and their indices among the kept pairs."""

    indices: list[int]
    pairs: list[PairIds]


class Seen(NamedTuple):
    """What one micro-batch showed: pairs, rewards (all chosen, then all rejected), tokens computed."""

    indices: list[int]
    rewards: torch.Tensor
    tokens: int


class WholeStepTrainer(RewardTrainer):
    """See the module's docstring. `prompts_P` numbers each pair's prompt; `on_step` is called after every step."""

    def __init__(
        self,
        *args: Any,
        sampler: StepSampler,
        prompts_P: NDArray[np.int64],
        layout: Layout,
        token_budget: int,
        fingerprint: str,
        on_step: OnStep,
        clock: EpochClock | None = None,
        note: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.prompts_P = prompts_P
        self.layout = layout
        self.token_budget = token_budget
        self.fingerprint = fingerprint
        self.on_step = on_step
        self.clock = clock or EpochClock(np.ones(len(prompts_P), dtype=np.int64), len(sampler), None)
        self.note = note
        self.kernels: Counter[str] = Counter()
        self._seen: list[Seen] = []
        self._started, self._cpu_started = 0.0, 0.0
        self.pace: Pace | None = None
        if self.args.device.type == "cpu":
            self.pace = Pace(torch.get_num_threads())
            keep_freed_memory()
        self._row: TreeLayout | None = None
        self._next: tuple[list[int], list[Part]] | None = None

    def get_train_dataloader(self) -> DataLoader[Step]:
        """Whole steps, the same on every process: `training_step` deals them out, so accelerate must not shard them."""
        return DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=_as_step)

    def training_step(self, model: Any, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one whole step; returns the sum of this process's weighted micro-batch losses."""
        del num_items_in_batch
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        self._seen = []
        model.train()
        parts = self._parts_of(inputs)
        mine = deal(parts, self.accelerator.num_processes)[self.accelerator.process_index]
        total = torch.zeros((), device=self.args.device)
        self.clock.begin_step(self.state.global_step, inputs.indices, len(mine))
        for turn, part in enumerate(mine, start=1):
            # Processes exchange gradients once a step, with its last micro-batch.
            with nullcontext() if turn == len(mine) else self.accelerator.no_sync(model):
                total += self._micro_step(model, inputs, part or parts[-1], counts=part is not None)
        self._lay_out_next(inputs)
        return total

    def _parts_of(self, step: Step) -> list[Part]:
        """The micro-batches of a step: laid out already while the one before was computed, or now."""
        ahead, self._next = self._next, None
        if ahead is not None and ahead[0] == step.indices:
            return ahead[1]
        return self.layout.cut(step.pairs, self.token_budget)

    def _lay_out_next(self, step: Step) -> None:
        """Cut the next step into micro-batches before this one's results are waited for."""
        indices = self.sampler.after(step.indices)
        if indices:
            rows = _as_step([self.train_dataset[index] for index in indices])
            self._next = (indices, self.layout.cut(rows.pairs, self.token_budget))

    def _micro_step(self, model: Any, step: Step, part: Part, *, counts: bool) -> torch.Tensor:
        """Forward and backward of some pairs of a step; at weight 0 where the turn does not count (see `deal`)."""
        share = len(part.indices) / len(step.pairs) if counts else 0.0
        inputs = send_inputs(part.inputs(), self.args.device)
        tokens = int(inputs["input_ids"].numel())
        row: TreeLayout | None = inputs.get("tree_layout")
        if row is not None and self._row is not None:
            row.prepare_like(self._row)
        self._row = row
        with self.compute_loss_context_manager(), self._without_gathering():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        # Data-parallel training averages gradients over processes; the step's loss is a mean over all of its pairs.
        loss = loss * share * self.accelerator.num_processes
        self.accelerator.backward(loss)
        if counts:
            indices = [step.indices[index] for index in part.indices]
            self._seen.append(Seen(indices, outputs.logits.detach().float().squeeze(-1), tokens))
            self.clock.micro_batch(indices, tokens)
            self._count_kernels(row)
        return cast("torch.Tensor", loss.detach())

    def _count_kernels(self, row: TreeLayout | None) -> None:
        name = "padded" if row is None else " + ".join(sorted(row.kernels))
        if name not in self.kernels and self.note is not None and self.args.device.type != "cpu":
            self.note(f"attention: {name}")
        self.kernels[name] += 1

    @contextmanager
    def _without_gathering(self) -> Iterator[None]:
        """Keep `compute_loss` from gathering its own metrics: processes hold unequal numbers of pairs."""
        if self.accelerator.num_processes == 1:
            yield
            return
        kept = self.accelerator.gather, self.accelerator.gather_for_metrics
        self.accelerator.gather = self.accelerator.gather_for_metrics = _same
        try:
            yield
        finally:
            self.accelerator.gather, self.accelerator.gather_for_metrics = kept

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every step with its loss, gradient norm and learning rate."""
        super().log(logs, start_time)
        if "loss" in logs:  # the last call of a run carries totals instead
            self._write_step(logs)

    def _write_step(self, logs: dict[str, float]) -> None:
        rewards = [one.rewards.cpu().chunk(2) for one in self._seen]  # the one wait of a step
        seen = [
            (one.indices, chosen.tolist(), rejected.tolist(), one.tokens)
            for one, (chosen, rejected) in zip(self._seen, rewards, strict=True)
        ]
        if self.accelerator.num_processes > 1:
            seen = gather_object(seen)
        self._seen = []
        if not math.isfinite(logs["loss"]):
            raise ModelError(
                f"the loss is {logs['loss']} at step {self.state.global_step}: training has diverged",
                where="training.learning_rate",
                fix="lower it, raise training.warmup, or train in float32; the last complete checkpoint is kept",
            )
        indices = [index for part, _, _, _ in seen for index in part]
        chosen_P = np.array([reward for _, part, _, _ in seen for reward in part])
        rejected_P = np.array([reward for _, _, part, _ in seen for reward in part])
        metrics = step_metrics(
            step=self.state.global_step,
            chosen=chosen_P,
            rejected=rejected_P,
            prompts=len(np.unique(self.prompts_P[indices])),
            tokens=sum(tokens for _, _, _, tokens in seen),
            loss=float(logs["loss"]),
            grad_norm=float(logs["grad_norm"]) if "grad_norm" in logs else None,
            learning_rate=float(logs["learning_rate"]),
            seconds=time.perf_counter() - self._started,
        )
        self.clock.end_step()
        slow = self.pace.observe(metrics.seconds, time.process_time() - self._cpu_started) if self.pace else ""
        if slow and self.note is not None:
            self.note(slow)
        if self.on_step(metrics, indices, chosen_P - rejected_P):
            self.control.should_training_stop = True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            # Room first: beside the checkpoint that is written now the newest one before it stays.
            remove_all_but(folder.parent, keep=max(folder.parent.glob("checkpoint-*"), key=step_of, default=None))
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            # Behind the barrier: the marker hashes the random states of the other processes too.
            mark_complete(folder, self.fingerprint)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card from TRL: its snippet squashes the reward through a sigmoid and skips the chat template."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here: upstream's estimate takes `input_ids` of one batch, and a step is not one."""
        del inputs
        return 0


def _as_step(rows: list[dict[str, Any]]) -> Step:
    return Step(
        [int(row["index"]) for row in rows],
        [PairIds(np.asarray(row["chosen_ids"]), np.asarray(row["rejected_ids"])) for row in rows],
    )


def _same(value: Any, *_: Any, **__: Any) -> Any:
    return value


# TRL pings a usage counter when a trainer is built. A reward model's owner did not ask for that.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Everything that one training run needs.

    Attributes:
        base: folder or hub id that `spec.base_model` resolves to.
        pairs: the kept training pairs; `ids` holds their token ids in the same order.
        folder: `train/` of the run directory; checkpoints and step logs live there.
        model_folder: where the trained checkpoint appears.
        fingerprint: of everything that decides the weights (`plan.weights_fingerprint`).
        trained_on: data fingerprints that the base was already trained on as a reward model.
        base_fingerprint: of the base's files; says later which checkpoints are of one lineage.
        announce: called after every step with its metrics and the number of steps, for progress.
        watch: told how far the epoch is, from before the base is loaded on and after micro-batches.
        note: told what deserves a line on the terminal.
        held_out: pairs that are not trained on; OpenRLHF evaluates on some of them.
        sharded: each of several processes holds a share of weights, gradients and optimizer (FSDP).
        auto_tokens: of a micro-batch where the spec says `auto`, as the planner reckoned them for this device.
    """

    spec: Spec
    base: str
    base_size: Size
    policy_size: Size
    pairs: Sequence[PreferencePair]
    ids: Sequence[PairIds]
    renderer: Renderer
    folder: Path
    model_folder: Path
    fingerprint: str
    data_fingerprint: str
    trained_on: tuple[str, ...] = ()
    base_fingerprint: str | None = None
    announce: Callable[[StepMetrics, int], None] | None = None
    watch: Watch | None = None
    note: Callable[[str], None] | None = None
    held_out: Sequence[PreferencePair] = ()
    sharded: bool = False
    auto_tokens: int | None = None


@quiet_upstream()
def train(job: TrainJob) -> TrainRecord:
    """Train for one epoch, or finish an epoch that was interrupted.

    Raises:
        ModelError: base, adapter or device cannot be used.
        MarginStop: the monitor stopped training; the summary and the last checkpoint are kept.
    """
    record, steps = _train(job)
    # A trainer and its model refer to each other, and what comes next loads the checkpoint beside what is left of them.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if record.monitor.stopped:
        raise margin_stop(record.monitor, steps)
    return record


def _train(job: TrainJob) -> tuple[TrainRecord, int]:
    """The record, and how many steps were planned; what was built for it is garbage then."""
    started = time.perf_counter()
    device = choose_device(job.spec.hardware.device)
    if device.type == "cuda":
        refuse_data_parallel(torch.cuda.device_count(), processes=int(os.environ.get("WORLD_SIZE", "0")))
    plan = make_plan(
        job.spec,
        pairs=len(job.pairs),
        device=device.type,
        bf16_supported=multiplies_bfloat16(device),
        auto_tokens=job.auto_tokens,
    )
    if job.watch is not None:
        job.watch(EpochProgress(0, plan.steps))
    log = StepLog(job.folder)
    arguments = _arguments(job, plan)
    model = load_base(job.spec, job.base, job.renderer.tokenizer, seed=plan.seed)
    layout = _choose_layout(job, plan, model, arguments)
    main = arguments.should_save
    # Every process asks its monitor whether to stop, so all of them must have seen the same steps.
    ((resumable, seen),) = broadcast_object_list([_restart(job, log) if main else None])
    checkpoint = resumable.checkpoint
    if checkpoint is not None:
        check_saved(model, checkpoint)
    threads, why = settle_threads(job.spec.hardware.threads, job.folder, resumed=checkpoint is not None)
    if main and job.note is not None and device.type == "cpu" and not job.spec.hardware.threads:
        job.note(f"  {in_words(threads, why)}")
    if main and job.note is not None and device.type == "cpu" and plan.bf16 and lacks_instructions(torch.bfloat16):
        job.note(
            "warning: this processor has no instructions for bfloat16 and takes several times as long for it as for "
            "float32; write hardware.precision: float32"
        )
    monitor = MarginMonitor(job.spec.training.monitor, plan.steps, seen)

    def on_step(metrics: StepMetrics, indices: list[int], margins: NDArray[np.float64]) -> bool:
        if main:
            log.append(metrics, indices, margins)
            if job.announce is not None:
                job.announce(metrics, plan.steps)
        return monitor.observe(metrics)

    trainer = _build_trainer(job, plan, model, arguments, layout, on_step)
    trainer.clock.skip(trainer.sampler.first(len(seen)), len(seen))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    record = _summarise(job, plan, monitor, log, layout, trainer, resumable, time.perf_counter() - started)
    record = record.model_copy(update={"threads": threads, "threads_reason": why})
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    if main:
        _finish(job, trainer, record, weights)
    trainer.accelerator.wait_for_everyone()
    return record, plan.steps


def _choose_layout(job: TrainJob, plan: TrainingPlan, model: Any, arguments: RewardConfig) -> Layout:
    """On a GPU the model goes there first, so that what is proved is the kernel and the type that train."""
    # Quantised bases are there already; shares of weights go there by FSDP.
    on_gpu = plan.device == "cuda" and not job.sharded
    if on_gpu and not isinstance(job.spec.adapter, QloraAdapter):
        model.to(arguments.device)
    pad_token_id = job.renderer.record.pad_token_id
    return choose_layout(job.spec.training.layout, model, pad_token_id, autocast=on_gpu and plan.bf16)


def _restart(job: TrainJob, log: StepLog) -> tuple[Resumable, list[StepMetrics]]:
    """Bring the folder back to the moment of its newest whole checkpoint, or to nothing; and the steps that remain."""
    job.folder.mkdir(parents=True, exist_ok=True)
    found = find_resumable(job.folder, job.fingerprint)
    at = step_of(found.checkpoint) if found.checkpoint else 0
    if not log.holds(at):
        fault = f"{log.metrics_file.name} or {log.margins_file.name} lacks steps before {at}"
        found, at = Resumable(None, (*found.damaged, fault)), 0
    if found.damaged and job.note is not None:
        goes_on = f"training continues after step {at}" if at else "training starts anew"
        job.note(f"warning: damaged, not resumed: {'; '.join(found.damaged)}. {goes_on[0].upper()}{goes_on[1:]}")
    remove_all_but(job.folder, keep=found.checkpoint)
    return found, log.cut_to(at)


def _arguments(job: TrainJob, plan: TrainingPlan) -> RewardConfig:
    training, every = job.spec.training, job.spec.training.checkpoint_every_steps
    return RewardConfig(
        output_dir=str(job.folder),
        num_train_epochs=1,
        per_device_train_batch_size=plan.pairs_per_step,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=plan.schedule,
        warmup_steps=plan.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        gradient_checkpointing=training.gradient_checkpointing,
        bf16=plan.bf16,
        fp16=False,
        disable_dropout=False,  # the base's is off already, and the adapter's own is what the spec asks for
        use_cpu=plan.device == "cpu",
        fsdp="full_shard" if job.sharded else None,
        max_length=None,  # rendering has applied the spec's length policy already
        remove_unused_columns=False,
        logging_strategy="steps",
        logging_steps=1,
        # Upstream's filter would log the mean of earlier losses for a NaN, and `_write_step` would not see it.
        logging_nan_inf_filter=False,
        save_strategy="steps" if every else "no",
        save_steps=every or 1,
        report_to="none",
        disable_tqdm=True,
        seed=plan.seed,
        data_seed=plan.seed,
        # A step is numpy arrays; `send` pins what goes to a GPU.
        dataloader_pin_memory=False,
        **optimizer_of(plan.device),
    )


def optimizer_of(device: str) -> dict[str, str]:
    """On a GPU one fused kernel updates all weights; elsewhere what transformers takes by itself."""
    return {"optim": "adamw_torch_fused"} if device == "cuda" else {}


def _build_trainer(
    job: TrainJob, plan: TrainingPlan, model: Any, arguments: RewardConfig, layout: Layout, on_step: Any
) -> WholeStepTrainer:
    prompts_P = number_prompts(job.pairs)
    trainer = WholeStepTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(job.ids),
        processing_class=job.renderer.tokenizer,
        sampler=StepSampler(order_pairs(prompts_P, plan.order, plan.seed), plan.pairs_per_step),
        prompts_P=prompts_P,
        layout=layout,
        token_budget=plan.token_budget,
        fingerprint=job.fingerprint,
        on_step=on_step,
        clock=EpochClock(
            pair_tokens(job.ids),
            plan.steps,
            job.watch if arguments.should_save else None,
            processes=int(os.environ.get("WORLD_SIZE", "1")),
        ),
        note=job.note if arguments.should_save else None,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.is_fsdp_enabled:
        _refuse_parted(regimes_of(model), job.ids)
    if trainer.is_deepspeed_enabled:
        raise ModelError(
            "the TRL backend does not run under DeepSpeed, which would take an optimizer step per micro-batch",
            where="backend",
            fix="launch with DDP or FSDP, or use backend: openrlhf",
        )
    return trainer


def _refuse_parted(regimes: Regimes | None, ids: Sequence[PairIds]) -> None:
    """Under FSDP every process must run its layers equally often, and a batch of several regimes runs them more often.

    Raises:
        ModelError: the texts are of several.
    """
    if regimes is not None and len({regimes.key(len(text)) for pair in ids for text in pair}) > 1:
        raise ModelError(
            "positions of this base depend on the length of the longest text, and the texts lie on both sides of where "
            "they change: a batch is parted, which shares of weights (FSDP) cannot follow",
            where="hardware.sharding",
            fix="write ddp, or a data.max_length within the base's original_max_position_embeddings",
        )


def _dataset(ids: Sequence[PairIds]) -> datasets.Dataset:
    """TRL wants a `Dataset` with these columns; the token ids stay int32 arrays."""
    columns = {
        "chosen_ids": [pair.chosen for pair in ids],
        "rejected_ids": [pair.rejected for pair in ids],
        "index": list(range(len(ids))),
    }
    return datasets.Dataset.from_dict(columns).with_format("numpy")


def _summarise(
    job: TrainJob,
    plan: TrainingPlan,
    monitor: MarginMonitor,
    log: StepLog,
    layout: Layout,
    trainer: WholeStepTrainer,
    resumable: Resumable,
    seconds: float,
) -> TrainRecord:
    steps = monitor.steps
    verdict = monitor.conclude(log.margins(), job.pairs)
    outside = range_finding(job.spec.training.reward_range, steps)
    trainable = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    resumed = step_of(resumable.checkpoint) if resumable.checkpoint else 0
    counted = [trainer.kernels]
    if trainer.accelerator.num_processes > 1:
        counted = gather_object(counted)
    return TrainRecord(
        fingerprint=job.fingerprint,
        data_fingerprint=job.data_fingerprint,
        backend="trl",
        base_model=job.spec.base_model.id,
        base_notes=getattr(trainer.model, "weight_notes", ()),
        base_parameters=job.base_size.parameters or 0,
        policy_parameters=job.policy_size.parameters,
        trainable_parameters=sum(parameter.numel() for parameter in trainable),
        adapter=job.spec.adapter.kind,
        layout=layout.name,
        device=plan.device,
        dtype="bfloat16" if plan.bf16 else str(trainable[0].dtype).removeprefix("torch."),
        processes=trainer.accelerator.num_processes,
        pairs=plan.pairs,
        pairs_per_step=plan.pairs_per_step,
        steps=len(steps),
        prompts_per_step=float(np.mean([step.prompts for step in steps])),
        seconds=seconds,
        pairs_per_second=sum(step.pairs for step in steps[resumed:]) / max(seconds, 1e-9),
        tokens=sum(step.tokens for step in steps),
        peak_memory=_peak_memory(plan.device),
        resumed_from_step=resumed or None,
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        monitor=verdict,
        reward_range=job.spec.training.reward_range,
        outside_reward_range=outside[0].count if outside else 0,
        findings=(*damage_finding(resumable.damaged, resumed), *outside, *monitor_finding(verdict)),
        optimizer=getattr(trainer.args.optim, "value", trainer.args.optim),
        tokens_per_micro_batch=plan.token_budget,
        kernels=dict(sorted(sum(counted, Counter()).items())),
    )


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _finish(job: TrainJob, trainer: WholeStepTrainer, record: TrainRecord, weights: dict[str, Any] | None) -> None:
    """Write the checkpoint (unless the monitor stopped the run) and the summary; then the resumable state may go.

    `weights` are all of them, gathered from the processes that hold shares; None where this process has them all.
    """
    if not record.monitor.stopped:
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        whole = model if weights is None else _Gathered(model, weights)
        save_checkpoint(job.model_folder, whole, job.renderer, checkpoint_record(job))
    write_json(job.folder / "summary.json", record)
    if not record.monitor.stopped:
        remove_all_but(job.folder, keep=None)
        (job.folder / THREADS_FILE).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A sharded model, saved from weights that were gathered before: gathering takes all processes, saving one."""

    model: Any
    weights: dict[str, Any]

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        """As the model's own."""
        self.model.save_pretrained(folder, state_dict=self.weights, **options)
