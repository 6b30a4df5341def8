"""The look of the check: sections of check.json and label noise as blocks, on both pages; hostile names stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import report_data
from markupsafe import Markup
from report_records import HOSTILE, check_record

from rewardsmith.records.checks import ExampleRow, Finding
from rewardsmith.report.blocks import Block, Grid, Section
from rewardsmith.report.formatting import Number
from rewardsmith.report.html import render_html
from rewardsmith.report.markdown import block_lines
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.data import by_harm, finding_block, interval_in_words, share_in_words
from rewardsmith.report.sections.data_surveys import SECTIONS
from rewardsmith.report.sections.data_texts import length_histogram, tokens_block
from rewardsmith.report.sections.training import noise_block, noise_plot
from rewardsmith.report.view import view

CONTROL = "\x1b[2J\x07\u202e\u2066\u200f\x00"


def blocks(text: str = "") -> dict[str, Block]:
    made = {name: SECTIONS[name](make(text)) for name, make in report_data.SECTIONS.items()}
    noise = noise_block(report_data.label_noise(text))
    assert noise is not None
    return {**made, "tokens": tokens_block(report_data.tokens(text), 512), "label_noise": noise}


def cells(block: Block) -> Iterator[tuple[Grid, object]]:
    return ((grid, cell) for grid in block.grids for row in grid.rows for cell in row)


@pytest.mark.parametrize("name", blocks())
def test_hostile_names_stay_text_on_both_pages(name: str) -> None:
    block = blocks(HOSTILE + CONTROL)[name]
    whole = replace(view(RunRecords()), sections=(Section("blocks", "Blocks", (block,)),))
    page = render_html(whole).split('<section id="blocks"')[1].split("</section>")[0]
    lines = "\n".join(block_lines(block))
    assert "alert(1)" in page  # it is shown
    assert not re.search(r"<(script|img|/style)", page)
    for text in (page, lines):
        assert not set(text) & set(CONTROL.replace("[2J", ""))
    outside = re.sub(r"(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", lines)
    assert not re.search(r"(?<!\\)<script", outside)


@pytest.mark.parametrize("name", blocks())
def test_rows_fill_their_columns_and_only_drawings_are_markup(name: str) -> None:
    block = blocks()[name]
    assert block.grids
    for grid in block.grids:
        assert all(len(row) == len(grid.columns) for row in grid.rows)
        for row in grid.rows:
            for cell, column in zip(row, grid.columns, strict=True):
                assert isinstance(cell, Markup) == (column.kind == "draw")


def test_shortcuts_say_the_ceiling_first() -> None:
    block = blocks()["shortcuts"]
    assert block.reading.startswith("A classifier that reads words of the responses and no prompt predicts 70.2 %")
    assert block.state == "bad"
    lengths = next(grid for grid in block.grids if grid.caption.startswith("The length rule: "))
    row = next(row for row in lengths.rows if row[0] == "pairs/helpful.jsonl")
    assert (str(row[1]), str(row[2])) == ("1,240", "71.0")  # 880 of 1,240
    refusals = next(row for _, row in rows(block) if row[0] == "refusals")
    assert str(refusals[4]) == "10.4"  # 22 of 212


def rows(block: Block) -> Iterator[tuple[Grid, tuple[object, ...]]]:
    return ((grid, row) for grid in block.grids for row in grid.rows)


def test_waste_is_a_share_of_padded_tokens() -> None:
    waste = {row[0]: str(row[2]) for grid, row in rows(blocks()["tokens"]) if grid.caption.startswith("What one epoch")}
    assert waste == {
        "right-padded batches": "100.0",
        "no padding": "60.7",
        "what the two sides share, once": "46.6",
        "what all answers to a prompt share, once": "42.7",
    }


def test_contamination_names_the_benchmark_and_is_bad() -> None:
    block = blocks()["contamination"]
    assert block.state == "bad"
    assert "14 training pairs of 1,870" in block.reading
    math = next(row for _, row in rows(block) if row[0] == "rewardbench2 · Math")
    assert [str(cell) for cell in math[1:5]] == ["120", "9", "7.5", "4.0 to 13.6"]
    clean = report_data.contamination().model_copy(update={"contaminated_pairs": 0, "benchmarks": (), "examples": ()})
    assert SECTIONS["contamination"](clean).state == "good"


def test_a_histogram_is_as_high_as_its_bins_are_dense() -> None:
    """Equal counts in a bin of twice the width are half as high."""
    bins = report_data.tokens().histogram[:2]
    equal = tuple(
        one.model_copy(update={"chosen": 10, "rejected": 0, "left_out": 0, "low": low, "high": high})
        for one, low, high in zip(bins, (1, 11), (10, 30), strict=True)
    )
    heights = [
        float(height) for height in re.findall(r'height="([\d.]+)" class="chosen"', str(length_histogram(equal, 40)))
    ]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)


def test_the_noise_plot_speaks_its_numbers() -> None:
    drawn = str(noise_plot(report_data.label_noise().bands))
    assert "98.0 sure 6.2 contradicted" in drawn
    assert drawn.count("<circle") == 10


def test_suspects_are_ranked_and_the_rest_is_counted() -> None:
    block = blocks()["label_noise"]
    grid = block.grids[-1]
    assert grid.folded == "The first 50 of 64 suspected pairs, worst first"
    assert [str(cell) for cell in grid.rows[0]] == [
        "1",
        "s-0",
        "pairs/safety.csv:100",
        "pairs/safety.csv",
        "safety",
        "50",
        "−6.20",
        "–",
        "98.0",
    ]
    swapped = report_data.label_noise().groups[1].model_copy(update={"share": 0.9, "ci_low": 0.8, "ci_high": 0.95})
    named = noise_block(
        report_data.label_noise().model_copy(update={"groups": (report_data.label_noise().groups[0], swapped)})
    )
    assert named is not None
    assert "look swapped" in str(named.grids[0].rows[0])


def finding(severity: str, count: int, of: int, **more: object) -> Finding:
    return Finding.model_validate(
        {
            "code": f"{severity}_{count}",
            "severity": severity,
            "title": "t",
            "meaning": "m",
            "why": "w",
            "fix": "f",
            "count": count,
            "of": of,
            **more,
        }
    )


def test_findings_are_ordered_by_severity_then_share() -> None:
    given = [
        finding("note", 99, 100),
        finding("warning", 500, 10_000),
        finding("error", 1, 10_000),
        finding("warning", 7, 10),
    ]
    assert [one.code for one in by_harm(given)] == ["error_1", "warning_7", "warning_500", "note_99"]


def test_small_shares_are_not_written_as_none() -> None:
    assert share_in_words(finding("note", 3, 1_000_000)) == "< 0.1"
    assert share_in_words(finding("note", 0, 1_000_000)) == "0.0"
    assert interval_in_words(finding("note", 3, 100)) == ""
    assert interval_in_words(finding("note", 3, 100, ci_low=0.0103, ci_high=0.0845)) == "1.0 to 8.5"


def test_a_finding_shows_what_was_measured() -> None:
    example = ExampleRow(file="a\x1b[31m.jsonl", row=3, id="\u202e", detail="<script>")
    shown = finding_block(
        finding("warning", 3, 100, summary="longer wins in 61 %", ci_low=0.01, ci_high=0.08, examples=(example,))
    )
    assert shown.texts[0] == "Longer wins in 61 %."
    assert "95 % interval 1.0 to 8.0" in shown.aside
    assert shown.grids[0].rows[0][:2] == ("a\\u001b[31m.jsonl:3", "\\u202e")


def test_numbers_of_a_block_are_the_records_numbers() -> None:
    """Every share shown carries its raw value into the page's source."""
    raw = {cell.value for _, cell in cells(blocks()["balance"]) if isinstance(cell, Number)}
    assert {0.931, 0.052, 0.93, 0.71, 1281, 803} <= raw
    assert check_record().tokens.waste is not None
