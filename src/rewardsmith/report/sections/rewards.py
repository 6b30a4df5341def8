"""Rewards per subset, chosen beside rejected, on one scale.

    rewards_section(results, rows) → Section

The summary (mean, standard deviation, quantiles) is the recorded one. The split into chosen and rejected is counted
from `rows.jsonl` where it is there; otherwise the recorded histogram of all rewards is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rewardsmith.records.evaluation import BenchmarkResult, RewardSummary
from rewardsmith.report.blocks import Block, Column, Grid, Section
from rewardsmith.report.formatting import count, decimal, visible
from rewardsmith.report.pooling import pool_rewards
from rewardsmith.report.reading import RowRewards
from rewardsmith.report.sections.scores import title_of
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, path_through, text, tick_label

_STRIP = 300.0

ALL = "All rewards"
BINS = 48


def rewards_section(results: Mapping[str, BenchmarkResult], rows: Mapping[str, Mapping[str, RowRewards]]) -> Section:
    """The rewards of each benchmark: how they are spread, chosen beside rejected.

    Args:
        rows: by benchmark and subset, as in `rows.jsonl`; what is not there is shown undivided.
    """
    blocks = tuple(
        _reward_block(key, result, rows.get(key, {}), scale)
        for key, result in results.items()
        if (scale := reward_scale(result)) is not None
    )
    return Section(
        "rewards",
        "Rewards",
        blocks,
        lead="Raw rewards, never normalised. A policy follows differences: where chosen and rejected lie on top of "
        "each other, it learns nothing.",
        absent=None if blocks else ("Evaluation", "eval/BENCHMARK/results.json"),
    )


def _reward_block(key: str, result: BenchmarkResult, rows: Mapping[str, RowRewards], scale: Scale) -> Block:
    columns = (
        Column("Subset", "name"),
        Column("Rewards"),
        Column("Mean"),
        Column("Std"),
        Column("Distribution", "draw", reward_axis(scale)),
        Column("Lowest"),
        Column("Highest"),
        Column("Distinct"),
    )
    digits = _digits(scale.low, scale.high)
    cells = []
    for name, (summary, histogram) in reward_rows(result, rows, scale).items():
        shown, n, distinct = visible(name, 80), count(summary.n), count(summary.distinct)
        mean, std = decimal(summary.mean, digits), decimal(summary.std, digits)
        low, high = decimal(summary.min, digits), decimal(summary.max, digits)
        label = f"{shown}: rewards from {low} to {high}, mean {mean}, standard deviation {std}"
        strip = reward_strip(label, histogram, summary.quantiles, scale, split=bool(rows))
        cells.append((shown, n, mean, std, strip, low, high, distinct))
    title = title_of(result)
    caption = f"{title}: distribution of raw rewards per subset"
    legend = _SPLIT_KEYS if rows else _WHOLE_KEYS
    return Block(
        title=title,
        grids=(Grid(caption, columns, tuple(cells), titled=False, legend=legend, look="rewards"),),
        source=f"eval/{key}/results.json",
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares per bin: each sums to 1 where it has any reward. `edges` has one more entry than a list of shares.

    `medians` are those of chosen and rejected, None where a side is empty or not apart.
    """

    edges: tuple[float, ...]
    chosen: tuple[float, ...]
    rejected: tuple[float, ...]
    whole: tuple[float, ...]
    medians: tuple[float | None, float | None] = (None, None)


def reward_scale(result: BenchmarkResult) -> Scale | None:
    """The common scale of a benchmark's rewards: their whole range. None where no reward was computed."""
    low, high = result.rewards.min, result.rewards.max
    return None if low is None or high is None else Scale(low, high, 10.0, _STRIP - 10.0)


def reward_rows(
    result: BenchmarkResult, rows: Mapping[str, RowRewards], scale: Scale
) -> dict[str, tuple[RewardSummary, Histogram | None]]:
    """All rewards, then those of each subset (small ones of the user's own data as one), each with what is drawn."""
    pooled = pool_rewards(result)
    summaries = {ALL: result.rewards, **(pooled.shown if len(result.rewards_by_subset) > 1 else {})}
    few = _together([part for name, part in rows.items() if name in pooled.small])
    others = {name: few for name in pooled.shown if name not in rows}
    parts = {**rows, ALL: _together(list(rows.values())), **others} if rows else {}
    return {
        name: (summary, _split(parts[name], scale.low, scale.high) if name in parts else _recorded(summary))
        for name, summary in summaries.items()
    }


def _together(parts: Sequence[RowRewards]) -> RowRewards:
    return RowRewards(
        tuple(reward for part in parts for reward in part.chosen),
        tuple(reward for part in parts for reward in part.rejected),
    )


def _split(rewards: RowRewards, low: float, high: float) -> Histogram | None:
    """Chosen and rejected over one set of bins."""
    if not rewards.chosen and not rewards.rejected:
        return None
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    medians = (_median(rewards.chosen), _median(rewards.rejected))
    return Histogram(
        tuple(edges.tolist()), _shares(rewards.chosen, edges), _shares(rewards.rejected, edges), (), medians
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _shares(values: Sequence[float], edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(values, bins=edges)
    return tuple((counts / max(1, len(values))).tolist())


def _recorded(summary: RewardSummary) -> Histogram | None:
    if summary.min is None or summary.max is None or not summary.histogram:
        return None
    low, high = summary.min, summary.max
    edges = np.linspace(low, high, len(summary.histogram) + 1) if high > low else np.array([low - 0.5, low + 0.5])
    counts = np.array(summary.histogram if high > low else (sum(summary.histogram),), dtype=np.float64)
    return Histogram(tuple(edges.tolist()), (), (), tuple((counts / max(1.0, counts.sum())).tolist()))


def _digits(low: float, high: float) -> int:
    """Decimals that tell rewards of this range apart: two for a range of 1 to 10, one more for each tenth of that."""
    return min(8, max(0, 2 - math.floor(math.log10(high - low)))) if high > low else 4


def reward_axis(x: Scale) -> Markup:
    """The rewards over a column of reward strips."""
    ticks = nice_ticks(x.low, x.high) if x.high > x.low else [x.low]
    return drawing(
        _STRIP, 16, "", *(text(x(tick), 12, tick_label(tick), anchor="middle") for tick in ticks), class_="chart strip"
    )


def reward_strip(
    label: str, histogram: Histogram | None, quantiles: Mapping[str, float], x: Scale, *, split: bool
) -> Markup:
    """Chosen rewards above the line and rejected below, a stroke at each median.

    Where they were not recorded apart (no `split`): all rewards, with a line from the 5th to the 95th percentile and a
    dot at the median.
    """
    parts = [line(x(tick), 0, x(tick), 56, "grid") for tick in nice_ticks(x.low, x.high) if x.high > x.low]
    if histogram:
        parts += _bars(histogram, x)
    parts += _medians(histogram, x) if histogram and split else _spread(quantiles, x)
    return drawing(_STRIP, 56, label, *parts, class_="chart strip")


def _medians(histogram: Histogram, x: Scale) -> list[Markup]:
    ends = ((3, 28), (28, 53))
    strokes = [
        line(x.clamped(median), top, x.clamped(median), bottom, "middle")
        for median, (top, bottom) in zip(histogram.medians, ends, strict=True)
        if median is not None
    ]
    return [line(x.start, 28, x.end, 28, "axis"), *strokes]


def _spread(quantiles: Mapping[str, float], x: Scale) -> list[Markup]:
    if not {"p05", "p50", "p95"} <= quantiles.keys():
        return []
    return [
        line(x.clamped(quantiles["p05"]), 28, x.clamped(quantiles["p95"]), 28, "spread"),
        element("circle", cx=x.clamped(quantiles["p50"]), cy=28, r=3, class_="median"),
    ]


def _bars(histogram: Histogram, x: Scale) -> list[Markup]:
    highest = max((*histogram.chosen, *histogram.rejected, *histogram.whole), default=0.0) or 1.0
    sides = (("chosen", histogram.chosen, -1), ("rejected", histogram.rejected, 1), ("whole", histogram.whole, -1))
    return [
        element(
            "path", d=_steps([x(edge) for edge in histogram.edges], shares, direction * 26 / highest), class_=class_
        )
        for class_, shares, direction in sides
        if shares
    ]


def _steps(edges: Sequence[float], shares: Sequence[float], unit: float) -> str:
    """Path data of a histogram's outline over the middle line."""
    corners = [
        corner
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
        for corner in ((left, 28 + share * unit), (right, 28 + share * unit))
    ]
    return path_through([(edges[0], 28.0), *corners, (edges[-1], 28.0)]).replace("h0", "") + "Z"


def _key(path: str, class_: str) -> Markup:
    return drawing(16, 16, "", element("path", d=path, class_=class_), class_="chart key")


_UP, _DOWN = "M1 14c4 0 4-12 7-12s3 12 7 12z", "M1 2c4 0 4 12 7 12s3-12 7-12z"
_SPLIT_KEYS = (
    (_key(_UP, "chosen"), "chosen, above"),
    (_key(_DOWN, "rejected"), "rejected, below"),
    (drawing(8, 16, "", line(4, 1, 4, 15, "middle"), class_="chart key"), "median"),
    (Markup(""), "each side is drawn to its own number of rewards"),
)
_WHOLE_KEYS = (
    (_key(_UP, "whole"), "all rewards"),
    (
        Markup(
            '<svg class="chart key" viewBox="0 7 34 18" aria-hidden="true"><line class="spread" x1="2" y1="16" x2="32" '
            'y2="16"/><circle class="median" cx="17" cy="16" r="3"/></svg>'
        ),
        "5th to 95th percentile, median",
    ),
)
