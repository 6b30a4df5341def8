"""What the surveys measured of the data, ready to be shown: balance, labels, private matters, overlap, contamination.

    data_blocks(check)             all that the record has, in the order of the page (`SECTIONS`)

    balance_block(record)          languages, sources, models, prompts, agreement of labels
    labels_block(record)           repeats, contradictions, cycles, stated margins
    private_block(record)          secrets and personal data: counts, never the data
    overlap_block(record)          clusters of near-duplicate prompts, leaks into the held-out pairs
    contamination_block(record)    per benchmark and subset

In: the sections of these names of check.json; `data_texts` lays out those of the texts. Files, ids, names and subsets
come from users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.data import (
    BenchmarkOverlap,
    ClusterExample,
    ClusterSizes,
    ContaminatedRow,
    ContaminationRecord,
    DataBalance,
    DataLabels,
    DataPrivate,
    Languages,
    MarginSummary,
    Models,
    NamedCounts,
    OverlapRecord,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.report.blocks import (
    Block,
    Cell,
    Column,
    Grid,
    Span,
    bar_strip,
    nice_top,
    rate,
    rate_axis,
    rate_grid,
    rate_strip,
)
from rewardsmith.report.formatting import State, count, percent, plural, significant, visible
from rewardsmith.report.sections.data_texts import shortcuts_block, tokens_block

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


_SHOWN = 5


def labels_block(record: DataLabels) -> Block:
    """What the labels say of themselves."""
    return Block(
        title="Labels",
        facts=(
            ("Distinct pairs", f"{count(record.distinct_pairs)} of {count(record.pairs)}"),
            ("Repeated", plural(record.repeated, "row")),
            (
                "Labelled both ways",
                f"{plural(record.contradictory, 'row')}, {plural(record.contradictory_comparisons, 'comparison')}",
            ),
            ("On a cycle", f"{plural(record.cyclic, 'row')}, {plural(record.cycles, 'set')} of answers"),
        ),
        grids=(
            *([_cycles(record)] if record.shown else []),
            *([_margins(record)] if record.margins else []),
        ),
        source="check.json",
    )


def _cycles(record: DataLabels) -> Grid:
    rows = tuple(
        (" → ".join(visible(row, 80) for row in (*cycle.rows, cycle.rows[0])),) for cycle in record.shown[:_SHOWN]
    )
    note = "Each row’s rejected answer is the next row’s chosen one."
    return Grid("Preferences that go round", (Column("Rows", "code"),), rows, note=note)


def _margins(record: DataLabels) -> Grid:
    columns = (
        Column("Source", "name"),
        Column("Stated"),
        Column("Negative"),
        Column("Negative, %"),
        Column("95 % interval"),
        Column("Zero"),
        Column("No number"),
        Column("Out of range"),
        Column("Median"),
        Column("Lowest to highest"),
    )
    return Grid("Stated margins (target_margin)", columns, tuple(map(_margin, record.margins)))


def _margin(one: MarginSummary) -> tuple[Cell, ...]:
    low, high = one.negative_ci
    span = [significant(one.quantiles.get(name)) for name in ("min", "max")]
    return (
        visible(one.source, 80),
        count(one.stated),
        count(one.negative),
        percent(one.negative / one.stated if one.stated else None),
        Span(percent(low), percent(high)),
        count(one.zero),
        count(one.unread),
        count(one.out_of_range),
        significant(one.quantiles.get("p50")),
        Span(*span),
    )


def private_block(record: DataPrivate) -> Block:
    """Kinds of secrets and personal data, by how many rows have them; the texts are nowhere but in the data."""
    columns = (
        Column("Kind", "name"),
        Column("", "words"),
        Column("Matches"),
        Column("Rows"),
        Column("in prompts"),
        Column("in chosen"),
        Column("in rejected"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            visible(one.title, 60),
            one.group,
            *(count(n) for n in (one.matches, one.rows, one.prompt_rows, one.chosen_rows, one.rejected_rows)),
        )
        for one in record.kinds
    )
    return Block(
        title="Secrets and personal data",
        note=f"Rows of {count(record.pairs)} that have something of the kind; what was found is shown nowhere.",
        facts=(
            ("Rows with secrets", count(record.secret_rows).text),
            ("Rows with personal data", count(record.personal_rows).text),
            ("Looked for", plural(len(record.looked_for), "kind")),
        ),
        grids=(Grid("What was found", columns, rows),) if rows else (),
        source="check.json",
    )


def overlap_block(record: OverlapRecord) -> Block:
    """How far the training pairs repeat each other, and whether held-out prompts are among them."""
    leaks = record.leaked_prompts + record.near_leaked_prompts + record.leaked_turns
    return Block(
        title="Near-duplicates and leaks",
        reading=f"Held-out prompts stand in the training data: {record.leaked_prompts:,} exactly, "
        f"{record.near_leaked_prompts:,} nearly, {record.leaked_turns:,} by a turn."
        if leaks
        else "No held-out prompt stands in the training data, exactly or nearly.",
        state="bad" if leaks else "good",
        facts=(
            (
                "Distinct prompts",
                f"{count(record.distinct_prompts)} for {plural(record.training_pairs, 'training pair')}",
            ),
            ("Not even nearly alike", plural(record.prompt_clusters, "prompt")),
            ("Effective prompts", count(round(record.effective_prompts)).text),
            ("Near-duplicates of an earlier pair", _duplicates(record)),
        ),
        grids=tuple(grid for grid in (_sizes(record.sizes), _largest(record.largest)) if len(grid.rows) > 1),
        source="check.json",
    )


def _duplicates(record: OverlapRecord) -> str:
    interval = f", {percent(record.ci_low)} to {percent(record.ci_high)}" if record.ci_low is not None else ""
    share = f" ({percent(record.duplicate_share)} %{interval})" if record.duplicate_share is not None else ""
    return f"{plural(record.duplicate_pairs, 'pair')}{share}"


def _sizes(sizes: Sequence[ClusterSizes]) -> Grid:
    largest = max((one.pairs for one in sizes), default=0)
    columns = (Column("Pairs of one cluster", "words"), Column("Clusters"), Column("Pairs"), Column("Drawn", "draw"))
    rows = tuple(
        (_range(one), count(one.clusters), count(one.pairs), bar_strip(one.pairs / max(1, largest)))
        for one in sizes
        if one.clusters
    )
    return Grid("Sizes of clusters of near-duplicate prompts", columns, rows)


def _range(one: ClusterSizes) -> str:
    if one.high is None:
        return f"{one.low:,} or more"
    return f"{one.low:,}" if one.high == one.low else f"{one.low:,} to {one.high:,}"


def _largest(largest: Sequence[ClusterExample]) -> Grid:
    columns = (Column("First pair", "code"), Column("Pairs"), Column("Distinct prompts"))
    rows = tuple((f"{visible(one.file, 120)}:{one.row}", count(one.pairs), count(one.prompts)) for one in largest)
    return Grid("The largest clusters", columns, rows, folded=f"The {plural(len(rows), 'largest cluster')}")


_EXAMPLES = 10
_RULES = {"equal": "equal words", "ngrams": "n-grams of eight words", "near": "word triples"}


def contamination_block(record: ContaminationRecord) -> Block:
    """Which share of each benchmark stands in the training prompts; nothing of it should."""
    clean = not record.contaminated_pairs
    return Block(
        title="Contamination by benchmarks",
        reading="No benchmark that is evaluated stands in the training prompts."
        if clean
        else f"{plural(record.contaminated_pairs, 'training pair')} of {count(record.training_pairs)} hold "
        "the prompt of a benchmark row: that score is no evidence.",
        state="good" if clean else "bad",
        note="Share of a benchmark’s rows whose prompt stands in a training prompt: in equal words, in n-grams of "
        "eight words (as Tülu 3 counts), or nearly.",
        grids=(
            *([_benchmarks(record.benchmarks)] if record.benchmarks else []),
            *([_examples(record.examples)] if record.examples else []),
        ),
        source="check.json",
    )


def _benchmarks(found: Sequence[BenchmarkOverlap]) -> Grid:
    top = nice_top([one.ci_high for one in found])
    columns = (
        Column("Benchmark", "name"),
        Column("Rows"),
        Column("In training"),
        Column("%"),
        Column("95 % interval"),
        Column("Drawn", "draw", rate_axis(top)),
        Column("Equal"),
        Column("n-grams"),
        Column("Nearly"),
        Column("Training pairs"),
    )
    rows = []
    for one in found:
        state: State = "bad" if one.touched else "good"
        name = " · ".join(part for part in (one.benchmark, one.subset) if part)
        share = rate(name, one.rows, one.share, (one.ci_low, one.ci_high), state)
        counts = (count(one.equal), count(one.ngrams), count(one.near), count(one.training_pairs))
        interval = Span(share.low, share.high)
        rows.append((share.name, share.n, count(one.touched), share.value, interval, rate_strip(share, top), *counts))
    return Grid("Contamination per benchmark and subset", columns, tuple(rows))


def _examples(examples: Sequence[ContaminatedRow]) -> Grid:
    columns = (
        Column("Training row", "code"),
        Column("Benchmark", "name"),
        Column("Row’s id", "code"),
        Column("Found by", "words"),
        Column("Of its prompt, %"),
    )
    rows = tuple(
        (
            f"{visible(one.file, 120)}:{one.row}",
            " · ".join(visible(part, 60) for part in (one.benchmark, one.subset) if part),
            visible(one.id, 80),
            _RULES[one.rule],
            percent(one.share),
        )
        for one in examples[:_EXAMPLES]
    )
    return Grid("Training rows that hold a benchmark’s prompt", columns, rows, folded=plural(len(rows), "example row"))


SECTIONS: dict[str, Callable[[Any], Block]] = {
    "shortcuts": shortcuts_block,
    "contamination": contamination_block,
    "overlap": overlap_block,
    "labels": labels_block,
    "balance": balance_block,
    "private": private_block,
}
"""Field of `CheckRecord` → its block; what changes a model most stands first."""


def data_blocks(check: CheckRecord) -> tuple[Block, ...]:
    """Sections that were not measured (an older record, a survey left out) are not shown."""
    sections = ((make, getattr(check, field)) for field, make in SECTIONS.items())
    blocks = [make(section) for make, section in sections if section is not None]
    return (*blocks, tokens_block(check.tokens, check.rendering.max_length))
