"""The micro-batcher: many requests in, one batch at a time through the model, one answer per request out. No HTTP.

    batcher = MicroBatcher(engine, worker, QueueSettings(token_budget=16384))
    answer = await batcher.submit(conversations, seconds=60)          # Refusal 503: queue full, or the deadline passed

    submit ─► admission ─► waiting ─► [worker thread: prepare, choose, score] ─► answers

The event loop owns all state. The worker thread (an executor with one thread, shared by the models of one device) gets
a list of items and an engine and gives back outcomes. While it computes, the loop goes on accepting; when it is done,
the next batch begins before the answers of the last one are sent. Nothing waits artificially, with one exception:
`Company`.

A batch is filled first come, first served. A text is charged only for the tokens that no text of the batch has
computed yet, so the samples of one prompt come to lie in one batch where the token tree computes their prompt once.

Whoever stops waiting (client gone, deadline passed) takes its items out of the queue; what the model has begun is
computed and thrown away. A request keeps the engine that it was accepted with, so a reload never mixes two models in
one answer. If a batch fails, its texts are tried one by one: a text that breaks the model fails alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Unscorable
from rewardsmith.serving.limits import Refusal, overloaded
from rewardsmith.serving.logs import log
from rewardsmith.types import Conversation


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Bounds of one model's queue.

    `items` and `characters` bound what waits for the model, `line` the requests that wait for room in the queue.
    `token_budget` is the most tokens of a batch, `tokens` the most of one text (None: what the model takes).
    """

    items: int = 1024
    characters: int = 64 * 2**20
    line: int = 4096
    token_budget: int = 16384
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reward:
    """What one conversation got: the raw reward, its tokens, prompt tokens cut away, an ensemble's members and spread.

    A member that was left out is None.
    """

    value: float
    tokens: int
    cut: int = 0
    members: dict[str, float | None] = field(default_factory=dict)
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The model could not compute a reward: the type of the error, or `not_finite`."""

    kind: str


Outcome = Reward | Unscorable | Failed


@dataclass(frozen=True, slots=True)
class Answer:
    """One outcome per conversation, in order, and the model that gave them."""

    outcomes: list[Outcome]
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch was, for metrics. `received` tokens were asked for, `computed` after sharing prefixes."""

    conversations: int
    received: int
    computed: int
    seconds: float
    rewards: list[float]
    failures: int


Observer = Callable[[BatchReport], None]
LOOKAHEAD = 512
"""Waiting conversations that a batch is chosen from."""


class MicroBatcher:
    """The queue of one model. Create it, and call it, in the event loop's thread."""

    def __init__(self, engine: Engine, worker: Executor, settings: QueueSettings | None = None) -> None:
        self.engine = engine
        self.settings = settings or QueueSettings()
        self._worker = worker
        self._observe: Observer | None = None
        self._pace = Pace(self.settings.token_budget)
        # Where the mean over batches begins; it is read only when a pace is known.
        self._mean_tokens = 256.0
        self.admission = Admission(
            self.settings.items, self.settings.characters, self.settings.line, retry_after=self.seconds_ahead
        )
        self._waiting: list[_Item] = []
        self._running = False
        self._start: asyncio.TimerHandle | None = None
        self._company = Company()
        self._lone_since: float | None = None

    @property
    def depth(self) -> int:
        """Conversations that wait for the model."""
        return len(self._waiting)

    def seconds_ahead(self) -> float:
        """How long what waits now will take, by the pace of the last batches."""
        return self._pace.seconds(int(len(self._waiting) * self._mean_tokens))

    def observe(self, observer: Observer) -> None:
        """Report each batch to `observer`."""
        self._observe = observer

    def replace(self, engine: Engine) -> None:
        """Use another engine for what is accepted from now on."""
        self.engine = engine

    async def submit(self, conversations: Sequence[Conversation], *, seconds: float, patience: float = 0.0) -> Answer:
        """Score the conversations of one request.

        Args:
            conversations: in the order of the outcomes.
            seconds: when nobody waits for the answer any more.
            patience: how long to wait for room in a full queue.

        Raises:
            Refusal: the queue is full (503), the deadline passed (503), or the request is too large (422).
        """
        if not conversations:
            return Answer([], self.engine.info)
        until = time.monotonic() + seconds
        size = sum(len(turn.text) for conversation in conversations for turn in conversation)
        await self.admission.enter(len(conversations), size, min(patience, seconds))
        try:
            return await self._wait(conversations, until)
        finally:
            self.admission.leave(len(conversations), size)

    async def _wait(self, conversations: Sequence[Conversation], until: float) -> Answer:
        engine = self.engine
        loop = asyncio.get_running_loop()
        job = _Job(engine, loop.create_future(), [None] * len(conversations), len(conversations))
        self._waiting += [_Item(job, index, conversation) for index, conversation in enumerate(conversations)]
        self._arrived()
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return Answer(await job.done, engine.info)
        except TimeoutError:
            raise overloaded(
                "deadline", "the deadline passed before the model was free", self.seconds_ahead()
            ) from None
        finally:
            if not job.done.done() or job.done.cancelled():
                # Nobody waits for these any more: what is not computed yet is left out.
                self._waiting = [item for item in self._waiting if item.job is not job]

    def _arrived(self) -> None:
        """Somebody joined the queue: begin, unless a batch runs or is about to."""
        if self._lone_since is not None:
            self._company.learn(came=time.monotonic() - self._lone_since < COMPANY_SECONDS)
            self._lone_since = None
        if not self._running and self._start is None:
            self._start = asyncio.get_running_loop().call_later(
                self._company.seconds(), self._begin_idle, len(self._waiting)
            )

    def _begin_idle(self, before: int) -> None:
        """The first batch after a pause."""
        self._start = None
        if self._company.seconds():
            self._company.learn(came=len(self._waiting) > before)
        else:
            self._lone_since = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        """Hand the worker what waits; the oldest request decides the engine."""
        if not self._waiting:
            return
        engine = self._waiting[0].job.engine
        # After a reload requests of two engines may wait; a batch is of one.
        items = [item for item in self._waiting[:LOOKAHEAD] if item.job.engine is engine]
        self._running = True
        loop = asyncio.get_running_loop()
        work = self._worker.submit(_work, engine, items, self._pace.budget(), self.settings.tokens)

        def tell(done: Future[_Done]) -> None:
            with suppress(RuntimeError):  # a server that was told to end at once: the loop is gone, and who waited
                loop.call_soon_threadsafe(self._finished, items, done)

        work.add_done_callback(tell)

    def _finished(self, items: list[_Item], work: Future[_Done]) -> None:
        """A batch is done: begin the next one, then give the answers."""
        self._running = False
        error = work.exception()
        done = work.result() if error is None else _failure(items, error)
        gone = {id(item) for item, _ in done.outcomes}
        self._waiting = [item for item in self._waiting if id(item) not in gone]
        if done.report is not None:
            self._pace.observe(done.report.computed, done.report.seconds)
            self._mean_tokens = 0.8 * self._mean_tokens + 0.2 * done.report.computed / max(1, done.report.conversations)
        if not self._waiting and self._lone_since is not None:
            self._company.learn(came=False)
            self._lone_since = None
        self._begin()
        for item, outcome in done.outcomes:
            item.job.give(item.index, outcome)
        if done.report is not None and self._observe is not None:
            self._observe(done.report)


@dataclass(slots=True, eq=False)
class _Job:
    """One request: where its outcomes are collected, and who waits for them."""

    engine: Engine
    done: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome | None]
    missing: int

    def give(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result([found for found in self.outcomes if found is not None])


@dataclass(slots=True, eq=False)
class _Item:
    """One conversation of a request."""

    job: _Job
    index: int
    conversation: Conversation
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """What came back from the worker: outcomes of some items; the others go on waiting."""

    outcomes: list[tuple[_Item, Outcome]]
    report: BatchReport | None


def _work(engine: Engine, items: list[_Item], budget: int, most_tokens: int | None) -> _Done:
    """In the worker thread: prepare what is new, choose a batch, score it."""
    outcomes = _prepare(engine, [item for item in items if item.prepared is None], most_tokens)
    # Where the deadline passed or the client left meanwhile, nothing is computed.
    ready = [(item, item.prepared) for item in items if item.prepared is not None and not item.job.done.done()]
    if not ready:
        return _Done(outcomes, None)
    positions, computed = choose_batch([prepared for _, prepared in ready], budget)
    batch = [ready[position] for position in positions]
    started = time.perf_counter()
    found = _score_distinct(engine, [prepared for _, prepared in batch])
    seconds = time.perf_counter() - started
    rewards = [outcome.value for outcome in found if isinstance(outcome, Reward)]
    received = sum(prepared.tokens for _, prepared in batch)
    report = BatchReport(len(batch), received, computed, seconds, rewards, len(batch) - len(rewards))
    return _Done(outcomes + list(zip((item for item, _ in batch), found, strict=True)), report)


def _prepare(engine: Engine, items: list[_Item], most_tokens: int | None) -> list[tuple[_Item, Outcome]]:
    """Fill in `prepared`; the outcomes of those that cannot be scored."""
    refused: list[tuple[_Item, Outcome]] = []
    if not items:
        return refused
    for item, prepared in zip(items, engine.prepare([item.conversation for item in items]), strict=True):
        if isinstance(prepared, Unscorable):
            refused.append((item, prepared))
        elif most_tokens is not None and prepared.tokens > most_tokens:
            detail = f"{prepared.tokens} tokens, this server takes {most_tokens}"
            refused.append((item, Unscorable("tokens", detail)))
        else:
            item.prepared = prepared
    return refused


def _score_distinct(engine: Engine, batch: list[Prepared]) -> list[Outcome]:
    """Each distinct text once; all texts alone if they fail together."""
    distinct = list({prepared.key: prepared for prepared in batch}.values())
    try:
        found = _score(engine, distinct)
    except Exception as error:
        # A text that breaks the model must not fail requests which only shared its batch.
        found = [_failed(error)] if len(distinct) == 1 else [_score_alone(engine, one) for one in distinct]
    by_key = {prepared.key: outcome for prepared, outcome in zip(distinct, found, strict=True)}
    return [_for(prepared, by_key[prepared.key]) for prepared in batch]


def _score_alone(engine: Engine, prepared: Prepared) -> Outcome:
    try:
        return _score(engine, [prepared])[0]
    except Exception as error:
        return _failed(error)


def _score(engine: Engine, batch: list[Prepared]) -> list[Outcome]:
    scored = engine.score(batch)
    return [
        Reward(
            float(reward),
            prepared.tokens,
            prepared.cut,
            {name: _finite(values[index]) for name, values in scored.members.items()},
            None if scored.spread is None else _finite(scored.spread[index]),
        )
        if np.isfinite(reward)
        else Failed(scored.failure)
        for index, (prepared, reward) in enumerate(zip(batch, scored.rewards, strict=True))
    ]


def _for(prepared: Prepared, outcome: Outcome) -> Outcome:
    """The outcome of an equal text, with this one's own count of what was cut."""
    if isinstance(outcome, Reward) and outcome.cut != prepared.cut:
        return replace(outcome, tokens=prepared.tokens, cut=prepared.cut)
    return outcome


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _failure(items: list[_Item], error: BaseException) -> _Done:
    """The work itself broke: nothing stays in the queue unanswered."""
    failed = _failed(error)
    return _Done([(item, failed) for item in items], None)


def _failed(error: BaseException) -> Failed:
    """What the client is told is the kind of the error; the log says where it came from."""
    log("model_failed", level=logging.ERROR, error=error)
    return Failed(type(error).__name__)


_LINE_TIMES = 4
"""How many times the characters of the queue may wait for room in it."""


class Admission:
    """Who may stand in one queue: a bounded number of conversations and characters, and a bounded line in front of it.

        await admission.enter(items=3, size=2048, patience=0.0)      # Refusal 503 at once when the queue is full
        await admission.enter(items=1, size=2048, patience=170.0)    # OpenRLHF: waits for room, in order
        admission.leave(items=1, size=2048)

    `retry_after` says how long the queue will take. Used from the event loop's thread only.
    """

    def __init__(
        self, most_items: int, most_characters: int, most_waiting: int, retry_after: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.items = 0
        self.characters = 0
        self._most_items = most_items
        self._most_characters = most_characters
        self._most_waiting = most_waiting
        self._retry_after = retry_after
        self._line: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._line)

    async def enter(self, items: int, size: int, patience: float) -> None:
        """Take room for a request, or wait `patience` seconds for it.

        Raises:
            Refusal: there is no room (503), or never can be (422).
        """
        if items > self._most_items or size > self._most_characters:
            name, value = (
                ("queue_items", self._most_items)
                if items > self._most_items
                else ("queue_characters", self._most_characters)
            )
            raise Refusal(
                422,
                "larger_than_queue",
                "the request alone is larger than the queue",
                fix="send it in parts",
                limit=(name, value),
            )
        # Nobody overtakes those who wait: a large request would never find room.
        if not self._line and self._fits(items, size):
            self._take(items, size)
            return
        waiting = sum(waiter.size for waiter in self._line)
        if (
            patience <= 0
            or len(self._line) >= self._most_waiting
            or waiting + size > _LINE_TIMES * self._most_characters
        ):
            raise self._full()
        await self._wait(_Waiter(asyncio.get_running_loop().create_future(), items, size), patience)

    def leave(self, items: int, size: int) -> None:
        """Give room back; those who wait for it enter in order."""
        self.items -= items
        self.characters -= size
        while self._line and self._fits(self._line[0].items, self._line[0].size):
            waiter = self._line.popleft()
            if not waiter.room.done():
                self._take(waiter.items, waiter.size)
                waiter.room.set_result(None)

    async def _wait(self, waiter: _Waiter, patience: float) -> None:
        self._line.append(waiter)
        try:
            async with asyncio.timeout(patience):
                await waiter.room
        except BaseException as error:
            if waiter.room.done() and not waiter.room.cancelled():
                self.leave(waiter.items, waiter.size)  # room was given in the same moment
            elif waiter in self._line:
                self._line.remove(waiter)
                self.leave(0, 0)  # a smaller request behind may fit
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _fits(self, items: int, size: int) -> bool:
        return self.items + items <= self._most_items and self.characters + size <= self._most_characters

    def _take(self, items: int, size: int) -> None:
        self.items += items
        self.characters += size

    def _full(self) -> Refusal:
        return overloaded(
            "queue_full", f"the queue is full: {self.items} conversations wait", retry_after=self._retry_after()
        )


@dataclass(frozen=True, slots=True)
class _Waiter:
    room: asyncio.Future[None]
    items: int
    size: int


BLOCK = 32
"""Tokens of a prefix block."""


def prefix_blocks(ids_T: NDArray[np.int32], block: int = BLOCK) -> tuple[int, ...]:
    """A name for each whole block of a text that also names everything before it, shape (T // block,)."""
    names: list[int] = []
    name = 0
    for start in range(0, len(ids_T) - block + 1, block):
        # Salted for each process: names of one server mean nothing to another, and nobody can plan a collision.
        name = hash((name, ids_T[start : start + block].tobytes()))
        names.append(name)
    return tuple(names)


def choose_batch(waiting: Sequence[Prepared], budget: int) -> tuple[list[int], int]:
    """Positions of the texts that make the next batch, oldest first, and the tokens that they take.

    The oldest is always taken; another one if it fits into what is left of the budget.
    """
    fill = Fill()
    taken: list[int] = []
    for position, text in enumerate(waiting):
        # The oldest even if it is larger than the budget: it would else wait for ever.
        if not taken or fill.tokens + fill.added(text) <= budget:
            fill.add(text)
            taken.append(position)
    return taken, fill.tokens


class Fill:
    """A batch in the making: what it holds, and what one more text would add to it."""

    def __init__(self) -> None:
        self.tokens = 0
        self._keys: set[Hashable] = set()
        self._blocks: set[int] = set()

    def added(self, text: Prepared) -> int:
        """Tokens that `text` would add: none if it is in the batch already, else those after the shared blocks."""
        if text.key in self._keys:
            return 0
        shared = 0
        for name in text.blocks:
            if name not in self._blocks:
                break
            shared += 1
        return text.tokens - shared * BLOCK

    def add(self, text: Prepared) -> None:
        """Take `text`."""
        self.tokens += self.added(text)
        self._keys.add(text.key)
        self._blocks.update(text.blocks)


BATCH_SECONDS = 1.0
"""How long a batch may take: a slow model gets small batches, so that nobody waits for a large one."""

# Tokens of the first batch, and of every one of a model that is slower than that a second.
LEAST_BUDGET = 1024


class Pace:
    """How fast the model is, by its last batches: an exponential mean of tokens per second."""

    def __init__(self, most: int, seconds: float = BATCH_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._rate: float | None = None

    def observe(self, tokens: int, seconds: float) -> None:
        """One batch of `tokens` took `seconds`."""
        if tokens > 0 and seconds > 0:
            found = tokens / seconds
            # The last five batches or so: one odd batch changes little, another load is noticed soon.
            self._rate = found if self._rate is None else 0.8 * self._rate + 0.2 * found

    def budget(self) -> int:
        """Tokens of the next batch."""
        if self._rate is None:
            return min(self._most, LEAST_BUDGET)
        return int(min(self._most, max(LEAST_BUDGET, self._rate * self._seconds)))

    def seconds(self, tokens: int) -> float:
        """How long `tokens` would take; 0 before the first batch."""
        return tokens / self._rate if self._rate else 0.0


COMPANY_SECONDS = 0.004
"""How long an idle server waits at most for texts that arrive together, where they did so lately."""

# How often it waits in vain before it stops waiting.
_MEMORY = 3


class Company:
    """Whether an idle server should wait a moment before it begins: yes where texts lately came together.

    Eight samples of one prompt sent at once arrive within a few milliseconds. A server that begins with the first
    computes the prompt twice. One that always waits makes every lone request late. So it waits only after a lone
    beginning was followed by others at once, and stops when waiting was in vain.
    """

    def __init__(self) -> None:
        self._hope = 0

    def seconds(self) -> float:
        """How long to wait at most."""
        return COMPANY_SECONDS if self._hope > 0 else 0.0

    def learn(self, *, came: bool) -> None:
        """Others came within `COMPANY_SECONDS` of the first, or nobody did."""
        self._hope = _MEMORY if came else max(0, self._hope - 1)
