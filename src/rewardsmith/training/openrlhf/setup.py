"""What one training through OpenRLHF consists of, worked out before anything is written.

setup = set_up(job, environment_of(job.spec))
setup.rows, setup.plan, setup.flags, setup.dealt.left_out …
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

from rewardsmith.errors import DataError, SpecError
from rewardsmith.modeling.checkpoint import golden_conversations
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.rendering import Renderer
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.command import train_flags
from rewardsmith.training.openrlhf.environment import Environment
from rewardsmith.training.openrlhf.progress import Dealt
from rewardsmith.training.openrlhf.refusals import refuse_shape
from rewardsmith.training.openrlhf.scripts import SUBMIT
from rewardsmith.training.openrlhf.texts import TextRow, as_rows
from rewardsmith.training.plan import TrainingPlan, make_plan
from rewardsmith.training.trl_backend import TrainJob

FOLDER = "openrlhf"
EVALUATION_PAIRS = 256


@dataclass(frozen=True, slots=True)
class Setup:
    """What one training through OpenRLHF consists of.

    Attributes:
        rows: the training texts; `ids` are their token ids and `index` their places among the job's pairs.
        evaluation: token ids of the evaluation set.
        plan: over `rows`; whole steps only.
    """

    folder: Path
    rows: list[TextRow]
    ids: list[PairIds]
    index: list[int]
    evaluation_rows: list[TextRow]
    evaluation: list[PairIds]
    plan: TrainingPlan
    version: str
    processes_per_node: int
    processes: int
    dealt: Dealt
    flags: list[str]


def set_up(job: TrainJob, environment: Environment) -> Setup:
    """Texts, plan, flags and which rows each step takes.

    Raises:
        SpecError: the numbers do not fit together, or the device is not there.
        DataError: nothing is there to evaluate on.
    """
    spec, version = job.spec, environment.versions["openrlhf"]
    device = _device(spec, environment)
    per_node = spec.hardware.devices_per_node or (environment.devices if device == "cuda" else 1)
    processes = per_node * spec.hardware.nodes
    texts = as_rows(job.renderer, job.pairs, job.ids)
    index = [place for place, row in enumerate(texts) if row is not None]
    refuse_shape(spec, version, len(index), processes)
    plan = make_plan(spec, pairs=len(index), device=device, bf16_supported=True)
    whole = len(index) // plan.pairs_per_step
    plan = replace(plan, steps=whole, warmup_steps=math.ceil(spec.training.warmup * whole), bf16=True)
    ids = [job.ids[place] for place in index]
    evaluation_rows, evaluation = _evaluation(job, at_least=processes * spec.openrlhf.pairs_per_micro_batch)
    longest = max(len(text) for pair in (*ids, *evaluation) for text in pair)
    return Setup(
        folder=job.folder / FOLDER,
        rows=[row for row in texts if row is not None],
        ids=ids,
        index=index,
        evaluation_rows=evaluation_rows,
        evaluation=evaluation,
        plan=plan,
        version=version,
        processes_per_node=per_node,
        processes=processes,
        dealt=Dealt(ids, plan.seed, plan.pairs_per_step, processes),
        flags=train_flags(spec, plan, version, max_length=longest),
    )


def _device(spec: Spec, environment: Environment) -> str:
    elsewhere = spec.openrlhf.launcher in SUBMIT or spec.hardware.nodes > 1
    if spec.hardware.device == "auto":
        return "cuda" if environment.devices or elsewhere else "cpu"
    if spec.hardware.device == "cuda" and not environment.devices and not elsewhere:
        raise SpecError(
            "no GPU is visible to OpenRLHF's interpreter",
            where="hardware.device",
            fix="install a CUDA build of torch there",
        )
    return spec.hardware.device


def _evaluation(job: TrainJob, *, at_least: int) -> tuple[list[TextRow], list[PairIds]]:
    """Held-out pairs, else golden conversations two by two; never training pairs, which is OpenRLHF's default."""
    found = _held_out(job) or _golden_pairs(job.renderer)
    if not found:
        raise DataError(
            "no pair is held out, and no text of the evaluation set fits the limit",
            where="data.held_out",
            fix="name held-out pairs, or raise data.max_length",
        )
    # Versions before 0.10 drop an evaluation batch that is not full.
    full = list(itertools.islice(itertools.cycle(found), max(at_least, len(found))))
    return [row for row, _ in full], [one for _, one in full]


def _held_out(job: TrainJob) -> list[tuple[TextRow, PairIds]]:
    pairs = job.held_out[:EVALUATION_PAIRS]
    kept = [
        (pair, PairIds(both.chosen_ids, both.rejected_ids))
        for pair, both in zip(pairs, job.renderer.render_pairs(pairs), strict=True)
        if both.chosen_ids is not None and both.rejected_ids is not None
    ]
    rows = as_rows(job.renderer, [pair for pair, _ in kept], [ids for _, ids in kept])
    return [(row, ids) for row, (_, ids) in zip(rows, kept, strict=True) if row is not None]


def _golden_pairs(renderer: Renderer) -> list[tuple[TextRow, PairIds]]:
    texts = golden_conversations(renderer.record.conversational)
    fitting = []
    for conversation in texts:
        try:
            fitting.append((renderer.text(conversation), renderer.ids(conversation)))
        except DataError:
            continue
    return [
        (TextRow(first, second), PairIds(first_ids, second_ids))
        for (first, first_ids), (second, second_ids) in itertools.pairwise(fitting)
    ]
