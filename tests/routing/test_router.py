"""The router at run time: budgets, the breaker, deadlines, the log and its replay. Time is a clock of the test."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_world import CALL, Clock, ScriptedJudge, comparison

from rewardsmith.errors import DataError, RunDirectoryError
from rewardsmith.protocols import Judge, Router
from rewardsmith.routing import AuditLog, BudgetLimits, HybridRouter, RouterSettings, Rule, Rules, replay
from rewardsmith.routing.audit import decision_of, header_of, read_log
from rewardsmith.routing.router import Breaker, Budget
from rewardsmith.types import Comparison, Decision, JudgeAnswer, Message, Opinion, Rewarded, Usage

RULES = Rules((Rule("margin", 1.0),))
CLEAR, AMBIGUOUS = Opinion(2.0, 0.9), Opinion(0.5, 0.6)


def router(judge: Judge | None, clock: Clock | None = None, log: AuditLog | None = None, **settings) -> HybridRouter:
    limits = BudgetLimits(**{name: settings.pop(name) for name in list(settings) if name in BudgetLimits.__slots__})
    return HybridRouter(RULES, judge, RouterSettings(limits=limits, **settings), log=log, clock=clock or Clock())


def decide(found: HybridRouter, *of: Opinion) -> list[Decision]:
    """Decisions one after the other."""

    async def all_of_them() -> list[Decision]:
        return [await found.decide(comparison(str(place)), one) for place, one in enumerate(of)]

    return asyncio.run(all_of_them())


def test_only_the_ambiguous_reaches_the_judge() -> None:
    judge = ScriptedJudge(lambda _: 0.0)
    found = decide(router(judge), CLEAR, AMBIGUOUS)
    assert judge.asked == ["1"]
    assert [(one.winner, one.by) for one in found] == [("first", "reward_model"), ("second", "judge")]
    assert (found[0].probability, found[1].probability) == (0.9, 0.0)
    assert (found[0].usage, found[1].usage) == (Usage(), CALL)
    assert isinstance(router(judge), Router)


def test_without_a_judge_the_reward_model_answers_and_says_so() -> None:
    found = decide(router(None), AMBIGUOUS)[0]
    assert (found.winner, found.by, found.fallback) == ("first", "reward_model", "no_judge")
    assert found.why == "margin 0.5 is below 1; no judge is there"


def test_a_slow_judge_is_not_waited_for() -> None:
    async def run() -> tuple[Decision, ScriptedJudge]:
        judge = ScriptedJudge(gate=asyncio.Event())
        return await router(judge, seconds=0.01).decide(comparison(), AMBIGUOUS), judge

    found, judge = asyncio.run(run())
    assert (found.winner, found.by, found.fallback) == ("first", "reward_model", "deadline")
    assert judge.running == 0  # its call was cancelled


def test_waiting_for_a_free_place_counts_against_the_deadline_but_not_for_the_patient() -> None:
    async def run(patient: bool) -> list[Decision]:
        judge = ScriptedJudge(gate=asyncio.Event())
        one = router(judge, concurrency=1, seconds=0.05, failures=9)
        pairs = [one.decide(comparison(str(place)), AMBIGUOUS, patient=patient) for place in range(3)]
        found = await asyncio.gather(*pairs)
        assert judge.asked == (["0", "1", "2"] if patient else ["0"])
        return found

    for patient in (True, False):
        assert {one.fallback for one in asyncio.run(run(patient))} == {"deadline"}


def test_no_more_comparisons_are_with_the_judge_than_allowed() -> None:
    async def run() -> int:
        judge = ScriptedJudge()
        one = router(judge, concurrency=3)
        await asyncio.gather(*(one.decide(comparison(str(place)), AMBIGUOUS) for place in range(20)))
        assert len(judge.asked) == 20
        return judge.most_running

    assert asyncio.run(run()) == 3


def test_a_judge_that_is_down_is_left_alone_and_tried_again() -> None:
    clock, up = Clock(), [False]
    judge = ScriptedJudge(lambda _: 1.0 if up[0] else "failed")
    one = router(judge, clock, failures=3, rest_seconds=10)
    assert [found.fallback for found in decide(one, *[AMBIGUOUS] * 5)] == ["failed"] * 3 + ["breaker"] * 2
    clock.now = 10.0  # one tries, fails, and the rest begins again
    assert [found.fallback for found in decide(one, AMBIGUOUS, AMBIGUOUS)] == ["failed", "breaker"]
    clock.now, up[0] = 20.0, True
    assert [found.by for found in decide(one, AMBIGUOUS, AMBIGUOUS)] == ["judge", "judge"]


@pytest.mark.parametrize("missing", ["unparsed", "budget"])
def test_a_judge_that_cannot_be_read_or_paid_is_not_down(missing: str) -> None:
    judge = ScriptedJudge(lambda _: missing)  # type: ignore[arg-type,return-value]
    found = decide(router(judge, failures=2), *[AMBIGUOUS] * 5)
    assert [one.fallback for one in found] == [missing] * 5
    assert len(judge.asked) == 5


def test_only_one_tries_while_the_breaker_is_half_open() -> None:
    clock = Clock()
    breaker = Breaker(1, 5.0, clock)
    assert breaker.enter()
    breaker.leave(failed=True)
    assert not breaker.enter()
    clock.now = 5.0
    assert breaker.enter()
    assert breaker.open  # for all others
    breaker.leave(failed=None)  # cancelled: nothing was learned, the next may try
    assert breaker.enter()
    breaker.leave(failed=False)
    assert not breaker.open


def test_a_share_of_a_stream_is_never_passed_by_more_than_one() -> None:
    judge = ScriptedJudge()
    found = decide(router(judge, share=0.25), *[AMBIGUOUS] * 100)
    escalated = [one.by == "judge" for one in found]
    assert sum(escalated) == 26
    assert all(sum(escalated[:seen]) <= 1 + 0.25 * seen for seen in range(101))
    assert {one.fallback for one in found if one.by != "judge"} == {"share"}
    assert decide(router(judge, share=0.0), AMBIGUOUS)[0].fallback == "share"


def test_clear_comparisons_earn_escalations() -> None:
    found = decide(router(ScriptedJudge(), share=0.5), *[CLEAR] * 10, *[AMBIGUOUS] * 6)
    assert [one.by for one in found[10:]] == ["judge"] * 6


def test_money_is_not_overspent_by_a_burst() -> None:
    async def run() -> tuple[list[Decision], ScriptedJudge]:
        judge = ScriptedJudge()
        one = router(judge, cost=0.055, concurrency=50)
        first = await one.decide(comparison("first"), AMBIGUOUS)
        return [first, *await asyncio.gather(*(one.decide(comparison(str(n)), AMBIGUOUS) for n in range(50)))], judge

    found, judge = asyncio.run(run())
    assert len(judge.asked) == 5  # of 0.01 each
    assert sum(one.usage.cost for one in found) == pytest.approx(0.05)
    assert sum(one.fallback == "cost" for one in found) == 46


def test_until_a_price_is_known_one_comparison_is_asked_at_a_time() -> None:
    async def run() -> list[Decision]:
        one = router(ScriptedJudge(), cost=0.5, concurrency=50)
        return await asyncio.gather(*(one.decide(comparison(str(n)), AMBIGUOUS) for n in range(10)))

    assert [one.fallback for one in asyncio.run(run())] == ["", *["cost"] * 9]


def test_calls_of_a_minute_by_hand() -> None:
    clock = Clock()
    budget = Budget(BudgetLimits(calls_per_minute=5, calls_each=2), clock)

    def take() -> None:
        assert budget.wait_seconds() == 0
        asyncio.run(budget.turn())

    take()
    clock.now = 10.0
    take()
    assert budget.wait_seconds() == 50.0  # 4 of 5 calls are used; the first 2 are gone at 60
    clock.now = 60.0
    take()
    assert budget.wait_seconds() == 10.0


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4)), max_size=40), st.integers(1, 12))
def test_no_minute_has_more_calls_than_allowed(arrivals, limit):
    clock = Clock()
    budget = Budget(BudgetLimits(calls_per_minute=limit, calls_each=1), clock)
    paid: list[tuple[float, int]] = []
    for gap, calls in arrivals:
        clock.now += gap
        clock.now += budget.wait_seconds()
        assert budget.wait_seconds() == 0
        budget.claim()
        asyncio.run(budget.turn())
        budget.settle(Usage(calls=min(calls, limit)))
        paid.append((clock.now, min(calls, limit)))
    most = max((calls for _, calls in paid), default=0)
    for at, _ in paid:
        # What a comparison makes beyond the learned number is known after it was asked.
        assert sum(calls for other, calls in paid if at - 60 < other <= at) <= limit + most


def test_a_request_does_not_wait_for_the_next_minute() -> None:
    async def run() -> list[Decision]:
        one = router(ScriptedJudge(), Clock(), calls_per_minute=2, seconds=0.02)
        return [await one.decide(comparison(str(n)), AMBIGUOUS) for n in range(2)]

    assert [one.fallback for one in asyncio.run(run())] == ["", "deadline"]


def test_a_cancelled_request_gives_everything_back() -> None:
    async def run() -> Decision:
        judge = ScriptedJudge(gate=asyncio.Event())
        one = router(judge, concurrency=1, share=0.5, failures=1)
        waiting = asyncio.create_task(one.decide(comparison("a"), AMBIGUOUS))
        while not judge.running:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        judge.gate.set()  # type: ignore[union-attr]
        return await one.decide(comparison("b"), AMBIGUOUS)

    assert asyncio.run(run()).by == "judge"


def test_a_programming_mistake_is_not_hidden() -> None:
    def broken(_: Comparison) -> float:
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        decide(router(ScriptedJudge(broken)), AMBIGUOUS)


def logged(tmp_path: Path, *of: Opinion, judge: Judge | None = None, **settings) -> Path:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, header_of(RULES, model="m", judge="j", prompts="p"))
    decide(router(judge or ScriptedJudge(lambda one: 0.5 if one.id == "2" else 0.0), log=log, **settings), *of)
    log.close()
    return path


def test_a_log_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    """A killed process leaves half a line; the next header was put behind it, and the log could not be replayed."""
    path = logged(tmp_path, CLEAR, AMBIGUOUS)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:200])
    logged(tmp_path, CLEAR)
    assert path.read_bytes().startswith(whole)
    assert (replay(path).decisions, replay(path).differing) == (3, 0)
    path.write_bytes(whole + b'{"kind":"decision","id":"' + b"x" * 200_000)
    logged(tmp_path, CLEAR)
    assert replay(path).decisions == 3


@pytest.mark.parametrize("text", ["no log\n", "no end", '{"prompt": "a"}\n', '{"schema":1}\n'])
def test_a_file_of_others_is_no_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(text)
    with pytest.raises(RunDirectoryError, match="holds something else than the audit log of a router"):
        AuditLog(path, header_of(RULES))
    assert path.read_text() == text
    logged(tmp_path / "own", CLEAR)
    path.write_bytes((tmp_path / "own" / "audit.jsonl").read_bytes() + text.encode() + b"\n")
    with pytest.raises(RunDirectoryError, match="holds something else"):
        AuditLog(path, header_of(RULES))


def test_one_process_writes_a_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", header_of(RULES))
    with pytest.raises(RunDirectoryError, match="another process writes it"):
        AuditLog(tmp_path / "audit.jsonl", header_of(RULES))
    log.close()
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        AuditLog(tmp_path / "audit.jsonl" / "below.jsonl", header_of(RULES))


def test_the_log_holds_every_decision_and_no_text(tmp_path: Path) -> None:
    path = logged(tmp_path, CLEAR, AMBIGUOUS, AMBIGUOUS, Opinion(None))
    header, *entries = read_log(path)
    assert (header.kind, header.judge, header.rules[0].below) == ("router", "j", 1.0)  # type: ignore[union-attr]
    again = decide(
        router(ScriptedJudge(lambda one: 0.5 if one.id == "2" else 0.0)), CLEAR, AMBIGUOUS, AMBIGUOUS, Opinion(None)
    )
    assert [decision_of(entry) for entry in entries] == again  # type: ignore[arg-type]
    assert "Is it?" not in path.read_text()


@given(
    st.lists(st.one_of(st.none(), st.floats(-3, 3)), min_size=1, max_size=12),
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0, "failed", "unparsed", "budget"]), min_size=12, max_size=12),
)
def test_a_replay_makes_the_same_decisions(tmp_path_factory, margins, verdicts):
    judge = ScriptedJudge(lambda one: verdicts[int(one.id)])
    of = [Opinion(margin, None if margin is None else 0.7) for margin in margins]
    path = logged(tmp_path_factory.mktemp("log"), *of, judge=judge, failures=2, share=0.5)
    found = replay(path)
    assert (found.decisions, found.differing) == (len(margins), 0)


def test_a_log_that_was_changed_is_found(tmp_path: Path) -> None:
    path = logged(tmp_path, CLEAR, AMBIGUOUS)
    lines = path.read_text().splitlines()
    changed = json.loads(lines[2]) | {"winner": "first"}
    path.write_text("\n".join([*lines[:2], json.dumps(changed)]) + "\n")
    found = replay(path)
    assert (found.decisions, found.differing) == (2, 1)
    assert found.examples[0].startswith("line 3: first by judge")


def test_other_rules_show_which_decisions_they_change(tmp_path: Path) -> None:
    path = logged(tmp_path, CLEAR, AMBIGUOUS)
    wider, narrower = (replay(path, Rules((Rule("margin", limit),))) for limit in (3.0, 0.1))
    assert (wider.differing, narrower.differing) == (1, 1)
    assert wider.examples[0].startswith("line 2: first by reward_model")
    assert narrower.examples[0].startswith("line 3: second by judge")
    assert replay(path, Rules((Rule("margin", 0.9),))).differing == 0


def test_a_line_that_was_being_written_is_left_out_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = logged(tmp_path, CLEAR)
    whole = path.read_text()
    path.write_text(whole + '{"kind": "deci')
    assert replay(path).decisions == 1
    path.write_text(whole + "{}\n")
    with pytest.raises(DataError, match=r"audit.jsonl:3: is no line of an audit log"):
        replay(path)


def test_the_best_of_several_answers() -> None:
    judge = ScriptedJudge(lambda one: 0.0 if one.second[-1].content == "close" else 1.0)
    one = router(judge)
    answers = [(Message("assistant", text),) for text in ("far", "top", "close", "none")]
    rewards = [Rewarded(-5.0), Rewarded(2.0), Rewarded(1.5), Rewarded(None)]
    found = asyncio.run(one.rule((Message("user", "?"),), answers, rewards, None))
    assert found.best == 2
    assert [decision.id for decision in found.decisions] == ["1:2", "1:0", "2:3"]
    assert [decision.by for decision in found.decisions] == ["judge", "reward_model", "judge"]
    assert judge.asked == ["1:2", "2:3"]


def test_the_scripted_judge_is_a_judge() -> None:
    assert isinstance(ScriptedJudge(), Judge)
    assert JudgeAnswer(0.7).missing == ""
