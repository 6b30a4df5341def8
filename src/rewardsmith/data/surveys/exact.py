"""Held-out prompts that are trained on, by their digests; and cut prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import Found, Setting, Surveyed, Table


class Exact:
    """Compares digests; nothing is remembered while rows pass."""

    def __init__(self, setting: Setting) -> None:
        del setting

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Nothing: the table has the digests."""

    def finish(self, table: Table) -> Surveyed:
        """Leaks out of the training set, and cut prompts."""
        return Surveyed([_leaks(table), _truncated(table)])


def _leaks(table: Table) -> Found:
    train, held_out = table.train, table.held_out
    prompts = table.keys[:, 0]
    leaked = held_out[np.isin(prompts[held_out], prompts[train])]

    def trained_on(place: int) -> str:
        first = train[np.flatnonzero(prompts[train] == prompts[place])[0]]
        return f"{table.where(int(first))} trains on the same prompt"

    return Found("leaked_prompt", leaked, trained_on, remove=train[np.isin(prompts[train], prompts[held_out])])


def _truncated(table: Table) -> Found:
    return Found(
        "truncated_prompt",
        np.flatnonzero(table.cut),
        lambda place: f"{table.cut[place]} tokens of the prompt were cut",
    )


LEAKED_PROMPT = Check(
    code="leaked_prompt",
    severity="error",
    title="Held-out prompts in the training data",
    meaning="A held-out pair has a prompt that is also trained on, word for word.",
    why="The held-out result would measure memory, and every gate that rests on it would be too kind.",
    fix="remove these rows from either side, or let data.held_out.fraction split by prompt",
    of="held_out",
)
TRUNCATED_PROMPT = Check(
    code="truncated_prompt",
    severity="note",
    title="Prompts cut at their beginning",
    meaning="A text had more tokens than data.max_length; the oldest ones of its prompt were cut, on both sides.",
    why="The model judges answers to questions that it sees in part.",
    fix="raise data.max_length, or write data.over_length: drop",
    of="kept",
)
