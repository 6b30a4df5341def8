"""Labels of one prompt that go round: A is preferred to B, B to C, and C to A. No reward can satisfy them all.

The answers of a prompt are the nodes of a graph, every label an edge from the chosen to the rejected one. Edges between
which a cycle runs are those within a strongly connected component (Tarjan 1972; scipy's is linear in the edges). Two
answers that were preferred both ways are a contradiction and another check's matter: the majority of such labels
counts, and a tie is left aside, so that every component that is left holds a cycle of three or more.

What `--fix` takes out: within a component an answer's standing is its wins less its losses (Copeland 1951). Labels that
go from a lower standing to a higher one are taken out; where there are none, those between equal standings; and again,
until no cycle is left. One upset among well-ordered answers is taken out alone; of a bare A > B > C > A, where nothing
says which label is wrong, all three.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.check import Check
from rewardsmith.data.surveys.comparisons import Comparisons, Numbers, numbered
from rewardsmith.data.surveys.contract import Found, Places, Table

_SHORTEST = 3
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_LARGE = 1000  # labels in a component beyond which no way round is searched: each search may look at all of them


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
        if high - low > _LARGE:
            return []
        edges = zip(*(column[low:high].tolist() for column in (self.chosen, self.rejected, self.places)), strict=True)
        steps: dict[int, dict[int, int]] = {}
        for chosen, rejected, edge in edges:
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
    """Which rows go, so that what is left goes down. Along a cycle the drops sum to 0: each round takes some."""
    goes = np.zeros(len(cycles.places), dtype=np.bool_)
    rows, component = np.arange(len(goes)), cycles.component
    while len(rows):
        drop = _drop(cycles.chosen[rows], cycles.rejected[rows])
        has_upset = np.bincount(component[drop < 0], minlength=int(component.max()) + 1) > 0
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


PREFERENCE_CYCLE = Check(
    code="preference_cycle",
    severity="warning",
    title="Preferences that go round",
    meaning="Among the answers to one prompt, A is preferred to B, B to C, and so on back to A.",
    why="No reward satisfies them all: at least one label is noise, and limits the accuracy that can be reached.",
    fix="look at the rows and correct the label that is wrong; or leave out those that go against the other labels",
    of="kept",
)
