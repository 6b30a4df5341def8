"""Operations, network, latency, price and advice, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_memory import SHAPE

from rewardsmith.planning.artifacts import plan_roles
from rewardsmith.planning.grader import (
    OVERHEAD,
    Budget,
    Speed,
    advise,
    judge_share,
    judge_speed,
    mixed_speed,
    per_million,
    scoring_speed,
)
from rewardsmith.planning.hardware import accelerator_machine
from rewardsmith.planning.memory import Adapter, MicroBatch, Numerics, TrainingSetup
from rewardsmith.planning.stages import size_notes
from rewardsmith.planning.time import (
    Lengths,
    forward_operations,
    step_traffic,
    training_operations,
    training_time,
)

BATCH = MicroBatch(2048)
FULL = TrainingSetup(SHAPE, Numerics(2, 2), BATCH)
LORA = replace(FULL, adapter=Adapter(16))
MACHINE = accelerator_machine("h100-80gb", devices_per_node=8)
LENGTHS = Lengths(10_000, tree=1000.0, padded=1500.0, text=600.0, attended=300.0, longest=2000.0, source="")


def test_operations_by_hand() -> None:
    matrices, attention = 2 * 900_000_000, 4 * 30 * 2048 * 300
    assert forward_operations(SHAPE, 300) == matrices + attention
    assert training_operations(FULL, 300) == 3 * (matrices + attention)
    assert training_operations(replace(FULL, checkpointing=True), 300) == 4 * (matrices + attention)
    assert training_operations(LORA, 300) == 2 * matrices + 3 * attention


def test_traffic_by_hand() -> None:
    weights = 2e9 * 7 / 8
    assert step_traffic(FULL, "single", 1, 4) == 0
    assert step_traffic(FULL, "ddp", 8, 4) == 2 * weights
    assert step_traffic(FULL, "fsdp", 8, 4) == 2 * weights * 4 + weights
    assert step_traffic(FULL, "zero3", 8, 4) == 3 * weights * 4
    assert step_traffic(FULL, "zero2", 8, 4) == weights * 4 + weights
    assert step_traffic(LORA, "ddp", 8, 4) == pytest.approx(2 * LORA.trained * 4 * 7 / 8)


def test_time_of_an_epoch_by_hand() -> None:
    time = training_time(
        FULL, LENGTHS, MACHINE, strategy="ddp", devices=8, budget=2048, pairs_per_step=100, utilisation=0.5
    )
    operations = 10_000 * 1000 * training_operations(FULL, 300)
    assert time.operations == operations
    assert time.compute_seconds == pytest.approx(operations / (8 * 989e12 * 0.5))
    assert time.network_bytes == pytest.approx(100 * 2 * 2e9 * 7 / 8)
    assert time.network_seconds == pytest.approx(time.network_bytes / 450e9)
    assert time.seconds == max(time.compute_seconds, time.network_seconds)


def test_between_nodes_the_slower_link_counts() -> None:
    two = accelerator_machine("h100-80gb", nodes=2, devices_per_node=8)
    time = training_time(FULL, LENGTHS, two, strategy="zero3", devices=16, budget=2048, pairs_per_step=100)
    assert time.network_seconds == pytest.approx(time.network_bytes / 50e9)


def test_unknown_pairs_are_a_thousand() -> None:
    unknown = replace(LENGTHS, pairs=None)
    time = training_time(FULL, unknown, MACHINE, strategy="single", devices=1, budget=2048, pairs_per_step=64)
    assert time.pairs == 1000


def test_latency_by_hand() -> None:
    one = accelerator_machine("h100-80gb")
    speed = scoring_speed(SHAPE, one, tokens=600, utilisation=0.5)
    operations = 600 * forward_operations(SHAPE, 300.5)
    assert speed.seconds == pytest.approx(max(operations / (989e12 * 0.5), 2e9 / 3350e9) + OVERHEAD)
    assert speed.per_second == pytest.approx(989e12 * 0.5 / operations)
    assert speed.per_million == pytest.approx(3.0 / 3600 / speed.per_second * 1e6)
    # one token reads all weights and computes next to nothing
    assert scoring_speed(SHAPE, one, tokens=1).seconds == pytest.approx(2e9 / 3350e9 + OVERHEAD)


def test_weights_that_one_device_does_not_hold_are_read_by_several() -> None:
    large = replace(SHAPE, parameters=70_000_000_000, active=69_000_000_000)
    one = accelerator_machine("h100-80gb")
    speed = scoring_speed(large, one, tokens=1)
    assert speed.source == "estimated, the weights on 2 devices"
    assert speed.seconds == pytest.approx(140e9 / 3350e9 / 2 + OVERHEAD)


def test_a_judge_by_hand() -> None:
    judge = judge_speed(tokens=600, prices=(1.0, 4.0), orders=2, samples=3, reply=300)
    assert judge.per_million == 2 * 3 * (1600 * 1.0 + 300 * 4.0)
    assert judge.seconds == 0.5 + 300 / 60
    assert per_million(None, 3.0) is None


MODEL = Speed(0.05, 100.0, 10.0)
JUDGE = Speed(5.0, 0.2, 10_000.0)


def test_without_a_budget_a_model_of_ones_own() -> None:
    advice = advise(MODEL, JUDGE, Budget(), training_cost=100.0, rewards=1_000_000)
    assert (advice.kind, advice.judge_share, advice.within_budget) == ("dedicated", 0.0, True)
    assert "$10,000" in advice.reason
    assert "$110" in advice.reason


def test_few_rewards_are_cheaper_from_a_judge() -> None:
    advice = advise(MODEL, JUDGE, Budget(seconds=10.0), training_cost=500.0, rewards=1000)
    assert (advice.kind, advice.judge_share) == ("judge", 1.0)
    assert advise(MODEL, JUDGE, Budget(seconds=1.0), training_cost=500.0, rewards=1000).kind != "judge"


def test_a_budget_with_room_makes_a_hybrid() -> None:
    budget = Budget(seconds=1.05, per_million=1010.0)
    advice = advise(MODEL, JUDGE, budget, training_cost=100.0, rewards=1_000_000)
    # money allows a tenth of the pairs, patience a fifth
    assert (advice.kind, advice.judge_share) == ("hybrid", pytest.approx(0.1))
    mixed = mixed_speed(MODEL, JUDGE, advice.judge_share)
    assert mixed.per_million == pytest.approx(1010.0)
    assert mixed.seconds == pytest.approx(0.55)
    assert budget.admits(mixed)


def test_a_budget_without_room_makes_none() -> None:
    advice = advise(MODEL, JUDGE, Budget(per_million=20.0), training_cost=100.0, rewards=1_000_000)
    assert (advice.kind, advice.within_budget) == ("dedicated", True)
    assert "no room for a judge" in advice.reason


@pytest.mark.parametrize(("budget", "said"), [(Budget(seconds=0.01), "10 ms"), (Budget(per_million=1.0), "$1.00")])
def test_a_budget_that_nothing_keeps(budget: Budget, said: str) -> None:
    advice = advise(MODEL, JUDGE, budget, training_cost=None, rewards=1_000_000)
    assert not advice.within_budget
    assert said in advice.reason


def test_a_price_that_nobody_knows_breaks_a_stated_limit() -> None:
    assert not Budget(per_million=5.0).admits(Speed(0.1, 1.0, None))
    assert Budget(seconds=1.0).admits(Speed(0.1, 1.0, None))


@given(st.floats(0.0, 20.0), st.floats(0.0, 20_000.0))
def test_the_share_of_a_judge_keeps_the_budget(seconds: float, money: float) -> None:
    budget = Budget(seconds or None, money or None)
    share = judge_share(MODEL, JUDGE, budget)
    assert 0.0 <= share <= 1.0
    mixed = mixed_speed(MODEL, JUDGE, share)
    if share > 0 and budget.seconds:
        assert mixed.seconds <= budget.seconds + 1e-9
    if share > 0 and budget.per_million:
        assert (mixed.per_million or 0) <= budget.per_million + 1e-6


@given(st.integers(2, 256), st.floats(1e9, 3e11))
def test_roles_take_no_more_devices_than_there_are(devices: int, weights: float) -> None:
    roles = plan_roles(devices=devices, reward_bytes=weights, memory=80e9)
    others = roles.actor if roles.together else roles.actor + roles.critic + roles.engines
    assert roles.reward + others == devices
    assert min(roles.reward, roles.actor, roles.critic, roles.engines) >= 1


def test_roles_by_hand() -> None:
    roles = plan_roles(devices=16, reward_bytes=16e9, memory=80e9)
    assert (roles.reward, roles.actor, roles.critic, roles.engines, roles.together) == (1, 4, 4, 7, False)
    small = plan_roles(devices=2, reward_bytes=16e9, memory=80e9)
    assert (small.reward, small.actor, small.together) == (1, 1, True)
    assert plan_roles(devices=1, reward_bytes=16e9, memory=80e9).reward == 0


def test_sizes_have_sources_and_say_what_is_odd() -> None:
    few = size_notes(base=600_000_000, policy=8_000_000_000, pairs=500)
    assert any("500 pairs are few" in note.text for note in few)
    assert all("Gao" in note.source or "arXiv" in note.source or "Ouyang" in note.source for note in few)
    assert any("3.0 doublings" in note.text for note in size_notes(base=1, policy=10, pairs=16_000))
    assert any("1.0% of its policy" in note.text for note in size_notes(base=10, policy=1000, pairs=None))
    assert any("100% of its policy" in note.text for note in size_notes(base=10, policy=10, pairs=None))
    assert any("not stated" in note.text for note in size_notes(base=10, policy=None, pairs=None))
