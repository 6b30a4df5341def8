"""The charts of a report as inline SVG: scores against baselines, curves over steps, rewards.

    score_strip(row), score_axis()            one row of a score table and the axis in its head
    line_chart(LineChart(…))                  one curve over steps; curve(…) and end_label(…) are its parts
    reward_strip(row, table), reward_axis(table)

Rows of a table share one scale and carry no text, so that they shrink without becoming unreadable; the numbers stand
beside them. Every drawing says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rewardsmith.report.distributions import Histogram, RewardRow, RewardTable
from rewardsmith.report.formatting import significant
from rewardsmith.report.scores import ScoreRow
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
