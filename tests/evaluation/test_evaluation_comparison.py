"""Comparing models on shared rows: numbers by hand, verdicts that never overreach, invariants of a fair test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewardsmith import statistics
from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, score_rows
from rewardsmith.evaluation.comparison import (
    MCNEMAR,
    Evaluated,
    compare_benchmark,
    compare_overall,
    decide,
    rank_overall,
    share_rows,
    together,
)
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Message

REWARDBENCH2 = find_benchmark("rewardbench2")
PAIRS = find_benchmark("pairs")


def best_of(number, subset="Math", n_rejected=1, n_chosen=1, text="right"):
    chosen = tuple((Message("assistant", f"{text} {i}"),) for i in range(n_chosen))
    rejected = tuple((Message("assistant", f"wrong {i}"),) for i in range(n_rejected))
    return EvalRow(str(number), subset, (Message("user", f"{subset} {number}"),), chosen, rejected)


def ties(k):
    return [best_of(f"ref:{k}", "Ties", 2), best_of(f"tied:{k}", "Ties", 2, 2)]


def evaluated(name, rows, rewards, benchmark=REWARDBENCH2, sha256="", **changes):
    bundle = BenchmarkRows(tuple(rows), DatasetInfo(source="six.jsonl", sha256=sha256), "Six")
    done = score_rows(benchmark, bundle, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=100)
    return Evaluated(name, done.result, tuple(row.model_copy(update=changes) for row in done.rows))


def from_right(name, rows, right, **options):
    """A model whose chosen reward is the highest on the rows that it gets right, the lowest elsewhere."""
    rewards = [
        [1.0 if ok else 0.0] * len(row.chosen) + [0.5] * len(row.rejected) for row, ok in zip(rows, right, strict=True)
    ]
    return evaluated(name, rows, rewards, **options)


def compare(*models, benchmark=REWARDBENCH2, **options):
    return compare_benchmark(benchmark, models, **{"seed": 3, "resamples": 400, **options})


def test_a_comparison_by_hand():
    rows = [best_of(i) for i in range(20)]
    first = from_right("old", rows, [True] * 8 + [False] * 12)
    second = from_right("new", rows, [True] * 6 + [False] * 2 + [True] * 9 + [False] * 3)
    found = compare(first, second).record.pairs[0]
    math_ = found.subsets["Math"]
    assert (math_.first, math_.second, math_.difference) == pytest.approx((0.40, 0.75, 0.35))
    assert (math_.gained, math_.lost, math_.n, math_.units) == (9, 2, 20, 20)
    # McNemar: 2 · P(at most 2 of 11 at 1/2) = 2 · (1 + 11 + 55) / 2048
    assert (math_.p_value, math_.test) == (pytest.approx(134 / 2048), MCNEMAR)
    assert {row.id for row in found.lost} == {"6", "7"}
    assert {row.id for row in found.gained} == {str(i) for i in range(8, 17)}
    assert found.gained[0].rewards_first == (0.0, 0.5)
    assert found.gained[0].rewards_second == (1.0, 0.5)


def test_the_interval_is_that_of_the_rows_differences():
    # Bonett and Price 2012 for 100 rows with 12 gained and 4 lost; two models on rows of their own would have twice it.
    rows = [best_of(i) for i in range(100)]
    first = from_right("old", rows, [i < 54 for i in range(100)])
    second = from_right("new", rows, [i < 50 or 54 <= i < 66 for i in range(100)])
    p12, p21 = 13 / 102, 5 / 102
    half = stats.t.ppf(0.975, 99) * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)
    found = compare(first, second, resamples=20_000).record.pairs[0]
    for part in (found.average, found.subsets["Math"]):
        assert (part.ci_low, part.ci_high) == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=0.002)


def test_a_model_against_itself():
    rows = [*(best_of(i) for i in range(30)), *(row for k in range(10) for row in ties(k))]
    right = [i % 3 > 0 for i in range(len(rows))]
    found = compare(from_right("a", rows, right), from_right("b", rows, right)).record.pairs[0]
    assert (found.average.difference, found.average.verdict, found.average.p_value) == (0, "cannot be told apart", 1.0)
    assert (found.gained_rows, found.lost_rows) == (0, 0)
    assert "they score the same on each of its 50 rows" in found.words
    assert "could not have been told from none" in found.words
    assert found.average.smallest_shown > 0


def test_two_rows_show_no_difference_however_large():
    """Student's t of one degree of freedom is 12.7, and no score is more than 1 above another."""
    rows = [best_of(0), best_of(1)]
    found = compare(from_right("a", rows, [True, False]), from_right("b", rows, [True, False])).record.pairs[0]
    assert found.average.smallest_shown == 1.0
    assert found.words.endswith("With these 2 rows, no difference could have been told from none.")


def test_a_planted_difference_is_called_by_name():
    rows = [best_of(i, subset) for subset in ("Math", "Safety") for i in range(100)]
    first = from_right("old", rows, [i % 2 == 0 for i in range(200)])
    second = from_right("new", rows, [i % 2 == 0 or i < 60 for i in range(200)])
    found = compare(first, second).record.pairs[0]
    assert found.average.verdict == "better"
    assert found.words.startswith("new is better than old on Six: +15.0 points (95 % interval ")
    assert "better in Math (+30.0)" in found.words
    assert "Safety" not in found.words
    assert found.subsets["Safety"].verdict == "cannot be told apart"


def test_the_average_weighs_subsets_as_the_benchmark_does():
    rows = [*(best_of(i) for i in range(10)), *(best_of(i, "Safety") for i in range(40))]
    first = from_right("a", rows, [False] * 50)
    second = from_right("b", rows, [True] * 5 + [False] * 45)
    # RewardBench 2 averages subsets: (0.5 + 0) / 2; pairs averages rows: 5 of 50.
    assert compare(first, second).record.pairs[0].average.difference == pytest.approx(0.25)
    pairs = [
        replace(evaluated(m.name, rows, [row.rewards for row in m.rows], PAIRS), name=m.name) for m in (first, second)
    ]
    assert compare(*pairs, benchmark=PAIRS).record.pairs[0].average.difference == pytest.approx(0.10)


def test_groups_are_resampled_whole():
    rows = [replace(best_of(f"{g}.{i}"), group=str(g)) for g in range(20) for i in range(5)]
    right = [int(row.group) % 2 == 0 for row in rows]
    better = [ok or int(row.group) < 8 for row, ok in zip(rows, right, strict=True)]
    models = [from_right(name, rows, ok, benchmark=PAIRS) for name, ok in (("a", right), ("b", better))]
    grouped = compare(*models, benchmark=PAIRS).record.pairs[0].subsets["Math"]
    alone = [replace(model, rows=tuple(row.model_copy(update={"group": ""}) for row in model.rows)) for model in models]
    single = compare(*alone, benchmark=PAIRS).record.pairs[0].subsets["Math"]
    assert (grouped.units, single.units) == (20, 100)
    assert (grouped.test, single.test) == ("paired bootstrap", MCNEMAR)
    # 20 groups of 5 that flip together know as much as 20 rows: the interval is about √5 times as wide.
    assert (grouped.ci_high - grouped.ci_low) / (single.ci_high - single.ci_low) > 1.8
    assert single.verdict == "better"
    assert grouped.verdict == "cannot be told apart"


def test_ties_go_through_their_own_formula():
    rows = [row for k in range(20) for row in ties(k)]
    first, second = from_right("a", rows, [True] * 40), from_right("b", rows, [i % 2 == 0 for i in range(40)])
    subset = compare(first, second).record.pairs[0].subsets["Ties"]
    # right everywhere with equal chosen rewards: all terms 1, M = tanh(inf) = 1: 1.01; without the tied halves: 0.30 R
    assert subset.first == pytest.approx(1.01)
    # both d and g of a wrong tied half: g = -0.5, d = 0: min(g) / 0 - 1 = -inf: the margin term is -1
    assert subset.second == pytest.approx(0.30 - 0.01)
    assert (subset.units, subset.verdict) == (20, "worse")


@st.composite
def two_models(draw):
    n = draw(st.integers(4, 30))
    subsets = draw(st.lists(st.sampled_from(["Math", "Safety", "Focus"]), min_size=n, max_size=n))
    rows = [best_of(i, subset, 2) for i, subset in enumerate(subsets)]
    reward = st.integers(-2, 2).map(float)
    drawn = [[draw(st.lists(reward, min_size=3, max_size=3)) for _ in rows] for _ in range(2)]
    return rows, drawn


@given(two_models())
def test_swapping_the_models_negates_everything(case):
    rows, (one, two) = case
    a, b = evaluated("a", rows, one), evaluated("b", rows, two)
    forth, back = compare(a, b).record.pairs[0], compare(b, a).record.pairs[0]
    assert forth.average.difference == pytest.approx(-back.average.difference, abs=1e-12)
    # the bootstrap of the swapped columns is another draw: the interval mirrors up to its noise
    spread = forth.average.ci_high - forth.average.ci_low
    assert forth.average.ci_low == pytest.approx(-back.average.ci_high, abs=0.3 * spread)
    for name, subset in forth.subsets.items():
        assert subset.difference == pytest.approx(-back.subsets[name].difference, abs=1e-12)
        assert (subset.gained, subset.lost) == (back.subsets[name].lost, back.subsets[name].gained)


@given(two_models())
def test_intervals_hold_the_difference_and_verdicts_never_overreach(case):
    rows, (one, two) = case
    found = compare(evaluated("a", rows, one), evaluated("b", rows, two)).record.pairs[0]
    for part in (found.average, *found.subsets.values()):
        assert part.ci_low - 1e-12 <= part.difference <= part.ci_high + 1e-12
        if part.ci_low <= 0 <= part.ci_high:
            assert part.verdict == "cannot be told apart"
    if found.average.ci_low <= 0 <= found.average.ci_high:
        assert " is better than " not in found.words
        assert " is worse than " not in found.words


@given(two_models())
def test_the_seed_decides_every_number(case):
    rows, (one, two) = case
    models = evaluated("a", rows, one), evaluated("b", rows, two)
    assert compare(*models).record == compare(*models).record


def test_duplicated_rows_keep_the_difference_and_narrow_the_interval():
    rows = [best_of(i) for i in range(30)]
    copies = [replace(row, id=f"copy {row.id}") for row in rows]
    old, new = [i % 2 == 0 for i in range(30)], [i % 3 > 0 for i in range(30)]
    once = compare(from_right("a", rows, old), from_right("b", rows, new)).record.pairs[0].average
    both = rows + copies
    twice = compare(from_right("a", both, old * 2), from_right("b", both, new * 2)).record.pairs[0].average
    assert twice.difference == pytest.approx(once.difference)
    assert twice.ci_high - twice.ci_low < once.ci_high - once.ci_low


def test_only_shared_rows_are_compared_and_the_rest_is_named():
    rows = [best_of(i) for i in range(10)]
    first = from_right("a", rows, [True] * 10)
    second = from_right("b", [*rows[4:], *(best_of(i) for i in range(20, 23))], [False] * 9)
    found = compare(first, second).record
    assert found.rows == 6
    assert found.notes == (
        "4 of 10 rows of a are not among those of b: left out.",
        "3 rows of b are not among those of a: left out.",
    )


def test_rows_with_other_texts_under_the_same_id_are_not_shared():
    rows = [best_of(i) for i in range(6)]
    changed = [*rows[:4], *(best_of(i, text="other") for i in (4, 5))]
    shared = share_rows([from_right("a", rows, [True] * 6), from_right("b", changed, [True] * 6)])
    assert [row.id for row in shared.rows] == ["0", "1", "2", "3"]
    assert shared.notes == ("2 rows carry the same id in a and b, and other responses: left out.",)


def test_rows_without_digests_are_shared_unless_their_files_differ():
    rows = [best_of(i) for i in range(3)]
    right = [True] * 3
    same = [from_right(name, rows, right, sha256="abc", digest="") for name in "ab"]
    other = from_right("c", rows, right, sha256="def", digest="")
    assert len(share_rows(same).rows) == 3
    assert compare(same[0], other) is None
    note = "3 rows carry the same id in a and c, and came from files that differ: left out."
    assert share_rows([same[0], other]).notes == (note,)


def test_a_missing_reward_is_scored_by_the_benchmarks_rule():
    rows = [best_of(i) for i in range(4)]
    first = evaluated("a", rows, [[1, 0]] * 4)
    second = evaluated("b", rows, [[1, 0]] * 3 + [[np.nan, 0]])
    found = compare(first, second).record.pairs[0]
    assert found.subsets["Math"].second == 0.75
    assert found.lost[0].rewards_second == (None, 0.0)


def test_the_best_of_several_checkpoints():
    rng = np.random.default_rng(5)
    rows = [best_of(i, subset) for subset in ("Math", "Safety") for i in range(150)]
    base = rng.random(300)
    accuracies = {"step 100": 0.45, "step 200": 0.7, "step 300": 0.71}
    models = [from_right(name, rows, base + 0.1 * rng.random(300) < p) for name, p in accuracies.items()]
    found = compare(*models).record
    ranking = {model.name: model for model in found.ranking}
    assert [model.score for model in found.ranking] == sorted((m.score for m in found.ranking), reverse=True)
    assert not ranking["step 100"].candidate
    assert ranking["step 200"].candidate
    assert ranking["step 300"].candidate
    assert sum(model.probability_best for model in found.ranking) == pytest.approx(1)
    assert "cannot be told from it (95 %, corrected for 3 models)" in found.ranking_words
    assert len(found.pairs) == 2


def test_two_models_are_not_ranked():
    rows = [best_of(i) for i in range(5)]
    assert compare(from_right("a", rows, [True] * 5), from_right("b", rows, [False] * 5)).record.ranking == ()


def test_several_benchmarks_together():
    rows = [best_of(i) for i in range(200)]
    a, b = (
        from_right("a", rows, [i % 2 == 0 for i in range(200)]),
        from_right("b", rows, [i % 4 > 0 for i in range(200)]),
    )
    one, two = compare(a, b), compare(b, a)
    both = compare_overall({"one": one, "two": two}, ["a", "b"])[0]
    p_values = [found.record.pairs[0].average.p_value for found in (one, two)]
    assert tuple(both.p_holm.values()) == pytest.approx(statistics.holm(p_values))
    assert both.verdict == "mixed"
    assert both.words == "b is better than a on one and worse on two, corrected for 2 comparisons."
    alone = compare_overall({"one": one}, ["a", "b"])[0]
    assert alone.words == "b is better than a on Six."
    third = compare(a, b, b)
    ranking = rank_overall([third, third], ["a", "b", "c"])
    assert [model.name for model in ranking] == ["b", "c", "a"]
    assert ranking[0].score == pytest.approx(third.record.ranking[0].score)


def test_a_verdict_needs_both_interval_and_p_value():
    above, holds = statistics.Interval(0.01, 0.2), statistics.Interval(-0.01, 0.2)
    assert decide(above, 0.01) == "better"
    assert decide(above, 0.2) == "cannot be told apart"
    assert decide(holds, 0.01) == "cannot be told apart"
    assert decide(statistics.Interval(0.0, 0.2), 0.01) == "cannot be told apart"
    assert decide(statistics.Interval(-0.2, -0.01), 0.01) == "worse"
    assert together(["better", "cannot be told apart"]) == "better"
    assert together(["worse", "better"]) == "mixed"
    assert together(["cannot be told apart"]) == "cannot be told apart"
