"""What escalations may cost: a share of the comparisons, calls a minute, money. Nothing is overspent.

    budget = Budget(BudgetLimits(share=0.2, calls_per_minute=60, cost=5.0), clock=time.monotonic)
    budget.saw()                                  # every comparison counts for the share
    refusal = budget.claim()                      # "", "share" or "cost"
    await budget.turn()                           # waits until the minute has room
    budget.settle(usage)                          # what it did cost; None gives the claim back

*Share*: of the first n comparisons at most 1 + share · n are escalated.
*Calls a minute*: no minute has more calls. A comparison in both orders is two calls; how many it makes is learned from
what was paid for, the first guess is `calls_each`.
*Money*: a claim sets aside the most that one comparison has cost so far. Until a price is known one comparison is asked
at a time, so that a burst cannot overspend before the first bill. A comparison that costs more than any before it can
pass the limit by that difference; the judge's own budget (`judge.budget`) reserves by tokens and cannot.

A circuit breaker: after several failures in a row the judge is left alone for a while, then tried once.

    breaker = Breaker(failures=5, seconds=30.0, clock=time.monotonic)
    if breaker.enter():            # False: it is open, do not ask
        …
        breaker.leave(failed)      # True, False, or None: nothing was learned (cancelled)

Closed, everyone may ask. Open, nobody. When the time is up one call is let through: if it succeeds the breaker closes,
if it fails the time begins again. No wall clock: time is handed in.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rewardsmith.types import Fallback, Usage

MINUTE = 60.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """None: no such limit."""

    share: float | None = None
    calls_per_minute: int | None = None
    cost: float | None = None
    calls_each: int = 2


class Budget:
    """See the module. Use it in one event loop. `spent` is what an earlier start paid."""

    def __init__(self, limits: BudgetLimits, clock: Callable[[], float], *, spent: float = 0.0) -> None:
        self.limits = limits
        self.spent = spent
        self._clock = clock
        self._seen = 0
        self._escalated = 0
        self._claims = 0
        self._highest: float | None = None
        self._calls: deque[tuple[float, int]] = deque()
        self._each = limits.calls_each

    def saw(self) -> None:
        """One more comparison, escalated or not."""
        self._seen += 1

    def claim(self) -> Fallback:
        """Set aside one escalation; "" where it may be made, else which limit speaks against it."""
        limits = self.limits
        if limits.share is not None and (
            limits.share == 0 or self._escalated + 1 > 1 + limits.share * self._seen + _ROUNDING
        ):
            return "share"
        if limits.cost is not None and not self._affordable(limits.cost):
            return "cost"
        self._escalated += 1
        self._claims += 1
        return ""

    def _affordable(self, limit: float) -> bool:
        if self._highest is None:
            return self._claims == 0 and self.spent < limit
        return self.spent + (self._claims + 1) * self._highest <= limit + _ROUNDING

    def settle(self, usage: Usage | None) -> None:
        """The end of a claimed escalation: what it did cost, None where the judge was not asked."""
        self._claims -= 1
        if usage is None:
            self._escalated -= 1
            return
        self.spent += usage.cost
        if usage.calls:
            self._highest = max(self._highest or 0.0, usage.cost)
            if usage.calls > self._each and self.limits.calls_per_minute is not None:
                self._calls.append((self._clock(), usage.calls - self._each))
            self._each = max(self._each, usage.calls)

    def wait_seconds(self) -> float:
        """How long until this minute has room for a comparison's calls."""
        limit = self.limits.calls_per_minute
        if limit is None:
            return 0.0
        now = self._clock()
        while self._calls and self._calls[0][0] <= now - MINUTE + _ROUNDING:
            self._calls.popleft()
        used, free_at = sum(calls for _, calls in self._calls), now
        for at, calls in self._calls:
            if used + self._each <= max(limit, self._each):  # a comparison is never split
                break
            used, free_at = used - calls, at + MINUTE
        return free_at - now

    async def turn(self) -> None:
        """Wait until the minute has room, and take it."""
        if self.limits.calls_per_minute is None:
            return
        while (seconds := self.wait_seconds()) > 0:
            await asyncio.sleep(seconds)
        self._calls.append((self._clock(), self._each))


class Breaker:
    """See the module. Use it in one thread."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failed = 0
        self._until = -math.inf
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether nobody may ask now."""
        if self._failed < self._limit:
            return False
        return self._probing or self._clock() < self._until

    def enter(self) -> bool:
        """Whether the judge may be asked now; if so, `leave` must follow."""
        if self.open:
            return False
        if self._failed >= self._limit:
            self._probing = True
        return True

    def leave(self, failed: bool | None) -> None:
        """How a call that was let through ended."""
        self._probing = False
        if failed is None:
            return
        self._failed = min(self._failed + 1, self._limit) if failed else 0
        if self._failed >= self._limit:
            self._until = self._clock() + self._seconds
