"""How far an epoch is: by tokens, from the first micro-batch on, whatever the layout computes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.modeling.layouts import PairIds
from rewardsmith.training.progress import EpochClock, EpochProgress, pair_tokens


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pair_counts_what_it_shares_once() -> None:
    ids = [
        PairIds(np.array([1, 2, 3, 4]), np.array([1, 2, 9])),  # 4 + 3 - 2
        PairIds(np.array([5]), np.array([6, 7])),  # nothing shared
        PairIds(np.array([1, 2]), np.array([1, 2, 3])),  # one is the beginning of the other
    ]
    assert pair_tokens(ids).tolist() == [5, 3, 3]


def test_the_time_left_follows_tokens_and_not_steps() -> None:
    """Two steps: pairs of 10 and 30 tokens, then one of 160. A quarter of step 1 is a twentieth of the epoch."""
    told: list[EpochProgress] = []
    clock = Clock()
    epoch = EpochClock(np.array([10, 30, 160]), 2, told.append, clock=clock)
    epoch.begin_step(0, [0, 1], micro_batches=2)
    assert told == [EpochProgress(0, 2, 0, 2)]  # at once, before anything is computed
    clock.now = 1.0
    epoch.micro_batch([0], tokens=20)  # padded: twice the tree's tokens
    assert told[-1] == EpochProgress(0, 2, 1, 2, tokens_per_second=20.0, seconds_left=19.0)  # 190 more at 10 a second
    assert told[-1].share == 0.5
    clock.now = 4.0
    epoch.micro_batch([1], tokens=60)
    clock.now = 6.0  # the optimizer's own time counts
    epoch.end_step()
    assert told[-1] == EpochProgress(1, 2, 0, 0, tokens_per_second=80 / 6, seconds_left=pytest.approx(6.0 * 160 / 40))
    epoch.begin_step(1, [2], micro_batches=1)
    clock.now = 30.0
    epoch.micro_batch([2], tokens=320)
    assert told[-1].seconds_left == 0.0


def test_a_resumed_epoch_counts_what_is_left_of_it() -> None:
    clock = Clock()
    epoch = EpochClock(np.array([50, 50, 10, 40]), 4, None, clock=clock)
    epoch.skip([0, 1], 2)
    assert epoch.now() == EpochProgress(2, 4)
    epoch.begin_step(2, [2], micro_batches=1)
    clock.now = 2.0
    epoch.micro_batch([2], tokens=10)
    assert epoch.now().seconds_left == pytest.approx(8.0)  # 40 of 50 tokens are left: four times as long


def test_processes_that_share_a_step_count_together() -> None:
    clock = Clock()
    epoch = EpochClock(np.array([10, 10, 10, 10]), 1, None, processes=2, clock=clock)
    epoch.begin_step(0, [0, 1, 2, 3], micro_batches=2)
    clock.now = 1.0
    epoch.micro_batch([0], tokens=10)
    assert epoch.now() == EpochProgress(0, 1, 1, 2, tokens_per_second=20.0, seconds_left=1.0)


def test_reports_come_at_most_four_times_a_second() -> None:
    told: list[EpochProgress] = []
    clock = Clock()
    epoch = EpochClock(np.ones(1000, dtype=np.int64), 1, told.append, clock=clock)
    epoch.begin_step(0, list(range(1000)), micro_batches=1000)
    for pair in range(1000):
        clock.now = (pair + 1) / 1000
        epoch.micro_batch([pair], tokens=1)
    assert len(told) == 2 + 3  # the beginning, the first micro-batch, then a quarter of a second apart


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=4), min_size=1, max_size=5))
def test_at_an_even_speed_the_estimate_is_right_at_every_micro_batch(steps: list[list[int]]) -> None:
    tokens = [size for step in steps for size in step]
    clock, met = Clock(), 0
    epoch = EpochClock(np.array(tokens), len(steps), None, clock=clock)
    shares = []
    for number, step in enumerate(steps):
        epoch.begin_step(number, list(range(met, met + len(step))), micro_batches=len(step))
        for size in step:
            clock.now += 0.1 * size
            epoch.micro_batch([met], tokens=3 * size)
            met += 1
            assert epoch.now().seconds_left == pytest.approx(0.1 * sum(tokens[met:]), abs=1e-6)
            assert epoch.now().tokens_per_second == pytest.approx(30.0)
            shares.append(epoch.now().share)
        epoch.end_step()
    assert all(one < other for one, other in pairwise(shares))
    assert epoch.now().step == len(steps)
