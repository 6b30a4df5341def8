"""What kind of model this is: the causes with their evidence, and every trait that was looked for.

    diagnosis_section(record, results, mistakes) → Section | None      for both pages and for the terminal
    diagnosis_sentences(record)                                        the sentences that the verdict opens with

In: `diagnosis.json`, and the diagnoses in `results.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from markupsafe import Markup

from rewardsmith.records.diagnosis import Cause, Diagnosis, DiagnosisRecord, PairShare, RowKey, Trait
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import capitalised, count, decimal, percent, plural, visible
from rewardsmith.report.sections.scores import title_of

_SOUND = "no trait that was looked for decides its rewards"
_READ = Markup(
    '<a class="to-rows" href="#explorer" data-rows data-source="{0}" data-subset="{1}">'
    'read<span class="hidden"> the mistakes of {1}</span></a>'
)
_LOOK = "length, layout, refusals, and the place in the published list where rows keep it"


def diagnosis_section(
    record: DiagnosisRecord | None,
    results: Mapping[str, BenchmarkResult],
    mistakes: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> Section | None:
    """The section; None where no set has a diagnosis.

    Args:
        mistakes: (key, subset) → mistakes that the page's explorer holds, for links to them.
    """
    if record is None or not record.sets:
        return None
    sets = {key: found for key in record.sets if key in results and (found := results[key].diagnosis) is not None}
    traits = _traits(sets, results)
    methods = list(dict.fromkeys(found.method for found in sets.values()))
    looked = Block(
        title="What was looked for",
        note=f"Does a trait decide which answer wins, whichever is right: {_LOOK}. Sway: accuracy where the favoured "
        "answer is right minus where it is wrong, with other found traits equal; 0 for a model that goes by what is "
        "right, 100 for one that goes by the trait.",
        grids=(traits,) if traits.rows else (),
        lines=(*_unmeasured(sets, results), *_replicas(record)),
        details=(Block(title="How this was decided", texts=tuple(visible(text, 2000) for text in methods)),),
    )
    return Section(
        anchor="diagnosis",
        title="What kind of model this is",
        blocks=(*(_cause(cause, mistakes) for cause in record.causes), looked),
        verdicts=(
            Sign("warn", visible(record.headline, 400)) if record.headline else Sign("good", f"{capitalised(_SOUND)}."),
        ),
        sources=("diagnosis.json",),
        short="Diagnosis",
    )


def diagnosis_sentences(record: DiagnosisRecord | None, *, rows: bool = True) -> Iterator[str]:
    """One paragraph a cause: what the model does, its numbers, what foretold it, the rows that show it."""
    for cause in record.causes if record else ():
        named = f"{capitalised(cause.title)} ({', '.join((cause.benchmark, *cause.also))}): {cause.text}"
        shown = _rows_in_words(cause) if rows else ""
        yield visible(" ".join(part for part in (named, cause.seeds, cause.prediction, shown) if part), 1200)


def _rows_in_words(cause: Cause) -> str:
    if not cause.rows:
        return ""
    return f"Rows that show it: {', '.join(row.id for row in cause.rows)} (eval/{cause.benchmark}/rows.jsonl)."


def _cause(cause: Cause, mistakes: Mapping[tuple[str, str], int]) -> Block:
    texts = (cause.seeds, cause.prediction, f"What to do: {cause.fix}")
    return Block(
        title=visible(capitalised(cause.title), 80),
        aside=visible(", ".join((cause.benchmark, *cause.also)), 200),
        reading=visible(cause.text, 800),
        state="warn",
        texts=tuple(visible(text, 800) for text in texts if text),
        grids=(_row_grid(cause, mistakes),) if cause.rows else (),
        source=f"eval/{visible(cause.benchmark, 80)}/rows.jsonl" if cause.rows else "",
    )


def _row_grid(cause: Cause, mistakes: Mapping[tuple[str, str], int]) -> Grid:
    rows = tuple((_row_name(row, cause.benchmark, mistakes), visible(row.subset, 80)) for row in cause.rows)
    return Grid(
        "Rows that show it, the widest wrong margins first", (Column("Row", "name"), Column("Subset", "name")), rows
    )


def _row_name(row: RowKey, key: str, mistakes: Mapping[tuple[str, str], int]) -> Cell:
    name = visible(row.id, 80)
    return Noted(name, (_READ.format(key, row.subset),)) if mistakes.get((key, row.subset)) else name


def _traits(sets: Mapping[str, Diagnosis], results: Mapping[str, BenchmarkResult]) -> Grid:
    columns = (
        Column("Rewards of", "name"),
        Column("Favours", "words"),
        Column("Sway", strong=True),
        Column("95 % interval"),
        Column("Correlation"),
        Column("Accuracy, it is wrong"),
        Column("Accuracy, it is right"),
        Column("Reading", "words"),
    )
    rows = tuple(
        (
            visible(title_of(results[key]), 80),
            f"{visible(trait.favours, 120)} (`{visible(trait.feature, 40)}`)",
            percent(trait.sway),
            Span(percent(trait.sway_ci[0]), percent(trait.sway_ci[1])),
            _correlation(trait),
            _side(trait.wrong),
            _side(trait.right),
            Sign("warn", "scores it") if trait.found else Sign("good", "not surely"),
        )
        for key, found in sets.items()
        for trait in found.traits
    )
    return Grid("Traits and how far they decide; in per cent", columns, rows, titled=False)


def _correlation(trait: Trait) -> Cell:
    value = decimal(trait.correlation)
    if trait.correlation_ci is None:
        return value
    low, high = trait.correlation_ci
    return Noted(value, (Span(decimal(low), decimal(high)),))


def _side(share: PairShare) -> Cell:
    value = percent(share.accuracy)
    if share.accuracy is None:
        return value
    return Noted(value, (Span(percent(share.ci_low), percent(share.ci_high)), ", ", count(share.n), " pairs"))


def _replicas(record: DiagnosisRecord) -> Iterator[str]:
    for seed, headline in record.replicas.items():
        yield f"Seed {visible(seed, 20)}: {visible(headline, 200) if headline else f'{_SOUND}.'}"


def _unmeasured(sets: Mapping[str, Diagnosis], results: Mapping[str, BenchmarkResult]) -> Iterator[str]:
    for key, found in sets.items():
        if found.unmeasured:
            yield (
                f"{visible(title_of(results[key]), 80)}: too few of {plural(found.pairs, 'pair')} differ in "
                f"{', '.join(found.unmeasured)} to say anything of it."
            )
