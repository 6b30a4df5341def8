"""Shortcuts, ready to be shown: how much of the label can be told without reading the prompt.

    shortcuts_block(record) → Block

In: the section `shortcuts` of check.json. Words, sources and subsets come from users.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.records.data_shortcuts import (
    BlindModel,
    FeatureRule,
    Grade,
    GroupRules,
    LengthRule,
    LoneRule,
    ShortcutsRecord,
    WordRule,
)
from rewardsmith.report.blocks import Block, Cell, Column, Grid, rate_grid
from rewardsmith.report.formatting import count, decimal, percent, plural, visible
from rewardsmith.report.scores import State
from rewardsmith.report.strips import Rate, rate, rate_axis, rate_strip

_CHANCE = 0.5
_OPEN = 12  # rows; a longer table is folded
_WORDS_SHOWN = 20
_STATES: dict[Grade, State] = {"strong": "bad", "weak": "warn", "": "open"}


def shortcuts_block(record: ShortcutsRecord) -> Block:
    """The ceiling of what a model can learn for the wrong reason, and the rules behind it."""
    best = max(record.models, key=lambda one: one.accuracy.value, default=None)
    return Block(
        title="Shortcuts",
        reading=_reading(best) if best else visible(record.models_left_out),
        state=_STATES[best.grade] if best else "open",
        note="Accuracy of rules that never read the prompt, among the pairs whose two responses differ in it; chance "
        "is 50 %. What such a rule predicts, a reward model can learn for the wrong reason.",
        grids=(
            *([_blind(record)] if record.models else []),
            *([_by_source(best)] if best and len(best.by_source) > 1 else []),
            *_lengths(record),
            *_features(record.features),
            *([_words(record)] if record.words or record.openings else []),
        ),
        source="check.json",
    )


def _reading(best: BlindModel) -> str:
    found = best.accuracy
    return (
        f"A classifier that reads {visible(best.reads)} and no prompt predicts {percent(found.value)} % of the labels "
        f"({percent(found.ci_low)} to {percent(found.ci_high)}); chance is 50 %."
    )


def _blind(record: ShortcutsRecord) -> Grid:
    rates = [
        rate(
            f"reads {one.reads}",
            record.sampled,
            one.accuracy.value,
            (one.accuracy.ci_low, one.accuracy.ci_high),
            _STATES[one.grade],
        )
        for one in record.models
    ]
    caption = f"Classifiers that never read the prompt, cross-validated in {record.folds} folds of prompts"
    return rate_grid(caption, "Classifier", rates, value="Labels predicted, %", chance=_CHANCE)


def _by_source(best: BlindModel) -> Grid:
    rates = [
        rate(
            one.source,
            one.pairs,
            one.accuracy.value,
            (one.accuracy.ci_low, one.accuracy.ci_high),
            _STATES[one.grade],
            one.grade,
        )
        for one in best.by_source
    ]
    caption = f"The classifier that reads {best.reads}, per source"
    folded = f"The same per source: {plural(len(rates), 'source')}" if len(rates) > _OPEN else ""
    return rate_grid(caption, "Source", rates, value="Labels predicted, %", chance=_CHANCE, folded=folded)


def _lengths(record: ShortcutsRecord) -> list[Grid]:
    """The length rule in every unit and per source; per subset and by how much longer, folded."""
    units = [_rule(f"all, in {one.unit}", one.rule, one.grade) for one in record.lengths]
    unit = next((one.unit for one in reversed(record.lengths)), "words")
    sources = _groups(record.sources, unit) if len(record.sources) > 1 else []
    subsets = _groups(record.subsets, unit)
    longest = next((one for one in record.lengths if one.unit == unit), None)
    found = [
        _rules("The length rule: the longer response is chosen", "Pairs", [*units, *sources]),
        _rules(f"The length rule per subset, in {unit}", "Subset", subsets, folded="Per subset"),
        _rules(
            f"The length rule by how much longer, in {unit}", "Longer by", _bins(longest), folded="By how much longer"
        ),
    ]
    return [grid for grid in found if grid.rows]


def _groups(groups: Sequence[GroupRules], unit: str) -> list[Rate]:
    return [
        _rule(" · ".join(part for part in (one.source, one.subset) if part), one.rules[unit], one.grades.get(unit, ""))
        for one in groups
        if unit in one.rules
    ]


def _bins(length: LengthRule | None) -> list[Rate]:
    bins = length.bins if length else ()
    return [
        _rule(f"{one.low:g} to {one.high:g} times" if one.high else f"more than {one.low:g} times", one.rule, "")
        for one in bins
    ]


def _rule(name: str, rule: LoneRule, grade: Grade) -> Rate:
    """A lone rule as a rate; where no pair differs there is no accuracy."""
    differing = rule.more + rule.less
    if rule.accuracy is None or rule.ci_low is None or rule.ci_high is None:
        return Rate(visible(name, 80), count(differing), percent(None), percent(None), percent(None))
    return rate(name, differing, rule.accuracy, (rule.ci_low, rule.ci_high), _STATES[grade], grade)


def _rules(caption: str, what: str, rates: Sequence[Rate], folded: str = "") -> Grid:
    return rate_grid(
        caption,
        what,
        rates,
        value="Right, %",
        n="Pairs that differ",
        chance=_CHANCE,
        folded=folded if len(rates) else "",
    )


def _features(features: Sequence[FeatureRule]) -> list[Grid]:
    """Each surface feature as a lone rule, the strongest evidence first."""
    columns = (
        Column("The response with more …", "name"),
        Column("Have it: chosen, %"),
        Column("rejected, %"),
        Column("Pairs that differ"),
        Column("Right, %"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis()),
        Column("At equal length, %"),
    )
    rows = tuple(_feature(one) for one in features if one.rule.accuracy is not None)
    caption, rest = "Surface features as lone rules, the strongest evidence first", len(rows) - _OPEN
    note = "At equal length: by a regression on the feature and length; 50 for what only stands for length."
    found = [
        Grid(caption, columns, rows[:_OPEN], note=note),
        Grid("The other surface features", columns, rows[_OPEN:], folded=f"{plural(rest, 'other surface feature')}"),
    ]
    return [grid for grid in found if grid.rows]


def _feature(one: FeatureRule) -> tuple[Cell, ...]:
    found = _rule(one.meaning, one.rule, one.grade)
    equal = one.at_equal_length
    return (
        found.name,
        percent(one.chosen_share),
        percent(one.rejected_share),
        found.n,
        found.value,
        f"{found.low} to {found.high}",
        rate_strip(found, 1.0, _CHANCE),
        percent(equal.value if equal else None),
    )


def _words(record: ShortcutsRecord) -> Grid:
    """Words and openings with the strongest evidence, folded: they are texts of the data."""
    ranked = sorted((*record.words, *record.openings), key=lambda one: -abs(one.z))[:_WORDS_SHOWN]
    columns = (
        Column("The response with …", "code"),
        Column("As", "words"),
        Column("Pairs that differ"),
        Column("Right, %"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis()),
        Column("z"),
    )
    compared = plural(record.words_compared, "word")
    return Grid(
        "Words and openings as lone rules, the strongest evidence first",
        columns,
        tuple(_word(one) for one in ranked),
        folded=f"The {len(ranked)} words and openings with the strongest evidence, of {compared} compared",
    )


def _word(one: WordRule) -> tuple[Cell, ...]:
    found = _rule(one.text, one.rule, one.grade)
    return (
        visible(one.text, 60),
        "opening" if one.opening else "word",
        found.n,
        found.value,
        f"{found.low} to {found.high}",
        rate_strip(found, 1.0, _CHANCE),
        decimal(one.z, 1),
    )
