"""Rules: what is ambiguous, by hand; the decision as a pure function; the tournament against brute force."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import SpecError
from rewardsmith.routing import Rule, Rules, best_of, opinion, opinions
from rewardsmith.routing.rules import Look, settle
from rewardsmith.types import Decision, JudgeAnswer, Opinion, Rewarded

SURE, UNSURE = Opinion(3.0, 0.95, 1.0), Opinion(-0.2, 0.45, 1.0)


@pytest.mark.parametrize(
    ("rule", "of", "escalated"),
    [
        (Rule("margin", 0.5), SURE, False),
        (Rule("margin", 0.5), UNSURE, True),
        (Rule("margin", 0.2), UNSURE, False),  # at the limit is not below it
        (Rule("probability", 0.9), SURE, False),
        (Rule("probability", 0.56), UNSURE, True),  # max(0.45, 0.55)
        (Rule("interval", 0.95), SURE, False),  # the 95 % interval is 3 ± 1.96
        (Rule("interval", 0.999), SURE, True),  # the 99.9 % interval is 3 ± 3.29
        (Rule("interval", 0.95), UNSURE, True),
        (Rule("subset", subsets=frozenset({"Math"})), SURE, True),
        (Rule("subset", subsets=frozenset({"Safety"})), SURE, False),
        (Rule("subset", subsets=frozenset({"Safety"}), outside=True), SURE, True),
    ],
)
def test_a_rule_by_hand(rule: Rule, of: Opinion, escalated: bool) -> None:
    found = Rules((rule,)).look_at(of, "Math")
    assert (found.escalated, found.rule) == (escalated, rule.kind)


def test_the_interval_rule_is_the_normal_interval() -> None:
    # 1.959964 standard deviations on either side hold 95 %.
    assert Rule("interval").certainty(Opinion(1.959964, spread=1.0)) == pytest.approx(0.95, abs=1e-6)
    assert Rule("interval").certainty(Opinion(0.0, spread=0.0)) == 0.0
    assert Rule("interval").certainty(Opinion(0.1, spread=0.0)) == 1.0


def test_rules_combine_by_any_and_by_all() -> None:
    rules = (Rule("probability", 0.9), Rule("subset", subsets=frozenset({"Safety"})))
    either, both = Rules(rules, "any"), Rules(rules, "all")
    assert either.look_at(SURE, "Safety") == Look(True, "subset", "subset Safety")
    assert not both.look_at(SURE, "Safety").escalated
    assert not both.look_at(UNSURE, "Math").escalated
    assert both.look_at(UNSURE, "Safety") == Look(True, "all", "probability 0.55 is below 0.9; subset Safety")
    assert either.look_at(SURE, "Math").rule == "any"


def test_without_a_reward_everything_is_ambiguous() -> None:
    assert Rules((Rule("margin", 0.0),)).look_at(Opinion(None)).rule == "no_reward"


@pytest.mark.parametrize(
    ("rule", "found"), [("probability", "has no calibration"), ("interval", "states no doubt about its margins")]
)
def test_a_rule_that_the_model_cannot_serve_says_so(rule: str, found: str) -> None:
    with pytest.raises(SpecError, match=found):
        Rules((Rule(rule, 0.9),)).look_at(Opinion(1.0))  # type: ignore[arg-type]


def test_a_rule_without_a_limit_cannot_decide() -> None:
    with pytest.raises(SpecError, match="route calibrate"):
        Rules((Rule("margin"),)).look_at(SURE)
    with pytest.raises(SpecError, match="fitted at a time"):
        assert Rules((Rule("margin"), Rule("probability"))).free
    with pytest.raises(SpecError, match="nothing to fit"):
        Rules((Rule("margin", 1.0),)).sureness([SURE], [""])


kinds = st.sampled_from(["margin", "probability", "interval"])
an_opinion = st.builds(
    lambda margin, spread: Opinion(margin, 1 / (1 + math.exp(-margin)), spread), st.floats(-9, 9), st.floats(0.01, 3)
)


@given(
    kinds,
    st.sampled_from(["any", "all"]),
    st.booleans(),
    st.floats(0, 5),
    st.lists(st.tuples(an_opinion, st.sampled_from(["Math", "Safety"])), min_size=1, max_size=20),
    st.floats(0.0, 3.0),
)
def test_what_is_below_a_limit_in_sureness_is_what_the_rules_escalate(kind, combine, outside, other, rows, limit):
    fixed = (Rule("margin", other), Rule("subset", subsets=frozenset({"Safety"}), outside=outside))
    rules = Rules((Rule(kind), *fixed), combine)
    sureness = rules.sureness([row[0] for row in rows], [row[1] for row in rows])
    escalated = [rules.with_limit(limit).look_at(*row).escalated for row in rows]
    assert (sureness < limit).tolist() == escalated


@given(an_opinion, st.floats(0.5, 1.0))
def test_swapping_the_responses_changes_no_escalation(of: Opinion, limit: float) -> None:
    assert of.margin is not None
    swapped = opinion(Rewarded(0.0), Rewarded(of.margin), 1.0)
    straight = opinion(Rewarded(of.margin), Rewarded(0.0), 1.0)
    rules = Rules((Rule("probability", limit),))
    assert abs(straight.probability - limit) < 1e-9 or (  # type: ignore[operator]
        rules.look_at(swapped).escalated == rules.look_at(straight).escalated
    )


def test_opinions_of_rewards_by_hand() -> None:
    found = opinion(Rewarded(2.0, (1.0, 3.0)), Rewarded(1.0, (0.0, 2.5)), 2.0)
    assert found.margin == 1.0
    assert found.probability == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert found.spread == pytest.approx(np.std([1.0, 0.5], ddof=1))
    assert opinion(Rewarded(None), Rewarded(1.0), 1.0) == Opinion(None)
    several = opinions(np.array([[2.0, 1.0], [np.nan, 0.0]]), 2.0)
    assert several == [Opinion(1.0, found.probability), Opinion(None)]


def test_what_members_share_is_no_doubt() -> None:
    shared = opinion(Rewarded(6.0, (1.0, 11.0)), Rewarded(5.0, (0.0, 10.0)), None)
    doubted = opinion(Rewarded(1.5, (1.0, 2.0)), Rewarded(1.5, (0.0, 3.0)), None)
    assert (shared.spread, doubted.spread) == pytest.approx((0.0, np.std([1.0, -1.0], ddof=1)))


@pytest.mark.parametrize(
    ("escalated", "margin", "refusal", "probability", "missing", "winner", "by", "fallback"),
    [
        (False, 1.0, "", None, "", "first", "reward_model", ""),
        (False, 0.0, "", None, "", "tie", "reward_model", ""),
        (True, 1.0, "", 0.2, "", "second", "judge", ""),
        (True, 1.0, "", 0.5, "", "first", "reward_model", "tie"),
        (True, 0.0, "", 0.5, "", "tie", "judge", ""),
        (True, None, "", 0.5, "", "tie", "judge", ""),
        (True, -1.0, "", None, "failed", "second", "reward_model", "failed"),
        (True, -1.0, "share", None, None, "second", "reward_model", "share"),
        (True, None, "breaker", None, None, None, "nobody", "breaker"),
        (True, None, "", 0.9, "", "first", "judge", ""),
        (True, 1.0, "", None, None, "first", "reward_model", "no_judge"),
    ],
)
def test_who_decides(escalated, margin, refusal, probability, missing, winner, by, fallback):
    verdict = None if missing is None or not escalated else JudgeAnswer(probability, missing=missing)
    found = settle("x", Look(escalated, "margin", "because"), Opinion(margin), refusal, verdict)
    assert (found.winner, found.by, found.fallback) == (winner, by, fallback)
    assert found.escalated == escalated
    assert found.why.startswith("because")
    assert not fallback or len(found.why) > len("because; ")


def decision(winner: str | None, escalated: bool) -> Decision:
    return Decision("", winner, "judge" if escalated else "reward_model", escalated, "", "", "", Opinion(0.0))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 1000)), min_size=2, max_size=9), st.integers(0, 12))
def test_a_tournament_finds_the_best_with_the_fewest_verdicts(answers, limit):
    """The judge knows the quality of all; the reward model is right about every pair that its margin calls clear."""
    rewards = [float(reward) for reward, _ in answers]
    top = max(rewards)
    # Quality follows the reward where margins are clear, and is otherwise free: within one band below the top.
    quality = [
        10_000.0 + free if top - reward < limit or reward == top else reward
        for reward, (_, free) in zip(rewards, answers, strict=True)
    ]
    asked: list[tuple[int, int]] = []

    def clear(first: int, second: int) -> bool:
        return abs(rewards[first] - rewards[second]) >= limit and rewards[first] != rewards[second]

    async def compare(first: int, second: int) -> Decision:
        if clear(first, second):
            return decision("first" if rewards[first] > rewards[second] else "second", False)
        asked.append((first, second))
        better = quality[first] - quality[second]
        return decision("tie" if better == 0 else "first" if better > 0 else "second", True)

    found = asyncio.run(best_of(rewards, compare, clear))
    contenders = [reward for reward in rewards if top - reward < limit or reward == top]
    assert len(asked) <= len(contenders) - 1
    assert len(found.decisions) == len(answers) - 1
    if found.best is not None:
        assert quality[found.best] == max(quality)
    else:
        assert len(answers) == 2
        assert quality[0] == quality[1]


def test_a_tournament_without_any_reward_or_judge_has_no_best() -> None:
    async def nobody(first: int, second: int) -> Decision:
        del first, second
        return decision(None, True)

    assert asyncio.run(best_of([None, None, None], nobody, lambda first, second: False)).best is None
