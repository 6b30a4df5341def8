"""Stated margins (`target_margin`, or the difference of two scores): those that cannot be right, and a summary.

They never reach the loss. But a margin below zero says that the data set's own scores contradict its label, and one
that is far out says that a column is not what it is taken for.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import Found, Table
from rewardsmith.records import MarginSummary
from rewardsmith.spec import SourceSpec
from rewardsmith.statistics import wilson_interval

Range = tuple[float, float]
Floats = NDArray[np.float64]

# Ratings on a scale of k steps differ by at most k steps, and rewards of a model rarely by more than 20 times their
# median difference: 100 times the median is a sentinel (999, -1e6), another unit, or another column.
_PLAUSIBLE = 100.0
# Noise in scores turns some margins around; a column that is reversed, or about something else, half of them or more.
_LARGE = 0.35
_BINS = 20
_QUANTILES = {"min": 0.0, "p05": 0.05, "p50": 0.5, "p95": 0.95, "max": 1.0}


class Margins:
    """Remembers eight bytes a row: the margin, NaN where none is stated."""

    def __init__(self) -> None:
        self._margins = array("d")
        self._unread = array("q")

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, in order."""
        first = len(self._margins)
        self._margins.extend(np.nan if row.pair.target_margin is None else row.pair.target_margin for row in rows)
        self._unread.extend(place for place, row in enumerate(rows, start=first) if row.pair.unread_margin)

    def finish(self, table: Table, sources: Sequence[SourceSpec]) -> tuple[list[Found], tuple[MarginSummary, ...]]:
        """What was found, and a summary of every source that states margins.

        Args:
            table: of the kept rows.
            sources: the spec's, in the order of `table.sources`.
        """
        margin, unread = np.array(self._margins, dtype=np.float64), np.array(self._unread, dtype=np.int64)
        allowed = [
            source.target_margin_range or _plausible(margin[table.source == number])
            for number, source in enumerate(sources)
        ]
        low, high = np.array(allowed).reshape(-1, 2)[table.source].T
        is_out = (margin < low) | (margin > high)
        summaries = tuple(
            _summary(table.sources[number].source, margin[here], is_out[here], unread_here, allowed[number], source)
            for number, source in enumerate(sources)
            for here, unread_here in [(table.source == number, int(np.sum(table.source[unread] == number)))]
            if unread_here or np.isfinite(margin[here]).any()
        )
        return _found(table, margin, unread, is_out, allowed), summaries


def _plausible(margin: Floats) -> Range:
    """Up to a hundred times the median size, either way; anything where only zeros or nothing is stated."""
    sizes = np.abs(margin[np.isfinite(margin) & (margin != 0)])
    reach = _PLAUSIBLE * float(np.median(sizes)) if len(sizes) else np.inf
    return -reach, reach


def _found(
    table: Table, margin: Floats, unread: NDArray[np.int64], is_out: NDArray[np.bool_], allowed: list[Range]
) -> list[Found]:
    stated = int(np.isfinite(margin).sum())
    against = np.flatnonzero(margin < 0)

    def out(place: int) -> str:
        low, high = allowed[table.source[place]]
        return f"the margin is {margin[place]:g}; from {low:g} to {high:g} is allowed"

    return [
        Found("margin_unread", unread, lambda place: f"the margin is {table.pairs[place].unread_margin}"),
        Found("margin_out_of_range", np.flatnonzero(is_out), out, of=stated),
        Found(
            "margin_against_label",
            against,
            lambda place: f"the margin is {margin[place]:g}",
            of=stated,
            severity="error" if len(against) > _LARGE * stated else None,
        ),
        Found("margin_zero", np.flatnonzero(margin == 0), lambda place: "the margin is 0", of=stated),
    ]


def _histogram(values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """As numpy's; values that float64 hardly tells apart count as equal, where numpy finds no room for the edges."""
    low, high = float(values.min()), float(values.max())
    if high - low < max(1e-9 * max(-low, high), 1e-300):
        low, high = low - max(0.5, 1e-6 * abs(low)), high + max(0.5, 1e-6 * abs(high))
    return np.histogram(values, bins=_BINS, range=(low, high))


def _summary(
    title: str, margin: Floats, is_out: NDArray[np.bool_], unread: int, allowed: Range, source: SourceSpec
) -> MarginSummary:
    stated = margin[np.isfinite(margin)]
    negative = int(np.sum(stated < 0))
    interval = wilson_interval(negative, len(stated)) if len(stated) else None
    inside = margin[np.isfinite(margin) & ~is_out]
    counts, edges = _histogram(inside) if len(inside) else (np.empty(0), np.empty(0))
    quantiles = np.quantile(stated, list(_QUANTILES.values())) if len(stated) else ()
    return MarginSummary(
        source=title,
        stated=len(stated),
        unread=unread,
        zero=int(np.sum(stated == 0)),
        negative=negative,
        negative_ci=(interval.low, interval.high) if interval else (0.0, 1.0),
        out_of_range=int(is_out.sum()),
        allowed=allowed if np.isfinite(allowed).all() else None,
        declared=source.target_margin_range is not None,
        quantiles=dict(zip(_QUANTILES, map(float, quantiles), strict=False)),
        edges=tuple(edges.tolist()),
        counts=tuple(int(count) for count in counts),
    )


MARGIN_UNREAD = Check(
    code="margin_unread",
    severity="warning",
    title="Margins that are no numbers",
    meaning="Where a row states a margin or two scores, what stands there is no finite number.",
    why="Margins never reach the loss, but analyses by margin leave these rows out; the column may be another one.",
    fix="correct the column, or map another one under data.train[].columns.target_margin",
    of="kept",
)
MARGIN_OUT_OF_RANGE = Check(
    code="margin_out_of_range",
    severity="warning",
    title="Margins out of range",
    meaning="A margin lies outside target_margin_range, or is more than 100 times its source's median margin.",
    why="It is a stand-in for a missing value, or in another unit; averages over margins are wrong with it.",
    fix="correct the values; or state the scale under data.train[].target_margin_range",
    of="kept",
)
MARGIN_AGAINST_LABEL = Check(
    code="margin_against_label",
    severity="warning",
    title="Margins against the label",
    meaning="The stated margin is negative: by the data set's own scores the rejected response is the better one. "
    "Where more than 35 % of the stated margins are, it is an error.",
    why="The label or the score is wrong, and nothing says that it is the score; such labels teach the opposite.",
    fix="look at some rows; if all of a source are negative, its scale runs the other way or its columns are swapped",
    of="kept",
)
MARGIN_ZERO = Check(
    code="margin_zero",
    severity="note",
    title="Margins of zero",
    meaning="The stated margin is 0: by the data set's own scores the two responses are equally good.",
    why="The label of a tie is a coin toss: it limits the accuracy that can be reached, and teaches noise.",
    fix="leave ties out where the label rests on these scores alone",
    of="kept",
)
