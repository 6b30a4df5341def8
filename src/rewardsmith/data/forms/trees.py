"""`tree`: messages that answer each other (OpenAssistant); sibling replies of the assistant are compared by rank.

    reader.add(row, number)        # TreeReader: a row is one message, which names its parent
    for group in reader.groups(): …
    reader.read(row, number)       # NestedReader: a row is a whole tree, its messages inside each other

The prompt of a pair is the path from the root to the message that both answer. What is below a message that is left
out, or whose parent is not there, is in no pair. Memory of rows that are messages: about 200 bytes each.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.columns import Look, parsed, path_of
from rewardsmith.data.forms.form import Basis, Formed, Row, Tie, label, scored
from rewardsmith.data.forms.grouped import Group, packed, unpacked
from rewardsmith.data.forms.lists import Answer, Compared, compared
from rewardsmith.data.store import DIGEST, Spool
from rewardsmith.errors import DataError
from rewardsmith.rendering.messages import RowFault, shown
from rewardsmith.spec.forms import TreeForm, same
from rewardsmith.types import Conversation, Message, PreferencePair

_WRITTEN = "messages of a tree"
_ROOT, _ABSENT = -1, -2  # in place of a parent's place
_CHUNK = 1000  # rows whose reasons are handed on together


class _Rows(Protocol):
    """What keeps the rows until all of them are known."""

    def append(self, row: Row, /) -> None: ...
    def __getitem__(self, place: int, /) -> Row: ...


class _OnDisk:
    """Rows in a file without a name."""

    def __init__(self) -> None:
        self._spool = Spool()

    def append(self, row: Row) -> None:
        self._spool.append(packed(row))

    def __getitem__(self, place: int) -> Row:
        return unpacked(self._spool[place])  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Forest:
    """Messages by their places, in the order in which they came."""

    basis: Basis
    form: TreeForm
    look: dict[str, Look]
    out: dict[str, tuple[Look, frozenset[str]]]
    rows: _Rows
    ids: bytearray = field(default_factory=bytearray)
    parents: bytearray = field(default_factory=bytearray)
    scores: array[float] = field(default_factory=lambda: array("d"))
    roles: list[str] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, form: TreeForm, basis: Basis, names: Sequence[str], rows: _Rows) -> _Forest:
        """An empty one; `names` are those of the columns, () for messages inside a row."""
        look = {name: path_of(getattr(form, name), names) for name in ("role", "text", "score")}
        out = {name: (path_of(name, names), frozenset(map(same, values))) for name, values in form.without.items()}
        return cls(basis, form, look, out, rows)

    def __len__(self) -> int:
        return len(self.roles)

    def add(self, row: Row, name: str, parent: str) -> None:
        """Take a message in; `parent` is "" for a root.

        Raises:
            RowFault: it has no text or role, or a rank that is none.
        """
        message, score = self._message(row), self.look["score"](row)
        sign = 1.0 if self.form.better == "higher" else -1.0
        number = math.nan if score is None else scored(score, self.form.words, self.form.score) * sign
        reason = next((f"{one} is {shown(look(row))}" for one, (look, values) in self.out.items()
                       if _is_one_of(look(row), values)), "")  # fmt: skip
        if reason:
            self.left_out[len(self)] = reason
        self.rows.append(row)
        self.ids += _digest(name)
        self.parents += _digest(parent) if parent else bytes(DIGEST)
        self.scores.append(number)
        self.roles.append(message.role)

    def _message(self, row: Row) -> Message:
        said = {"role": self.look["role"](row), "content": self.look["text"](row)}
        (message,) = self.basis.turns.read([said], "message")
        return message

    def parent_places(self) -> NDArray[np.int64]:
        """The place of each message's parent, `_ROOT` or `_ABSENT`; the first of several messages of one id is it."""
        ids, parents = (np.frombuffer(bytes(one), dtype=f"V{DIGEST}") for one in (self.ids, self.parents))
        codes = np.unique(np.concatenate([ids, parents]), return_inverse=True)[1].reshape(-1)
        place_of = np.full(codes.max(initial=-1) + 1, _ABSENT, dtype=np.int64)
        place_of[codes[: len(ids)][::-1]] = np.arange(len(ids))[::-1]
        found = place_of[codes[len(ids) :]]
        found[parents == np.void(bytes(DIGEST))] = _ROOT
        return found

    def twice(self) -> NDArray[np.bool_]:
        """Messages whose id an earlier one has."""
        ids = np.frombuffer(bytes(self.ids), dtype=f"V{DIGEST}")
        found = np.ones(len(ids), dtype=np.bool_)
        found[np.unique(ids, return_index=True)[1]] = False
        return found

    def faults(self, parents: NDArray[np.int64]) -> dict[int, RowFault]:
        """Why messages can be in no conversation: they, or one above them."""
        found = {place: RowFault("no_comparison", f"left out: {why}") for place, why in self.left_out.items()}
        for place in np.flatnonzero(self.twice()).tolist():
            found[place] = RowFault("broken_tree", "an earlier message has its id")
        for place in np.flatnonzero(parents == _ABSENT).tolist():
            found.setdefault(place, RowFault("broken_tree", "its parent is not among the messages"))
        sound = set[int]()
        for place in range(len(self)):
            path, here = dict[int, None](), place  # a dict keeps the order, and finds a circle at once
            while here != _ROOT and here not in sound and here not in found and here not in path:
                path[here] = None
                here = int(parents[here])
            if here in path:
                found |= dict.fromkeys(path, RowFault("broken_tree", "the messages above it go round in a circle"))
            elif here in found:
                above = RowFault(found[here].code, f"a message above it: {found[here].detail.removeprefix(_ABOVE)}")
                found |= dict.fromkeys(path, above)
            else:
                sound.update(path)
        return found

    def siblings(self, parents: NDArray[np.int64], faults: dict[int, RowFault]) -> Iterator[tuple[int, list[int]]]:
        """Of each message with replies that can be compared its place and theirs, by the first of these."""
        replies: dict[int, list[int]] = {}
        for place, (parent, role) in enumerate(zip(parents.tolist(), self.roles, strict=True)):
            if parent >= 0 and role == "assistant" and place not in faults and not math.isnan(self.scores[place]):
                replies.setdefault(parent, []).append(place)
        return iter(replies.items())

    def path(self, place: int, parents: NDArray[np.int64]) -> list[int]:
        """From the root to a message."""
        found = [place]
        while parents[found[-1]] != _ROOT:
            found.append(int(parents[found[-1]]))
        return found[::-1]

    def conversation(self, places: Sequence[int]) -> Conversation:
        """The messages at these places."""
        return tuple(self._message(self.rows[place]) for place in places)

    def compare(
        self, replies: Sequence[int], given: Conversation, pair: Callable[..., PreferencePair]
    ) -> tuple[Compared, list[PreferencePair]]:
        """What was compared of ranked siblings, and the pairs; `pair(better, worse, parts, gap)` names each."""
        sides = [self.conversation([place]) for place in replies]
        answers = [Answer(side[0].content, self.scores[place]) for side, place in zip(sides, replies, strict=True)]
        found = compared(answers, self.form)
        pairs = [
            pair(replies[better], replies[worse], (given, sides[better], sides[worse]), gap)
            for better, worse, gap in found.pairs
        ]
        return found, pairs


_ABOVE = "a message above it: "


def _is_one_of(value: Any, values: frozenset[str]) -> bool:
    return isinstance(value, str | int | float | None) and same(value) in values


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


@dataclass(slots=True)
class TreeReader:
    """Collects messages, then gives the pairs of siblings, and at the end why each other message is in none."""

    basis: Basis
    form: TreeForm
    id: Look
    parent: Look
    tree: Look | None
    _forest: _Forest
    _numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: Row, number: int) -> None:
        """Take a row in.

        Raises:
            RowFault: it has no id, no text or role, or a rank that is none.
        """
        name, parent = self.id(row), self.parent(row)
        if not label(name):
            raise RowFault("missing_field", f"{self.form.id} is {shown(name)}, no id")
        self._forest.add(row, label(name), label(parent))
        self._numbers.append(number)

    def key(self, row: Row) -> bytes:
        """What the rows of one tree share.

        Raises:
            DataError: the form does not name the column that says it.
        """
        if self.tree is None:
            raise DataError(
                "a part of a tree's messages is no tree, and the form does not say which messages are of one",
                where=self.basis.title,
                fix="name the column of the tree's id: form: {kind: tree, tree: NAME}; or take all rows",
            )
        return _digest(label(self.tree(row)))

    def groups(self) -> Iterator[Group]:
        """The pairs of each message's replies, in the order of their first; then the messages that are in none."""
        forest = self._forest
        parents = forest.parent_places()
        why = forest.faults(parents)
        used = bytearray(len(forest))
        for parent, replies in forest.siblings(parents, why):
            reason = self._alone(parent, replies)
            if reason is not None:
                why |= dict.fromkeys(replies, reason)
                continue
            path = forest.path(parent, parents)
            found, pairs = forest.compare(replies, forest.conversation(path), self._pair)
            in_pairs = {replies[place] for better, worse, _ in found.pairs for place in (better, worse)}
            for place in (*in_pairs, *(path if in_pairs else ())):
                used[place] = True
            rest = RowFault("tie", "no other reply to its parent is better or worse by enough")
            if found.capped:
                rest = RowFault("no_comparison", f"its pairs are over the cap of {self.form.max_pairs}")
            why |= {place: rest for place in replies if place not in in_pairs}
            yield Group(self._numbers[replies[0]], Formed(pairs, found.ties, found.capped, found.made), 0, ())
        yield from self._accounts(used, why)

    def _alone(self, parent: int, replies: Sequence[int]) -> RowFault | None:
        """Why replies cannot be compared."""
        if self._forest.roles[parent] != "user":
            return RowFault("role_order", f"it answers a message of {self._forest.roles[parent]}, not of the user")
        return RowFault("no_comparison", "no other reply to its parent has a rank") if len(replies) < 2 else None

    def _pair(self, better: int, worse: int, sides: tuple[Conversation, ...], gap: float) -> PreferencePair:
        row, number = self._forest.rows[better], self._numbers[better]
        names = tuple(f"{self.form.text} of row {self._numbers[place]}" for place in (better, worse))
        parts = self.basis.join(row, sides[0], (sides[1], sides[2]), (names[0], names[1]))
        return self.basis.pair(row, number, parts, margin=gap, suffix=f"-{self._numbers[worse]}", form=_WRITTEN)

    def _accounts(self, used: bytearray, why: dict[int, RowFault]) -> Iterator[Group]:
        """Every message once: used as an answer or in a prompt, or the reason."""
        forest = self._forest
        for start in range(0, len(forest), _CHUNK):
            places = range(start, min(start + _CHUNK, len(forest)))
            unused = [
                (self._numbers[place], self.basis.row_id(forest.rows[place]), why.get(place) or self._idle(place))
                for place in places
                if not used[place]
            ]
            yield Group(self._numbers[start], Formed((), compared=0), len(places), unused)

    def _idle(self, place: int) -> RowFault:
        """Why a sound message is in no pair and no prompt."""
        if self._forest.roles[place] == "assistant" and math.isnan(self._forest.scores[place]):
            return RowFault("no_comparison", f"it has no {self.form.score}, and no replies that are compared")
        return RowFault("no_comparison", "none of the messages below it has two replies with a rank")


@dataclass(frozen=True, slots=True)
class NestedReader:
    """Reads rows that are whole trees."""

    basis: Basis
    form: TreeForm
    root: Look

    def read(self, row: Row, number: int) -> Formed:
        """The pairs of a tree, `row:i-j` after the places of the better and the worse reply, from 0, depth first.

        Raises:
            RowFault: a message of it cannot be read, or no two replies are compared; `Tie` where all of them are ties.
        """
        self.basis.refuse_images(row)
        forest = _Forest.of(self.form, self.basis, (), list[Row]())
        self._collect(row, forest)
        parents = forest.parent_places()

        def pair(better: int, worse: int, sides: tuple[Conversation, ...], gap: float) -> PreferencePair:
            names = f"message {better} of the tree", f"message {worse} of the tree"
            parts = self.basis.join(row, sides[0], (sides[1], sides[2]), names)
            return self.basis.pair(row, number, parts, margin=gap, suffix=f":{better}-{worse}", form=_WRITTEN)

        done = [
            forest.compare(replies, forest.conversation(forest.path(parent, parents)), pair)
            for parent, replies in forest.siblings(parents, forest.faults(parents))
            if len(replies) > 1 and forest.roles[parent] == "user"
        ]
        pairs = [pair for _, formed in done for pair in formed]
        ties, capped, made = (sum(getattr(found, name) for found, _ in done) for name in ("ties", "capped", "made"))
        if not pairs:
            if ties:
                raise Tie(f"all {ties} comparisons of the tree are ties", ties)
            raise RowFault("no_comparison", f"none of its {len(forest)} messages has two replies with a rank")
        return Formed(pairs, ties, capped, made)

    def _collect(self, row: Row, forest: _Forest) -> None:
        replies = path_of(self.form.replies)
        waiting: list[tuple[Any, str]] = [(parsed(self.root(row)), "")]
        while waiting:
            message, parent = waiting.pop()
            if not isinstance(message, dict):
                raise RowFault("missing_field", f"{self.form.root} has {shown(message)} in it, no message")
            name = str(len(forest))
            forest.add(message, name, parent)
            below = replies(message)
            if not isinstance(below, list | None):
                raise RowFault("missing_field", f"{self.form.replies} of a message is {shown(below)}, no list")
            waiting += [(one, name) for one in reversed(below or [])]


def open_tree(form: TreeForm, basis: Basis, names: Sequence[str]) -> TreeReader | NestedReader:
    """A reader of messages, or of whole trees where the form names their root.

    Raises:
        DataError: the texts are to stay plain.
    """
    if basis.joins_texts:
        raise DataError(
            "a tree of messages is a conversation, and data.strings: text leaves conversations without a template",
            where=basis.title,
            fix="write data.strings: chat",
        )
    if form.root is not None:
        return NestedReader(basis, form, path_of(form.root, names))
    tree = path_of(form.tree, names) if form.tree else None
    forest = _Forest.of(form, basis, names, _OnDisk())
    return TreeReader(basis, form, path_of(form.id, names), path_of(form.parent, names), tree, forest)
