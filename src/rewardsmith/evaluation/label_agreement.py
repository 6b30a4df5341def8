"""How accurate can a model be on these labels? The ceiling that people's disagreement sets.

    label_agreement(rows) → LabelAgreement | None

In: pairwise rows. Some data compare the same two responses more than once, and the labels do not always agree. Out: how
often two labels of one comparison agree, and between which bounds that puts the accuracy of the best possible model
(`statistics.agreement` has the formulas); None where no comparison was labelled twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith import statistics
from rewardsmith.evaluation.contract import EvalRow
from rewardsmith.records import LabelAgreement
from rewardsmith.types import Conversation


def label_agreement(rows: Sequence[EvalRow]) -> LabelAgreement | None:
    """Agreement of repeated labels: of every two labels of a comparison, averaged over comparisons."""
    votes = _votes(rows).values()
    found = statistics.label_agreement([one for one, _ in votes], [one + other for one, other in votes])
    if found is None:
        return None
    return LabelAgreement(
        comparisons=found.comparisons,
        labels=found.labels,
        agreement=found.agreement,
        agreement_ci=(found.interval.low, found.interval.high),
        ceiling_low=found.ceiling_low,
        ceiling_high=found.ceiling_high,
    )


def _votes(rows: Sequence[EvalRow]) -> dict[tuple[Conversation, Conversation, Conversation], tuple[int, int]]:
    """(prompt, two responses in the order they were first seen) → (labels for the first, labels for the second)."""
    votes: dict[tuple[Conversation, Conversation, Conversation], tuple[int, int]] = {}
    for row in rows:
        if len(row.chosen) == len(row.rejected) == 1:
            chosen, rejected = row.chosen[0], row.rejected[0]
            turned = (row.prompt, rejected, chosen)
            if turned in votes:
                first, second = votes[turned]
                votes[turned] = first, second + 1
            else:
                first, second = votes.get((row.prompt, chosen, rejected), (0, 0))
                votes[row.prompt, chosen, rejected] = first + 1, second
    return votes
