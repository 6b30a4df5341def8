"""What the threshold is fitted on: held-out pairs with the reward model's margin and the judge's verdict. Pure.

    trial = make_trial(rules, opinions, subsets, verdicts, units)

In: for each pair the opinion and the verdict, both of "the chosen response is first"; whoever was asked saw them in an
order of its own. Out: flat arrays of results, 1 where the chosen response wins, 1/2 for a tie, 0 otherwise.

    model    the reward model alone; 0 where a reward is missing
    judge    the judge alone; 0 where its verdict is missing
    routed   what an escalated pair gets: the judge's winner; where the judge ties or is missing, the model's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardsmith.routing.deciding import settle
from rewardsmith.routing.rules import Look, Rules
from rewardsmith.types import Opinion, Verdict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_RESULTS = {"first": 1.0, "tie": 0.5, "second": 0.0, None: 0.0}
_KEPT, _ESCALATED = Look(False, "", ""), Look(True, "", "")


@dataclass(frozen=True, slots=True)
class Trial:
    """Arrays of shape (pairs,); `units` numbers the prompts: pairs of one prompt are one unit for intervals."""

    sureness: Floats
    model: Floats
    judge: Floats
    routed: Floats
    cost: Floats
    units: Ints

    def __len__(self) -> int:
        return len(self.model)

    def take(self, chosen: Bools) -> Trial:
        """The pairs where `chosen` is true."""
        return Trial(
            self.sureness[chosen],
            self.model[chosen],
            self.judge[chosen],
            self.routed[chosen],
            self.cost[chosen],
            self.units[chosen],
        )


def make_trial(
    rules: Rules,
    opinions: Sequence[Opinion],
    subsets: Sequence[str],
    verdicts: Sequence[Verdict],
    units: Sequence[int] | Ints | None = None,
) -> Trial:
    """Results of the model, the judge and the router on every pair.

    Raises:
        SpecError: the rules have nothing to fit, or ask for what the model does not say.
    """
    said = [one.probability for one in verdicts]
    routed = [
        settle("", _ESCALATED, opinion, "", verdict).winner for opinion, verdict in zip(opinions, verdicts, strict=True)
    ]
    return Trial(
        sureness=rules.sureness(opinions, subsets),
        model=np.array([_RESULTS[settle("", _KEPT, one, "", None).winner] for one in opinions]),
        judge=np.array([0.0 if p is None else float(p > 0.5) + 0.5 * (p == 0.5) for p in said]),
        routed=np.array([_RESULTS[winner] for winner in routed]),
        cost=np.array([one.usage.cost for one in verdicts]),
        units=np.arange(len(opinions)) if units is None else np.asarray(units, dtype=np.int64),
    )
