"""What evaluation, routing and serving receive: things that score or judge. The pipeline builds and hands them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.types import Choice, Comparison, Conversation, JudgeAnswer, Rating, Rewarded, Ruling

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` while long work goes on."""


@runtime_checkable
class Scorer(Protocol):
    """Gives one raw reward per conversation."""

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Rewards, shape (len(conversations),), in input order; NaN where none could be computed."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A scorer that can say why it gives no reward."""

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """Why each conversation has no reward, `code: detail`; asked about those alone whose reward is NaN."""
        ...


@runtime_checkable
class SuggestsWords(Protocol):
    """A scorer that can say by the gradient of its reward which words would lift it."""

    def suggest(self, conversations: Sequence[Conversation], others: Sequence[Conversation], count: int) -> list[str]:
        """Up to `count` words, the most promising first.

        Each conversation and its other differ in one word of the last message: that is the place for which words are
        suggested, one list for all of them. To first order; empty where the model has no gradient to give.
        """
        ...


@runtime_checkable
class Fluency(Protocol):
    """A language model that says how likely texts are."""

    @property
    def name(self) -> str:
        """What records call it; an address without what it may say of its user."""
        ...

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        """Mean negative log likelihood a token of each last message given what stands before it, shape
        (len(conversations),); NaN where there is none."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says which of two responses is the better one, by asking a language model. Slow, and each call is paid for."""

    async def compare(self, comparison: Comparison) -> JudgeAnswer:
        """The verdict. What the endpoint does never raises: a verdict that could not be had is *missing*, with why."""
        ...


@runtime_checkable
class BenchmarkJudge(Judge, Protocol):
    """A judge that can also be asked what benchmarks ask: the best of several answers, and a rating of one."""

    def expect(self, rows: Mapping[str, int]) -> None:
        """Name the rows that `choose` will be asked, with the numbers of their answers: orders are then balanced."""
        ...

    def order(self, row: str, answers: int) -> tuple[int, ...]:
        """The order in which `choose` shows this row's answers: the number of the first one first."""
        ...

    async def choose(self, prompt: Conversation, answers: Sequence[str], row: str) -> Choice:
        """The best of `answers`, which are shown in an order drawn from the judge's seed and the row's name."""
        ...

    async def rate(self, conversation: Conversation) -> Rating:
        """How good the last message is as a response to what stands before it."""
        ...


@runtime_checkable
class Router(Protocol):
    """Takes a reward model's answer where it is clear, and asks a judge where it is not."""

    async def rule(
        self,
        prompt: Conversation,
        responses: Sequence[Conversation],
        rewards: Sequence[Rewarded],
        temperature: float | None,
    ) -> Ruling:
        """The best of two or more responses to a prompt, whose rewards are known. Never hangs, never lacks an answer
        that the rewards give."""
        ...
