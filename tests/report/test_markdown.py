"""The summary, read by an independent Markdown parser: same numbers, nothing that acts."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from report_records import HOSTILE, SUBSETS, build_run

from rewardsmith.report.formatting import as_table, code, prose
from rewardsmith.report.html import write_report

ALPHABET = st.text(alphabet="ab `|\\*_<>[]()#&~$!-+=1.@:/w\n", max_size=24)


def parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")  # raw HTML on: anything unescaped would show up as a token


def flat(text: str) -> list[Token]:
    return [inner for token in parser().parse(text) for inner in (token, *(token.children or ()))]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = build_run(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return (folder / "summary.md").read_text(encoding="utf-8")


def test_scores_are_the_records_numbers(summary: str) -> None:
    lines = {cells(line)[0]: cells(line) for line in summary.splitlines() if line.startswith("| ")}
    for name, (score, low, high, baseline, length, words, _, n) in SUBSETS.items():
        row = next(cells(line) for line in summary.splitlines() if line.startswith(f"| {name} | {n}") and "**" in line)
        assert row[2] == f"**{100 * score:.1f}**"
        assert row[3] == f"{100 * low:.1f} to {100 * high:.1f}"
        assert row[4:7] == [f"{100 * value:.1f}" for value in (baseline, length, words)]
    assert lines["Average"][2] == "**76.0**"  # the last table of scores: held-out pairs


def test_both_pages_show_the_same_score_numbers(tmp_path: Path) -> None:
    page = write_report(build_run(tmp_path)).read_text(encoding="utf-8")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    part = page.split('<table class="cards scores">')[1].split("</table>")[0]
    shown = re.findall(r'<data value="[^"]+">([^<]+)</data>', part)
    rows = summary.split("## Scores")[1].split("How this was counted")[0]
    written = re.findall(r"(?<![\w.])\d[\d.,]*(?:e−\d+)?", rows.split("---: | --- |\n")[1].split("\n\n")[0])
    assert sorted(text.replace("&lt; ", "") for text in shown) == sorted(
        number
        for number in written
        if number not in ("2",)  # "(2 missing)" is not a <data> of the page
    )


def test_it_starts_with_the_verdict_and_has_every_section(summary: str) -> None:
    assert summary.startswith("# ❌ FAIL: quickstart\n")
    headings = re.findall(r"(?m)^## (.+)$", summary)
    assert headings == [
        "Scores",
        "Gates",
        "Component map",
        "Constraints",
        "Training",
        "Label noise",
        "Rewards",
        "Beside the scores",
        "Data",
        "Provenance",
    ]


def test_hostile_text_does_nothing(tmp_path: Path) -> None:
    write_report(build_run(tmp_path, hostile=True))
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    kinds = {token.type for token in flat(text)}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}
    prose_only = "".join(token.content for token in flat(text) if token.type == "text")
    assert "<script>alert(1)</script>" in prose_only
    assert not re.search(r"@\w|https?://\w", prose_only)
    assert "\u202e" not in text


def test_hostile_text_breaks_no_table(tmp_path: Path) -> None:
    def shape(text: str) -> list[int]:
        rows, counts = 0, []
        for token in parser().parse(text):
            rows += token.type in ("td_open", "th_open")
            if token.type == "tr_close":
                counts.append(rows)
                rows = 0
        return counts

    for name, hostile in (("plain", False), ("hostile", True)):
        write_report(build_run(tmp_path / name, hostile=hostile))
    plain, hostile_text = (
        (tmp_path / name / "summary.md").read_text(encoding="utf-8") for name in ("plain", "hostile")
    )
    assert shape(plain) == shape(hostile_text)
    assert HOSTILE.count("|") == 2


@given(ALPHABET)
def test_prose_and_code_stay_one_cell_of_a_table_and_keep_their_text(text: str) -> None:
    table = "\n".join(as_table(["a", "b"], [["x" + prose(text), code(text)]]))
    tokens = flat(table)
    assert [token.type for token in tokens].count("td_open") == 2
    assert not {token.type for token in tokens} & {"html_inline", "link_open", "image", "em_open", "strong_open"}
    shown = "".join(token.content for token in tokens if token.type == "text").removeprefix("ab")
    expected = text.replace("\n", " ")
    assert shown.replace("\u200b", "").startswith("x" + expected.rstrip())
    spans = [token.content.replace("\u200b", "").strip() for token in tokens if token.type == "code_inline"]
    assert spans == ([expected.strip()] if expected.strip() else [])


@given(ALPHABET)
def test_prose_starts_no_block(text: str) -> None:
    blocks = {token.type for token in parser().parse(prose(text).strip())}
    assert blocks <= {"paragraph_open", "inline", "paragraph_close"}


def test_a_date_and_a_signed_number_within_a_text_need_no_escape() -> None:
    assert prose("2026-11-29 19:26 UTC") == "2026-11-29 19:26 UTC"
    assert prose("1. first") == "1\\. first"
    assert prose("- item") == "\\- item"
