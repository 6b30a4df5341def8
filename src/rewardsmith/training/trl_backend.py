"""The TRL backend: from a job to a checkpoint folder and a record of what happened.

    record = train(TrainJob(...))

A killed run continues from its newest complete checkpoint and ends with the same weights as an unbroken one: the
order of pairs is a function of the seed, optimizer, schedule and random states are restored, and the step log is cut
back.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from transformers import PrinterCallback
from trl import RewardConfig

from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.cpu_matmul import lacks_instructions
from rewardsmith.modeling.layouts import Layout, PairIds, choose_layout
from rewardsmith.modeling.loading import choose_device, load_base, multiplies_bfloat16
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.regimes import Regimes, regimes_of
from rewardsmith.modeling.weights import check_saved
from rewardsmith.records.files import write_json, write_text
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.spec import QloraAdapter
from rewardsmith.threads import ThreadChoice, in_words, thread_choice
from rewardsmith.training.job import (
    TrainJob,
    checkpoint_record,
    margin_stop,
    monitor_finding,
    range_finding,
    warm_start_finding,
)
from rewardsmith.training.metrics import MarginMonitor, StepLog
from rewardsmith.training.plan import (
    StepSampler,
    TrainingPlan,
    make_plan,
    number_prompts,
    order_pairs,
    refuse_data_parallel,
)
from rewardsmith.training.progress import EpochClock, EpochProgress, pair_tokens
from rewardsmith.training.resume import Resumable, damage_finding, find_resumable, remove_all_but, step_of
from rewardsmith.training.trainer import WholeStepTrainer

THREADS_FILE = "threads.json"
"""In `train/` while an epoch is not finished: the threads that were chosen for its beginning."""


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


def settle_threads(stated: int | None, folder: Path, *, resumed: bool) -> tuple[int, str]:
    """Set the threads that compute; returns how many, and why.

    An epoch that goes on keeps those that were chosen for its beginning, however busy the machine is now: their number
    decides the last bits of a sum.

    Args:
        stated: `hardware.threads` of the spec, which overrides all.
        folder: `train/` of the run.
        resumed: the epoch goes on from a checkpoint.
    """
    file, choice = folder / THREADS_FILE, thread_choice() or ThreadChoice(None, "torch's own choice", stated=True)
    if stated:
        torch.set_num_threads(stated)
        return torch.get_num_threads(), "hardware.threads"
    if choice.stated:
        return torch.get_num_threads(), choice.reason
    if resumed and file.exists():
        torch.set_num_threads(int(json.loads(file.read_text(encoding="utf-8"))["threads"]))
        return torch.get_num_threads(), "as many as before training was interrupted"
    write_text(file, json.dumps({"threads": torch.get_num_threads()}) + "\n")
    return torch.get_num_threads(), choice.reason


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
        findings=(
            *warm_start_finding(job.trained_on),
            *damage_finding(resumable.damaged, resumed),
            *outside,
            *monitor_finding(verdict),
        ),
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
