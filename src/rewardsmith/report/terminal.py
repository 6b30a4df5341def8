"""Sections and blocks → a terminal, with the words and numbers of the page.

    print_sections(console, section, …)

Drawings, their numbers and fine print are left out. The verdict comes last, where a reader's eye is when the command
ends. A table that is wider than the terminal is written as cards, a row after the other, so that nothing is cut.

The console cleans what is written (`cli.terminal.Terminal`): texts of others steer no terminal. Every cell is one line
unless it is `Lines`, so that a name cannot forge a row.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rewardsmith.addresses import redacted
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Lines, Noted, Section, Sign
from rewardsmith.report.formatting import CODE, State

STYLES: dict[State, str] = {"good": "green", "warn": "yellow", "bad": "red", "open": ""}
_GAP = 2  # columns of the terminal between two of a table
_NARROWEST = 16  # a column of words is not folded to less
_LABELS = 24  # of the names of facts, on a narrow terminal


def print_sections(console: Console, *sections: Section) -> None:
    """One section after the other; the verdicts of each stand at its end."""
    for place, section in enumerate(sections):
        if place:
            console.print()
        _print_section(console, section)


def _print_section(console: Console, section: Section) -> None:
    if section.title:
        console.print(Text(_line(section.title), "bold underline"))
    for note in section.notes:
        _say(console, _inline(note))
    for place, block in enumerate(section.blocks):
        if place and block.title:
            console.print()
        print_block(console, block)
    for verdict in section.verdicts:
        word, comma, rest = (
            verdict.text.partition(",") if verdict.text[:4] in ("PASS", "FAIL") else (verdict.text, "", "")
        )
        style = f"bold {STYLES[verdict.state]}".strip() if comma or not rest else STYLES[verdict.state]
        _say(console, Text("verdict: ") + Text(_line(word), style) + Text(_line(comma + rest)))


def print_block(console: Console, block: Block) -> None:
    """A block without its figures and fine print."""
    if block.title:
        head = Text(_line(block.title), "bold")
        if block.badge:
            head = Text(_line(block.badge.text), f"bold {STYLES[block.badge.state]}") + Text("  ") + head
        _say(console, head + _inline(f"  {block.aside}" if block.aside else "", "dim"))
    if block.reading:
        _say(console, _inline(block.reading, STYLES[block.state]))
    if block.note:
        _say(console, _inline(block.note, "dim"))
    for words in block.texts:
        _say(console, _inline(words))
    if block.facts:
        console.print(_facts(block.facts, console.width))
    for grid in block.grids:
        if not (grid.drawn or grid.page_only):
            _print_grid(console, grid)
    for line in block.lines:
        _say(console, _inline(line) if isinstance(line, str) else _inline(line.text, STYLES[line.state]))


def _say(console: Console, text: Text) -> None:
    """Wrapped at words on a terminal; in a file a sentence stays one line, which can be searched for."""
    console.print(text, soft_wrap=not console.is_terminal, highlight=False)


def _facts(facts: Iterable[tuple[str, str]], width: int) -> Table:
    """Names are folded where they would take more than a third of the terminal."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(max_width=max(_LABELS, width // 3), style="dim")
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(Text(_line(label)), _inline(value))
    return table


def _print_grid(console: Console, grid: Grid) -> None:
    shown = [place for place, column in enumerate(grid.columns) if column.kind != "draw"]
    columns = [grid.columns[place] for place in shown]
    rows = [[_cell(row[place], grid.columns[place]) for place in shown] for row in grid.rows]
    total = [_cell(grid.total[place], grid.columns[place]) for place in shown] if grid.total else None
    if grid.titled:
        _say(console, Text(_line(grid.caption), "italic"))
    if _width(columns, [*rows, *([total] if total else [])]) <= console.width:
        console.print(_table(columns, rows, total))
    else:
        for row in [*rows, *([total] if total else [])]:
            console.print(_card(columns, row))
    if grid.note:
        _say(console, _inline(grid.note, "dim"))


def _width(columns: list[Column], rows: list[list[Text]]) -> int:
    """Columns of the terminal that the table takes at least: numbers are never folded, words down to a few of them."""
    wanted = 0
    for place, column in enumerate(columns):
        longest = max((_longest(row[place]) for row in rows), default=0)
        folds = column.kind in ("words", "name", "code")
        label = max(map(len, column.label.split()), default=0)
        wanted += max(min(longest, _NARROWEST) if folds else longest, label)
    return wanted + _GAP * (len(columns) - 1)


def _longest(text: Text) -> int:
    """Of a cell's lines; a note in brackets may stand under its value."""
    pieces = text.plain.replace(" (", "\n(").split("\n")
    return max((cell_len(piece) for piece in pieces), default=0)


def _table(columns: list[Column], rows: list[list[Text]], total: list[Text] | None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, column in enumerate(columns):
        number = column.kind == "number"
        longest = max((_longest(row[place]) for row in [*rows, *([total] if total else [])]), default=0)
        table.add_column(
            _line(column.label),
            justify="right" if number else "left",
            no_wrap=False,
            overflow="fold",
            min_width=min(longest, _NARROWEST) if column.kind in ("words", "name", "code") else longest,
            style="dim" if column.faint else "bold" if column.strong else "",
        )
    for row in rows:
        table.add_row(*row)
    if total:
        table.add_row(*total, style="bold")
    return table


def _card(columns: list[Column], row: list[Text]) -> Padding:
    """A row as its name and, under it, a line for each column that says something."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(max_width=_LABELS, style="dim")
    table.add_column(overflow="fold")
    for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
        if cell.plain:
            label = Text(_line(column.label), "dim") if place else Text(_line(column.label), "bold")
            table.add_row(label, cell)
    return Padding(table, (0, 0, 1, 0))


def _cell(cell: Cell, column: Column) -> Text:
    if isinstance(cell, Markup):
        return Text("")
    if isinstance(cell, Sign):
        return Text(_line(cell.text), f"{'bold ' if column.kind == 'badge' else ''}{STYLES[cell.state]}")
    if isinstance(cell, Noted):
        return _cell(cell.value, column) + Text(_line(f" ({cell.words})") if cell.words else "")
    if isinstance(cell, Lines):
        return Text("\n").join(Text(_line(line)) for line in cell.lines)
    return Text(_line(str(cell)))


def _inline(text: str, style: str = "") -> Text:
    """A message; what stands between backticks is code."""
    parts = CODE.split(_line(text))
    return Text.assemble(*((part, "cyan" if place % 2 else style) for place, part in enumerate(parts)))


def _line(text: str) -> str:
    """One line, whatever the text holds, without secrets: once it is wrapped nobody would find them."""
    return redacted(text.replace("\n", "⏎"))
