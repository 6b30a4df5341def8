"""Benchmarks as tables: a score with its interval beside what guessing, length and words alone reach.

    scores_section(results) → Section       score_block(key, result) → Block, one of them

A score says little alone: 52.7 looks fine until "the longer one wins" is seen to reach 52.7 as well. So every row
carries its baselines and a reading in words of which of them its interval clears.

Rewards per subset, chosen beside rejected, on one scale.

    rewards_section(results, rows) → Section

The summary (mean, standard deviation, quantiles) is the recorded one. The split into chosen and rejected is counted
from `rows.jsonl` where it is there; otherwise the recorded histogram of all rewards is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rewardsmith.records.evaluation import BenchmarkResult, RewardSummary, SubsetResult, reasons_in_words
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    State,
    capitalised,
    count,
    decimal,
    p_value,
    percent,
    plural,
    significant,
    visible,
)
from rewardsmith.report.pooling import Pooled, pool_rewards, pool_scores, pooled_note, small_grid
from rewardsmith.report.reading import RowRewards
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, path_through, text, tick_label
from rewardsmith.spec.evaluation import RenderingProtocol

RANDOM = "random"
LENGTH = "length-only"
AVERAGE = "Average"
ROWS_SHOWN = 60

_ROUNDING = 1e-9
_NONE = Number(None, MISSING)
_LENGTH_OF_AVERAGE = "average_length_baseline"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One subset, or the average. `baselines` follows the table's names of them; values are shares, texts per cent.

    `p_holm` is `p_value` after Holm's correction for the number of subsets.
    """

    name: str
    n: Number
    missing: int
    score: Number
    low: Number
    high: Number
    baselines: tuple[Number, ...]
    p_value: Number
    reading: str
    state: State
    p_holm: Number = _NONE


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One benchmark. `key` is its folder under `eval/`; `measures` is what it defines beyond subsets.

    `intervals` pairs each method of an interval with the subsets that it was used for.
    """

    key: str
    title: str
    held_out: bool
    source: str
    official: bool
    protocol: str
    intervals: tuple[tuple[str, str], ...]
    baseline_names: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    left_out: int
    average: ScoreRow | None
    measures: tuple[tuple[str, Number], ...]
    small: tuple[ScoreRow, ...] = ()
    small_title: str = ""


def score_table(key: str, result: BenchmarkResult, *, all_subsets: bool = False) -> ScoreTable:
    """What the report shows of one `results.json`; small subsets of the user's own data as one row (`pooling`)."""
    extra = tuple(dict.fromkeys(name for subset in result.subsets.values() for name in subset.extra_baselines))
    pooled = Pooled(result.subsets, {}) if all_subsets else pool_scores(result)
    rows = tuple(_subset_row(name, subset, extra) for name, subset in pooled.shown.items())
    return ScoreTable(
        key=key,
        title=title_of(result),
        held_out=result.held_out,
        source=visible(result.dataset.source),
        official=result.dataset.official,
        protocol=capitalised(visible(result.protocol, limit=2000)),
        intervals=_methods(pooled.shown),
        baseline_names=(RANDOM, LENGTH, *(visible(name, 40) for name in extra)),
        rows=rows[:ROWS_SHOWN],
        left_out=max(0, len(rows) - ROWS_SHOWN),
        average=_average_row(result, extra),
        measures=tuple(
            (visible(name.replace("_", " "), 60), significant(value, 4))
            for name, value in result.metrics.items()
            if name != _LENGTH_OF_AVERAGE
        ),
        small=tuple(_subset_row(name, subset, extra) for name, subset in pooled.small.items()),
        small_title=pooled.title,
    )


def title_of(result: BenchmarkResult) -> str:
    """How pages call a benchmark."""
    return "Held-out pairs" if result.held_out else visible(result.title or result.benchmark, 80)


def scores_section(
    results: Mapping[str, BenchmarkResult],
    mistakes: Mapping[tuple[str, str], int] | None = None,
    *,
    all_subsets: bool = False,
) -> Section:
    """All benchmarks of a run.

    Args:
        mistakes: by benchmark and subset, how many rows the page can show that went wrong.
        all_subsets: show small subsets of the user's own data one by one, in place of pooled.
    """
    return Section(
        "scores",
        "Scores",
        tuple(score_block(key, result, mistakes or {}, all_subsets=all_subsets) for key, result in results.items()),
        lead="A subset has learned something where its whole interval lies right of what guessing, length or words "
        "alone reach. Intervals hold 95 %.",
        absent=None if results else ("Evaluation", "eval/BENCHMARK/results.json"),
    )


def score_block(
    key: str,
    result: BenchmarkResult,
    mistakes: Mapping[tuple[str, str], int] | None = None,
    *,
    all_subsets: bool = False,
) -> Block:
    """One benchmark: `results.json` as a table with what must be said beside it."""
    table = score_table(key, result, all_subsets=all_subsets)
    other = _other_protocol(result)
    rows = [*table.rows, *([table.average] if table.average else [])]
    cells = [_score_cells(table, row, mistakes or {}, result, other) for row in rows]
    small = tuple(tuple(_score_cells(table, row, mistakes or {}, result, other)) for row in table.small)
    columns = _score_columns(table, other)
    return Block(
        title=table.title,
        note=_data_in_words(table),
        grids=(
            Grid(
                f"{table.title}: score of each subset in per cent, with its interval and baselines",
                columns,
                tuple(cells[: len(table.rows)]),
                note=_not_shown(table),
                total=cells[-1] if table.average else None,
                titled=False,
                legend=(
                    (_SCORE_KEY, "score and interval"),
                    *((baseline_key(index), name) for index, name in enumerate(table.baseline_names)),
                ),
                look="scores",
            ),
            *small_grid(table.small_title, f"{table.title}: subsets under ten rows", columns, small, look="scores"),
        ),
        lines=tuple(_said_beside(result, other)),
        details=(
            Block(
                "How this was counted",
                texts=(table.protocol, "p is one-sided: how often guessing does as well."),
                facts=tuple((name, value.text) for name, value in table.measures),
                lines=tuple(f"Interval by {method}: {subsets}." for method, subsets in table.intervals),
                source=f"eval/{table.key}/results.json",
            ),
        ),
    )


def _score_columns(table: ScoreTable, other: str) -> tuple[Column, ...]:
    return (
        Column("Subset", "name"),
        Column("Rows"),
        Column("Score, %", strong=True),
        *((Column(f"protocol {other}", faint=True),) if other else ()),
        Column("95 % interval"),
        Column("Drawn, 0 to 100 per cent", "draw", score_axis()),
        *(Column(capitalised(name), faint=True) for name in table.baseline_names),
        Column("p", faint=True),
        Column("Reading", "words"),
    )


def _not_shown(table: ScoreTable) -> str:
    """What stands in the file alone, and what was pooled."""
    left_out = f"{table.left_out:,} more subsets stand in `eval/{table.key}/results.json`."
    return " ".join(
        [pooled_note(table.small_title, f"eval/{table.key}/results.json")] * bool(table.small)
        + [left_out] * bool(table.left_out)
    )


_SCORE_KEY = Markup(
    '<svg class="chart key" viewBox="0 7 34 18" aria-hidden="true"><rect class="whisker good" x="2" y="13" width="30" '
    'height="6" rx="3"/><circle class="dot good" cx="17" cy="16" r="5"/></svg>'
)
_MISTAKES = Markup(
    '<a class="to-rows" href="#explorer" data-rows data-source="{0}" data-subset="{1}">{2}'
    '<span class="hidden"> of {1}: read them</span></a>'
)


def _score_cells(
    table: ScoreTable, row: ScoreRow, mistakes: Mapping[tuple[str, str], int], result: BenchmarkResult, other: str
) -> tuple[Cell, ...]:
    wrong = mistakes.get((table.key, row.name), 0)
    link = _MISTAKES.format(table.key, row.name, plural(wrong, "mistake"))
    name = "average" if row is table.average else row.name
    beside = (percent(result.metrics.get(f"protocol_{other}_{name}")),) if other else ()
    holm: tuple[Number | str, ...] = () if row.p_holm.value is None else ("Holm ", row.p_holm)
    return (
        Noted(row.name, (link,)) if wrong else row.name,
        Noted(row.n, (f"{row.missing:,} missing",)) if row.missing else row.n,
        row.score,
        *beside,
        Span(row.low, row.high),
        score_strip(row, table.baseline_names),
        *row.baselines,
        Noted(row.p_value, holm),
        Sign(row.state, row.reading),
    )


def _data_in_words(table: ScoreTable) -> str:
    if table.official:
        return f"The published data set in full: `{table.source}`."
    if table.held_out:
        return f"The run’s own pairs, never trained on: `{table.source}`."
    return f"`{table.source}`, not the published data set: compare these scores among themselves only."


def _said_beside(result: BenchmarkResult, other: str) -> Iterator[Sign | str]:
    """What is missing, and by which protocol text became tokens."""
    reasons = result.missing_rewards
    if reasons:
        missing = sum(reasons.values())
        yield Sign(
            "bad",
            f"{missing:,} of {missing + result.rewards.n:,} rewards are missing: {visible(reasons_in_words(reasons))}. "
            "They are scored as the benchmark's rule says, and no gate passes on them; rows.jsonl has the reason of "
            "each.",
        )
    if result.rendering and not other:
        told = [part for part in result.protocol.split(". ") if "(protocol: " in part]
        yield (
            visible(told[0]).rstrip(".") + "."
            if told
            else (f"Text as training renders it (protocol: {result.rendering}).")
        )
    elif result.rendering:
        numbers = result.metrics
        differing, lacking = numbers["protocols_texts_that_differ"], numbers.get(f"protocol_{other}_missing")
        missing_there = f", {lacking:.0f} rewards missing" if lacking else ""
        yield (
            f"protocol {result.rendering}: average {percent(result.average)}; protocol {other}: average "
            f"{percent(numbers[f'protocol_{other}_average'])}{missing_there} ({differing:.0f} texts have other token "
            "ids)"
        )


def _other_protocol(result: BenchmarkResult) -> str:
    """The rendering protocol whose scores stand beside these, empty where it gives the same tokens or is not there."""
    names = [name for name in get_args(RenderingProtocol) if f"protocol_{name}_average" in result.metrics]
    return names[0] if names else ""


def _subset_row(name: str, subset: SubsetResult, extra: tuple[str, ...]) -> ScoreRow:
    baselines = (subset.baseline, subset.length_baseline, *(subset.extra_baselines.get(other) for other in extra))
    reading, state = _read(subset.ci_low, subset.ci_high, dict(zip((RANDOM, LENGTH, *extra), baselines, strict=True)))
    reading, state = _with_missing(reading, state, subset.missing_rewards)
    return ScoreRow(
        name=visible(name, 80),
        n=count(subset.n),
        missing=subset.n_missing,
        score=percent(subset.score),
        low=percent(subset.ci_low),
        high=percent(subset.ci_high),
        baselines=tuple(percent(value) for value in baselines),
        p_value=p_value(subset.p_value),
        reading=reading,
        state=state,
        p_holm=p_value(subset.p_holm),
    )


def _methods(subsets: Mapping[str, SubsetResult]) -> tuple[tuple[str, str], ...]:
    methods = dict.fromkeys(subset.interval for subset in subsets.values() if subset.interval)
    return tuple(
        (method, ", ".join(visible(name, 80) for name, subset in subsets.items() if subset.interval == method))
        for method in methods
    )


def _average_row(result: BenchmarkResult, extra: tuple[str, ...]) -> ScoreRow | None:
    if result.average is None or len(result.subsets) < 2:
        return None
    low, high = result.average_ci or (None, None)
    baselines = (result.average_baseline, result.metrics.get(_LENGTH_OF_AVERAGE), *(None for _ in extra))
    reading, state = _read(low, high, dict(zip((RANDOM, LENGTH, *extra), baselines, strict=True)))
    reading, state = _with_missing(reading, state, result.missing_rewards)
    return ScoreRow(
        name=AVERAGE,
        n=count(sum(subset.n for subset in result.subsets.values())),
        missing=sum(subset.n_missing for subset in result.subsets.values()),
        score=percent(result.average),
        low=percent(low),
        high=percent(high),
        baselines=tuple(percent(value) for value in baselines),
        p_value=p_value(None),
        reading=reading,
        state=state,
    )


def _with_missing(reading: str, state: State, reasons: Mapping[str, int]) -> tuple[str, State]:
    """The reading with what is missing: a score without all of its rewards proves nothing."""
    if not reasons:
        return reading, state
    why = visible(reasons_in_words(reasons), 120)
    return f"{reading}; {sum(reasons.values()):,} rewards missing ({why})", "bad"


def _read(low: float | None, high: float | None, baselines: dict[str, float | None]) -> tuple[str, State]:
    """Which baselines an interval clears, in words."""
    chance = baselines[RANDOM]
    if low is None or high is None or chance is None:
        return "no interval", "open"
    if high < chance - _ROUNDING:
        return "below chance", "bad"
    if low <= chance + _ROUNDING:
        return "not above chance", "bad"
    known = {name: value for name, value in baselines.items() if value is not None}
    others = [visible(name, 40) for name, value in known.items() if low <= value + _ROUNDING]
    if others:
        return f"above chance, not above {' or '.join(others)}", "warn"
    if len(known) == len(baselines):
        return "above every baseline", "good"
    return " and ".join(["above chance", *(visible(name, 40) for name in known if name != RANDOM)]), "good"


ALL = "All rewards"
BINS = 48


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


def _digits(low: float, high: float) -> int:
    """Decimals that tell rewards of this range apart: two for a range of 1 to 10, one more for each tenth of that."""
    return min(8, max(0, 2 - math.floor(math.log10(high - low)))) if high > low else 4


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


_STRIP = 300.0
_SHARES = Scale(0.0, 1.0, 10.0, _STRIP - 10.0)


def score_axis() -> Markup:
    """The percentages over a column of score strips."""
    ticks = [text(_SHARES(share), 12, f"{100 * share:.0f}", anchor="middle") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_STRIP, 16, "", *ticks, class_="chart strip")


def score_strip(row: ScoreRow, baseline_names: Sequence[str]) -> Markup:
    """Dot and whisker from 0 to 100 per cent; guessing is the dashed line, other baselines are the small marks."""
    parts = [element("rect", x=_SHARES(0), y=9, width=_SHARES(1) - _SHARES(0), height=10, rx=2, class_="rail")]
    parts += [line(_SHARES(share), 5, _SHARES(share), 23, "grid") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for index, baseline in enumerate(row.baselines):
        if baseline.value is not None:
            parts.append(baseline_mark(index, _SHARES.clamped(baseline.value)))
    low, high, score = row.low.value, row.high.value, row.score.value
    if low is not None and high is not None:
        left, right = _SHARES.clamped(low), _SHARES.clamped(high)
        parts.append(
            element("rect", x=left, y=11, width=max(right - left, 1), height=6, rx=3, class_=f"whisker {row.state}")
        )
    if score is not None:
        parts.append(element("circle", cx=_SHARES.clamped(score), cy=14, r=5, class_=f"dot {row.state}"))
    others = ", ".join(
        f"{name} {baseline}"
        for name, baseline in zip(baseline_names, row.baselines, strict=True)
        if baseline.value is not None
    )
    label = f"{row.name}: {row.score} per cent, interval {row.low} to {row.high}; {others}"
    return drawing(_STRIP, 32, label, *parts, class_="chart strip")


def baseline_mark(index: int, x: float) -> Markup:
    """The mark of the n-th baseline: a dashed line for guessing, then a triangle, a square, a ring."""
    if index == 0:
        return line(x, 2, x, 26, "chance")
    if index == 1:
        return element("path", d=f"M{x:.1f} 21.5l4.2 7.2h-8.4z", class_="mark length")
    if index == 2:
        return element("rect", x=x - 3.3, y=22.2, width=6.6, height=6.6, class_="mark blind")
    return element("circle", cx=x, cy=25.5, r=3.4, class_="mark other")


def baseline_key(index: int) -> Markup:
    """A baseline's mark alone, for the legend."""
    mark = baseline_mark(index, 8)
    return drawing(
        16, 18, "", element("g", mark, transform=f"translate(0 {-5 if index == 0 else -16.5})"), class_="chart key"
    )


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
