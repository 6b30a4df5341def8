"""What stands beside the scores: spread within a prompt, length, calibration, best-of-n, skills side by side.

    analyses_section(results, ood) → Section
    analysis_blocks(results, ood)  → its blocks
    result_sections(results)       → with the scores: what `evaluate` found

In: `results.json` of each benchmark (`rewards`, `analysis`) and `ood.json`. Out: rows and figures with numbers as they
are read; None where no result holds any of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.evaluation import (
    BenchmarkResult,
    BestOfNCurve,
    Calibration,
    LabelAgreement,
    OodRecord,
    OodRow,
    ReliabilityPoint,
)
from rewardsmith.report.blocks import Block, Cell, Column, Figure, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
    Number,
    State,
    capitalised,
    count,
    decimal,
    percent,
    plural,
    significant,
    visible,
)
from rewardsmith.report.pooling import pool_skills, pooled_note, small_grid
from rewardsmith.report.sections.scores import scores_section, title_of
from rewardsmith.report.sections.sources import sources_section
from rewardsmith.report.svg import Scale, area_between, curve, drawing, element, end_label, line, nice_ticks, text

_KINDS = {"held_out": "own pairs", "domain": "domain of them", "pairs": "other pairs", "benchmark": "benchmark"}
_FLAGS: dict[str, State] = {"": "good", "distribution_specific": "bad", "benchmark_specific": "warn"}


@dataclass(frozen=True, slots=True)
class Spread:
    """Rewards among the answers of one prompt, and what was flagged about all rewards of a benchmark."""

    title: str
    prompts: Number
    std_median: Number
    std_mean: Number
    std_all: Number
    within: Number
    flat: Number
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Accuracy over some pairs, in per cent."""

    n: Number
    accuracy: Number
    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Length:
    """How far one benchmark's rewards follow length. `raw` and `untrended` are averages in per cent."""

    title: str
    pearson: Number
    pearson_low: Number
    pearson_high: Number
    spearman: Number
    longer_wrong: Share
    longer_right: Share
    raw: Number
    untrended: Number


@dataclass(frozen=True, slots=True)
class Reliability:
    """One benchmark's calibration: facts to read and points to draw."""

    title: str
    points: tuple[ReliabilityPoint, ...]
    facts: tuple[tuple[str, str], ...]
    note: str
    method: str


@dataclass(frozen=True, slots=True)
class Picking:
    """Best-of-n on one benchmark: the recorded curve, drawn and in words."""

    title: str
    curve: BestOfNCurve
    text: str
    state: State


@dataclass(frozen=True, slots=True)
class Skill:
    """One set of rows on the common scale."""

    title: str
    kind: str
    n: Number
    skill: Number
    low: Number
    high: Number
    gap: Number
    gap_low: Number
    gap_high: Number
    state: State
    reading: str


@dataclass(frozen=True, slots=True)
class Analyses:
    """All of it; a part without anything to show is empty."""

    spreads: tuple[Spread, ...]
    lengths: tuple[Length, ...]
    length_method: str
    reliabilities: tuple[Reliability, ...]
    pickings: tuple[Picking, ...]
    skills: tuple[Skill, ...]
    small_skills: tuple[Skill, ...] = ()
    small_title: str = ""
    ceilings: tuple[tuple[str, LabelAgreement], ...] = ()


def analyses(results: Mapping[str, BenchmarkResult], ood: OodRecord | None) -> Analyses | None:
    """What the report shows beside the scores."""
    domains = pool_skills(ood.rows if ood else ())
    found = Analyses(
        spreads=tuple(_spreads(results)),
        lengths=tuple(_lengths(results)),
        length_method=_length_method(results),
        reliabilities=tuple(
            _reliability(title_of(result), result.analysis.calibration)
            for result in results.values()
            if result.analysis and result.analysis.calibration
        ),
        pickings=tuple(
            _picking(title_of(result), result.analysis.best_of_n)
            for result in results.values()
            if result.analysis and result.analysis.best_of_n
        ),
        skills=tuple(map(_skill, domains.shown.values())) if ood and len(ood.rows) > 1 else (),
        small_skills=tuple(map(_skill, domains.small.values())),
        small_title=domains.title,
        ceilings=tuple(
            (title_of(result), result.analysis.label_agreement)
            for result in results.values()
            if result.analysis and result.analysis.label_agreement
        ),
    )
    shown = (found.spreads, found.lengths, found.reliabilities, found.pickings, found.skills, found.ceilings)
    return found if any(shown) else None


def result_sections(
    results: Mapping[str, BenchmarkResult], check: CheckRecord | None = None, *, all_subsets: bool = False
) -> tuple[Section, ...]:
    """Scores, those by source where there are several, and what stands beside them where there is any.

    `check` says what each source gave to training.
    """
    found = (
        scores_section(results, all_subsets=all_subsets),
        sources_section(results, check, all_subsets=all_subsets),
        analyses_section(results, None),
    )
    return tuple(section for section in found if section is not None and section.blocks)


def analyses_section(results: Mapping[str, BenchmarkResult], ood: OodRecord | None) -> Section:
    """What stands beside the scores of a run."""
    blocks = analysis_blocks(results, ood)
    return Section(
        "analyses",
        "Beside the scores",
        blocks,
        lead="Where the score comes from, how far a margin can be believed, and what picking by reward would do. "
        "Intervals hold 95 %.",
        absent=None if blocks else ("Evaluation", "eval/BENCHMARK/results.json"),
    )


def analysis_blocks(results: Mapping[str, BenchmarkResult], ood: OodRecord | None = None) -> tuple[Block, ...]:
    """A block for each part that some result has."""
    found = analyses(results, ood)
    if found is None:
        return ()
    return (
        *((_skill_block(found),) if found.skills else ()),
        *((_spread_block(found.spreads),) if found.spreads else ()),
        *((_length_block(found.lengths, found.length_method),) if found.lengths else ()),
        *map(_reliability_block, found.reliabilities),
        *map(_picking_block, found.pickings),
        *(_ceiling_block(title, agreement) for title, agreement in found.ceilings),
    )


def _skill_block(found: Analyses) -> Block:
    columns = (
        Column("Rows of", "name"),
        Column("Kind", "words"),
        Column("Rows"),
        Column("Skill", strong=True),
        Column("95 % interval"),
        Column("Drawn, 0 to 1", "draw", skill_axis()),
        Column("Gap"),
        Column("Reading", "words"),
    )
    rows = tuple(map(_skill_cells, found.skills))
    small = tuple(map(_skill_cells, found.small_skills))
    caption = "Skill on the held-out pairs, other domains and benchmarks, with the gap to the held-out pairs"
    return Block(
        "Skill side by side",
        note="Skill puts scores on one scale: 0 is chance, 1 is perfect. Far less skill elsewhere than on the run’s "
        "own pairs is fitting to their distribution; far more on a benchmark may be fitting to it. Gap: skill on the "
        "held-out pairs minus this one.",
        grids=(
            Grid(caption, columns, rows, note=pooled_note(found.small_title, "ood.json"), titled=False, look="scores"),
            *small_grid(found.small_title, "Skill on the subsets under ten rows", columns, small, look="scores"),
        ),
        source="ood.json",
    )


def _skill_cells(row: Skill) -> tuple[Cell, ...]:
    return (
        row.title,
        row.kind,
        row.n,
        row.skill,
        Span(row.low, row.high),
        skill_strip(row),
        _beside(row.gap, row.gap_low, row.gap_high),
        Sign(row.state, row.reading),
    )


def _beside(value: Number, low: Number, high: Number, *more: Number | str) -> Cell:
    return value if low.value is None else Noted(value, (Span(low, high), *more))


def _spread_block(spreads: Sequence[Spread]) -> Block:
    columns = (
        Column("Rewards of", "name"),
        Column("Prompts"),
        Column("Std within, median"),
        Column("Std within, mean"),
        Column("Std of all"),
        Column("Variance within, %"),
        Column("Flat prompts, %"),
    )
    rows = tuple(
        (row.title, row.prompts, row.std_median, row.std_mean, row.std_all, row.within, row.flat) for row in spreads
    )
    return Block(
        "Spread within a prompt",
        note="A policy compares answers to the same prompt: what differs only between prompts teaches it nothing.",
        grids=(Grid("Spread of rewards among the answers of one prompt, per benchmark", columns, rows, titled=False),),
        lines=tuple(Sign("warn", f"{row.title}: {flag}") for row in spreads for flag in row.flags),
    )


def _length_block(lengths: Sequence[Length], method: str) -> Block:
    columns = (
        Column("Rewards of", "name"),
        Column("Correlation"),
        Column("of ranks"),
        Column("Accuracy, longer is wrong"),
        Column("Accuracy, longer is right"),
        Column("Score, %"),
        Column("Score without trend"),
    )
    rows = tuple(
        (
            row.title,
            _beside(row.pearson, row.pearson_low, row.pearson_high),
            row.spearman,
            *(
                _beside(share.accuracy, share.low, share.high, ", ", share.n, " pairs")
                for share in (row.longer_wrong, row.longer_right)
            ),
            row.raw,
            row.untrended,
        )
        for row in lengths
    )
    told = f"Without trend: {method}. For comparison only: rewards stay raw, and no gate reads this." if method else ""
    return Block(
        "Length",
        note="Correlation of reward and length among the answers of one prompt: 1 is a model that only measures "
        "length. Such a model is never right where the longer response is the wrong one, and always where it is the "
        "right one.",
        grids=(
            Grid("How far rewards follow length, per benchmark; in per cent", columns, rows, note=told, titled=False),
        ),
    )


def _reliability_block(found: Reliability) -> Block:
    columns = (Column("Stated, %"), Column("Right, %"), Column("95 % interval"), Column("Pairs"))
    rows = tuple(
        (
            percent(point.confidence),
            percent(point.accuracy),
            Span(percent(point.low), percent(point.high)),
            count(point.n),
        )
        for point in found.points
    )
    caption = (
        "Share of pairs ordered rightly, per cent, over the stated confidence; bars: Wilson’s interval of each bin. "
        "Dots on the dashed line: what the model states is what happens."
    )
    points = Grid("Stated and right", columns, rows, folded="The numbers", titled=False, drawn=True)
    return Block(
        f"Calibration: {found.title}",
        note="P(chosen is preferred) = sigmoid(margin / temperature).",
        figures=(Figure("Reliability", caption, reliability_plot(found)),) if found.points else (),
        facts=found.facts,
        grids=(points,) if found.points else (),
        lines=((Sign("warn", found.note),) if found.note else ()),
        details=(Block("How this was counted", texts=(found.method,)),) if found.method else (),
    )


def _picking_block(found: Picking) -> Block:
    columns = (
        Column("n"),
        Column("Gold", strong=True),
        Column("95 % interval"),
        Column("Any"),
        Column("Best"),
        Column("Reward"),
        Column("KL at most"),
    )
    rows = tuple(
        (
            count(point.n),
            decimal(point.gold, 3),
            Span(decimal(point.gold_low, 3), decimal(point.gold_high, 3)),
            decimal(point.random, 3),
            decimal(point.oracle, 3),
            significant(point.reward),
            decimal(point.kl_bound),
        )
        for point in found.curve.points
    )
    left_out = f"; {plural(found.curve.left_out, 'row')} with fewer answers or a missing reward left out"
    method = visible(found.curve.method, 400) + (left_out if found.curve.left_out else "")
    return Block(
        f"Best of n: {found.title}",
        reading=found.text,
        state=found.state,
        note="The answer with the highest reward among n drawn ones, exactly over all ways to draw. Gold quality is 1 "
        "for a chosen answer, 0 for a rejected one.",
        figures=(
            Figure(
                "Gold quality of the pick",
                "Between any answer and the best of the n; the band is its interval.",
                picking_plot(found),
            ),
            Figure("Reward of the pick", "It rises with n by construction.", reward_plot(found)),
        ),
        grids=(
            Grid("Best-of-n by n", columns, rows, note=f"{method}.", folded="The numbers", titled=False, drawn=True),
        ),
    )


def _ceiling_block(title: str, agreement: LabelAgreement) -> Block:
    ceiling = f"{percent(agreement.ceiling_low)} to {percent(agreement.ceiling_high)} %"
    return Block(
        f"Repeated labels: {title}",
        note=f"{plural(agreement.comparisons, 'comparison')} were labelled more than once, with {agreement.labels:,} "
        f"labels in all: on these the best model is right in {ceiling}.",
    )


def _spreads(results: Mapping[str, BenchmarkResult]) -> Iterator[Spread]:
    for result in results.values():
        within = result.rewards.within_prompt
        if within is not None:
            yield Spread(
                title=title_of(result),
                prompts=count(within.prompts),
                std_median=significant(within.std_median),
                std_mean=significant(within.std_mean),
                std_all=significant(result.rewards.std),
                within=percent(within.variance_share),
                flat=percent(within.flat_share),
                flags=tuple(visible(flag.text) for flag in result.rewards.flags),
            )


def _lengths(results: Mapping[str, BenchmarkResult]) -> Iterator[Length]:
    for result in results.values():
        length = result.analysis.length if result.analysis else None
        if length is not None:
            low, high = length.pearson_ci or (None, None)
            yield Length(
                title=title_of(result),
                pearson=decimal(length.pearson),
                pearson_low=decimal(low),
                pearson_high=decimal(high),
                spearman=decimal(length.spearman),
                longer_wrong=_share(length.longer_wrong),
                longer_right=_share(length.longer_right),
                raw=percent(result.average),
                untrended=percent(length.calibrated.average if length.calibrated else None),
            )


def _length_method(results: Mapping[str, BenchmarkResult]) -> str:
    """How the trend was taken out; the same in every benchmark."""
    for result in results.values():
        if result.analysis and result.analysis.length and result.analysis.length.calibrated:
            return visible(result.analysis.length.calibrated.method)
    return ""


def _share(share: PairShare) -> Share:
    return Share(count(share.n), percent(share.accuracy), percent(share.ci_low), percent(share.ci_high))


def _reliability(title: str, found: Calibration) -> Reliability:
    facts = [("pairs", count(found.n).text)]
    if found.temperature is not None:
        facts.append(("temperature", _with_interval(found.temperature, found.temperature_ci)))
    if found.ece is not None:
        facts += [
            ("ECE, noise taken out", _with_interval(found.ece_debiased, found.ece_ci)),
            ("ECE, plain", significant(found.ece).text),
            ("ECE of a calibrated model", significant(found.ece_if_calibrated).text),
            ("Brier score", significant(found.brier).text),
        ]
    facts += [
        ("ECE at temperature 1", significant(found.ece_raw).text),
        ("Brier score at temperature 1", significant(found.brier_raw).text),
    ]
    return Reliability(title, found.points, tuple(facts), visible(found.note), capitalised(visible(found.method, 400)))


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return significant(value).text
    return f"{significant(value)} ({significant(interval[0])} to {significant(interval[1])})"


def _picking(title: str, curve: BestOfNCurve) -> Picking:
    state: State = "bad" if curve.turns_down_at is not None else "good"
    if curve.turns_down_at is None and curve.peak_n < curve.points[-1].n:
        state = "warn"
    return Picking(title, curve, visible(curve.text, 400), state)


def _skill(row: OodRow) -> Skill:
    low, high = row.skill_ci or (None, None)
    gap_low, gap_high = row.gap_ci or (None, None)
    reading = row.text or ("close to the held-out pairs" if row.gap is not None else "")
    if not row.text and row.gap is not None and row.gap_ci is not None and not row.gap_ci[0] <= 0 <= row.gap_ci[1]:
        reading = "differs, by less than is flagged"
    return Skill(
        title="Held-out pairs" if row.kind == "held_out" else visible(row.title, 80),
        kind=_KINDS[row.kind],
        n=count(row.n),
        skill=decimal(row.skill),
        low=decimal(low),
        high=decimal(high),
        gap=decimal(row.gap),
        gap_low=decimal(gap_low),
        gap_high=decimal(gap_high),
        state=_FLAGS[row.flag] if row.gap is not None else "open",
        reading=visible(reading, 400),
    )


_STRIP = 300.0
_PLOT_WIDTH, _PLOT_HEIGHT = 380.0, 214.0
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 46.0, 318.0, 10.0, 176.0
_SKILLS = Scale(-0.25, 1.0, 10.0, _STRIP - 10.0)
_LOG_FROM = 32


def reliability_plot(found: Reliability) -> Markup:
    """Bins as dots with their intervals; on the dashed diagonal a stated confidence is what happens."""
    lowest = min((point.low for point in found.points), default=0.5)
    x = Scale(0.5, 1.0, _PLOT_LEFT, _PLOT_RIGHT)
    y = Scale(max(0.0, min(0.4, math.floor(10 * lowest) / 10)), 1.0, _PLOT_BOTTOM, _PLOT_TOP)
    parts = [*_frame(x, y, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "stated", per_cent=True)]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(1.0), "chance"))
    for point in found.points:
        at = x.clamped(point.confidence)
        parts.append(line(at, y(point.low), at, y(point.high), "spread"))
        parts.append(element("circle", cx=at, cy=y(point.accuracy), r=4, class_="end"))
    spoken = ", ".join(
        f"{100 * point.confidence:.0f} stated {100 * point.accuracy:.0f} right" for point in found.points
    )
    return drawing(
        _PLOT_WIDTH, _PLOT_HEIGHT, f"Stated confidence and share of pairs ordered rightly, per cent: {spoken}", *parts
    )


def picking_plot(found: Picking) -> Markup:
    """Gold quality of the picked answer, its interval as a band, between any answer and the best one."""
    points = found.curve.points
    steps = [point.n for point in points]
    bounds = [value for point in points for value in (point.gold_low, point.gold_high, point.oracle, point.random)]
    x, y = _steps_scale(steps), Scale(min(bounds), max(bounds), _PLOT_BOTTOM, _PLOT_TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    high, low = ([y(getattr(point, side)) for point in points] for side in ("gold_high", "gold_low"))
    parts.append(element("path", d=area_between(xs, high, low), class_="band"))
    for name, values in (("best", [point.oracle for point in points]), ("any", [point.random for point in points])):
        parts.append(curve(xs, values, y, "bound"))
        parts.append(text(_PLOT_RIGHT + 6, y(values[-1]) + 3.5, name, "tick faint"))
    gold = [point.gold for point in points]
    parts.append(curve(xs, gold, y, "smooth"))
    parts += end_label(xs[-1], gold[-1], y, _PLOT_RIGHT + 6, [y(points[-1].oracle), y(points[-1].random)])
    if found.curve.turns_down_at is not None:
        turn = x(_place(found.curve.turns_down_at, steps))
        parts.append(line(turn, _PLOT_TOP, turn, _PLOT_BOTTOM, "chance"))
    spoken = ", ".join(f"{point.gold:.3f} at {point.n}" for point in points)
    return drawing(_PLOT_WIDTH, _PLOT_HEIGHT, f"Gold quality of the picked answer over n: {spoken}", *parts)


def reward_plot(found: Picking) -> Markup:
    """Reward of the picked answer: it rises whatever the gold quality does."""
    points = found.curve.points
    steps, rewards = [point.n for point in points], [point.reward for point in points]
    x, y = _steps_scale(steps), Scale(min(rewards), max(rewards), _PLOT_BOTTOM, _PLOT_TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    parts.append(curve(xs, rewards, y, "smooth"))
    parts += end_label(xs[-1], rewards[-1], y, _PLOT_RIGHT + 6, [])
    spoken = f"from {significant(rewards[0])} at 1 to {significant(rewards[-1])} at {steps[-1]}"
    return drawing(_PLOT_WIDTH, _PLOT_HEIGHT, f"Reward of the picked answer over n: {spoken}", *parts)


def skill_axis() -> Markup:
    """The skills over a column of skill strips."""
    ticks = [text(_SKILLS(skill), 12, f"{skill:g}", anchor="middle") for skill in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_STRIP, 16, "", *ticks, class_="chart strip")


def skill_strip(row: Skill) -> Markup:
    """Dot and whisker; 0 is guessing, 1 is perfect."""
    parts = [element("rect", x=_SKILLS(0), y=9, width=_SKILLS(1) - _SKILLS(0), height=10, rx=2, class_="rail")]
    parts += [line(_SKILLS(skill), 5, _SKILLS(skill), 23, "grid") for skill in (0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SKILLS(0), 2, _SKILLS(0), 26, "chance"))
    if row.low.value is not None and row.high.value is not None:
        left, right = _SKILLS.clamped(row.low.value), _SKILLS.clamped(row.high.value)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {row.state}"))
    if row.skill.value is not None:
        parts.append(element("circle", cx=_SKILLS.clamped(row.skill.value), cy=14, r=5, class_=f"dot {row.state}"))
    label = f"{row.title}: skill {row.skill}, interval {row.low} to {row.high}"
    return drawing(_STRIP, 28, label, *parts, class_="chart strip")


def _frame(
    x: Scale, y: Scale, ticks: Sequence[float], unit: str, *, per_cent: bool = False, steps: Sequence[int] = ()
) -> list[Markup]:
    """Grid, ticks and the axis below."""
    parts = []
    for tick in nice_ticks(y.low, y.high, target=5):
        written = f"{100 * tick:.0f}" if per_cent else "0" if abs(tick) < 1e-12 else significant(tick).text
        parts += [
            line(_PLOT_LEFT, y(tick), _PLOT_RIGHT, y(tick), "grid"),
            text(_PLOT_LEFT - 7, y(tick) + 3.5, written, anchor="end"),
        ]
    for tick in ticks:
        at = x(_place(tick, steps)) if steps else x(tick)
        parts.append(text(at, _PLOT_BOTTOM + 17, f"{100 * tick:.0f}" if per_cent else f"{tick:,.0f}", anchor="middle"))
    parts.append(line(_PLOT_LEFT, _PLOT_BOTTOM, _PLOT_RIGHT, _PLOT_BOTTOM, "axis"))
    return [*parts, text(_PLOT_WIDTH, _PLOT_BOTTOM + 17, unit, anchor="end")]


def _steps_scale(steps: Sequence[int]) -> Scale:
    return Scale(_place(steps[0], steps), _place(steps[-1], steps), _PLOT_LEFT, _PLOT_RIGHT)


def _place(n: float, steps: Sequence[int]) -> float:
    """Few answers lie evenly; many by their logarithm."""
    return math.log2(n) if steps and steps[-1] > _LOG_FROM else float(n)


def _step_ticks(steps: Sequence[int]) -> list[float]:
    if steps[-1] > _LOG_FROM:
        return [2.0**power for power in range(0, int(math.log2(steps[-1])) + 1, 2)]
    gap = max(1, math.ceil(len(steps) / 8))
    return [float(n) for n in steps[::gap]]
