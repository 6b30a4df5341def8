"""The charts of a report as inline SVG: scores against baselines, curves over steps, rewards.

    score_strip(row), score_axis()            one row of a score table and the axis in its head
    line_chart(LineChart(…))                  one curve over steps; curve(…) and end_label(…) are its parts
    reward_strip(row, table), reward_axis(table)

Rows of a table share one scale and carry no text, so that they shrink without becoming unreadable; the numbers stand
beside them. Every drawing says in words what it shows.

Drawings beside the scores: reliability of stated confidences, best-of-n, skills on one scale.

reliability_plot(found)     stated confidence against the share that is right
picking_plot(found)         gold quality of the pick over n, between random and oracle
reward_plot(found)          reward of the pick over n
skill_strip(row), skill_axis()

Which curves of the epoch are drawn, and what is said under each.

epoch_charts(training) → one `EpochChart` a curve that was recorded
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rewardsmith.report.formatting import significant
from rewardsmith.report.sections.analyses import Picking, Reliability, Skill
from rewardsmith.report.sections.scores import Histogram, RewardRow, RewardTable, ScoreRow
from rewardsmith.report.sections.training import HIGH, LOW, Curves, TrainingView
from rewardsmith.report.svg import Scale, area_between, drawing, element, line, nice_ticks, path_through, text

_STRIP = 300.0
_SHARES = Scale(0.0, 1.0, 10.0, _STRIP - 10.0)


def score_axis() -> Markup:
    """The percentages over a column of score strips."""
    ticks = [text(_SHARES(share), 12, f"{100 * share:.0f}", anchor="middle") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_STRIP, 16, "", *ticks, class_="chart strip")


def score_strip(row: ScoreRow, baseline_names: Sequence[str]) -> Markup:
    """Dot and whisker from 0 to 100 per cent; guessing is the dashed line, other baselines are the small marks."""
    parts = [element("rect", x=_SHARES(0), y=9, width=_SHARES(1) - _SHARES(0), height=10, rx=2, class_="rail")]
    parts += [line(_SHARES(share), 5, _SHARES(share), 23, "grid") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for index, baseline in enumerate(row.baselines):
        if baseline.value is not None:
            parts.append(baseline_mark(index, _SHARES.clamped(baseline.value)))
    low, high, score = row.low.value, row.high.value, row.score.value
    if low is not None and high is not None:
        left, right = _SHARES.clamped(low), _SHARES.clamped(high)
        parts.append(
            element("rect", x=left, y=11, width=max(right - left, 1), height=6, rx=3, class_=f"whisker {row.state}")
        )
    if score is not None:
        parts.append(element("circle", cx=_SHARES.clamped(score), cy=14, r=5, class_=f"dot {row.state}"))
    others = ", ".join(
        f"{name} {baseline}"
        for name, baseline in zip(baseline_names, row.baselines, strict=True)
        if baseline.value is not None
    )
    label = f"{row.name}: {row.score} per cent, interval {row.low} to {row.high}; {others}"
    return drawing(_STRIP, 32, label, *parts, class_="chart strip")


def baseline_mark(index: int, x: float) -> Markup:
    """The mark of the n-th baseline: a dashed line for guessing, then a triangle, a square, a ring."""
    if index == 0:
        return line(x, 2, x, 26, "chance")
    if index == 1:
        return element("path", d=f"M{x:.1f} 21.5l4.2 7.2h-8.4z", class_="mark length")
    if index == 2:
        return element("rect", x=x - 3.3, y=22.2, width=6.6, height=6.6, class_="mark blind")
    return element("circle", cx=x, cy=25.5, r=3.4, class_="mark other")


def baseline_key(index: int) -> Markup:
    """A baseline's mark alone, for the legend."""
    mark = baseline_mark(index, 8)
    return drawing(
        16, 18, "", element("g", mark, transform=f"translate(0 {-5 if index == 0 else -16.5})"), class_="chart key"
    )


@dataclass(frozen=True, slots=True)
class LineChart:
    """One curve over steps. `raw` is drawn thin, `smooth` bold; NaN is a gap.

    `band` is a lower and an upper line with the area between; `references` are horizontal lines with their names;
    `trend` is a straight line through two points.
    """

    label: str
    steps: Sequence[float]
    raw: Sequence[float]
    smooth: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    references: Mapping[str, float] | None = None
    trend: tuple[tuple[float, float], tuple[float, float]] | None = None
    bounds: tuple[float, float] | None = None


_WIDTH, _HEIGHT = 380.0, 204.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 330.0, 10.0, 176.0


def line_chart(chart: LineChart) -> Markup:
    """A chart with ticks, the last smoothed value written at the end of its line."""
    x = Scale(min(chart.steps), max(chart.steps), _LEFT, _RIGHT)
    low, high = _extent(chart)
    y = Scale(low, high, _BOTTOM, _TOP)
    xs = [x(step) for step in chart.steps]
    parts = [*_axes(x, y)]
    if chart.band:
        edges = [[y(value) for value in edge] for edge in chart.band]
        parts.append(element("path", d=area_between(xs, edges[1], edges[0]), class_="band"))
    for name, value in (chart.references or {}).items():
        parts += [
            line(_LEFT, y(value), _RIGHT, y(value), "reference"),
            text(_RIGHT + 6, y(value) + 3.5, name, "tick faint"),
        ]
    parts.append(curve(xs, chart.raw, y, "raw"))
    parts.append(curve(xs, chart.smooth, y, "smooth"))
    if chart.trend:
        (x1, y1), (x2, y2) = _within(*chart.trend, low, high)
        parts.append(line(x(x1), y(y1), x(x2), y(y2), "trend"))
    finite = [(at, value) for at, value in zip(xs, chart.smooth, strict=True) if math.isfinite(value)]
    if finite:
        taken = [y(value) for value in (chart.references or {}).values()]
        parts += end_label(*finite[-1], y, _RIGHT + 6, taken)
    return drawing(_WIDTH, _HEIGHT, chart.label, *parts)


def _extent(chart: LineChart) -> tuple[float, float]:
    """The range of everything that is drawn, with a little air, and at least as wide as rounding is coarse."""
    edges = [value for edge in chart.band or () for value in edge]
    values = [*chart.raw, *chart.smooth, *edges, *(chart.references or {}).values()]
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-6)
    bottom, top = chart.bounds or (-math.inf, math.inf)
    return max(low - air, bottom), min(high + air, top) if top > low else high + air


def _within(
    start: tuple[float, float], end: tuple[float, float], low: float, high: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The part of a straight line whose values lie between low and high."""

    def cut(point: tuple[float, float]) -> tuple[float, float]:
        bound = min(max(point[1], low), high)
        if bound == point[1] or end[1] == start[1]:
            return point
        return start[0] + (bound - start[1]) * (end[0] - start[0]) / (end[1] - start[1]), bound

    return cut(start), cut(end)


def _axes(x: Scale, y: Scale) -> list[Markup]:
    parts = []
    for tick in nice_ticks(y.low, y.high, target=5):
        parts += [
            line(_LEFT, y(tick), _RIGHT, y(tick), "grid"),
            text(_LEFT - 7, y(tick) + 3.5, _tick(tick), anchor="end"),
        ]
    ticks = [tick for tick in nice_ticks(x.low, x.high) if tick == round(tick)]
    for tick in ticks:
        parts.append(text(x(tick), _BOTTOM + 17, f"{tick:,.0f}", anchor="middle"))
    return [*parts, line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"), text(_WIDTH, _BOTTOM + 17, "step", anchor="end")]


def curve(xs: Sequence[float], values: Sequence[float], y: Scale, class_: str) -> Markup:
    """A line through values at places that are scaled already; NaN is a gap."""
    return element("path", d=path_through((x, y(value)) for x, value in zip(xs, values, strict=True)), class_=class_)


def end_label(x_end: float, value: float, y: Scale, x_text: float, taken: Sequence[float]) -> list[Markup]:
    """A dot where a line ends and its value at `x_text`, moved off names that stand at the heights `taken`."""
    place = y(value)
    near = min(taken, key=lambda other: abs(other - place), default=None)
    if near is not None and abs(near - place) < 12:
        place = near + (12 if place >= near else -12)
    return [
        element("circle", cx=x_end, cy=y(value), r=3, class_="end"),
        text(x_text, place + 3.5, significant(value).text, "tick strong"),
    ]


def _tick(value: float) -> str:
    return "0" if abs(value) < 1e-12 else significant(value).text


def reward_axis(table: RewardTable) -> Markup:
    """The rewards over a column of reward strips."""
    x = _reward_scale(table)
    ticks = nice_ticks(x.low, x.high) if x.high > x.low else [x.low]
    return drawing(
        _STRIP, 16, "", *(text(x(tick), 12, _tick(tick), anchor="middle") for tick in ticks), class_="chart strip"
    )


def reward_strip(row: RewardRow, table: RewardTable) -> Markup:
    """Chosen rewards above the line and rejected below, a stroke at each median.

    Where they were not recorded apart: all rewards, with a line from the 5th to the 95th percentile and a dot at the
    median.
    """
    x = _reward_scale(table)
    parts = [line(x(tick), 0, x(tick), 56, "grid") for tick in nice_ticks(x.low, x.high) if x.high > x.low]
    if row.histogram:
        parts += _bars(row.histogram, x)
    parts += _medians(row.histogram, x) if row.histogram and table.split else _spread(row.quantiles, x)
    label = f"{row.name}: rewards from {row.low} to {row.high}, mean {row.mean}, standard deviation {row.std}"
    return drawing(_STRIP, 56, label, *parts, class_="chart strip")


def _medians(histogram: Histogram, x: Scale) -> list[Markup]:
    ends = ((3, 28), (28, 53))
    strokes = [
        line(x.clamped(median), top, x.clamped(median), bottom, "middle")
        for median, (top, bottom) in zip(histogram.medians, ends, strict=True)
        if median is not None
    ]
    return [line(x.start, 28, x.end, 28, "axis"), *strokes]


def _spread(quantiles: Mapping[str, float], x: Scale) -> list[Markup]:
    if not {"p05", "p50", "p95"} <= quantiles.keys():
        return []
    return [
        line(x.clamped(quantiles["p05"]), 28, x.clamped(quantiles["p95"]), 28, "spread"),
        element("circle", cx=x.clamped(quantiles["p50"]), cy=28, r=3, class_="median"),
    ]


def _reward_scale(table: RewardTable) -> Scale:
    return Scale(table.low, table.high, 10.0, _STRIP - 10.0)


def _bars(histogram: Histogram, x: Scale) -> list[Markup]:
    highest = max((*histogram.chosen, *histogram.rejected, *histogram.whole), default=0.0) or 1.0
    sides = (("chosen", histogram.chosen, -1), ("rejected", histogram.rejected, 1), ("whole", histogram.whole, -1))
    return [
        element(
            "path", d=_steps([x(edge) for edge in histogram.edges], shares, direction * 26 / highest), class_=class_
        )
        for class_, shares, direction in sides
        if shares
    ]


def _steps(edges: Sequence[float], shares: Sequence[float], unit: float) -> str:
    """Path data of a histogram's outline over the middle line."""
    corners = [
        corner
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
        for corner in ((left, 28 + share * unit), (right, 28 + share * unit))
    ]
    return path_through([(edges[0], 28.0), *corners, (edges[-1], 28.0)]).replace("h0", "") + "Z"


def trend_line(
    steps: Sequence[float], values: Sequence[float], slope: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """End points of the line with a Theil-Sen slope: it passes through the median of `value − slope · step`."""
    xs, ys = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    finite = np.isfinite(ys)
    if not finite.any():
        return None
    offset = float(np.median(ys[finite] - slope * xs[finite]))
    first, last = float(xs[0]), float(xs[-1])
    return (first, offset + slope * first), (last, offset + slope * last)


_PLOT_WIDTH, _PLOT_HEIGHT = 380.0, 214.0
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 46.0, 318.0, 10.0, 176.0
_SKILLS = Scale(-0.25, 1.0, 10.0, _STRIP - 10.0)
_LOG_FROM = 32


def reliability_plot(found: Reliability) -> Markup:
    """Bins as dots with their intervals; on the dashed diagonal a stated confidence is what happens."""
    lowest = min((point.low for point in found.points), default=0.5)
    x = Scale(0.5, 1.0, _PLOT_LEFT, _PLOT_RIGHT)
    y = Scale(max(0.0, min(0.4, math.floor(10 * lowest) / 10)), 1.0, _PLOT_BOTTOM, _PLOT_TOP)
    parts = [*_frame(x, y, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "stated", per_cent=True)]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(1.0), "chance"))
    for point in found.points:
        at = x.clamped(point.confidence)
        parts.append(line(at, y(point.low), at, y(point.high), "spread"))
        parts.append(element("circle", cx=at, cy=y(point.accuracy), r=4, class_="end"))
    spoken = ", ".join(
        f"{100 * point.confidence:.0f} stated {100 * point.accuracy:.0f} right" for point in found.points
    )
    return drawing(
        _PLOT_WIDTH, _PLOT_HEIGHT, f"Stated confidence and share of pairs ordered rightly, per cent: {spoken}", *parts
    )


def picking_plot(found: Picking) -> Markup:
    """Gold quality of the picked answer, its interval as a band, between any answer and the best one."""
    points = found.curve.points
    steps = [point.n for point in points]
    bounds = [value for point in points for value in (point.gold_low, point.gold_high, point.oracle, point.random)]
    x, y = _steps_scale(steps), Scale(min(bounds), max(bounds), _PLOT_BOTTOM, _PLOT_TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    high, low = ([y(getattr(point, side)) for point in points] for side in ("gold_high", "gold_low"))
    parts.append(element("path", d=area_between(xs, high, low), class_="band"))
    for name, values in (("best", [point.oracle for point in points]), ("any", [point.random for point in points])):
        parts.append(curve(xs, values, y, "bound"))
        parts.append(text(_PLOT_RIGHT + 6, y(values[-1]) + 3.5, name, "tick faint"))
    gold = [point.gold for point in points]
    parts.append(curve(xs, gold, y, "smooth"))
    parts += end_label(xs[-1], gold[-1], y, _PLOT_RIGHT + 6, [y(points[-1].oracle), y(points[-1].random)])
    if found.curve.turns_down_at is not None:
        turn = x(_place(found.curve.turns_down_at, steps))
        parts.append(line(turn, _PLOT_TOP, turn, _PLOT_BOTTOM, "chance"))
    spoken = ", ".join(f"{point.gold:.3f} at {point.n}" for point in points)
    return drawing(_PLOT_WIDTH, _PLOT_HEIGHT, f"Gold quality of the picked answer over n: {spoken}", *parts)


def reward_plot(found: Picking) -> Markup:
    """Reward of the picked answer: it rises whatever the gold quality does."""
    points = found.curve.points
    steps, rewards = [point.n for point in points], [point.reward for point in points]
    x, y = _steps_scale(steps), Scale(min(rewards), max(rewards), _PLOT_BOTTOM, _PLOT_TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    parts.append(curve(xs, rewards, y, "smooth"))
    parts += end_label(xs[-1], rewards[-1], y, _PLOT_RIGHT + 6, [])
    spoken = f"from {significant(rewards[0])} at 1 to {significant(rewards[-1])} at {steps[-1]}"
    return drawing(_PLOT_WIDTH, _PLOT_HEIGHT, f"Reward of the picked answer over n: {spoken}", *parts)


def skill_axis() -> Markup:
    """The skills over a column of skill strips."""
    ticks = [text(_SKILLS(skill), 12, f"{skill:g}", anchor="middle") for skill in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_STRIP, 16, "", *ticks, class_="chart strip")


def skill_strip(row: Skill) -> Markup:
    """Dot and whisker; 0 is guessing, 1 is perfect."""
    parts = [element("rect", x=_SKILLS(0), y=9, width=_SKILLS(1) - _SKILLS(0), height=10, rx=2, class_="rail")]
    parts += [line(_SKILLS(skill), 5, _SKILLS(skill), 23, "grid") for skill in (0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SKILLS(0), 2, _SKILLS(0), 26, "chance"))
    if row.low.value is not None and row.high.value is not None:
        left, right = _SKILLS.clamped(row.low.value), _SKILLS.clamped(row.high.value)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {row.state}"))
    if row.skill.value is not None:
        parts.append(element("circle", cx=_SKILLS.clamped(row.skill.value), cy=14, r=5, class_=f"dot {row.state}"))
    label = f"{row.title}: skill {row.skill}, interval {row.low} to {row.high}"
    return drawing(_STRIP, 28, label, *parts, class_="chart strip")


def _frame(
    x: Scale, y: Scale, ticks: Sequence[float], unit: str, *, per_cent: bool = False, steps: Sequence[int] = ()
) -> list[Markup]:
    """Grid, ticks and the axis below."""
    parts = []
    for tick in nice_ticks(y.low, y.high, target=5):
        written = f"{100 * tick:.0f}" if per_cent else "0" if abs(tick) < 1e-12 else significant(tick).text
        parts += [
            line(_PLOT_LEFT, y(tick), _PLOT_RIGHT, y(tick), "grid"),
            text(_PLOT_LEFT - 7, y(tick) + 3.5, written, anchor="end"),
        ]
    for tick in ticks:
        at = x(_place(tick, steps)) if steps else x(tick)
        parts.append(text(at, _PLOT_BOTTOM + 17, f"{100 * tick:.0f}" if per_cent else f"{tick:,.0f}", anchor="middle"))
    parts.append(line(_PLOT_LEFT, _PLOT_BOTTOM, _PLOT_RIGHT, _PLOT_BOTTOM, "axis"))
    return [*parts, text(_PLOT_WIDTH, _PLOT_BOTTOM + 17, unit, anchor="end")]


def _steps_scale(steps: Sequence[int]) -> Scale:
    return Scale(_place(steps[0], steps), _place(steps[-1], steps), _PLOT_LEFT, _PLOT_RIGHT)


def _place(n: float, steps: Sequence[int]) -> float:
    """Few answers lie evenly; many by their logarithm."""
    return math.log2(n) if steps and steps[-1] > _LOG_FROM else float(n)


def _step_ticks(steps: Sequence[int]) -> list[float]:
    if steps[-1] > _LOG_FROM:
        return [2.0**power for power in range(0, int(math.log2(steps[-1])) + 1, 2)]
    gap = max(1, math.ceil(len(steps) / 8))
    return [float(n) for n in steps[::gap]]


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


@dataclass(frozen=True, slots=True)
class EpochChart:
    """A drawn curve with its title and caption."""

    title: str
    caption: str
    drawing: Markup


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


def epoch_charts(training: TrainingView) -> tuple[EpochChart, ...]:
    """All curves with at least one finite value."""
    curves = training.curves
    if curves is None:
        return ()
    return tuple(
        EpochChart(plot.title, plot.caption, line_chart(_chart(plot, curves, training)))
        for plot in PLOTS
        if np.isfinite(curves.series[plot.field]).any()
    )


def _chart(plot: Plot, curves: Curves, training: TrainingView) -> LineChart:
    raw = curves.series[plot.field].tolist()
    smooth = curves.smooth[plot.field].tolist() if plot.smoothed else raw
    steps = curves.steps.tolist()
    first, last = significant(curves.first(plot.field)), significant(curves.last(plot.field))
    monitor = training.monitor
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
