"""How rewards are distributed: chosen beside rejected, within prompts, and what is flagged."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.evaluation import EvalRow
from rewardsmith.evaluation.distribution import answers_of, centred, ranks_within, summarise_rewards, within_prompt
from rewardsmith.types import Message


def row(number, n_chosen=1, n_rejected=1, prompt=None):
    texts = [f"{number} answer {place}" for place in range(n_chosen + n_rejected)]
    responses = tuple((Message("assistant", text),) for text in texts)
    asked = (Message("user", str(number if prompt is None else prompt)),)
    return EvalRow(str(number), "all", asked, responses[:n_chosen], responses[n_chosen:])


def summary(rows, rewards):
    return summarise_rewards(rows, [np.array(reward, dtype=float) for reward in rewards])


def codes(found):
    return [flag.code for flag in found.flags]


def test_chosen_and_rejected_by_hand():
    found = summary([row(0), row(1, 2, 1)], [(1.0, -1.0), (2.0, 6.0, math.nan)])
    assert (found.chosen.n, found.chosen.mean, found.chosen.median) == (3, 3.0, 2.0)
    assert found.chosen.std == pytest.approx(math.sqrt((4 + 1 + 9) / 3))
    assert (found.rejected.n, found.rejected.mean, found.rejected.std) == (1, -1.0, 0.0)


def test_the_spread_within_prompts_by_hand():
    # prompts: {0, 2} std 1, {10, 10, 10} std 0, {5} alone and left out
    found = summary([row(0), row(1, 1, 2), row(2)], [(0, 2), (10, 10, 10), (5, math.nan)]).within_prompt
    assert (found.prompts, found.std_mean, found.std_median) == (2, 0.5, 0.5)
    assert (found.flat, found.flat_share) == (1, 0.5)
    rewards = np.array([0, 2, 10, 10, 10])
    assert found.variance_share == pytest.approx(2 / ((rewards - rewards.mean()) ** 2).sum())


def test_pairs_of_one_prompt_are_one_prompt_and_a_repeated_answer_counts_once():
    first = row(0, prompt="p")
    again = EvalRow("again", "all", first.prompt, first.chosen, row(1).rejected)
    found = within_prompt(answers_of([first, again], [np.array([1.0, 2.0]), np.array([1.0, 3.0])]))
    assert (found.prompts, found.std_mean) == (1, pytest.approx(math.sqrt(2 / 3)))


def test_rows_without_a_prompt_are_prompts_of_their_own():
    alone = [EvalRow(str(i), "all", (), row(i).chosen, row(i).rejected) for i in range(3)]
    assert within_prompt(answers_of(alone, [np.array([0.0, 1.0])] * 3)).prompts == 3


def test_nothing_to_compare_gives_no_numbers():
    found = summary([row(0, 1, 0)], [(1.0,)])
    assert found.within_prompt.prompts == 0
    assert (found.within_prompt.std_mean, found.within_prompt.variance_share) == (None, None)
    assert (found.rejected, found.flags) == (None, ())
    nothing = summary([row(0)], [(math.nan, math.nan)])
    assert (nothing.chosen, nothing.within_prompt, nothing.flags) == (None, None, ())


def test_a_collapsed_model_is_flagged():
    rows = [row(i) for i in range(50)]
    found = summary(rows, [(0.1, 0.1)] * 50)
    assert codes(found) == ["collapsed", "flat_within_prompt"]
    assert found.flags[0].text == "All 100 rewards are the same."
    assert (found.within_prompt.flat, found.within_prompt.variance_share) == (50, None)
    rng = np.random.default_rng(0)
    half = [(0.0, 0.0) if i % 2 else rng.normal(size=2) for i in range(50)]
    assert codes(summary(rows, half)) == ["collapsed", "flat_within_prompt"]


def test_a_saturated_model_is_flagged_at_the_end_where_it_is():
    rows, rng = [row(i) for i in range(100)], np.random.default_rng(1)
    clipped = [np.minimum(pair, 1.0) for pair in rng.normal(size=(100, 2))]
    found = summary(rows, clipped)
    assert codes(found) == ["saturated"]
    assert "exactly the highest one, 1:" in found.flags[0].text
    assert codes(summary(rows, [np.clip(pair, -1, 1) for pair in rng.normal(size=(100, 2))])) == ["saturated"] * 2


def test_probabilities_are_flagged():
    rows, rng = [row(i) for i in range(60)], np.random.default_rng(2)
    assert codes(summary(rows, list(rng.uniform(0.01, 0.99, (60, 2))))) == ["probabilities"]


def test_a_reward_that_rates_the_prompt_is_flagged():
    rows, rng = [row(i) for i in range(60)], np.random.default_rng(3)
    rewards = [10 * rng.normal() + rng.normal(size=2) for _ in rows]
    found = summary(rows, rewards)
    assert codes(found) == ["between_prompts"]
    within = sum(((pair - pair.mean()) ** 2).sum() for pair in rewards)
    assert found.within_prompt.variance_share == pytest.approx(within / (np.var(rewards) * 120))


def test_a_sound_model_is_not_flagged():
    rng = np.random.default_rng(4)
    assert codes(summary([row(i) for i in range(200)], list(rng.normal(size=(200, 2))))) == []


def test_rounding_is_no_spread():
    # 0.1 + 0.2 differs from 0.3 by one unit in the last place: flat, beside prompts that differ
    rows = [row(i, 1, 2) for i in range(3)]
    found = summary(rows, [(0.1 + 0.2, 0.3, 0.3), (0, 1, 2), (5, 6, 7)]).within_prompt
    assert found.flat == 1
    assert found.variance_share <= 1


GROUPED = st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 5).map(float)), max_size=30)


@given(GROUPED)
def test_ranks_and_centred_values_are_those_of_each_group_alone(drawn):
    groups = np.array([group for group, _ in drawn], dtype=np.int64)
    values = np.array([value for _, value in drawn], dtype=float)
    ranks, apart = ranks_within(values, groups), centred(values, groups)
    for group in set(groups.tolist()):
        own = values[groups == group]
        expected = [1 + (own < value).sum() + ((own == value).sum() - 1) / 2 for value in own]
        assert ranks[groups == group].tolist() == expected
        assert apart[groups == group] == pytest.approx(own - own.mean())


@given(GROUPED, st.integers(-100, 100))
def test_shifts_of_a_prompt_keep_its_spread(drawn, shift):
    rows = [row(i, 1, 2) for i in range(len(drawn))]
    rewards = [np.array([value, value + group, 2 * value]) for group, value in drawn]
    moved = [reward + shift * place for place, reward in enumerate(rewards)]
    one, other = (within_prompt(answers_of(rows, some)) for some in (rewards, moved))
    assert one.std_mean == (None if not drawn else pytest.approx(other.std_mean, abs=1e-9))
