"""Held-out prompts that are trained on: word for word, nearly, or as a turn of a training conversation.

Each held-out row is reported once, under the first of the three that it shows. The fix takes the training rows out.
A split by `data.held_out.fraction` keeps together what these checks compare, so that they speak of held-out sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.overlap.shingles import ranges
from rewardsmith.data.surveys.contract import Found, Places, Table
from rewardsmith.data.surveys.prompt_groups import Prompts, prompt_ids

_COMPARED = 64

# Stricter than a near-duplicate (0.35): what fails the check must not be another question on the same passage. One word
# in twenty edited leaves 0.65 of a text of 30 words, a prefix of 20 words 0.58.
_LEAK = 0.5


def leaked_prompts(table: Table) -> Found:
    """The held-out rows with a prompt that is trained on, word for word."""
    train, ids = table.train, prompt_ids(table)
    trained, first = np.unique(ids[train], return_index=True)

    def detail(place: int) -> str:
        where = table.where(int(train[first[np.searchsorted(trained, ids[place])]]))
        return f"{where} trains on the same prompt"

    leaked = _equal(table)
    return Found("leaked_prompt", leaked, detail, remove=train[np.isin(ids[train], ids[leaked])])


def near_leaked_prompts(table: Table, prompts: Prompts) -> Found:
    """The held-out rows with a near-duplicate of a training prompt, equal ones left out."""
    near = _near(table, prompts)
    places, best = np.unique(near.held_out, return_index=True)

    def detail(place: int) -> str:
        index = best[np.searchsorted(places, place)]
        where, alike = table.where(int(near.train[index])), float(near.alike[index])
        return f"{where} trains on nearly the same prompt: {alike:.0%} alike"

    ids = prompt_ids(table)
    remove = table.train[np.isin(ids[table.train], ids[near.train])]
    return Found("near_leaked_prompt", places, detail, remove=remove)


def leaked_turns(table: Table, prompts: Prompts) -> Found:
    """The held-out rows whose last question stands as a turn in another training prompt."""
    turns = prompts.turns
    trained = ~table.is_held_out[turns.places]
    asked = np.flatnonzero(~trained & turns.is_last & np.isin(turns.digests, turns.digests[trained]))
    known = np.union1d(_equal(table), _near(table, prompts).held_out)
    asked = asked[~np.isin(turns.places[asked], known)]
    digest_of = dict(zip(turns.places[asked].tolist(), turns.digests[asked], strict=True))
    known_turns, first = np.unique(turns.digests[trained], return_index=True)
    holders = turns.places[trained][first]

    def detail(place: int) -> str:
        other = int(holders[np.searchsorted(known_turns, digest_of[place])])
        return f"{table.where(other)} trains on the same question as a turn of its prompt"

    same = trained & np.isin(turns.digests, turns.digests[asked])
    return Found("leaked_turn", np.unique(turns.places[asked]), detail, remove=np.unique(turns.places[same]))


def _equal(table: Table) -> Places:
    ids = prompt_ids(table)
    return table.held_out[np.isin(ids[table.held_out], ids[table.train])]


@dataclass(frozen=True, slots=True)
class _Near:
    """Held-out rows and the training rows that they nearly equal, the most alike first; all (N,)."""

    held_out: Places
    train: Places
    alike: NDArray[np.float32]


def _near(table: Table, prompts: Prompts) -> _Near:
    """Compare held-out prompts with the training prompts of their clusters, at most `_COMPARED` distinct ones."""
    clusters, ids = prompts.clusters, prompt_ids(table)
    train = table.train[np.isin(clusters[table.train], clusters[table.held_out])]
    train = train[np.unique(ids[train], return_index=True)[1]]
    train = train[np.argsort(clusters[train], kind="stable")]
    held_out = np.setdiff1d(table.held_out[np.isin(clusters[table.held_out], clusters[train])], _equal(table))
    start, end = (np.searchsorted(clusters[train], clusters[held_out], side) for side in ("left", "right"))
    counts = np.minimum(end - start, _COMPARED)
    left, right = np.repeat(held_out, counts), train[ranges(start, counts)]
    alike = prompts.sketches.similarity(left, right)
    order = np.flatnonzero(alike >= _LEAK)
    order = order[np.argsort(-alike[order], kind="stable")]
    return _Near(left[order], right[order], alike[order])


_FIX = "remove these rows from either side (--fix removes training rows), or let data.held_out.fraction split by prompt"

LEAKED_PROMPT = Check(
    code="leaked_prompt",
    severity="error",
    title="Held-out prompts in the training data",
    meaning="A held-out pair has a prompt that is also trained on, word for word.",
    why="The held-out result would measure memory, and every gate that rests on it would be too kind.",
    fix=_FIX,
    of="held_out",
)
NEAR_LEAKED_PROMPT = Check(
    code="near_leaked_prompt",
    severity="error",
    title="Edited copies of held-out prompts in the training data",
    meaning="A held-out pair has a prompt that a training prompt nearly equals: half of their word triples agree.",
    why="An edited copy is remembered as the prompt is: the held-out result would be too kind.",
    fix=_FIX,
    of="held_out",
)
LEAKED_TURN = Check(
    code="leaked_turn",
    severity="error",
    title="Held-out questions as turns of training prompts",
    meaning="The last question of a held-out pair, of eight words or more, stands as a turn in a training prompt.",
    why="The model was trained in a conversation that holds the question, often with its answer.",
    fix=_FIX,
    of="held_out",
)
