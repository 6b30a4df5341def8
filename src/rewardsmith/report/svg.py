"""The few SVG parts that the drawings share: elements, scales, ticks, the sign of a state, one curve over steps.

    line_chart(LineChart(…))            a curve over steps; curve(…) and end_label(…) are its parts

Colours come from the page's style sheet by class name, so that a drawing follows light and dark; no `style` attribute
is ever written, because the page's Content-Security-Policy would refuse it. All text and attributes are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from rewardsmith.report.formatting import State, significant

Attribute = str | float | int


def element(name: str, *children: str, **attributes: Attribute) -> Markup:
    """One element. `class_` becomes `class`, `text_anchor` becomes `text-anchor`; numbers are written short.

    Children that are `Markup` are kept, all others are escaped.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.strip("_").replace("_", "-"), number(value) if _is_number(value) else value)
        for key, value in attributes.items()
    )
    content = Markup("").join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{written}>{content}</{name}>")  # noqa: S704 - both parts are escaped above


def drawing(width: float, height: float, label: str, *children: str, class_: str = "chart") -> Markup:
    """An `<svg>` that scales with its place and speaks `label` to a screen reader; without a label it is decoration."""
    spoken: dict[str, Attribute] = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element("svg", *children, viewBox=f"0 0 {number(width)} {number(height)}", class_=class_, **spoken)


def number(value: Attribute) -> str:
    """A coordinate to a tenth of a unit, as short as it can be."""
    text = f"{float(value):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text(x: float, y: float, content: str, class_: str = "tick", anchor: str = "start") -> Markup:
    """A line of text whose baseline is at y."""
    return element("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value; a scale without extent maps to its middle."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        """The coordinate of the nearest value on the scale."""
        return self(min(max(value, self.low), self.high))


def nice_ticks(low: float, high: float, target: int = 4) -> list[float]:
    """About `target` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / target
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def path_through(points: Iterable[tuple[float, float]]) -> str:
    """Path data of a line through points; a point with NaN is a gap."""
    commands, pen_down = [], False
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{number(x)} {number(y)}")
        if not pen_down:
            commands.append("h0")  # a point between two gaps is drawn as a dot by its round cap
        pen_down = True
    return "".join(commands)


def area_between(xs: Sequence[float], upper: Sequence[float], lower: Sequence[float]) -> str:
    """Path data of the areas between two lines, one for each run of finite points."""
    areas: list[str] = []
    run: list[tuple[float, float, float]] = []
    for x, top, bottom in [*zip(xs, upper, lower, strict=True), (math.nan, math.nan, math.nan)]:
        if math.isfinite(top) and math.isfinite(bottom):
            run.append((x, top, bottom))
        elif run:
            corners = [(a, b) for a, b, _ in run] + [(a, b) for a, _, b in reversed(run)]
            areas.append("M" + "L".join(f"{number(a)} {number(b)}" for a, b in corners) + "Z")
            run = []
    return "".join(areas)


_SIGNS: dict[State, str] = {
    "good": "M4.6 8.3 7 10.7 11.5 5.6",
    "bad": "M5.3 5.3 10.7 10.7M10.7 5.3 5.3 10.7",
    "warn": "M8 4.4V8.8M8 11.4v.01",
    "open": "M5 8H11",
}


def sign(state: State) -> Markup:
    """The sign of a state in a 16 by 16 square: tick, cross, exclamation mark, dash. Never colour alone."""
    disc = element("circle", cx=8, cy=8, r=7.5, class_=f"disc {state}")
    return disc + element("path", d=_SIGNS[state], class_="sign")


def _is_number(value: Attribute) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


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
            text(_LEFT - 7, y(tick) + 3.5, tick_label(tick), anchor="end"),
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


def tick_label(value: float) -> str:
    """A number under an axis."""
    return "0" if abs(value) < 1e-12 else significant(value).text


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
