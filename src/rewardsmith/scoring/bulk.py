"""Rewards of a stream of rows with flat memory: rows go in, the same rows with their rewards come out, in order.

    for window in windows(rows):                    # rows: an iterable of `BulkRow`
        scored = write_window(scorer, window)       # lines of the output, ready to be appended, and what they count

A window is bounded in conversations and in characters, and where it ends depends on the rows alone: a job that was
killed and goes on at the next window computes what it would have computed. Within a window equal beginnings lie side by
side, so that the token tree meets each prompt once; rewards come back in the rows' order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.protocols import Explaining, Scorer
from rewardsmith.scoring.local import NO_REWARD
from rewardsmith.types import Conversation

FAILED = "model_failed"
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
        length = sum(len(turn.text) for one in row.conversations for turn in one)
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


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window's part of the output: its lines, those of the rows that lack a reward, and what they count.

    `reasons` counts rows by the reason of their first fault, `missing` the nulls themselves.
    """

    rows: int = 0
    rewards: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    lines: bytes = b""
    faults: bytes = b""


def write_window(scorer: Scorer, window: Sequence[BulkRow]) -> ScoredWindow:
    """Score a window. Whatever the scorer raises goes through."""
    every = []
    nulls: Counter[str] = Counter()
    for row, rewards in zip(window, score_window(scorer, window), strict=True):
        faults = [] if row.reason else _why(scorer, row.conversations, rewards)
        reason, detail = faults[0] if faults else (row.reason, row.detail)
        nulls.update(code for code, _ in faults)
        every.append((row, rewards, reason, detail))
    return _written(every, nulls)


def refuse_window(window: Sequence[BulkRow], detail: str) -> ScoredWindow:
    """The window without any reward, because the model failed; rows that had a reason of their own keep it."""
    every = [
        (row, np.full(len(row.conversations), np.nan), row.reason or FAILED, row.detail if row.reason else detail)
        for row in window
    ]
    return _written(every, Counter({FAILED: sum(len(row.conversations) for row in window if not row.reason)}))


def join_windows(parts: Sequence[ScoredWindow]) -> ScoredWindow:
    """Parts of one window, in their order."""
    reasons: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.reasons)
        missing.update(part.missing)
    return ScoredWindow(
        sum(part.rows for part in parts),
        sum(part.rewards for part in parts),
        dict(reasons),
        dict(missing),
        b"".join(part.lines for part in parts),
        b"".join(part.faults for part in parts),
    )


def _written(every: Sequence[tuple[BulkRow, NDArray[np.float64], str, str]], nulls: Counter[str]) -> ScoredWindow:
    lines, faults, found = [], [], 0
    for row, rewards, reason, detail in every:
        values = [float(reward) if np.isfinite(reward) else None for reward in rewards]
        found += sum(value is not None for value in values)
        lines.append({"row": row.number, "id": row.id, "rewards": values, "reason": reason})
        if reason:
            faults.append({"row": row.number, "id": row.id, "reason": reason, "detail": detail})
    return ScoredWindow(
        len(lines),
        found,
        dict(Counter(reason for _, _, reason, _ in every if reason)),
        {reason: count for reason, count in nulls.items() if count},
        _encoded(lines),
        _encoded(faults),
    )


def _encoded(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)


def _why(scorer: Scorer, conversations: Sequence[Conversation], rewards: NDArray[np.float64]) -> list[tuple[str, str]]:
    """(reason, detail) of every reward of a row that is missing, in their order."""
    absent = np.flatnonzero(~np.isfinite(rewards)).tolist()
    if not absent:
        return []
    texts = [conversations[place] for place in absent]
    reasons = scorer.why(texts) if isinstance(scorer, Explaining) else [NO_REWARD] * len(absent)
    parts = [reason.partition(": ") for reason in reasons]
    return [(code, f"response {place + 1}: {detail}") for place, (code, _, detail) in zip(absent, parts, strict=True)]
