"""Held-out prompts that are trained on: word for word, nearly, or as a turn of a training conversation.

    prompts = PromptGroups()               # which prompts belong together
    prompts.see(rows)                      # again and again
    prompts.groups()                       # (P,): rows of one number must not be parted by the split
    leaked_prompts(table), near_leaked_prompts(table, prompts.close()), leaked_turns(table, prompts.close())

Each held-out row is reported once, under the first of the three that it shows. The fix takes the training rows out.
A split by `data.held_out.fraction` keeps together what these checks compare, so that they speak of held-out sources.

Prompts belong together that are near-duplicates, or that share the turn that is answered. The turns of a prompt,
without the system's, are one text. A turn of a user that has at least eight words is remembered by its digest as well:
data that hold one conversation cut at several turns have it in prompts of unlike length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.minhash import Labels, SketchBook, Sketches, cluster_texts, merge
from rewardsmith.data.store import TokenizedPair, halves
from rewardsmith.data.surveys.survey import Found, Places, Table
from rewardsmith.data.words import LEAST, SHARE, Hashes, Words, hash_words, ranges, starts_of
from rewardsmith.types import Conversation

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
    # Each distinct prompt once, since comparing its other rows would tell nothing new.
    train = train[np.unique(ids[train], return_index=True)[1]]
    train = train[np.argsort(clusters[train], kind="stable")]
    # Equal prompts are a finding of their own.
    held_out = np.setdiff1d(table.held_out[np.isin(clusters[table.held_out], clusters[train])], _equal(table))
    start, end = (np.searchsorted(clusters[train], clusters[held_out], side) for side in ("left", "right"))
    counts = np.minimum(end - start, _COMPARED)
    left, right = np.repeat(held_out, counts), train[ranges(start, counts)]
    alike = prompts.sketches.similarity(left, right)
    order = np.flatnonzero(alike >= _LEAK)
    order = order[np.argsort(-alike[order], kind="stable")]
    return _Near(left[order], right[order], alike[order])


SLOTS = 56
ASKING = ("user", "text")
"""Roles of the turns that ask; plain text counts as one."""

LEAST_TURN_WORDS = 8
"""A shorter turn ("Go on.", "Why is that?") says nothing about the conversation that it stands in."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of users that have at least eight words, in order.

    digests (U,)   equal for equal words
    places (U,)    the row that the turn stands in
    is_last (U,)   whether it is the last turn of a user there: the one that is answered
    """

    digests: Hashes
    places: NDArray[np.int32]
    is_last: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is known of all prompts: sketches and clusters (P,), and the telling turns (general ones left out)."""

    sketches: Sketches
    clusters: Labels
    turns: Turns


class PromptGroups:
    """Sees rows, then groups them. About 235 bytes a row, and 13 more for each long turn."""

    def __init__(self) -> None:
        self._book = SketchBook(SLOTS, np.uint32)
        self._turns: list[Turns] = []
        self._size = 0
        self._prompts: Prompts | None = None

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        said = [_said(row.pair.prompt) for row in rows]
        messages = [message for prompt in said for message in prompt]
        words = hash_words([message.text for message in messages])
        counts = np.array([len(prompt) for prompt in said], np.int64)
        prompt_words = words.merged(starts_of(counts))
        self._book.add(prompt_words, digests_of(prompt_words, rows, 0))
        is_asking = np.array([message.role in ASKING for message in messages], np.bool_)
        self._turns.append(_turns(words, is_asking, self._size + np.repeat(np.arange(len(rows)), counts)))
        self._size += len(rows)

    def close(self) -> Prompts:
        """What is known of all prompts. No rows can be seen afterwards."""
        if self._prompts is None:
            sketches = self._book.close()
            clusters = cluster_texts(sketches)
            self._prompts = Prompts(sketches, clusters, _telling(_joined(self._turns), clusters))
        return self._prompts

    def groups(self) -> Labels:
        """Rows that must stay together, shape (P,): the number is the place of a group's first row."""
        prompts = self.close()
        turns = prompts.turns
        order = np.lexsort((turns.places, turns.digests))
        digests, places = turns.digests[order], turns.places[order]
        bounds = np.flatnonzero(np.concatenate(([True], digests[1:] != digests[:-1]))) if len(order) else order
        answered = np.logical_or.reduceat(turns.is_last[order], bounds) if len(order) else turns.is_last
        sizes = np.diff(np.append(bounds, len(order)))
        first = np.repeat(places[bounds], sizes)
        # Rows are joined only by a turn that is somewhere the one that is answered.
        joined = np.repeat(answered, sizes)
        return merge(prompts.clusters, first[joined], places[joined])


def _said(prompt: Conversation) -> Conversation:
    """The turns of user, assistant and tool; a system prompt says how to answer, not what is asked."""
    return tuple(message for message in prompt if message.role != "system") or prompt


def _turns(words: Words, is_asking: NDArray[np.bool_], places: NDArray[np.int64]) -> Turns:
    """The long turns of a chunk. Messages that ask: (M,) flags and the row of each."""
    asking = np.flatnonzero(is_asking)
    is_last = np.ones(len(asking), np.bool_)
    is_last[:-1] = places[asking[1:]] != places[asking[:-1]]
    long = words.counts[asking] >= LEAST_TURN_WORDS
    return Turns(words.digests()[asking[long]], places[asking[long]].astype(np.int32), is_last[long])


def _joined(parts: Sequence[Turns]) -> Turns:
    none = Turns(np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.bool_))
    parts = [none, *parts]
    return Turns(
        np.concatenate([part.digests for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.is_last for part in parts]),
    )


def _telling(turns: Turns, clusters: Labels) -> Turns:
    """Without turns that stand in unlike prompts as often as boilerplate does ("Please continue where you stopped")."""
    _, number = np.unique(turns.digests, return_inverse=True)
    number = number.reshape(-1)
    # Once a cluster: copies of one prompt do not make its turns general.
    holders = np.unique(number * len(clusters) + clusters[turns.places]) // max(len(clusters), 1)
    prompts = np.bincount(holders, minlength=number.max(initial=-1) + 1)
    telling = prompts[number] <= max(LEAST, SHARE * len(np.unique(clusters)))
    return Turns(turns.digests[telling], turns.places[telling], turns.is_last[telling])


def prompt_ids(table: Table) -> Hashes:
    """64 bits of each row's prompt, word for word, shape (P,)."""
    return halves(table.keys[:, 0])[:, 0]


def digests_of(words: Words, rows: Sequence[TokenizedPair], key: int) -> Hashes:
    """Digest of each row's text; one without words (no prompt, or signs only) takes that of its exact text.

    `key` says which text it is: 0 the prompt, 1 the chosen, 2 the rejected response.
    """
    digests = words.digests()
    for index in np.flatnonzero(digests == 0).tolist():
        digests[index] = int.from_bytes(rows[index].keys[key][:8], "little")
    return digests


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
