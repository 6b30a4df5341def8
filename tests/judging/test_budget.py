"""The budget under concurrency: never overspent, and used as far as it goes."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.judging.client import ALLOWANCE, Budget, Charge, worst_charge
from rewardsmith.spec import JudgeBudget, JudgePrices

PRICES = JudgePrices(prompt=3.0, completion=15.0)
CALL = st.tuples(st.integers(1, 500), st.integers(1, 200), st.floats(0, 1), st.integers(0, 5))


def limits(**given: Any) -> JudgeBudget:
    return JudgeBudget(**given)


def fits(charge: Charge, budget: JudgeBudget) -> bool:
    tokens = charge.prompt_tokens + charge.completion_tokens
    spent = {"calls": charge.calls, "tokens": tokens, "money": charge.cost(PRICES)}
    return all(getattr(budget, name) is None or value <= getattr(budget, name) for name, value in spent.items())


BUDGETS = st.one_of(
    st.builds(limits, calls=st.integers(0, 20)),
    st.builds(limits, tokens=st.integers(0, 3000)),
    st.builds(limits, money=st.floats(0, 0.02)),
)


@given(BUDGETS, st.lists(CALL, max_size=40), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_it_is_never_overspent(given: JudgeBudget, calls: list[tuple[int, int, float, int]], parallel: int) -> None:
    budget = Budget(given, PRICES)
    refused: list[tuple[Charge, Charge]] = []

    async def call(prompt: int, completion: int, share: float, turns: int, places: asyncio.Semaphore) -> None:
        worst = Charge(1, prompt, completion)
        async with places:
            before = budget.spent
            if not await budget.reserve(worst):
                refused.append((before, worst))
                return
            assert fits(budget.spent + budget.reserved, given)
            for _ in range(turns):
                await asyncio.sleep(0)  # others run
            budget.settle(worst, Charge(1, int(prompt * share), int(completion * share)))

    async def all_calls() -> None:
        places = asyncio.Semaphore(parallel)
        await asyncio.gather(*(call(*one, places) for one in calls))

    asyncio.run(all_calls())
    assert fits(budget.spent, given)
    assert budget.reserved == Charge()
    # none was refused that fitted beside what was spent when it was asked for
    assert not any(fits(before + worst, given) for before, worst in refused) or parallel > 1


def test_what_fits_but_for_calls_under_way_waits_for_them() -> None:
    async def three_calls() -> list[str]:
        budget, order = Budget(limits(tokens=100), PRICES), []
        assert await budget.reserve(Charge(1, 60, 30))

        async def second() -> None:
            assert await budget.reserve(Charge(1, 40, 30))
            order.append("second")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert order == []
        order.append("settled")
        budget.settle(Charge(1, 60, 30), Charge(1, 20, 5))
        await waiting
        assert not await budget.reserve(Charge(1, 60, 30))  # 25 are spent: 90 more cannot ever fit
        return order

    assert asyncio.run(three_calls()) == ["settled", "second"]


def test_an_abandoned_waiter_holds_nothing_up() -> None:
    async def abandoned() -> bool:
        budget = Budget(limits(calls=1), PRICES)
        assert await budget.reserve(Charge(1))
        waiting = asyncio.create_task(budget.reserve(Charge(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        budget.settle(Charge(1), Charge())
        return await budget.reserve(Charge(1))

    assert asyncio.run(abandoned())


def test_the_worst_case_counts_bytes_and_the_longest_reply() -> None:
    body = {"messages": [{"role": "user", "content": "é" * 10}]}
    worst = worst_charge(body, 64)
    # two bytes each, and what stands around them: [[{"role": "user", "content": ""}], null]
    assert worst == Charge(1, 20 + len('[[{"role": "user", "content": ""}], null]') + ALLOWANCE, 64)


def test_cost_is_by_the_million() -> None:
    assert Charge(7, 2_000_000, 100_000).cost(PRICES) == 2 * 3.0 + 0.1 * 15.0
