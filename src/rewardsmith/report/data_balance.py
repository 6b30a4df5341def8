"""What the data are made of, ready to be shown: languages, sources, models, prompts, agreement of labels.

    balance_block(record) → Block

In: the section `balance` of check.json. All names come from users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardsmith.records.data_balance import (
    DataBalance,
    Languages,
    Models,
    NamedCounts,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.report.blocks import Block, Column, Grid, rate_grid
from rewardsmith.report.formatting import count, percent, plural, significant, visible
from rewardsmith.report.scores import State
from rewardsmith.report.strips import bar_strip, rate

_CHANCE = 0.5
_OPEN = 8  # rows; a longer table is folded
_LANGUAGES = {"und": "not sure", "zxx": "no language"}


def balance_block(record: DataBalance) -> Block:
    """Where the pairs come from and how much they differ."""
    named = (
        ("Sources", "Source", record.sources),
        ("Subsets", "Subset", record.subsets),
        ("Annotators", "Annotator", record.annotators),
    )
    grids = [
        *([_languages(record.languages)] if record.languages else []),
        *(_named(caption, what, counts) for caption, what, counts in named if counts and counts.distinct > 1),
        *([_models(record.models)] if record.models else []),
        *([_agreement(record.agreement)] if record.agreement else []),
        _bars("Pairs per prompt", "Pairs", "Prompts", record.prompts.pairs_per_prompt),
        _bars("Turns of the user in a prompt", "Turns", "Pairs", record.turns),
        *([_forms(record.forms)] if len({form for one in record.forms for form in one.forms}) > 1 else []),
    ]
    return Block(
        title="Balance",
        note="An effective number is how many equally frequent ones would be as varied as these are.",
        facts=tuple(_facts(record)),
        grids=tuple(grid for grid in grids if grid.rows),
        source="check.json",
    )


def _facts(record: DataBalance) -> list[tuple[str, str]]:
    prompts = record.prompts
    facts = [
        ("Distinct prompts", f"{count(prompts.distinct)} for {plural(prompts.pairs, 'pair')}"),
        (
            "Effective prompts",
            f"{count(round(prompts.effective))}; {count(round(prompts.effective_simpson))} by squares",
        ),
        ("Most pairs of one prompt", count(prompts.most).text),
        ("Effective sources", significant(record.sources.effective).text),
    ]
    if record.subsets:
        facts.append(("Effective subsets", significant(record.subsets.effective).text))
    if record.models:
        low, high = record.models.rule_ci
        words = f"{percent(record.models.rule_accuracy)} % ({percent(low)} to {percent(high)}), chance 50 %"
        facts.append(("Label told by who wrote it", words))
    return facts


def _languages(languages: Languages) -> Grid:
    rates = [
        rate(_LANGUAGES.get(one.language, one.language), one.prompts, one.share, (one.ci_low, one.ci_high))
        for one in languages.shares
    ]
    of = "" if languages.sampled == languages.prompts else f" of {count(languages.prompts)}"
    caption = f"Languages of {plural(languages.sampled, 'prompt')}{of}, told by {visible(languages.by, 60)}"
    folded = f"{len(rates)} languages" if len(rates) > _OPEN else ""
    return rate_grid(caption, "Language", rates, value="Prompts, %", n="Prompts", folded=folded)


def _named(caption: str, what: str, counts: NamedCounts) -> Grid:
    largest = max((one.train for one in counts.most), default=0)
    columns = (Column(what, "name"), Column("Training pairs"), Column("Held out"), Column("Drawn", "draw"))
    rows = tuple(
        (visible(one.name, 80), count(one.train), count(one.held_out), bar_strip(one.train / max(1, largest)))
        for one in counts.most
    )
    some = f"the {len(rows)} most frequent of {counts.distinct:,}" if counts.distinct > len(rows) else f"{len(rows)}"
    return Grid(caption, columns, rows, folded=f"{caption}: {some}" if len(rows) > _OPEN else "")


def _models(models: Models) -> Grid:
    rates = [
        rate(one.model, one.pairs, one.chosen, (one.ci_low, one.ci_high), _settled(one.ci_low, one.ci_high))
        for one in models.most
    ]
    caption = f"How often a model’s response was chosen, in {plural(models.pairs, 'pair')} of two known models"
    folded = f"{len(rates)} models of {models.distinct:,}" if len(rates) > _OPEN else ""
    return rate_grid(caption, "Model", rates, value="Chosen, %", chance=_CHANCE, folded=folded)


def _settled(low: float, high: float) -> State:
    """A model that is nearly always, or nearly never, chosen tells the label by itself."""
    return "bad" if low > 0.9 or high < 0.1 else "warn" if low > 0.75 or high < 0.25 else "open"


def _agreement(agreement: Sequence[SourceAgreement]) -> Grid:
    rates = [
        rate(
            one.source,
            one.agreement.comparisons,
            one.agreement.agreement,
            one.agreement.agreement_ci,
            reading=f"no model can be right in more than {percent(one.agreement.ceiling_high)} % of these",
        )
        for one in agreement
    ]
    return rate_grid(
        "Agreement of repeated labels: the ceiling of accuracy",
        "Source",
        rates,
        value="Agree, %",
        n="Comparisons",
        chance=_CHANCE,
    )


def _bars(caption: str, what: str, n: str, counts: Mapping[str, int]) -> Grid:
    largest, total = max(counts.values(), default=0), sum(counts.values())
    columns = (Column(what, "words"), Column(n), Column("%"), Column("Drawn", "draw"))
    rows = tuple(
        (visible(name, 40), count(number), percent(number / max(1, total)), bar_strip(number / max(1, largest)))
        for name, number in counts.items()
    )
    return Grid(caption, columns, rows if len(rows) > 1 else ())


def _forms(forms: Sequence[SourceForms]) -> Grid:
    columns = (Column("Source", "name"), Column("Written as", "words"), Column("Rows"))
    rows = tuple(
        (visible(one.source, 80), visible(form, 60), count(number))
        for one in forms
        for form, number in one.forms.items()
    )
    return Grid("How rows are written", columns, rows)
