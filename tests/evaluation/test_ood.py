"""Skill side by side: the gap, its interval, and the two flags."""

import math

import pytest

from rewardsmith.evaluation.results import NOTABLE, skills
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo, RewardSummary, SubsetResult


def result(score, low, high, chance=0.5, held_out=False, benchmark="rewardbench2", subsets=("all",)):
    one = SubsetResult(n=50, score=score, ci_low=low, ci_high=high, baseline=chance, length_baseline=0.5, p_value=0.1)
    return BenchmarkResult(
        benchmark=benchmark,
        title=benchmark,
        average=score,
        average_ci=(low, high),
        average_baseline=chance,
        protocol="",
        dataset=DatasetInfo(source="here"),
        subsets=dict.fromkeys(subsets, one),
        rewards=RewardSummary(n=1, mean=0, std=0, min=0, max=0, distinct=1),
        held_out=held_out,
    )


def own(score=0.8, low=0.75, high=0.85, **options):
    return result(score, low, high, held_out=True, benchmark="pairs", **options)


def test_skill_and_gap_by_hand():
    found = skills({"held_out": own(), "bench": result(0.55, 0.45, 0.65, chance=0.25)})
    first, second = found.rows
    assert (first.kind, first.skill, first.gap, first.flag) == ("held_out", pytest.approx(0.6), None, "")
    assert second.skill == pytest.approx(0.4)
    assert second.skill_ci == pytest.approx((0.2 / 0.75, 0.4 / 0.75))
    assert second.gap == pytest.approx(0.2)
    # squared distances: own low 0.1, bench high 0.4 / 0.75 - 0.4
    assert second.gap_ci == pytest.approx(
        (0.2 - math.hypot(0.1, 0.4 / 0.75 - 0.4), 0.2 + math.hypot(0.1, 0.4 - 0.2 / 0.75))
    )
    assert second.flag == "distribution_specific"  # from 0.03 up: sure, and 0.2 is notable


@pytest.mark.parametrize(
    ("score", "flag", "word"),
    [
        (0.55, "distribution_specific", "does not carry over"),
        (0.99, "benchmark_specific", "may hold the benchmark's rows"),
        (0.80, "", ""),
        (0.77, "", ""),  # sure, but not notable
    ],
)
def test_flags_both_ways(score, flag, word):
    low, high = score - 0.005, score + 0.005
    found = skills({"bench": result(score, low, high), "held_out": own(0.8, 0.795, 0.805)}).rows[1]
    assert found.flag == flag
    assert word in found.text
    assert (found.text == "") == (flag == "")


def test_an_unsure_gap_is_no_flag():
    found = skills({"held_out": own(), "bench": result(0.6, 0.3, 0.9)}).rows[1]
    assert found.gap == pytest.approx(0.4)
    assert found.flag == ""


def test_order_and_kinds():
    results = {"b": result(0.7, 0.6, 0.8), "mine": result(0.7, 0.6, 0.8, benchmark="pairs")}
    found = skills({**results, "held_out": own(subsets=("chat", "math"))})
    assert [(row.key, row.title, row.kind) for row in found.rows] == [
        ("held_out", "pairs", "held_out"),
        ("held_out", "chat", "domain"),
        ("held_out", "math", "domain"),
        ("b", "rewardbench2", "benchmark"),
        ("mine", "pairs", "pairs"),
    ]
    assert [row.gap is None for row in found.rows] == [True, True, True, False, False]
    assert found.notable == NOTABLE


def test_without_held_out_pairs_there_are_skills_and_no_gaps():
    rows = skills({"a": result(0.7, 0.6, 0.8), "b": result(0.9, 0.8, 1.0)}).rows
    assert [row.skill for row in rows] == pytest.approx([0.4, 0.8])
    assert [row.gap for row in rows] == [None, None]
    assert skills({}).rows == ()


def test_missing_numbers_leave_rows_out_or_null():
    certain = result(1.0, 1.0, 1.0, chance=1.0)
    bare = result(0.7, 0.6, 0.8).model_copy(update={"average_ci": None})
    rows = skills({"held_out": own(), "certain": certain, "bare": bare}).rows
    assert [row.key for row in rows] == ["held_out", "bare"]
    assert (rows[1].skill_ci, rows[1].gap_ci, rows[1].flag) == (None, None, "")
    assert rows[1].gap == pytest.approx(0.2)
