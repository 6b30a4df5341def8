"""The hybrid router: the reward model's answer where it is clear, the judge's where it is not, within a deadline.

    router = HybridRouter(rules, judge, RouterSettings(concurrency=8, seconds=30.0), log=AuditLog(path, header))
    decision = await router.decide(comparison, opinion)
    ruling = await best_of(rewards, compare, clear)           # of several responses, with the fewest judge calls

An ambiguous comparison is escalated unless a budget or the circuit breaker speaks against it. The judge has `seconds`
for its verdict; where it is down, too slow, or over its budget, the reward model's answer stands, marked with the
reason. At most `concurrency` comparisons are with the judge at a time. The deadline counts from `decide`, waiting
included; with `patient` (a job over a file, which has no client that waits) only the judge's own time counts.

The judge is a `protocols.Judge`; everything that decides is in `rules.settle`, a pure function.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from rewardsmith.protocols import Judge
from rewardsmith.routing.audit import AuditLog, entry_of
from rewardsmith.routing.rules import Rules, opinion, settle
from rewardsmith.types import (
    Comparison,
    Conversation,
    Decision,
    Fallback,
    JudgeAnswer,
    Opinion,
    Rewarded,
    Ruling,
    Usage,
)

MINUTE = 60.0
# Sums of prices and shares in floating point must not miss a limit that they meet exactly.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """None: no such limit."""

    share: float | None = None
    calls_per_minute: int | None = None
    cost: float | None = None
    calls_each: int = 2


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """How the judge is asked: comparisons at a time, seconds for one, when the breaker opens and for how long."""

    concurrency: int = 8
    seconds: float = 30.0
    failures: int = 5
    rest_seconds: float = 30.0
    limits: BudgetLimits = field(default_factory=BudgetLimits)


_DOWN = ("failed", "deadline")
"""Missing verdicts that the circuit breaker counts; one that cannot be read, or was not paid for, is no failure."""


class HybridRouter:
    """See the module; satisfies `protocols.Router`. Use it in one event loop.

    Args:
        rules: when a comparison is ambiguous; every rule has its limit.
        judge: None where there is none: then the reward model decides everything, and says so.
        settings: limits.
        log: where decisions are written.
        clock: seconds that never go back.
        spent: money that an earlier start of the same job has spent.
        temperature: of the calibration, for a model that has none of its own (`rule`).
    """

    def __init__(
        self,
        rules: Rules,
        judge: Judge | None,
        settings: RouterSettings | None = None,
        *,
        log: AuditLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        spent: float = 0.0,
        temperature: float | None = None,
    ) -> None:
        self.rules = rules
        self.settings = settings or RouterSettings()
        self._judge = judge
        self._log = log
        self._temperature = temperature
        self._budget = Budget(self.settings.limits, clock, spent=spent)
        self._breaker = Breaker(self.settings.failures, self.settings.rest_seconds, clock)
        self._slots = asyncio.Semaphore(self.settings.concurrency)

    async def decide(
        self,
        comparison: Comparison,
        opinion: Opinion,
        *,
        refusal: Fallback = "",
        patient: bool = False,
        row: int | None = None,
        places: tuple[int, int] = (0, 1),
    ) -> Decision:
        """Who decides, and what.

        Args:
            comparison: the two responses.
            opinion: what the reward model says of them.
            refusal: why the judge may not be asked about this one, whatever the budgets say.
            patient: waiting for the judge to be free does not count against the deadline.
            row, places: of the file that the comparison came from, and of the responses in it, for the log.
        """
        # Counted before anything else: the share is of all comparisons, also of those that the judge never sees.
        self._budget.saw()
        look = self.rules.look_at(opinion, comparison.subset)
        verdict: JudgeAnswer | None = None
        if look.escalated and not refusal:
            refusal, verdict = await self._ask(comparison, patient)
        decision = settle(comparison.id, look, opinion, refusal if look.escalated else "", verdict)
        if self._log is not None:
            self._log.write(entry_of(comparison, decision, refusal if look.escalated else "", row, places))
        return decision

    async def rule(
        self,
        prompt: Conversation,
        responses: Sequence[Conversation],
        rewards: Sequence[Rewarded],
        temperature: float | None,
    ) -> Ruling:
        """The best of two or more responses; see `protocols.Router` and `best_of`."""
        own = self._temperature if temperature is None else temperature

        def look(first: int, second: int) -> Opinion:
            return opinion(rewards[first], rewards[second], own)

        async def compare(first: int, second: int) -> Decision:
            pair = Comparison(prompt, responses[first], responses[second], id=f"{first}:{second}")
            return await self.decide(pair, look(first, second), places=(first, second))

        def clear(first: int, second: int) -> bool:
            return not self.rules.look_at(look(first, second)).escalated

        return await best_of([one.reward for one in rewards], compare, clear)

    def close(self) -> None:
        """Let go of the log; no decision may follow."""
        if self._log is not None:
            self._log.close()

    async def _ask(self, comparison: Comparison, patient: bool) -> tuple[Fallback, JudgeAnswer | None]:
        """The judge's verdict, or why it was not asked."""
        if self._judge is None:
            return "no_judge", None
        # Before a claim is made, so that an open breaker uses up no budget.
        if self._breaker.open:
            return "breaker", None
        if refusal := self._budget.claim():
            return refusal, None
        verdict: JudgeAnswer | None = None
        try:
            # The deadline covers the wait for a slot and for the minute, unless the caller is patient.
            async with asyncio.timeout(None if patient else self.settings.seconds), self._slots:
                await self._budget.turn()
                # Asked again: the breaker may have opened while this comparison waited.
                if not self._breaker.enter():
                    return "breaker", None
                verdict = await self._call(self._judge, comparison)
        except TimeoutError:
            return "deadline", None
        finally:
            # Also after a cancellation: a claim that is never settled would stay in the budget for ever.
            self._budget.settle(None if verdict is None else verdict.usage)
        return "", verdict

    async def _call(self, judge: Judge, comparison: Comparison) -> JudgeAnswer:
        failed: bool | None = None
        try:
            async with asyncio.timeout(self.settings.seconds):
                verdict = await judge.compare(comparison)
            failed = verdict.missing in _DOWN
        except TimeoutError:
            failed = True
            verdict = JudgeAnswer(None, missing="deadline")
        finally:
            self._breaker.leave(failed)
        return verdict


Compare = Callable[[int, int], Awaitable[Decision]]
Clear = Callable[[int, int], bool]


async def best_of(rewards: Sequence[float | None], compare: Compare, clear: Clear) -> Ruling:
    """The best of N answers with the fewest judge calls: the reward model prunes, the judge sees only close contenders.

    The answer with the highest reward is the champion. The others challenge it, best first; the judge is asked only
    where the margin is ambiguous. A challenger that wins takes its place. An answer that is clearly worse than the
    reward model's favourite costs nothing, also after another one beat the favourite: who beats the favourite beats it
    too. So k contenders cost at most k - 1 verdicts, the fewest that can name the best of k. An answer without a reward
    is compared last, by the judge alone. A tie leaves the champion where it is.

    Args:
        rewards: of each answer, None where there is none.
        compare: decides between two answers, named by their places; the first is the champion.
        clear: whether the reward model alone would decide between two answers.

    Returns:
        The place of the best answer, and the decisions in their order. Of two answers a tie has no best. Where nobody
        could say anything, `best` is None.
    """
    order = sorted(range(len(rewards)), key=lambda place: _rank(rewards[place]))
    favourite = champion = order[0]
    decisions = []
    for challenger in order[1:]:
        # Who loses clearly to the favourite is compared with it and not with the champion: that costs no call.
        pruned = champion != favourite and clear(favourite, challenger)
        decision = await compare(favourite if pruned else champion, challenger)
        decisions.append(decision)
        if decision.winner == "second" and not pruned:
            champion = challenger
    undecided = all(decision.winner is None for decision in decisions)
    tied = len(order) == 2 and decisions[0].winner == "tie"
    return Ruling(None if undecided or tied else champion, tuple(decisions))


def _rank(reward: float | None) -> float:
    """Sorts by falling reward, missing ones last; equal rewards keep their order."""
    return float("inf") if reward is None else -reward


class Budget:
    """What escalations may cost. Use it in one event loop. `spent` is what an earlier start paid.

        budget.saw()                                  # every comparison counts for the share
        refusal = budget.claim()                      # "", "share" or "cost"
        await budget.turn()                           # waits until the minute has room
        budget.settle(usage)                          # what it did cost; None gives the claim back

    *Share*: of the first n comparisons at most 1 + share · n are escalated.
    *Calls a minute*: no minute has more calls. A comparison in both orders is two calls; how many it makes is learned
    from what was paid for, the first guess is `calls_each`.
    *Money*: a claim sets aside the most that one comparison has cost so far. Until a price is known one comparison is
    asked at a time, so that a burst cannot overspend before the first bill. A comparison that costs more than any
    before it can pass the limit by that difference; the judge's own budget (`judge.budget`) reserves by tokens and
    cannot.
    """

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
        # A share of 0 means never, where the formula would still grant the first one.
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
        # No price is known yet: one comparison at a time, so that the first bill cannot come many times over.
        if self._highest is None:
            return self._claims == 0 and self.spent < limit
        return self.spent + (self._claims + 1) * self._highest <= limit + _ROUNDING

    def settle(self, usage: Usage | None) -> None:
        """The end of a claimed escalation: what it did cost, None where the judge was not asked."""
        self._claims -= 1
        if usage is None:
            # The judge was not asked after all, so that another comparison may have this place in the share.
            self._escalated -= 1
            return
        self.spent += usage.cost
        if usage.calls:
            self._highest = max(self._highest or 0.0, usage.cost)
            # The turn was booked with too few calls: the missing ones count for this minute from now on.
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
            # The oldest calls leave the window a minute after they were made.
            used, free_at = used - calls, at + MINUTE
        return free_at - now

    async def turn(self) -> None:
        """Wait until the minute has room, and take it."""
        if self.limits.calls_per_minute is None:
            return
        # Looked at again after the wait: another comparison may have taken the room.
        while (seconds := self.wait_seconds()) > 0:
            await asyncio.sleep(seconds)
        self._calls.append((self._clock(), self._each))


class Breaker:
    """A circuit breaker: after several failures in a row the judge is left alone for a while, then tried once.

        if breaker.enter():            # False: it is open, do not ask
            …
            breaker.leave(failed)      # True, False, or None: nothing was learned (cancelled)

    Closed, everyone may ask. Open, nobody. When `seconds` are over one call is let through: if it succeeds the breaker
    closes, if it fails the time begins again. Use it in one thread.
    """

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
        # The count stays at the limit while open, so that one failed probe opens it again at once.
        self._failed = min(self._failed + 1, self._limit) if failed else 0
        if self._failed >= self._limit:
            self._until = self._clock() + self._seconds
