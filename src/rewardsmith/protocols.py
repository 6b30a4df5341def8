"""What evaluation, routing and serving receive: things that score or judge. The pipeline builds and hands them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rewardsmith.types import Comparison, Conversation, Verdict

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` while long work goes on."""


@runtime_checkable
class Scorer(Protocol):
    """Gives one raw reward per conversation."""

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Rewards, shape (len(conversations),), in input order; NaN where none could be computed."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says which of two responses is the better one, by asking a language model. Slow, and each call is paid for."""

    async def compare(self, comparison: Comparison) -> Verdict:
        """The verdict. What the endpoint does never raises: a verdict that could not be had is *missing*, with why."""
        ...
