"""Small subsets of the user's own data stand as one row, counted by hand; published benchmarks keep theirs."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rewardsmith.evaluation import skills
from rewardsmith.records.comparison import BenchmarkComparison, SubsetComparison
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, SubsetResult
from rewardsmith.report.blocks import Section
from rewardsmith.report.markdown import section_page
from rewardsmith.report.pooling import pool_differences, pool_rewards, pool_scores, pool_skills
from rewardsmith.report.reading import RowRewards
from rewardsmith.report.sections.rewards import reward_rows, reward_scale
from rewardsmith.report.sections.scores import score_table, scores_section
from rewardsmith.report.terminal import print_sections

# name → rows, score of the rows
SIZES = {"chat": (40, 0.75), "maths": (4, 1.0), "code": (5, 0.2), "rare": (1, 0.0), "safety": (10, 0.5)}


def subset(n: int, score: float, *, missing: int = 0, interval: str = "Wilson") -> SubsetResult:
    return SubsetResult(
        n=n,
        score=score,
        ci_low=max(0.0, score - 0.2),
        ci_high=min(1.0, score + 0.1),
        baseline=0.5,
        length_baseline=0.25 if n == 4 else 0.5,
        p_value=0.5,
        n_missing=missing,
        missing={"over_length": missing} if missing else {},
        interval=interval,
    )


def result(benchmark: str = "pairs", **changes: SubsetResult) -> BenchmarkResult:
    subsets = {name: subset(*values) for name, values in SIZES.items()} | changes
    summary = RewardSummary(n=2, mean=0.0, std=1.0, min=-1.0, max=1.0, distinct=2)
    return BenchmarkResult(
        benchmark=benchmark,
        title="Pairs",
        average=0.6,
        average_ci=(0.5, 0.7),
        average_baseline=0.5,
        protocol="accuracy",
        dataset=DatasetInfo(source="held-out pairs"),
        subsets=subsets,
        rewards=summary,
        rewards_by_subset=dict.fromkeys(subsets, summary),
        held_out=benchmark == "pairs",
    )


def test_the_pooled_row_is_the_mean_over_rows_with_wilson_s_interval() -> None:
    found = pool_scores(result())
    assert list(found.shown) == ["chat", "safety", "other (3 subsets)"]  # ten rows are not under ten
    assert list(found.small) == ["maths", "code", "rare"]
    other = found.shown["other (3 subsets)"]
    assert (other.n, other.score) == (10, pytest.approx(0.5))  # 4 + 1 + 0 of 10 rows
    # Wilson at 5 of 10, worked out by hand: (0.5 + 1.92073/10 ± 1.95996·sqrt(0.025 + 0.96036/100)) / 1.384146
    assert other.ci_low == pytest.approx(0.236593, abs=1e-6)
    assert other.ci_high == pytest.approx(0.763407, abs=1e-6)
    assert other.length_baseline == pytest.approx(0.4)  # (4 · 0.25 + 6 · 0.5) / 10
    assert other.p_value == pytest.approx(0.623047, abs=1e-6)  # P(X ≥ 5), X ~ B(10, 1/2) = 638 / 1024


def test_rows_in_groups_get_the_interval_of_their_subsets_and_no_p_value() -> None:
    grouped = {name: subset(*SIZES[name], interval="bootstrap") for name in ("maths", "code", "rare")}
    other = pool_scores(result(**grouped)).shown["other (3 subsets)"]
    below = math.sqrt((0.4 * 0.2) ** 2 + (0.5 * 0.2) ** 2 + 0)  # rare: 0.0 has no room below
    assert other.ci_low == pytest.approx(0.5 - below)
    assert math.isnan(other.p_value)
    assert str(score_table("x", result(**grouped)).rows[-1].p_value) == "–"


def test_missing_rewards_are_counted_in_the_pooled_row() -> None:
    row = score_table("x", result(maths=subset(4, 0.5, missing=2))).rows[-1]
    assert (row.missing, row.state) == (2, "bad")
    assert row.reading.endswith("2 rewards missing (over_length 2)")


def test_one_small_subset_and_published_ones_keep_their_names() -> None:
    one = result(maths=subset(12, 1.0), code=subset(12, 1.0))
    assert list(pool_scores(one).shown) == list(SIZES)
    assert list(pool_scores(result("rewardbench")).shown) == list(SIZES)


def test_a_user_s_own_name_is_never_taken() -> None:
    taken = result(**{"other (3 subsets)": subset(20, 0.5)})
    assert list(pool_scores(taken).shown)[-1] == "other (3 subsets)*"


def text_of(section: Section) -> str:
    out = io.StringIO()
    print_sections(Console(file=out, width=200), section)
    return out.getvalue()


def test_names_stand_folded_on_the_page_and_on_demand_on_a_terminal() -> None:
    pooled = scores_section({"held_out": result()})
    page, said = section_page(pooled), text_of(pooled)
    for text in (page, said):
        assert "other (3 subsets)" in text
        assert "maths" not in text
        assert "eval/held_out/results.json" in text
        assert "--all-subsets" in text
    folded = pooled.blocks[0].grids[1]
    assert folded.folded == "The 3 subsets under 10 rows"
    assert [row[0] for row in folded.rows] == ["maths", "code", "rare"]
    everything = text_of(scores_section({"held_out": result()}, all_subsets=True))
    assert "other (" not in everything
    assert all(name in everything for name in SIZES)


def test_rewards_of_pooled_subsets_stand_together() -> None:
    rows = {name: RowRewards((1.0,), (float(place),)) for place, name in enumerate(SIZES)}
    found = reward_rows(result(), rows, reward_scale(result()))
    assert list(found) == ["All rewards", "chat", "safety", "other (3 subsets)"]
    summary, drawn = found["other (3 subsets)"]
    assert summary.n == 6
    assert drawn is not None
    assert drawn.medians == (1.0, 2.0)  # of 1, 2, 3: maths, code, rare
    other = pool_rewards(result()).shown["other (3 subsets)"]
    assert (other.mean, other.std) == (0.0, 1.0)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=9), min_size=2, max_size=6))
def test_pooled_means_and_deviations_are_those_of_all_rewards(parts: list[list[float]]) -> None:
    def summary(values: list[float]) -> RewardSummary:
        mean = math.fsum(values) / len(values)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        return RewardSummary(n=len(values), mean=mean, std=std, min=min(values), max=max(values), distinct=1)

    names = {str(place): values for place, values in enumerate(parts)}
    changed = {name: subset(len(values), 0.5) for name, values in names.items()}
    whole = result().model_copy(
        update={"subsets": changed, "rewards_by_subset": {name: summary(values) for name, values in names.items()}}
    )
    other = pool_rewards(whole).shown[f"other ({len(parts)} subsets)"]
    everything = summary([value for values in parts for value in values])
    assert (other.n, other.min, other.max) == (everything.n, everything.min, everything.max)
    assert other.mean == pytest.approx(everything.mean, abs=1e-9)
    assert other.std == pytest.approx(everything.std, abs=1e-6)


def test_skills_of_small_domains_stand_as_one_after_the_larger_ones() -> None:
    record = skills({"held_out": result(), "rewardbench": result("rewardbench")})
    found = list(pool_skills(record.rows).shown.values())
    titles = [(row.kind, row.title) for row in found]
    assert titles[1:4] == [("domain", "chat"), ("domain", "safety"), ("domain", "other (3 subsets)")]
    assert found[0].kind == "held_out"
    assert found[-1].kind == "benchmark"
    assert found[3].skill == pytest.approx(0.0)  # score 0.5 at chance 0.5


def test_a_pooled_difference_has_no_verdict_of_its_own() -> None:
    def part(n: int, first: float, second: float) -> SubsetComparison:
        return SubsetComparison(
            first=first,
            second=second,
            difference=second - first,
            ci_low=second - first - 0.3,
            ci_high=second - first + 0.3,
            p_value=0.4,
            p_holm=1.0,
            test="McNemar",
            smallest_shown=0.3,
            verdict="better",
            n=n,
            units=n,
            gained=1,
            lost=0,
        )

    found = pool_differences("pairs", {"a": part(40, 0.5, 0.5), "b": part(3, 0.0, 1.0), "c": part(1, 1.0, 1.0)})
    other = found.shown["other (2 subsets)"]
    assert (other.n, other.gained) == (4, 2)
    assert other.difference == pytest.approx(0.75)
    assert other.ci_low == pytest.approx(0.75 - math.hypot(0.75 * 0.3, 0.25 * 0.3))
    assert math.isnan(other.p_value)
    assert other.verdict == "cannot be told apart"
    assert "benchmark" in BenchmarkComparison.model_fields  # what says whose names they are
