"""Pairs that stand in the data more than once, with the same label or with both.

Training and held-out rows are looked at apart: what stands on both sides is a leak, and another check's matter.
"""

from __future__ import annotations

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.surveys.comparisons import Comparisons, first_of, numbered
from rewardsmith.data.surveys.contract import Found, Table
from rewardsmith.statistics import Agreement, label_agreement


def duplicates(comparisons: Comparisons, table: Table) -> Found:
    """Every row but the first of those that are equal, word for word."""
    pair = numbered(comparisons.is_forward, comparisons.group)
    first = first_of(pair)[pair]
    places = np.flatnonzero(first != np.arange(len(first)))
    return Found(
        "duplicate_pair",
        places,
        lambda place: f"the same pair as {table.where(int(first[place]))}",
        remove=places,
    )


def contradictions(comparisons: Comparisons, table: Table) -> Found:
    """Every row of a comparison that was decided both ways; the fix keeps the majority, or nothing at a tie."""
    group, is_forward = comparisons.group, comparisons.is_forward
    forward_C, all_C = comparisons.votes()
    places = np.flatnonzero(((forward_C > 0) & (forward_C < all_C))[group])
    mine = np.where(is_forward, forward_C[group], all_C[group] - forward_C[group])
    label = 2 * group + is_forward
    first_by_label = dict(zip(label[places][::-1].tolist(), places[::-1].tolist(), strict=True))

    def other(place: int) -> str:
        opposite = first_by_label[int(label[place]) ^ 1]
        return f"{table.where(opposite)} has the same pair with the opposite label"

    summary = _ceiling(label_agreement(forward_C, all_C)) if len(places) else ""
    outvoted = places[2 * mine[places] <= all_C[group[places]]]
    return Found("contradictory_pair", places, other, summary=summary, remove=outvoted)


def _ceiling(agreement: Agreement | None) -> str:
    """What repeated labels leave to a model, in words."""
    if agreement is None:
        return ""
    low, high, ceiling = agreement.interval.low, agreement.interval.high, agreement.ceiling_high
    return (
        f"of {agreement.comparisons:,} comparisons that were labelled more than once, two labels agree in "
        f"{agreement.agreement:.1%} (95 % interval {low:.1%} to {high:.1%}): "
        f"no model is right in more than {ceiling:.1%} of such labels"
    )


DUPLICATE_PAIR = Check(
    code="duplicate_pair",
    severity="warning",
    title="Exact duplicate pairs",
    meaning="A pair stands in the data more than once, word for word, with the same label.",
    why="Training runs for one epoch because pairs are memorised in a second pass; a duplicate is that second pass.",
    fix="keep one of each",
    of="kept",
)
CONTRADICTORY_PAIR = Check(
    code="contradictory_pair",
    severity="warning",
    title="The same pair with both labels",
    meaning="Two rows have the same prompt and the same two responses, and prefer different ones.",
    why="Their gradients cancel: what is left is noise, and a limit on the accuracy that can be reached.",
    fix="keep the label that more annotators gave, or neither",
    of="kept",
)
