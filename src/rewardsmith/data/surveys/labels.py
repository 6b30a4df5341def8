"""What the labels of the whole set say of themselves: repeats, contradictions, cycles and stated margins.

repeats.py and cycles.py work on digests when all rows have passed; margins.py remembers a number a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.comparisons import compare
from rewardsmith.data.surveys.contract import Setting, Surveyed, Table
from rewardsmith.data.surveys.cycles import Cycles, cycles_found, find_cycles
from rewardsmith.data.surveys.margins import Margins
from rewardsmith.data.surveys.repeats import contradictions, duplicates
from rewardsmith.records import DataLabels, PreferenceCycle

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


def _shown(cycles: Cycles, table: Table) -> tuple[PreferenceCycle, ...]:
    """A cycle of each of the first few components."""
    _, first = np.unique(cycles.component, return_index=True)
    ways = (cycles.around(int(place)) for place in cycles.places[first[:_SHOWN]])
    return tuple(PreferenceCycle(rows=tuple(map(table.where, way))) for way in ways if way)
