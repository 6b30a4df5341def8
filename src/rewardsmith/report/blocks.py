"""What most sections are made of: a title, what to think of it, facts, drawings and tables, for both pages at once.

    Block(title, note, grids=(rate_grid(…),))       a section's part
    block_lines(block, signs)                       the same as Markdown; the page has the macro `block`

Cells are numbers, or texts that have passed `formatting.visible`; drawings are columns of kind "draw", which Markdown
leaves out because the numbers stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from rewardsmith.report.formatting import Number
from rewardsmith.report.markdown_text import as_table, code, prose
from rewardsmith.report.scores import State
from rewardsmith.report.strips import Rate, rate_axis, rate_strip

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
