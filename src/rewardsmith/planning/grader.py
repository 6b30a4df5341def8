"""Latency and price of a reward, of a judge's answer, and which of them fits a budget.

    model = scoring_speed(shape, machine, tokens=600)
    judge = judge_speed(tokens=600, prices=…)
    advice = advise(model, judge, Budget(seconds=0.2, per_million=50), training_cost=120, rewards=5_000_000)
    graders, advice = plan_grading(spec, shape, lengths, machine, budget, …)        all of it for a spec

One forward pass is bound by operations or by reading the weights once, whichever takes longer (Pope et al. 2022, arXiv
2211.05102, §2.1). A judge writes its answer token by token and is asked once a pair and order. A hybrid lets the
judge decide the share of pairs on which the reward model is least sure, as `rewardsmith route` does (2510.20369).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.planning.backend import ROOM
from rewardsmith.planning.hardware import Machine
from rewardsmith.planning.time import UTILISATION, Lengths, forward_operations
from rewardsmith.records.plan import AdvicePlan, ScoringPlan
from rewardsmith.spec import Spec

OVERHEAD = 0.005
"""Seconds of a request beside the model: HTTP, rendering, queue. An assumption, the size of a health check's."""

JUDGE_WORDS = 400
"""Tokens of a judge's instructions, an assumption."""

JUDGE_REPLY = 256
"""Tokens that a judge writes before its verdict, an assumption."""

JUDGE_RATE = 60.0
"""Tokens a second that a hosted judge writes, an assumption."""

JUDGE_WAIT = 0.5
"""Seconds until its first token, an assumption."""

JUDGE_PRICES = (2.5, 10.0)
"""US dollars a million tokens read and written, where the spec gives none: an assumption, of 2025's size."""

LEAST_SHARE = 0.02
"""A hybrid whose judge sees less than this share of the pairs is called a dedicated model."""

Kind = Literal["dedicated", "judge", "hybrid"]


@dataclass(frozen=True, slots=True)
class Speed:
    """What one reward (or verdict) takes: seconds for a lone one, dollars for a million, and how many a second.

    `per_million` is None where no price is known; `memory` is that of the weights, in bytes, of one copy.
    """

    seconds: float
    per_second: float
    per_million: float | None
    memory: float = 0.0
    source: str = "estimated"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a reward may take: seconds, and dollars a million; None: not stated."""

    seconds: float | None = None
    per_million: float | None = None

    @property
    def stated(self) -> bool:
        """Whether anything is."""
        return self.seconds is not None or self.per_million is not None

    def admits(self, speed: Speed) -> bool:
        """Whether it keeps to both; a price that is not known breaks a stated limit."""
        quick = self.seconds is None or speed.seconds <= self.seconds
        cheap = self.per_million is None or (speed.per_million is not None and speed.per_million <= self.per_million)
        return quick and cheap


def scoring_speed(
    shape: ModelShape,
    machine: Machine,
    *,
    tokens: float,
    attended: float | None = None,
    utilisation: float | None = None,
) -> Speed:
    """A dedicated reward model: a lone text, and texts in full batches.

    Args:
        tokens: of a text.
        attended: keys that a token attends to on average; half of the text by default.
    """
    share = UTILISATION[machine.kind] if utilisation is None else utilisation
    held = shape.parameters * (4 if machine.kind == "cpu" else 2)  # float32 on a CPU, bfloat16 on an accelerator
    operations = tokens * forward_operations(shape, (tokens + 1) / 2 if attended is None else attended)
    computing = operations / (machine.flops * share)
    reading = held / machine.bandwidth
    # Where one device does not hold the weights, several compute and read a part each (tensor parallel, ideally).
    devices = math.ceil(held / (ROOM * machine.memory))
    seconds = max(computing, reading) / devices + OVERHEAD
    rate = 1 / computing  # a device: several are quicker and cost as much more
    source = "estimated" if devices == 1 else f"estimated, the weights on {devices} devices"
    return Speed(seconds, rate, per_million(machine.price, rate), held, source)


def per_million(price: float | None, rate: float) -> float | None:
    """Dollars for a million at `rate` a second on a device of `price` an hour."""
    return None if price is None else price / 3600 / rate * 1e6


def judge_speed(
    *, tokens: float, prices: tuple[float, float] | None = None, orders: int = 2, samples: int = 1, reply: int = 0
) -> Speed:
    """A judge's verdict on a pair: both responses with the prompt, in `orders` orders asked at the same time.

    Args:
        tokens: of a text; a pair is counted as two.
        prices: dollars for a million tokens read and written.
        reply: tokens of a reply; `JUDGE_REPLY` by default.
    """
    read, written = 2 * tokens + JUDGE_WORDS, reply or JUDGE_REPLY
    price_read, price_written = prices or JUDGE_PRICES
    seconds = JUDGE_WAIT + written / JUDGE_RATE
    cost = orders * samples * (read * price_read + written * price_written)
    return Speed(seconds, 1 / seconds, cost)


def mixed_speed(model: Speed, judge: Speed, share: float) -> Speed:
    """A model whose least sure pairs, a share of all, go to a judge after it: means over all pairs."""
    known = model.per_million is not None and judge.per_million is not None
    return Speed(
        model.seconds + share * judge.seconds,
        model.per_second,
        (model.per_million or 0.0) + share * (judge.per_million or 0.0) if known else None,
        model.memory,
        f"a judge on {share:.0%} of the pairs",
    )


def advise(model: Speed, judge: Speed, budget: Budget, *, training_cost: float | None, rewards: int) -> AdvicePlan:
    """A dedicated model, a judge, or a model whose unsure pairs go to a judge.

    A judge alone where it keeps to the budget and all its answers cost less than training and asking a model; a hybrid
    where the budget leaves room for a share of answers; else a dedicated model.

    Args:
        training_cost: dollars of the epoch; None where no price is known.
        rewards: that will be asked for in all.
    """
    kind, reason, share = _advised(model, judge, budget, training_cost, rewards)
    return AdvicePlan(
        kind=kind,
        reason=reason,
        judge_share=share,
        within_budget=kind != "dedicated" or budget.admits(model),
        budget_seconds=budget.seconds,
        budget_per_million=budget.per_million,
        rewards=rewards,
    )


def _advised(
    model: Speed, judge: Speed, budget: Budget, training_cost: float | None, rewards: int
) -> tuple[Kind, str, float]:
    """The kind of grader, why, and the share of pairs that a judge may decide."""
    share = judge_share(model, judge, budget)
    ours = None if model.per_million is None else model.per_million * rewards / 1e6 + (training_cost or 0.0)
    theirs = (judge.per_million or 0.0) * rewards / 1e6
    if budget.admits(judge) and ours is not None and theirs <= ours:
        return "judge", f"{rewards:,} verdicts cost ${theirs:,.0f}, a model of your own ${ours:,.0f}", 1.0
    if not budget.admits(model):
        return "dedicated", _over_budget(model, budget), 0.0
    saved = f"{rewards:,} verdicts of a judge would cost ${theirs:,.0f}" + (
        "" if ours is None else f", a model of your own ${ours:,.0f} with its training"
    )
    if budget.stated and share >= LEAST_SHARE:
        room = f"the budget leaves room for a judge on the {share:.0%} of pairs on which the model is least sure"
        return "hybrid", f"{saved}; {room}", share
    if not budget.stated:
        return "dedicated", f"no budget is stated; {saved}", 0.0
    return "dedicated", f"{saved}; the budget leaves no room for a judge", 0.0


def judge_share(model: Speed, judge: Speed, budget: Budget) -> float:
    """The largest share of pairs that a judge may decide after the model, with mean latency and price in budget."""
    shares = [1.0]
    if budget.seconds is not None:
        # The judge's time comes on top of the model's, for its share of the pairs.
        shares.append((budget.seconds - model.seconds) / judge.seconds)
    if budget.per_million is not None:
        room = budget.per_million - (model.per_million or 0.0)
        shares.append(room / judge.per_million if judge.per_million else 1.0)
    return min(max(min(shares), 0.0), 1.0)


def _over_budget(model: Speed, budget: Budget) -> str:
    if budget.seconds is not None and model.seconds > budget.seconds:
        return (
            f"nothing keeps to {budget.seconds * 1000:.0f} ms: the model takes {model.seconds * 1000:.0f} ms for a "
            "lone text; take a smaller base or a faster device"
        )
    price = "unknown" if model.per_million is None else f"${model.per_million:,.2f}"
    return f"nothing keeps to ${budget.per_million:,.2f} a million: the model's price is {price}; take a smaller base"


SHOWN_SHARE = 0.1
"""The judge's share in the hybrid that is shown where none is advised."""


def plan_grading(
    spec: Spec,
    shape: ModelShape,
    lengths: Lengths,
    machine: Machine,
    budget: Budget,
    *,
    rewards: int,
    training_cost: float | None,
    utilisation: float | None,
    measured: Speed | None,
) -> tuple[tuple[ScoringPlan, ...], AdvicePlan]:
    """Latency and price of the three, and the advice.

    Args:
        measured: latency of a trained checkpoint on this kind of machine, in place of the estimate.
    """
    model = scoring_speed(shape, machine, tokens=lengths.text, attended=lengths.attended, utilisation=utilisation)
    if measured is not None:
        model = replace(model, seconds=measured.seconds, source=measured.source)
    judge = judge_speed(
        tokens=lengths.text,
        prices=(spec.judge.prices.prompt, spec.judge.prices.completion) if spec.judge.prices.known else None,
        orders=2 if spec.judge.orders == "both" else 1,
        samples=spec.judge.samples,
    )
    advice = advise(model, judge, budget, training_cost=training_cost, rewards=rewards)
    hybrid = mixed_speed(model, judge, advice.judge_share if advice.kind == "hybrid" else SHOWN_SHARE)
    graders = (
        _record("dedicated", model, budget, model.per_second),
        _record("judge", judge, budget, None),
        _record("hybrid", hybrid, budget, None),
    )
    return graders, advice


def _record(kind: str, speed: Speed, budget: Budget, per_second: float | None) -> ScoringPlan:
    return ScoringPlan(
        kind=kind,
        seconds=speed.seconds,
        per_second=per_second,
        per_million=speed.per_million,
        source=speed.source,
        within_budget=budget.admits(speed),
    )
