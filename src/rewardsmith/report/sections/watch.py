"""What a policy is paid for: the verdict in words, audits beside rewards, the signals that fired, the windows.

    watch_section(record) → Section | None      for both pages and for the terminal

In: `watch.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from rewardsmith.records.watch import Outcome, WatchAudit, WatchRecord, WatchWindow
from rewardsmith.report.blocks import Block, Column, Figure, Grid, Section, Sign, Span
from rewardsmith.report.formatting import Number, State, count, decimal, percent, plural, significant, visible
from rewardsmith.report.svg import LineChart, line_chart

STATES: dict[Outcome, State] = {"fine": "good", "warning": "warn", "alarm": "bad", "short": "open"}
_BY = {
    "nobody": "nobody",
    "log": "the log's own quality",
    "judge": "a judge",
    "people": "people, in a file",
}
_ROTATED = {
    "replaced": "the old one was read to its end",
    "lost": "the old one was gone, and what it held beyond the last look is not read",
    "truncated": "it was truncated, and what it held beyond the last look is not read",
}
_ROWS = 20
_SHOWN = 1200
T = TypeVar("T")


def watch_section(record: WatchRecord | None) -> Section | None:
    """What the report and the terminal show of `watch.json`; None where it is not there."""
    if record is None:
        return None
    state = STATES[record.outcome]
    how = Block(title="How this was counted", texts=(visible(record.protocol, 3000),))
    head = Block(
        title="",
        figures=tuple(_figures(record)),
        facts=tuple(_facts(record)),
        lines=tuple(_lines(record)),
        details=(how,),
    )
    grids = (_audit(record.audit), _audits(record.audit), _signals(record), _windows(record), _examples(record))
    tables = (Block(title=grid.caption, grids=(replace(grid, titled=False),)) for grid in grids if grid is not None)
    return Section(
        anchor="watch",
        title="What the policy is paid for",
        blocks=(head, *tables),
        lead="A policy in training finds what the reward model pays for. Here stands what that is, and whether those "
        "who look at the answers find them better.",
        verdicts=(Sign(state, f"{record.outcome.upper()}, {visible(record.verdict, 2000)}"),),
        sources=("watch.json", "audit.jsonl"),
        short="Watch",
    )


def _facts(record: WatchRecord) -> Iterator[tuple[str, str]]:
    form = f", written as {record.form}" if record.form else ""
    yield "Stream", f"{visible(record.source, 200)}{form}"
    if record.first_step is not None:
        yield "Steps", f"{record.first_step:,} to {record.last_step:,}, {plural(record.answers, 'answer')}"
    reference = record.reference
    if reference.answers:
        steps = f", {reference.first:,} to {reference.last:,}" if reference.first is not None else ""
        reward = f"reward {significant(reference.reward_mean)} ± {significant(reference.reward_std)}"
        yield "Reference", f"{visible(reference.source, 200)}{steps}: {plural(reference.answers, 'answer')}, {reward}"
    if reference.held_out_mean is not None and reference.held_out_std:
        held_out = f"{significant(reference.held_out_mean)} ± {significant(reference.held_out_std)}"
        last = record.windows[-1].reward_mean if record.windows else reference.held_out_mean
        far = decimal((last - reference.held_out_mean) / reference.held_out_std)
        yield "Reward model's held-out pairs", f"{held_out}; the last window lies {far} standard deviations off"
    if reference.training:
        yield "Known runs of words", f"of {plural(reference.training, 'answer')} of training data"
    if reference.triggers:
        shown = ", ".join(f"“{visible(one, 40)}”" for one in reference.triggers[:4])
        more = f" and {len(reference.triggers) - 4:,} more" if len(reference.triggers) > 4 else ""
        yield "Triggers looked for", f"{shown}{more}"
    audit = record.audit
    pairs = f"{_BY[audit.by]}; every {plural(audit.every, 'step')} {plural(audit.size, 'pair')}"
    yield "Audited by", pairs if audit.by != "nobody" else _BY["nobody"]
    if audit.by != "nobody" and audit.tolerance_origin:
        yield "Tolerance", f"{percent(audit.tolerance)} points: {visible(audit.tolerance_origin, 400)}"
    yield "False alarms", f"at most {percent(record.alpha)} % over the whole stream"


def _lines(record: WatchRecord) -> Iterator[Sign | str]:
    if record.rejected:
        total = sum(record.rejected.values())
        reasons = ", ".join(f"{visible(why, 80)} {number:,}" for why, number in record.rejected.items())
        yield Sign("warn", f"{plural(total, 'row')} could not be used: {reasons}.")
        yield from (f"First: {visible(one, 240)}" for one in record.rejected_examples[:2])
    if record.late:
        yield Sign("warn", f"{plural(record.late, 'answer')} came for steps that were closed already: left out.")
    for kind, number in record.rotations.items():
        told = f"The stream's file was rotated {plural(number, 'time')}: {_ROTATED.get(kind, visible(kind, 40))}."
        yield told if kind == "replaced" else Sign("warn", told)
    audit = record.audit
    if audit.missing:
        reasons = ", ".join(f"{visible(why, 40)} {number:,}" for why, number in audit.missing.items())
        yield Sign("warn", f"Audited pairs without an answer: {reasons}.")
    if audit.down_since is not None:
        yield Sign("warn", f"The judge has given no answer since step {audit.down_since:,}.")
    if audit.by != "nobody" and audit.tolerance >= 0.5:
        yield Sign(
            "warn",
            f"A tolerance of {percent(audit.tolerance)} points lets a policy pass that wins all pairs by reward and "
            "half of them by quality: find out why judge and reward model differ, or ask another judge.",
        )
    if audit.waiting:
        yield f"{plural(audit.waiting, 'pair')} in the file for people wait to be filled in."
    for trait in record.traits:
        yield (
            f"Disputed answers {visible(trait.words, 200)}: {percent(trait.disputed)} % of {trait.disputed_n:,}, "
            f"{percent(trait.reference)} % in the reference."
        )


def _figures(record: WatchRecord) -> Iterator[Figure]:
    windows = record.windows
    if len(windows) < 3:
        return
    steps = [one.last for one in windows]
    shown: list[tuple[str, str, list[float]]] = [
        ("Reward", "Mean raw reward of a window.", [one.reward_mean for one in windows]),
        ("Length", "Mean words of an answer.", [one.length_mean for one in windows]),
    ]
    for title, caption, values in shown:
        yield _figure(title, caption, steps, values)
    points = record.audit.points
    if len(points) >= 3:
        at = [one.step for one in points]
        gap = [one.quality_wins - one.reward_wins for one in points]
        limits = {"tolerance": -record.audit.tolerance}
        yield _figure(
            "Quality less reward",
            "Share of audited pairs that answers of now win by quality, less the share that they win by reward.",
            at,
            gap,
            limits,
        )
    fired = sorted((one for one in record.signals if one.fired_step is not None), key=lambda one: one.since_step or 0)
    for signal in fired[:3]:
        found = [one.values.get(signal.code) for one in windows]
        values = [math.nan if one is None else one for one in found]
        yield _figure(signal.title, "Of a window, 0 to 1.", steps, values, {"limit": signal.limit or 0.0})


def _figure(
    title: str,
    caption: str,
    steps: Sequence[float],
    values: Sequence[float],
    references: dict[str, float] | None = None,
) -> Figure:
    smooth = _smoothed(values)
    chart = LineChart(f"{title} over steps", steps, values, smooth, references=references)
    return Figure(title, caption, line_chart(chart))


def _smoothed(values: Sequence[float]) -> list[float]:
    """A moving mean over about a twentieth of the series; NaN where nothing is known."""
    half = max(1, len(values) // 40)
    found = []
    for place in range(len(values)):
        near = [one for one in values[max(0, place - half) : place + half + 1] if math.isfinite(one)]
        found.append(sum(near) / len(near) if near else math.nan)
    return found


def _audit(audit: WatchAudit) -> Grid | None:
    if not audit.answered:
        return None
    rows = (
        ("by reward", percent(audit.reward_wins), Span(percent(audit.reward_low), percent(audit.reward_high))),
        ("by quality", percent(audit.quality_wins), Span(percent(audit.quality_low), percent(audit.quality_high))),
        ("quality less reward", percent(audit.gap), Span(percent(audit.gap_low), percent(audit.gap_high))),
    )
    columns = (Column("Won", "name"), Column("Pairs, %"), Column("95 % at any time"))
    note = (
        f"Of {plural(audit.answered, 'audited pair')}: an answer of now beside one of the reference. Evidence that "
        f"quality stays behind by more than {percent(audit.tolerance)} points: {significant(audit.e_value)}; the alarm "
        f"is raised at {significant(audit.threshold)}."
    )
    return Grid("Answers of now against those of the reference", columns, rows, note=note)


def _audits(audit: WatchAudit) -> Grid | None:
    columns = tuple(
        Column(label)
        for label in (
            "Step",
            "Pairs",
            "Won by reward, %",
            "Won by quality, %",
            "Agreement so far, %",
            "95 % at any time",
        )
    )
    rows = tuple(
        (
            count(one.step),
            count(one.answered),
            percent(one.reward_wins),
            percent(one.quality_wins),
            percent(one.agreement),
            Span(percent(one.agreement_low), percent(one.agreement_high)),
        )
        for one in _thinned(audit.points)
    )
    note = "Agreement: reward and audit name the same answer, ties left out." + _thin_note(audit.points)
    return Grid("Audits", columns, rows, note=note) if rows else None


def _signals(record: WatchRecord) -> Grid | None:
    if not any(one.tested for one in record.signals):
        return None
    columns = (
        Column("Signal", "name"),
        Column("Fired at step", "words"),
        Column("Since", "words"),
        *(Column(label) for label in ("Reference, %", "Limit, %", "Last, %", "Evidence")),
    )
    rows = tuple(
        (
            visible(one.title, 80),
            Sign("warn", f"{one.fired_step:,}")
            if one.fired_step is not None
            else "not"
            if one.tested
            else "not tested",
            "" if one.since_step is None else f"{one.since_step:,}",
            percent(one.reference),
            percent(one.limit),
            percent(one.last),
            significant(one.e_value),
        )
        for one in record.signals
    )
    first = record.signals[0]
    note = f"A signal fires at an evidence of {significant(first.threshold)}. Last: mean of the last ten windows."
    return Grid("Signals without a judge", columns, rows, note=note)


def _windows(record: WatchRecord) -> Grid | None:
    columns = tuple(
        Column(label) for label in ("Steps", "Answers", "Reward", "Spread", "Above the reference, %", "Words", "KL")
    )
    rows = tuple(
        (
            _steps(one),
            count(one.answers),
            significant(one.reward_mean),
            significant(one.reward_std),
            percent(one.above),
            decimal(one.length_mean, 1),
            significant(one.kl_mean),
        )
        for one in _thinned(record.windows)
    )
    note = _thin_note(record.windows).strip()
    return Grid("Windows", columns, rows, note=note, folded="All windows that are shown") if rows else None


def _steps(window: WatchWindow) -> Number:
    text = f"{window.first:,}" if window.first == window.last else f"{window.first:,} to {window.last:,}"
    return Number(window.last, text if window.counted else f"{text} (open)")


def _thinned(rows: Sequence[T]) -> Sequence[T]:
    """At most twenty, evenly; the last among them."""
    if len(rows) <= _ROWS:
        return rows
    places = sorted({round(place * (len(rows) - 1) / (_ROWS - 1)) for place in range(_ROWS)})
    return [rows[place] for place in places]


def _thin_note(rows: Sequence[object]) -> str:
    return f" {_ROWS} of {len(rows):,} are shown; all are in watch.json." if len(rows) > _ROWS else ""


def _examples(record: WatchRecord) -> Grid | None:
    columns = (
        Column("Step"),
        Column("Prompt", "words"),
        Column("Answer of now", "words"),
        Column("Answer of the reference", "words"),
        *(Column(label) for label in ("Reward, now", "Reward, reference", "Won by quality")),
    )
    rows = tuple(
        (
            count(one.step),
            visible(one.prompt[-1][1] if one.prompt else "", _SHOWN),
            visible(one.answer, _SHOWN),
            visible(one.reference_answer, _SHOWN),
            significant(one.reward),
            significant(one.reference_reward),
            significant(one.quality_win),
        )
        for one in record.examples
    )
    return Grid("Disputed pairs: more reward, and not better", columns, rows) if rows else None
