"""Overlap, ready to be shown: near-duplicates, leaks into the held-out pairs, contamination by benchmarks.

    overlap_block(record)          clusters of near-duplicate prompts, leaks
    contamination_block(record)    per benchmark and subset

In: the sections `overlap` and `contamination` of check.json. Files, ids and subsets come from users.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.records.data_overlap import (
    BenchmarkOverlap,
    ClusterExample,
    ClusterSizes,
    ContaminatedRow,
    ContaminationRecord,
    OverlapRecord,
)
from rewardsmith.report.blocks import Block, Column, Grid
from rewardsmith.report.formatting import count, percent, plural, visible
from rewardsmith.report.scores import State
from rewardsmith.report.strips import bar_strip, nice_top, rate, rate_axis, rate_strip

_EXAMPLES = 10
_RULES = {"equal": "equal words", "ngrams": "n-grams of eight words", "near": "word triples"}


def overlap_block(record: OverlapRecord) -> Block:
    """How far the training pairs repeat each other, and whether held-out prompts are among them."""
    leaks = record.leaked_prompts + record.near_leaked_prompts + record.leaked_turns
    return Block(
        title="Near-duplicates and leaks",
        reading=f"Held-out prompts stand in the training data: {record.leaked_prompts:,} exactly, "
        f"{record.near_leaked_prompts:,} nearly, {record.leaked_turns:,} by a turn."
        if leaks
        else "No held-out prompt stands in the training data, exactly or nearly.",
        state="bad" if leaks else "good",
        facts=(
            (
                "Distinct prompts",
                f"{count(record.distinct_prompts)} for {plural(record.training_pairs, 'training pair')}",
            ),
            ("Not even nearly alike", plural(record.prompt_clusters, "prompt")),
            ("Effective prompts", count(round(record.effective_prompts)).text),
            ("Near-duplicates of an earlier pair", _duplicates(record)),
        ),
        grids=tuple(grid for grid in (_sizes(record.sizes), _largest(record.largest)) if len(grid.rows) > 1),
        source="check.json",
    )


def _duplicates(record: OverlapRecord) -> str:
    interval = f", {percent(record.ci_low)} to {percent(record.ci_high)}" if record.ci_low is not None else ""
    share = f" ({percent(record.duplicate_share)} %{interval})" if record.duplicate_share is not None else ""
    return f"{plural(record.duplicate_pairs, 'pair')}{share}"


def _sizes(sizes: Sequence[ClusterSizes]) -> Grid:
    largest = max((one.pairs for one in sizes), default=0)
    columns = (Column("Pairs of one cluster", "words"), Column("Clusters"), Column("Pairs"), Column("Drawn", "draw"))
    rows = tuple(
        (_range(one), count(one.clusters), count(one.pairs), bar_strip(one.pairs / max(1, largest)))
        for one in sizes
        if one.clusters
    )
    return Grid("Sizes of clusters of near-duplicate prompts", columns, rows)


def _range(one: ClusterSizes) -> str:
    if one.high is None:
        return f"{one.low:,} or more"
    return f"{one.low:,}" if one.high == one.low else f"{one.low:,} to {one.high:,}"


def _largest(largest: Sequence[ClusterExample]) -> Grid:
    columns = (Column("First pair", "code"), Column("Pairs"), Column("Distinct prompts"))
    rows = tuple((f"{visible(one.file, 120)}:{one.row}", count(one.pairs), count(one.prompts)) for one in largest)
    return Grid("The largest clusters", columns, rows, folded=f"The {plural(len(rows), 'largest cluster')}")


def contamination_block(record: ContaminationRecord) -> Block:
    """Which share of each benchmark stands in the training prompts; nothing of it should."""
    clean = not record.contaminated_pairs
    return Block(
        title="Contamination by benchmarks",
        reading="No benchmark that is evaluated stands in the training prompts."
        if clean
        else f"{plural(record.contaminated_pairs, 'training pair')} of {count(record.training_pairs)} hold "
        "the prompt of a benchmark row: that score is no evidence.",
        state="good" if clean else "bad",
        note="Share of a benchmark’s rows whose prompt stands in a training prompt: in equal words, in n-grams of "
        "eight words (as Tülu 3 counts), or nearly.",
        grids=(
            *([_benchmarks(record.benchmarks)] if record.benchmarks else []),
            *([_examples(record.examples)] if record.examples else []),
        ),
        source="check.json",
    )


def _benchmarks(found: Sequence[BenchmarkOverlap]) -> Grid:
    top = nice_top([one.ci_high for one in found])
    columns = (
        Column("Benchmark", "name"),
        Column("Rows"),
        Column("In training"),
        Column("%"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis(top)),
        Column("Equal"),
        Column("n-grams"),
        Column("Nearly"),
        Column("Training pairs"),
    )
    rows = []
    for one in found:
        state: State = "bad" if one.touched else "good"
        name = " · ".join(part for part in (one.benchmark, one.subset) if part)
        share = rate(name, one.rows, one.share, (one.ci_low, one.ci_high), state)
        counts = (count(one.equal), count(one.ngrams), count(one.near), count(one.training_pairs))
        interval = f"{share.low} to {share.high}"
        rows.append((share.name, share.n, count(one.touched), share.value, interval, rate_strip(share, top), *counts))
    return Grid("Contamination per benchmark and subset", columns, tuple(rows))


def _examples(examples: Sequence[ContaminatedRow]) -> Grid:
    columns = (
        Column("Training row", "code"),
        Column("Benchmark", "name"),
        Column("Row’s id", "code"),
        Column("Found by", "words"),
        Column("Of its prompt, %"),
    )
    rows = tuple(
        (
            f"{visible(one.file, 120)}:{one.row}",
            " · ".join(visible(part, 60) for part in (one.benchmark, one.subset) if part),
            visible(one.id, 80),
            _RULES[one.rule],
            percent(one.share),
        )
        for one in examples[:_EXAMPLES]
    )
    return Grid("Training rows that hold a benchmark’s prompt", columns, rows, folded=plural(len(rows), "example row"))
