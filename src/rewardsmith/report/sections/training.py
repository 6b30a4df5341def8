"""The epoch of training, ready to be shown: curves, the margin's trend, facts, suspects.

training_view(train, steps, suspects=…) → TrainingView | None

The epoch as series: what each step recorded, fewer points for long runs, a smoothed line, the trend in words.

    training_curves(steps) → Curves | None

A series of more than `MAX_POINTS` steps is cut into equal blocks of consecutive steps and each block shown as its
mean; the smoothed line is a centred moving mean over about a twentieth of the points. Both say so under the chart.
Steps whose number was not finite are gaps, never zeros.

Label noise, ready to be shown: the estimate, the plateau behind it, shares by source, the suspects.

    noise_block(record)      → Block | None
    noise_plot(bands)        contradictions over confidence

In: `label_noise.json`. Ids, sources and subsets come from users.

Other trainings of the same spec: the spread over seeds beside each interval, and the learning curve.

    variants(results, replicas, curve) → Variants | None
    as_lines(variants)                 → Markdown lines; the page has templates/replicas.html.j2

In: `results.json` of each benchmark, `replicas.json`, `learning_curve.json`. None where neither of the last two is
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.training import (
    CurveScore,
    LabelNoiseRecord,
    LearningCurveRecord,
    MonitorRecord,
    NoiseBand,
    NoiseShare,
    ReplicasRecord,
    SeedSpread,
    StepMetrics,
    SuspectLabel,
    SuspectPair,
    TrainRecord,
)
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid, Rate, nice_top, rate, rate_grid
from rewardsmith.report.formatting import (
    Number,
    as_table,
    count,
    decimal,
    duration,
    p_value,
    parameters,
    percent,
    plural,
    prose,
    significant,
    visible,
)
from rewardsmith.report.reading import Step
from rewardsmith.report.sections.data import FindingView, finding_view
from rewardsmith.report.sections.scores import State
from rewardsmith.report.sections.verdict import sentence
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, path_through, text

MAX_POINTS = 300
LOW, HIGH = "reward_low", "reward_high"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """Series by the name of their `StepMetrics` field, each as long as `steps`; NaN is a gap.

    `LOW` and `HIGH` are the mean reward, one standard deviation down and up.

    `block` is the number of steps that one point is the mean of; `window` the number of points a smoothed point is
    the mean of.
    """

    steps: Floats
    series: dict[str, Floats]
    smooth: dict[str, Floats]
    block: int
    window: int
    last_step: int

    def first(self, name: str) -> float:
        """The first finite value of a series; NaN where there is none."""
        finite = self.series[name][np.isfinite(self.series[name])]
        return float(finite[0]) if finite.size else float("nan")

    def last(self, name: str) -> float:
        """The last finite smoothed value of a series; NaN where there is none."""
        finite = self.smooth[name][np.isfinite(self.smooth[name])]
        return float(finite[-1]) if finite.size else float("nan")


def training_curves(steps: Sequence[Step]) -> Curves | None:
    """Series of all steps, or None where no step was recorded."""
    if not steps:
        return None
    block = -(-len(steps) // MAX_POINTS)
    names = [name for name in StepMetrics.model_fields if name != "step"]
    series = {name: _block_means(_column(steps, name), block) for name in names}
    series |= {LOW: series["reward_mean"] - series["reward_std"], HIGH: series["reward_mean"] + series["reward_std"]}
    numbers = _block_means(_column(steps, "step"), block)
    window = max(1, len(numbers) // 20) | 1
    return Curves(
        steps=numbers,
        series=series,
        smooth={name: _moving_mean(values, window) for name, values in series.items()},
        block=block,
        window=window,
        last_step=int(steps[-1]["step"] or 0),
    )


def trend_in_words(monitor: MonitorRecord) -> str:
    """The margin's trend test, in two sentences."""
    trend = monitor.trend
    if trend.direction == "too short":
        return f"{plural(trend.n, 'step')}: too few to tell whether the margin rises."
    verb = {"rising": "rises", "falling": "falls", "flat": "neither rises nor falls"}[trend.direction]
    slope, low, high = (significant(value).text for value in (trend.slope_per_step, trend.slope_low, trend.slope_high))
    p = p_value(trend.p_value).text
    return (
        f"The mean margin {verb}: {slope} per step (interval {low} to {high}), "
        f"p {p if p.startswith('<') else '= ' + p} over {plural(trend.n, 'step')} ({trend.method}). "
        f"From one step to the next it fell {plural(monitor.falls, 'time')}; single falls are noise."
    )


def how_drawn(curves: Curves) -> str:
    """What a point and the smoothed line are, for the caption."""
    point = "a step" if curves.block == 1 else f"the mean of {curves.block} steps"
    if curves.window == 1:
        return f"Each point is {point}."
    return f"Thin line: each point is {point}. Bold line: centred mean over {curves.window} points."


def _column(steps: Sequence[Step], name: str) -> Floats:
    values = (step.get(name) for step in steps)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _block_means(values: Floats, block: int) -> Floats:
    """Means of consecutive blocks (the last one may be shorter), NaN left out."""
    padded = np.concatenate([values, np.full(-len(values) % block, np.nan)]).reshape(-1, block)
    return _mean_rows(padded)


def _moving_mean(values: Floats, window: int) -> Floats:
    """Centred mean over `window` (odd) points, fewer at the ends; a gap stays a gap."""
    half = window // 2
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    smooth = _mean_rows(np.lib.stride_tricks.sliding_window_view(padded, window))
    smooth[np.isnan(values)] = np.nan
    return smooth


def _mean_rows(rows: Floats) -> Floats:
    finite = np.isfinite(rows)
    counts = finite.sum(axis=1)
    sums = np.where(finite, rows, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(rows), np.nan), where=counts > 0), dtype=np.float64)


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


SUSPECTS_SHOWN = 50
_OPEN = 12  # a longer list is folded

_STATES: dict[str, State] = {"few": "good", "some": "warn", "many": "bad", "cannot tell": "open"}
_SOME, _MANY = 0.03, 0.1
_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0


def noise_block(record: LabelNoiseRecord | None) -> Block | None:
    """What the report shows of the record; None where there is none."""
    if record is None:
        return None
    return Block(
        title="Label noise",
        reading=sentence(visible(record.statement, 600)),
        state=_STATES[record.verdict],
        note="The model met each pair once, before it had learned it: where it was sure and the label says otherwise, "
        "the label contradicts what the other pairs teach.",
        figures=(
            Figure(
                "Contradictions over confidence",
                "Share of labels against the model’s choice, per cent, in tenths of the pairs, with intervals. "
                "Dashed: every label right. Line: with the estimated share of wrong ones, which confidence does not "
                "make smaller.",
                noise_plot(record.bands),
                ", ".join(
                    f"{percent(one.contradicted)} % where it was {percent(1 - one.doubt)} % sure"
                    for one in record.bands[::3]
                ),
            ),
        ),
        facts=(
            ("Wrong labels", f"{percent(record.share)} % ({percent(record.ci_low)} to {percent(record.ci_high)})"),
            ("Contradicted when met", f"{percent(record.contradicted)} % of {plural(record.pairs, 'pair')}"),
            ("More probably wrong than right", plural(record.likely, "pair")),
            ("Asked again after training", plural(record.rescored, "pair")),
        ),
        grids=(
            *([_groups(record.groups)] if record.groups else []),
            *([_suspects(record.suspects)] if record.suspects else []),
        ),
        source="label_noise.json",
    )


def _groups(groups: Sequence[NoiseShare]) -> Grid:
    rates = sorted(map(_group, groups), key=lambda one: -(one.low.value or 0.0))
    top = nice_top([one.ci_high for one in groups])
    return rate_grid("Wrong labels by source and subset", "Group", rates, value="Wrong labels, %", top=top)


def _group(one: NoiseShare) -> Rate:
    name = " · ".join(part for part in (one.source, one.subset) if part)
    if one.ci_low > 0.5:
        return rate(name, one.n, one.share, (one.ci_low, one.ci_high), "bad", "chosen and rejected look swapped")
    surely, at_most = one.ci_low, one.ci_high
    state: State = "bad" if surely > _MANY else "warn" if surely > _SOME else "good" if at_most < _MANY else "open"
    return rate(name, one.n, one.share, (one.ci_low, one.ci_high), state)


def _suspects(suspects: Sequence[SuspectLabel]) -> Grid:
    again = any(one.final_margin is not None for one in suspects)
    columns = (
        Column("Rank"),
        Column("Pair", "code"),
        Column("Row", "code"),
        Column("Source", "name"),
        Column("Subset", "name"),
        Column("Step"),
        Column("Margin when met"),
        *((Column("after training"),) if again else ()),
        Column("Wrong, %"),
    )
    shown = suspects[:SUSPECTS_SHOWN]
    some = f"The first {len(shown)} of {len(suspects):,}" if len(suspects) > len(shown) else f"{len(shown)}"
    return Grid(
        "Suspected labels, the most probable first",
        columns,
        tuple(_row(rank, one, again) for rank, one in enumerate(shown, start=1)),
        folded=f"{some} suspected pairs, worst first" if len(shown) > _OPEN else "",
    )


def _row(rank: int, one: SuspectLabel, again: bool) -> tuple[Cell, ...]:
    return (
        count(rank),
        visible(one.id, 80),
        visible(one.file, 120) + (f":{one.row}" if one.row else ""),
        visible(one.source, 80),
        visible(one.subset, 80),
        count(one.step),
        decimal(one.margin),
        *((decimal(one.final_margin),) if again else ()),
        percent(one.probability),
    )


def noise_plot(bands: Sequence[NoiseBand]) -> Markup:
    """Tenths of the pairs as dots with intervals; dashed: right labels; line: the estimated share of wrong ones."""
    x, y = Scale(0.5, 1.0, _LEFT, _RIGHT), Scale(0.0, max([0.55, *(one.ci_high for one in bands)]), _BOTTOM, _TOP)
    parts: list[Markup] = []
    for tick in nice_ticks(0.0, y.high, target=5):
        label = text(_LEFT - 7, y(tick) + 3.5, f"{100 * tick:.0f}", anchor="end")
        parts += [line(_LEFT, y(tick), _RIGHT, y(tick), "grid"), label]
    parts += [text(x(tick / 10), _BOTTOM + 17, f"{10 * tick}", anchor="middle") for tick in range(5, 11)]
    parts += [line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"), text(_WIDTH, _BOTTOM + 17, "% sure", anchor="end")]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(0.0), "chance"))
    rising = sorted(bands, key=lambda band: -band.doubt)
    expected = path_through((x.clamped(1 - one.doubt), y(one.expected)) for one in rising)
    parts.append(element("path", d=expected, class_="smooth"))
    for band in rising:
        at = x.clamped(1 - band.doubt)
        parts.append(line(at, y(band.ci_low), at, y(band.ci_high), "spread"))
        parts.append(element("circle", cx=at, cy=y(band.contradicted), r=4, class_="end"))
    spoken = ", ".join(f"{percent(1 - one.doubt)} sure {percent(one.contradicted)} contradicted" for one in rising)
    return drawing(_WIDTH, _HEIGHT, f"Labels against the model’s choice by its confidence, per cent: {spoken}", *parts)


_REPLICAS_STATES: dict[str, State] = {"more data": "good", "flat": "warn", "falling": "bad"}


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One score of the run's own model with its interval over rows, beside its spread over seeds; per cent."""

    benchmark: str
    subset: str
    score: Number
    low: Number
    high: Number
    mean: Number
    std: Number
    lowest: Number
    highest: Number


@dataclass(frozen=True, slots=True)
class CurveRow:
    """One point of the learning curve; `scores` in the order of the benchmarks, each with its interval."""

    share: str
    pairs: Number
    scores: tuple[tuple[Number, Number, Number], ...]
    loss: Number
    stopped: str


@dataclass(frozen=True, slots=True)
class Variants:
    """What both pages show. `statement` is the learning curve's answer, `state` its sign."""

    seeds: tuple[int, ...]
    seed_rows: tuple[SeedRow, ...]
    stopped: tuple[tuple[str, str], ...]
    benchmarks: tuple[str, ...]
    points: tuple[CurveRow, ...]
    statement: str
    state: State


def variants(
    results: Mapping[str, BenchmarkResult], replicas: ReplicasRecord | None, curve: LearningCurveRecord | None
) -> Variants | None:
    """From records to rows."""
    if replicas is None and curve is None:
        return None
    keys = sorted({key for point in curve.points for key in point.scores}) if curve else []
    return Variants(
        seeds=replicas.seeds if replicas else (),
        seed_rows=tuple(_seed_rows(results, replicas)) if replicas else (),
        stopped=tuple((seed, visible(reason)) for seed, reason in replicas.stopped.items()) if replicas else (),
        benchmarks=tuple(visible(key, 60) for key in keys),
        points=tuple(
            CurveRow(
                share=f"{point.fraction:g}",
                pairs=count(point.pairs),
                scores=tuple(_triple(point.scores.get(key)) for key in keys),
                loss=decimal(point.loss, 3),
                stopped=visible(point.stopped),
            )
            for point in (curve.points if curve else ())
        ),
        statement=visible(curve.statement, 1000) if curve else "",
        state=_REPLICAS_STATES.get(curve.verdict, "open") if curve else "open",
    )


def as_lines(found: Variants) -> Iterator[str]:
    """The section as Markdown."""
    yield "## Seeds and data"
    if found.seed_rows:
        yield from ("", "### The same spec with other seeds", "", seeds_in_words(found.seeds), "")
        yield from as_table(
            ["Benchmark", "Subset", "Score, %", "95 % interval", "Mean ± std over seeds", "Lowest to highest"],
            [_seed_cells(row) for row in found.seed_rows],
            right=range(2, 6),
        )
        for seed, reason in found.stopped:
            yield from ("", f"Seed {seed} has no scores: {prose(reason)}")
    if found.points:
        yield from ("", "### Learning curve", "", prose(found.statement), "")
        yield from as_table(
            ["Share", "Pairs", *(prose(name) for name in found.benchmarks), "Held-out loss"],
            [_curve_cells(row) for row in found.points],
            right=range(1, len(found.benchmarks) + 3),
        )


def _curve_cells(row: CurveRow) -> list[str]:
    scores = ["stopped" if row.stopped else _with_interval(score) for score in row.scores]
    return [row.share, row.pairs.text, *scores, row.loss.text]


def seeds_in_words(seeds: tuple[int, ...]) -> str:
    """Which seeds there are, and what the spread over them says."""
    return (
        f"Trained with the seeds {', '.join(map(str, seeds))}; the first is this run’s model. The interval says what "
        "other rows would change, the spread what another training would."
    )


def _seed_cells(row: SeedRow) -> list[str]:
    return [
        prose(row.benchmark),
        prose(row.subset),
        row.score.text,
        f"{row.low} to {row.high}",
        f"{row.mean} ± {row.std}",
        f"{row.lowest} to {row.highest}",
    ]


def _with_interval(score: tuple[Number, Number, Number]) -> str:
    own, low, high = score
    return f"{own} ({low} to {high})" if own.value is not None else own.text


def _seed_rows(results: Mapping[str, BenchmarkResult], record: ReplicasRecord) -> Iterator[SeedRow]:
    for key, spread in record.spread.items():
        for name, found in spread.items():
            low, high = _interval(results.get(key), name)
            yield _seed_row(key, name, found, low, high)


def _seed_row(key: str, name: str, found: SeedSpread, low: float | None, high: float | None) -> SeedRow:
    return SeedRow(
        benchmark=visible(key, 60),
        subset=visible(name, 60),
        score=percent(found.scores[0]),
        low=percent(low),
        high=percent(high),
        mean=percent(found.mean),
        std=percent(found.std),
        lowest=percent(found.low),
        highest=percent(found.high),
    )


def _interval(result: BenchmarkResult | None, name: str) -> tuple[float | None, float | None]:
    if result is None:
        return None, None
    if name in result.subsets:
        return result.subsets[name].ci_low, result.subsets[name].ci_high
    return result.average_ci or (None, None)


def _triple(score: CurveScore | None) -> tuple[Number, Number, Number]:
    if score is None:
        return percent(None), percent(None), percent(None)
    return percent(score.score), percent(score.ci_low), percent(score.ci_high)
