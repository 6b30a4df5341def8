"""Strips for tables of shares: a dot with its interval, or a bar, on one scale for the whole column.

    rate_axis(top)                       percentages over the column
    rate_strip(rate, top, chance)        dot and whisker between 0 and `top`
    bar_strip(share)                     a bar of this share of the strip
    stacked_strip(shares)                parts of a whole, side by side

The numbers stand beside them in the table; each drawing says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.report.formatting import Number, count, percent, visible
from rewardsmith.report.scores import State
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_WIDTH = 300.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval, by name; `n` is what it is a share of, `reading` says what to think of it."""

    name: str
    n: Number
    value: Number
    low: Number
    high: Number
    state: State = "open"
    reading: str = ""


def rate(name: str, n: int, value: float, ci: tuple[float, float], state: State = "open", reading: str = "") -> Rate:
    """A `Rate` from raw numbers and a name that may be anything."""
    low, high = ci
    return Rate(
        visible(name, 80) or "(unnamed)", count(n), percent(value), percent(low), percent(high), state, visible(reading)
    )


def nice_top(values: Sequence[float]) -> float:
    """The end of a scale from 0 that holds all values: 0.1, 0.2, 0.5 or 1."""
    highest = max((value for value in values if math.isfinite(value)), default=1.0)
    return next((top for top in (0.02, 0.05, 0.1, 0.2, 0.5) if highest <= top), 1.0)


def rate_axis(top: float = 1.0) -> Markup:
    """The percentages over a column of strips."""
    x = _scale(top)
    ticks = [text(x(tick), 12, f"{100 * tick:g}", anchor="middle") for tick in nice_ticks(0.0, top)]
    return drawing(_WIDTH, 16, "", *ticks, class_="chart strip")


def rate_strip(rate: Rate, top: float = 1.0, chance: float | None = None) -> Markup:
    """Dot and whisker; what chance gives is the dashed line."""
    x = _scale(top)
    parts = [line(x(tick), 5, x(tick), 23, "grid") for tick in nice_ticks(0.0, top)]
    if chance is not None:
        parts.append(line(x(chance), 2, x(chance), 26, "chance"))
    if rate.low.value is not None and rate.high.value is not None:
        left, right = x.clamped(rate.low.value), x.clamped(rate.high.value)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {rate.state}"))
    if rate.value.value is not None:
        parts.append(element("circle", cx=x.clamped(rate.value.value), cy=14, r=5, class_=f"dot {rate.state}"))
    label = f"{rate.name}: {rate.value} per cent, interval {rate.low} to {rate.high}"
    return drawing(_WIDTH, 28, label, *parts, class_="chart strip")


def bar_strip(share: float) -> Markup:
    """A bar as long as its share of the strip; the number stands beside it."""
    width = _WIDTH * min(max(share, 0.0), 1.0)
    bar = element("rect", x=0, y=2, width=max(width, 1.0 if share > 0 else 0.0), height=8, rx=2, class_="bar")
    return drawing(_WIDTH, 12, "", bar, class_="chart strip")


def stacked_strip(shares: Mapping[str, float]) -> Markup:
    """Parts of a whole from left to right; classes part0, part1, … colour them."""
    parts, left = [], 0.0
    whole = sum(shares.values()) or 1.0
    for index, share in enumerate(shares.values()):
        width = _WIDTH * share / whole
        parts.append(element("rect", x=left, y=2, width=width, height=10, class_=f"part{index}"))
        left += width
    spoken = ", ".join(f"{name} {percent(share / whole)} per cent" for name, share in shares.items())
    return drawing(_WIDTH, 14, spoken, *parts, class_="chart strip")


def _scale(top: float) -> Scale:
    return Scale(0.0, top, 10.0, _WIDTH - 10.0)
