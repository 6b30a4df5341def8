"""What results are laid out as: sections of blocks, which three writers print and nothing else does.

    Section(anchor, title, blocks)            a result: what `sections/` makes of a record
    Block(title, note, grids=(…))             a part of it: heading, verdict, words, facts, drawings, tables
    Grid(caption, columns, rows)              a table
    rate_grid(…), rate(…)                     a table of shares with their intervals, drawn on one scale

`html.py` writes them by the macros `section` and `block`, `markdown.py` and `terminal.py` by functions of their own. A
field that is added to a record is seen everywhere once its section shows it.

Texts have passed `formatting.visible` and are not escaped yet; what stands between backticks is code. Cells:

    Number    a value and how it is written             Sign      a state and a word for it: PASS, "above chance"
    Span      an interval                               Noted     a value with smaller words beside it
    Lines     several lines                             Markup    a drawing or a link: on the page only

Drawings say nothing that the numbers beside them do not say; so Markdown and the terminal leave them out.

    rate_axis(top)                       percentages over the column
    rate_strip(rate, top, chance)        dot and whisker between 0 and `top`
    bar_strip(share)                     a bar of this share of the strip
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from rewardsmith.report.formatting import MISSING, Number, State, count, percent, visible
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_WIDTH = 300.0


@dataclass(frozen=True, slots=True)
class Span:
    """An interval."""

    low: Number
    high: Number

    def __str__(self) -> str:
        return MISSING if self.low.value is None or self.high.value is None else f"{self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Sign:
    """What to think of it, in a word or a sentence; the sign and colour of the state go with it."""

    state: State
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with smaller words beside it: "40 (3 missing)". A link among them stands on the page only."""

    value: Number | Span | Sign | str
    note: tuple[Number | Span | Markup | str, ...]

    @property
    def words(self) -> str:
        """The note without links."""
        return "".join(str(part) for part in self.note if not isinstance(part, Markup))

    def __str__(self) -> str:
        return f"{self.value} ({self.words})" if self.words else str(self.value)


@dataclass(frozen=True, slots=True)
class Lines:
    """Several lines in one cell."""

    lines: tuple[str, ...]

    def __str__(self) -> str:
        return " · ".join(self.lines)


Cell = Number | Span | Sign | Noted | Lines | str
Kind = Literal["name", "code", "number", "words", "badge", "draw"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's label, and what its cells are.

    `badge` is a word of a few letters with its sign; `axis` stands in the head of drawings; `strong` is what a reader
    came for, `faint` what stands beside it for comparison.
    """

    label: str
    kind: Kind = "number"
    axis: Markup | None = None
    strong: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        note: stands under it.
        folded: the page hides the table until this line is clicked.
        total: the last row, set apart.
        titled: False where the caption repeats the block's title: then only screen readers get it.
        drawn: the numbers of a figure; the terminal leaves them out with it.
        page_only: rows that stand pooled elsewhere, on demand; Markdown and the terminal leave them out.
        legend: marks of the drawings with their names.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: str = ""
    total: tuple[Cell, ...] | None = None
    titled: bool = True
    drawn: bool = False
    page_only: bool = False
    legend: tuple[tuple[Markup, str], ...] = ()
    look: Literal["compact", "scores", "rewards", "contracts", "plain"] = "compact"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its caption; `line` says in Markdown what it shows. Facts stand under a wide one, else beside."""

    title: str
    caption: str
    drawing: Markup
    line: str = ""
    wide: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a section, in this order.

    Attributes:
        title, badge, aside: the heading, with a verdict and a few words beside it.
        reading: the result in one sentence; `state` is what to think of it.
        note: how to read what follows.
        texts: paragraphs.
        figures, facts, grids: drawings, names with values, tables.
        lines: what is to be said after them.
        details: fine print: folded on the page, left out on a terminal.
        source: the file with all of it.
    """

    title: str
    reading: str = ""
    state: State = "open"
    note: str = ""
    figures: tuple[Figure, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    grids: tuple[Grid, ...] = ()
    source: str = ""
    badge: Sign | None = None
    aside: str = ""
    texts: tuple[str, ...] = ()
    lines: tuple[Sign | str, ...] = ()
    details: tuple[Block, ...] = ()
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A result as people read it.

    Attributes:
        anchor: its name in the page.
        lead: what the section is for; on the page only, which people read without having asked for it.
        verdicts: the result in a word or a sentence: first on the page, last on a terminal.
        notes: what a reader must know before the numbers.
        absent: in place of blocks: what has not run, and the file that is not there.
        sources: the files that hold it.
        drawing: of the whole section, before its blocks.
        short: the title in the page's navigation, where it differs.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...] = ()
    lead: str = ""
    verdicts: tuple[Sign, ...] = ()
    notes: tuple[str, ...] = ()
    absent: tuple[str, str] | None = None
    sources: tuple[str, ...] = ()
    drawing: Markup | None = None
    short: str = ""


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


def _scale(top: float) -> Scale:
    return Scale(0.0, top, 10.0, _WIDTH - 10.0)


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
            Span(one.low, one.high),
            rate_strip(one, top, chance),
            *((one.reading,) if reading else ()),
        )
        for one in rates
    )
    return Grid(caption, columns, rows, folded=folded)
