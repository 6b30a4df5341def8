"""`POST /v1/score`: rewards of conversations, of responses to one prompt, or of rendered texts."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from rewardsmith.serving.dialects.contract import (
    Ask,
    Dialect,
    JsonObjects,
    Messages,
    RequestBody,
    Responses,
    Rewards,
    conversation,
    one_form,
    responses_to,
    text,
)
from rewardsmith.types import Conversation


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


def read(request: ScoreRequest) -> Ask:
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


def write(request: ScoreRequest, rewards: Rewards) -> ScoreAnswer:
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


DIALECT = Dialect(
    name="score",
    path="/v1/score",
    summary="Rewards of conversations, of responses to one prompt, or of rendered texts",
    request=ScoreRequest,
    answer=ScoreAnswer,
    read=read,
    write=write,
    example={"prompt": "What is 17 + 25?", "responses": ["42", "41"]},
)
