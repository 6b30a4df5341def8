"""The client of the endpoint, which pays for each request once and within the budget; its log of calls; the budget.

    with CallLog.open(folder) as log:                       folder/calls.jsonl
        client = Client(spec, Endpoint(spec), log)
        answer = await client.ask(body, until)              the reply, or why there is none
        await client.close()                                waits for the calls under way

`ask` never raises for what endpoints do. A request that was answered before is read from the log; one that is under way
is waited for, not sent again. Else it waits for a place among `concurrency` calls, reserves its worst case from the
budget, is written to the log, sent, and settled. A failure that may pass is tried again after a random part of a wait
that doubles (full jitter), or as long as the endpoint asks. After its deadline no call is begun.

A caller that gives up (its deadline passes, or it is cancelled) leaves its call running: the answer is paid for, so it
has to reach the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from filelock import FileLock, Timeout

from rewardsmith.errors import RunDirectoryError, SpecError
from rewardsmith.judging.endpoint import CallFailed, Failure, refusal
from rewardsmith.judging.questions import Reply
from rewardsmith.records.bounded import parse_json
from rewardsmith.spec import JudgeBudget, JudgePrices, JudgeSpec
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
        # Equal questions at the same time are paid for once.
        if key in self._under_way:
            answer = await asyncio.shield(self._under_way[key])
            return replace(answer, usage=Usage(cached=1) if answer.reply else Usage())
        call = self._under_way[key] = asyncio.create_task(self._pay(key, body, until))
        call.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Shielded: a caller that gives up must not cancel a call that is paid for.
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
            # Waits between attempts hold no place, so that others are asked meanwhile.
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
            # Written before it is sent: after a kill the next process knows that the endpoint may have been paid.
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
        # Full jitter: clients that failed together do not come back together.
        longest = min(self.spec.max_wait, self.spec.backoff * 2 ** (attempt - 1))
        seconds = self._jitter.uniform(0, longest)
        if failure.wait is not None:
            seconds = max(seconds, min(failure.wait, self.spec.max_wait))
        await self._sleep(min(seconds, max(0.0, until - _now())))

    def _give_up(self, failure: Failure | None) -> None:
        """Note an endpoint that cannot be used at all: it refuses everybody, or was never there."""
        # A failure that may pass counts only where the endpoint has never answered: one that has is down for a while.
        if failure and failure.fix and (not failure.again or not self.answered):
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


CALLS_FILE = "calls.jsonl"
_LOCK_FILE = ".calls.lock"
_BEGINNINGS = (b'{"sent":', b'{"answered":', b'{"unpaid":', b'{"refuses":')


class CallLog:
    """The log of calls, folder/calls.jsonl: what was asked, what was answered, what it cost; one process at a time.

        log.find(key)                            the reply, if this very request was answered before
        log.sending(key, worst)                  written before a call
        log.answered(key, reply)                 written after it: never asked again
        log.unpaid(key)                          the endpoint refused it, or it was never reached

    It is cache, ledger and the memory of a killed job. A line is appended with one write, so that a kill leaves at most
    one torn line, the last, which is cut off when the file is opened again. A call that was being sent and has no
    answer is in doubt: the endpoint may have been paid. It counts as spent at its worst, and its answer is asked for
    again under the same idempotency key (`attempt`), for which endpoints that know such keys do not charge again.

    No prompt is written, only hashes of requests, and replies. Keys of endpoints never come here. `CallLog()` has no
    folder and only counts what is spent. Use it as a context manager.
    """

    def __init__(self, handle: int | None = None, lock: FileLock | None = None) -> None:
        self._handle = handle
        self._lock = lock
        self._end = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._attempts: Counter[str] = Counter()
        self._doubts: dict[str, list[Charge]] = {}
        self._paid = Charge()
        self.refused: set[str] = set()

    @classmethod
    def open(cls, folder: Path) -> CallLog:
        """The log of a folder, made where there is none.

        Raises:
            RunDirectoryError: the folder cannot be written, another process has it, or a line is not of a log.
        """
        path = folder / CALLS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / _LOCK_FILE)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise RunDirectoryError(
                "another process asks a judge with this folder", where=str(folder), fix="wait for it, or name another"
            ) from error
        except OSError as error:
            raise RunDirectoryError(
                f"cannot be written: {error.strerror}", where=str(folder), fix="name a folder that you may write to"
            ) from error
        try:
            # 0600: replies may quote texts of the data.
            log = cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), lock)
            log._load(path)
        except BaseException:
            lock.release()
            raise
        return log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing is lost where this is not called."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._lock is not None:
            self._lock.release()

    def find(self, key: str) -> Reply | None:
        """The reply to a request that was answered before."""
        if key not in self._places or self._handle is None:
            return None
        # Replies stay in the file; memory holds their places alone.
        start, length = self._places[key]
        return _reply(parse_json(os.pread(self._handle, length, start)))

    def attempt(self, key: str) -> int:
        """How often this request came back unpaid: another try needs a new idempotency key, a lost answer the same."""
        return self._attempts[key]

    def sending(self, key: str, worst: Charge) -> None:
        """A call is about to be made."""
        self._append({"sent": key, "prompt_tokens": worst.prompt_tokens, "completion_tokens": worst.completion_tokens})
        self._doubts.setdefault(key, []).append(worst)

    def answered(self, key: str, reply: Reply) -> None:
        """The call's answer is there, and paid."""
        line: dict[str, Any] = {"answered": key, "text": reply.text, "prompt_tokens": reply.prompt_tokens}
        line |= {"completion_tokens": reply.completion_tokens}
        if reply.tops:
            line["tops"] = reply.tops
        place = self._append(line)
        self._note_answer(key, reply, place)

    def unpaid(self, key: str) -> None:
        """The call came to nothing and cost nothing."""
        self._append({"unpaid": key})
        self._note_unpaid(key)

    def refuses(self, feature: str) -> None:
        """The endpoint does not know a feature of the protocol: it is not asked for again."""
        if feature not in self.refused:
            self._append({"refuses": feature})
            self.refused.add(feature)

    @property
    def doubts(self) -> Charge:
        """Calls that were sent and never answered, at their worst."""
        return sum((worst for calls in self._doubts.values() for worst in calls), Charge())

    @property
    def spent(self) -> Charge:
        """Everything that this folder has paid, calls in doubt included."""
        return self._paid + self.doubts

    def _append(self, content: dict[str, Any]) -> tuple[int, int]:
        """Write one line; where it stands."""
        # In ASCII, since a reply may hold a lone surrogate, which UTF-8 cannot encode.
        line = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        start = self._end
        if self._handle is not None:
            try:
                written = os.write(self._handle, line)
            except OSError as error:
                raise _unwritten(str(error.strerror)) from error
            if written != len(line):
                os.ftruncate(self._handle, start)  # half a line in the middle would make the rest unreadable
                raise _unwritten("the disk is full")
            self._end += len(line)
        return start, len(line)

    def _note_answer(self, key: str, reply: Reply, place: tuple[int, int]) -> None:
        self._settle(key)
        self._paid += Charge(1, reply.prompt_tokens, reply.completion_tokens)
        if self._handle is not None:
            self._places[key] = place

    def _note_unpaid(self, key: str) -> None:
        self._settle(key)
        self._attempts[key] += 1

    def _settle(self, key: str) -> None:
        """One call of this request is no longer in doubt: the last one, since those before it were lost."""
        calls = self._doubts.get(key, [])
        if calls:
            calls.pop()
        if not calls:
            self._doubts.pop(key, None)

    def _load(self, path: Path) -> None:
        """Read what is there; a torn last line was being written when its process was killed."""
        with path.open("rb") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.endswith(b"\n"):
                    if not any(line.startswith(one) or one.startswith(line) for one in _BEGINNINGS):
                        raise _not_of_a_log(f"{path}:{number}")
                    os.truncate(path, self._end)
                    break
                self._read(line, f"{path}:{number}")
                self._end += len(line)

    def _read(self, line: bytes, where: str) -> None:
        try:
            content = parse_json(line)
            if "sent" in content:
                worst = Charge(1, int(content["prompt_tokens"]), int(content["completion_tokens"]))
                self._doubts.setdefault(content["sent"], []).append(worst)
            elif "answered" in content:
                self._note_answer(content["answered"], _reply(content), (self._end, len(line)))
            elif "unpaid" in content:
                self._note_unpaid(content["unpaid"])
            else:
                self.refused.add(content["refuses"])
        except (ValueError, KeyError, TypeError) as error:
            raise _not_of_a_log(where) from error


def _not_of_a_log(where: str) -> RunDirectoryError:
    return RunDirectoryError(
        "is not a line of a log of calls", where=where, fix="name another folder, or delete the line"
    )


def _unwritten(reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"cannot be written: {reason}", where=CALLS_FILE, fix="make room and run the same command again"
    )


def _reply(content: dict[str, Any]) -> Reply:
    tops = tuple(
        tuple((str(token), float(value)) for token, value in token_tops) for token_tops in content.get("tops", ())
    )
    return Reply(str(content["text"]), int(content["prompt_tokens"]), int(content["completion_tokens"]), tops)


def request_key(endpoint: str, body: dict[str, Any]) -> str:
    """SHA-256 of the exact request: where it goes, and every field of it."""
    # Sorted keys and fixed separators: equal requests have one key, whatever the order of their fields.
    text = json.dumps([endpoint, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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


class Budget:
    """What is spent and what is reserved, against the limits: never overspent, however many calls are under way.

        if await budget.reserve(worst):          False: it would be overspent
            …
            budget.settle(worst, spent)

    Where what is left would do for this call but for those under way, it waits until one of them is settled: most cost
    far less than their worst. For one event loop.

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
            # Even if every call under way cost nothing, it would not fit: waiting is in vain.
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
        # All of them are woken: a small call may fit where the one before it does not.
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


ALLOWANCE = 512
"""Tokens that a chat template or an endpoint may add to the text of a call."""


def worst_charge(body: dict[str, Any], reply_tokens: int) -> Charge:
    """The most that a call with this body can cost: the longest reply, and as many tokens as its text has bytes (no
    tokenizer makes more) with an allowance for what the endpoint puts around it."""
    text = json.dumps([body["messages"], body.get("response_format")], ensure_ascii=False)
    return Charge(1, len(text.encode("utf-8", "surrogatepass")) + ALLOWANCE, reply_tokens)
