"""Held-out pairs by the source that they came from: what a mixture is judged by.

    sources_section(results, check) → Section, or None where no result has several sources

Beside each score stands what the source gave to training (`check.json`): a source that is at chance although it was
trained on teaches nothing, or something else than the rest; one that is above chance without it was not needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from rewardsmith.records.checks import CheckRecord
from rewardsmith.records.evaluation import BenchmarkResult, SourceResult
from rewardsmith.report.blocks import Block, Cell, Column, Grid, Noted, Section, Sign, Span
from rewardsmith.report.formatting import count, percent, plural, significant, visible
from rewardsmith.report.pooling import Pooled, pool_sources, pooled_note, small_grid
from rewardsmith.report.sections.scores import title_of

_NAMES_SHOWN = 5


def sources_section(
    results: Mapping[str, BenchmarkResult], check: CheckRecord | None = None, *, all_subsets: bool = False
) -> Section | None:
    """Each result with several sources as a table.

    Args:
        results: of a run, or of one evaluation.
        check: says how many pairs of each source were trained on; their columns are left out without it.
        all_subsets: show small sources one by one, in place of pooled.
    """
    apart = {key: result for key, result in results.items() if result.by_source}
    if not apart:
        return None
    trained = _trained(check)
    blocks = tuple(_block(key, result, trained, all_subsets=all_subsets) for key, result in apart.items())
    return Section(
        "sources",
        "Held-out pairs by source",
        blocks,
        lead="What a mixture is judged by: whether each source has taught what its own held-out pairs ask for.",
    )


def _block(key: str, result: BenchmarkResult, trained: Mapping[str, int], *, all_subsets: bool) -> Block:
    pooled = Pooled(result.by_source, {}) if all_subsets else pool_sources(result)
    total = sum(trained.values())
    united = sum(trained.get(name, 0) for name in pooled.small)
    columns = (
        Column("Source", "name"),
        Column("Rows"),
        Column("Accuracy, %", strong=True),
        Column("95 % interval"),
        Column("Mean margin"),
        *((Column("Trained pairs"), Column("Share, %")) if total else ()),
        Column("Reading", "words"),
    )

    def cells(name: str, found: SourceResult) -> tuple[Cell, ...]:
        given = trained.get(name) if name in result.by_source else united
        beside = (count(given), percent(None if given is None else given / total)) if total else ()
        missing = (f"{found.n_missing:,} rewards missing",)
        return (
            visible(name, 80),
            Noted(count(found.n), missing) if found.n_missing else count(found.n),
            percent(found.score),
            Span(percent(found.ci_low), percent(found.ci_high)),
            significant(found.margin_mean, 3),
            *beside,
            _reading(found),
        )

    source = f"eval/{key}/results.json"
    small = tuple(cells(name, found) for name, found in pooled.small.items())
    caption = f"{title_of(result)} by source"
    rows = tuple(cells(name, found) for name, found in pooled.shown.items())
    return Block(
        title=title_of(result),
        grids=(
            Grid(caption, columns, rows, note=pooled_note(pooled.title, source), titled=False),
            *small_grid(pooled.title, f"{caption}, those under ten rows", columns, small),
        ),
        lines=(_said(pooled.shown),),
        source=source,
    )


def _trained(check: CheckRecord | None) -> dict[str, int]:
    """Training pairs by source; the most frequent ones, as the check recorded them."""
    return {} if check is None or check.balance is None else {one.name: one.train for one in check.balance.sources.most}


def _reading(found: SourceResult) -> Sign:
    if found.n_missing:
        return Sign("bad", "rewards are missing")
    if found.ci_high < found.baseline:
        return Sign("bad", "below chance")
    return Sign("warn", "at chance") if found.ci_low <= found.baseline else Sign("good", "above chance")


def _said(shown: Mapping[str, SourceResult]) -> Sign:
    """Which sources are not above chance, in words."""
    low = [name for name, found in shown.items() if found.ci_low <= found.baseline]
    if not low:
        return Sign("good", f"All {plural(len(shown), 'source')} are above chance.")
    named = ", ".join(visible(name, 60) for name in low[:_NAMES_SHOWN])
    more = f" and {len(low) - _NAMES_SHOWN} more" if len(low) > _NAMES_SHOWN else ""
    return Sign("warn", f"Not above chance: {named}{more} ({len(low)} of {plural(len(shown), 'source')}).")
