"""The decision itself, as a pure function: what the rule saw, what was refused, what the judge said → who decides.

    settle("pair-7", rules.look_at(opinion, subset), opinion, refusal="", verdict=verdict)

The router calls it, and so does a replay of the audit log: same inputs, same decision. A judge's tie names no winner,
so the reward model breaks it; that is a fallback like a judge that is down, and marked as one.
"""

from __future__ import annotations

from rewardsmith.routing.rules import Look
from rewardsmith.types import Decision, Fallback, Opinion, Verdict, Winner

_WORDS: dict[Fallback, str] = {
    "no_judge": "no judge is there",
    "share": "the share of comparisons that may be escalated is used up",
    "rate": "the calls of this minute are used up",
    "cost": "the money is used up",
    "breaker": "the judge failed several times in a row and is left alone for a while",
    "tie": "the judge calls it a tie",
    "unparsed": "the judge's reply could not be read",
    "failed": "the judge failed",
    "deadline": "the judge took too long",
    "budget": "the judge has no budget left",
}


def settle(id: str, look: Look, opinion: Opinion, refusal: Fallback, verdict: Verdict | None) -> Decision:  # noqa: A002
    """Who decides a comparison.

    Args:
        id: of the comparison.
        look: what the rules made of it.
        opinion: what the reward model says.
        refusal: why the judge was not asked, "" where it was or need not be.
        verdict: what the judge said, None where it was not asked.
    """
    if not look.escalated:
        return Decision(id, _of_margin(opinion), "reward_model", False, look.rule, look.why, "", opinion)
    fallback = refusal or _missing(verdict)
    if not fallback and verdict is not None and verdict.probability is not None:
        winner: Winner = "first" if verdict.probability > 0.5 else "second"
        return Decision(id, winner, "judge", True, look.rule, look.why, "", opinion, verdict)
    mine = _of_margin(opinion)
    if mine in (None, "tie") and fallback == "tie":
        return Decision(id, "tie", "judge", True, look.rule, look.why, "", opinion, verdict)
    why = f"{look.why}; {_WORDS[fallback]}"
    by = "nobody" if mine is None else "reward_model"
    return Decision(id, mine, by, True, look.rule, why, fallback, opinion, verdict)  # type: ignore[arg-type]


def _missing(verdict: Verdict | None) -> Fallback:
    """Why a verdict names no winner, "" where it names one."""
    if verdict is None:
        return "no_judge"
    if verdict.probability is None:
        return verdict.missing or "failed"
    return "tie" if verdict.probability == 0.5 else ""


def _of_margin(opinion: Opinion) -> Winner | None:
    if opinion.margin is None:
        return None
    return "first" if opinion.margin > 0 else "second" if opinion.margin < 0 else "tie"
