"""A judge as a source of labels: its verdicts as preference pairs for the next training round, with provenance. Pure.

    row = labelled_pair(comparison, decision, source)        # None where the judge did not decide

The row is a pair in the project's own schema, which `data` reads back: prompt, chosen, rejected, id, source, subset and
annotator (the judge). Where a label comes from stands under `provenance`, apart from the columns that training reads:
the judge, the hash of its prompts, the rule that escalated the pair, the reward model's margin (of chosen minus
rejected, so that a negative one says that the judge disagreed), the judge's probability, whether both orders agreed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardsmith.types import Comparison, Conversation, Decision


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Who labels: the judge's model, the hash of its prompts, the reward model's identity."""

    judge: str
    prompts: str
    model: str = ""


def labelled_pair(comparison: Comparison, decision: Decision, source: LabelSource) -> dict[str, Any] | None:
    """The pair that a judge's verdict makes; None where it did not decide, or called it a tie."""
    if decision.by != "judge" or decision.winner not in ("first", "second") or decision.verdict is None:
        return None
    if comparison.first == comparison.second:
        return None
    flipped = decision.winner == "second"
    sides = (comparison.second, comparison.first) if flipped else (comparison.first, comparison.second)
    probability = decision.verdict.probability or 0.0
    margin = decision.opinion.margin
    return {
        "prompt": _turns(comparison.prompt),
        "chosen": _turns(sides[0]),
        "rejected": _turns(sides[1]),
        "id": comparison.id,
        "source": comparison.source or "judge",
        "subset": comparison.subset,
        "annotator": source.judge,
        "provenance": {
            "judge_model": source.judge,
            "prompt_hash": source.prompts,
            "rule": decision.rule,
            "why": decision.why,
            "reward_margin": None if margin is None else -margin if flipped else margin,
            "reward_model": source.model,
            "probability": 1 - probability if flipped else probability,
            "consistent": decision.verdict.consistent,
        },
    }


def _turns(side: Conversation) -> list[dict[str, Any]]:
    return [turn.as_dict() for turn in side]
