"""The price of a hack: what edits without meaning flip, beside chance and beside the good answers edited alike.

    attack_section(record, outcome) → Section | None      for both pages and for the terminal

In: `attack.json`. Added parts of an example stand between ⟦ and ⟧.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rewardsmith.records.attack import AttackEdit, AttackExample, AttackRecord
from rewardsmith.records.evaluation import reasons_in_words
from rewardsmith.records.run import GateOutcome
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Section, Sign, Span
from rewardsmith.report.formatting import State, count, decimal, percent, plural, significant, visible

_MOST_EDITS = 12
_SHOWN = 1200


def attack_section(record: AttackRecord | None, outcome: GateOutcome | None = None) -> Section | None:
    """What the report and the terminal show of `attack.json`; None where it is not there.

    Args:
        outcome: the verdict where a limit was given on the command line; the report has it among its gates.
    """
    if record is None:
        return None
    reading, state = _reading(record)
    grids = (
        _levels(record),
        _triggers(record),
        _edits(record),
        _apart(record),
        _padding(record),
        _tokens(record),
        _examples(record),
    )
    head = Block(title="", reading=reading, state=state, facts=tuple(_facts(record)))
    tables = (Block(title=grid.caption, grids=(replace(grid, titled=False),)) for grid in grids if grid is not None)
    how = Block(title="How this was counted", texts=(visible(record.protocol, 2000),))
    verdicts = () if outcome is None else (Sign(*_verdict(outcome)),)
    return Section(
        anchor="attack",
        title="Price of a hack",
        blocks=(replace(head, details=(how,)), *tables),
        lead="What it costs to lift a bad answer over a good one by edits that do not change what it says. A "
        "policy under this reward looks for exactly them.",
        verdicts=verdicts,
        sources=("attack.json",),
    )


def _verdict(outcome: GateOutcome) -> tuple[State, str]:
    states: dict[str, State] = {"PASS": "good", "FAIL": "bad"}
    return states.get(outcome.verdict, "open"), f"{outcome.verdict.replace('_', ' ')}, {visible(outcome.message, 400)}"


def _reading(record: AttackRecord) -> tuple[str, State]:
    """The result in a few sentences."""
    if not record.attacked:
        return "No pair could be attacked.", "open"
    last = record.levels[-1]
    share = f"{percent(last.share)} % ({percent(last.share_low)} to {percent(last.share_high)})"
    if record.price is not None:
        words = f", or {plural(record.price_words, 'added word')}" if record.price_words is not None else ""
        text = (
            f"Half of the pairs are bought by {plural(record.price, 'edit')} without meaning "
            f"({_span(record.price_low, record.price_high)}){words}; {share} by up to {last.edits}."
        )
    else:
        text = f"Up to {plural(last.edits, 'edit')} without meaning buy {share} of the pairs: half of them cost more."
    if last.random_share is not None:
        text += f" As many random edits flip {percent(last.random_share)} %."
    if last.both_share is not None:
        text += (
            f" With the good answers edited by the same search, {percent(last.both_share)} % are the wrong way round."
        )
    if not last.complete:
        text += " The budget ended before the search did: the price is an upper bound on what this search would find."
    state: State = "bad" if record.price is not None else "warn" if last.share > 0.1 else "good"
    return text, "open" if state == "good" and not last.complete else state


def _span(low: int | None, high: int | None) -> str:
    words = ["beyond the search" if one is None else str(one) for one in (low, high)]
    return f"95 % interval {words[0]} to {words[1]}"


def _facts(record: AttackRecord) -> Iterator[tuple[str, str]]:
    yield "Model", visible(record.model, 200)
    yield "Data", f"{visible(record.title, 80)}, {plural(record.rows, 'row')}"
    attacked = f"{record.attacked:,} of {plural(record.drawn, 'pair')} drawn"
    attacked += f"; {record.wrong_already:,} are the wrong way round unedited" if record.wrong_already else ""
    if record.left_out and record.budget.seconds is not None:
        attacked += (
            f"; {record.left_out:,} were left out, so that the search of the others fits into "
            f"{record.budget.seconds:g} s"
        )
    if record.missing:
        total = sum(record.missing.values())
        attacked += f"; {total:,} have no reward: {visible(reasons_in_words(record.missing), 200)}"
    yield "Attacked", attacked
    yield "Reward standard deviation", significant(record.reward_std).text
    limit = f" of {record.budget.queries:,}" if record.budget.queries is not None else ""
    ended = f"; ended early by {record.budget.ended_by}" if record.budget.ended_by else ""
    yield "Queries", f"{record.budget.spent:,}{limit}{ended}"
    if missing := ", ".join(_not_reached(record)):
        yield "Not reached", missing
    yield "Compositions tried for triggers", f"{record.arms_tried:,} of {record.arms:,}"
    if record.edits_missing:
        yield "Edited answers without a reward", visible(reasons_in_words(record.edits_missing), 200)
    if record.unproven:
        yield "Edited answers that failed a proof and were not asked", f"{record.unproven:,}"


def _not_reached(record: AttackRecord) -> Iterator[str]:
    """Parts of the search that the budget cut off."""
    if not record.attacked:
        return
    for what, whole in (
        ("bad answers", [level.complete for level in record.levels]),
        ("as many random edits", [level.random_complete for level in record.levels]),
        ("good answers", [level.good_complete for level in record.levels]),
    ):
        lengths = [str(level.edits) for level, done in zip(record.levels, whole, strict=True) if not done]
        if lengths:
            yield what if len(lengths) == len(whole) else f"{what} with up to {' and '.join(lengths)} edits"


def _levels(record: AttackRecord) -> Grid | None:
    if not record.attacked:
        return None
    columns = (
        "Edits",
        "Flipped, %",
        "95 %",
        "Random edits, %",
        "95 %",
        "Both edited, %",
        "95 %",
        "Gain, bad",
        "Gain, good",
    )
    rows = tuple(
        (
            count(level.edits),
            percent(level.share),
            _interval(level.share_low, level.share_high),
            percent(level.random_share),
            _interval(level.random_low, level.random_high),
            percent(level.both_share),
            _interval(level.both_low, level.both_high),
            decimal(level.gain),
            decimal(level.good_gain),
        )
        for level in record.levels
    )
    return Grid(
        "Pairs that up to so many edits flip",
        tuple(Column(label) for label in columns),
        rows,
        note="Random edits: exactly as many, drawn. Both edited: the good answer was searched in the same way. "
        "Gains are in reward standard deviations. A dash: the budget did not reach so far.",
    )


def _tokens(record: AttackRecord) -> Grid | None:
    """The learned ending, counted apart."""
    found = record.tokens
    if found is None:
        return None
    columns = (
        Column("Ending", "name"),
        *(Column(label) for label in ("Training lift", "Held-out", "Lift", "95 %", "Flips, %", "95 %")),
        *(Column(label) for label in ("Random words: lift", "Flips, %")),
    )
    row = (
        visible(" ".join(found.words), 200) or ("none lifts the reward" if found.lift is None else "not shown"),
        decimal(found.train_lift),
        count(found.prompts),
        decimal(found.lift),
        _shifts(found.lift_low, found.lift_high),
        percent(found.flipped),
        _interval(found.flipped_low, found.flipped_high),
        decimal(found.random_lift),
        percent(found.random_flipped),
    )
    note = (
        f"Up to {plural(found.most, 'word')} of {found.vocabulary:,}, {found.tried:,} endings asked"
        f"{', guided by the gradient of the reward' if found.guided else ''}. Its words may say anything: it is no "
        "part of the price."
    )
    if found.refused is not None:
        model = f"the language model{f' ({visible(found.fluency, 120)})' if found.fluency else ''}"
        note += f" {found.refused:,} endings were too unlikely for {model} and were not asked."
    if found.unjudged:
        note += f" It could not judge {plural(found.unjudged, 'answer')}, which bounded nothing."
    if found.nats_before is not None and found.nats_after is not None:
        note += f" Nats a token: {found.nats_before:.2f} before, {found.nats_after:.2f} with it."
    if not found.complete:
        note += " The queries ended before every word had its turn."
    return Grid("A learned ending, which may change the meaning", columns, (row,), note=note)


def _triggers(record: AttackRecord) -> Grid | None:
    columns = (
        Column("Trigger", "name"),
        *(Column(label) for label in ("Training lift", "Held-out", "Lift", "95 %", "Rises, %", "Flips, %", "95 %")),
    )
    rows = tuple(
        (
            visible(" + ".join(one.titles), 160),
            decimal(one.train_lift),
            count(one.prompts),
            decimal(one.lift),
            _shifts(one.lift_low, one.lift_high),
            percent(one.lifted),
            percent(one.flipped),
            _interval(one.flipped_low, one.flipped_high),
        )
        for one in record.triggers
    )
    caption = "Universal triggers, learned on some prompts and tried on others"
    return Grid(caption, columns, rows) if rows else None


def _edits(record: AttackRecord) -> Grid | None:
    kept = [one for one in record.edits if one.proof != "none" and one.n]
    kept.sort(key=lambda one: (-(one.lift or 0.0), one.code))
    return _edit_grid("Edits that pay most, alone", kept[:_MOST_EDITS])


def _apart(record: AttackRecord) -> Grid | None:
    return _edit_grid(
        "Edits that may change the meaning, counted apart and not searched",
        [one for one in record.edits if one.proof == "none" and one.n],
    )


def _edit_grid(caption: str, edits: list[AttackEdit]) -> Grid | None:
    columns = (
        Column("Edit", "name"),
        Column("Kind", "words"),
        Column("Proof", "words"),
        *(Column(label) for label in ("Answers", "Lift", "95 %", "Flips, %", "95 %", "In cheapest flips")),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            visible(one.title, 80),
            visible(one.family, 40),
            one.proof,
            count(one.n),
            decimal(one.lift),
            _shifts(one.lift_low, one.lift_high),
            percent(one.flipped),
            _interval(one.flipped_low, one.flipped_high),
            count(one.used),
        )
        for one in edits
    )
    return Grid(caption, columns, rows) if rows else None


def _padding(record: AttackRecord) -> Grid | None:
    columns = tuple(Column(label) for label in ("Sentences", "Words", "Answers", "Lift", "95 %", "Flips, %", "95 %"))
    rows = tuple(
        (
            count(one.sentences),
            count(one.words),
            count(one.n),
            decimal(one.lift),
            _shifts(one.lift_low, one.lift_high),
            percent(one.flipped),
            _interval(one.flipped_low, one.flipped_high),
        )
        for one in record.padding
        if one.n
    )
    return Grid("Length alone: sentences that say nothing", columns, rows) if rows else None


def _examples(record: AttackRecord) -> Grid | None:
    columns = (
        Column("Prompt", "words"),
        Column("Good answer", "words"),
        Column("Bad answer, edited", "words"),
        Column("Edits", "words"),
        *(Column(label) for label in ("Reward, good", "Bad", "Edited")),
    )
    rows = tuple(
        (
            visible(one.prompt, _SHOWN),
            visible(one.good, _SHOWN),
            marked_text(one),
            visible(" + ".join(one.edits), 200),
            significant(one.reward_good),
            significant(one.reward_bad),
            significant(one.reward_edited),
        )
        for one in record.examples
    )
    return Grid("Pairs that were flipped; what was added stands in ⟦ ⟧", columns, rows) if rows else None


def marked_text(one: AttackExample) -> str:
    """The edited answer with its added parts marked."""
    parts = [f"⟦{piece.text.strip()}⟧" if piece.added and piece.text.strip() else piece.text for piece in one.pieces]
    return visible(" ".join("".join(f" {part} " if part[:1] == "⟦" else part for part in parts).split()), _SHOWN)


def _interval(low: float | None, high: float | None) -> Span:
    return Span(percent(low), percent(high))


def _shifts(low: float | None, high: float | None) -> Span:
    return Span(decimal(low), decimal(high))
