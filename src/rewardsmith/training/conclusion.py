"""What every backend says at the end of an epoch: findings, the checkpoint's record, the monitor's stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import rewardsmith
from rewardsmith.errors import MarginStop
from rewardsmith.records import CheckpointRecord, Finding, MonitorRecord, StepMetrics
from rewardsmith.types import Conversation, PreferencePair

if TYPE_CHECKING:
    from rewardsmith.training.trl_backend import TrainJob


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
        fix="mend the data; or set training.monitor.on_collapse / on_stall to warn and run again to continue",
    )
