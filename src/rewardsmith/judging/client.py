"""Asks the endpoint: each request once, within the budget, so many at a time, patiently, never after the deadline.

    answer = await client.ask(body, until)       the reply, or why there is none; never raises for what endpoints do
    await client.close()                         waits for the calls under way: their answers are paid for

In what order: a request that was answered before is read from the log; one that is under way is waited for, not sent
again; else a place among `concurrency` calls is waited for, the worst case is reserved from the budget, the call is
written to the log, made, and settled. A failure that may pass is tried again after a random part of a wait that
doubles (full jitter), or as long as the endpoint asks.

A caller that gives up (its deadline passes, or it is cancelled) leaves its call running: what is paid for reaches the
log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rewardsmith.errors import SpecError
from rewardsmith.judging.budget import Budget, Charge, worst_charge
from rewardsmith.judging.calls import CallLog, request_key
from rewardsmith.judging.endpoint import CallFailed, Failure, refusal
from rewardsmith.judging.replies import Reply
from rewardsmith.spec import JudgeSpec
from rewardsmith.types import Missing, Usage

Sleep = Callable[[float], Awaitable[None]]


class Line(Protocol):
    """What makes a call: `endpoint.Endpoint`, or a test's."""

    async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
        """Make one call. Raises CallFailed."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and what it cost now; None where there is none, for the reason in `missing`; `failure` is the last
    one."""

    reply: Reply | None
    missing: Missing
    usage: Usage
    failure: Failure | None = None


class Client:
    """See the module. For one event loop.

    Args:
        spec: concurrency, deadlines, retries, budget, prices.
        line: makes the calls.
        log: what was asked before.
        sleep: waits; tests give their own.

    Attributes:
        used: what the replies that were given out cost when they were paid for, each counted once.
        refusal: why the endpoint cannot be used at all.
        failures: how often which failure was seen.
        answered: whether the endpoint has ever answered.
    """

    def __init__(self, spec: JudgeSpec, line: Line, log: CallLog, sleep: Sleep = asyncio.sleep) -> None:
        self.spec = spec
        self.log = log
        self.budget = Budget(spec.budget, spec.prices, log.spent)
        self.used = Charge()
        self.refusal: SpecError | None = None
        self.failures: dict[str, int] = {}
        self.answered = False
        self._line = line
        self._sleep = sleep
        self._places = asyncio.Semaphore(spec.concurrency)
        self._under_way: dict[str, asyncio.Task[Answer]] = {}
        self._counted: set[str] = set()
        self._closing = False
        self._jitter = random.Random()  # noqa: S311 - spreads retries; decides no result

    async def ask(self, body: dict[str, Any], until: float) -> Answer:
        """The reply to a request.

        Args:
            body: of the chat completion.
            until: time of the event loop after which no call is begun.
        """
        key = request_key(self.spec.endpoint, body)
        known = self.log.find(key)
        if known is not None:
            return self._given(key, Answer(known, "", Usage(cached=1)))
        if key in self._under_way:
            answer = await asyncio.shield(self._under_way[key])
            return replace(answer, usage=Usage(cached=1) if answer.reply else Usage())
        call = self._under_way[key] = asyncio.create_task(self._pay(key, body, until))
        call.add_done_callback(lambda _: self._under_way.pop(key, None))
        return self._given(key, await asyncio.shield(call))

    def refuse(self, problem: SpecError) -> None:
        """Ask no more: the endpoint cannot be used."""
        self.refusal = self.refusal or problem

    async def close(self) -> None:
        """Begin no new call, wait for those under way, close the connections."""
        self._closing = True
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._line.close()

    def _given(self, key: str, answer: Answer) -> Answer:
        if answer.reply is not None and key not in self._counted:
            self._counted.add(key)
            self.used += _charge(answer.reply)
        return answer

    async def _pay(self, key: str, body: dict[str, Any], until: float) -> Answer:
        """Call until there is an answer, or no more sense in it."""
        worst = worst_charge(body, body[self.spec.limit_name])
        usage = Usage()
        failure: Failure | None = None
        for attempt in range(self.spec.retries + 1):
            if failure is not None:
                await self._wait(attempt, failure, until)
            async with self._places:
                stop = self._stop(until) or await self._reserve(worst, until)
                if stop:
                    return Answer(None, stop, usage, failure)
                found = await self._call(key, body, worst)
            if isinstance(found, Reply):
                return Answer(found, "", usage + self._usage(_charge(found)))
            failure = found
            usage += self._usage(worst) if found.paid else Usage()
            if not found.again:
                break
        self._give_up(failure)
        return Answer(None, "failed", usage, failure)

    def _stop(self, until: float) -> Missing:
        """Why no call should be begun any more."""
        if self._closing or self.refusal:
            return "failed"
        return "deadline" if _now() >= until else ""

    async def _reserve(self, worst: Charge, until: float) -> Missing:
        """Reserve the worst case; why it could not be had, or came too late."""
        if not await self.budget.reserve(worst):
            return "budget"
        late = self._stop(until)
        if late:
            self.budget.settle(worst, Charge())
        return late

    async def _call(self, key: str, body: dict[str, Any], worst: Charge) -> Reply | Failure:
        """One call, with what it cost written down whatever comes of it."""
        spent = Charge()
        try:
            self.log.sending(key, worst)
            spent = worst
            reply = _counted(await self._line.call(body, f"{key}-{self.log.attempt(key)}"), worst)
            self.log.answered(key, reply)
            spent = _charge(reply)
        except CallFailed as failed:
            failure = failed.failure
            self.failures[failure.problem] = self.failures.get(failure.problem, 0) + 1
            if not failure.paid:
                self.log.unpaid(key)
                spent = Charge()
            return failure
        else:
            self.answered = True
            return reply
        finally:
            self.budget.settle(worst, spent)

    async def _wait(self, attempt: int, failure: Failure, until: float) -> None:
        longest = min(self.spec.max_wait, self.spec.backoff * 2 ** (attempt - 1))
        seconds = self._jitter.uniform(0, longest)
        if failure.wait is not None:
            seconds = max(seconds, min(failure.wait, self.spec.max_wait))
        await self._sleep(min(seconds, max(0.0, until - _now())))

    def _give_up(self, failure: Failure | None) -> None:
        """Note an endpoint that cannot be used at all: it refuses everybody, or was never there."""
        if failure and failure.mend and (not failure.again or not self.answered):
            self.refuse(refusal(self.spec, failure))

    def _usage(self, charge: Charge) -> Usage:
        return Usage(charge.calls, 0, charge.prompt_tokens, charge.completion_tokens, charge.cost(self.spec.prices))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _charge(reply: Reply) -> Charge:
    return Charge(1, reply.prompt_tokens, reply.completion_tokens)


def _counted(reply: Reply, worst: Charge) -> Reply:
    """An endpoint that does not say what it charged for is taken to have charged the most."""
    prompt = worst.prompt_tokens if reply.prompt_tokens < 0 else reply.prompt_tokens
    completion = worst.completion_tokens if reply.completion_tokens < 0 else reply.completion_tokens
    return replace(reply, prompt_tokens=prompt, completion_tokens=completion)
