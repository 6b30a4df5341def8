"""The epoch of training, ready to be shown, and the labels that it speaks against.

    training_section(train, steps) → Section           curves, the margin's trend, facts, findings, suspects
    noise_section(record) → Section | None             wrong labels: the estimate, the plateau behind it, the suspects

In: `train/summary.json`, `train/metrics.jsonl`, `label_noise.json`. Ids, sources and subsets come from users. A series
of more than `MAX_POINTS` steps is cut into equal blocks of consecutive steps and each block shown as its mean; the
smoothed line is a centred moving mean over about a twentieth of the points. Both say so under the chart. Steps whose
number was not finite are gaps, never zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rewardsmith.records.training import (
    LabelNoiseRecord,
    MonitorRecord,
    NoiseBand,
    NoiseShare,
    StepMetrics,
    SuspectLabel,
    TrainRecord,
)
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid, Rate, Section, nice_top, rate, rate_grid
from rewardsmith.report.formatting import (
    State,
    count,
    decimal,
    duration,
    p_value,
    parameters,
    percent,
    plural,
    significant,
    sparkline,
    visible,
)
from rewardsmith.report.reading import Step
from rewardsmith.report.sections.data import finding_block
from rewardsmith.report.sections.verdict import sentence
from rewardsmith.report.svg import (
    LineChart,
    Scale,
    drawing,
    element,
    line,
    line_chart,
    nice_ticks,
    path_through,
    text,
    trend_line,
)

MAX_POINTS = 300
LOW, HIGH = "reward_low", "reward_high"
Floats = NDArray[np.float64]


def training_section(train: TrainRecord | None, steps: Sequence[Step], *, suspects: bool = True) -> Section:
    """The epoch: the margin's trend, curves, facts, what was found. `suspects`: also those of the margin monitor."""
    curves = training_curves(steps)
    if train is None and curves is None:
        return Section("training", "Training", absent=("Training", "train/summary.json"))
    files = ("train/metrics.jsonl", "train/summary.json")
    return Section(
        "training",
        "Training",
        tuple(_training_blocks(train, curves, suspects=suspects)),
        lead="" if train else "Training has not ended: these are its steps so far.",
        notes=() if train else ("Training has not ended.",),
        sources=files if train else files[:1],
    )


def _training_blocks(train: TrainRecord | None, curves: Curves | None, *, suspects: bool) -> Iterator[Block]:
    monitor = train.monitor if train else None
    state: State = "open" if monitor is None or monitor.trend.direction == "too short" else "good"
    if monitor is not None and (monitor.stopped or monitor.advice):
        state = "bad" if monitor.stopped else "warn"
    drawn = f"{how_drawn(curves)} Dashed in the margin’s chart: its trend." if curves else ""
    yield Block(
        "",
        reading=f"{monitor.verdict.capitalize()}. {trend_in_words(monitor)}" if monitor else "",
        state=state,
        note=drawn,
        texts=(sentence(monitor.advice),) if monitor and monitor.advice else (),
        figures=epoch_charts(curves, monitor),
        facts=_facts(train) if train else (),
        grids=(_curve_grid(curves),) if curves else (),
    )
    yield from map(finding_block, train.findings if train else ())
    if suspects and monitor and monitor.suspects:
        columns = (
            Column("Pair", "code"),
            Column("Source", "words"),
            Column("Subset", "words"),
            Column("Step"),
            Column("Margin"),
        )
        rows = tuple(
            (
                visible(pair.id, 80),
                visible(pair.source, 120),
                visible(pair.subset, 80),
                count(pair.step),
                decimal(pair.margin),
            )
            for pair in monitor.suspects
        )
        caption = "Training pairs that the model ranked most confidently against their label"
        yield Block(
            "Suspected pairs",
            note="The model met each pair once, before it had learned it. These were ranked most confidently against "
            "their label: read them first.",
            grids=(Grid(caption, columns, rows, titled=False),),
        )


def trend_in_words(monitor: MonitorRecord) -> str:
    """The margin's trend test, in two sentences."""
    trend = monitor.trend
    if trend.direction == "too short":
        return f"{plural(trend.n, 'step')}: too few to tell whether the margin rises."
    verb = {"rising": "rises", "falling": "falls", "flat": "neither rises nor falls"}[trend.direction]
    above = monitor.verdict == "learning" and trend.direction == "flat"  # what the verdict goes by where nothing rises
    slope, low, high = (significant(value).text for value in (trend.slope_per_step, trend.slope_low, trend.slope_high))
    p = p_value(trend.p_value).text
    return (
        f"The mean margin {verb}: {slope} per step (interval {low} to {high}), "
        f"p {p if p.startswith('<') else '= ' + p} over {plural(trend.n, 'step')} ({trend.method}). "
        f"{'It lies above zero in the second half of them, on pairs never trained on before. ' if above else ''}"
        f"From one step to the next it fell {plural(monitor.falls, 'time')}; single falls are noise."
    )


def how_drawn(curves: Curves) -> str:
    """What a point and the smoothed line are, for the caption."""
    point = "a step" if curves.block == 1 else f"the mean of {curves.block} steps"
    if curves.window == 1:
        return f"Each point is {point}."
    return f"Thin line: each point is {point}. Bold line: centred mean over {curves.window} points."


def _facts(train: TrainRecord) -> tuple[tuple[str, str], ...]:
    resumed = f"step {train.resumed_from_step:,}" if train.resumed_from_step else "no"
    return (
        ("Base model", f"{visible(train.base_model, 80)} ({parameters(train.base_parameters)} parameters)"),
        ("Trained parameters", f"{parameters(train.trainable_parameters)}, adapter {visible(train.adapter, 40)}"),
        ("Backend", f"{visible(train.backend, 40)}, {visible(train.layout, 40)} layout"),
        ("Device", f"{visible(train.device, 60)}, {train.dtype}, {plural(train.processes, 'process', 'processes')}"),
        *_passes(train),
        ("Steps", f"{train.steps:,} of {plural(train.pairs_per_step, 'pair')}"),
        ("Prompts a step", f"{significant(train.prompts_per_step)}"),
        ("Peak memory", f"{significant(train.peak_memory / 2**30)} GiB"),
        ("Time", f"{duration(train.seconds)}, {significant(train.pairs_per_second)} pairs per second"),
        ("Loss", f"{significant(train.first_loss)} → {significant(train.last_loss)}"),
        ("Resumed", resumed),
    )


def _passes(train: TrainRecord) -> tuple[tuple[str, str], ...]:
    """How the forward passes were computed; nothing for records that do not say."""
    facts = []
    if train.optimizer:
        facts.append(("Optimizer", visible(train.optimizer, 40)))
    if train.kernels:
        counted = ", ".join(f"{visible(name, 40)} {number:,}" for name, number in train.kernels.items())
        most = f" of at most {train.tokens_per_micro_batch:,} tokens" if train.tokens_per_micro_batch else ""
        facts.append(("Attention", f"forward passes{most} by kernel: {counted}"))
    return tuple(facts)


def _curve_grid(curves: Curves) -> Grid:
    columns = (Column("Curve", "name"), Column("Over the epoch", "words"), Column("First"), Column("Last"))
    rows = tuple(
        (
            plot.title,
            sparkline(curves.smooth[plot.field].tolist()),
            significant(curves.first(plot.field)),
            significant(curves.last(plot.field)),
        )
        for plot in PLOTS
        if np.isfinite(curves.series[plot.field]).any()
    )
    return Grid("Curves of the epoch", columns, rows, folded="The numbers", titled=False, drawn=True)


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
class Plot:
    """How one field of `StepMetrics` is drawn."""

    field: str
    title: str
    caption: str
    band: tuple[str, str] | None = None
    references: tuple[tuple[str, float], ...] = ()
    bounds: tuple[float, float] | None = None
    smoothed: bool = True


PLOTS = (
    Plot(
        "margin_mean",
        "Margin",
        "Chosen − rejected reward, mean of a step; the band holds the middle 80 % of its pairs.",
        band=("margin_p10", "margin_p90"),
        references=(("", 0.0),),
    ),
    Plot("loss", "Loss", "−log σ(margin), mean over pairs; a guess costs ln 2.", references=(("guess", math.log(2)),)),
    Plot(
        "accuracy",
        "Accuracy",
        "Share of pairs ranked as labelled, equal rewards as half.",
        references=(("guess", 0.5),),
        bounds=(0.0, 1.0),
    ),
    Plot(
        "reward_mean",
        "Reward",
        "Raw rewards of a step: their mean, and one standard deviation either side.",
        band=(LOW, HIGH),
    ),
    Plot("grad_norm", "Gradient norm", "Before clipping."),
    Plot("learning_rate", "Learning rate", "As applied at each step.", smoothed=False),
)


def epoch_charts(curves: Curves | None, monitor: MonitorRecord | None) -> tuple[Figure, ...]:
    """All curves with at least one finite value."""
    if curves is None:
        return ()
    return tuple(
        Figure(plot.title, plot.caption, line_chart(_chart(plot, curves, monitor)), name=plot.title)
        for plot in PLOTS
        if np.isfinite(curves.series[plot.field]).any()
    )


def _chart(plot: Plot, curves: Curves, monitor: MonitorRecord | None) -> LineChart:
    raw = curves.series[plot.field].tolist()
    smooth = curves.smooth[plot.field].tolist() if plot.smoothed else raw
    steps = curves.steps.tolist()
    first, last = significant(curves.first(plot.field)), significant(curves.last(plot.field))
    is_margin = plot.field == "margin_mean" and monitor is not None and monitor.trend.direction != "too short"
    return LineChart(
        label=f"{plot.title} over {curves.last_step} steps: from {first} to {last}",
        steps=steps,
        raw=raw,
        smooth=smooth,
        band=(curves.smooth[plot.band[0]].tolist(), curves.smooth[plot.band[1]].tolist()) if plot.band else None,
        references=dict(plot.references),
        trend=trend_line(steps, raw, monitor.trend.slope_per_step) if is_margin and monitor else None,
        bounds=plot.bounds,
    )


SUSPECTS_SHOWN = 50
_OPEN = 12  # a longer list is folded
_STATES: dict[str, State] = {"few": "good", "some": "warn", "many": "bad", "cannot tell": "open"}
_SOME, _MANY = 0.03, 0.1
_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0


def noise_section(record: LabelNoiseRecord | None) -> Section | None:
    """What is said about wrong labels; None where they were not estimated."""
    block = noise_block(record)
    if block is None:
        return None
    sources = (block.source, "train/margins.jsonl")
    return Section("labels", block.title, (replace(block, title="", source=""),), sources=sources)


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
