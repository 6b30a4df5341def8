"""What changed since another run: `comparison.json` as blocks for both pages.

    against(record) → Against | None        None where the run was not compared
    against_lines(section, signs)           the same as Markdown

`rewardsmith report RUN --against OLD` writes the record. Differences are second minus first, on the rows that both
share; a difference whose interval holds 0 is no difference.

`comparison.json` → `comparison.md`: verdict first, then scores, differences, and the rows that flipped.

Texts from users pass through `markdown_text`, which escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.report.blocks import Block, Cell, Column, Grid, block_lines
from rewardsmith.report.formatting import (
    MISSING,
    Number,
    as_table,
    code,
    count,
    p_value,
    percent,
    plural,
    prose,
    significant,
    visible,
)
from rewardsmith.report.sections.scores import State
from rewardsmith.report.svg import Scale, drawing, element, line, nice_ticks, text

_WIDTH = 300.0
_EXCERPT = 160
_STATES: dict[str, State] = {"better": "good", "worse": "bad", "mixed": "warn", "cannot be told apart": "open"}


@dataclass(frozen=True, slots=True)
class Against:
    """The section: the verdict in words, then a block for each pair of models on each benchmark."""

    title: str
    reading: str
    state: State
    notes: tuple[str, ...]
    blocks: tuple[Block, ...]


def against(record: ComparisonRecord | None) -> Against | None:
    """What the report shows of `comparison.json`."""
    if record is None or not record.overall:
        return None
    overall = record.overall[-1]
    return Against(
        title=f"Against {visible(overall.first, 60)}",
        reading=visible(overall.words, 600),
        state=_STATES[overall.verdict],
        notes=tuple(visible(note, 400) for note in record.not_shared),
        blocks=tuple(_block(found, pair) for found in record.benchmarks.values() for pair in found.pairs[-1:]),
    )


def against_lines(section: Against, signs: Mapping[State, str]) -> Iterator[str]:
    """The section as Markdown."""
    yield f"## {prose(section.title)}"
    yield from ("", f"{signs[section.state]} {prose(section.reading)}")
    for note in section.notes:
        yield from ("", prose(note))
    for block in section.blocks:
        yield from ("", *block_lines(block, signs))


def _block(found: BenchmarkComparison, pair: PairComparison) -> Block:
    flips = [*_flips(pair.lost, "lost"), *_flips(pair.gained, "won")]
    grids = [_differences(pair)]
    if flips:
        shown = f"{plural(pair.gained_rows, 'row')} won, {plural(pair.lost_rows, 'row')} lost: examples"
        columns = (Column("Row", "code"), Column("Subset", "name"), Column("Flipped", "words"))
        grids.append(
            Grid(
                f"Rows that flipped, {visible(found.title, 60)}",
                (*columns, Column("Margin before"), Column("Margin now"), Column("Prompt", "words")),
                tuple(flips),
                folded=shown,
            )
        )
    return Block(
        title=visible(found.title, 80),
        reading=visible(pair.words, 400),
        state=_STATES[pair.average.verdict],
        note=" ".join(
            [
                f"{plural(found.rows, 'row')} that both were scored on; per cent, differences in points.",
                *(
                    f"{visible(name, 60)}: {plural(sum(reasons.values()), 'reward')} missing "
                    f"({visible(reasons_in_words(reasons), 120)})."
                    for name, reasons in found.missing.items()
                ),
            ]
        ),
        grids=tuple(grids),
    )


def _differences(pair: PairComparison) -> Grid:
    parts: dict[str, DifferenceResult] = dict(pair.subsets)
    if len(parts) > 1:
        parts["Average"] = pair.average
    reach = max((abs(value) for part in parts.values() for value in (part.ci_low, part.ci_high)), default=0.0)
    scale = Scale(-(reach or 0.01), reach or 0.01, 10.0, _WIDTH - 10.0)
    return Grid(
        f"Differences, {visible(pair.second, 40)} minus {visible(pair.first, 40)}",
        (
            Column("Subset", "name"),
            Column("Before"),
            Column("Now"),
            Column("Difference"),
            Column("95 % interval"),
            Column("Drawn", "draw", _axis(scale)),
            Column("p, Holm"),
            Column("Reading", "words"),
        ),
        tuple(_difference(name, part, scale) for name, part in parts.items()),
    )


def _difference(name: str, part: DifferenceResult, scale: Scale) -> tuple[Cell, ...]:
    return (
        visible(name, 80),
        percent(part.first),
        percent(part.second),
        _points(part.difference),
        f"{_points(part.ci_low)} to {_points(part.ci_high)}",
        _strip(name, part, scale),
        p_value(getattr(part, "p_holm", None)),
        part.verdict,
    )


def _points(value: float) -> Number:
    """A difference with its sign: "+1.2"."""
    shown = percent(value)
    return Number(value, f"+{shown}") if value > 0 and shown.text.strip("0.") else shown


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


def _flips(rows: Sequence[FlippedRow], word: str) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        yield (
            visible(row.id, 60),
            visible(row.subset, 60),
            word,
            _margin(row.rewards_first, row.n_chosen),
            _margin(row.rewards_second, row.n_chosen),
            visible(row.prompt, _EXCERPT) if row.prompt else MISSING,
        )


def _margin(rewards: Sequence[float | None], n_chosen: int) -> Number:
    known = [reward for reward in rewards if reward is not None]
    if len(known) < len(rewards) or not 0 < n_chosen < len(rewards):
        return Number(None, MISSING)
    return significant(min(known[:n_chosen]) - max(known[n_chosen:]))


_TEXT = 600
_DIFFERENCES = (
    "",
    "rows",
    "first",
    "second",
    "difference",
    "95 % interval",
    "p",
    "p, Holm",
    "won",
    "lost",
    "second is",
)
_RANKING = ("model", "score", "95 % interval", "best in % of resamples", "can be told from the best")


def comparison_page(record: ComparisonRecord) -> str:
    """The page, ending in one newline."""
    parts = [_head(record), *(_benchmark(found) for found in record.benchmarks.values())]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(record: ComparisonRecord) -> Iterator[str]:
    yield "# Comparison"
    yield ""
    yield from (f"- **{prose(found.words)}**" for found in record.overall)
    if record.ranking:
        yield from ("", prose(record.ranking_words), "", *_ranked(record.ranking))
    yield from ("", *as_table(("model", "folder"), ([prose(m.name), code(m.path)] for m in record.models)))
    if record.not_shared:
        yield from ("", "Not compared:", "", *(f"- {prose(note)}" for note in record.not_shared))
    yield from ("", f"Paired over the rows that all share; {record.resamples:,} resamples, seed {record.seed}.")


def _benchmark(found: BenchmarkComparison) -> Iterator[str]:
    yield f"## {prose(visible(found.title, 80))}"
    yield from ("", f"{plural(found.rows, 'row')} shared.")
    yield from (f"\n{prose(note)}" for note in found.notes)
    if found.ranking:
        yield from ("", prose(found.ranking_words), "", *_ranked(found.ranking))
    for pair in found.pairs:
        yield from ("", f"### {prose(pair.second)} against {prose(pair.first)}", "", prose(pair.words), "")
        yield from as_table(_DIFFERENCES, _difference_lines(pair), right=range(1, 10))
        yield from _flip_lines("Won", pair.gained, pair.gained_rows, pair)
        yield from _flip_lines("Lost", pair.lost, pair.lost_rows, pair)


def _difference_lines(pair: PairComparison) -> Iterator[list[str]]:
    for name, subset in pair.subsets.items():
        yield _line(prose(visible(name, 80)), subset, subset)
    if len(pair.subsets) > 1:
        yield _line("**average**", pair.average, None)


def _line(name: str, found: DifferenceResult, subset: SubsetComparison | None) -> list[str]:
    return [
        name,
        str(count(subset.n)) if subset else "",
        str(percent(found.first)),
        str(percent(found.second)),
        str(percent(found.difference)),
        f"{percent(found.ci_low)} to {percent(found.ci_high)}",
        str(p_value(found.p_value)),
        str(p_value(subset.p_holm)) if subset else "",
        str(count(subset.gained)) if subset else "",
        str(count(subset.lost)) if subset else "",
        found.verdict,
    ]


def _ranked(ranking: Sequence[RankedModel]) -> Iterator[str]:
    lines = (
        [
            prose(model.name),
            str(percent(model.score)),
            f"{percent(model.ci_low)} to {percent(model.ci_high)}",
            str(percent(model.probability_best)),
            "no" if model.candidate else "yes",
        ]
        for model in ranking
    )
    return as_table(_RANKING, lines, right=range(1, 4))


def _flip_lines(title: str, rows: Sequence[FlippedRow], total: int, pair: PairComparison) -> Iterator[str]:
    if not total:
        return
    shown = "" if len(rows) == total else f", {len(rows)} shown"
    yield from ("", f"{title} by {prose(pair.second)}: {plural(total, 'row')}{shown}.", "")
    for row in rows:
        yield f"- {code(f'{visible(row.subset, 60)} / {visible(row.id, 60)}')}: result {row.first:g} → {row.second:g}"
        if row.prompt is not None:
            yield f"  - prompt: {prose(visible(row.prompt, _TEXT))}"
        for place, (first, second) in enumerate(zip(row.rewards_first, row.rewards_second, strict=True)):
            kind = "chosen" if place < row.n_chosen else "rejected"
            text = _response(row, place)
            yield f"  - {kind}: reward {significant(first, 4)} → {significant(second, 4)}{': ' + text if text else ''}"


def _response(row: FlippedRow, place: int) -> str:
    if row.chosen is None or row.rejected is None:
        return ""
    return prose(visible((row.chosen + row.rejected)[place], _TEXT))
