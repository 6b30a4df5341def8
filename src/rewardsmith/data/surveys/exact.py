"""Held-out prompts that are trained on, by their digests."""

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
        """Leaks out of the training set."""
        return Surveyed([_leaks(table)])


def _leaks(table: Table) -> Found:
    train, held_out = table.train, table.held_out
    prompts = table.keys[:, 0]
    leaked = held_out[np.isin(prompts[held_out], prompts[train])]

    def trained_on(place: int) -> str:
        first = train[np.flatnonzero(prompts[train] == prompts[place])[0]]
        return f"{table.where(int(first))} trains on the same prompt"

    return Found("leaked_prompt", leaked, trained_on, remove=train[np.isin(prompts[train], prompts[held_out])])


LEAKED_PROMPT = Check(
    code="leaked_prompt",
    severity="error",
    title="Held-out prompts in the training data",
    meaning="A held-out pair has a prompt that is also trained on, word for word.",
    why="The held-out result would measure memory, and every gate that rests on it would be too kind.",
    fix="remove these rows from either side, or let data.held_out.fraction split by prompt",
    of="held_out",
)
