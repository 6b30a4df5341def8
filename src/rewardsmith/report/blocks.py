"""What most sections are made of: a title, what to think of it, facts, drawings and tables, for both pages at once.

    Block(title, note, grids=(rate_grid(…),))       a section's part
    block_lines(block, signs)                       the same as Markdown; the page has the macro `block`

Cells are numbers, or texts that have passed `formatting.visible`; drawings are columns of kind "draw", which Markdown
leaves out because the numbers stand beside them.

Strips for tables of shares: a dot with its interval, or a bar, on one scale for the whole column.

    rate_axis(top)                       percentages over the column
    rate_strip(rate, top, chance)        dot and whisker between 0 and `top`
    bar_strip(share)                     a bar of this share of the strip
    stacked_strip(shares)                parts of a whole, side by side

The numbers stand beside them in the table; each drawing says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from rewardsmith.report.formatting import Number, as_table, code, count, percent, prose, visible
from rewardsmith.report.sections.scores import State
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


Kind = Literal["name", "code", "number", "words", "draw"]
Cell = Number | str


@dataclass(frozen=True, slots=True)
class Column:
    """A column's label, and what its cells are; `axis` stands in the head of drawings."""

    label: str
    kind: Kind = "number"
    axis: Markup | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. With `folded` it is hidden until that line is clicked."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its caption; `line` says in Markdown what it shows. Facts stand under a wide one, else beside."""

    title: str
    caption: str
    drawing: Markup
    line: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a section. `reading` is the result in one sentence, `note` how to read what follows."""

    title: str
    reading: str = ""
    state: State = "open"
    note: str = ""
    figures: tuple[Figure, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    grids: tuple[Grid, ...] = ()
    source: str = ""


def rate_grid(
    caption: str,
    what: str,
    rates: Sequence[Rate],
    *,
    value: str,
    n: str = "Pairs",
    top: float = 1.0,
    chance: float | None = None,
    folded: str = "",
) -> Grid:
    """A table of shares with intervals, drawn on one scale from 0 to `top`."""
    reading = (Column("Reading", "words"),) if any(one.reading for one in rates) else ()
    columns = (
        Column(what, "name"),
        Column(n),
        Column(value),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis(top)),
        *reading,
    )
    rows = tuple(
        (
            one.name,
            one.n,
            one.value,
            f"{one.low} to {one.high}",
            rate_strip(one, top, chance),
            *((one.reading,) if reading else ()),
        )
        for one in rates
    )
    return Grid(caption, columns, rows, folded=folded)


def block_lines(block: Block, signs: Mapping[State, str], level: int = 3) -> Iterator[str]:
    """A block as Markdown, its title a heading of this level."""
    yield f"{'#' * level} {prose(block.title)}"
    if block.reading:
        yield from ("", f"{signs[block.state]} {prose(block.reading)}")
    if block.note:
        yield from ("", prose(block.note))
    for figure in block.figures:
        if figure.line:
            yield from ("", f"{prose(figure.title)}: {figure.line}")
    if block.facts:
        yield ""
        yield from as_table(["Fact", "Value"], [[label, prose(fact)] for label, fact in block.facts])
    for grid in block.grids:
        yield from ("", f"{prose(grid.caption)}:", "")
        yield from _grid_lines(grid)


def _grid_lines(grid: Grid) -> Iterator[str]:
    shown = [index for index, column in enumerate(grid.columns) if column.kind != "draw"]
    kinds = [grid.columns[index].kind for index in shown]
    yield from as_table(
        [grid.columns[index].label for index in shown],
        [[_written(row[index], grid.columns[index].kind) for index in shown] for row in grid.rows],
        right=[place for place, kind in enumerate(kinds) if kind == "number"],
    )
    if grid.note:
        yield from ("", prose(grid.note))


def _written(cell: Cell, kind: Kind) -> str:
    if isinstance(cell, Number):
        return cell.text
    return code(cell) if kind == "code" else prose(cell)
