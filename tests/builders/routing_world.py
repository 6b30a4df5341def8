"""A scripted judge in this process, and planted pairs whose accuracies are known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rewardsmith.routing import Rule, Rules, Trial, make_trial, opinions
from rewardsmith.types import Comparison, JudgeAnswer, Message, Missing, Usage

CALL = Usage(calls=2, prompt_tokens=100, completion_tokens=10, cost=0.01)


@dataclass
class ScriptedJudge:
    """Prefers by `prefers` (a probability, or why it is missing). Counts who is with it. `gate` holds verdicts back."""

    prefers: Callable[[Comparison], float | Missing] = lambda comparison: 1.0
    asked: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    gate: asyncio.Event | None = None
    usage: Usage = CALL

    async def compare(self, comparison: Comparison) -> JudgeAnswer:
        self.asked.append(comparison.id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.running -= 1
        found = self.prefers(comparison)
        if isinstance(found, str):
            return JudgeAnswer(None, missing=found, usage=self.usage)
        return JudgeAnswer(found, consistent=found != 0.5, usage=self.usage)


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def comparison(name: str = "one", first: str = "yes", second: str = "no", subset: str = "") -> Comparison:
    return Comparison(
        (Message("user", "Is it?"),), (Message("assistant", first),), (Message("assistant", second),), name, "", subset
    )


def planted(n: int, *, model: float = 0.78, judge: float = 0.85, seed: int = 1, calibrated: bool = True) -> Trial:
    """Pairs of a calibrated model and an independent judge of these accuracies.

    A confidence of 1/2 + u/2 with u uniform to the power k has the mean 1/2 + 1/(2 (k + 1)); margins are its log-odds,
    and the model is right with exactly that probability. Not calibrated: right as often, whatever it is sure of.
    """
    rng = np.random.default_rng(seed)
    power = 1 / (2 * model - 1) - 1
    confidence = 0.5 + rng.random(n) ** power / 2 * (1 - 1e-9)
    right = rng.random(n) < (confidence if calibrated else model)
    size = np.log(confidence / (1 - confidence))
    margins = np.where(right, size, -size)
    verdicts = [JudgeAnswer(float(one), True, "", CALL) for one in rng.random(n) < judge]
    found = opinions(np.stack([margins, np.zeros(n)], axis=1), 1.0)
    return make_trial(Rules((Rule("probability"),)), found, [""] * n, verdicts)
