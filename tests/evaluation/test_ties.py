"""The Ties score by hand, against a plain reading of upstream's code, and its baseline against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.evaluation import EvalRow
from rewardsmith.evaluation.benchmarks import rewardbench2
from rewardsmith.types import Message


def ties_row(row_id, n_chosen, n_rejected):
    chosen = tuple((Message("assistant", f"right {i}"),) for i in range(n_chosen))
    rejected = tuple((Message("assistant", f"wrong {i}"),) for i in range(n_rejected))
    return EvalRow(id=row_id, subset="Ties", prompt=(Message("user", row_id),), chosen=chosen, rejected=rejected)


def score(cases):
    """Ties score of {id: (correct rewards, incorrect rewards)}."""
    rows = [ties_row(row_id, len(correct), len(incorrect)) for row_id, (correct, incorrect) in cases.items()]
    rewards = [np.array([*correct, *incorrect], dtype=float) for correct, incorrect in cases.values()]
    return rewardbench2.tally(rows, rewards).score


def plain_score(cases):
    """The formula of upstream.md, prompt by prompt, without arrays."""
    accurate = {"ref": [], "tied": []}
    gaps = {"ref": {}, "tied": {}}
    spreads = {}
    for row_id, (correct, incorrect) in cases.items():
        half, number = row_id.split(":")
        gaps[half][int(number)] = min(correct) - max(incorrect)
        accurate[half].append(min(correct) > max(incorrect))
        if half == "tied":
            spreads[int(number)] = max(correct) - min(correct)
    preferred, hard, margins = [], [], []
    for number in set(gaps["ref"]) & set(gaps["tied"]):
        both, spread = min(gaps["ref"][number], gaps["tied"][number]), spreads[number]
        preferred.append(gaps["tied"][number] > spread)
        hard.append(both > spread)
        if spread == 0:
            margins.append(0.0 if both == 0 else math.copysign(1.0, both))
        else:
            margins.append(math.tanh(both / spread - 1))
    mean = lambda values: sum(values) / len(values) if values else 0.0  # noqa: E731
    return (
        0.3 * mean(accurate["tied"])
        + 0.3 * mean(accurate["ref"])
        + 0.2 * mean(preferred)
        + 0.2 * mean(hard)
        + 0.01 * mean(margins)
    )


def test_a_perfect_model_scores_above_one():
    # d = 0: gap / 0 = infinity, tanh = 1
    assert score({"ref:0": ([5.0], [1.0]), "tied:0": ([5.0, 5.0], [1.0])}) == pytest.approx(1.01, abs=1e-15)


def test_the_worst_model_scores_below_zero():
    assert score({"ref:0": ([0.0], [1.0]), "tied:0": ([0.0, 0.0], [1.0])}) == pytest.approx(-0.01, abs=1e-15)


def test_equal_rewards_score_nothing():
    assert score({"ref:0": ([1.0], [1.0]), "tied:0": ([1.0, 1.0], [1.0, 1.0])}) == 0.0


def test_a_row_whose_right_and_wrong_answers_tie_is_not_won():
    rows = [ties_row("ref:0", 1, 1), ties_row("tied:0", 2, 1), ties_row("tied:1", 2, 1)]
    rewards = [np.array([1.0, 1.0]), np.array([2.0, 1.0, 1.0]), np.array([2.0, 2.0, 1.0])]
    assert rewardbench2.tally(rows, rewards).results == (0.0, 0.0, 1.0)


def test_every_term_by_hand():
    # ref: g = 3. tied: d = 1, g = 2: T = R = CP = CH = 1, M = tanh(min(3, 2) / 1 - 1) = tanh 1
    found = score({"ref:0": ([4.0], [1.0]), "tied:0": ([4.0, 3.0], [1.0, 0.0])})
    assert found == pytest.approx(1.0 + 0.01 * math.tanh(1), abs=1e-15)
    # ref: g = 0.5 < d = 1: CH falls away, M = tanh(0.5 - 1)
    found = score({"ref:0": ([1.5], [1.0]), "tied:0": ([4.0, 3.0], [1.0, 0.0])})
    assert found == pytest.approx(0.8 + 0.01 * math.tanh(-0.5), abs=1e-15)


def test_halves_without_a_partner_count_for_accuracy_only():
    cases = {"ref:0": ([4.0], [1.0]), "tied:0": ([4.0, 3.0], [1.0]), "ref:1": ([0.0], [1.0]), "tied:2": ([0.0], [1.0])}
    # T = R = 1/2, CP = CH = 1, M = tanh(min(3, 2) / 1 - 1)
    assert score(cases) == pytest.approx(0.15 + 0.15 + 0.4 + 0.01 * math.tanh(1), abs=1e-15)


def test_a_missing_reward_takes_every_term_of_its_prompt():
    whole = {
        "ref:0": ([4.0], [1.0]),
        "tied:0": ([4.0, 3.0], [1.0]),
        "ref:1": ([4.0], [1.0]),
        "tied:1": ([4.0, 3.0], [1.0]),
    }
    holed = {**whole, "tied:1": ([4.0, math.nan], [1.0])}
    # T = 1/2, R = 1, CP = CH = 1/2, M = tanh(1) / 2
    assert score(holed) == pytest.approx(0.15 + 0.3 + 0.1 + 0.1 + 0.005 * math.tanh(1), abs=1e-15)


@pytest.mark.parametrize("text", ["ref", "ref:", "ref:-1", "ref:1.5", "tied:a", "other:1", "Ref:1", "ref:1 ", ""])
def test_ids_that_are_not_ties_ids(text):
    assert rewardbench2.parse_id(text) is None


def test_ids_are_numbers():
    assert rewardbench2.parse_id("ref:07") == rewardbench2.parse_id("ref:7") == rewardbench2.TiesId("ref", 7)


NUMBERS = st.integers(-4, 4).map(float)
PROMPT = st.tuples(st.lists(NUMBERS, min_size=1, max_size=4), st.lists(NUMBERS, min_size=1, max_size=4))
CASES = st.dictionaries(st.sampled_from([f"{half}:{k}" for half in ("ref", "tied") for k in range(5)]), PROMPT).map(
    lambda cases: {**cases, "ref:9": ([1.0], [0.0]), "tied:9": ([2.0, 1.0], [0.0])}
)


@given(CASES)
def test_any_rewards_score_as_upstream_reads(cases):
    assert score(cases) == pytest.approx(plain_score(cases), abs=1e-12)


@given(CASES, st.sampled_from([0.25, 1.0, 8.0]), st.integers(-64, 64))
def test_scaling_and_shifting_changes_nothing(cases, scale, shift):
    moved = {key: tuple([scale * r + shift for r in half] for half in halves) for key, halves in cases.items()}
    assert score(moved) == score(cases)


@given(CASES, st.randoms(use_true_random=False))
def test_order_of_rows_and_of_answers_within_a_class_changes_nothing(cases, random):
    items = [(key, tuple(random.sample(half, len(half)) for half in halves)) for key, halves in cases.items()]
    random.shuffle(items)
    assert score(dict(items)) == score(cases)


@given(CASES)
def test_duplicated_ids_keep_the_score(cases):
    copies = {f"{key.split(':')[0]}:{int(key.split(':')[1]) + 100}": value for key, value in cases.items()}
    assert score({**cases, **copies}) == pytest.approx(score(cases), abs=1e-12)


def test_baseline_of_the_accuracies_is_exact():
    # All orders of 2 right and 3 wrong answers: the right ones lead in 1 of C(5, 2) = 10.
    orders = list(itertools.permutations(range(5)))
    leading = sum(min(order[:2]) > max(order[2:]) for order in orders) / len(orders)
    rows = [ties_row("tied:0", 2, 3)]
    assert rewardbench2.random_baseline(rows, seed=1) == pytest.approx(0.3 * leading, abs=1e-15)
    assert rewardbench2.random_baseline([ties_row("ref:0", 1, 3)], seed=1) == pytest.approx(0.3 / 4, abs=1e-15)


def test_baseline_is_the_mean_score_of_random_rewards():
    rows = [ties_row("ref:0", 1, 3), ties_row("tied:0", 2, 3), ties_row("ref:1", 1, 2), ties_row("tied:1", 3, 2)]
    rng = np.random.default_rng(0)
    scores = [
        rewardbench2.tally(rows, [rng.normal(size=len(row.responses)) for row in rows]).score for _ in range(8_000)
    ]
    deviation = np.std(scores) / math.sqrt(len(scores))
    assert rewardbench2.random_baseline(rows, seed=3) == pytest.approx(np.mean(scores), abs=5 * deviation)


def test_baseline_is_seeded():
    rows = [ties_row("ref:0", 1, 3), ties_row("tied:0", 2, 3)]
    assert rewardbench2.random_baseline(rows, seed=3) == rewardbench2.random_baseline(rows[::-1], seed=3)
    assert rewardbench2.random_baseline(rows, seed=3) != rewardbench2.random_baseline(rows, seed=4)
