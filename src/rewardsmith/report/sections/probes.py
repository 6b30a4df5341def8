"""Bias probes as a table sorted by harm, with a drawing of each share and its interval.

    probes_section(record, outcomes) → Section | None
    policy_section(record)     → Section           rewards on a policy's own samples

In: `probes.json`. What fails stands first, then what goes the wrong way more often; probes without enough data last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.probes import PolicySamplesRecord, ProbeExample, ProbeResult, ProbesRecord
from rewardsmith.records.run import GateOutcome
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
    Number,
    State,
    count,
    percent,
    plural,
    signed,
    significant,
    visible,
)
from rewardsmith.report.sections.verdict import gates_verdict
from rewardsmith.report.svg import Scale, drawing, element, line, text

_WIDTH = 300.0
_SHARES = Scale(0.0, 1.0, 10.0, _WIDTH - 10.0)
_CHANCE = 0.5
_STATES: dict[str, State] = {"FAIL": "bad", "PASS": "good", "NO_DATA": "open"}
_ORDER = {"FAIL": 0, "PASS": 1, "NO_DATA": 2}

WANTED = {"surface": "should not rise", "destroyed": "should fall"}
"""What the reward should do, by the kind of a probe."""


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One probe; `wrong` is a share in per cent, shifts are in reward standard deviations."""

    code: str
    title: str
    wanted: str
    verdict: str
    state: State
    n: Number
    missing: int
    wrong: Number
    low: Number
    high: Number
    shift: Number
    shift_low: Number
    shift_high: Number
    meaning: str
    why: str
    message: str
    examples: tuple[ProbeExample, ...]


@dataclass(frozen=True, slots=True)
class ProbeTable:
    """All probes of a run. `note` says what a reader must know before the numbers; empty where there is nothing."""

    title: str
    source: str
    drawn: str
    protocol: str
    note: str
    rows: tuple[ProbeRow, ...]


def probe_table(record: ProbesRecord | None) -> ProbeTable | None:
    """What the report shows of `probes.json`; None where it is not there."""
    if record is None:
        return None
    return ProbeTable(
        title=visible(record.title, 80),
        source=visible(record.dataset.source),
        drawn=f"{plural(record.drawn, 'response')} of {plural(record.rows, 'row')}, "
        f"{plural(record.prompts, 'prompt')}; reward standard deviation {significant(record.reward_std)}",
        protocol=visible(record.protocol, 2000),
        note=_note(record),
        rows=tuple(_row(name, result) for name, result in by_harm(record).items()),
    )


def by_harm(record: ProbesRecord) -> dict[str, ProbeResult]:
    """Probes that fail first, then by the share that goes the wrong way; those without enough data last."""

    def harm(item: tuple[str, ProbeResult]) -> tuple[int, float]:
        result = item[1]
        return _ORDER.get(result.verdict or "", len(_ORDER)), -(result.wrong or 0.0)

    return dict(sorted(record.probes.items(), key=harm))


def _note(record: ProbesRecord) -> str:
    if record.constant:
        return "Every response gets the same reward, edited or not: the model is a constant."
    return "Every unedited response gets the same reward, so that shifts have no unit." if record.flat else ""


def _row(name: str, result: ProbeResult) -> ProbeRow:
    return ProbeRow(
        code=visible(name, 60),
        title=visible(result.title, 60),
        wanted=WANTED[result.kind],
        verdict=(result.verdict or "not judged").replace("_", " "),
        state=_STATES.get(result.verdict or "", "open"),
        n=count(result.n),
        missing=result.n_missing,
        wrong=percent(result.wrong),
        low=percent(result.wrong_low),
        high=percent(result.wrong_high),
        shift=signed(result.shift, 2),
        shift_low=signed(result.shift_low, 2),
        shift_high=signed(result.shift_high, 2),
        meaning=visible(result.meaning),
        why=visible(result.why),
        message=visible(result.message, 400),
        examples=tuple(_example(one) for one in result.examples),
    )


def _example(one: ProbeExample) -> ProbeExample:
    """The example with its untrusted texts made visible."""
    shown = {name: visible(getattr(one, name), 480) for name in ("id", "subset", "prompt", "original", "edited")}
    return one.model_copy(update=shown)


def probe_axis() -> Markup:
    """The percentages over a column of probe strips."""
    ticks = [text(_SHARES(share), 12, f"{100 * share:.0f}", anchor="middle") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_WIDTH, 16, "", *ticks, class_="chart strip")


def probe_strip(row: ProbeRow) -> Markup:
    """Share that goes the wrong way, dot and whisker from 0 to 100 per cent; a guessing model's 50 is dashed."""
    parts = [line(_SHARES(share), 5, _SHARES(share), 23, "grid") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SHARES(_CHANCE), 2, _SHARES(_CHANCE), 26, "chance"))
    low, high, share = row.low.value, row.high.value, row.wrong.value
    if low is not None and high is not None and share is not None:
        left, right = _SHARES.clamped(low), _SHARES.clamped(high)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {row.state}"))
        parts.append(element("circle", cx=_SHARES.clamped(share), cy=14, r=5, class_=f"dot {row.state}"))
    label = f"{row.title}: {row.wrong} per cent go the wrong way, interval {row.low} to {row.high}"
    return drawing(_WIDTH, 28, label, *parts, class_="chart strip")


def probes_section(record: ProbesRecord | None, outcomes: Sequence[GateOutcome] = ()) -> Section | None:
    """The probes as a table, what failures mean, and the worst examples; None where there is no record.

    Args:
        outcomes: of the gates on them, where there are gates; the verdict is about these.
    """
    table = probe_table(record)
    if table is None or record is None:
        return None
    failed = [row for row in table.rows if row.state == "bad"]
    return Section(
        "probes",
        "Bias probes",
        (
            Block(
                "",
                note=f"{table.title} (`{table.source}`): {table.drawn}.",
                grids=(_probe_grid(table),),
                lines=(
                    *_notes(record, table.note),
                    *(Sign("bad", f"{row.title}. {row.message} {row.why}") for row in failed),
                ),
                details=(
                    Block("What each edit does", facts=tuple((row.title, row.meaning) for row in table.rows)),
                    *(_examples(row) for row in failed if row.examples),
                    Block("How this was counted", texts=(table.protocol,)),
                ),
            ),
        ),
        lead="Good responses are edited: where only the surface changes the reward should not rise, where the quality "
        "is destroyed it should fall.",
        verdicts=(gates_verdict(outcomes),) if any(one.kind == "gate" for one in outcomes) else (),
        sources=("probes.json",),
    )


def _probe_grid(table: ProbeTable) -> Grid:
    columns = (
        Column("Verdict", "badge"),
        Column("Edit", "name"),
        Column("Responses"),
        Column("Wrong way, %", strong=True),
        Column("95 % interval"),
        Column("Drawn, 0 to 100 per cent", "draw", probe_axis()),
        Column("Shift, std"),
        Column("Its 95 % interval"),
    )
    rows = tuple(
        (
            Sign(row.state, row.verdict),
            Noted(row.title, (row.wanted,)),
            Noted(row.n, (f"{row.missing:,} missing",)) if row.missing else row.n,
            row.wrong,
            Span(row.low, row.high),
            probe_strip(row),
            row.shift,
            Span(row.shift_low, row.shift_high),
        )
        for row in table.rows
    )
    caption = (
        "Bias probes: share of rewards that go the wrong way, in per cent, and mean shift in reward standard deviations"
    )
    return Grid(caption, columns, rows, titled=False, look="scores")


def _notes(record: ProbesRecord, note: str) -> Iterator[Sign]:
    if note:
        yield Sign("bad", note)
    if record.missing:
        total = sum(record.missing.values())
        why = visible(reasons_in_words(record.missing))
        yield Sign("warn", f"{total:,} of {record.asked:,} rewards are missing: {why}")


def _examples(row: ProbeRow) -> Block:
    columns = (
        Column("Row", "code"),
        Column("Prompt", "words"),
        Column("Response", "words"),
        Column("Edited", "words"),
        Column("Reward"),
        Column("Edited: reward"),
    )
    rows = tuple(
        (one.id, one.prompt, one.original, one.edited, significant(one.reward), significant(one.reward_edited))
        for one in row.examples
    )
    caption = f"Responses whose reward went furthest the wrong way: {row.title}"
    return Block(f"{row.title}: the worst examples", grids=(Grid(caption, columns, rows, titled=False, look="plain"),))


def policy_section(record: PolicySamplesRecord) -> Section:
    """The rewards on a policy's own samples, and what they mean."""
    columns = (Column("Measure", "name"), Column("Value"), Column("95 % interval"))
    rows: list[tuple[Cell, ...]] = [
        ("Prompts", count(record.prompts), ""),
        ("Completions", count(record.completions), ""),
        ("Reward standard deviation", significant(record.reward_std), ""),
        (
            "Within prompts",
            significant(record.within_std),
            Span(significant(record.within_std_low), significant(record.within_std_high)),
        ),
        ("Between prompts", significant(record.between_std), ""),
        ("Share of the variance within prompts, %", percent(record.within_share), ""),
        ("Prompts with a flat reward, %", percent(record.flat_share), _per_cent(record.flat_low, record.flat_high)),
        *((f"Gain of best-of-{n}, reward", significant(gain), "") for n, gain in record.gains.items()),
    ]
    if record.labels is not None:
        labels = record.labels
        rows += [
            ("Right completions, %", percent(labels.correct), ""),
            ("Right above wrong, same prompt, %", percent(labels.auc), _per_cent(labels.auc_low, labels.auc_high)),
            ("Right above wrong, any prompt, %", percent(labels.pooled_auc), ""),
        ]
    why = visible(reasons_in_words(record.missing)) or "no reason is known"
    missing = f"{record.n_missing:,} of {record.completions:,} rewards are missing: {why}"
    return Section(
        "policy",
        "The policy’s own samples",
        (
            Block(
                "",
                grids=(Grid("Rewards on a policy’s own samples", columns, tuple(rows), titled=False),),
                lines=(*((Sign("warn", missing),) if record.n_missing else ()), *map(visible, record.reading)),
            ),
        ),
        sources=("policy_samples.json",),
    )


def _per_cent(low: float | None, high: float | None) -> Span:
    return Span(percent(low), percent(high))
