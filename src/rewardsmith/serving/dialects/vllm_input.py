"""What vLLM's `/classify` and `/pooling` have in common: rendered text under `input`, or a chat under `messages`.

The reward is raw whatever `use_activation` says: a checkpoint of ours says `problem_type: "regression"`, for which
vLLM's activation changes nothing either.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewardsmith.serving.dialects.contract import (
    Ask,
    JsonObjects,
    Messages,
    RequestBody,
    Rewards,
    conversation,
    one_form,
    text,
)


class VllmRequest(RequestBody):
    """Exactly one of `input` and `messages`; `tools` are those that the messages may call."""

    model_config = ConfigDict(json_schema_extra=one_form(("input",), ("messages",), rendered="input"))

    model: str | None = None
    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    messages: Messages | None = None
    tools: JsonObjects | None = None
    use_activation: bool | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give exactly one of input and messages")
        if self.input is not None and self.tools:
            raise ValueError("input is rendered already: tools belong to messages")
        return self


class Usage(BaseModel):
    """Tokens read; none are made."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


def read(request: VllmRequest) -> Ask:
    """Texts, or one conversation."""
    if request.messages is not None:
        return Ask([conversation(request.messages, "messages", request.tools)], request.model)
    texts = [request.input] if isinstance(request.input, str) else request.input or []
    return Ask([text(one) for one in texts], request.model)


def usage(rewards: Rewards) -> Usage:
    """The sum over the texts."""
    tokens = sum(rewards.tokens)
    return Usage(prompt_tokens=tokens, total_tokens=tokens)
