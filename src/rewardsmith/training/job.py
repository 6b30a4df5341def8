"""What every backend is given, and what each says at the end of an epoch: the checkpoint's record, findings, a stop.

job = TrainJob(spec, base, …)
record = train(job)                  of `trl_backend`, `openrlhf.backend`, or `train_on_ray` of `ray_train`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import rewardsmith
from rewardsmith.errors import MarginStop
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.modeling.shapes import Size
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.records.checks import Finding
from rewardsmith.records.training import MonitorRecord, StepMetrics
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.training.progress import Watch
from rewardsmith.types import PreferencePair


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


def warm_start_finding(trained_on: Sequence[str]) -> tuple[Finding, ...]:
    """One finding where the base is a reward model already; `count` is the number of data sets that it was trained on.

    A checkpoint keeps fingerprints of whole data sets, so that these pairs among others cannot be recognised.
    """
    if not trained_on:
        return ()
    return (
        Finding(
            code="warm_start",
            severity="warning",
            title="The base was a reward model already",
            meaning="it was trained on other data; whether pairs of this run, held-out ones too, are among them cannot "
            "be seen",
            why="a pair that was seen before is learnt a second time, and a held-out one is scored from memory",
            fix="hold out pairs that neither training has seen, or start from the model that the base was made from",
            count=len(trained_on),
            of=len(trained_on) + 1,
        ),
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
