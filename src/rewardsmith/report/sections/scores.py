"""Benchmarks as tables: a score with its interval beside what guessing, length and words alone reach.

    scores_section(results) → Section       score_block(key, result) → Block, one of them
    sources_section(results, check) → Section of held-out pairs by source; None where no result has several

A score says little alone: 52.7 looks fine until "the longer one wins" is seen to reach 52.7 as well. So every row
carries its baselines and a reading in words of which of them its interval clears.

A mixture is judged by its sources. Beside each score stands what the source gave to training (`check.json`): a source
that is at chance although it was trained on teaches nothing, or something else than the rest; one that is above chance
without it was not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from markupsafe import Markup

from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.evaluation import BenchmarkResult, SourceResult, SubsetResult, reasons_in_words
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    State,
    capitalised,
    count,
    p_value,
    percent,
    plural,
    significant,
    visible,
)
from rewardsmith.report.pooling import Pooled, pool_scores, pool_sources, pooled_note, small_grid
from rewardsmith.report.svg import Scale, drawing, element, line, text
from rewardsmith.spec.evaluation import RenderingProtocol

RANDOM = "random"
LENGTH = "length-only"
AVERAGE = "Average"
ROWS_SHOWN = 60
_ROUNDING = 1e-9
_NONE = Number(None, MISSING)
_LENGTH_OF_AVERAGE = "average_length_baseline"


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


def _with_missing(reading: str, state: State, reasons: Mapping[str, int]) -> tuple[str, State]:
    """The reading with what is missing: a score without all of its rewards proves nothing."""
    if not reasons:
        return reading, state
    why = visible(reasons_in_words(reasons), 120)
    return f"{reading}; {sum(reasons.values()):,} rewards missing ({why})", "bad"


def _methods(subsets: Mapping[str, SubsetResult]) -> tuple[tuple[str, str], ...]:
    methods = dict.fromkeys(subset.interval for subset in subsets.values() if subset.interval)
    return tuple(
        (method, ", ".join(visible(name, 80) for name, subset in subsets.items() if subset.interval == method))
        for method in methods
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


_SCORE_KEY = Markup(
    '<svg class="chart key" viewBox="0 7 34 18" aria-hidden="true"><rect class="whisker good" x="2" y="13" width="30" '
    'height="6" rx="3"/><circle class="dot good" cx="17" cy="16" r="5"/></svg>'
)
_MISTAKES = Markup(
    '<a class="to-rows" href="#explorer" data-rows data-source="{0}" data-subset="{1}">{2}'
    '<span class="hidden"> of {1}: read them</span></a>'
)


def _not_shown(table: ScoreTable) -> str:
    """What stands in the file alone, and what was pooled."""
    left_out = f"{table.left_out:,} more subsets stand in `eval/{table.key}/results.json`."
    return " ".join(
        [pooled_note(table.small_title, f"eval/{table.key}/results.json")] * bool(table.small)
        + [left_out] * bool(table.left_out)
    )


def _data_in_words(table: ScoreTable) -> str:
    if table.official:
        return f"The published data set in full: `{table.source}`."
    if table.held_out:
        return f"The run’s own pairs, left out of its training: `{table.source}`."
    return f"`{table.source}`, not the published data set: compare these scores among themselves only."


def _said_beside(result: BenchmarkResult, other: str) -> Iterator[Sign | str]:
    """What is missing or was left out, and by which protocol text became tokens."""
    if result.left_out:
        yield Sign("warn", visible(result.left_out, limit=2000))
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


_NAMES_SHOWN = 5


def sources_section(
    results: Mapping[str, BenchmarkResult], check: CheckRecord | None = None, *, all_subsets: bool = False
) -> Section | None:
    """Each result with several sources as a table.

    Args:
        results: of a run, or of one evaluation.
        check: says how many pairs of each source were trained on; their columns are left out without it.
        all_subsets: show small sources one by one, in place of pooled.
    """
    apart = {key: result for key, result in results.items() if result.by_source}
    if not apart:
        return None
    trained = _trained(check)
    blocks = tuple(_source_block(key, result, trained, all_subsets=all_subsets) for key, result in apart.items())
    return Section(
        "sources",
        "Held-out pairs by source",
        blocks,
        lead="What a mixture is judged by: whether each source has taught what its own held-out pairs ask for.",
    )


def _source_block(key: str, result: BenchmarkResult, trained: Mapping[str, int], *, all_subsets: bool) -> Block:
    pooled = Pooled(result.by_source, {}) if all_subsets else pool_sources(result)
    total = sum(trained.values())
    united = sum(trained.get(name, 0) for name in pooled.small)
    columns = (
        Column("Source", "name"),
        Column("Rows"),
        Column("Accuracy, %", strong=True),
        Column("95 % interval"),
        Column("Mean margin"),
        *((Column("Trained pairs"), Column("Share, %")) if total else ()),
        Column("Reading", "words"),
    )

    def cells(name: str, found: SourceResult) -> tuple[Cell, ...]:
        given = trained.get(name) if name in result.by_source else united
        beside = (count(given), percent(None if given is None else given / total)) if total else ()
        missing = (f"{found.n_missing:,} rewards missing",)
        return (
            visible(name, 80),
            Noted(count(found.n), missing) if found.n_missing else count(found.n),
            percent(found.score),
            Span(percent(found.ci_low), percent(found.ci_high)),
            significant(found.margin_mean, 3),
            *beside,
            _source_reading(found),
        )

    source = f"eval/{key}/results.json"
    small = tuple(cells(name, found) for name, found in pooled.small.items())
    caption = f"{title_of(result)} by source"
    rows = tuple(cells(name, found) for name, found in pooled.shown.items())
    return Block(
        title=title_of(result),
        grids=(
            Grid(caption, columns, rows, note=pooled_note(pooled.title, source), titled=False),
            *small_grid(pooled.title, f"{caption}, those under ten rows", columns, small),
        ),
        lines=(_not_above_chance(pooled.shown),),
        source=source,
    )


def _trained(check: CheckRecord | None) -> dict[str, int]:
    """Training pairs by source; the most frequent ones, as the check recorded them."""
    return {} if check is None or check.balance is None else {one.name: one.train for one in check.balance.sources.most}


def _source_reading(found: SourceResult) -> Sign:
    if found.n_missing:
        return Sign("bad", "rewards are missing")
    if found.ci_high < found.baseline:
        return Sign("bad", "below chance")
    return Sign("warn", "at chance") if found.ci_low <= found.baseline else Sign("good", "above chance")


def _not_above_chance(shown: Mapping[str, SourceResult]) -> Sign:
    """Which sources are not above chance, in words."""
    low = [name for name, found in shown.items() if found.ci_low <= found.baseline]
    if not low:
        return Sign("good", f"All {plural(len(shown), 'source')} are above chance.")
    named = ", ".join(visible(name, 60) for name in low[:_NAMES_SHOWN])
    more = f" and {len(low) - _NAMES_SHOWN} more" if len(low) > _NAMES_SHOWN else ""
    return Sign("warn", f"Not above chance: {named}{more} ({len(low)} of {plural(len(shown), 'source')}).")
