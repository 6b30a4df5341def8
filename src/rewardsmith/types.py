"""The values that every layer speaks: messages, pairs, best-of-N rows, comparisons and verdicts. Frozen, no imports.

A conversation is a tuple of messages that ends with the response to be rewarded. Plain text that no chat template
should touch travels as messages of role `"text"`, whose contents are joined as they are; a conversation is either all
text or not text at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks (`system`, `user`, `assistant`, `tool` or `text`) and what is said."""

    role: str
    content: str


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two responses to one prompt, of which `chosen` was preferred.

    `target_margin` is how strongly it was preferred according to the data set: for analysis only, it never reaches the
    loss. `id` is unique within a source; `source` names the data set, `subset` the category.

    What follows is for the checks of the data only, "" where the data set does not say it: who gave the label, which
    models wrote the two responses, what stands where a margin should be but is no finite number, and how the row was
    written ("prompt as text, responses as messages").
    """

    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    target_margin: float | None = None
    id: str = ""
    source: str = ""
    subset: str = ""
    annotator: str = ""
    chosen_model: str = ""
    rejected_model: str = ""
    unread_margin: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class BestOfN:
    """One prompt with right (`chosen`) and wrong (`rejected`) answers, each the text of one assistant turn.

    `id` is unique within a subset.
    """

    prompt: Conversation
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    subset: str
    id: str = ""

    @property
    def responses(self) -> tuple[str, ...]:
        """Chosen first, then rejected: the order of every list of rewards."""
        return self.chosen + self.rejected


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt, of which the better one is asked for. `id` is unique within a file."""

    prompt: Conversation
    first: Conversation
    second: Conversation
    id: str = ""
    source: str = ""
    subset: str = ""


Missing = Literal["", "unparsed", "failed", "deadline", "budget"]
"""Why a judge's answer is not there: unreadable, the endpoint failed, too late, or no budget left. "" where it is."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked of an endpoint: calls that it was paid for, tokens sent and written, and what they cost.

    `cost` is in the currency of the prices in the spec, 0 where none are given. `cached` counts answers that were read
    from disk and cost nothing.
    """

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.cached + other.cached,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says about a comparison, both orders and all samples taken together.

    `probability` is that of the first response being the better one, in [0, 1]; 0.5 is a tie and None is missing, for
    the reason in `missing`. `consistent` says whether both orders named the same response; None where one was asked.
    """

    probability: float | None
    consistent: bool | None = None
    missing: Missing = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several answers a judge finds best: its index, or None where missing, for the reason in `missing`."""

    best: int | None
    missing: Missing = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Rating:
    """How good a judge finds one response, from 1 to 10; None where missing, for the reason in `missing`."""

    value: float | None
    missing: Missing = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Rewarded:
    """The reward of one response; of an ensemble also the members' rewards that were combined, in a fixed order."""

    reward: float | None
    members: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a reward model says of a comparison, and how sure it is.

    `margin` is the first response's reward minus the second's, None where one is missing. `probability` is the
    calibrated one of the first being better, None without a calibration. `spread` is the standard deviation of the
    margin by the model's own doubt (over members, or a Laplace approximation), None where nothing states it.
    """

    margin: float | None
    probability: float | None = None
    spread: float | None = None


Winner = Literal["first", "second", "tie"]
Decider = Literal["reward_model", "judge", "nobody"]
Fallback = Literal[
    "", "no_judge", "share", "rate", "cost", "breaker", "tie", "unparsed", "failed", "deadline", "budget"
]
"""Why an ambiguous comparison has the reward model's answer: no judge there, the router's budgets, the circuit breaker,
the judge's tie, or why its verdict is missing. "" where it is not a fallback."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a router says of one comparison: the winner, who decided, and why, in words.

    `winner` is None where nobody could decide. `escalated` says that the rule found the comparison ambiguous, `rule`
    which rule did. An escalated comparison that the reward model decided has a `fallback`. `verdict` is what the judge
    said, None where it was not asked.
    """

    id: str
    winner: Winner | None
    by: Decider
    escalated: bool
    rule: str
    why: str
    fallback: Fallback
    opinion: Opinion
    verdict: Verdict | None = None

    @property
    def probability(self) -> float | None:
        """Of the first response being the better one, by whoever decided."""
        return self.verdict.probability if self.by == "judge" and self.verdict else self.opinion.probability

    @property
    def usage(self) -> Usage:
        """What the judge's part cost."""
        return self.verdict.usage if self.verdict else Usage()


@dataclass(frozen=True, slots=True)
class Ruling:
    """The best of two or more responses (None: a tie of two, or nobody could say), and the decisions behind it.

    A decision's id names the two responses by their places: "0:2" compares the first with the third.
    """

    best: int | None
    decisions: tuple[Decision, ...]
