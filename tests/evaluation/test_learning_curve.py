"""The slope of a learning curve, by hand and by numpy; and no claim of a trend where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from rewardsmith.evaluation import find_benchmark, pair_rows
from rewardsmith.evaluation.contract import Floats
from rewardsmith.evaluation.learning_curve import FLAT, loss_per_doubling, read_curve, score_per_doubling
from rewardsmith.evaluation.results import score_rows
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.training import CurveSlope
from rewardsmith.statistics import Difference
from rewardsmith.types import Message, PreferencePair

PAIRS = find_benchmark("pairs")


def slope(per_doubling: float, low: float, high: float) -> CurveSlope:
    return CurveSlope(per_doubling=per_doubling, low=low, high=high)


def rows(count: int, per_prompt: int = 1) -> tuple:
    pairs = [
        PreferencePair(
            prompt=(Message("user", f"p{index // per_prompt}"),),
            chosen=(Message("assistant", f"good {index}"),),
            rejected=(Message("assistant", f"bad {index}"),),
            id=str(index),
        )
        for index in range(count)
    ]
    return pair_rows(pairs, DatasetInfo(source="x"), "x")


def rewards(margins: Floats) -> list[Floats]:
    return [np.array([margin, 0.0]) for margin in margins]


def right(count: int, of: int) -> list[Floats]:
    """The first `count` pairs of `of` are ordered rightly."""
    return rewards(np.where(np.arange(of) < count, 1.0, -1.0))


def test_the_slope_is_that_of_least_squares_on_log2() -> None:
    data = rows(40)
    models, pairs = [right(20, 40), right(26, 40), right(29, 40)], [100, 200, 800]
    found = score_per_doubling(PAIRS, data.rows, models, pairs, seed=1, resamples=500)
    scores = [score_rows(PAIRS, data, model, seed=1, resamples=200).result.average for model in models]
    assert scores == [0.5, 0.65, 0.725]
    assert found.per_doubling == pytest.approx(np.polyfit(np.log2(pairs), scores, 1)[0])
    assert found.low < found.per_doubling < found.high


def test_two_points_are_a_paired_difference() -> None:
    """From 20 to 30 of 40 right over two doublings; the interval is the one of `statistics.Difference`, halved."""
    data = rows(40)
    found = score_per_doubling(PAIRS, data.rows, [right(20, 40), right(30, 40)], [50, 200], seed=1, resamples=20_000)
    assert found.per_doubling == pytest.approx(0.25 / 2)
    changes = np.where((np.arange(40) >= 20) & (np.arange(40) < 30), 1.0, 0.0)
    draws = np.random.default_rng(0).choice(changes, size=(20_000, 40)).mean(axis=1)
    expected = Difference.of(0.25, draws, 40).interval()
    assert (found.low, found.high) == pytest.approx((expected.low / 2, expected.high / 2), abs=0.002)


def test_pairs_of_one_prompt_are_one_unit() -> None:
    """Four copies of every pair say nothing new: the interval stays what ten prompts give."""
    alone = score_per_doubling(PAIRS, rows(10).rows, [right(4, 10), right(8, 10)], [1, 2], seed=3)
    copies = [[reward for reward in model for _ in range(4)] for model in (right(4, 10), right(8, 10))]
    grouped = score_per_doubling(PAIRS, rows(40, per_prompt=4).rows, copies, [1, 2], seed=3)
    assert (grouped.per_doubling, grouped.low, grouped.high) == pytest.approx(
        (alone.per_doubling, alone.low, alone.high), abs=0.02
    )


def test_an_average_over_subsets_weighs_them_as_the_benchmark_does() -> None:
    from rewardsmith.evaluation import BenchmarkRows, EvalRow

    kind = find_benchmark("rewardbench2")

    def row(subset: str, index: int) -> EvalRow:
        turn = (Message("assistant", f"{index}"),)
        return EvalRow(str(index), subset, (Message("user", f"{subset} {index}"),), (turn,), (turn, turn, turn))

    made = tuple(row("Math", i) for i in range(30)) + tuple(row("Focus", i) for i in range(10))

    def answers(math: int, focus: int) -> list[Floats]:
        best = [i < math for i in range(30)] + [i < focus for i in range(10)]
        return [np.array([1.0 if ok else -1.0, 0.0, 0.1, 0.2]) for ok in best]

    models = [answers(15, 5), answers(21, 5)]
    found = score_per_doubling(kind, made, models, [10, 20], seed=1, resamples=500)
    assert found.per_doubling == pytest.approx(0.1)  # Math rises by 0.2, Focus by 0, each weighs one half
    data = BenchmarkRows(made, DatasetInfo(source="x"), "x")
    averages = [score_rows(kind, data, model, seed=1, resamples=200).result.average for model in models]
    assert averages[1] - averages[0] == pytest.approx(0.1)


def test_the_loss_slope_is_that_of_least_squares_and_leaves_missing_rewards_out() -> None:
    draw = np.random.default_rng(5)
    margins = draw.normal(size=(3, 50)) + np.array([[0.0], [0.5], [1.0]])
    pairs = [100, 150, 400]
    losses = np.log1p(np.exp(-margins))
    models = [rewards(row) for row in margins]
    found = loss_per_doubling(rows(50).rows, models, pairs, seed=1)
    assert found is not None
    assert found.per_doubling == pytest.approx(np.polyfit(np.log2(pairs), losses.mean(axis=1), 1)[0])
    assert found.low < found.per_doubling < found.high < 0
    models[1][7] = np.array([np.nan, 0.0])
    kept = np.delete(losses, 7, axis=1).mean(axis=1)
    partial = loss_per_doubling(rows(50).rows, models, pairs, seed=1)
    assert partial is not None
    assert partial.per_doubling == pytest.approx(np.polyfit(np.log2(pairs), kept, 1)[0])
    nothing = [[np.array([np.nan, 0.0])] * 50] * 3
    assert loss_per_doubling(rows(50).rows, nothing, pairs, seed=1) is None


def test_equal_amounts_of_data_have_no_slope() -> None:
    with pytest.raises(ValueError, match="two different numbers"):
        score_per_doubling(PAIRS, rows(4).rows, [right(1, 4), right(2, 4)], [8, 8], seed=1)


def test_models_of_equal_skill_are_seldom_called_a_trend() -> None:
    """400 curves of three models that are right with probability 0.7: at most 5.7 % are called a trend."""
    draw = np.random.default_rng(11)
    data = rows(60)
    claims = 0
    for trial in range(400):
        models = [rewards(np.where(draw.random(60) < 0.7, 1.0, -1.0)) for _ in range(3)]
        slope = score_per_doubling(PAIRS, data.rows, models, [100, 200, 400], seed=trial, resamples=200)
        claims += slope.low > 0 or slope.high < 0
    assert claims / 400 <= 0.057


@pytest.mark.parametrize(
    ("score", "verdict", "words"),
    [
        (slope(0.023, 0.011, 0.034), "more data", "More data helps: each doubling"),
        (slope(-0.02, -0.03, -0.01), "falling", "More data hurts"),
        (slope(0.001, -0.004, 0.007), "flat", "less than 1 point a doubling"),
        (slope(0.01, -0.02, 0.04), "undecided", "neither more data nor a bigger base follows"),
    ],
)
def test_the_verdict_claims_nothing_where_the_interval_holds_0(score: CurveSlope, verdict: str, words: str) -> None:
    found, statement = read_curve(score, slope(-0.05, -0.08, -0.02), 1200, "held-out accuracy")
    assert found == verdict
    assert words in statement
    assert f"{100 * score.low:+.1f} to {100 * score.high:+.1f}" in statement
    assert "its loss by -0.050 (-0.080 to -0.020)" in statement
    holds_0 = score.low <= 0 <= score.high
    assert holds_0 != ("helps" in statement or "hurts" in statement)
    assert FLAT == 0.01
