"""The few SVG parts that the drawings share: elements, scales, ticks, the sign of a state.

Colours come from the page's style sheet by class name, so that a drawing follows light and dark; no `style` attribute
is ever written, because the page's Content-Security-Policy would refuse it. All text and attributes are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from rewardsmith.report.sections.scores import State

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
