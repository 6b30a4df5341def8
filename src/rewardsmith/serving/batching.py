"""Which texts make the next batch: pure functions on token counts and prefixes; and when to wait for company.

    blocks = prefix_blocks(ids_T)                         # names of the text's beginning, block by block
    batch = choose_batch(waiting, token_budget)           # positions in the queue, the oldest always among them
    pace.observe(tokens, seconds); pace.budget()          # how many tokens the model computes in BATCH_SECONDS

A batch is filled first come, first served. A text is charged only for the tokens that no text of the batch has
computed yet, so the samples of one prompt come to lie in one batch where the token tree computes their prompt once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.serving.engine import Prepared

BLOCK = 32
"""Tokens of a prefix block."""

BATCH_SECONDS = 1.0
"""How long a batch may take: a slow model gets small batches, so that nobody waits for a large one."""

LEAST_BUDGET = 1024

COMPANY_SECONDS = 0.004
"""How long an idle server waits at most for texts that arrive together, where they did so lately."""

_MEMORY = 3


def prefix_blocks(ids_T: NDArray[np.int32], block: int = BLOCK) -> tuple[int, ...]:
    """A name for each whole block of a text that also names everything before it, shape (T // block,)."""
    names: list[int] = []
    name = 0
    for start in range(0, len(ids_T) - block + 1, block):
        name = hash((name, ids_T[start : start + block].tobytes()))
        names.append(name)
    return tuple(names)


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


def choose_batch(waiting: Sequence[Prepared], budget: int) -> tuple[list[int], int]:
    """Positions of the texts that make the next batch, oldest first, and the tokens that they take.

    The oldest is always taken; another one if it fits into what is left of the budget.
    """
    fill = Fill()
    taken: list[int] = []
    for position, text in enumerate(waiting):
        if not taken or fill.tokens + fill.added(text) <= budget:
            fill.add(text)
            taken.append(position)
    return taken, fill.tokens


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
            self._rate = found if self._rate is None else 0.8 * self._rate + 0.2 * found

    def budget(self) -> int:
        """Tokens of the next batch."""
        if self._rate is None:
            return min(self._most, LEAST_BUDGET)
        return int(min(self._most, max(LEAST_BUDGET, self._rate * self._seconds)))

    def seconds(self, tokens: int) -> float:
        """How long `tokens` would take; 0 before the first batch."""
        return tokens / self._rate if self._rate else 0.0


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
