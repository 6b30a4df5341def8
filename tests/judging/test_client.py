"""The client against a line that fails as it is told: what is asked, waited for, paid and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.judging.client import Answer, CallLog, Charge, Client
from rewardsmith.judging.endpoint import CallFailed, Failure
from rewardsmith.judging.questions import Reply
from rewardsmith.spec import JudgeSpec
from rewardsmith.types import Usage

GOOD = Reply("[[A]]", 100, 10)
BUSY = Failure("answers 503", paid=False, again=True)
LOST = Failure("broke the connection", paid=True, again=True)
WRONG = Failure("answers 400", paid=False, again=False, status=400)
BODY = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 64}
LATE = 1e12

Outcome = Reply | Failure | Callable[[], Coroutine[Any, Any, Reply]]


class Script:
    """A line that gives these outcomes in turn; the last one for ever."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.keys: list[str] = []
        self.closed = False

    async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
        self.keys.append(idempotency_key)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Failure):
            raise CallFailed(outcome)
        return outcome if isinstance(outcome, Reply) else await outcome()

    async def close(self) -> None:
        self.closed = True


class Clock:
    """Waits that take no time, and are written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def spec(**settings: Any) -> JudgeSpec:
    return JudgeSpec(endpoint="http://host/v1", model="m", prices={"prompt": 1.0, "completion": 2.0}, **settings)


def asked(line: Script, *, log: CallLog | None = None, **settings: Any) -> tuple[Answer, Client, Clock]:
    async def one() -> tuple[Answer, Client, Clock]:
        clock = Clock()
        client = Client(spec(**settings), line, log or CallLog(), sleep=clock)
        return await client.ask(BODY, LATE), client, clock

    return asyncio.run(one())


def test_an_answer_and_what_it_cost() -> None:
    answer, client, clock = asked(Script(GOOD))
    assert answer == Answer(GOOD, "", Usage(1, 0, 100, 10, cost=(100 + 20) / 1e6))
    assert (client.used, client.budget.spent, client.answered) == (Charge(1, 100, 10), Charge(1, 100, 10), True)
    assert clock.waits == []


def test_a_failure_that_may_pass_is_tried_again_after_growing_random_waits() -> None:
    waits = [asked(Script(BUSY, BUSY, BUSY, GOOD), backoff=2.0, max_wait=6.0)[2].waits for _ in range(40)]
    longest = [max(column) for column in zip(*waits, strict=True)]
    assert all(low < most <= high for low, most, high in zip((1, 2, 3), longest, (2, 4, 6), strict=True))
    assert min(min(column) for column in zip(*waits, strict=True)) < 0.5  # jitter down to nothing


def test_the_endpoints_own_wait_is_kept_but_not_for_ever() -> None:
    told = Failure("answers 429", paid=False, again=True, wait=7.0)
    patient = Failure("answers 429", paid=False, again=True, wait=9000.0)
    _, _, clock = asked(Script(told, patient, GOOD), backoff=0.0, max_wait=30.0)
    assert clock.waits == [7.0, 30.0]


def test_retries_end_and_say_why() -> None:
    line = Script(BUSY)
    answer, client, _ = asked(line, retries=3)
    assert (answer.reply, answer.missing, answer.failure) == (None, "failed", BUSY)
    assert len(line.keys) == 4
    assert client.failures == {"answers 503": 4}
    assert (answer.usage, client.budget.spent) == (Usage(), Charge())


def test_what_asking_again_cannot_fix_is_asked_once() -> None:
    line = Script(WRONG)
    assert asked(line)[0].missing == "failed"
    assert len(line.keys) == 1


def test_a_lost_answer_is_paid_at_its_worst_and_asked_for_under_the_same_key() -> None:
    line = Script(LOST, GOOD)
    answer, client, _ = asked(line)
    assert line.keys[0] == line.keys[1]
    assert answer.usage.calls == client.budget.spent.calls == 2
    assert client.log.doubts.calls == 1
    assert client.used == Charge(1, 100, 10)


def test_an_unpaid_failure_is_tried_again_under_another_key() -> None:
    line = Script(BUSY, GOOD)
    asked(line)
    assert line.keys[0] != line.keys[1]


def test_an_endpoint_that_does_not_count_is_taken_to_have_charged_the_most() -> None:
    answer, client, _ = asked(Script(Reply("[[A]]", -1, -1)))
    assert answer.reply is not None
    assert answer.reply.completion_tokens == 64
    assert answer.reply.prompt_tokens > 512
    assert client.budget.spent == Charge(1, answer.reply.prompt_tokens, 64)


@pytest.mark.parametrize("again", [True, False])
def test_an_endpoint_that_was_never_there_is_refused_by_name(again: bool) -> None:
    gone = Failure("cannot be reached", paid=False, again=again, fix=("judge.endpoint", "start it"))
    _, client, _ = asked(Script(gone), retries=2)
    assert str(client.refusal) == (
        "http://host/v1 (model 'm'), field 'judge.endpoint': cannot be reached\n  try: start it"
    )


def test_an_endpoint_that_went_away_is_not() -> None:
    gone = Failure("cannot be reached", paid=False, again=True, fix=("judge.endpoint", "start it"))

    async def two() -> tuple[Client, Answer]:
        client = Client(spec(retries=1), Script(GOOD, gone), CallLog(), sleep=Clock())
        await client.ask(BODY, LATE)
        return client, await client.ask(BODY | {"seed": 1}, LATE)

    client, answer = asyncio.run(two())
    assert (client.refusal, answer.missing) == (None, "failed")


def test_the_same_request_under_way_is_waited_for_not_sent() -> None:
    async def three() -> tuple[list[Answer], Script, Client]:
        line = Script(GOOD)
        client = Client(spec(), line, CallLog(), sleep=Clock())
        return await asyncio.gather(*(client.ask(BODY, LATE) for _ in range(3))), line, client

    answers, line, client = asyncio.run(three())
    assert len(line.keys) == 1
    assert sum((answer.usage for answer in answers), Usage()) == Usage(1, 2, 100, 10, cost=120 / 1e6)
    assert client.used == Charge(1, 100, 10)


def test_what_was_answered_is_read_from_the_log(tmp_path: Path) -> None:
    for calls in (1, 0):
        line = Script(GOOD)
        with CallLog.open(tmp_path) as log:
            answer, client, _ = asked(line, log=log, budget={"calls": 1})
        assert len(line.keys) == calls
        assert answer.reply == GOOD
        assert client.used == client.budget.spent == Charge(1, 100, 10)
    assert answer.usage == Usage(cached=1)


def test_an_earlier_jobs_spending_counts(tmp_path: Path) -> None:
    with CallLog.open(tmp_path) as log:
        asked(Script(GOOD), log=log)
    with CallLog.open(tmp_path) as log:
        client = Client(spec(budget={"calls": 1}), Script(GOOD), log, sleep=Clock())
        assert asyncio.run(client.ask(BODY | {"seed": 1}, LATE)).missing == "budget"


def test_so_many_calls_at_a_time() -> None:
    async def many() -> int:
        under_way = most = 0

        async def slow() -> Reply:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            for _ in range(5):
                await asyncio.sleep(0)
            under_way -= 1
            return GOOD

        client = Client(spec(concurrency=3), Script(slow), CallLog(), sleep=Clock())
        await asyncio.gather(*(client.ask(BODY | {"seed": seed}, LATE) for seed in range(20)))
        return most

    assert asyncio.run(many()) == 3


def test_after_the_deadline_no_call_is_begun() -> None:
    async def late() -> tuple[Answer, Script]:
        line = Script(GOOD)
        now = asyncio.get_running_loop().time()
        return await Client(spec(), line, CallLog(), sleep=Clock()).ask(BODY, now - 1), line

    answer, line = asyncio.run(late())
    assert (answer.missing, line.keys) == ("deadline", [])


def test_a_caller_that_gives_up_leaves_its_call_to_be_written_down(tmp_path: Path) -> None:
    async def abandoned() -> None:
        arrive = asyncio.Event()

        async def slow() -> Reply:
            await arrive.wait()
            return GOOD

        line = Script(slow)
        with CallLog.open(tmp_path) as log:
            client = Client(spec(), line, log, sleep=Clock())
            asking = asyncio.create_task(client.ask(BODY, LATE))
            while not line.keys:
                await asyncio.sleep(0)
            asking.cancel()
            arrive.set()
            await client.close()
            assert asking.cancelled()
            assert line.closed
            assert log.spent == client.budget.spent == Charge(1, 100, 10)
            assert (await client.ask(BODY, LATE)).reply == GOOD

    asyncio.run(abandoned())


def test_when_it_closes_it_begins_no_new_call() -> None:
    async def closing() -> tuple[Answer, Script]:
        line = Script(BUSY)
        client = Client(spec(), line, CallLog(), sleep=Clock())
        await client.close()
        return await client.ask(BODY, LATE), line

    answer, line = asyncio.run(closing())
    assert (answer.missing, line.keys) == ("failed", [])
