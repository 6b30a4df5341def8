"""Our own two requests: `POST /v1/score` gives rewards, `POST /v1/compare` ranks responses.

`/v1/compare` adds calibrated probabilities where the checkpoint has a temperature (`rewardsmith.json`), else null:

    P(i is preferred to j) = sigmoid((reward_i - reward_j) / temperature)
    P(i is the best)       = softmax(reward / temperature)_i         (Luce's rule, of which the first is a case)

With `route: auto` a judge decides what the reward model is not sure of; the ranking stays the model's. The router is
handed in (`protocols.Router`). A server without one answers as the reward model does, and says so (`fallback:
no_judge`): a client need not know how the server was started.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from rewardsmith.bradley_terry import preference_probability
from rewardsmith.protocols import Router
from rewardsmith.serving.dialects.contract import (
    Ask,
    Dialect,
    JsonObjects,
    Messages,
    RequestBody,
    Response,
    Responses,
    Rewards,
    conversation,
    one_form,
    prompt_of,
    responses_to,
    side_of,
    text,
)
from rewardsmith.types import Conversation, Decider, Decision, Fallback, Rewarded


class Chat(RequestBody):
    """A conversation with the tools that it may call."""

    messages: Messages
    tools: JsonObjects | None = None


def _which(value: Any) -> str:
    return "with_tools" if isinstance(value, dict | Chat) else "messages"


OneConversation = Annotated[
    Annotated[Messages, Tag("messages")] | Annotated[Chat, Tag("with_tools")], Discriminator(_which)
]
"""Messages, or an object of messages and tools."""


class ScoreRequest(RequestBody):
    """Exactly one of `conversations`, `prompt` with `responses`, and `texts`.

    A conversation is a list of messages, or an object of `messages` and `tools`; `tools` beside them are those of all
    conversations that name none. A response is a text, or messages that end with the assistant's. `texts` are rendered
    already, special tokens written out. With `allow_missing` a conversation that cannot be scored gets null and a
    reason; without it the request is refused.
    """

    model_config = ConfigDict(
        json_schema_extra=one_form(("conversations",), ("prompt", "responses"), ("texts",), rendered="texts")
    )

    model: str | None = None
    conversations: Annotated[list[OneConversation], Field(min_length=1, fail_fast=True)] | None = None
    prompt: str | Messages | None = None
    responses: Responses | None = None
    texts: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    tools: JsonObjects | None = None
    allow_missing: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.prompt is None) != (self.responses is None):
            raise ValueError("prompt and responses belong together")
        if sum(form is not None for form in (self.conversations, self.prompt, self.texts)) != 1:
            raise ValueError("give exactly one of conversations, prompt with responses, and texts")
        if self.texts is not None and self.tools:
            raise ValueError("texts are rendered already: tools belong to conversations or a prompt")
        return self


class ScoreAnswer(BaseModel):
    """Raw rewards in the order of the request. `cut` counts prompt tokens that the length policy took away.

    Of an ensemble: `members` are the rewards that were combined, `spread` their standard deviations, `left_out` the
    members that failed for some conversation (null in `members`).
    """

    model: str
    identity: str
    rewards: list[float | None]
    tokens: list[int]
    cut: list[int]
    reasons: list[str]
    members: dict[str, list[float | None]]
    spread: list[float | None]
    left_out: list[str]


def read_score(request: ScoreRequest) -> Ask:
    """The conversations of whichever form was used."""
    return Ask(_conversations(request), request.model, request.allow_missing)


def _conversations(request: ScoreRequest) -> list[Conversation]:
    if request.conversations is not None:
        chats = [one if isinstance(one, Chat) else Chat(messages=one) for one in request.conversations]
        return [
            conversation(one.messages, f"conversations[{index}]", one.tools or request.tools)
            for index, one in enumerate(chats)
        ]
    if request.texts is not None:
        return [text(one) for one in request.texts]
    return responses_to(request.prompt or "", request.responses or [], request.tools)


def write_score(request: ScoreRequest, rewards: Rewards) -> ScoreAnswer:
    """Everything that is known."""
    del request
    return ScoreAnswer(
        model=rewards.model,
        identity=rewards.info.identity,
        rewards=rewards.values,
        tokens=rewards.tokens,
        cut=rewards.cut,
        reasons=rewards.reasons,
        members=rewards.members,
        spread=rewards.spread,
        left_out=rewards.left_out,
    )


SCORE = Dialect(
    name="score",
    path="/v1/score",
    summary="Rewards of conversations, of responses to one prompt, or of rendered texts",
    request=ScoreRequest,
    answer=ScoreAnswer,
    read=read_score,
    write=write_score,
    example={"prompt": "What is 17 + 25?", "responses": ["42", "41"]},
)


class CompareRequest(RequestBody):
    """A prompt, as text or as messages, and at least two responses: texts, or messages that end with the assistant's.

    With `route: auto` ambiguous comparisons go to the server's judge.
    """

    model: str | None = None
    prompt: str | Messages
    responses: Annotated[list[Response], Field(min_length=2, fail_fast=True)]
    tools: JsonObjects | None = None
    route: Literal["reward_model", "auto"] = "reward_model"


class Ranked(BaseModel):
    """One response: its place in the request, its rank from 1 (equal rewards share one), its raw reward."""

    index: int
    rank: int
    reward: float
    best_probability: float | None


class RoutedPair(BaseModel):
    """One decision between two responses, named by their places in the request.

    `winner` is null for a tie, and where nobody could say. `probability` is that of `first` being the better one, by
    whoever decided. An ambiguous comparison (`escalated`) that the reward model decided has a `fallback`.
    """

    first: int
    second: int
    winner: int | None
    by: Decider
    escalated: bool
    rule: str
    why: str
    fallback: Fallback
    probability: float | None
    calls: int
    cost: float


class Routed(BaseModel):
    """The best response (null: a tie of two) and the decisions that led to it; `by` is who decided the last of them."""

    best: int | None
    by: Literal["reward_model", "judge", "nobody"]
    fallback: Fallback
    calls: int
    cost: float
    decisions: list[RoutedPair]


class CompareAnswer(BaseModel):
    """The responses, best first; `preferred[i][j]` is P(response i is preferred to response j), by request order.

    `routed` says which one is best by reward model and judge together; null unless it was asked for.
    """

    model: str
    identity: str
    ranking: list[Ranked]
    calibrated: bool
    temperature: float | None
    preferred: list[list[float]] | None
    routed: Routed | None = None


def read_compare(request: CompareRequest) -> Ask:
    """One conversation for each response."""
    return Ask(responses_to(request.prompt, request.responses, request.tools), request.model)


def write_compare(request: CompareRequest, rewards: Rewards) -> CompareAnswer:
    """Rank, and say how sure the model is."""
    del request
    values = np.array(rewards.present)
    temperature = rewards.info.temperature
    best = preferred = None
    if temperature is not None:
        with np.errstate(over="ignore"):  # an infinite margin is a probability of 0 or 1
            best = _softmax(values, temperature)
            preferred = preference_probability(values[:, None] - values[None, :], temperature).tolist()
    order = np.argsort(-values, kind="stable").tolist()
    return CompareAnswer(
        model=rewards.model,
        identity=rewards.info.identity,
        ranking=[
            Ranked(
                index=index,
                rank=1 + int((values > values[index]).sum()),
                reward=float(values[index]),
                best_probability=None if best is None else float(best[index]),
            )
            for index in order
        ],
        calibrated=temperature is not None,
        temperature=temperature,
        preferred=preferred,
    )


def _softmax(values: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Softmax of values / temperature; the largest is taken off first, since a small temperature makes infinities."""
    weights = np.exp((values - values.max()) / temperature)
    return np.asarray(weights / weights.sum())


async def settle(request: CompareRequest, rewards: Rewards, router: Router | None) -> CompareAnswer:
    """The ranking, and with `route: auto` the router's ruling."""
    answer = write_compare(request, rewards)
    if request.route == "reward_model":
        return answer
    sides = [side_of(response, f"responses[{index}]") for index, response in enumerate(request.responses)]
    found = await routed(prompt_of(request.prompt, request.tools), sides, rewards, router)
    return answer.model_copy(update={"routed": found})


async def routed(
    prompt: Conversation, responses: list[Conversation], rewards: Rewards, router: Router | None
) -> Routed:
    """The router's ruling on responses to one prompt, whose rewards are known."""
    if router is None:
        return _by_reward(rewards)
    members = list(rewards.members.values())
    found = await router.rule(
        prompt,
        responses,
        [
            Rewarded(value, tuple(own for of_member in members if (own := of_member[place]) is not None))
            for place, value in enumerate(rewards.values)
        ],
        rewards.info.temperature,
    )
    pairs = [_pair(decision) for decision in found.decisions]
    decisive = next((pair for pair in reversed(pairs) if found.best in (pair.first, pair.second)), pairs[-1])
    return Routed(
        best=found.best,
        by=decisive.by,
        fallback=decisive.fallback,
        calls=sum(pair.calls for pair in pairs),
        cost=sum(pair.cost for pair in pairs),
        decisions=pairs,
    )


def _by_reward(rewards: Rewards) -> Routed:
    values = rewards.present
    best = max(range(len(values)), key=values.__getitem__)
    tied = len(values) == 2 and values[0] == values[1]
    return Routed(best=None if tied else best, by="reward_model", fallback="no_judge", calls=0, cost=0.0, decisions=[])


def _pair(decision: Decision) -> RoutedPair:
    first, second = map(int, decision.id.split(":"))
    return RoutedPair(
        first=first,
        second=second,
        winner={"first": first, "second": second}.get(decision.winner or ""),
        by=decision.by,
        escalated=decision.escalated,
        rule=decision.rule,
        why=decision.why,
        fallback=decision.fallback,
        probability=decision.probability,
        calls=decision.usage.calls,
        cost=decision.usage.cost,
    )


COMPARE = Dialect(
    name="compare",
    path="/v1/compare",
    summary="Responses to one prompt, ranked, with calibrated probabilities",
    request=CompareRequest,
    answer=CompareAnswer,
    read=read_compare,
    write=write_compare,
    settle=settle,
    example={"prompt": "What is 17 + 25?", "responses": ["42", "41"]},
)
