"""Held-out pairs by source: rows, accuracy, margin and training pairs beside each other; small sources as one."""

from __future__ import annotations

import io

from report_records import check_record
from rich.console import Console

from rewardsmith.records.data import DataBalance, NamedCount, NamedCounts
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, SourceResult
from rewardsmith.report.blocks import Section
from rewardsmith.report.markdown import section_page
from rewardsmith.report.sections.analyses import result_sections
from rewardsmith.report.sections.scores import sources_section
from rewardsmith.report.terminal import print_sections

# name → rows, accuracy, interval, mean margin, pairs trained on
SOURCES = {
    "helpful": (200, 0.75, (0.69, 0.81), 1.25, 600),
    "harmless": (100, 0.5, (0.40, 0.60), 0.004, 300),
    "code": (6, 1.0, (0.61, 1.0), 3.0, 60),
    "rare": (2, 0.0, (0.0, 0.66), -1.0, 40),
}


def source(n, score, interval, margin, _) -> SourceResult:
    return SourceResult(
        n=n,
        score=score,
        ci_low=interval[0],
        ci_high=interval[1],
        baseline=0.5,
        length_baseline=0.5,
        p_value=0.5,
        interval="Wilson",
        margin_mean=margin,
    )


def result(sources=SOURCES) -> BenchmarkResult:
    return BenchmarkResult(
        benchmark="pairs",
        title="Pairs",
        average=0.6,
        protocol="accuracy",
        dataset=DatasetInfo(source="held-out pairs"),
        subsets={},
        rewards=RewardSummary(n=2, mean=0.0, std=1.0, min=-1.0, max=1.0, distinct=2),
        by_source={name: source(*values) for name, values in sources.items()},
        held_out=True,
    )


def check():
    most = tuple(NamedCount(name=name, train=values[4], held_out=values[0]) for name, values in SOURCES.items())
    balance = DataBalance.model_construct(sources=NamedCounts(distinct=4, effective=2.0, most=most))
    return check_record("").model_copy(update={"balance": balance})


def cells(section: Section) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in section.blocks[0].grids[0].rows]


def test_a_source_stands_with_what_it_was_trained_on_and_small_ones_are_pooled() -> None:
    section = sources_section({"held_out": result()}, check())
    rows = cells(section)
    assert [row[:3] for row in rows] == [
        ["helpful", "200", "75.0"],
        ["harmless", "100", "50.0"],
        ["other (2 sources)", "8", "75.0"],  # 6 of 6 and 0 of 2
    ]
    assert [row[4:] for row in rows] == [
        ["1.25", "600", "60.0", "above chance"],
        ["0.004", "300", "30.0", "at chance"],
        ["2", "100", "10.0", "at chance"],  # (6 * 3 - 2 * 1) / 8; Wilson of 6 in 8 is 41 to 93
    ]
    said = str(section.blocks[0].lines[0])
    assert said == "Not above chance: harmless, other (2 sources) (2 of 3 sources)."


def test_small_sources_are_named_on_the_page_and_one_by_one_when_asked_for() -> None:
    section = sources_section({"held_out": result()}, check())
    folded = section.blocks[0].grids[1]
    assert (folded.page_only, [str(row[0]) for row in folded.rows]) == (True, ["code", "rare"])
    every = sources_section({"held_out": result()}, check(), all_subsets=True)
    assert [row[0] for row in cells(every)] == list(SOURCES)


def test_without_a_check_there_is_no_word_of_training() -> None:
    section = sources_section({"held_out": result()})
    assert [column.label for column in section.blocks[0].grids[0].columns][-2:] == ["Mean margin", "Reading"]
    assert all(len(row) == 6 for row in cells(section))


def test_one_source_is_no_mixture() -> None:
    assert sources_section({"held_out": result({})}, check()) is None
    assert [section.anchor for section in result_sections({"held_out": result({})})] == ["scores"]


def test_markdown_and_the_terminal_have_the_same_table() -> None:
    section = sources_section({"held_out": result()}, check())
    page = section_page(section)
    out = io.StringIO()
    print_sections(Console(file=out, width=160), section)
    for text in (page, out.getvalue()):
        assert all(word in text for word in ("helpful", "75.0", "1.25", "600", "60.0", "other (2 sources)"))
    assert "rare" not in page
