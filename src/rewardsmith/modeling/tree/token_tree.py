"""Each token once: sequences that begin alike become trees, and trees share rows.

Token ids go in; packs come out. A pack is one row without padding that holds many trees. A tree is a trunk that its
sequences share, then their continuations, which may share trunks of their own. Position ids restart so that every
token keeps the position it has in its own sequence, and a `TreeLayout` says which token may attend to which.

    sequences   a b c d | a b c e f | x y          (letters are tokens)
    row         a b c d e f x y
    positions   0 1 2 3 3 4 0 1
    nodes       [a b c] → [d], [e f];  [x y]       rewards are read at d, f and y

Nodes lie depth first, so the descendants of a node follow it directly. The whole attention rule is one line: token q
attends to token k if `k <= q < stop[k]`, where `stop[k]` is the end of the subtree below k's node.

    packs = pack_pairs(pairs, budget=2048)              # training: the pairs of one optimizer step
    packs = pack_sequences(sequences, budget=8192)      # scoring: everything that is to be scored
    rewards[pack.members] = model_rewards(pack)         # the caller's order again

Prefixes are compared token by token; no prompt boundary is guessed. Equal sequences are encoded once. A sequence that
is the beginning of another one has its reward read inside that one. No torch here: numpy and plain Python.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import DataError

Tokens = Sequence[int] | NDArray[np.integer[Any]]
Ints = NDArray[np.int64]
Derived = TypeVar("Derived")

# A shared run shorter than this costs more in separate attention calls than its tokens cost to encode twice.
MIN_SHARED = 8


class Node(NamedTuple):
    """Tokens `[start, end)` of a row; the subtree below them ends at `stop` (a leaf has `stop == end`)."""

    start: int
    end: int
    stop: int


class TreeLayout:
    """Which token of a row may attend to which: what the attention function receives as `tree_layout`.

    Opaque to everything between the collator and the attention function. Not a dataclass and not a tuple on purpose:
    device movers and mixed-precision wrappers take those apart. What kernels derive from it is kept with it; a row
    that is prepared like the one before it has all of that before its first layer asks.

    Attributes:
        nodes: every node of every tree, depth first.
        position_ids: (T,) position of each token within its own sequence.
        reward_positions: (R,) where rewards are read, one for each distinct sequence.
        kernels: names of the attention kernels that have computed this row; layers may differ.
    """

    __slots__ = ("_asked", "_derived", "kernels", "nodes", "position_ids", "reward_positions")

    def __init__(self, nodes: tuple[Node, ...], position_ids: Ints, reward_positions: Ints) -> None:
        self.nodes = nodes
        self.position_ids = position_ids
        self.reward_positions = reward_positions
        self.kernels: set[str] = set()
        self._derived: dict[Hashable, Any] = {}
        self._asked: dict[Hashable, Callable[[TreeLayout], Any]] = {}

    def __reduce__(self) -> tuple[type[TreeLayout], tuple[Any, ...]]:
        return TreeLayout, (self.nodes, self.position_ids, self.reward_positions)

    def __len__(self) -> int:
        return len(self.position_ids)

    def derived(self, key: Hashable, make: Callable[[], Derived]) -> Derived:
        """What a kernel works out once for a layout and then reads in every layer (masks, lists of calls)."""
        if key not in self._derived:
            self._derived[key] = make()
        found: Derived = self._derived[key]
        return found

    def ask(self, key: Hashable, make: Callable[[TreeLayout], Derived]) -> Derived:
        """As `derived`, for what the next row will be asked for as well; `make` must not hold on to this layout."""
        self._asked[key] = make
        return self.derived(key, lambda: make(self))

    def prepare_like(self, before: TreeLayout) -> None:
        """Derive now what the layers asked of the row before this one, while the device still computes that row."""
        for key, make in tuple(before._asked.items()):
            self.ask(key, make)

    def stops(self) -> Ints:
        """(T,) for each token, the end of the subtree below its node."""
        return np.repeat([n.stop for n in self.nodes], [n.end - n.start for n in self.nodes]).astype(np.int64)

    def may_attend(self, queries: Ints | slice, keys: Ints | slice, window: int | None = None) -> NDArray[np.bool_]:
        """(Q, K) who attends to whom. `window`: how many tokens back a sliding layer sees, itself included."""
        every, stops = np.arange(len(self)), self.derived("stops", self.stops)
        query, key = every[queries][:, None], every[keys][None, :]
        allowed = (key <= query) & (query < stops[keys][None, :])
        if window is not None:
            allowed &= self.position_ids[queries][:, None] - self.position_ids[keys][None, :] < window
        return allowed

    def fits_window(self, window: int | None) -> bool:
        """Whether no sequence is long enough to notice the sliding window."""
        return window is None or not len(self) or int(self.position_ids.max()) < window


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One row of trees, ready to become tensors.

    Attributes:
        input_ids: (T,) tokens.
        position_ids: (T,) position of each token within its own sequence.
        layout: which token attends to which; also holds the reward positions, one for each distinct sequence.
        members: (M,) indices into the caller's list of sequences or pairs.
        slots: (M,) index into `layout.reward_positions` for each member sequence, or (M, 2), chosen and rejected, for
            each member pair.
    """

    input_ids: Ints
    position_ids: Ints
    layout: TreeLayout
    members: Ints
    slots: Ints

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def reward_positions(self) -> Ints:
        """Where to read: one for each member sequence, or all chosen of the member pairs, then all rejected."""
        return self.layout.reward_positions[self.slots.T.ravel()]


def pack_sequences(sequences: Sequence[Tokens], budget: int, min_shared: int = MIN_SHARED) -> list[Pack]:
    """Pack every sequence exactly once into rows of at most `budget` tokens.

    A row is longer only if it holds a single sequence that is. Trees too large for a row are cut between sequences, and
    each part encodes the trunk again.

    Raises:
        DataError: a sequence without tokens.
    """
    forest, ranks = _sort(sequences, min_shared)
    everyone = range(len(forest.texts))
    units = [part for tree in forest.trees(everyone) for part in _cut(forest, tree, budget)]
    members_of: list[list[int]] = [[] for _ in everyone]
    for index, rank in enumerate(ranks):
        members_of[rank].append(index)
    packs = []
    for bin_ in _fill([forest.count(unit) for unit in units], budget):
        leaves = [leaf for unit in bin_ for leaf in units[unit]]
        slots = [slot for slot, leaf in enumerate(leaves) for _ in members_of[leaf]]
        members = [member for leaf in leaves for member in members_of[leaf]]
        packs.append(forest.lay_out([units[unit] for unit in bin_], members, slots))
    return packs


def pack_pairs(pairs: Sequence[tuple[Tokens, Tokens]], budget: int, min_shared: int = MIN_SHARED) -> list[Pack]:
    """Pack every (chosen, rejected) pair exactly once into rows of about `budget` tokens; a pair is never parted.

    Pairs that share texts or beginnings (the pairs of one prompt, of one ranking) come to lie in one tree where the
    budget allows. A row is longer than the budget only if it holds a single pair that is.

    Raises:
        DataError: a sequence without tokens.
    """
    forest, ranks = _sort([text for pair in pairs for text in pair], min_shared)
    slots_of = [(ranks[2 * i], ranks[2 * i + 1]) for i in range(len(pairs))]
    units = [part for bundle in _bundles(forest, slots_of) for part in _cut_pairs(forest, bundle, slots_of, budget)]
    leaves_of = [_leaves(unit, slots_of) for unit in units]
    packs = []
    for bin_ in _fill([forest.count(leaves) for leaves in leaves_of], budget):
        slot_of: dict[int, list[int]] = {}
        count = 0
        for unit in bin_:
            slot = {leaf: index for index, leaf in enumerate(leaves_of[unit], start=count)}
            slot_of |= {pair: [slot[leaf] for leaf in slots_of[pair]] for pair in units[unit]}
            count += len(slot)
        members = sorted(slot_of)
        packs.append(forest.lay_out([leaves_of[unit] for unit in bin_], members, [slot_of[pair] for pair in members]))
    return packs


class _Draft(NamedTuple):
    """A node before it has a place: tokens `[depth, end)` of each of the texts `[first, last)` of a selection."""

    first: int
    last: int
    depth: int
    end: int


@dataclass(frozen=True, slots=True)
class _Forest:
    """Distinct texts in lexicographic order, so that neighbours share the most.

    `shared[i]` is the number of leading tokens that texts `i - 1` and `i` have in common (0 for the first).
    """

    texts: list[NDArray[np.uint32]]
    shared: list[int]
    min_shared: int

    def drafts(self, leaves: Sequence[int]) -> list[_Draft]:
        """The nodes, depth first, of the trees over a sorted selection of texts."""
        shared = [0, *(min(self.shared[a + 1 : b + 1]) for a, b in pairwise(leaves))]
        stack, drafts = self._runs(shared, 0, len(leaves), 0), []
        while stack:
            first, last, depth, _ = stack.pop()
            if last - first == 1:
                drafts.append(_Draft(first, last, depth, len(self.texts[leaves[first]])))
                continue
            end = min(shared[first + 1 : last])
            drafts.append(_Draft(first, last, depth, end))
            stack += self._runs(shared, first, last, end)
        return drafts

    def _runs(self, shared: list[int], first: int, last: int, depth: int) -> list[_Draft]:
        """Part `[first, last)` where neighbours share too little beyond `depth`; last run first, for a stack."""
        cuts = [i for i in range(first + 1, last) if shared[i] < depth + self.min_shared]
        edges = [first, *cuts, last] if first < last else []
        return [_Draft(a, b, depth, depth) for a, b in reversed(list(pairwise(edges)))]

    def trees(self, leaves: Sequence[int]) -> list[list[int]]:
        """A sorted selection of texts, parted into those that share a tree."""
        trees: list[list[int]] = []
        for a, b in pairwise([None, *leaves]):
            joins = a is not None and b is not None and min(self.shared[a + 1 : b + 1]) >= max(self.min_shared, 1)
            if b is not None:
                trees[-1].append(b) if joins else trees.append([b])
        return trees

    def count(self, leaves: Sequence[int]) -> int:
        """Tokens that a sorted selection of texts takes."""
        return sum(draft.end - draft.depth for draft in self.drafts(leaves))

    def lay_out(self, units: list[list[int]], members: list[int], slots: list[Any]) -> Pack:
        """One row over sorted selections of texts, each with trees of its own, so that it takes what was counted."""
        tokens: list[NDArray[Any]] = [np.empty(0, np.int64)]
        positions: list[NDArray[Any]] = [np.empty(0, np.int64)]
        nodes: list[Node] = []
        ends: list[int] = []
        at = 0
        for leaves in units:
            leaf_ends = [0] * len(leaves)
            placed = []
            for draft in self.drafts(leaves):
                start, at = at, at + draft.end - draft.depth
                tokens.append(self.texts[leaves[draft.first]][draft.depth : draft.end])
                positions.append(np.arange(draft.depth, draft.end))
                if draft.last - draft.first == 1:
                    leaf_ends[draft.first] = at
                placed.append((start, at, draft.last - 1))
            # A text that ends where its trunk ends has an empty leaf, which is no node: it is read inside the trunk.
            nodes += [Node(start, end, leaf_ends[last]) for start, end, last in placed if start < end]
            ends += leaf_ends
        position_ids = np.concatenate(positions).astype(np.int64)
        layout = TreeLayout(tuple(nodes), position_ids, np.array(ends, dtype=np.int64) - 1)
        input_ids = np.concatenate(tokens).astype(np.int64)
        return Pack(input_ids, position_ids, layout, np.array(members, np.int64), np.array(slots, np.int64))


def _sort(sequences: Iterable[Tokens], min_shared: int) -> tuple[_Forest, list[int]]:
    """The distinct sequences in order, and for each given sequence its rank among them."""
    # Big-endian bytes compare as the token ids do, at the speed of memcmp.
    keys = [np.asarray(sequence, dtype=np.uint32).astype(">u4").tobytes() for sequence in sequences]
    for index, key in enumerate(keys):
        if not key:
            raise DataError("a sequence without tokens has no reward position", where=f"sequence {index}")
    distinct = sorted(set(keys))
    rank = {key: index for index, key in enumerate(distinct)}
    texts = [np.frombuffer(key, ">u4") for key in distinct]
    shared = [0, *(_common_prefix(a, b) for a, b in pairwise(texts))]
    return _Forest(texts, shared, min_shared), [rank[key] for key in keys]


def _common_prefix(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Number of leading tokens that two texts have in common."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    first = int(differ.argmax())
    return first if differ[first] else length


def _cut(forest: _Forest, tree: list[int], budget: int) -> list[list[int]]:
    """Part the texts of one tree into neighbours whose own trees keep to the budget, as far as single texts do."""
    if forest.count(tree) <= budget:
        return [tree]
    parts: list[list[int]] = []
    start = 0
    while start < len(tree):
        parts.append(_most(forest, tree[start:], budget))
        start += len(parts[-1])
    return parts


def _most(forest: _Forest, leaves: list[int], budget: int) -> list[int]:
    """As many of the first texts as fit, at least one: doubled until they do not, then halved in between."""
    taken = 1
    while 2 * taken <= len(leaves) and forest.count(leaves[: 2 * taken]) <= budget:
        taken *= 2
    refused = min(2 * taken, len(leaves) + 1)
    while refused - taken > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if forest.count(leaves[:middle]) <= budget else (taken, middle)
    return leaves[:taken]


def _leaves(pairs: Iterable[int], slots_of: Sequence[tuple[int, int]]) -> list[int]:
    return sorted({leaf for pair in pairs for leaf in slots_of[pair]})


def _bundles(forest: _Forest, slots_of: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Pairs that are linked by a common tree, directly or through other pairs."""
    trees = forest.trees(range(len(forest.texts)))
    tree_of = {leaf: index for index, tree in enumerate(trees) for leaf in tree}
    parent = list(range(len(trees)))

    def root(tree: int) -> int:
        while parent[tree] != tree:
            parent[tree] = parent[parent[tree]]
            tree = parent[tree]
        return tree

    for chosen, rejected in slots_of:
        parent[root(tree_of[chosen])] = root(tree_of[rejected])
    bundles: dict[int, list[int]] = {}
    for pair, (chosen, _) in enumerate(slots_of):
        bundles.setdefault(root(tree_of[chosen]), []).append(pair)
    return list(bundles.values())


def _cut_pairs(forest: _Forest, bundle: list[int], slots_of: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Part linked pairs so that each part keeps to the budget, as far as single pairs do; neighbours stay together."""
    if forest.count(_leaves(bundle, slots_of)) <= budget:
        return [bundle]
    parts: list[list[int]] = []
    for pair in sorted(bundle, key=lambda pair: sorted(slots_of[pair])):
        if parts and forest.count(_leaves([*parts[-1], pair], slots_of)) <= budget:
            parts[-1].append(pair)
        else:
            parts.append([pair])
    return parts


def _fill(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Best-fit decreasing: bins of units whose sizes sum to at most `budget`; a larger unit has a bin of its own."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, bin), sorted
    for unit in sorted(range(len(sizes)), key=lambda unit: -sizes[unit]):
        # -1 is below every bin, so that the search finds the tightest bin with this very room.
        at = bisect_left(rooms, (sizes[unit], -1))
        if at < len(rooms):
            room, bin_ = rooms.pop(at)
        else:
            room, bin_ = budget, len(bins)
            bins.append([])
        bins[bin_].append(unit)
        insort(rooms, (room - sizes[unit], bin_))
    return bins
