"""Suspected labels: from the margins that training wrote down to `label_noise.json`.

record = look_at_labels(job, fingerprint)      # after training; the trained model is asked again about the worst

Every pair has a margin already: that of the step that met it (`margins.jsonl`), before the model had learned it. The
share of wrong labels, its bands and groups come from these alone. The trained model is asked again about at most a
tenth of the pairs, those that these margins doubt most; only their `final_margin` and `probability` use its answer.

A margin stop leaves no trained model; then the margins of the epoch speak alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.store import TokenizedPair
from rewardsmith.evaluation import label_noise
from rewardsmith.evaluation.label_noise import POOLED, NoiseEstimate
from rewardsmith.modeling.checkpoint import RECORD
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.scorers import checkpoint_scorer, note_reuse
from rewardsmith.records.training import LabelNoiseRecord, NoiseShare, SuspectLabel
from rewardsmith.training.metrics import StepLog

NOISE_FILE = "label_noise.json"

ONE_IN = 10
"""At most one in so many training pairs is asked about again."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Group = tuple[str, str]
"""Source and subset."""


@dataclass(frozen=True, slots=True)
class _Epoch:
    """What training saw, P pairs in its order: index among the training pairs, step, margin when met."""

    index: Integers
    step: Integers
    margin: Floats


def look_at_labels(job: Job, fingerprint: str) -> LabelNoiseRecord:
    """Estimate the share of wrong labels and rank the suspects.

    Args:
        job: its training has ended, or was stopped by the margin monitor.
        fingerprint: of the stage's inputs, for the record.

    Raises:
        ModelError: the trained checkpoint cannot be opened.
    """
    epoch = _read(StepLog(job.run.path / "train"))
    rows = job.prepared.train
    prompts, numbers, groups = _columns(rows)
    estimate = label_noise.estimate_noise(epoch.margin, prompts[epoch.index], numbers[epoch.index])
    verdict, statement = label_noise.read_estimate(estimate)
    wanted = job.spec.evaluation.label_noise
    asked = np.argsort(estimate.right, kind="stable")[: candidates(len(epoch.margin), wanted.rescore)]
    final = np.full(len(epoch.margin), np.nan)
    final[asked] = _ask_again(job, [rows[index] for index in epoch.index[asked].tolist()])
    estimate = label_noise.with_final(estimate, asked, final[asked])
    ranked = np.lexsort((estimate.right, -estimate.probability))[: wanted.suspects]
    return LabelNoiseRecord(
        fingerprint=fingerprint,
        pairs=len(epoch.margin),
        share=estimate.share.share,
        ci_low=estimate.share.low,
        ci_high=estimate.share.high,
        contradicted=float(np.mean(epoch.margin < 0) + 0.5 * np.mean(epoch.margin == 0)),
        likely=int(np.sum(estimate.probability > 0.5)),
        rescored=int(np.isfinite(final).sum()),
        verdict=verdict,
        statement=statement,
        bands=estimate.bands,
        groups=_groups(estimate, groups),
        suspects=tuple(_suspect(rows, epoch, estimate, final, place) for place in ranked.tolist()),
    )


def candidates(pairs: int, wanted: int) -> int:
    """How many of `pairs` the trained model is asked about again: at most `wanted`, and a tenth of them.

    The worst are meant. Ranking them by the margins of the epoch is free, asking again costs two forward passes a pair.
    """
    return min(wanted, -(-pairs // ONE_IN))


def _read(log: StepLog) -> _Epoch:
    steps = log.margins()
    return _Epoch(
        np.array([index for step in steps for index in step["pairs"]], dtype=np.int64),
        np.array([step["step"] for step in steps for _ in step["pairs"]], dtype=np.int64),
        np.array([margin for step in steps for margin in step["margins"]], dtype=np.float64),
    )


def _columns(rows: Sequence[TokenizedPair]) -> tuple[Integers, Integers, list[Group]]:
    """Of each training pair the number of its prompt and of its group; and the groups by number."""
    prompts: dict[bytes, int] = {}
    groups: dict[Group, int] = {}
    numbers = np.zeros((2, len(rows)), dtype=np.int64)
    for place, row in enumerate(rows):
        group = row.pair.source or row.file, row.pair.subset
        numbers[0, place] = prompts.setdefault(row.keys[0], len(prompts))
        numbers[1, place] = groups.setdefault(group, len(groups))
    return numbers[0], numbers[1], list(groups)


def _ask_again(job: Job, rows: Sequence[TokenizedPair]) -> Floats:
    """The trained model's margins; NaN where there is no trained model."""
    if not rows or not (job.run.model / RECORD).exists():
        return np.full(len(rows), np.nan)
    scorer = checkpoint_scorer(job.spec, job.run.model, job.events)
    texts = [side for row in rows for side in (row.chosen_ids, row.rejected_ids)]
    rewards = scorer.score_ids(texts, job.progress("scoring suspected pairs"))
    note_reuse(scorer, job.events)
    return np.asarray(rewards[::2] - rewards[1::2])


def _groups(estimate: NoiseEstimate, groups: Sequence[Group]) -> tuple[NoiseShare, ...]:
    """Groups by name, the largest first."""
    found = sorted(estimate.groups.items(), key=lambda item: -item[1].n)
    names = {number: groups[number] if number != POOLED else ("others", "") for number, _ in found}
    return tuple(
        NoiseShare(
            source=names[number][0],
            subset=names[number][1],
            n=share.n,
            share=share.share,
            ci_low=share.low,
            ci_high=share.high,
        )
        for number, share in found
    )


def _suspect(
    rows: Sequence[TokenizedPair], epoch: _Epoch, estimate: NoiseEstimate, final: Floats, place: int
) -> SuspectLabel:
    row = rows[int(epoch.index[place])]
    return SuspectLabel(
        id=row.pair.id,
        source=row.pair.source,
        subset=row.pair.subset,
        file=row.file,
        row=row.row,
        step=int(epoch.step[place]),
        margin=float(epoch.margin[place]),
        probability=float(estimate.probability[place]),
        final_margin=float(final[place]) if np.isfinite(final[place]) else None,
    )
