"""Benchmarks as tables: a score with its interval beside what guessing, length and words alone reach.

    score_table(key, result) → ScoreTable

A score says little alone: 52.7 looks fine until "the longer one wins" is seen to reach 52.7 as well. So every row
carries its baselines and a reading in words of which of them its interval clears.

Rewards per subset, chosen beside rejected, on one scale.

    reward_table(key, result, rows) → RewardTable | None

The summary (mean, standard deviation, quantiles) is the recorded one. The split into chosen and rejected is counted
from `rows.jsonl` where it is there; otherwise the recorded histogram of all rewards is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.records.evaluation import BenchmarkResult, RewardSummary, SubsetResult, reasons_in_words
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    capitalised,
    count,
    decimal,
    p_value,
    percent,
    significant,
    visible,
)
from rewardsmith.report.reading import RowRewards

RANDOM = "random"
LENGTH = "length-only"
AVERAGE = "Average"
ROWS_SHOWN = 60

_ROUNDING = 1e-9
_NONE = Number(None, MISSING)
_LENGTH_OF_AVERAGE = "average_length_baseline"

State = Literal["good", "warn", "bad", "open"]


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


def score_table(key: str, result: BenchmarkResult) -> ScoreTable:
    """What the report shows of one `results.json`."""
    extra = tuple(dict.fromkeys(name for subset in result.subsets.values() for name in subset.extra_baselines))
    rows = tuple(_subset_row(name, subset, extra) for name, subset in result.subsets.items())
    return ScoreTable(
        key=key,
        title=title_of(result),
        held_out=result.held_out,
        source=visible(result.dataset.source),
        official=result.dataset.official,
        protocol=capitalised(visible(result.protocol, limit=2000)),
        intervals=_methods(result),
        baseline_names=(RANDOM, LENGTH, *(visible(name, 40) for name in extra)),
        rows=rows[:ROWS_SHOWN],
        left_out=max(0, len(rows) - ROWS_SHOWN),
        average=_average_row(result, extra),
        measures=tuple(
            (visible(name.replace("_", " "), 60), significant(value, 4))
            for name, value in result.metrics.items()
            if name != _LENGTH_OF_AVERAGE
        ),
    )


def title_of(result: BenchmarkResult) -> str:
    """How pages call a benchmark."""
    return "Held-out pairs" if result.held_out else visible(result.title or result.benchmark, 80)


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


def _methods(result: BenchmarkResult) -> tuple[tuple[str, str], ...]:
    methods = dict.fromkeys(subset.interval for subset in result.subsets.values() if subset.interval)
    return tuple(
        (method, ", ".join(visible(name, 80) for name, subset in result.subsets.items() if subset.interval == method))
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


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One subset's rewards."""

    name: str
    n: Number
    mean: Number
    std: Number
    low: Number
    high: Number
    distinct: Number
    quantiles: Mapping[str, float]
    histogram: Histogram | None


@dataclass(frozen=True, slots=True)
class RewardTable:
    """One benchmark's rewards. `low` to `high` is the common scale: the whole range of recorded rewards."""

    key: str
    title: str
    low: float
    high: float
    split: bool
    rows: tuple[RewardRow, ...]


def reward_table(key: str, result: BenchmarkResult, rows: Mapping[str, RowRewards]) -> RewardTable | None:
    """What the report shows of one benchmark's rewards; None where no reward was computed."""
    whole = result.rewards
    if whole.min is None or whole.max is None:
        return None
    everything = RowRewards(
        tuple(reward for part in rows.values() for reward in part.chosen),
        tuple(reward for part in rows.values() for reward in part.rejected),
    )
    summaries = {ALL: whole, **(result.rewards_by_subset if len(result.rewards_by_subset) > 1 else {})}
    parts = {**rows, ALL: everything} if rows else {}
    low, high = whole.min, whole.max
    return RewardTable(
        key=key,
        title=title_of(result),
        low=low,
        high=high,
        split=bool(rows),
        rows=tuple(_row(name, summary, parts.get(name), (low, high)) for name, summary in summaries.items()),
    )


def _row(name: str, summary: RewardSummary, rewards: RowRewards | None, scale: tuple[float, float]) -> RewardRow:
    digits = _digits(*scale)
    return RewardRow(
        name=visible(name, 80),
        n=count(summary.n),
        mean=decimal(summary.mean, digits),
        std=decimal(summary.std, digits),
        low=decimal(summary.min, digits),
        high=decimal(summary.max, digits),
        distinct=count(summary.distinct),
        quantiles=summary.quantiles,
        histogram=_split(rewards, *scale) if rewards else _recorded(summary),
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
