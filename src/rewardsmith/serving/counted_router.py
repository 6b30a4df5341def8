"""A router whose decisions are counted: who decided, what went wrong with the judge, what was asked and paid."""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.protocols import Router
from rewardsmith.serving.metrics import Metrics
from rewardsmith.types import Conversation, Rewarded, Ruling


class CountedRouter:
    """Hands everything on to `router`, and its decisions to `metrics`."""

    def __init__(self, router: Router, metrics: Metrics) -> None:
        self._router = router
        self._metrics = metrics

    async def rule(
        self,
        prompt: Conversation,
        responses: Sequence[Conversation],
        rewards: Sequence[Rewarded],
        temperature: float | None,
    ) -> Ruling:
        """As the router does."""
        ruling = await self._router.rule(prompt, responses, rewards, temperature)
        for decision in ruling.decisions:
            self._metrics.decided(decision)
        return ruling
