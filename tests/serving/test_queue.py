"""The micro-batcher and its admission, without sockets: every accepted request is answered once, and rightly."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving_world import WAIT, CountingEngine, chat, reward_of

from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.limits import Refusal
from rewardsmith.serving.queue import (
    Admission,
    Answer,
    BatchReport,
    Failed,
    MicroBatcher,
    QueueSettings,
    Reward,
    Unscorable,
)

Play = Callable[[MicroBatcher, CountingEngine], Awaitable[None]]


def play(scene: Play, settings: QueueSettings | None = None, engine: CountingEngine | None = None) -> CountingEngine:
    """Run a scene in a fresh event loop with a fresh worker thread."""
    engine = engine or CountingEngine()

    async def run() -> None:
        with ThreadPoolExecutor(1) as worker:
            batcher = MicroBatcher(engine, worker, settings)
            try:
                await asyncio.wait_for(scene(batcher, engine), WAIT)
            finally:
                engine.gate.set()
            assert (batcher.depth, batcher.admission.items, batcher.admission.characters) == (0, 0, 0)

    asyncio.run(run())
    return engine


def ask(
    batcher: MicroBatcher, *texts: str, seconds: float = WAIT, patience: float = 0.0
) -> Coroutine[Any, Any, Answer]:
    return batcher.submit([chat("", text) for text in texts], seconds=seconds, patience=patience)


def values(answer: Answer) -> list[float]:
    return [outcome.value for outcome in answer.outcomes if isinstance(outcome, Reward)]


async def entered(engine: CountingEngine) -> None:
    """Until the model has a batch in hand."""
    assert await asyncio.to_thread(engine.entered.wait, WAIT)


async def held(batcher: MicroBatcher, engine: CountingEngine, text: str = "first") -> asyncio.Task[Answer]:
    """A request that the model holds until `engine.gate` is set."""
    engine.gate.clear()
    task = asyncio.create_task(ask(batcher, text))
    await entered(engine)
    return task


async def settle() -> None:
    """Let tasks that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_rewards_come_in_the_order_of_the_request() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        answer = await ask(batcher, "b", "a", "c", "a")
        assert values(answer) == [reward_of(text) for text in "baca"]
        assert [outcome.tokens for outcome in answer.outcomes if isinstance(outcome, Reward)] == [1, 1, 1, 1]
        assert answer.info is engine.info

    engine = play(scene)
    assert engine.batches == [["b", "a", "c"]]  # the equal text was computed once


def test_what_arrives_while_the_model_is_busy_makes_one_batch() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        others = [asyncio.create_task(ask(batcher, text)) for text in ("x", "y", "x", "z")]
        await settle()
        assert batcher.depth == 5
        engine.gate.set()
        found = await asyncio.gather(first, *others)
        assert [values(answer) for answer in found] == [[reward_of(text)] for text in ("first", "x", "y", "x", "z")]

    assert play(scene).batches == [["first"], ["x", "y", "z"]]


def test_a_batch_holds_no_more_than_the_token_budget() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        others = asyncio.gather(*(ask(batcher, letter * 40) for letter in "abcde"))
        await settle()
        engine.gate.set()
        await asyncio.gather(first, others)

    batches = play(scene, QueueSettings(token_budget=100)).batches
    assert [len(batch) for batch in batches] == [1, 2, 2, 1]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        second = asyncio.create_task(ask(batcher, "second"))
        await settle()
        with pytest.raises(Refusal) as refused:
            await ask(batcher, "third")
        assert (refused.value.status, refused.value.code) == (503, "queue_full")
        assert int(refused.value.headers["retry-after"]) >= 1
        engine.gate.set()
        assert [values(answer) for answer in await asyncio.gather(first, second)] == [
            [reward_of("first")],
            [reward_of("second")],
        ]

    play(scene, QueueSettings(items=2))


def test_patient_requests_wait_for_room_in_order_and_are_answered() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        patient = [asyncio.create_task(ask(batcher, text, patience=WAIT)) for text in ("p", "q", "r")]
        await settle()
        assert batcher.admission.waiting == 3
        with pytest.raises(Refusal, match="queue is full"):
            await ask(batcher, "impatient")
        engine.gate.set()
        found = await asyncio.gather(first, *patient)
        assert [values(answer) for answer in found] == [[reward_of(text)] for text in ("first", "p", "q", "r")]

    assert play(scene, QueueSettings(items=1)).batches == [["first"], ["p"], ["q"], ["r"]]


def test_patience_ends_and_the_line_has_an_end_too() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        with pytest.raises(Refusal, match="queue is full"):
            await ask(batcher, "short of time", patience=0.01)
        waiting = asyncio.create_task(ask(batcher, "in line", patience=WAIT))
        await settle()
        with pytest.raises(Refusal, match="queue is full"):
            await ask(batcher, "line is full", patience=WAIT)
        engine.gate.set()
        await asyncio.gather(first, waiting)

    assert play(scene, QueueSettings(items=1, line=1)).batches == [["first"], ["in line"]]


def test_the_queue_is_bounded_in_characters_and_a_request_that_never_fits_is_told_so() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine, "12345")
        with pytest.raises(Refusal, match="queue is full"):
            await ask(batcher, "123456")
        with pytest.raises(Refusal, match="alone is larger") as refused:
            await ask(batcher, "12345678901")
        assert refused.value.status == 422
        assert refused.value.info.limit is not None
        assert (refused.value.info.limit.name, refused.value.info.limit.value) == ("queue_characters", 10)
        engine.gate.set()
        await first

    play(scene, QueueSettings(characters=10))


def test_a_deadline_takes_the_texts_out_of_the_queue() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        with pytest.raises(Refusal) as refused:
            await ask(batcher, "late", seconds=0.01)
        assert (refused.value.status, refused.value.code) == (503, "deadline")
        engine.gate.set()
        await first

    assert play(scene).batches == [["first"]]


def test_whoever_leaves_takes_the_texts_along_that_have_not_begun() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        leaving = [asyncio.create_task(ask(batcher, f"gone {index}")) for index in range(3)]
        staying = asyncio.create_task(ask(batcher, "stays"))
        await settle()
        for task in leaving:
            task.cancel()
        await settle()
        assert batcher.depth == 2
        first.cancel()
        engine.gate.set()
        assert values(await staying) == [reward_of("stays")]
        assert all(task.cancelled() for task in [first, *leaving])

    assert play(scene).batches == [["first"], ["stays"]]


def test_a_text_without_rendering_says_why_and_spoils_no_other() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        del engine
        answer = await ask(batcher, "good", "REFUSE", "long" * 10)
        assert answer.outcomes == [
            Reward(reward_of("good"), 4),
            Unscorable("template_refused", "the chat template refuses the conversation"),
            Unscorable("tokens", "40 tokens, this server takes 20"),
        ]
        assert (await ask(batcher)).outcomes == []

    assert play(scene, QueueSettings(tokens=20)).batches == [["good"]]


def test_a_text_that_breaks_the_model_fails_alone() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        others = asyncio.gather(ask(batcher, "fine"), ask(batcher, "BREAK"), ask(batcher, "NAN"), ask(batcher, "too"))
        await settle()
        engine.gate.set()
        found = [answer.outcomes[0] for answer in await others]
        await first
        assert found == [
            Reward(reward_of("fine"), 4),
            Failed("ValueError"),
            Failed("not_finite"),
            Reward(reward_of("too"), 3),
        ]

    play(scene)


def test_an_engine_that_breaks_in_preparing_leaves_nobody_waiting() -> None:
    class Broken(CountingEngine):
        def prepare(self, conversations: Any) -> Any:
            raise KeyError("no text here")

    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        del engine
        assert (await ask(batcher, "a", "b")).outcomes == [Failed("KeyError"), Failed("KeyError")]

    play(scene, engine=Broken())


def test_members_of_an_ensemble_reach_the_answer() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        engine.members = ("one", "two")
        [outcome] = (await ask(batcher, "a")).outcomes
        assert isinstance(outcome, Reward)
        assert outcome.members == {"one": reward_of("a"), "two": reward_of("a") + 1}

    play(scene)


def test_a_request_keeps_the_engine_that_it_was_accepted_with() -> None:
    new = CountingEngine(ModelInfo(identity="new"), shift=1000.0)

    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        old = asyncio.create_task(ask(batcher, "old", "older"))
        await settle()
        batcher.replace(new)
        late = asyncio.create_task(ask(batcher, "late"))
        await settle()
        engine.gate.set()
        found = await asyncio.gather(first, old, late)
        assert [values(answer) for answer in found] == [
            [reward_of("first")],
            [reward_of("old"), reward_of("older")],
            [reward_of("late") + 1000.0],
        ]
        assert [answer.info.identity for answer in found] == ["counting", "counting", "new"]

    assert play(scene).batches == [["first"], ["old", "older"]]
    assert new.batches == [["late"]]


def test_samples_that_arrive_together_lie_in_one_batch_once_that_was_seen() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        for group in range(3):
            await asyncio.gather(*(ask(batcher, f"{group} {sample}") for sample in range(4)))
        del engine

    batches = play(scene).batches
    assert sum(len(batch) for batch in batches) == 12
    assert [len(batch) for batch in batches[-2:]] == [4, 4]


def test_batches_are_reported() -> None:
    reports: list[BatchReport] = []

    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        del engine
        batcher.observe(reports.append)
        await ask(batcher, "a" * 40, "a" * 32 + "b", "NAN")

    play(scene)
    [report] = reports
    assert (report.conversations, report.received, report.computed, report.failures) == (3, 76, 44, 1)
    assert report.rewards == [reward_of("a" * 40), reward_of("a" * 32 + "b")]


@pytest.mark.parametrize("seed", range(3))
def test_in_any_mix_every_request_gets_its_own_rewards_once(seed: int) -> None:
    """Hundreds of requests of random sizes, some of which leave: answers are right and nothing stays behind."""
    draw = random.Random(seed)

    async def one(batcher: MicroBatcher, index: int) -> int:
        texts = [f"{draw.choice('abc') * draw.randint(1, 60)}{index % 7}" for _ in range(draw.randint(1, 5))]
        task = asyncio.create_task(ask(batcher, *texts, patience=WAIT if index % 2 else 0.0))
        if index % 11 == 0:
            await asyncio.sleep(0)
            task.cancel()
        try:
            answer = await task
        except asyncio.CancelledError:
            return 0
        except Refusal as refusal:
            return 0 if refusal.code == "queue_full" else -1000
        assert values(answer) == [reward_of(text) for text in texts]
        return 1

    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        answered = 0
        for start in range(0, 300, 50):
            answered += sum(await asyncio.gather(*(one(batcher, index) for index in range(start, start + 50))))
        assert answered > 100
        del engine

    play(scene, QueueSettings(items=40, token_budget=200))


def test_room_that_is_given_to_a_waiter_who_leaves_in_that_moment_is_not_lost() -> None:
    async def scene() -> None:
        admission = Admission(1, 100, 10)
        await admission.enter(1, 1, 0.0)
        waiting = asyncio.create_task(admission.enter(1, 1, WAIT))
        await settle()
        admission.leave(1, 1)  # gives the room to the waiter …
        waiting.cancel()  # … who is gone before it could take it
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (admission.items, admission.characters, admission.waiting) == (0, 0, 0)

    asyncio.run(scene())


def test_a_large_waiter_that_leaves_lets_a_smaller_one_behind_it_in() -> None:
    async def scene() -> None:
        admission = Admission(3, 100, 10)
        await admission.enter(2, 1, 0.0)
        large = asyncio.create_task(admission.enter(2, 1, WAIT))
        small = asyncio.create_task(admission.enter(1, 1, WAIT))
        await settle()
        assert not small.done()
        large.cancel()
        await asyncio.wait_for(small, WAIT)
        assert admission.items == 3

    asyncio.run(scene())


def test_the_event_loop_stays_free_while_the_model_computes() -> None:
    async def scene(batcher: MicroBatcher, engine: CountingEngine) -> None:
        first = await held(batcher, engine)
        assert threading.current_thread() is threading.main_thread()
        await asyncio.wait_for(asyncio.sleep(0), 1)
        engine.gate.set()
        await first

    play(scene)
