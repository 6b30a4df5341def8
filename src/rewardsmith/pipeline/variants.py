"""More trainings of a run's spec: other seeds, and shares of its data. Each is a whole run inside the run.

    record = run_replicas(job, results)                       `training.seeds`; replicas.json; None without seeds
    fractions = parse_fractions("0.25,0.5,1")                 `run --learning-curve`; raises UserError
    record = run_learning_curve(job, fractions, results)      learning_curve.json
    outcome = run_variant(job, "learning_curve/share-0.5", seed=17, share=0.5)

A variant is a run directory of its own (check, train, evaluate, diagnosis), so it skips what is done, continues what
was killed, and can be compared or reported like any run. It reads no data again: pairs, tokenizer and benchmark rows
are its parent's.

The seed draws the order of the pairs and the initial head. The run's own model is the first seed's, so a run gets no
better by choosing among its seeds; the others stand in `replicas/seed-K/`. An interval says what another draw of rows
would change, the spread over seeds what another draw of the training would.

The shares of a learning curve are nested; the share 1 is the run's own model, the others stand in
`learning_curve/share-F/`. All are asked the same rows; `evaluation.learning_curve` fits the slope and puts it into
words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from rewardsmith import evaluation
from rewardsmith.errors import MarginStop, UserError
from rewardsmith.evaluation import Benchmark, BenchmarkRows
from rewardsmith.evaluation.causes import DIAGNOSIS_FILE
from rewardsmith.evaluation.contract import Rewards
from rewardsmith.evaluation.learning_curve import loss_per_doubling, read_curve, score_per_doubling
from rewardsmith.evaluation.subsets import AVERAGE
from rewardsmith.pipeline import stages
from rewardsmith.pipeline.checking import check
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.directory import RunDirectory
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import ROWS_FILE, BenchmarkResult
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.training import (
    CurvePoint,
    CurveScore,
    CurveSlope,
    LearningCurveRecord,
    ReplicasRecord,
    SeedSpread,
)
from rewardsmith.spec import Spec
from rewardsmith.spec.evaluation import HELD_OUT


@dataclass(frozen=True, slots=True)
class VariantOutcome:
    """Results by benchmark, where they stand, what was trained on; `stopped` says why there are no results."""

    run: Path
    results: dict[str, BenchmarkResult]
    pairs: int
    prompts: int
    stopped: str = ""


def run_variant(parent: Job, place: str, *, seed: int, share: float = 1.0) -> VariantOutcome:
    """Check, train and evaluate a variant of `parent`'s spec below its run directory.

    Raises:
        UserError: as the stages do.
    """
    with RunDirectory.open(_variant_spec(parent, place, seed)) as run:
        job = Job(run.spec, run, parent.events, parent=parent, share=share)
        checked = check(job)
        outcome = VariantOutcome(run.path, {}, checked.train_pairs, checked.distinct_prompts)
        try:
            trained = stages.train_model(job, checked)
        except MarginStop as stop:
            parent.events.note(f"  {place}: {stop.problem}")
            (run.path / DIAGNOSIS_FILE).unlink(missing_ok=True)
            return replace(outcome, stopped=stop.problem)
        results = stages.evaluate(job)
        stages.diagnose(job, results, trained)
        return replace(outcome, results=results)


def _variant_spec(parent: Job, place: str, seed: int) -> Spec:
    folder = parent.run.path / place
    training = parent.spec.training.model_copy(update={"seed": seed, "seeds": ()})
    changes = {"name": folder.name, "output_dir": str(folder.parent), "training": training}
    return parent.spec.model_copy(update=changes)


def refuse_several_processes(what: str) -> None:
    """Refuse to train variants on several processes: the helping ones would wait through every evaluation.

    Raises:
        UserError: `WORLD_SIZE` says that there are several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"{what} trains several models one after the other, on one process",
            where="accelerate launch",
            fix="start it without accelerate launch, or train each model by a run of its own (--set training.seed=…)",
        )


REPLICAS = "replicas.json"
Results = Mapping[str, BenchmarkResult]


def run_replicas(job: Job, results: Results) -> ReplicasRecord | None:
    """Train and evaluate the other seeds, or read what they gave before.

    Args:
        job: the run, its own model trained and evaluated.
        results: of the run's own model.

    Raises:
        UserError: as the stages do.
    """
    path = job.run.path / REPLICAS
    seeds = job.spec.training.seeds
    if not seeds:
        path.unlink(missing_ok=True)
        return None
    found: list[Results] = [results]
    stopped = {}
    for number, seed in enumerate(seeds[1:], start=2):
        job.events.note(f"Seed {seed} ({number} of {len(seeds)})")
        outcome = run_variant(job, f"replicas/seed-{seed}", seed=seed)
        found.append(outcome.results)
        if outcome.stopped:
            stopped[str(seed)] = outcome.stopped
    record = ReplicasRecord(
        fingerprint=job.run.manifest.stages["evaluate"].fingerprint,
        seeds=seeds,
        spread={key: spread_of(key, found) for key in results},
        stopped=stopped,
    )
    write_json(path, record)
    return record


def spread_of(key: str, results: Sequence[Results]) -> dict[str, SeedSpread]:
    """Spread of each subset of one benchmark, and of its average, over the seeds."""
    own = results[0][key]
    names = [*own.subsets, *([AVERAGE] if own.average is not None else [])]
    return {name: _spread([_score(found.get(key), name) for found in results]) for name in names}


def _score(result: BenchmarkResult | None, name: str) -> float | None:
    if result is None:
        return None
    if name in result.subsets:
        return result.subsets[name].score
    return result.average if name == AVERAGE else None


def _spread(scores: Sequence[float | None]) -> SeedSpread:
    there = np.array([score for score in scores if score is not None])
    return SeedSpread(
        scores=tuple(scores),
        n=len(there),
        mean=float(there.mean()) if len(there) else None,
        std=float(there.std(ddof=1)) if len(there) > 1 else None,
        low=float(there.min()) if len(there) else None,
        high=float(there.max()) if len(there) else None,
    )


def read_diagnoses(job: Job) -> dict[int, DiagnosisRecord]:
    """Seed → what its model is, of the other seeds whose training was not stopped."""
    paths = {seed: job.run.path / f"replicas/seed-{seed}" / DIAGNOSIS_FILE for seed in job.spec.training.seeds[1:]}
    return {seed: read_record(path, DiagnosisRecord) for seed, path in paths.items() if path.exists()}


CURVE = "learning_curve.json"
_FIX = "write at least two fractions above 0 and up to 1, smallest first, for example 0.25,0.5,1"


def parse_fractions(text: str) -> tuple[float, ...]:
    """Fractions as the command line gives them.

    Raises:
        UserError: not numbers in (0, 1], not rising, or fewer than two.
    """
    try:
        fractions = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{text!r} is not a list of numbers", where="--learning-curve", fix=_FIX) from error
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong:
        raise UserError(f"{wrong[0]:g} is not a share of the prompts", where="--learning-curve", fix=_FIX)
    if len(fractions) < 2 or any(b <= a for a, b in pairwise(fractions)):
        found = "needs two fractions or more" if len(fractions) < 2 else "is not in rising order"
        raise UserError(f"{text!r} {found}", where="--learning-curve", fix=_FIX)
    return fractions


def run_learning_curve(
    job: Job, fractions: Sequence[float], results: dict[str, BenchmarkResult]
) -> LearningCurveRecord:
    """Train and evaluate on each share, or read what was done before; fit the slopes.

    Args:
        job: the run, its own model trained and evaluated.
        fractions: of the training prompts, rising.
        results: of the run's own model.

    Raises:
        UserError: as the stages do, or two fractions with equally many pairs.
    """
    path = job.run.path / CURVE
    before = _done_before(path, job, fractions)
    if before is not None:
        job.events.note("Learning curve: unchanged, skipped")
        return before
    outcomes = [_outcome(job, fraction, results) for fraction in fractions]
    for (a, one), (b, other) in pairwise(zip(fractions, outcomes, strict=True)):
        if one.pairs == other.pairs:
            raise UserError(
                f"the fractions {a:g} and {b:g} both give {one.pairs} pairs",
                where="--learning-curve",
                fix="choose fractions further apart, or train on more prompts",
            )
    record = _record(job, fractions, outcomes)
    write_json(path, record)
    return record


def _done_before(path: Path, job: Job, fractions: Sequence[float]) -> LearningCurveRecord | None:
    """The same curve of the same evaluation, whole."""
    if not path.exists():
        return None
    record = read_record(path, LearningCurveRecord)
    same = record.fingerprint == _evaluated(job) and [point.fraction for point in record.points] == list(fractions)
    return record if same and not any(point.stopped for point in record.points) else None


def _outcome(job: Job, fraction: float, results: dict[str, BenchmarkResult]) -> VariantOutcome:
    if fraction == 1:
        record = job.prepared.record
        return VariantOutcome(job.run.path, results, record.train_pairs, record.distinct_prompts)
    job.events.note(f"Share {fraction:g} of the training prompts")
    return run_variant(job, f"learning_curve/share-{fraction:g}", seed=job.spec.training_seed, share=fraction)


def _record(job: Job, fractions: Sequence[float], outcomes: Sequence[VariantOutcome]) -> LearningCurveRecord:
    used = [outcome for outcome in outcomes if not outcome.stopped]
    sets = job.evaluation_sets
    slopes = {key: _slope(job, key, kind, rows, used) for key, (kind, rows) in sets.items() if len(used) > 1}
    loss = None
    if HELD_OUT in slopes:
        rows = sets[HELD_OUT][1]
        loss = loss_per_doubling(
            rows.rows, _rewards(HELD_OUT, rows, used), [one.pairs for one in used], seed=job.spec.seed
        )
    basis = next(iter(sets))
    name = "held-out accuracy" if basis == HELD_OUT else f"the average of {basis}"
    verdict, statement = (
        read_curve(slopes[basis], loss, used[-1].pairs, name)
        if slopes
        else ("too few points", "Training was stopped at all points but one: there is no slope.")
    )
    return LearningCurveRecord(
        fingerprint=_evaluated(job),
        points=tuple(_point(fraction, outcome) for fraction, outcome in zip(fractions, outcomes, strict=True)),
        basis=basis,
        slopes=slopes,
        loss_slope=loss,
        verdict=verdict,
        statement=statement,
    )


def _slope(job: Job, key: str, kind: Benchmark, rows: BenchmarkRows, used: Sequence[VariantOutcome]) -> CurveSlope:
    return score_per_doubling(
        kind,
        rows.rows,
        _rewards(key, rows, used),
        [outcome.pairs for outcome in used],
        seed=job.spec.seed,
        resamples=job.spec.evaluation.bootstrap,
    )


def _rewards(key: str, rows: BenchmarkRows, used: Sequence[VariantOutcome]) -> list[Rewards]:
    return [evaluation.read_rewards(str(outcome.run / "eval" / key / ROWS_FILE), rows.rows) for outcome in used]


def _point(fraction: float, outcome: VariantOutcome) -> CurvePoint:
    scores = {
        key: CurveScore(score=result.average, ci_low=result.average_ci[0], ci_high=result.average_ci[1])
        for key, result in outcome.results.items()
        if result.average is not None and result.average_ci is not None
    }
    held_out = outcome.results.get(HELD_OUT)
    return CurvePoint(
        fraction=fraction,
        pairs=outcome.pairs,
        prompts=outcome.prompts,
        scores=scores,
        loss=held_out.metrics.get("loss") if held_out else None,
        stopped=outcome.stopped,
    )


def _evaluated(job: Job) -> str:
    return job.run.manifest.stages["evaluate"].fingerprint


def read_curve_record(job: Job) -> LearningCurveRecord | None:
    """The learning curve of the run's own model, of this call or an earlier one."""
    path = job.run.path / CURVE
    return read_record(path, LearningCurveRecord) if path.exists() else None


def forget_stale_curve(job: Job) -> None:
    """Remove a curve whose last point is no longer the run's own model."""
    path = job.run.path / CURVE
    if path.exists() and read_record(path, LearningCurveRecord).fingerprint != _evaluated(job):
        path.unlink()
        job.events.note(f"{path.name} was of another evaluation and is gone: ask for --learning-curve again")
