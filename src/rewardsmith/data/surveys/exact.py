"""What digests show: repeated pairs, pairs with both labels, held-out prompts that are trained on; and cut prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import Found, Places, Setting, Surveyed, Table


class Exact:
    """Compares digests; nothing is remembered while rows pass."""

    def __init__(self, setting: Setting) -> None:
        del setting

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Nothing: the table has the digests."""

    def finish(self, table: Table) -> Surveyed:
        """Repeats in the training set, leaks out of it, and cut prompts."""
        return Surveyed([_duplicates(table), _contradictions(table), _leaks(table), _truncated(table)])


def _duplicates(table: Table) -> Found:
    train = table.train
    first = _first_equal(_joined(table.keys[train]))
    later = first != np.arange(len(train))
    first_of = dict(zip(train[later].tolist(), train[first[later]].tolist(), strict=True))
    return Found(
        "duplicate_pair",
        train[later],
        lambda place: f"the same pair as {table.where(first_of[place])}",
        remove=train[later],
    )


def _contradictions(table: Table) -> Found:
    train = table.train
    places: dict[bytes, int] = {}
    for place in train[::-1].tolist():
        places[table.keys[place].tobytes()] = place
    opposite = {}
    for place in train.tolist():
        prompt, chosen, rejected = (key.tobytes() for key in table.keys[place])
        other = places.get(prompt + rejected + chosen)
        if other is not None:
            opposite[place] = other
    rows = np.array(list(opposite), dtype=np.int64)
    words = "has the same pair with the opposite label"
    return Found("contradictory_pair", rows, lambda place: f"{table.where(opposite[place])} {words}", remove=rows)


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


def _joined(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view("V48").reshape(-1)


def _first_equal(values: np.ndarray) -> Places:
    """For each value the index of its first occurrence."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


DUPLICATE_PAIR = Check(
    code="duplicate_pair",
    severity="warning",
    title="Exact duplicate pairs",
    meaning="A pair stands in the training data more than once, word for word.",
    why="Training runs for one epoch because pairs are memorised in a second pass; a duplicate is that second pass.",
    fix="keep one of each",
    of="train",
)
CONTRADICTORY_PAIR = Check(
    code="contradictory_pair",
    severity="warning",
    title="The same pair with both labels",
    meaning="Two rows have the same prompt and the same two responses, and prefer different ones.",
    why="Their gradients cancel: what is left is noise, and a limit on the accuracy that can be reached.",
    fix="keep the label that more annotators gave, or neither",
    of="train",
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
