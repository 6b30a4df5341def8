"""The epoch of training, ready to be shown: curves, the margin's trend, facts, suspects.

training_view(train, steps, suspects=…) → TrainingView | None
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardsmith.records import MonitorRecord, SuspectPair, TrainRecord
from rewardsmith.report.curves import Curves, training_curves, trend_in_words
from rewardsmith.report.findings import FindingView, finding_view
from rewardsmith.report.formatting import Number, count, decimal, duration, parameters, plural, significant, visible
from rewardsmith.report.reading import Step
from rewardsmith.report.verdict import sentence


@dataclass(frozen=True, slots=True)
class SuspectView:
    """A training pair that the model ranked against its label."""

    id: str
    source: str
    subset: str
    step: Number
    margin: Number


@dataclass(frozen=True, slots=True)
class TrainingView:
    """The epoch. `record` parts are None while training runs or after it was killed."""

    curves: Curves | None
    monitor: MonitorRecord | None
    trend: str
    verdict: str
    advice: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[FindingView, ...]
    suspects: tuple[SuspectView, ...]


def training_view(train: TrainRecord | None, steps: Sequence[Step], *, suspects: bool = True) -> TrainingView | None:
    """What is known of the epoch; None where no step was recorded. `suspects`: also those of the margin monitor."""
    curves = training_curves(steps)
    if train is None:
        return TrainingView(curves, None, "", "", "", (), (), ()) if curves else None
    monitor = train.monitor
    resumed = f"step {train.resumed_from_step:,}" if train.resumed_from_step else "no"
    return TrainingView(
        curves=curves,
        monitor=monitor,
        trend=trend_in_words(monitor),
        verdict=monitor.verdict,
        advice=sentence(monitor.advice) if monitor.advice else "",
        facts=(
            ("Base model", f"{visible(train.base_model, 80)} ({parameters(train.base_parameters)} parameters)"),
            ("Trained parameters", f"{parameters(train.trainable_parameters)}, adapter {visible(train.adapter, 40)}"),
            ("Backend", f"{visible(train.backend, 40)}, {visible(train.layout, 40)} layout"),
            (
                "Device",
                f"{visible(train.device, 60)}, {train.dtype}, {plural(train.processes, 'process', 'processes')}",
            ),
            ("Steps", f"{train.steps:,} of {plural(train.pairs_per_step, 'pair')}"),
            ("Prompts a step", f"{significant(train.prompts_per_step)}"),
            ("Peak memory", f"{significant(train.peak_memory / 2**30)} GiB"),
            ("Time", f"{duration(train.seconds)}, {significant(train.pairs_per_second)} pairs per second"),
            ("Loss", f"{significant(train.first_loss)} → {significant(train.last_loss)}"),
            ("Resumed", resumed),
        ),
        findings=tuple(finding_view(finding) for finding in train.findings),
        suspects=tuple(_suspect(pair) for pair in monitor.suspects if suspects),
    )


def _suspect(pair: SuspectPair) -> SuspectView:
    return SuspectView(
        visible(pair.id, 80),
        visible(pair.source, 120),
        visible(pair.subset, 80),
        count(pair.step),
        decimal(pair.margin),
    )
