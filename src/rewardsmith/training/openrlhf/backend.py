"""Training through OpenRLHF: a `TrainJob` in, a checkpoint of ours and a `TrainRecord` out.

    record = train(TrainJob(...))

`train/openrlhf/` of the run directory holds everything that OpenRLHF reads and writes: the base, the rows, the scripts,
its log, what each step saw. Where the launcher is one that starts here, training is started and followed; where it is a
scheduler, the script is written and the user is told to submit it: the next call goes on from what it left. On several
machines the run directory must be on storage that all of them see.

A killed run continues from OpenRLHF's own resumable checkpoint (`training.checkpoint_every_steps`).
"""

from __future__ import annotations

import json
import os
import time

import numpy as np

from rewardsmith.errors import ModelError, SpecError, UserError
from rewardsmith.records import Finding, TrainRecord, write_json
from rewardsmith.training.conclusion import checkpoint_record, margin_stop, monitor_finding, range_finding
from rewardsmith.training.openrlhf.command import OUT
from rewardsmith.training.openrlhf.environment import environment_of
from rewardsmith.training.openrlhf.folder import is_finished, left_out, tidy, write_folder
from rewardsmith.training.openrlhf.importing import Compared, import_checkpoint
from rewardsmith.training.openrlhf.launching import Running, launched
from rewardsmith.training.openrlhf.refusals import refuse_spec
from rewardsmith.training.openrlhf.scripts import SUBMIT
from rewardsmith.training.openrlhf.setup import Setup, set_up
from rewardsmith.training.openrlhf.watching import Watch
from rewardsmith.training.trl_backend import TrainJob

_EVERY = 0.5  # seconds between looks at what was written


def train(job: TrainJob) -> TrainRecord:
    """Train for one epoch, or finish one that was interrupted or submitted.

    Raises:
        SpecError: OpenRLHF would not follow the spec.
        UserError: the training waits to be submitted.
        ModelError: base, environment or checkpoint cannot be used; OpenRLHF ended with an error.
        MarginStop: the monitor stopped training.
    """
    started = time.perf_counter()
    refuse_spec(job.spec)
    _refuse_several_processes()
    setup = set_up(job, environment_of(job.spec))
    write_folder(job, setup)
    watch = Watch(job, setup)
    if not is_finished(setup):
        _start(job, setup, watch)
    watch.look()
    stopped = watch.monitor.stopped
    compared = None if stopped else _import(job, setup, watch)
    record = _summarise(job, setup, watch, compared, time.perf_counter() - started)
    write_json(job.folder / "summary.json", record)
    if stopped:
        raise margin_stop(record.monitor, setup.plan.steps)
    tidy(setup)
    return record


def _refuse_several_processes() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpecError(
            "OpenRLHF starts its own processes, and this is one of several already",
            where="backend",
            fix="start it without accelerate launch or torchrun",
        )


def _start(job: TrainJob, setup: Setup, watch: Watch) -> None:
    launcher = job.spec.openrlhf.launcher
    if launcher in SUBMIT:
        watch.look()
        seen = len(watch.monitor.steps)
        raise UserError(
            f"the training waits to be submitted, or has not finished ({seen} of {setup.plan.steps} steps so far)",
            where=str(setup.folder),
            fix=f"cd {setup.folder} && {SUBMIT[launcher]}; when it has ended, run this command again",
        )
    with launched(setup.folder) as running:
        if _follow(running, watch):
            return
    running.require_success()
    if not is_finished(setup):
        raise ModelError(
            "OpenRLHF ended without saying that it finished",
            where=str(setup.folder / "log.txt"),
            fix="look at the log and run again",
        )


def _follow(running: Running, watch: Watch) -> bool:
    """Take in steps until the processes end; True when the monitor stopped them."""
    while not running.wait(_EVERY):
        if watch.look():
            running.end()
            return True
    return watch.look()


def _import(job: TrainJob, setup: Setup, watch: Watch) -> Compared:
    seen = len(watch.monitor.steps)
    if seen != setup.plan.steps:
        raise ModelError(
            f"OpenRLHF trained {seen} steps where {setup.plan.steps} were planned",
            where=str(setup.folder / "steps"),
            fix="look at log.txt beside it; delete the folder to train again",
        )
    return import_checkpoint(
        setup.folder / OUT, job.model_folder, job.base, job.renderer, checkpoint_record(job), setup.evaluation
    )


def _summarise(job: TrainJob, setup: Setup, watch: Watch, compared: Compared | None, seconds: float) -> TrainRecord:
    steps, plan = watch.monitor.steps, setup.plan
    verdict = watch.monitor.conclude(watch.log.margins(), job.pairs)
    outside = range_finding(job.spec.training.reward_range, steps)
    return TrainRecord(
        fingerprint=job.fingerprint,
        data_fingerprint=job.data_fingerprint,
        backend="openrlhf",
        base_model=job.spec.base_model.id,
        base_parameters=job.base_size.parameters or 0,
        policy_parameters=job.policy_size.parameters,
        trainable_parameters=job.base_size.parameters or 0,
        adapter="none",
        layout="packed" if job.spec.openrlhf.packing else "padded",
        device=plan.device,
        dtype="bfloat16",
        processes=setup.processes,
        pairs=plan.steps * plan.pairs_per_step,
        pairs_per_step=plan.pairs_per_step,
        steps=len(steps),
        prompts_per_step=float(np.mean([step.prompts for step in steps])),
        # A submitted training took its time elsewhere.
        seconds=max(seconds, sum(step.seconds for step in steps)),
        pairs_per_second=sum(step.pairs for step in steps) / max(sum(step.seconds for step in steps), 1e-9),
        tokens=sum(step.tokens for step in steps),
        peak_memory=_peak_memory(setup),
        resumed_from_step=watch.resumed or None,
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        monitor=verdict,
        reward_range=job.spec.training.reward_range,
        outside_reward_range=outside[0].count if outside else 0,
        findings=(*outside, *monitor_finding(verdict), *_left_out_finding(job, setup), *_import_finding(compared)),
    )


def _peak_memory(setup: Setup) -> int:
    """Highest use of rank 0 in bytes, as `inside.py` wrote it; 0 where it did not finish."""
    try:
        return int(json.loads((setup.folder / "finished.json").read_text(encoding="utf-8"))["peak_memory"])
    except (OSError, ValueError, KeyError):
        return 0


def _left_out_finding(job: TrainJob, setup: Setup) -> tuple[Finding, ...]:
    pairs = left_out(job, setup)
    if not pairs:
        return ()
    tail = sum(pair.reason == "incomplete_step" for pair in pairs)
    other = f"; {len(pairs) - tail} have no text that gives their shortened tokens" if len(pairs) > tail else ""
    return (
        Finding(
            code="left_out",
            severity="note",
            title="OpenRLHF left pairs out",
            meaning=f"{tail} pairs fill no whole step of {setup.plan.pairs_per_step}{other}",
            why="OpenRLHF drops what fills no step; train/left_out.jsonl names the pairs",
            fix="choose training.pairs_per_step so that it divides the number of pairs; the TRL backend drops none",
            count=len(pairs),
            of=len(job.pairs),
        ),
    )


def _import_finding(compared: Compared | None) -> tuple[Finding, ...]:
    if compared is None:
        return ()
    return (
        Finding(
            code="imported",
            severity="note",
            title="OpenRLHF's checkpoint gives OpenRLHF's rewards",
            meaning=f"over {compared.texts} texts they differ by {compared.root_mean_square:.2g} (root mean square; at "
            f"most {compared.largest:.2g}), the rewards' standard deviation is {compared.spread:.2g}",
            why="OpenRLHF computes in bfloat16, and the same weights are read here in float32",
            fix="nothing to do: the difference is what bfloat16 rounds",
            count=0,
            of=compared.texts,
        ),
    )
