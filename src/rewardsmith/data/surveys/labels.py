"""What the labels of the whole set say of themselves: repeats, contradictions, cycles and stated margins.

Repeats, contradictions and cycles are found from the digests when all rows have passed; of margins a number a row is
remembered. Training and held-out rows are looked at apart: what stands on both sides is a leak (`leakage`).

*Cycles.* Of one prompt's answers A is preferred to B, B to C, and C to A: no reward can satisfy them all. The answers
are the nodes of a graph, every label an edge from the chosen to the rejected one. Edges between which a cycle runs are
those within a strongly connected component (Tarjan 1972; scipy's is linear in the edges). Two answers that were
preferred both ways are a contradiction: the majority of such labels counts here, and a tie is left aside, so that every
component that is left holds a cycle of three or more.

*Margins* (`target_margin`, or the difference of two scores) never reach the loss. But one below zero says that the data
set's own scores contradict its label, and one that is far out says that a column is not what it is taken for.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.survey import (
    Comparisons,
    Found,
    Numbers,
    Places,
    Setting,
    Surveyed,
    Table,
    compare,
    first_of,
    numbered,
)
from rewardsmith.records.data import DataLabels, MarginSummary, PreferenceCycle
from rewardsmith.spec import SourceSpec
from rewardsmith.statistics import Agreement, label_agreement, wilson_interval

_SHOWN = 5


class Labels:
    """Codes: duplicate_pair, contradictory_pair, preference_cycle, and the four that begin with margin_."""

    def __init__(self, setting: Setting) -> None:
        data = setting.spec.data
        self._sources = (*data.train, *data.held_out.sources)
        self._margins = Margins()

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """Remember the margins; the digests are in the table."""
        self._margins.see(rows)

    def finish(self, table: Table) -> Surveyed:
        """Seven findings at most, and a `DataLabels`."""
        comparisons = compare(table.keys, table.is_held_out)
        repeated, contradictory = duplicates(comparisons, table), contradictions(comparisons, table)
        cycles = find_cycles(comparisons)
        found, margins = self._margins.finish(table, self._sources)
        section = DataLabels(
            pairs=len(table.row),
            distinct_pairs=len(table.row) - len(repeated.places),
            repeated=len(repeated.places),
            contradictory=len(contradictory.places),
            contradictory_comparisons=len(np.unique(comparisons.group[contradictory.places])),
            cyclic=len(cycles.places),
            cycles=len(np.unique(cycles.component)),
            shown=_shown(cycles, table),
            margins=margins,
        )
        return Surveyed([repeated, contradictory, cycles_found(cycles, table), *found], section)


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
    # At a tie both sides have half, so that all of the rows go.
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


def _shown(cycles: Cycles, table: Table) -> tuple[PreferenceCycle, ...]:
    """A cycle of each of the first few components."""
    _, first = np.unique(cycles.component, return_index=True)
    ways = (cycles.around(int(place)) for place in cycles.places[first[:_SHOWN]])
    return tuple(PreferenceCycle(rows=tuple(map(table.where, way))) for way in ways if way)


_SHORTEST = 3
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_LARGE_CYCLE = 1000  # labels in a component beyond which no way round is searched: each search may look at all of them


@dataclass(frozen=True, slots=True)
class Cycles:
    """Rows on cycles, shape (R,) each, ordered by component and then by place.

    `component` numbers sets of answers that cycles join; `chosen` and `rejected` number answers (a response to a
    prompt). `by_place` sorts the rows by place.
    """

    places: Places
    component: Numbers
    chosen: Numbers
    rejected: Numbers
    by_place: Numbers

    def around(self, place: int) -> list[int]:
        """Places of a shortest cycle through the row at `place`: each one's rejected answer is the next one's chosen.

        Empty in components with more than a thousand labels.
        """
        here = int(self.by_place[np.searchsorted(self.places, place, sorter=self.by_place)])
        low, high = (int(np.searchsorted(self.component, self.component[here], side)) for side in _SIDES)
        if high - low > _LARGE_CYCLE:
            return []
        edges = zip(*(column[low:high].tolist() for column in (self.chosen, self.rejected, self.places)), strict=True)
        steps: dict[int, dict[int, int]] = {}
        for chosen, rejected, edge in edges:
            # Of equal labels one is enough to go along.
            steps.setdefault(chosen, {}).setdefault(rejected, edge)
        return [place, *_way(steps, int(self.rejected[here]), int(self.chosen[here]))]


def find_cycles(comparisons: Comparisons) -> Cycles:
    """Every row whose label lies on a cycle of three or more answers to one prompt."""
    edges = _candidates(comparisons)
    prompt = comparisons.prompt[edges]
    answers = numbered(
        np.concatenate([comparisons.chosen[edges], comparisons.rejected[edges]]), np.concatenate([prompt, prompt])
    )
    chosen, rejected = answers[: len(edges)], answers[len(edges) :]
    component = _components(chosen, rejected)
    edges, chosen, rejected, component = (column[component >= 0] for column in (edges, chosen, rejected, component))
    order = np.lexsort((edges, component))
    places = edges[order]
    return Cycles(places, component[order], chosen[order], rejected[order], np.argsort(places))


def cycles_found(cycles: Cycles, table: Table) -> Found:
    """The rows on cycles, with a way round for each."""

    def shown(place: int) -> str:
        way = cycles.around(place)
        if not way:
            return "one of more than a thousand labels for one prompt that cannot all hold"
        return "each rejects what the next one prefers: " + " → ".join(table.where(step) for step in [*way, place])

    return Found("preference_cycle", np.sort(cycles.places), shown, remove=np.sort(cycles.places[_against(cycles)]))


def _candidates(comparisons: Comparisons) -> Places:
    """Rows that may lie on a cycle: with the majority of their comparison, of prompts with three or more."""
    group, prompt = comparisons.group, comparisons.prompt
    forward_C, all_C = comparisons.votes()
    is_decided_C = 2 * forward_C != all_C
    prompt_C = np.empty(len(all_C), dtype=np.int64)
    prompt_C[group] = prompt
    decided = np.bincount(prompt_C[is_decided_C], minlength=int(prompt.max(initial=-1)) + 1)
    is_with_most = np.where(2 * forward_C > all_C, 1, 0)[group] == comparisons.is_forward
    return np.flatnonzero(is_decided_C[group] & is_with_most & (decided >= _SHORTEST)[prompt])


def _components(chosen: Numbers, rejected: Numbers) -> Numbers:
    """The strongly connected component of every edge whose ends share one, -1 for the others."""
    if not len(chosen):
        return np.empty(0, dtype=np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(max(chosen.max(), rejected.max())) + 1
    graph = coo_array((np.ones(len(chosen)), (chosen, rejected)), shape=(size, size))
    _, of_answer = connected_components(graph, directed=True, connection="strong")
    within = (of_answer[chosen] == of_answer[rejected]) & (chosen != rejected)
    return np.where(within, of_answer[chosen], -1).astype(np.int64)


def _against(cycles: Cycles) -> NDArray[np.bool_]:
    """Which rows `--fix` takes out, so that no cycle is left.

    Within a component an answer's standing is its wins less its losses (Copeland 1951). Labels that go from a lower
    standing to a higher one are taken out; where there are none, those between equal standings; and again. One upset
    among well-ordered answers is taken out alone; of a bare A > B > C > A, where nothing says which label is wrong, all
    three. Along a cycle the drops sum to 0, so that each round takes some.
    """
    goes = np.zeros(len(cycles.places), dtype=np.bool_)
    rows, component = np.arange(len(goes)), cycles.component
    while len(rows):
        drop = _drop(cycles.chosen[rows], cycles.rejected[rows])
        has_upset = np.bincount(component[drop < 0], minlength=int(component.max()) + 1) > 0
        # Where no label of a component goes uphill, those on the level go, so that each round takes some.
        goes[rows[(drop < 0) | ((drop == 0) & ~has_upset[component])]] = True
        rows = np.flatnonzero(~goes)
        component = _components(cycles.chosen[rows], cycles.rejected[rows])
        rows, component = rows[component >= 0], component[component >= 0]
    return goes


def _drop(chosen: Numbers, rejected: Numbers) -> Numbers:
    """By how much every label's standing falls from the chosen to the rejected answer."""
    size = int(max(chosen.max(initial=-1), rejected.max(initial=-1))) + 1
    standing = np.bincount(chosen, minlength=size) - np.bincount(rejected, minlength=size)
    return np.asarray(standing[chosen] - standing[rejected], dtype=np.int64)


def _way(steps: dict[int, dict[int, int]], start: int, end: int) -> list[int]:
    """Edges of a shortest way from one answer to another, breadth first; there is one."""
    came: dict[int, tuple[int, int]] = {}
    waiting = deque([start])
    while end not in came:
        answer = waiting.popleft()
        for next_answer, edge in steps.get(answer, {}).items():
            if next_answer not in came:
                came[next_answer] = (answer, edge)
                waiting.append(next_answer)
    way: list[int] = []
    while not way or end != start:
        end, edge = came[end]
        way.append(edge)
    return way[::-1]


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

PREFERENCE_CYCLE = Check(
    code="preference_cycle",
    severity="warning",
    title="Preferences that go round",
    meaning="Among the answers to one prompt, A is preferred to B, B to C, and so on back to A.",
    why="No reward satisfies them all: at least one label is noise, and limits the accuracy that can be reached.",
    fix="look at the rows and correct the label that is wrong; or leave out those that go against the other labels",
    of="kept",
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
