"""The judge over a line that answers by rule: orders, samples, unread replies, deadlines, features."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rewardsmith.judging.client import CallLog, Client
from rewardsmith.judging.endpoint import CallFailed, Failure
from rewardsmith.judging.judge import LanguageModelJudge
from rewardsmith.judging.questions import Reply, load_prompts
from rewardsmith.protocols import BenchmarkJudge, Judge
from rewardsmith.spec import JudgePrompts, JudgeSpec
from rewardsmith.types import Choice, Comparison, JudgeAnswer, Message, Rating, Usage

ASKED = (Message("user", "Which?"),)
PAIR = Comparison(ASKED, (Message("assistant", "good"),), (Message("assistant", "bad"),), id="7")
Rule = Callable[[dict[str, Any]], str]


class Ruled:
    """A line whose replies a rule makes; it remembers the bodies."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.bodies: list[dict[str, Any]] = []

    async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
        self.bodies.append(body)
        return Reply(self.rule(body), 10, 1)

    async def close(self) -> None:
        pass


def material(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def says(label: str) -> Rule:
    return lambda _: f"So.\n[[{label}]]"


def prefers(text: str) -> Rule:
    """Names the letter under which this text stands."""

    def rule(body: dict[str, Any]) -> str:
        before = material(body).partition(f"===\n{text}\n")[0]
        return f"[[{before.split()[-2]}]]"

    return rule


def judge_of(line: Any, **settings: Any) -> LanguageModelJudge:
    spec = JudgeSpec(endpoint="http://host/v1", model="m", **({"output": "text", "backoff": 0.0} | settings))
    return LanguageModelJudge(spec, load_prompts(JudgePrompts()), Client(spec, line, CallLog()), seed=17)


def compared(rule: Rule, **settings: Any) -> tuple[JudgeAnswer, Ruled]:
    line = Ruled(rule)
    return asyncio.run(judge_of(line, **settings).compare(PAIR)), line


def test_it_is_a_judge() -> None:
    judge = judge_of(Ruled(says("A")))
    assert isinstance(judge, BenchmarkJudge)
    assert isinstance(judge, Judge)


def test_both_orders_are_asked_and_agree() -> None:
    verdict, line = compared(prefers("good"))
    assert verdict == JudgeAnswer(1.0, consistent=True, usage=Usage(2, 0, 20, 2))
    first, second = map(material, line.bodies)
    assert first.index("good") < first.index("bad")
    assert second.index("bad") < second.index("good")


@pytest.mark.parametrize(
    ("label", "probability", "consistent"), [("A", 0.5, False), ("B", 0.5, False), ("C", 0.5, True)]
)
def test_a_preference_for_a_place_is_a_tie(label: str, probability: float, consistent: bool) -> None:
    verdict, _ = compared(says(label))
    assert (verdict.probability, verdict.consistent) == (probability, consistent)


def test_one_order_is_drawn_from_the_seed_and_the_id() -> None:
    verdict, line = compared(prefers("bad"), orders="one")
    assert (verdict.probability, verdict.consistent, len(line.bodies)) == (0.0, None, 1)
    firsts = []
    for number in range(40):
        line = Ruled(says("A"))
        asyncio.run(judge_of(line, orders="one").compare(Comparison(*_texts(), id=str(number))))
        firsts.append(material(line.bodies[0]).index("good") < material(line.bodies[0]).index("bad"))
    assert 10 < sum(firsts) < 30


def _texts() -> tuple[Any, Any, Any]:
    return PAIR.prompt, PAIR.first, PAIR.second


def test_a_reply_that_cannot_be_read_is_asked_for_once_more() -> None:
    replies = iter(["nonsense", "So.\n[[A]]", "So.\n[[B]]"])
    verdict, line = compared(lambda _: next(replies), concurrency=1)
    assert len(line.bodies) == 3
    assert sum("could not be read" in material(body) for body in line.bodies) == 1
    assert verdict.missing == ""
    assert verdict.usage.calls == 3


def test_what_cannot_be_read_twice_is_missing_and_never_half_a_verdict() -> None:
    def only_the_first_order(body: dict[str, Any]) -> str:
        text = material(body)
        return "[[A]]" if text.index("good") < text.index("bad") else "nonsense"

    line = Ruled(only_the_first_order)
    judge = judge_of(line)
    verdict = asyncio.run(judge.compare(PAIR))
    assert (verdict.probability, verdict.missing) == (None, "unparsed")
    assert verdict.usage.calls == len(line.bodies) == 3
    assert (judge.tally.replies["pairwise"], judge.tally.unread["pairwise"], judge.tally.unparsed["pairwise"]) == (
        2,
        1,
        1,
    )


def test_samples_at_temperature_0_are_one_call_and_else_have_seeds_of_their_own() -> None:
    _, cold = compared(says("A"), samples=3)
    assert len(cold.bodies) == 2
    assert all("seed" not in body for body in cold.bodies)
    _, warm = compared(says("A"), samples=3, temperature=0.7)
    assert len(warm.bodies) == 6
    assert len({body["seed"] for body in warm.bodies}) == 3
    _, unset = compared(says("A"), temperature=None)
    assert "temperature" not in unset.bodies[0]


def test_samples_are_combined_within_their_order() -> None:
    def mostly_good(body: dict[str, Any]) -> str:
        good_first = material(body).index("good") < material(body).index("bad")
        wrong = good_first and body["seed"] == seeds[0]
        return "[[B]]" if good_first == wrong else "[[A]]"

    seeds = sorted({body["seed"] for body in compared(says("A"), samples=3, temperature=1.0)[1].bodies})
    mean, _ = compared(mostly_good, samples=3, temperature=1.0)
    assert mean.probability == pytest.approx((2 / 3 + 1) / 2)
    majority, _ = compared(mostly_good, samples=3, temperature=1.0, combine="majority")
    assert (majority.probability, majority.consistent) == (1.0, True)


def test_the_best_of_several_is_found_wherever_it_stands() -> None:
    answers = ["three", "four", "five", "six"]
    judge = judge_of(Ruled(prefers("five")))
    judge.expect({str(row): 4 for row in range(8)})
    found = [asyncio.run(judge.choose(ASKED, answers, str(row))) for row in range(8)]
    assert [choice.best for choice in found] == [2] * 8
    assert judge.tally.places["ranking"] == {"A": 2, "B": 2, "C": 2, "D": 2}
    assert sorted(judge.order("0", 4)) == [0, 1, 2, 3]
    assert judge.order("unexpected", 4) == judge.order("unexpected", 4)


def test_a_rating_is_a_number_and_one_that_cannot_be_read_is_asked_for_twice() -> None:
    conversation = (*ASKED, Message("assistant", "good"))
    for said, rating, calls in (("7", Rating(7.0), 1), ("70", Rating(None, "unparsed"), 2)):
        line = Ruled(says(said))
        assert asyncio.run(judge_of(line).rate(conversation)) == rating
        assert len(line.bodies) == calls


def test_the_request_is_exactly_what_was_asked_for() -> None:
    line = Ruled(says("A"))
    asyncio.run(judge_of(line, output="json_schema", max_tokens=99, temperature=0.5).choose(ASKED, ["x", "y"], "r"))
    body = line.bodies[0]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 99, 0.5)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"] == {"type": "string", "enum": ["A", "B"]}
    assert "JSON" in material(body)


def test_token_probabilities_need_one_token() -> None:
    line = Ruled(says("A"))
    settings: dict[str, Any] = {"verdict": "logprobs", "limit_name": "max_completion_tokens", "top_logprobs": 5}
    asyncio.run(judge_of(line, **settings).choose(ASKED, ["x", "y"], "r"))
    body = line.bodies[0]
    assert (body["logprobs"], body["top_logprobs"], body["max_completion_tokens"]) == (True, 5, 1)
    assert "max_tokens" not in body


class Failing:
    """A line that refuses bodies by a rule."""

    def __init__(self, status: int, problem: str, refused: Callable[[dict[str, Any]], bool]) -> None:
        self.failure = Failure(problem, paid=False, again=False, status=status)
        self.refused = refused
        self.bodies: list[dict[str, Any]] = []

    async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
        self.bodies.append(body)
        if self.refused(body):
            raise CallFailed(self.failure)
        return Reply("[[A]]" if "logprobs" not in body else "A", 10, 1)

    async def close(self) -> None:
        pass


def test_a_field_that_is_refused_is_given_up_and_remembered() -> None:
    line = Failing(422, "answers 422: logprobs", lambda body: "logprobs" in body)
    judge = judge_of(line, verdict="logprobs", orders="one")
    for number in range(3):
        asyncio.run(judge.compare(Comparison(*_texts(), id=str(number))))
    assert ["logprobs" in body for body in line.bodies] == [True, False, False, False]


def test_one_row_that_is_too_long_gives_nothing_up() -> None:
    line = Failing(400, "answers 400: maximum context length", lambda body: "long" in material(body))
    judge = judge_of(line, output="auto")
    long = asyncio.run(judge.choose((Message("user", "long"),), ["x", "y"], "1"))
    short = asyncio.run(judge.choose(ASKED, ["x", "y"], "2"))
    assert long == Choice(None, "failed")
    assert short.missing == "unparsed"  # the line does not speak JSON
    assert judge.refusal is None
    assert "response_format" in line.bodies[-1]


def test_an_endpoint_that_takes_nothing_is_told() -> None:
    judge = judge_of(Failing(400, "answers 400: no temperature here", lambda _: True))
    asyncio.run(judge.compare(PAIR))
    assert judge.refusal is not None
    assert "no temperature here" in str(judge.refusal)


def test_a_verdict_that_comes_too_late_is_missing() -> None:
    class Never:
        async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def close(self) -> None:
            pass

    judge = judge_of(Never(), deadline=0.01)

    async def all_three() -> list[Any]:
        conversation = (*ASKED, Message("assistant", "good"))
        return [
            await judge.compare(PAIR),
            await judge.choose(ASKED, ["x", "y"], "r"),
            await judge.rate(conversation),
        ]

    assert asyncio.run(all_three()) == [
        JudgeAnswer(None, missing="deadline"),
        Choice(None, "deadline"),
        Rating(None, "deadline"),
    ]


def test_without_budget_there_is_no_verdict_and_no_call() -> None:
    verdict, line = compared(says("A"), budget={"calls": 0})
    assert (verdict, line.bodies) == (JudgeAnswer(None, missing="budget"), [])
    half, line = compared(prefers("good"), budget={"calls": 1})
    assert (half.probability, half.missing, len(line.bodies)) == (None, "budget", 1)
