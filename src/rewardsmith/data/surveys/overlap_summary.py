"""The record of near-duplicates and leaks: from clusters to numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.overlap.clusters import Labels
from rewardsmith.data.surveys.contract import Found, Table
from rewardsmith.data.surveys.prompt_groups import Prompts, prompt_ids
from rewardsmith.records.data_overlap import ClusterExample, ClusterSizes, OverlapRecord
from rewardsmith.statistics import effective_number, wilson_interval

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
