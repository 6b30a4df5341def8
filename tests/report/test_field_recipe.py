"""The recipe of CONTRIBUTING for a field of a result: its record and its section, and every writer shows it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup
from report_records import build_run
from rich.console import Console
from test_html import Page

from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.report import view as whole
from rewardsmith.report.blocks import Block, Column, Figure, Grid, Lines, Noted, Section, Sign, Span
from rewardsmith.report.formatting import percent, significant
from rewardsmith.report.html import render_html
from rewardsmith.report.markdown import render_markdown
from rewardsmith.report.reading import RunRecords, read_run
from rewardsmith.report.sections.scores import scores_section
from rewardsmith.report.terminal import print_sections


class TimedResult(BenchmarkResult):
    """First file: the record with one field more."""

    seconds_per_row: float
    """Seconds that one row took."""


def timed_section(results: Mapping[str, BenchmarkResult], mistakes: Mapping[tuple[str, str], int]) -> Section:
    """Second file: the section with one fact more."""
    section = scores_section(results, mistakes)
    times = [result.seconds_per_row for result in results.values() if isinstance(result, TimedResult)]
    facts = tuple(("Seconds a row", significant(time).text) for time in times)
    return replace(section, blocks=tuple(replace(block, facts=facts) for block in section.blocks))


def terminal_text(*sections: Section, width: int = 120) -> str:
    out = io.StringIO()
    print_sections(Console(file=out, width=width), *sections)
    return out.getvalue()


def test_a_field_of_a_result_is_seen_on_the_page_in_markdown_and_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_run(build_run(tmp_path))
    plain = records.benchmarks["rewardbench2"]
    result = TimedResult.model_validate({**plain.model_dump(by_alias=True), "seconds_per_row": 0.01234})
    monkeypatch.setattr(whole, "scores_section", timed_section)
    report = whole.view(replace(records, benchmarks={"rewardbench2": result}))
    assert "<dt>Seconds a row</dt><dd><bdi>0.0123</bdi></dd>" in render_html(report)
    assert "| Seconds a row | 0.0123 |" in render_markdown(report)
    scores = next(section for section in report.sections if section.anchor == "scores")
    assert "Seconds a row  0.0123" in terminal_text(scores)


DRAWING = Markup('<svg role="img" aria-label="drawn"></svg>')
SPAN = Span(percent(0.1234), percent(-0.25))
PARTS: dict[str, tuple[Section, str]] = {
    "title": (Section("x", "Shown", (Block("said"),)), "said"),
    "verdict": (Section("x", "Shown", verdicts=(Sign("bad", "said"),)), "said"),
    "note of a section": (Section("x", "Shown", notes=("said",)), "said"),
    **{
        name: (Section("x", "Shown", (block,)), "said")
        for name, block in {
            "badge": Block("title", badge=Sign("good", "said")),
            "aside": Block("title", badge=Sign("good", "PASS"), aside="said"),
            "reading": Block("", reading="said", state="warn"),
            "note": Block("", note="said"),
            "text": Block("", texts=("first", "said")),
            "fact": Block("", facts=(("name", "said"),)),
            "line": Block("", lines=(Sign("bad", "said"),)),
            "plain line": Block("", lines=("said",)),
        }.items()
    },
    **{
        name: (Section("x", "Shown", (Block("", grids=(Grid("caption", (column,), ((cell,),)),)),)), written)
        for name, column, cell, written in (
            ("number", Column("c"), percent(-0.5), "−50.0"),
            ("interval", Column("c"), SPAN, "12.3 to −25.0"),
            ("sign", Column("c", "words"), Sign("bad", "said"), "said"),
            ("badge of a row", Column("c", "badge"), Sign("bad", "said"), "said"),
            ("noted", Column("c"), Noted(percent(0.5), ("said ", percent(0.25))), "said 25.0"),
            ("lines", Column("c", "words"), Lines(("first", "said")), "said"),
            ("code", Column("c", "code"), "said", "said"),
            ("label", Column("said", "words"), "cell", "said"),
        )
    },
    "total": (
        Section("x", "Shown", (Block("", grids=(Grid("c", (Column("n", "name"),), (("row",),), total=("said",)),)),)),
        "said",
    ),
    "note of a table": (
        Section("x", "Shown", (Block("", grids=(Grid("c", (Column("n", "name"),), (("row",),), note="said"),)),)),
        "said",
    ),
    "folded table": (
        Section("x", "Shown", (Block("", grids=(Grid("c", (Column("n", "name"),), (("said",),), folded="more"),)),)),
        "said",
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_written_by_all_three(part: str) -> None:
    section, written = PARTS[part]
    report = replace(whole.view(RunRecords()), sections=(section,))
    assert written in Page(render_html(report)).text
    assert written in render_markdown(report)
    assert written in terminal_text(section)


def test_drawings_and_what_they_draw_stay_off_the_terminal() -> None:
    columns = (Column("name", "name"), Column("Drawn", "draw", DRAWING))
    points = Grid("points", (Column("n"),), ((percent(0.5),),), drawn=True)
    figure = Figure("Figure", "caption", DRAWING, line="50.0 at 1")
    block = Block("", figures=(figure,), grids=(Grid("bars", columns, (("row", DRAWING),)), points))
    section = Section("x", "Shown", (replace(block, details=(Block("fine print", texts=("method",)),)),))
    lines = [line.rstrip() for line in terminal_text(section).splitlines()]
    assert lines == ["Shown", "bars", "name", "row"]
    report = replace(whole.view(RunRecords()), sections=(section,))
    page, summary = render_html(report), render_markdown(report)
    assert page.count('aria-label="drawn"') == 3
    assert "svg" not in summary
    for text in (page, summary):
        assert "method" in text
        assert "50.0" in text


def test_a_table_too_wide_for_the_terminal_is_written_as_cards() -> None:
    columns = (Column("Subset", "name"), *(Column(f"column {n}") for n in range(6)), Column("Reading", "words"))
    row = ("Math", *(percent(n / 7) for n in range(6)), Sign("good", "above every baseline that was measured"))
    section = Section("x", "Shown", (Block("", grids=(Grid("c", columns, (row,), titled=False),)),))
    wide = [line.rstrip() for line in terminal_text(section, width=120).splitlines()]
    assert wide[1].split() == ["Subset", *(word for n in range(6) for word in ("column", str(n))), "Reading"]
    assert wide[2].split()[:7] == ["Math", "0.0", "14.3", "28.6", "42.9", "57.1", "71.4"]
    narrow = [line.rstrip() for line in terminal_text(section, width=60).splitlines()]
    assert narrow[1:4] == ["Subset    Math", "column 0  0.0", "column 1  14.3"]
    assert narrow[8:10] == ["Reading   above every baseline that was measured", ""]
    assert max(map(len, narrow)) <= 60
