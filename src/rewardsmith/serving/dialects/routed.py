"""The part of `POST /v1/compare` with `route: auto`: who decided, why, and what it cost.

The router is handed in (`protocols.Router`). A server without one answers as the reward model does, and says so
(`fallback: no_judge`): a client need not know how the server was started.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from rewardsmith.protocols import Router
from rewardsmith.serving.dialects.contract import Rewards
from rewardsmith.types import Conversation, Decider, Decision, Fallback, Rewarded


class RoutedPair(BaseModel):
    """One decision between two responses, named by their places in the request.

    `winner` is null for a tie, and where nobody could say. `probability` is that of `first` being the better one, by
    whoever decided. An ambiguous comparison (`escalated`) that the reward model decided has a `fallback`.
    """

    first: int
    second: int
    winner: int | None
    by: Decider
    escalated: bool
    rule: str
    why: str
    fallback: Fallback
    probability: float | None
    calls: int
    cost: float


class Routed(BaseModel):
    """The best response (null: a tie of two) and the decisions that led to it; `by` is who decided the last of them."""

    best: int | None
    by: Literal["reward_model", "judge", "nobody"]
    fallback: Fallback
    calls: int
    cost: float
    decisions: list[RoutedPair]


async def routed(conversations: list[Conversation], rewards: Rewards, router: Router | None) -> Routed:
    """The router's ruling on responses to one prompt, whose rewards are known."""
    if router is None:
        return _by_reward(rewards)
    members = list(rewards.members.values())
    found = await router.rule(
        conversations[0][:-1],
        [one[-1:] for one in conversations],
        [
            Rewarded(value, tuple(own for of_member in members if (own := of_member[place]) is not None))
            for place, value in enumerate(rewards.values)
        ],
        rewards.info.temperature,
    )
    pairs = [_pair(decision) for decision in found.decisions]
    decisive = next((pair for pair in reversed(pairs) if found.best in (pair.first, pair.second)), pairs[-1])
    return Routed(
        best=found.best,
        by=decisive.by,
        fallback=decisive.fallback,
        calls=sum(pair.calls for pair in pairs),
        cost=sum(pair.cost for pair in pairs),
        decisions=pairs,
    )


def _by_reward(rewards: Rewards) -> Routed:
    values = rewards.present
    best = max(range(len(values)), key=values.__getitem__)
    tied = len(values) == 2 and values[0] == values[1]
    return Routed(best=None if tied else best, by="reward_model", fallback="no_judge", calls=0, cost=0.0, decisions=[])


def _pair(decision: Decision) -> RoutedPair:
    first, second = map(int, decision.id.split(":"))
    return RoutedPair(
        first=first,
        second=second,
        winner={"first": first, "second": second}.get(decision.winner or ""),
        by=decision.by,
        escalated=decision.escalated,
        rule=decision.rule,
        why=decision.why,
        fallback=decision.fallback,
        probability=decision.probability,
        calls=decision.usage.calls,
        cost=decision.usage.cost,
    )
