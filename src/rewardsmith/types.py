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
