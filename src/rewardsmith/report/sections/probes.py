"""Bias probes as a table sorted by harm, with a drawing of each share and its interval.

    probe_table(record)        → ProbeTable | None
    by_harm(record)            probes in the order in which they are shown
    probe_strip(row), probe_axis()                 drawings; the page has templates/probes.html.j2
    probe_lines(table, signs)  → Markdown lines

In: `probes.json`. What fails stands first, then what goes the wrong way more often; probes without enough data last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from rewardsmith.records.probes import ProbeExample, ProbeResult, ProbesRecord
from rewardsmith.report.formatting import (
    Number,
    as_table,
    code,
    count,
    decimal,
    percent,
    plural,
    prose,
    significant,
    visible,
)
from rewardsmith.report.sections.scores import State
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
    left_out: int
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
        left_out=result.n_not_applicable,
        wrong=percent(result.wrong),
        low=percent(result.wrong_low),
        high=percent(result.wrong_high),
        shift=decimal(result.shift),
        shift_low=decimal(result.shift_low),
        shift_high=decimal(result.shift_high),
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


def probe_lines(table: ProbeTable, signs: Mapping[State, str]) -> Iterator[str]:
    """The same as Markdown."""
    yield from ("## Bias probes", "", f"{prose(table.title)} ({code(table.source)}): {prose(table.drawn)}.", "")
    if table.note:
        yield from (prose(table.note), "")
    yield from as_table(
        ["Verdict", "Edit", "Reward", "Responses", "Wrong way, %", "95 % interval", "Shift, std", "95 % interval"],
        [
            [
                f"{signs[row.state]} {row.verdict}",
                prose(row.title),
                row.wanted,
                f"{row.n} ({row.missing} missing)" if row.missing else row.n.text,
                row.wrong.text,
                f"{row.low} to {row.high}",
                row.shift.text,
                f"{row.shift_low} to {row.shift_high}",
            ]
            for row in table.rows
        ],
        right=range(3, 8),
    )
    failed = [row for row in table.rows if row.state == "bad"]
    if failed:
        yield ""
        yield from (f"- **{prose(row.title)}.** {prose(row.message)} {prose(row.why)}" for row in failed)
    yield from ("", f"How this was counted: {prose(table.protocol)}")
