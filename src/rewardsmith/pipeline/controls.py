"""`run --controls`: the same training on changed data, where nothing, or a known thing, can be learnt.

    record = run_controls(job, results)          # None where the spec asks for none; controls.json

A reference and three controls are trained on one small share of the training prompts, each a run directory below
`controls/`, so that they resume and skip as the run does; `evaluation.controls` says what each must give. All are asked
about the held-out pairs alone. Their weights are deleted when the record is written: nobody should use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from rewardsmith import evaluation
from rewardsmith.data.prepare import PreparedData
from rewardsmith.data.store import TokenizedPair
from rewardsmith.evaluation import Benchmark, BenchmarkRows, EvalRow
from rewardsmith.evaluation.contract import Floats, pair_margins
from rewardsmith.evaluation.controls import CHANGED, TOLERANCE, TRAINED, Measured, accuracy, place_controls
from rewardsmith.evaluation.distribution import prompts_of
from rewardsmith.pipeline import stages
from rewardsmith.pipeline.checking import check, staged
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import MODEL, RunDirectory
from rewardsmith.pipeline.evaluating import held_out_rows
from rewardsmith.pipeline.scorers import checkpoint_scorer
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record, remove, write_json
from rewardsmith.records.training import ControlName, ControlsRecord
from rewardsmith.rendering import Renderer
from rewardsmith.spec import EvaluationSpec, Spec, digest
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.types import Conversation, Message

CONTROLS, CONTROLS_FILE = "controls", "controls.json"
REFERENCE = "reference"
NO_PROMPT = "(no prompt)"
"""What stands in place of a chat's prompt: templates want a user's turn, and some refuse an empty one."""


class ControlJob(Job):
    """A job on a share of its parent's data with one thing changed; None changes nothing. No benchmark is asked."""

    def __init__(self, run: RunDirectory, parent: Job, share: float, control: ControlName | None) -> None:
        super().__init__(run.spec, run, parent.events, parent=parent, share=share)
        self.control = control
        self.left_out = 0

    @cached_property
    def prepared(self) -> PreparedData:
        """The share, changed."""
        shared = super().prepared
        if self.control is None:
            return shared
        train = changed_pairs(shared.train, self.control, self.renderer, self.spec)
        self.left_out = len(shared.train) - len(train)
        return replace(shared, train=train, record=shared.record.model_copy(update={"train_pairs": len(train)}))

    @cached_property
    def benchmarks(self) -> dict[str, tuple[Benchmark, BenchmarkRows]]:
        """None."""
        return {}

    @cached_property
    def pairs_fingerprint(self) -> str:
        """Of the share and of what was changed."""
        return digest([super().pairs_fingerprint, self.control])


def controls_fingerprint(job: Job, share: float) -> str:
    """Of everything that decides the controls: what decides the weights, the share, and the resampling."""
    trained = job.run.manifest.stages["train"].fingerprint
    return digest({"train": trained, "share": share, "bootstrap": job.spec.evaluation.bootstrap, "seed": job.spec.seed})


def run_controls(job: Job, results: Mapping[str, BenchmarkResult]) -> ControlsRecord | None:
    """Train and place the controls, or read what they gave before.

    Where the spec asks for none, earlier ones of this very training stay, and stale ones are forgotten.

    Args:
        job: the run, its own model trained and evaluated.
        results: of the run's own model.

    Raises:
        UserError: as the stages do.
    """
    path, share = job.run.path / CONTROLS_FILE, job.spec.evaluation.controls.share
    if not share:
        return _kept(job)
    if not job.prepared.held_out:
        job.events.note("  no controls: they are asked about held-out pairs, and there are none (data.held_out)")
        path.unlink(missing_ok=True)
        return None

    def work() -> ControlsRecord:
        record = _train_and_place(job, share, results)
        write_json(path, record)
        for name in (REFERENCE, *TRAINED):
            remove(job.run.path / CONTROLS / name / MODEL)
        return record

    return staged(
        job, "controls", controls_fingerprint(job, share), work, lambda: read_record(path, ControlsRecord), path
    )


def _kept(job: Job) -> ControlsRecord | None:
    path = job.run.path / CONTROLS_FILE
    if not path.exists():
        return None
    record = read_record(path, ControlsRecord)
    if record.fingerprint == controls_fingerprint(job, record.share):
        return record
    path.unlink()
    job.events.note(f"{path.name} was of another training and is gone: ask for --controls again")
    return None


def _train_and_place(job: Job, share: float, results: Mapping[str, BenchmarkResult]) -> ControlsRecord:
    held_out = job.prepared.held_out
    rows = held_out_rows(held_out, job.prepared.record.held_out_origin)[1].rows
    margins: dict[ControlName | None, Floats] = {}
    left_out: dict[ControlName, int] = {}
    sizes = (0, 0)
    for control in (None, *TRAINED):
        name = control or REFERENCE
        job.events.note(f"Control: {CHANGED[control] if control else 'the reference, nothing changed'}")
        with RunDirectory.open(_control_spec(job.spec, job.run, name)) as run:
            one = ControlJob(run, job, share, control)
            checked = check(one)
            stages.train_model(one, checked)
            margins[control] = _margins(one, changed_rows(rows, control, job.spec), name)
            if control is None:
                sizes = checked.train_pairs, checked.distinct_prompts
                margins["prompts_exchanged"] = _margins(one, changed_rows(rows, "prompts_exchanged", job.spec), name)
            else:
                left_out[control] = one.left_out
    prompts_P = prompts_of(rows)
    seed, resamples = job.spec.seed, job.spec.evaluation.bootstrap
    reference_P = margins.pop(None)
    named = {name: margins[name] for name in CHANGED}
    placed, note = place_controls(Measured(reference_P, named, prompts_P, left_out), seed=seed, resamples=resamples)
    return ControlsRecord(
        fingerprint=controls_fingerprint(job, share),
        share=share,
        pairs=sizes[0],
        prompts=sizes[1],
        seed=seed,
        tolerance=TOLERANCE,
        reference=accuracy(reference_P, prompts_P, seed, resamples),
        model=_own(results),
        blind=_blind(job),
        controls=placed,
        note=note,
    )


def _control_spec(spec: Spec, run: RunDirectory, name: str) -> Spec:
    """The run's spec without benchmarks and without a monitor that stops: shuffled labels cannot be learnt."""
    monitor = spec.training.monitor.model_copy(update={"on_stall": "ignore", "on_collapse": "ignore"})
    changes = {"seed": spec.training_seed, "seeds": (), "monitor": monitor}
    asked = EvaluationSpec(
        benchmarks=(), bootstrap=spec.evaluation.bootstrap, tokens_per_batch=spec.evaluation.tokens_per_batch
    )
    return spec.model_copy(
        update={
            "name": name,
            "output_dir": str(run.path / CONTROLS),
            "training": spec.training.model_copy(update=changes),
            "evaluation": asked,
        }
    )


def _margins(job: ControlJob, rows: Sequence[EvalRow], name: str) -> Floats:
    scorer = checkpoint_scorer(job.spec, job.run.model, job.events)
    return pair_margins(evaluation.score_conversations(rows, scorer, job.progress(f"scoring control {name}")))


def changed_pairs(
    rows: Sequence[TokenizedPair], control: ControlName, renderer: Renderer, spec: Spec
) -> list[TokenizedPair]:
    """The training pairs of a control, in their order; pairs that cannot be rendered without their prompt are left out.

    Args:
        rows: the share.
        control: one that is trained.
        renderer: of the training.
        spec: says the seed, and whether prompts are chats.
    """
    if control == "labels_swapped":
        return [_swapped(row) for row in rows]
    if control == "labels_shuffled":
        half = np.random.default_rng(spec.seed).permutation(len(rows))[: len(rows) // 2]
        turned = set(half.tolist())
        return [_swapped(row) if place in turned else row for place, row in enumerate(rows)]
    pairs = [replace(row.pair, prompt=_no_prompt(spec)) for row in rows]
    return [
        replace(row, pair=pair, chosen_ids=both.chosen_ids, rejected_ids=both.rejected_ids, cut=both.cut)
        for row, pair, both in zip(rows, pairs, renderer.render_pairs(pairs), strict=True)
        if both.chosen_ids is not None and both.rejected_ids is not None
    ]


def _swapped(row: TokenizedPair) -> TokenizedPair:
    pair = replace(row.pair, chosen=row.pair.rejected, rejected=row.pair.chosen, target_margin=None)
    return replace(row, pair=pair, chosen_ids=row.rejected_ids, rejected_ids=row.chosen_ids)


def _no_prompt(spec: Spec) -> Conversation:
    return (Message("user", NO_PROMPT),) if spec.data.strings == "chat" else ()


def changed_rows(rows: Sequence[EvalRow], control: ControlName | None, spec: Spec) -> list[EvalRow]:
    """The held-out rows that a control is asked about: their own labels, and their prompts removed or exchanged.

    Exchanged, every distinct prompt is replaced by another one, by the spec's seed; a single prompt stays.
    """
    if control == "prompts_removed":
        return [replace(row, prompt=_no_prompt(spec)) for row in rows]
    if control != "prompts_exchanged":
        return list(rows)
    distinct = list(dict.fromkeys(row.prompt for row in rows))
    order = np.random.default_rng(spec.seed).permutation(len(distinct)).tolist()
    other = {distinct[place]: distinct[order[turn - 1]] for turn, place in enumerate(order)}
    return [replace(row, prompt=other[row.prompt]) for row in rows]


def _own(results: Mapping[str, BenchmarkResult]) -> PairShare:
    """The run's own model on the held-out pairs, as `results.json` has it."""
    found = results.get(HELD_OUT)
    if found is None or found.average is None or found.average_ci is None:
        return PairShare(n=0)
    low, high = found.average_ci
    n = sum(subset.n for subset in found.subsets.values())
    return PairShare(n=n, accuracy=found.average, ci_low=low, ci_high=high)


def _blind(job: Job) -> float | None:
    shortcuts = job.checked.shortcuts if job.checked else None
    return max((model.accuracy.value for model in shortcuts.models), default=None) if shortcuts else None
