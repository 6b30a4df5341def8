"""PPE's leaderboard: ratings against an independent maximum of the likelihood, each metric against its definition."""

import json
import math

import numpy as np
import pytest
from scipy import optimize

from rewardsmith.evaluation import find_benchmark, score_rows
from rewardsmith.evaluation.benchmarks.ppe import NAMES, Battles, bradley_terry_ratings, leaderboard_metrics

PPE = find_benchmark("ppe")
STRENGTHS = {"a": 3.0, "b": 1.5, "c": 0.0, "d": -1.5}


def planted(count, seed, sign=1.0, noise=0.0):
    """Battles decided by the strengths, and margins of a reward model that sees strengths (times `sign`) with noise."""
    generator = np.random.default_rng(seed)
    names = list(STRENGTHS)
    won, lost, margins = [], [], []
    for _ in range(count):
        one, two = generator.choice(names, 2, replace=False).tolist()
        if generator.random() > 1 / (1 + math.exp(STRENGTHS[two] - STRENGTHS[one])):
            one, two = two, one
        won.append(one)
        lost.append(two)
        margins.append(sign * (STRENGTHS[one] - STRENGTHS[two]) + noise * generator.normal())
    return Battles(won, lost, np.array(margins))


def test_ratings_are_the_maximum_of_the_likelihood():
    wins = np.array([[0, 7, 9.0], [3, 0, 4.5], [1, 0.5, 0]])
    with_prior = wins + 0.5 * (1 - np.eye(3))

    def loss(rating):
        return sum(
            with_prior[i, j] * np.logaddexp(0, rating[j] - rating[i]) for i in range(3) for j in range(3) if i != j
        )

    wanted = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-10}).x
    found = bradley_terry_ratings(wins[None])[0]
    np.testing.assert_allclose(found, wanted - wanted.mean(), atol=1e-5)


def test_a_reward_model_that_sees_the_strengths_rebuilds_the_ranking():
    found = leaderboard_metrics(planted(3000, 1))
    assert (found["spearman"], found["kendall"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (found["separability"], found["confidence_agreement"]) == (1.0, 1.0)
    assert found["brier"] < 1e-6
    assert found["row_pearson"] > 0.9


def test_one_that_sees_them_upside_down_gets_the_opposite():
    found = leaderboard_metrics(planted(3000, 1, sign=-1.0))
    assert (found["spearman"], found["kendall"]) == (pytest.approx(-1.0), pytest.approx(-1.0))
    assert (found["confidence_agreement"], found["brier"]) == (-1.0, pytest.approx(1.0, abs=1e-6))


def test_one_that_guesses_separates_little_and_agrees_with_nobody():
    found = leaderboard_metrics(planted(400, 2, sign=0.0, noise=1.0))
    assert abs(found["confidence_agreement"]) < 0.7
    assert 0.05 < found["brier"] < 0.95


def test_missing_rewards_are_left_out_and_two_models_have_no_ranking():
    whole = planted(500, 3)
    holes = Battles([*whole.won, "a"], [*whole.lost, "d"], np.append(whole.margins, np.nan))
    assert leaderboard_metrics(holes) == leaderboard_metrics(whole)
    assert leaderboard_metrics(Battles(["a", "b"], ["b", "a"], np.array([1.0, 1.0]))) == dict.fromkeys(NAMES)
    equal = leaderboard_metrics(Battles(whole.won, whole.lost, np.zeros(500)))
    assert (equal["separability"], equal["confidence_agreement"]) == (0.0, 0.0)


def test_metrics_of_the_benchmark_by_category_and_by_source_model(tmp_path):
    battles = planted(300, 4)
    lines = [
        {"question_id": f"h{n}", "prompt": f"q{n}", "response_1": "one", "response_2": "two",
         "model_a": won, "model_b": lost, "winner": "model_a", "hard_prompt": n % 3 == 0, "is_code": n % 2 == 0}
        for n, (won, lost) in enumerate(zip(battles.won, battles.lost, strict=True))
    ]  # fmt: skip
    graded = [
        {"question_id": n, "model_name": model, "prompt": f"g{n}", "scores": [True, False], "response_1": "r",
         "response_2": "w", "sampled_conflict_pairs": [[0, 1]], "benchmark": benchmark}
        for n, (model, benchmark) in enumerate(
            [("x", "math_best_of_k"), ("x", "math_best_of_k"), ("x", "gpqa_best_of_k"), ("y", "gpqa_best_of_k")])
    ]  # fmt: skip
    (tmp_path / "ppe.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines + graded))
    rows = PPE.load(str(tmp_path / "ppe.jsonl"), None)
    rewards = [np.array([margin, 0.0]) for margin in battles.margins]
    rewards += [np.array(pair, dtype=float) for pair in ((1, 0), (0, 1), (1, 0), (0, 0))]
    found = score_rows(PPE, rows, rewards, seed=1, resamples=100).result.metrics
    hard = [margin for n, margin in enumerate(battles.margins) if n % 3 == 0]
    assert found["human_preference_v1_hard_prompt_accuracy"] == pytest.approx(np.mean(np.array(hard) > 0))
    every = leaderboard_metrics(battles)
    assert {name: found[f"human_preference_v1_{name}"] for name in NAMES} == every
    ratings = {name: found[f"human_preference_v1_is_code_{name}"] for name in NAMES}
    code = Battles(battles.won[::2], battles.lost[::2], battles.margins[::2])
    assert ratings == leaderboard_metrics(code)
    assert found["math_best_of_k_accuracy_x"] == 0.5
    assert (found["gpqa_best_of_k_accuracy_x"], found["gpqa_best_of_k_accuracy_y"]) == (1.0, 0.0)
    assert (found["correctness_accuracy_x"], found["correctness_accuracy_y"]) == (0.75, 0.0)
