"""`POST /v1/score`: rewards of conversations, of responses to one prompt, or of rendered texts."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewardsmith.serving.dialects.contract import (
    Ask,
    ChatMessage,
    Dialect,
    Messages,
    RequestBody,
    Rewards,
    conversation,
    one_form,
    responses_to,
    text,
)
from rewardsmith.types import Conversation


class ScoreRequest(RequestBody):
    """Exactly one of `conversations`, `prompt` with `responses`, and `texts`.

    `texts` are rendered already, special tokens written out. With `allow_missing` a conversation that cannot be scored
    gets null and a reason; without it the request is refused.
    """

    model_config = ConfigDict(json_schema_extra=one_form(("conversations",), ("prompt", "responses"), ("texts",)))

    model: str | None = None
    conversations: Annotated[list[Messages], Field(min_length=1, fail_fast=True)] | None = None
    prompt: str | Messages | None = None
    responses: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    texts: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    allow_missing: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.prompt is None) != (self.responses is None):
            raise ValueError("prompt and responses belong together")
        if sum(form is not None for form in (self.conversations, self.prompt, self.texts)) != 1:
            raise ValueError("give exactly one of conversations, prompt with responses, and texts")
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
        turns: list[list[ChatMessage]] = request.conversations
        return [conversation(one, f"conversations[{index}]") for index, one in enumerate(turns)]
    if request.texts is not None:
        return [text(one) for one in request.texts]
    return responses_to(request.prompt or "", request.responses or [])


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
