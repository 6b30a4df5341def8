"""Orders of candidates: drawn, balanced, independent of when they are asked; and several readings as one verdict."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.judging.judge import agree, balanced_orders, best_answer, drawn_order, first_better, rating, rotated

ROWS = st.dictionaries(st.text(max_size=8), st.integers(2, 6), max_size=40)


@given(ROWS, st.integers(0, 5))
def test_each_answer_stands_at_each_place_equally_often(rows: dict[str, int], seed: int) -> None:
    orders = balanced_orders(seed, rows)
    assert list(orders) == list(rows)
    for answers in set(rows.values()):
        own = [orders[name] for name, n in rows.items() if n == answers]
        assert all(sorted(order) == list(range(answers)) for order in own)
        for place in range(answers):
            counts = Counter(order[place] for order in own)
            found = [counts[answer] for answer in range(answers)]
            assert max(found) - min(found) <= 1


@given(ROWS, st.randoms())
def test_orders_do_not_depend_on_the_order_of_the_rows(rows: dict[str, int], random: object) -> None:
    names = list(rows)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert balanced_orders(3, {name: rows[name] for name in names}) == balanced_orders(3, rows)


def test_another_seed_draws_other_orders() -> None:
    rows = {str(number): 4 for number in range(40)}
    assert balanced_orders(1, rows) != balanced_orders(2, rows)
    assert {drawn_order(1, str(number), 4) for number in range(200)} == {
        drawn_order(2, str(number), 4) for number in range(200)
    }  # all 24 of them, both times
    assert drawn_order(1, "a", 4) == drawn_order(1, "a", 4)


@given(st.integers(1, 7))
def test_all_rotations_put_each_answer_at_each_place_once(answers: int) -> None:
    shown = [rotated(tuple(range(answers)), by) for by in range(answers)]
    assert all(sorted(column) == list(range(answers)) for column in zip(*shown, strict=True))


def test_a_mean_weighs_both_orders_the_same() -> None:
    assert first_better([[1.0], [0.0, 1.0]], "mean") == 0.75  # not 2/3: the second order has more readings
    assert first_better([[0.9], [0.3]], "mean") == pytest.approx(0.6)


def test_a_majority_is_a_winner_or_a_tie() -> None:
    assert first_better([[0.9, 0.6, 0.1], [0.6, 0.7, 0.2]], "majority") == 1.0
    assert first_better([[0.9], [0.3]], "majority") == 0.5
    assert first_better([[0.1], [0.5]], "majority") == 0.0


def test_orders_agree_where_they_name_the_same() -> None:
    assert agree([0.9], [0.6], "mean")
    assert agree([0.5], [0.5], "mean")
    assert not agree([0.9], [0.4], "mean")
    assert not agree([0.9], [0.5], "mean")
    assert agree([0.9, 0.9, 0.1], [0.6, 0.6, 0.0], "majority")


def test_the_best_of_several_answers() -> None:
    shares = [{0: 0.6, 1: 0.4}, {0: 0.6, 1: 0.4}, {0: 0.0, 1: 1.0}]
    assert best_answer(shares, (0, 1), "mean") == 1
    assert best_answer(shares, (0, 1), "majority") == 0
    assert [best_answer([{0: 0.5, 1: 0.5}], order, "mean") for order in ((0, 1), (1, 0))] == [0, 1]


def test_ratings() -> None:
    assert rating([7, 8, 8], "mean") == pytest.approx(23 / 3)
    assert rating([7, 8, 8], "majority") == 8
    assert rating([6, 8], "majority") == 7


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=2))
def test_swapping_the_responses_turns_the_verdict_round(values: list[list[float]]) -> None:
    turned = [[1 - value for value in order] for order in values]
    assert first_better(turned, "mean") == pytest.approx(1 - first_better(values, "mean"))
