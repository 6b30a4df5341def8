"""The values that every layer speaks: messages, pairs, best-of-N rows, comparisons and verdicts. Frozen, no imports.

A conversation is a tuple of messages that ends with the response to be rewarded. Plain text that no chat template
should touch travels as messages of role `"text"`, whose contents are joined as they are; a conversation is either all
text or not text at all.

The tools that a conversation may call travel as its first message, of role `"tools"`: so they belong to the prompt, and
whatever passes a conversation on (to a template, a server, a cache, a digest) passes its tools on with it.
`with_tools` puts them there, `tools_of` takes them off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

TOOLS = "tools"
"""Role of the message that holds a conversation's tools, as JSON text of the list that chat templates take."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks (`system`, `user`, `assistant`, `tool`, `text` or `tools`) and what is said.

    `tool_calls` is the JSON text of OpenAI's list of calls, `[{"id": …, "type": "function", "function": {"name": …,
    "arguments": …}}]`, as the data have it, so that templates see what they would see of the row itself; a message of
    role `tool` answers the call `tool_call_id`. `reasoning_content` is what a model thought before it spoke. "" where a
    message has none.
    """

    role: str
    content: str
    tool_calls: str = ""
    tool_call_id: str = ""
    name: str = ""
    reasoning_content: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether role and content are all there is."""
        return not (self.tool_calls or self.tool_call_id or self.name or self.reasoning_content)

    def as_dict(self) -> dict[str, Any]:
        """As it stands on disk, in requests, and as chat templates take it."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            turn["tool_calls"] = json.loads(self.tool_calls)
        for name in ("tool_call_id", "name", "reasoning_content"):
            if value := getattr(self, name):
                turn[name] = value
        return turn

    @property
    def text(self) -> str:
        """All that a model may read of this turn: reasoning, content and calls."""
        return self.content if self.is_plain else "\n".join(filter(None, self._said()))

    def _said(self) -> tuple[str, ...]:
        return self.reasoning_content, self.content, self.tool_calls


Conversation = tuple[Message, ...]


def with_tools(conversation: Conversation, tools: Sequence[Any]) -> Conversation:
    """A conversation that may call `tools` (JSON values); the same conversation where there are none."""
    return (Message(TOOLS, json.dumps(tools, ensure_ascii=False)), *conversation) if tools else conversation


def tools_of(conversation: Conversation) -> tuple[list[Any], Conversation]:
    """The tools of a conversation, and the conversation without them."""
    if conversation and conversation[0].role == TOOLS:
        return json.loads(conversation[0].content), conversation[1:]
    return [], conversation


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

    @property
    def tools(self) -> list[Any]:
        """What the responses may call, [] where nothing: the prompt's first message holds it."""
        return tools_of(self.prompt)[0]


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
class JudgeAnswer:
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


@dataclass(frozen=True, slots=True)
class Rating:
    """How good a judge finds one response, from 1 to 10; None where missing, for the reason in `missing`."""

    value: float | None
    missing: Missing = ""


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
    verdict: JudgeAnswer | None = None

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
