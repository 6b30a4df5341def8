"""Labels and private matters of the data, ready to be shown.

    labels_block(record)     repeats, contradictions, cycles, stated margins
    private_block(record)    secrets and personal data: counts, never the data

In: the sections `labels` and `private` of check.json.
"""

from __future__ import annotations

from rewardsmith.records.data_labels import DataLabels, MarginSummary
from rewardsmith.records.data_private import DataPrivate
from rewardsmith.report.blocks import Block, Cell, Column, Grid
from rewardsmith.report.formatting import count, percent, plural, significant, visible

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
        f"{percent(low)} to {percent(high)}",
        count(one.zero),
        count(one.unread),
        count(one.out_of_range),
        significant(one.quantiles.get("p50")),
        f"{span[0]} to {span[1]}",
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
