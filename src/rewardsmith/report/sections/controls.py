"""Negative controls beside the model: what changed data gave, and where theory puts it.

    controls_section(record) → Section | None      for both pages and for the terminal

In: `controls.json`.
"""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from rewardsmith.records.controls import ControlName, ControlResult, ControlsRecord
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Section, Sign, Span, rate, rate_axis, rate_strip
from rewardsmith.report.formatting import State, count, percent, plural, visible

CHANCE = 0.5
TITLES: dict[ControlName, str] = {
    "labels_swapped": "Labels swapped",
    "labels_shuffled": "Labels shuffled",
    "prompts_removed": "Prompts removed",
    "prompts_exchanged": "Prompts of other pairs",
}


def controls_section(record: ControlsRecord | None) -> Section | None:
    """The section; None where no controls were made."""
    if record is None:
        return None
    outside = [one for one in record.controls if one.outside]
    word = (
        Sign("warn", f"{len(outside)} of {len(record.controls)} controls are outside of what theory allows.")
        if outside
        else Sign("good", f"All {len(record.controls)} controls are where theory puts them.")
    )
    columns = (
        Column("Model", "name"),
        Column("Changed", "words"),
        Column("Pairs"),
        Column("Accuracy, %", strong=True),
        Column("95 % interval"),
        Column("Drawn, 0 to 100 per cent", "draw", rate_axis()),
        Column("Theory", "words"),
        Column("Reading", "words"),
    )
    rows = (
        _row("This model", "nothing, all training pairs", record.model),
        _row("Reference", "nothing, this share", record.reference),
        *(_control(one) for one in record.controls),
    )
    grid = Grid("Accuracy on the held-out pairs, by their own labels", columns, rows, titled=False, look="scores")
    return Section(
        anchor="controls",
        title="Negative controls",
        blocks=(
            Block(
                "",
                note=f"Each is trained on {percent(record.share)} % of the training prompts "
                f"({plural(record.pairs, 'pair')}, seed {record.seed}), or is the reference asked otherwise. A "
                f"control is flagged where it lies outside by surely more than {100 * record.tolerance:g} points, "
                "which another seed moves it by.",
                grids=(grid,),
                lines=tuple(_lines(record)),
            ),
        ),
        lead="The same training on data from which nothing, or a known thing, can be learnt: does the score come from "
        "where it should?",
        verdicts=(word,),
        sources=("controls.json",),
    )


def outside_in_words(record: ControlsRecord | None) -> Iterator[str]:
    """A sentence for each control that is outside, for the verdict."""
    for one in record.controls if record else ():
        if one.outside:
            found = f"{_share(one.accuracy)} where theory has {one.expected}"
            yield f"Control, {TITLES[one.name].lower()}: {found}. {one.text}"


def _lines(record: ControlsRecord) -> Iterator[Sign | str]:
    if record.note:
        yield Sign("warn", visible(record.note, 400))
    if record.blind is not None:
        share = percent(record.blind)
        yield f"The data check's best classifier without prompts is right in {share} % of training pairs."
    for one in record.controls:
        if one.left_out:
            lost = plural(one.left_out, "training pair")
            yield f"{TITLES[one.name]}: {lost} could not be rendered and were left out."


def _row(
    name: str, changed: str, share: PairShare, state: State = "open", theory: str = "", reading: Cell = ""
) -> tuple[Cell, ...]:
    low, high = share.ci_low or 0.0, 1.0 if share.ci_high is None else share.ci_high
    drawn: Markup | str = ""
    if share.accuracy is not None:
        drawn = rate_strip(rate(name, share.n, share.accuracy, (low, high), state), 1.0, CHANCE)
    span = Span(percent(share.ci_low), percent(share.ci_high))
    return (name, changed, count(share.n), percent(share.accuracy), span, drawn, theory, reading)


def _control(one: ControlResult) -> tuple[Cell, ...]:
    state: State = "warn" if one.outside else "good"
    reading = Sign(state, visible(one.text, 400))
    return _row(TITLES[one.name], visible(one.changed, 200), one.accuracy, state, visible(one.expected, 200), reading)


def _share(share: PairShare) -> str:
    return f"{percent(share.accuracy)} % ({percent(share.ci_low)} to {percent(share.ci_high)})"
