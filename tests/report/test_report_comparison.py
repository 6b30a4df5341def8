"""`comparison.md` says what the record says, and corrected p-values stand beside the raw ones."""

from __future__ import annotations

from pathlib import Path

from report_records import build_run

from rewardsmith.records.comparison import (
    BenchmarkComparison,
    ComparedModel,
    ComparisonRecord,
    DifferenceResult,
    FlippedRow,
    OverallComparison,
    PairComparison,
    RankedModel,
    SubsetComparison,
)
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record, write_json
from rewardsmith.report.html import write_report
from rewardsmith.report.markdown import section_page
from rewardsmith.report.sections.comparison import comparison_section

AVERAGE = DifferenceResult(
    first=0.5,
    second=0.62,
    difference=0.12,
    ci_low=0.031,
    ci_high=0.2,
    p_value=0.0084,
    test="paired bootstrap",
    smallest_shown=0.08,
    verdict="better",
)
FLIP = FlippedRow(
    id="7|`x`",
    subset="Math",
    n_chosen=1,
    first=0,
    second=1,
    rewards_first=(0.5, None),
    rewards_second=(1.25, -2.0),
    prompt="<b>How many?</b>",
    chosen=("42",),
    rejected=("# 41",),
)


def record(**changes: object) -> ComparisonRecord:
    subset = SubsetComparison(**AVERAGE.model_dump(), n=100, units=100, p_holm=0.0168, gained=15, lost=3)
    pair = PairComparison(
        first="old",
        second="new_1",
        average=AVERAGE,
        subsets={"Math": subset, "Safety": subset},
        gained_rows=15,
        lost_rows=0,
        gained=(FLIP,),
        words="new_1 is better than old on Six: +12.0 points.",
    )
    ranking = (
        RankedModel(name="new_1", score=0.62, ci_low=0.5, ci_high=0.7, probability_best=0.9, candidate=True),
        RankedModel(name="old", score=0.5, ci_low=0.4, ci_high=0.6, probability_best=0.1, candidate=False),
    )
    benchmark = BenchmarkComparison(
        benchmark="rewardbench2",
        title="Six",
        rows=200,
        notes=("3 rows of old are not among those of new_1: left out.",),
        pairs=(pair,),
        ranking=ranking,
        ranking_words="new_1 has the highest score on Six.",
    )
    return ComparisonRecord(
        models=(ComparedModel(name="old", path="runs/old"), ComparedModel(name="new_1", path="runs/new_1")),
        benchmarks={"rewardbench2": benchmark},
        not_shared=("own: not evaluated in old.",),
        overall=(
            OverallComparison(
                first="old",
                second="new_1",
                verdict="better",
                p_holm={"rewardbench2": 0.0084},
                words="new_1 is better than old on Six.",
            ),
        ),
        seed=17,
        resamples=10_000,
    ).model_copy(update=changes)


def comparison_page(found: ComparisonRecord) -> str:
    section = comparison_section(found)
    assert section is not None
    return section_page(section)


def test_the_page_has_verdict_numbers_and_flips() -> None:
    lines = comparison_page(record()).split("\n")
    assert lines[:3] == ["# Against old", "", "✅ new_1 is better than old on Six."]
    numbers = "50.0 | 62.0 | **+12.0** | +3.1 to +20.0"
    assert f"| Math | 100 | {numbers} | 0.0084 (Holm 0.0168) | 15 (3 lost) | ✅ better |" in lines
    assert f"| Average |  | {numbers} | 0.0084 | 15 (0 lost) | ✅ better |" in lines
    assert "| old | **50.0** | 40.0 to 60.0 | 10.0 | yes |" in lines
    assert "Not compared: own: not evaluated in old." in lines
    assert any("3 rows of old are not among those of new_1: left out." in line for line in lines)
    assert "Paired over the rows that all share; 10,000 resamples, seed 17." in lines


def test_flipped_rows_show_rewards_and_escaped_texts() -> None:
    page = comparison_page(record())
    assert "Rows that flipped: 15 rows won, 0 rows lost by new_1:" in page
    assert "| lost |" not in page
    assert "| \\<b\\>How many?\\</b\\> |" in page
    assert "chosen 0.5 → 1.25: 42 · " in page
    assert "rejected – → −2: \\#\u200b 41 |" in page


def test_rows_without_texts_keep_their_rewards() -> None:
    bare = FLIP.model_copy(update={"prompt": None, "chosen": None, "rejected": None})
    found = record()
    benchmark = found.benchmarks["rewardbench2"]
    pair = benchmark.pairs[0].model_copy(update={"gained": (bare,)})
    changed = benchmark.model_copy(update={"pairs": (pair,)})
    page = comparison_page(record(benchmarks={"rewardbench2": changed}))
    assert "| – | chosen 0.5 → 1.25 · rejected – → −2 |" in page


def test_the_corrected_p_value_stands_beside_the_raw_one(tmp_path: Path) -> None:
    run = build_run(tmp_path)
    file = run / "eval" / "rewardbench2" / "results.json"
    result = read_record(file, BenchmarkResult)
    subsets = {
        name: subset.model_copy(update={"p_value": 0.0125, "p_holm": 0.075}) for name, subset in result.subsets.items()
    }
    write_json(file, result.model_copy(update={"subsets": subsets}))
    page = write_report(run).read_text(encoding="utf-8")
    assert '<data value="0.0125">0.0125</data><br><small>Holm <data value="0.075">0.0750</data></small>' in page
    assert "0.0125 (Holm 0.0750)" in (run / "summary.md").read_text(encoding="utf-8")
