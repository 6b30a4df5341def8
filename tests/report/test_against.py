"""What changed since another run, on both pages: the record's numbers and words, texts only where wanted."""

from pathlib import Path

from report_records import HOSTILE, build_run

from rewardsmith.records.comparison import (
    BenchmarkComparison,
    ComparedModel,
    ComparisonRecord,
    DifferenceResult,
    FlippedRow,
    OverallComparison,
    PairComparison,
    SubsetComparison,
)
from rewardsmith.records.files import write_json
from rewardsmith.report.formatting import moment
from rewardsmith.report.html import write_report
from rewardsmith.report.sections.comparison import comparison_section
from rewardsmith.report.sections.rows import RowTexts


def difference(first: float, second: float, half: float, verdict: str) -> dict[str, object]:
    return {
        "first": first,
        "second": second,
        "difference": second - first,
        "ci_low": second - first - half,
        "ci_high": second - first + half,
        "p_value": 0.01,
        "test": "McNemar",
        "smallest_shown": 0.03,
        "verdict": verdict,
    }


def record(text: str = "") -> ComparisonRecord:
    def subset(name: str, verdict: str) -> SubsetComparison:
        found = difference(0.5, 0.75 if verdict == "better" else 0.4375, 0.125, verdict)
        return SubsetComparison.model_validate({**found, "n": 80, "units": 80, "p_holm": 0.02, "gained": 25, "lost": 5})

    flip = FlippedRow(
        id="17" + text,
        subset="Math",
        n_chosen=1,
        first=1.0,
        second=0.0,
        rewards_first=(2.0, 1.0, 0.5),
        rewards_second=(1.0, 1.5, None if text else 0.0),
        prompt="a secret prompt" + text,
        chosen=("c",),
        rejected=("r", "s"),
    )
    pair = PairComparison(
        first="old" + text,
        second="new",
        average=DifferenceResult.model_validate(difference(0.5, 0.59375, 0.0625, "better")),
        subsets={"Math" + text: subset("Math", "better"), "Safety": subset("Safety", "cannot be told apart")},
        gained_rows=25,
        lost_rows=5,
        lost=(flip,),
        words="new is better." + text,
    )
    found = BenchmarkComparison(benchmark="rewardbench2", title="Six" + text, rows=160, pairs=(pair,))
    overall = OverallComparison(
        first="old" + text, second="new", verdict="better", p_holm={"rewardbench2": 0.02}, words="Better." + text
    )
    return ComparisonRecord(
        models=(ComparedModel(name="old", path="a"), ComparedModel(name="new", path="b")),
        benchmarks={"rewardbench2": found},
        not_shared=("held_out: no row in common." + text,),
        overall=(overall,),
        seed=1,
        resamples=100,
    )


def test_differences_by_hand() -> None:
    section = comparison_section(record())
    assert section is not None
    assert (section.title, section.notes) == ("Against old", ("Not compared: held_out: no row in common.",))
    assert [(verdict.state, verdict.text) for verdict in section.verdicts] == [("good", "Better.")]
    differences, flips = section.blocks[0].grids
    assert [column.label for column in differences.columns][2:4] == ["old", "new"]
    everything = [*differences.rows, differences.total]
    shown = [[str(cell) for place, cell in enumerate(row) if place != 6] for row in everything]
    p, won = "0.0100 (Holm 0.0200)", "25 (5 lost)"
    assert shown == [
        ["Math", "80", "50.0", "75.0", "+25.0", "+12.5 to +37.5", p, won, "better"],
        ["Safety", "80", "50.0", "43.8", "−6.2", "−18.8 to +6.2", p, won, "cannot be told apart"],
        ["Average", "", "50.0", "59.4", "+9.4", "+3.1 to +15.6", "0.0100", won, "better"],
    ]
    assert [str(cell) for cell in flips.rows[0][:7]] == ["17", "Math", "lost", "1 → 0", "1", "−0.5", "a secret prompt"]
    assert flips.rows[0][7].lines == ("chosen 2 → 1: c", "rejected 1 → 1.5: r", "rejected 0.5 → 0: s")
    assert flips.folded == "25 rows won, 5 rows lost by new: examples"


_SPAN = '<data value="0.125">+12.5</data> <i>to</i> <data value="0.375">+37.5</data>'


def test_both_pages_have_it_and_texts_only_where_wanted(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    assert 'id="against"' not in write_report(run).read_text(encoding="utf-8")
    write_json(run / "comparison.json", record())
    page = write_report(run, RowTexts()).read_text(encoding="utf-8")
    summary = (run / "summary.md").read_text(encoding="utf-8")
    assert '<a href="#against">' in page
    for text in (page, summary):
        assert "Against old" in text
        assert "a secret prompt" in text
    assert _SPAN in page
    assert "+12.5 to +37.5" in summary
    bare, bare_summary = write_report(run).read_text(encoding="utf-8"), (run / "summary.md").read_text(encoding="utf-8")
    assert "a secret prompt" not in bare + bare_summary
    assert _SPAN in bare
    assert "+12.5 to +37.5" in bare_summary


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    write_json(run / "comparison.json", record(HOSTILE))
    page = write_report(run, RowTexts()).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\u202e" not in page


def test_moments_to_the_minute() -> None:
    assert moment("2026-11-23T12:44:07+00:00") == "2026-11-23 12:44 UTC"
    assert moment("2026-11-23T01:44:07+02:00") == "2026-11-22 23:44 UTC"
    assert (moment(""), moment("soon")) == ("", "soon")
