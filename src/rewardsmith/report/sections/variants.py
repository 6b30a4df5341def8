"""Other trainings of the same spec beside the model: other seeds, other amounts of data, negative controls.

    variants_section(results, replicas, curve) → Section | None      the spread over seeds, the learning curve
    controls_section(record) → Section | None                        what changed data gave, and what theory allows

In: `results.json` of each benchmark, `replicas.json`, `learning_curve.json`, `controls.json`. None where nothing else
was trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.training import (
    ControlName,
    ControlResult,
    ControlsRecord,
    CurveScore,
    LearningCurveRecord,
    ReplicasRecord,
    SeedSpread,
)
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span, rate, rate_axis, rate_strip
from rewardsmith.report.formatting import State, count, decimal, percent, plural, visible

_CURVE_STATES: dict[str, State] = {"more data": "good", "flat": "warn", "falling": "bad"}


def variants_section(
    results: Mapping[str, BenchmarkResult], replicas: ReplicasRecord | None, curve: LearningCurveRecord | None
) -> Section | None:
    """What other seeds and other amounts of data gave; None where nothing else was trained."""
    if replicas is None and curve is None:
        return None
    blocks = (
        *((_seeds_block(results, replicas),) if replicas else ()),
        *((_learning_curve_block(curve),) if curve else ()),
    )
    return Section("variants", "Seeds and data", blocks)


def _seeds_block(results: Mapping[str, BenchmarkResult], record: ReplicasRecord) -> Block:
    columns = (
        Column("Benchmark", "name"),
        Column("Subset", "words"),
        Column("Score, %", strong=True),
        Column("95 % interval"),
        Column("Mean ± std over seeds"),
        Column("Lowest to highest"),
    )
    rows = tuple(
        _seed_row(results.get(key), key, name, found)
        for key, spread in record.spread.items()
        for name, found in spread.items()
    )
    caption = "Scores in per cent with their interval over rows and their spread over seeds"
    return Block(
        "The same spec with other seeds",
        note=f"Trained with the seeds {', '.join(map(str, record.seeds))}; the first is this run’s model. The interval "
        "says what other rows would change, the spread what another training would.",
        grids=(Grid(caption, columns, rows, titled=False, look="plain"),),
        lines=tuple(
            Sign("warn", f"seed {seed} has no scores: {visible(reason)}") for seed, reason in record.stopped.items()
        ),
        source="replicas.json",
    )


def _seed_row(result: BenchmarkResult | None, key: str, name: str, found: SeedSpread) -> tuple[Cell, ...]:
    low, high = _interval(result, name)
    return (
        visible(key, 60),
        visible(name, 60),
        percent(found.scores[0]),
        Span(percent(low), percent(high)),
        f"{percent(found.mean)} ± {percent(found.std)}",
        Span(percent(found.low), percent(found.high)),
    )


def _interval(result: BenchmarkResult | None, name: str) -> tuple[float | None, float | None]:
    if result is None:
        return None, None
    if name in result.subsets:
        return result.subsets[name].ci_low, result.subsets[name].ci_high
    return result.average_ci or (None, None)


def _learning_curve_block(record: LearningCurveRecord) -> Block:
    keys = sorted({key for point in record.points for key in point.scores})
    columns = (
        Column("Share"),
        Column("Pairs"),
        Column("Prompts"),
        *(Column(visible(key, 60)) for key in keys),
        Column("Held-out loss"),
    )
    rows = tuple(
        (
            f"{point.fraction:g}",
            count(point.pairs),
            count(point.prompts),
            *(_score_of(point.scores.get(key), stopped=bool(point.stopped)) for key in keys),
            decimal(point.loss, 3),
        )
        for point in record.points
    )
    caption = "Scores in per cent of models that were trained on a share of the prompts"
    return Block(
        "Learning curve",
        reading=visible(record.statement, 1000),
        state=_CURVE_STATES.get(record.verdict, "open"),
        grids=(Grid(caption, columns, rows, titled=False, look="plain"),),
        lines=tuple(
            Sign("warn", f"share {point.fraction:g} has no scores: {visible(point.stopped)}")
            for point in record.points
            if point.stopped
        ),
        source="learning_curve.json",
    )


def _score_of(score: CurveScore | None, *, stopped: bool) -> Cell:
    if stopped:
        return "stopped"
    if score is None:
        return percent(None)
    return Noted(percent(score.score), (Span(percent(score.ci_low), percent(score.ci_high)),))


CHANCE = 0.5
TITLES: dict[ControlName, str] = {
    "labels_swapped": "Labels swapped",
    "labels_shuffled": "Labels shuffled",
    "prompts_removed": "Prompts removed",
    "prompts_exchanged": "Prompts of other pairs",
}


def controls_section(record: ControlsRecord | None) -> Section | None:
    """The section; None where no controls were made."""
    if record is None:
        return None
    outside = [one for one in record.controls if one.outside]
    word = (
        Sign("warn", f"{len(outside)} of {len(record.controls)} controls are outside of what theory allows.")
        if outside
        else Sign("good", f"All {len(record.controls)} controls are where theory puts them.")
    )
    columns = (
        Column("Model", "name"),
        Column("Changed", "words"),
        Column("Pairs"),
        Column("Accuracy, %", strong=True),
        Column("95 % interval"),
        Column("Drawn, 0 to 100 per cent", "draw", rate_axis()),
        Column("Theory", "words"),
        Column("Reading", "words"),
    )
    rows = (
        _model_row("This model", "nothing, all training pairs", record.model),
        _model_row("Reference", "nothing, this share", record.reference),
        *(_control_row(one) for one in record.controls),
    )
    grid = Grid("Accuracy on the held-out pairs, by their own labels", columns, rows, titled=False, look="scores")
    return Section(
        anchor="controls",
        title="Negative controls",
        blocks=(
            Block(
                "",
                note=f"Each is trained on {percent(record.share)} % of the training prompts "
                f"({plural(record.pairs, 'pair')}, seed {record.seed}), or is the reference asked otherwise. A "
                f"control is flagged where it lies outside by surely more than {100 * record.tolerance:g} points, "
                "which another seed moves it by.",
                grids=(grid,),
                lines=tuple(_control_lines(record)),
            ),
        ),
        lead="The same training on data from which nothing, or a known thing, can be learnt: does the score come from "
        "where it should?",
        verdicts=(word,),
        sources=("controls.json",),
    )


def _control_row(one: ControlResult) -> tuple[Cell, ...]:
    state: State = "warn" if one.outside else "good"
    changed, expected = visible(one.changed, 200), visible(one.expected, 200)
    return _model_row(TITLES[one.name], changed, one.accuracy, state, expected, Sign(state, visible(one.text, 400)))


def _model_row(
    name: str, changed: str, share: PairShare, state: State = "open", theory: str = "", reading: Cell = ""
) -> tuple[Cell, ...]:
    low, high = share.ci_low or 0.0, 1.0 if share.ci_high is None else share.ci_high
    drawn: Markup | str = ""
    if share.accuracy is not None:
        drawn = rate_strip(rate(name, share.n, share.accuracy, (low, high), state), 1.0, CHANCE)
    span = Span(percent(share.ci_low), percent(share.ci_high))
    return (name, changed, count(share.n), percent(share.accuracy), span, drawn, theory, reading)


def _control_lines(record: ControlsRecord) -> Iterator[Sign | str]:
    if record.note:
        yield Sign("warn", visible(record.note, 400))
    if record.blind is not None:
        share = percent(record.blind)
        yield f"The data check's best classifier without prompts is right in {share} % of training pairs."
    for one in record.controls:
        if one.left_out:
            lost = plural(one.left_out, "training pair")
            yield f"{TITLES[one.name]}: {lost} could not be rendered and were left out."


def outside_in_words(record: ControlsRecord | None) -> Iterator[str]:
    """A sentence for each control that is outside, for the verdict."""
    for one in record.controls if record else ():
        if one.outside:
            found = f"{_share_in_words(one.accuracy)} where theory has {one.expected}"
            yield f"Control, {TITLES[one.name].lower()}: {found}. {one.text}"


def _share_in_words(share: PairShare) -> str:
    return f"{percent(share.accuracy)} % ({percent(share.ci_low)} to {percent(share.ci_high)})"
