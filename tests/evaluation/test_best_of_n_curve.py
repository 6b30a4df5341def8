"""Best-of-n by order statistics against counting every subset, and over-optimisation where it was planted."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.evaluation import EvalRow
from rewardsmith.evaluation.analysis import best_of_n_curve, gold_of, pick_probabilities


def curve(rewards, gold, prompts=None, resamples=200):
    prompts = np.arange(len(rewards)) if prompts is None else np.asarray(prompts)
    arrays = [[np.array(row, dtype=float) for row in rows] for rows in (rewards, gold)]
    return best_of_n_curve(*arrays, prompts, seed=1, resamples=resamples)


def by_counting(rewards, gold, n):
    """(gold, reward, best gold) of the pick, over every subset of n answers; equal rewards share."""
    picked, reward, best = [], [], []
    for subset in itertools.combinations(range(len(rewards)), n):
        top = max(rewards[i] for i in subset)
        picked.append(np.mean([gold[i] for i in subset if rewards[i] == top]))
        reward.append(top)
        best.append(max(gold[i] for i in subset))
    return np.mean(picked), np.mean(reward), np.mean(best)


ANSWERS = st.lists(st.tuples(st.integers(-2, 2).map(float), st.sampled_from([0.0, 1.0])), min_size=3, max_size=7)


@given(st.lists(ANSWERS, min_size=1, max_size=4))
def test_every_point_is_the_mean_over_all_subsets(drawn):
    rewards, gold = ([[answer[side] for answer in row] for row in drawn] for side in (0, 1))
    found = curve(rewards, gold, resamples=20)
    kept = [i for i, row in enumerate(drawn) if len(row) >= found.answers]
    assert (found.rows, found.left_out) == (len(kept), len(drawn) - len(kept))
    for point in found.points:
        expected = np.mean([by_counting(rewards[i], gold[i], point.n) for i in kept], axis=0)
        assert (point.gold, point.reward, point.oracle) == pytest.approx(tuple(expected), abs=1e-9)
        assert point.random == pytest.approx(np.mean([np.mean(gold[i]) for i in kept]))
        assert point.gold_low - 1e-9 <= point.gold <= point.gold_high + 1e-9


@given(st.integers(1, 40), st.data())
def test_pick_probabilities_are_the_ratio_of_binomials(k, data):
    n = data.draw(st.integers(1, k))
    expected = [math.comb(j - 1, n - 1) / math.comb(k, n) for j in range(1, k + 1)]
    assert pick_probabilities(k, [n])[0] == pytest.approx(expected, abs=1e-12)


def test_pick_probabilities_of_many_answers_are_sound():
    found = pick_probabilities(2000, [1, 1000, 2000])
    assert found.sum(axis=1) == pytest.approx([1, 1, 1])
    assert found[0] == pytest.approx(np.full(2000, 1 / 2000))
    assert found[2][-1] == pytest.approx(1)


def test_four_answers_by_hand():
    # rewards 1 < 2 < 3 < 4, gold 0 0 1 0: the pick is right where the third is best
    found = curve([[3, 1, 4, 2]], [[1, 0, 0, 0]])
    assert [point.gold for point in found.points] == pytest.approx([1 / 4, 2 / 6, 1 / 4, 0])
    assert [point.reward for point in found.points] == pytest.approx([2.5, (2 + 3 * 2 + 4 * 3) / 6, 3.75, 4])
    assert [point.oracle for point in found.points] == pytest.approx([1 / 4, 1 / 2, 3 / 4, 1])
    assert [point.kl_bound for point in found.points] == pytest.approx(
        [0, math.log(2) - 0.5, math.log(3) - 2 / 3, math.log(4) - 0.75]
    )
    assert (found.answers, found.peak_n) == (4, 2)


def test_an_oracle_and_a_constant_scorer():
    gold = [[1, 0, 0, 0]] * 30
    best = curve(gold, gold)
    assert [point.gold for point in best.points] == pytest.approx([point.oracle for point in best.points])
    assert (best.turns_down_at, best.peak_n) == (None, 4)
    flat = curve([[7] * 4] * 30, gold)
    assert [point.gold for point in flat.points] == pytest.approx([0.25] * 4)
    assert flat.turns_down_at is None


def goodhart(rows, k=16, seed=0):
    """Quality rises with reward up to the median and falls above it: picking hard picks the exploit."""
    rng = np.random.default_rng(seed)
    rewards, gold = [], []
    for _ in range(rows):
        order = rng.permutation(k)
        rewards.append(order.astype(float))
        chance = np.where(order < k // 2, order / (k // 2), 1 - (order - k // 2) / (k // 2))
        gold.append((rng.random(k) < chance).astype(float))
    return rewards, gold, [np.mean([(j / 8) if j < 8 else 1 - (j - 8) / 8]) for j in range(k)]


def test_a_goodhart_scorer_turns_down_at_the_planted_n():
    rewards, gold, chance = goodhart(600)
    expected = [sum(c * math.comb(j, n - 1) / math.comb(16, n) for j, c in enumerate(chance)) for n in range(1, 17)]
    planted = 1 + int(np.argmax(expected))
    found = curve(rewards, gold)
    assert [point.gold for point in found.points] == pytest.approx(expected, abs=0.04)
    assert abs(found.turns_down_at - planted) <= 1
    assert (found.confidence, found.peak_n) == (1.0, found.turns_down_at)
    assert f"after n = {found.peak_n}" in found.text
    assert np.all(np.diff([point.reward for point in found.points]) > 0)


def test_a_fall_that_may_be_chance_is_not_called_one():
    rewards, gold, _ = goodhart(3)
    found = curve(rewards, gold)
    assert found.turns_down_at is None
    rng = np.random.default_rng(4)
    noise = curve(rng.normal(size=(200, 8)), (rng.random((200, 8)) < 0.5))
    assert noise.turns_down_at is None


def test_noise_is_rarely_called_over_optimised():
    called = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        called += curve(rng.normal(size=(60, 6)), rng.random((60, 6)) < 0.4).turns_down_at is not None
    assert called <= 8


def test_rows_with_fewer_answers_or_missing_rewards_are_left_out():
    gold = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    rewards = [[4, 3, 2, 1], [4, 3, 2, 1], [3, 2, 1], [4, math.nan, 2, 1], [6, 5, 4, 3, 2, 1]]
    found = curve(rewards, gold)
    assert (found.answers, found.rows, found.left_out) == (4, 3, 2)
    assert found.points[-1].oracle == pytest.approx((1 + 1 + 4 / 6) / 3)


def test_pairs_and_nothing_have_no_curve():
    assert curve([[1, 0]] * 5, [[1, 0]] * 5) is None
    assert curve([], []) is None
    assert curve([[math.nan, 1, 2]], [[1, 0, 0]]) is None


def test_rows_of_one_prompt_are_one_unit():
    rewards, gold = [[3, 2, 1]] * 10 + [[1, 2, 3]] * 10, [[1, 0, 0]] * 20
    assert curve(rewards, gold).prompts == 20
    grouped = curve(rewards, gold, prompts=np.repeat([0, 1], 10))
    assert grouped.prompts == 2
    alone = curve(rewards, gold).points[-1]
    assert grouped.points[-1].gold_high - grouped.points[-1].gold_low > 2 * (alone.gold_high - alone.gold_low)


def test_many_answers_have_few_points_from_one_to_all():
    rng = np.random.default_rng(0)
    found = curve(rng.normal(size=(4, 500)), rng.random((4, 500)) < 0.3, resamples=20)
    steps = [point.n for point in found.points]
    assert (steps[0], steps[-1], len(steps) <= 32) == (1, 500, True)
    assert steps == sorted(set(steps))


def test_gold_need_not_be_zero_or_one():
    found = curve([[1, 2, 3]] * 4, [[-5.0, 2.5, 10.0]] * 4)
    assert [point.gold for point in found.points] == pytest.approx([2.5, (2.5 + 2 * 10) / 3, 10])


def test_gold_of_a_row_is_one_for_chosen():
    assert gold_of([EvalRow("1", "all", (), ((), ()), ((),))])[0].tolist() == [1.0, 1.0, 0.0]
