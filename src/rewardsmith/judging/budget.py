"""The budget: reserved before a call, settled after it, never overspent, however many calls are under way.

    if await budget.reserve(worst):          False: it would be overspent
        …
        budget.settle(worst, spent)

`worst` is the most that a call can cost: as many tokens as its text has bytes (no tokenizer makes more) with an
allowance for what the endpoint puts around it, and the longest reply. Where what is left would do for this call but
for those under way, it waits until one of them is settled: most cost far less than their worst.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from rewardsmith.spec import JudgeBudget, JudgePrices

ALLOWANCE = 512
"""Tokens that a chat template or an endpoint may add to the text of a call."""

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Charge:
    """Calls that are paid for, and their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Charge) -> Charge:
        return Charge(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Charge) -> Charge:
        return self + Charge(-other.calls, -other.prompt_tokens, -other.completion_tokens)

    def cost(self, prices: JudgePrices) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / _MILLION


def worst_charge(body: dict[str, Any], reply_tokens: int) -> Charge:
    """The most that a call with this body can cost."""
    text = json.dumps([body["messages"], body.get("response_format")], ensure_ascii=False)
    return Charge(1, len(text.encode("utf-8", "surrogatepass")) + ALLOWANCE, reply_tokens)


class Budget:
    """What is spent and what is reserved, against the limits. For one event loop.

    Args:
        limits: what may be spent.
        prices: what tokens cost.
        spent: what was spent before.
    """

    def __init__(self, limits: JudgeBudget, prices: JudgePrices, spent: Charge = Charge()) -> None:
        self._limits = limits
        self._prices = prices
        self._waiting: list[asyncio.Future[None]] = []
        self.spent = spent
        self.reserved = Charge()

    async def reserve(self, worst: Charge) -> bool:
        """Set aside the worst case of a call, waiting for others to be settled; False where it does not fit."""
        while not self._fits(self.spent + self.reserved + worst):
            if not self._fits(self.spent + worst):
                return False
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.reserved += worst
        return True

    def settle(self, worst: Charge, spent: Charge) -> None:
        """Put what a call did cost in the place of what was set aside for it."""
        self.reserved -= worst
        self.spent += spent
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def _fits(self, charge: Charge) -> bool:
        limits = self._limits
        tokens = charge.prompt_tokens + charge.completion_tokens
        return (
            (limits.calls is None or charge.calls <= limits.calls)
            and (limits.tokens is None or tokens <= limits.tokens)
            and (limits.money is None or charge.cost(self._prices) <= limits.money)
        )
