"""What stands beside the scores: spread within a prompt, length, calibration, best-of-n, skills side by side.

    analyses_section(results, ood) → Section
    analysis_blocks(results, ood)  → its blocks
    result_sections(results)       → with the scores: what `evaluate` found

In: `results.json` of each benchmark (`rewards`, `analysis`) and `ood.json`. Out: blocks; none where no result holds any
of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

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
from rewardsmith.report.sections.scores import scores_section, sources_section, title_of
from rewardsmith.report.svg import Scale, area_between, curve, drawing, element, end_label, line, nice_ticks, text

_KINDS = {"held_out": "own pairs", "domain": "domain of them", "pairs": "other pairs", "benchmark": "benchmark"}
_FLAGS: dict[str, State] = {"": "good", "distribution_specific": "bad", "benchmark_specific": "warn"}


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
    analysed = [(title_of(result), result.analysis) for result in results.values() if result.analysis]
    return (
        *_skill_blocks(ood),
        *_spread_blocks(results),
        *_length_blocks(results),
        *(_reliability_block(title, one.calibration) for title, one in analysed if one.calibration),
        *(_picking_block(title, one.best_of_n) for title, one in analysed if one.best_of_n),
        *(_ceiling_block(title, one.label_agreement) for title, one in analysed if one.label_agreement),
    )


def _skill_blocks(ood: OodRecord | None) -> Iterator[Block]:
    if ood is None or len(ood.rows) < 2:
        return
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
    domains = pool_skills(ood.rows)
    rows = tuple(map(_skill_cells, domains.shown.values()))
    small = tuple(map(_skill_cells, domains.small.values()))
    caption = "Skill on the held-out pairs, other domains and benchmarks, with the gap to the held-out pairs"
    yield Block(
        "Skill side by side",
        note="Skill puts scores on one scale: 0 is chance, 1 is perfect. Far less skill elsewhere than on the run’s "
        "own pairs is fitting to their distribution; far more on a benchmark may be fitting to it. Gap: skill on the "
        "held-out pairs minus this one.",
        grids=(
            Grid(caption, columns, rows, note=pooled_note(domains.title, "ood.json"), titled=False, look="scores"),
            *small_grid(domains.title, "Skill on the subsets under ten rows", columns, small, look="scores"),
        ),
        source="ood.json",
    )


def _skill_cells(row: OodRow) -> tuple[Cell, ...]:
    return (
        _skill_title(row),
        _KINDS[row.kind],
        count(row.n),
        decimal(row.skill),
        _span(row.skill_ci),
        skill_strip(row),
        _beside(decimal(row.gap), _span(row.gap_ci)),
        Sign(_skill_state(row), _skill_reading(row)),
    )


def _skill_title(row: OodRow) -> str:
    return "Held-out pairs" if row.kind == "held_out" else visible(row.title, 80)


def _skill_state(row: OodRow) -> State:
    return _FLAGS[row.flag] if row.gap is not None else "open"


def _skill_reading(row: OodRow) -> str:
    if row.text or row.gap is None:
        return visible(row.text, 400)
    differs = row.gap_ci is not None and not row.gap_ci[0] <= 0 <= row.gap_ci[1]
    return "differs, by less than is flagged" if differs else "close to the held-out pairs"


def _span(interval: tuple[float, float] | None) -> Span:
    low, high = interval or (None, None)
    return Span(decimal(low), decimal(high))


def _beside(value: Number, interval: Span, *more: Number | str) -> Cell:
    return value if interval.low.value is None else Noted(value, (interval, *more))


def _spread_blocks(results: Mapping[str, BenchmarkResult]) -> Iterator[Block]:
    spreads = [
        (title_of(result), result.rewards, result.rewards.within_prompt)
        for result in results.values()
        if result.rewards.within_prompt is not None
    ]
    if not spreads:
        return
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
        (
            title,
            count(within.prompts),
            significant(within.std_median),
            significant(within.std_mean),
            significant(rewards.std),
            percent(within.variance_share),
            percent(within.flat_share),
        )
        for title, rewards, within in spreads
    )
    yield Block(
        "Spread within a prompt",
        note="A policy compares answers to the same prompt: what differs only between prompts teaches it nothing.",
        grids=(Grid("Spread of rewards among the answers of one prompt, per benchmark", columns, rows, titled=False),),
        lines=tuple(
            Sign("warn", f"{title}: {visible(flag.text)}") for title, rewards, _ in spreads for flag in rewards.flags
        ),
    )


def _length_blocks(results: Mapping[str, BenchmarkResult]) -> Iterator[Block]:
    found = [
        (title_of(result), result.average, result.analysis.length)
        for result in results.values()
        if result.analysis and result.analysis.length
    ]
    if not found:
        return
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
            title,
            _beside(decimal(length.pearson), _span(length.pearson_ci)),
            decimal(length.spearman),
            _share_cell(length.longer_wrong),
            _share_cell(length.longer_right),
            percent(average),
            percent(length.calibrated.average if length.calibrated else None),
        )
        for title, average, length in found
    )
    # How the trend was taken out is the same in every benchmark.
    method = next((visible(length.calibrated.method) for _, _, length in found if length.calibrated), "")
    told = f"Without trend: {method}. For comparison only: rewards stay raw, and no gate reads this." if method else ""
    yield Block(
        "Length",
        note="Correlation of reward and length among the answers of one prompt: 1 is a model that only measures "
        "length. Such a model is never right where the longer response is the wrong one, and always where it is the "
        "right one.",
        grids=(
            Grid("How far rewards follow length, per benchmark; in per cent", columns, rows, note=told, titled=False),
        ),
    )


def _share_cell(share: PairShare) -> Cell:
    interval = Span(percent(share.ci_low), percent(share.ci_high))
    return _beside(percent(share.accuracy), interval, ", ", count(share.n), " pairs")


def _reliability_block(title: str, found: Calibration) -> Block:
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
        f"Calibration: {title}",
        note="P(chosen is preferred) = sigmoid(margin / temperature).",
        figures=(Figure("Reliability", caption, reliability_plot(found.points)),) if found.points else (),
        facts=tuple(_calibration_facts(found)),
        grids=(points,) if found.points else (),
        lines=((Sign("warn", visible(found.note)),) if found.note else ()),
        details=(Block("How this was counted", texts=(capitalised(visible(found.method, 400)),)),)
        if found.method
        else (),
    )


def _picking_block(title: str, found: BestOfNCurve) -> Block:
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
        for point in found.points
    )
    left_out = f"; {plural(found.left_out, 'row')} with fewer answers or a missing reward left out"
    method = visible(found.method, 400) + (left_out if found.left_out else "")
    state: State = "bad" if found.turns_down_at is not None else "good"
    if found.turns_down_at is None and found.peak_n < found.points[-1].n:
        state = "warn"
    return Block(
        f"Best of n: {title}",
        reading=visible(found.text, 400),
        state=state,
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


def _calibration_facts(found: Calibration) -> Iterator[tuple[str, str]]:
    yield "pairs", count(found.n).text
    if found.temperature is not None:
        yield "temperature", _with_interval(found.temperature, found.temperature_ci)
    if found.ece is not None:
        yield "ECE, noise taken out", _with_interval(found.ece_debiased, found.ece_ci)
        yield "ECE, plain", significant(found.ece).text
        yield "ECE of a calibrated model", significant(found.ece_if_calibrated).text
        yield "Brier score", significant(found.brier).text
    yield "ECE at temperature 1", significant(found.ece_raw).text
    yield "Brier score at temperature 1", significant(found.brier_raw).text


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return significant(value).text
    return f"{significant(value)} ({significant(interval[0])} to {significant(interval[1])})"


_STRIP = 300.0
_PLOT_WIDTH, _PLOT_HEIGHT = 380.0, 214.0
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 46.0, 318.0, 10.0, 176.0
_SKILLS = Scale(-0.25, 1.0, 10.0, _STRIP - 10.0)
_LOG_FROM = 32


def reliability_plot(points: Sequence[ReliabilityPoint]) -> Markup:
    """Bins as dots with their intervals; on the dashed diagonal a stated confidence is what happens."""
    lowest = min((point.low for point in points), default=0.5)
    x = Scale(0.5, 1.0, _PLOT_LEFT, _PLOT_RIGHT)
    y = Scale(max(0.0, min(0.4, math.floor(10 * lowest) / 10)), 1.0, _PLOT_BOTTOM, _PLOT_TOP)
    parts = [*_frame(x, y, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "stated", per_cent=True)]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(1.0), "chance"))
    for point in points:
        at = x.clamped(point.confidence)
        parts.append(line(at, y(point.low), at, y(point.high), "spread"))
        parts.append(element("circle", cx=at, cy=y(point.accuracy), r=4, class_="end"))
    spoken = ", ".join(f"{100 * point.confidence:.0f} stated {100 * point.accuracy:.0f} right" for point in points)
    return drawing(
        _PLOT_WIDTH, _PLOT_HEIGHT, f"Stated confidence and share of pairs ordered rightly, per cent: {spoken}", *parts
    )


def picking_plot(found: BestOfNCurve) -> Markup:
    """Gold quality of the picked answer, its interval as a band, between any answer and the best one."""
    points = found.points
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
    if found.turns_down_at is not None:
        turn = x(_place(found.turns_down_at, steps))
        parts.append(line(turn, _PLOT_TOP, turn, _PLOT_BOTTOM, "chance"))
    spoken = ", ".join(f"{point.gold:.3f} at {point.n}" for point in points)
    return drawing(_PLOT_WIDTH, _PLOT_HEIGHT, f"Gold quality of the picked answer over n: {spoken}", *parts)


def reward_plot(found: BestOfNCurve) -> Markup:
    """Reward of the picked answer: it rises whatever the gold quality does."""
    points = found.points
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


def skill_strip(row: OodRow) -> Markup:
    """Dot and whisker; 0 is guessing, 1 is perfect."""
    parts = [element("rect", x=_SKILLS(0), y=9, width=_SKILLS(1) - _SKILLS(0), height=10, rx=2, class_="rail")]
    parts += [line(_SKILLS(skill), 5, _SKILLS(skill), 23, "grid") for skill in (0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SKILLS(0), 2, _SKILLS(0), 26, "chance"))
    state, interval = _skill_state(row), _span(row.skill_ci)
    if row.skill_ci is not None:
        left, right = map(_SKILLS.clamped, row.skill_ci)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {state}"))
    parts.append(element("circle", cx=_SKILLS.clamped(row.skill), cy=14, r=5, class_=f"dot {state}"))
    label = f"{_skill_title(row)}: skill {decimal(row.skill)}, interval {interval.low} to {interval.high}"
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
