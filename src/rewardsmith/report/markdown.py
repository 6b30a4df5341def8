"""Sections and blocks → Markdown: `summary.md`, `comparison.md`, with the content and the numbers of the page.

    render_markdown(report)         the whole report
    section_page(section)           one section as a page of its own
    section_lines(section)          the same as lines
    block_lines(block, level)       one block, its title a heading of this level

Texts from users are escaped here. Drawings are left out: the numbers stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import Number, State, as_table, code, inline, prose
from rewardsmith.report.view import Report

SIGNS: dict[State, str] = {"good": "✅", "warn": "⚠️", "bad": "❌", "open": "⬜"}


def render_markdown(report: Report) -> str:
    """The summary, ending in one newline."""
    parts = [_verdict(report), *map(section_lines, report.sections)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _verdict(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"# {SIGNS[verdict.state]} {verdict.word}: {prose(report.title)}"
    yield from ("", f"**{prose(verdict.headline)}**", "")
    if verdict.kind:
        yield from ("What kind of model this is:", "")
        yield from (f"- {SIGNS[reason.state]} {inline(reason.text)}" for reason in verdict.kind)
        yield from ("", "Why:", "")
    yield from (f"- {SIGNS[reason.state]} {prose(reason.text)}" for reason in verdict.reasons)
    if verdict.next_steps:
        yield from ("", "What to do next:", "")
        yield from (f"{number}. {prose(step)}" for number, step in enumerate(verdict.next_steps, start=1))
    if report.figures:
        yield ""
        yield from as_table(
            [figure.label for figure in report.figures],
            [
                [f"**{figure.number}**{' ' + figure.unit if figure.unit else ''}" for figure in report.figures],
                [prose(figure.note) for figure in report.figures],
            ],
        )


def section_page(section: Section) -> str:
    """One section as a page of its own, ending in one newline."""
    return "\n".join(section_lines(section, level=1)) + "\n"


def section_lines(section: Section, level: int = 2) -> Iterator[str]:
    """A section with its heading."""
    yield f"{'#' * level} {prose(section.title)}"
    for verdict in section.verdicts:
        yield from ("", _signed(verdict))
    for note in section.notes:
        yield from ("", inline(note))
    if section.absent:
        yield from ("", f"{section.absent[0]}: not run (`{section.absent[1]}` is not there).")
    for block in section.blocks:
        yield from ("", *block_lines(block, level + 1))


def block_lines(block: Block, level: int = 3) -> Iterator[str]:
    """A block; without a title it begins with its first part."""
    return _without_first_gap(_block_lines(block, level))


def _without_first_gap(lines: Iterator[str]) -> Iterator[str]:
    first = next(lines, "")
    if first:
        yield first
    yield from lines


def _block_lines(block: Block, level: int) -> Iterator[str]:
    yield from _words(block, level)
    if block.facts:
        yield ""
        yield from as_table(["Fact", "Value"], [[prose(label), inline(fact)] for label, fact in block.facts])
    for grid in (one for one in block.grids if not one.page_only):
        yield from (("", f"{prose(grid.caption)}:", "") if grid.titled else ("",))
        yield from _grid_lines(grid)
    if block.lines:
        yield ""
        yield from (f"- {_signed(line) if isinstance(line, Sign) else inline(line)}" for line in block.lines)
    for one in block.details:
        yield from ("", *block_lines(one, level + 1))


def _words(block: Block, level: int) -> Iterator[str]:
    if block.title:
        badge = f"{_signed(block.badge)}: " if block.badge else ""
        yield f"{'#' * level} {badge}{prose(block.title)}{f', {inline(block.aside)}' if block.aside else ''}"
    if block.reading:
        yield from ("", f"{SIGNS[block.state]} {inline(block.reading)}")
    for words in (block.note, *block.texts):
        if words:
            yield from ("", inline(words))
    for figure in block.figures:
        if figure.line:
            yield from ("", f"{prose(figure.title)}: {inline(figure.line)}")


def _grid_lines(grid: Grid) -> Iterator[str]:
    shown = [index for index, column in enumerate(grid.columns) if column.kind != "draw"]
    kinds = [grid.columns[index].kind for index in shown]
    rows = [*grid.rows, *([grid.total] if grid.total else [])]
    yield from as_table(
        [grid.columns[index].label for index in shown],
        [[_cell(row[index], grid.columns[index]) for index in shown] for row in rows],
        right=[place for place, kind in enumerate(kinds) if kind == "number"],
    )
    if grid.note:
        yield from ("", inline(grid.note))


def _cell(cell: Cell, column: Column) -> str:
    if isinstance(cell, Markup):
        return ""
    if isinstance(cell, Sign):
        return _signed(cell)
    if isinstance(cell, Noted):
        note = f" ({prose(cell.words)})" if cell.words else ""
        return f"{_cell(cell.value, column)}{note}"
    text = str(cell)
    if column.kind == "code":
        return code(text)
    if isinstance(cell, Number | Span):
        shown = text.replace("<", r"\<")
    else:
        shown = inline(text) if column.kind == "words" else prose(text)
    return f"**{shown}**" if column.strong and shown else shown


def _signed(sign: Sign) -> str:
    return f"{SIGNS[sign.state]} {inline(sign.text)}" if sign.text else ""
