"""What length and words alone score: near chance on the embedded samples, high where a giveaway is planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from rewardsmith.samples.baselines import (
    RIDGE,
    bag_of_words_cross_fitted,
    bag_of_words_rewards,
    fit_bag_of_words,
    longer_wins_rewards,
)
from rewardsmith.samples.generator import CATEGORIES, best_of_n_rows, preference_pairs


@pytest.fixture(scope="module")
def train_texts():
    return [(p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in preference_pairs("train", seed=0)]


def pair_accuracy(rewards: list[np.ndarray]) -> float:
    """The share of rows whose first reward is above the second; equal rewards count as half."""
    return float(np.mean([0.5 * (1.0 + np.sign(row[0] - row[1])) for row in rewards]))


def best_of_n_score(rewards: list[np.ndarray]) -> float:
    """RewardBench 2's score of rows with one right answer, the first: 1/m where it is among m equal maxima, else 0."""
    return float(np.mean([(row[0] == row.max()) / np.count_nonzero(row == row.max()) for row in rewards]))


def responses_of(subset: str, seed: int = 0):
    rows = [row for row in best_of_n_rows(seed=seed) if row["subset"] == subset]
    return [[*row["chosen"], *row["rejected"]] for row in rows], [row["num_correct"] for row in rows]


@pytest.mark.parametrize("subset", [name for name in CATEGORIES if name != "Ties"])
def test_length_and_words_score_chance(subset: str, train_texts) -> None:
    responses, n_chosen = responses_of(subset)
    for rewards in (
        longer_wins_rewards(responses),
        bag_of_words_rewards(train_texts, responses),
        bag_of_words_cross_fitted(responses, n_chosen),
    ):
        assert best_of_n_score(rewards) == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("seed", [0, 17])
def test_length_and_words_do_not_find_the_tied_answers(seed: int, train_texts) -> None:
    responses, n_chosen = responses_of("Ties", seed)
    for rewards in (
        longer_wins_rewards(responses),
        bag_of_words_rewards(train_texts, responses),
        bag_of_words_cross_fitted(responses, n_chosen),
    ):
        found = {1: [], 3: []}
        for row, n in zip(rewards, n_chosen, strict=True):
            found[n].append(row[:n].min() > row[n:].max())
        # Chance is 1/4 for a single answer and 1/20 for three of six.
        assert np.mean(found[1]) <= 0.35
        assert np.mean(found[3]) <= 0.15


@pytest.mark.parametrize("subset", CATEGORIES)
def test_held_out_pairs_are_a_coin_toss_for_length_and_words(subset: str, train_texts) -> None:
    held_out = [p for p in preference_pairs("held_out", seed=0) if p["subset"] == subset]
    responses = [[p["chosen"][0]["content"], p["rejected"][0]["content"]] for p in held_out]
    assert pair_accuracy(longer_wins_rewards(responses)) == pytest.approx(0.5, abs=1e-12)
    assert pair_accuracy(bag_of_words_rewards(train_texts, responses)) == pytest.approx(0.5, abs=1e-12)


def test_a_planted_word_is_found() -> None:
    pairs = [(f"good answer {i}", f"bad answer {i}") for i in range(20)]
    responses = [[f"bad {i}", f"good {i}", f"bad {i + 1}"] for i in range(30)]
    rewards = bag_of_words_rewards(pairs, [[row[1], row[0], row[2]] for row in responses])
    assert best_of_n_score(rewards) == 1.0


def test_a_planted_word_in_the_benchmark_itself_is_found() -> None:
    responses = [[f"fine {i}", f"poor {i}", f"poor {i} too"] for i in range(25)]
    assert best_of_n_score(bag_of_words_cross_fitted(responses, [1] * 25)) == 1.0


def test_planted_length_is_found() -> None:
    responses = [["a long answer", "short", "brief"]] * 8
    assert best_of_n_score(longer_wins_rewards(responses)) == 1.0


def test_the_fit_is_a_minimum_of_the_penalised_likelihood() -> None:
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "cold"]
    pairs = [(" ".join(rng.choice(words, 3)), " ".join(rng.choice(words, 3))) for _ in range(60)]
    reward = fit_bag_of_words(pairs)
    weights = np.array([reward(word) for word in words])
    differences = np.array(
        [[chosen.split().count(w) - rejected.split().count(w) for w in words] for chosen, rejected in pairs]
    )

    def loss(w: np.ndarray) -> float:
        return float(np.log1p(np.exp(-differences @ w)).mean() + RIDGE / 2 * w @ w)

    assert approx_fprime(weights, loss, 1e-7) == pytest.approx(np.zeros(4), abs=1e-4)
    assert reward("red green red") == pytest.approx(2 * weights[0] + weights[1], abs=1e-8)
    assert reward("unknown") == 0.0
