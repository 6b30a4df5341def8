"""The router: the reward model's answer where it is clear, the judge's where it is not, and never a wait without end.

    router = HybridRouter(rules, judge, RouterSettings(concurrency=8, seconds=30.0), log=AuditLog(path, header))
    decision = await router.decide(comparison, opinion)

An ambiguous comparison is escalated unless a budget or the circuit breaker speaks against it. The judge has `seconds`
for its verdict; where it is down, too slow, or over its budget, the reward model's answer stands, marked with the
reason. At most `concurrency` comparisons are with the judge at a time. The deadline counts from `decide`, waiting
included; with `patient` (a job over a file, which has no client that waits) only the judge's own time counts.

The judge is a `protocols.Judge`; everything that decides is in `deciding.settle`, a pure function.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rewardsmith.protocols import Judge
from rewardsmith.routing.audit import AuditLog, entry_of
from rewardsmith.routing.breaker import Breaker
from rewardsmith.routing.budget import Budget, BudgetLimits
from rewardsmith.routing.deciding import settle
from rewardsmith.routing.opinions import opinion
from rewardsmith.routing.rules import Rules
from rewardsmith.routing.tournament import best_of
from rewardsmith.types import Comparison, Conversation, Decision, Fallback, Opinion, Rewarded, Ruling, Verdict

_DOWN = ("failed", "deadline")
"""Missing verdicts that the circuit breaker counts; one that cannot be read, or was not paid for, is no failure."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """How the judge is asked: comparisons at a time, seconds for one, when the breaker opens and for how long."""

    concurrency: int = 8
    seconds: float = 30.0
    failures: int = 5
    rest_seconds: float = 30.0
    limits: BudgetLimits = field(default_factory=BudgetLimits)


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
        self._budget.saw()
        look = self.rules.look_at(opinion, comparison.subset)
        verdict: Verdict | None = None
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
        """The best of two or more responses; see `protocols.Router` and `tournament`."""

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

    async def _ask(self, comparison: Comparison, patient: bool) -> tuple[Fallback, Verdict | None]:
        """The judge's verdict, or why it was not asked."""
        if self._judge is None:
            return "no_judge", None
        if self._breaker.open:
            return "breaker", None
        if refusal := self._budget.claim():
            return refusal, None
        verdict: Verdict | None = None
        try:
            async with asyncio.timeout(None if patient else self.settings.seconds), self._slots:
                await self._budget.turn()
                if not self._breaker.enter():
                    return "breaker", None
                verdict = await self._call(self._judge, comparison)
        except TimeoutError:
            return "deadline", None
        finally:
            self._budget.settle(None if verdict is None else verdict.usage)
        return "", verdict

    async def _call(self, judge: Judge, comparison: Comparison) -> Verdict:
        failed: bool | None = None
        try:
            async with asyncio.timeout(self.settings.seconds):
                verdict = await judge.compare(comparison)
            failed = verdict.missing in _DOWN
        except TimeoutError:
            failed = True
            verdict = Verdict(None, missing="deadline")
        finally:
            self._breaker.leave(failed)
        return verdict
