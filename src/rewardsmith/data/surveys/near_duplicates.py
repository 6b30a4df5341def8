"""Near-duplicates: prompts that are almost one prompt, pairs that are almost one pair, and both across the split.

    survey = NearDuplicates(setting)
    survey.see(rows)                     # again and again
    survey.groups()                      # before the split: rows of one number stay together
    survey.finish(table)                 # near_duplicate_pair, near_duplicate_prompt, and the leaks of `leakage`

Prompts are near-duplicates when 35 % of their shingles of three words agree, boilerplate not counted (`data.minhash`).
Pairs are, when the chosen responses agree with each other and the rejected ones too, more than chosen with rejected
across the two pairs, and the prompts are in one cluster; a prompt under 20 words may differ if the responses are long.
Answers of one prompt that are ranked in many pairs are therefore no near-duplicates, however long their prompt is, and
however much of it they quote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.minhash import Labels, SketchBook, Sketches, connect
from rewardsmith.data.store import TokenizedPair, whole
from rewardsmith.data.surveys import leakage
from rewardsmith.data.surveys.leakage import PromptGroups, Prompts, digests_of, prompt_ids
from rewardsmith.data.surveys.survey import Found, Places, Setting, Surveyed, Table
from rewardsmith.data.words import CommonShingles, Hashes, hash_words, starts_of
from rewardsmith.records.data import ClusterExample, ClusterSizes, OverlapRecord
from rewardsmith.statistics import effective_number, wilson_interval
from rewardsmith.types import Conversation

_SLOTS = 32
_SIDES = ("chosen", "rejected")

# How alike both responses have to be. An estimate is off by 0.09, and unlike responses share less than 0.1; with one
# word in ten edited, 0.51 to 0.57 is left.
_ALIKE = 0.36
# Where prompt and one response are equal, two samples have met the same answer; samples often quote one passage (half
# of those in FineGrainedRLHF share 0.3 and more). And answers to other prompts follow one form. Of both more is asked:
# one word in twenty edited leaves 0.65 to 0.75.
_ALIKE_SAMPLES = 0.55
_ALIKE_REWORDED = 0.45
# Copies are more alike than chosen and rejected are across the two pairs; answers that quote one passage are not.
_BEYOND_CROSSED = 0.15
_ALIKE_ANYHOW = 0.65

_ROUNDS = 10  # three are usual


class NearDuplicates:
    """Sketches prompts and responses: about 385 bytes a row, and 13 for each long turn."""

    def __init__(self, setting: Setting) -> None:
        del setting
        self._prompts = PromptGroups()
        common = CommonShingles()
        self._books = {side: SketchBook(_SLOTS, np.uint16, common) for side in _SIDES}

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        self._prompts.see(rows)
        for number, side in enumerate(_SIDES):
            conversations: list[Conversation] = [getattr(row.pair, side) for row in rows]
            words = hash_words([message.text for conversation in conversations for message in conversation])
            words = words.merged(starts_of(np.array([len(conversation) for conversation in conversations], np.int64)))
            self._books[side].add(words, digests_of(words, rows, 1 + number))

    def groups(self) -> Labels:
        """Rows that the split must not part, shape (P,): the number is the place of a group's first row."""
        return self._prompts.groups()

    def finish(self, table: Table) -> Surveyed:
        """Near-duplicates in the training set, and leaks out of it."""
        prompts = self._prompts.close()
        sides = [self._books[side].close() for side in _SIDES]
        train = table.train
        pairs = np.arange(len(table.row))
        pairs[train] = train[_pair_clusters(prompts, sides, train)]
        found = [
            _near_pairs(table, pairs, sides),
            _near_prompts(table, prompts),
            leakage.leaked_prompts(table),
            leakage.near_leaked_prompts(table, prompts),
            leakage.leaked_turns(table, prompts),
        ]
        return Surveyed(found, summarize(table, prompts, pairs, found))


def _pair_clusters(prompts: Prompts, sides: Sequence[Sketches], train: Places) -> Labels:
    """For each training row the earlier row that it is a near-duplicate of, or itself, in their numbering.

    What is connected may hang together by a chain only; a row counts as a copy if it is alike to the first row itself.
    The others, and what a bucket did not compare, are looked at again, so that a set without its copies has none.
    """
    first_of = np.arange(len(train))
    left = np.arange(len(train))
    for _ in range(_ROUNDS):
        rows = train[left]
        root = _connected(prompts, sides, rows)
        joined = np.flatnonzero(root != np.arange(len(rows)))
        copies = joined[_alike(prompts, sides, rows[joined], rows[root[joined]])]
        if not len(copies):
            break
        first_of[left[copies]] = left[root[copies]]
        left = np.delete(left, copies)
    return first_of


def _connected(prompts: Prompts, sides: Sequence[Sketches], rows: Places) -> Labels:
    return connect(len(rows), _bands(prompts, sides, rows), lambda i, j: _alike(prompts, sides, rows[i], rows[j]))


def _bands(prompts: Prompts, sides: Sequence[Sketches], rows: Places) -> Iterator[Hashes]:
    """Keys of two kinds: one slot of either response and the prompt's cluster, then three slots of long responses."""

    def slot_of(side: int, slot: int) -> Hashes:
        slots: Hashes = sides[side].slots[rows, slot % _SLOTS].astype(np.uint64)
        return slots

    cluster = prompts.clusters[rows]
    shares_prompt = np.bincount(cluster, minlength=1)[cluster] > 1
    label = (cluster.astype(np.uint64) + np.uint64(1)) << np.uint64(32)
    for slot in range(_SLOTS):
        two = slot_of(0, slot) << np.uint64(16) | slot_of(1, slot)
        yield np.where(shares_prompt, label | two, np.uint64(0))
    is_long = ~(sides[0].is_short[rows] | sides[1].is_short[rows])
    for slot in range(_SLOTS):
        three = slot_of(0, slot) << np.uint64(32) | slot_of(1, slot) << np.uint64(16) | slot_of(slot % 2, slot + 1)
        # The top bit keeps these apart from keys with a cluster.
        yield np.where(is_long, three | np.uint64(1 << 63), np.uint64(0))


def _alike(prompts: Prompts, sides: Sequence[Sketches], left: Places, right: Places) -> NDArray[np.bool_]:
    """Whether pairs are near-duplicates."""
    chosen, rejected = sides
    same = np.stack([side.similarity(left, right) for side in sides])
    crossed = np.stack([chosen.similarity(left, right, rejected), rejected.similarity(left, right, chosen)])
    least = same.min(axis=0)
    copied = (same.mean(axis=0) - crossed.mean(axis=0) >= _BEYOND_CROSSED) | (least >= _ALIKE_ANYHOW)
    is_equal = np.stack([text.digests[left] == text.digests[right] for text in (prompts.sketches, *sides)])
    other_sample = is_equal[0] & (is_equal[1] ^ is_equal[2])
    threshold = np.where(other_sample, _ALIKE_SAMPLES, _threshold(prompts, left, right))
    alike: NDArray[np.bool_] = copied & (least >= threshold)
    return alike


def _threshold(prompts: Prompts, left: Places, right: Places) -> NDArray[np.float64]:
    """How alike the responses of pairs have to be, by what is known of their prompts; short ones may differ."""
    is_short = prompts.sketches.is_short[left] | prompts.sketches.is_short[right]
    reworded = np.where(is_short, _ALIKE_REWORDED, np.inf)
    return np.where(prompts.clusters[left] == prompts.clusters[right], _ALIKE, reworded)


def _near_pairs(table: Table, pairs: Labels, sides: Sequence[Sketches]) -> Found:
    """Every row of a cluster but the first, without those that equal an earlier row word for word."""
    later = np.flatnonzero(pairs != np.arange(len(pairs)))
    members = np.flatnonzero(np.isin(pairs, pairs[later]))
    new = members[np.unique(whole(table.keys[members]), return_index=True)[1]]
    near = np.intersect1d(later, new)

    def detail(place: int) -> str:
        here, first = np.array([place]), pairs[[place]]
        chosen, rejected = (float(side.similarity(here, first)[0]) for side in sides)
        return f"nearly the pair of {table.where(int(first[0]))}: chosen {chosen:.0%} alike, rejected {rejected:.0%}"

    return Found("near_duplicate_pair", near, detail, remove=near)


def _near_prompts(table: Table, prompts: Prompts) -> Found:
    """The training rows whose prompt has a near-duplicate that is not equal to it."""
    train, clusters, ids = table.train, prompts.clusters, prompt_ids(table)
    first = np.zeros(len(ids), np.int64)
    # Backwards, so that the first row of each cluster is the one that stays.
    first[clusters[train[::-1]]] = train[::-1]
    differs = np.zeros(len(ids), np.bool_)
    differs[clusters[train[ids[train] != ids[first[clusters[train]]]]]] = True

    def detail(place: int) -> str:
        mates = train[clusters[train] == clusters[place]]
        other = mates[ids[mates] != ids[place]][:1]
        alike = float(prompts.sketches.similarity(np.array([place]), other)[0])
        return f"nearly the prompt of {table.where(int(other[0]))}: {alike:.0%} alike"

    places = train[differs[clusters[train]]]
    sizes = np.bincount(clusters[train], minlength=1)
    summary = (
        f"{len(np.unique(ids[train])):,} distinct prompts count for {effective_number(sizes, order=2):,.0f}; "
        f"the largest cluster has {int(sizes.max()):,} pairs"
    )
    return Found("near_duplicate_prompt", places, detail, summary)


_BOUNDS = (1, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000)
_EXAMPLES = 10


def summarize(table: Table, prompts: Prompts, pairs: Labels, found: Sequence[Found]) -> OverlapRecord:
    """The numbers of a report.

    Args:
        table: rows and split.
        prompts: clusters of prompts.
        pairs: cluster of each pair, (P,); a held-out pair is alone.
        found: the findings, for their counts.
    """
    train = table.train
    counts = {one.code: len(one.places) for one in found}
    clusters, sizes = np.unique(prompts.clusters[train], return_counts=True)
    near = counts["near_duplicate_pair"]
    interval = wilson_interval(near, len(train)) if len(train) else None
    return OverlapRecord(
        training_pairs=len(train),
        distinct_prompts=len(np.unique(prompt_ids(table)[train])),
        prompt_clusters=len(clusters),
        effective_prompts=effective_number(sizes, order=2),
        short_prompts=int(np.count_nonzero(prompts.sketches.is_short[train])),
        sizes=_histogram(sizes),
        largest=_largest(table, prompts, clusters, sizes),
        duplicate_pairs=near,
        pair_clusters=len(np.unique(pairs[found[0].places])),
        duplicate_share=near / len(train) if len(train) else None,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        leaked_prompts=counts["leaked_prompt"],
        near_leaked_prompts=counts["near_leaked_prompt"],
        leaked_turns=counts["leaked_turn"],
    )


def _histogram(sizes: NDArray[np.int64]) -> tuple[ClusterSizes, ...]:
    bins = []
    for low, high in zip(_BOUNDS, (*_BOUNDS[1:], None), strict=True):
        within = sizes[(sizes >= low) & (sizes < high if high else True)]
        bins.append(ClusterSizes(low=low, high=high and high - 1, clusters=len(within), pairs=int(within.sum())))
    return tuple(bins)


def _largest(
    table: Table, prompts: Prompts, clusters: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[ClusterExample, ...]:
    """The largest clusters that hold more than one prompt."""
    train, ids = table.train, prompt_ids(table)
    cluster = prompts.clusters[train]
    order = np.lexsort((ids[train], cluster))
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (np.diff(cluster[order]) != 0) | (ids[train][order][1:] != ids[train][order][:-1])
    distinct = np.bincount(np.searchsorted(clusters, cluster[order][is_new]), minlength=len(clusters))
    several = np.flatnonzero(distinct > 1)
    examples = []
    for index in several[np.argsort(-sizes[several], kind="stable")][:_EXAMPLES]:
        first = int(train[np.argmax(cluster == clusters[index])])
        source = table.sources[int(table.source[first])].source
        examples.append(
            ClusterExample(
                pairs=int(sizes[index]), prompts=int(distinct[index]), file=source, row=int(table.row[first])
            )
        )
    return tuple(examples)


NEAR_DUPLICATE_PAIR = Check(
    code="near_duplicate_pair",
    severity="warning",
    title="Near-duplicate pairs",
    meaning="A training pair is an edited copy of an earlier one: prompt, chosen and rejected response nearly agree.",
    why="Training runs for one epoch because pairs are memorised in a second pass; an edited copy is that second pass.",
    fix="keep the first of each cluster (--fix does)",
    of="train",
)
NEAR_DUPLICATE_PROMPT = Check(
    code="near_duplicate_prompt",
    severity="note",
    title="Near-duplicate prompts",
    meaning="A training prompt has an edited copy among the training prompts. The split never parts the two.",
    why="The data ask fewer questions than they have prompts, and the questions that repeat weigh more.",
    fix="nothing, if the weights are meant; else keep fewer pairs of the largest clusters",
    of="train",
)
