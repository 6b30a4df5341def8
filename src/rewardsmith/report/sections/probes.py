"""Bias probes as a table sorted by harm, with a drawing of each share and its interval.

    probes_section(record, outcomes) → Section | None
    policy_section(record)     → Section           rewards on a policy's own samples

In: `probes.json`. What fails stands first, then what goes the wrong way more often; probes without enough data last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup

from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.probes import PolicySamplesRecord, ProbeResult, ProbesRecord
from rewardsmith.records.run import GateOutcome
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import (
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


def by_harm(record: ProbesRecord) -> dict[str, ProbeResult]:
    """Probes that fail first, then by the share that goes the wrong way; those without enough data last."""

    def harm(item: tuple[str, ProbeResult]) -> tuple[int, float]:
        result = item[1]
        return _ORDER.get(result.verdict or "", len(_ORDER)), -(result.wrong or 0.0)

    return dict(sorted(record.probes.items(), key=harm))


def _state(result: ProbeResult) -> State:
    return _STATES.get(result.verdict or "", "open")


def _title(result: ProbeResult) -> str:
    return visible(result.title, 60)


def probe_axis() -> Markup:
    """The percentages over a column of probe strips."""
    ticks = [text(_SHARES(share), 12, f"{100 * share:.0f}", anchor="middle") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_WIDTH, 16, "", *ticks, class_="chart strip")


def probe_strip(result: ProbeResult) -> Markup:
    """Share that goes the wrong way, dot and whisker from 0 to 100 per cent; a guessing model's 50 is dashed."""
    parts = [line(_SHARES(share), 5, _SHARES(share), 23, "grid") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SHARES(_CHANCE), 2, _SHARES(_CHANCE), 26, "chance"))
    low, high, share = result.wrong_low, result.wrong_high, result.wrong
    if low is not None and high is not None and share is not None:
        left, right = _SHARES.clamped(low), _SHARES.clamped(high)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {_state(result)}"))
        parts.append(element("circle", cx=_SHARES.clamped(share), cy=14, r=5, class_=f"dot {_state(result)}"))
    interval = f"{percent(low)} to {percent(high)}"
    label = f"{_title(result)}: {percent(share)} per cent go the wrong way, interval {interval}"
    return drawing(_WIDTH, 28, label, *parts, class_="chart strip")


def probes_section(record: ProbesRecord | None, outcomes: Sequence[GateOutcome] = ()) -> Section | None:
    """The probes as a table, what failures mean, and the worst examples; None where there is no record.

    Args:
        outcomes: of the gates on them, where there are gates; the verdict is about these.
    """
    if record is None:
        return None
    probes = by_harm(record).values()
    failed = [result for result in probes if _state(result) == "bad"]
    drawn = (
        f"{plural(record.drawn, 'response')} of {plural(record.rows, 'row')}, "
        f"{plural(record.prompts, 'prompt')}; reward standard deviation {significant(record.reward_std)}"
    )
    return Section(
        "probes",
        "Bias probes",
        (
            Block(
                "",
                note=f"{visible(record.title, 80)} (`{visible(record.dataset.source)}`): {drawn}.",
                grids=(_probe_grid(probes),),
                lines=(
                    *_notes(record),
                    *(
                        Sign("bad", f"{_title(result)}. {visible(result.message, 400)} {visible(result.why)}")
                        for result in failed
                    ),
                ),
                details=(
                    Block(
                        "What each edit does",
                        facts=tuple((_title(result), visible(result.meaning)) for result in probes),
                    ),
                    *(_examples(result) for result in failed if result.examples),
                    Block("How this was counted", texts=(visible(record.protocol, 2000),)),
                ),
            ),
        ),
        lead="Good responses are edited: where only the surface changes the reward should not rise, where the quality "
        "is destroyed it should fall.",
        verdicts=(gates_verdict(outcomes),) if any(one.kind == "gate" for one in outcomes) else (),
        sources=("probes.json",),
    )


def _probe_grid(probes: Iterable[ProbeResult]) -> Grid:
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
            Sign(_state(result), (result.verdict or "not judged").replace("_", " ")),
            Noted(_title(result), (WANTED[result.kind],)),
            Noted(count(result.n), (f"{result.n_missing:,} missing",)) if result.n_missing else count(result.n),
            percent(result.wrong),
            Span(percent(result.wrong_low), percent(result.wrong_high)),
            probe_strip(result),
            signed(result.shift, 2),
            Span(signed(result.shift_low, 2), signed(result.shift_high, 2)),
        )
        for result in probes
    )
    caption = (
        "Bias probes: share of rewards that go the wrong way, in per cent, and mean shift in reward standard deviations"
    )
    return Grid(caption, columns, rows, titled=False, look="scores")


def _notes(record: ProbesRecord) -> Iterator[Sign]:
    if record.constant:
        yield Sign("bad", "Every response gets the same reward, edited or not: the model is a constant.")
    elif record.flat:
        yield Sign("bad", "Every unedited response gets the same reward, so that shifts have no unit.")
    if record.missing:
        total = sum(record.missing.values())
        why = visible(reasons_in_words(record.missing))
        yield Sign("warn", f"{total:,} of {record.asked:,} rewards are missing: {why}")


def _examples(result: ProbeResult) -> Block:
    columns = (
        Column("Row", "code"),
        Column("Prompt", "words"),
        Column("Response", "words"),
        Column("Edited", "words"),
        Column("Reward"),
        Column("Edited: reward"),
    )
    rows = tuple(
        (
            visible(one.id, 480),
            visible(one.prompt, 480),
            visible(one.original, 480),
            visible(one.edited, 480),
            significant(one.reward),
            significant(one.reward_edited),
        )
        for one in result.examples
    )
    caption = f"Responses whose reward went furthest the wrong way: {_title(result)}"
    title = f"{_title(result)}: the worst examples"
    return Block(title, grids=(Grid(caption, columns, rows, titled=False, look="plain"),))


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
