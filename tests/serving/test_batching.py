"""Which texts make a batch, and when an idle server waits for company."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.serving.engine import Prepared
from rewardsmith.serving.queue import BLOCK, COMPANY_SECONDS, Company, Pace, choose_batch, prefix_blocks


def text(*ids: int) -> Prepared:
    ids_T = np.array(ids, dtype=np.int32)
    return Prepared(ids_T, len(ids_T), ids_T.tobytes(), prefix_blocks(ids_T))


def numbers(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


def test_a_block_names_its_tokens_and_all_before() -> None:
    one = prefix_blocks(np.array(numbers(0, 3 * BLOCK + 5), dtype=np.int32))
    same = prefix_blocks(np.array(numbers(0, 2 * BLOCK) + numbers(500, 2 * BLOCK), dtype=np.int32))
    shifted = prefix_blocks(np.array([9, *numbers(0, 3 * BLOCK)], dtype=np.int32))
    assert len(one) == 3
    assert one[:2] == same[:2]
    assert one[2] != same[2]
    assert set(one).isdisjoint(shifted)


def test_samples_of_one_prompt_are_charged_once_for_it() -> None:
    prompt = numbers(0, 2 * BLOCK)
    samples = [text(*prompt, *numbers(1000 * (i + 1), 10)) for i in range(8)]
    taken, tokens = choose_batch(samples, budget=2 * BLOCK + 8 * 10)
    assert taken == list(range(8))
    assert tokens == 2 * BLOCK + 8 * 10
    apart = [text(*numbers(10_000 * (i + 1), 2 * BLOCK + 10)) for i in range(8)]
    assert choose_batch(apart, budget=2 * BLOCK + 8 * 10) == ([0], 2 * BLOCK + 10)


def test_an_equal_text_costs_nothing() -> None:
    assert choose_batch([text(1, 2, 3)] * 5, budget=3) == ([0, 1, 2, 3, 4], 3)


def test_the_oldest_is_taken_however_long_and_shorter_ones_pass_a_long_one() -> None:
    long, short = text(*numbers(0, 100)), text(7, 8, 9)
    assert choose_batch([long, short], budget=50) == ([0], 100)
    assert choose_batch([short, long, short], budget=50) == ([0, 2], 3)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=100), min_size=1, max_size=20), st.integers(1, 400))
def test_a_batch_never_costs_more_than_its_budget_nor_less_than_its_distinct_tokens(
    drawn: list[list[int]], budget: int
) -> None:
    waiting = [text(*ids) for ids in drawn]
    taken, tokens = choose_batch(waiting, budget)
    assert taken[0] == 0
    assert taken == sorted(set(taken))
    assert len(taken) == 1 or tokens <= budget
    # A trie over whole texts is the least that any layout can compute.
    trie = {tuple(drawn[index][: end + 1]) for index in taken for end in range(len(drawn[index]))}
    assert len(trie) <= tokens <= sum(len(drawn[index]) for index in taken)


def test_the_budget_follows_the_pace() -> None:
    pace = Pace(most=16384, seconds=1.0)
    assert pace.budget() == 1024
    pace.observe(5000, 1.0)
    assert pace.budget() == 5000
    assert pace.seconds(10_000) == 2.0
    pace.observe(0, 1.0)
    pace.observe(10_000, 1.0)
    assert pace.budget() == 6000  # 0.8 × 5,000 + 0.2 × 10,000
    pace.observe(10**9, 1.0)
    assert pace.budget() == 16384
    slow = Pace(most=16384)
    slow.observe(10, 1.0)
    assert slow.budget() == 1024
    assert Pace(most=100).budget() == 100


def test_an_idle_server_waits_only_after_texts_came_together_and_forgets() -> None:
    company = Company()
    assert company.seconds() == 0.0
    company.learn(came=False)
    assert company.seconds() == 0.0
    company.learn(came=True)
    for _ in range(3):
        assert company.seconds() == COMPANY_SECONDS
        company.learn(came=False)
    assert company.seconds() == 0.0
