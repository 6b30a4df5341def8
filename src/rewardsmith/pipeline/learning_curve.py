"""`run --learning-curve 0.25,0.5,1`: the spec trained on nested shares of its prompts. More data or a bigger base?

    fractions = parse_fractions("0.25,0.5,1")        raises UserError
    record = run_learning_curve(job, fractions)      # learning_curve.json

The share 1 is the run's own model; the others stand in `learning_curve/share-F/`, each a run directory. All are
asked the same rows; `evaluation.learning_curve` fits the slope and puts it into words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rewardsmith import evaluation
from rewardsmith.errors import UserError
from rewardsmith.evaluation import Benchmark, BenchmarkRows
from rewardsmith.evaluation.contract import Rewards
from rewardsmith.evaluation.learning_curve import Slope, loss_per_doubling, read_curve, score_per_doubling
from rewardsmith.evaluation.runner import ROWS_FILE
from rewardsmith.pipeline.context import Job
from rewardsmith.pipeline.variants import VariantOutcome, run_variant
from rewardsmith.records import (
    BenchmarkResult,
    CurvePoint,
    CurveScore,
    CurveSlope,
    LearningCurveRecord,
    read_record,
    write_json,
)
from rewardsmith.spec.evaluation import HELD_OUT

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


def forget_stale_curve(job: Job) -> None:
    """Remove a curve whose last point is no longer the run's own model."""
    path = job.run.path / CURVE
    if path.exists() and read_record(path, LearningCurveRecord).fingerprint != _evaluated(job):
        path.unlink()
        job.events.note(f"{path.name} was of another evaluation and is gone: ask for --learning-curve again")


def _evaluated(job: Job) -> str:
    return job.run.manifest.stages["evaluate"].fingerprint


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
        slopes={key: _as_record(slope) for key, slope in slopes.items()},
        loss_slope=_as_record(loss) if loss else None,
        verdict=verdict,
        statement=statement,
    )


def _slope(job: Job, key: str, kind: Benchmark, rows: BenchmarkRows, used: Sequence[VariantOutcome]) -> Slope:
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


def _as_record(slope: Slope) -> CurveSlope:
    return CurveSlope(per_doubling=slope.per_doubling, low=slope.low, high=slope.high)
