"""Rewards of a stream of rows with flat memory: rows go in, the same rows with their rewards come out, in order.

    for window in windows(rows):                    # rows: an iterable of `BulkRow`
        for row, rewards in zip(window, score_window(scorer, window)):
            rewards                                 # one per conversation of the row; NaN where there is none

A window is bounded in conversations and in characters, and where it ends depends on the rows alone: a job that was
killed and goes on at the next window computes what it would have computed. Within a window equal beginnings lie side by
side, so that the token tree meets each prompt once; rewards come back in the rows' order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.protocols import Scorer
from rewardsmith.types import Conversation

WINDOW_CONVERSATIONS = 4096
WINDOW_CHARACTERS = 8 * 2**20


@dataclass(frozen=True, slots=True)
class BulkRow:
    """One row of the input: its number, its id, and what to score; or the reason why there is nothing to score."""

    number: int
    id: str | None = None
    conversations: tuple[Conversation, ...] = ()
    reason: str = ""
    detail: str = ""


def windows(
    rows: Iterable[BulkRow],
    *,
    conversations: int = WINDOW_CONVERSATIONS,
    characters: int = WINDOW_CHARACTERS,
) -> Iterator[list[BulkRow]]:
    """Rows in lists of at most so many conversations and characters; a larger row is a list of its own."""
    window: list[BulkRow] = []
    count = size = 0
    for row in rows:
        length = sum(len(turn.content) for one in row.conversations for turn in one)
        # A row without anything to score counts too: a file of bad rows must not pile up.
        more = max(1, len(row.conversations))
        if window and (count + more > conversations or size + length > characters):
            yield window
            window, count, size = [], 0, 0
        window.append(row)
        count, size = count + more, size + length
    if window:
        yield window


def score_window(scorer: Scorer, window: Sequence[BulkRow]) -> list[NDArray[np.float64]]:
    """Raw rewards of each row's conversations, in the rows' order."""
    every = [conversation for row in window for conversation in row.conversations]
    order = sorted(range(len(every)), key=lambda index: tuple((turn.role, turn.content) for turn in every[index]))
    rewards = np.full(len(every), np.nan)
    if order:
        rewards[order] = scorer.score([every[index] for index in order])
    ends = np.cumsum([len(row.conversations) for row in window])
    return np.split(rewards, ends[:-1])
