"""Repeated labels: how often two agree, and the ceiling that this sets."""

import math

import numpy as np
import pytest

from rewardsmith import statistics
from rewardsmith.evaluation import EvalRow
from rewardsmith.evaluation.analysis import label_agreement
from rewardsmith.types import Message

A, B = (Message("assistant", "a"),), (Message("assistant", "b"),)


def row(prompt, chosen=A, rejected=B):
    return EvalRow("1", "all", (Message("user", str(prompt)),), (chosen,), (rejected,))


def turned(prompt):
    return row(prompt, B, A)


def test_no_repeats_have_no_ceiling():
    assert label_agreement([row(1), row(2), turned(3)]) is None
    assert label_agreement([]) is None


def test_repeats_in_either_order_by_hand():
    # prompt 1: a, a; prompt 2: a, b; prompt 3: b, a, a; prompt 4 once
    rows = [row(1), row(1), row(2), turned(2), turned(3), row(3), row(3), row(4)]
    found = label_agreement(rows)
    assert (found.comparisons, found.labels) == (3, 7)
    assert found.agreement == pytest.approx((1 + 0 + 1 / 3) / 3)
    wilson = statistics.wilson_interval(4 / 3, 3)
    assert found.agreement_ci == (wilson.low, wilson.high)
    assert (found.ceiling_low, found.ceiling_high) == (0.5, 0.5)  # under one half agreement is chance


def test_the_order_of_rows_and_the_first_seen_order_change_nothing():
    rows = [row(1), turned(1), turned(1), row(2), row(2), turned(3), turned(3)]
    assert label_agreement(rows) == label_agreement(rows[::-1])


def test_full_agreement_allows_full_accuracy():
    found = label_agreement([row(1), row(1), turned(2), turned(2)])
    assert (found.agreement, found.ceiling_low, found.ceiling_high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("shares", [[0.8] * 400, [1.0, 0.5] * 200, [0.6, 0.9] * 200])
def test_the_bounds_hold_for_simulated_annotators(shares):
    rng = np.random.default_rng(0)
    rows = [row(i) if rng.random() < share else turned(i) for i, share in enumerate(shares) for _ in range(20)]
    found = label_agreement(rows)
    best = np.mean(shares)  # a model that gives every comparison's majority label
    expected = np.mean([share**2 + (1 - share) ** 2 for share in shares])
    assert found.agreement == pytest.approx(expected, abs=0.02)
    assert found.ceiling_low - 0.02 <= best <= found.ceiling_high + 0.02
    assert found.ceiling_high == pytest.approx((1 + math.sqrt(2 * found.agreement - 1)) / 2)


def test_rows_that_are_no_pairs_do_not_count():
    many = EvalRow("1", "all", (), (A,), (B, A))
    assert label_agreement([many, many]) is None
