"""Two models or more on the rows that they share: which is better, by how much, and which rows flipped.

    comparison_section(record) → Section | None

In: `comparison.json`, which `rewardsmith compare` and `rewardsmith report RUN --against OLD` write. Differences are
second minus first; a difference whose interval holds 0 is no difference. Ids, prompts and responses come from users.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from rewardsmith.records.comparison import (
    BenchmarkComparison,
    ComparisonRecord,
    DifferenceResult,
    FlippedRow,
    PairComparison,
    RankedModel,
    SubsetComparison,
)
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Lines, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    State,
    count,
    p_value,
    percent,
    plural,
    signed,
    significant,
    visible,
)
from rewardsmith.report.pooling import Pooled, pool_differences, pooled_note, small_grid
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_WIDTH = 300.0
_EXCERPT = 160
_STATES: dict[str, State] = {"better": "good", "worse": "bad", "mixed": "warn", "cannot be told apart": "open"}


def comparison_section(record: ComparisonRecord | None, *, all_subsets: bool = False) -> Section | None:
    """What `comparison.json` says; None where nothing was compared.

    Args:
        all_subsets: show small subsets of the user's own data one by one, in place of pooled.
    """
    if record is None or not (record.overall or record.benchmarks or record.attacks):
        return None
    first = record.overall[-1].first if record.overall else record.models[0].name
    blocks: list[Block] = []
    if record.ranking and len(record.benchmarks) > 1:
        blocks.append(
            Block("All benchmarks", reading=visible(record.ranking_words, 600), grids=(_ranking(record.ranking),))
        )
    for found in record.benchmarks.values():
        if found.ranking:
            blocks.append(
                Block(
                    visible(found.title, 80),
                    reading=visible(found.ranking_words, 600),
                    grids=(_ranking(found.ranking),),
                )
            )
        blocks += [_pair_block(found, pair, all_subsets) for pair in found.pairs]
        if not found.pairs:
            blocks.append(Block(visible(found.title, 80), note=_shared(found)))
    if record.attacks:
        words = tuple(visible(found.words, 600) for found in record.attacks)
        blocks.append(Block("Price of a hack", texts=words))
    models = tuple((visible(model.name, 60), visible(model.path, 240)) for model in record.models)
    columns = (Column("Model", "name"), Column("Folder", "code"))
    blocks.append(
        Block(
            "",
            details=(
                Block(
                    "How this was counted",
                    grids=(Grid("Models", columns, models, titled=False),),
                    texts=(
                        f"Paired over the rows that all share; {record.resamples:,} resamples, seed {record.seed}.",
                    ),
                ),
            ),
        )
    )
    return Section(
        "against",
        f"Against {visible(first, 60)}",
        tuple(blocks),
        verdicts=tuple(Sign(_STATES[found.verdict], visible(found.words, 600)) for found in record.overall),
        notes=tuple(f"Not compared: {visible(note, 400)}" for note in record.not_shared),
        sources=("comparison.json",),
        short="Compared",
    )


def _pair_block(found: BenchmarkComparison, pair: PairComparison, all_subsets: bool) -> Block:
    pooled = Pooled(pair.subsets, {}) if all_subsets else pool_differences(found.benchmark, pair.subsets)
    scale = _scale([*pooled.shown.values(), *pooled.small.values(), pair.average])
    table = _differences(pair, pooled, scale)
    small = tuple(_difference(name, part, scale) for name, part in pooled.small.items())
    return Block(
        title=visible(found.title, 80),
        reading=visible(pair.words, 400),
        state=_STATES[pair.average.verdict],
        note=_shared(found),
        grids=(
            table,
            *small_grid(pooled.title, "Differences on the subsets under ten rows", table.columns, small),
            *_flipped(pair),
        ),
    )


def _shared(found: BenchmarkComparison) -> str:
    """What was compared, and what could not be."""
    parts = [f"{plural(found.rows, 'row')} that all were scored on; per cent, differences in points."]
    parts += [visible(note, 400) for note in found.notes]
    return " ".join(parts)


def _ranking(ranking: Sequence[RankedModel]) -> Grid:
    columns = (
        Column("Model", "name"),
        Column("Score, %", strong=True),
        Column("95 % interval"),
        Column("Best in % of resamples"),
        Column("Can be told from the best", "words"),
    )
    rows = tuple(
        (
            visible(model.name, 60),
            percent(model.score),
            Span(percent(model.ci_low), percent(model.ci_high)),
            percent(model.probability_best),
            "no" if model.candidate else "yes",
        )
        for model in ranking
    )
    return Grid("Models, best first", columns, rows)


def _scale(parts: Sequence[DifferenceResult]) -> Scale:
    reach = max((abs(value) for part in parts for value in (part.ci_low, part.ci_high)), default=0.0)
    return Scale(-(reach or 0.01), reach or 0.01, 10.0, _WIDTH - 10.0)


def _differences(pair: PairComparison, pooled: Pooled[SubsetComparison], scale: Scale) -> Grid:
    first, second = visible(pair.first, 40), visible(pair.second, 40)
    won = Noted(count(pair.gained_rows), (f"{pair.lost_rows:,} lost",))
    return Grid(
        f"Differences, {second} minus {first}",
        (
            Column("Subset", "name"),
            Column("Rows"),
            Column(first),
            Column(second),
            Column("Difference", strong=True),
            Column("95 % interval"),
            Column("Drawn", "draw", _axis(scale)),
            Column("p"),
            Column("Won"),
            Column(f"{second} is", "words"),
        ),
        tuple(_difference(name, part, scale) for name, part in pooled.shown.items()),
        note=pooled_note(pooled.title, "comparison.json"),
        total=_cells("Average", pair.average, scale, "", p_value(pair.average.p_value), won)
        if len(pair.subsets) > 1
        else None,
    )


def _difference(name: str, part: SubsetComparison, scale: Scale) -> tuple[Cell, ...]:
    known = not math.isnan(part.p_value)
    p = Noted(p_value(part.p_value), ("Holm ", p_value(part.p_holm)) if known else ())
    won = Noted(count(part.gained), (f"{part.lost:,} lost",))
    return _cells(visible(name, 80), part, scale, count(part.n), p, won)


def _cells(name: str, part: DifferenceResult, scale: Scale, n: Cell, p: Cell, won: Cell) -> tuple[Cell, ...]:
    return (
        name,
        n,
        percent(part.first),
        percent(part.second),
        _points(part.difference),
        Span(_points(part.ci_low), _points(part.ci_high)),
        _strip(name, part, scale),
        p,
        won,
        Sign("open", "pooled") if math.isnan(part.p_value) else Sign(_STATES[part.verdict], part.verdict),
    )


def _points(value: float) -> Number:
    """A difference in points, with its sign; the value stays a share."""
    return Number(value, signed(100 * value).text)


def _axis(scale: Scale) -> Markup:
    ticks = [
        text(scale(value), 12, percent(value).text.removesuffix(".0"), anchor="middle")
        for value in nice_ticks(scale.low, scale.high, 4)
    ]
    return drawing(_WIDTH, 16, "", *ticks, class_="chart strip")


def _strip(name: str, part: DifferenceResult, scale: Scale) -> Markup:
    """The difference with its interval around a dashed zero."""
    state = _STATES[part.verdict]
    low, high = scale.clamped(part.ci_low), scale.clamped(part.ci_high)
    parts = [
        line(scale(0.0), 2, scale(0.0), 26, "chance"),
        element("rect", x=low, y=11, width=max(high - low, 1), height=6, rx=3, class_=f"whisker {state}"),
        element("circle", cx=scale.clamped(part.difference), cy=14, r=5, class_=f"dot {state}"),
    ]
    interval = f"interval {_points(part.ci_low)} to {_points(part.ci_high)}"
    label = f"{visible(name, 80)}: {_points(part.difference)} points, {interval}"
    return drawing(_WIDTH, 28, label, *parts, class_="chart strip")


def _flipped(pair: PairComparison) -> Iterator[Grid]:
    rows = (*_flips(pair.lost, "lost"), *_flips(pair.gained, "won"))
    if rows:
        columns = (
            Column("Row", "code"),
            Column("Subset", "words"),
            Column("Flipped", "words"),
            Column("Result", "words"),
            Column("Margin before"),
            Column("Margin now"),
            Column("Prompt", "words"),
            Column("Rewards", "words"),
        )
        told = (
            f"{plural(pair.gained_rows, 'row')} won, {plural(pair.lost_rows, 'row')} lost by {visible(pair.second, 40)}"
        )
        yield Grid(f"Rows that flipped: {told}", columns, rows, folded=f"{told}: examples")


def _flips(rows: Sequence[FlippedRow], word: str) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        yield (
            visible(row.id, 60),
            visible(row.subset, 60),
            word,
            f"{row.first:g} → {row.second:g}",
            _margin(row.rewards_first, row.n_chosen),
            _margin(row.rewards_second, row.n_chosen),
            visible(row.prompt, _EXCERPT) if row.prompt else MISSING,
            Lines(tuple(_responses(row))),
        )


def _responses(row: FlippedRow) -> Iterator[str]:
    """Each response with both rewards, and its text where it is at hand."""
    texts = [] if row.chosen is None or row.rejected is None else [*row.chosen, *row.rejected]
    for place, (first, second) in enumerate(zip(row.rewards_first, row.rewards_second, strict=True)):
        kind = "chosen" if place < row.n_chosen else "rejected"
        said = f": {visible(texts[place], _EXCERPT)}" if texts else ""
        yield f"{kind} {significant(first, 4)} → {significant(second, 4)}{said}"


def _margin(rewards: Sequence[float | None], n_chosen: int) -> Number:
    known = [reward for reward in rewards if reward is not None]
    if len(known) < len(rewards) or not 0 < n_chosen < len(rewards):
        return Number(None, MISSING)
    return significant(min(known[:n_chosen]) - max(known[n_chosen:]))
