"""vLLM's two ways of asking for a reward, both with rendered text under `input` or a chat under `messages`.

`POST /classify`, and what verl and TRL's vLLM clients read of it: the raw reward in `data[i].probs[0]`.
`POST /pooling` with `task: "classify"`: the raw reward in `data[i].data[0]`.

The reward is raw whatever `use_activation` says: a checkpoint of ours says `problem_type: "regression"`, for which
vLLM's activation changes nothing either.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rewardsmith.serving.dialects.contract import (
    Ask,
    Dialect,
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
    # Accepted, and not read: rewards are raw whatever it says.
    use_activation: bool | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give exactly one of input and messages")
        if self.input is not None and self.tools:
            raise ValueError("input is rendered already: tools belong to messages")
        return self


def read(request: VllmRequest) -> Ask:
    """Texts, or one conversation."""
    if request.messages is not None:
        return Ask([conversation(request.messages, "messages", request.tools)], request.model)
    texts = [request.input] if isinstance(request.input, str) else request.input or []
    return Ask([text(one) for one in texts], request.model)


class Usage(BaseModel):
    """Tokens read; none are made."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


def usage(rewards: Rewards) -> Usage:
    """The sum over the texts."""
    tokens = sum(rewards.tokens)
    return Usage(prompt_tokens=tokens, total_tokens=tokens)


class Classified(BaseModel):
    """One text; `probs` holds its raw reward."""

    index: int
    label: str = "LABEL_0"
    probs: list[float]
    num_classes: int = 1


class ClassifyAnswer(BaseModel):
    """As vLLM's ClassificationResponse."""

    object: Literal["list"] = "list"
    model: str
    data: list[Classified]
    usage: Usage


def write_classes(request: VllmRequest, rewards: Rewards) -> ClassifyAnswer:
    """One entry for each text."""
    del request
    data = [Classified(index=index, probs=[value]) for index, value in enumerate(rewards.present)]
    return ClassifyAnswer(model=rewards.model, data=data, usage=usage(rewards))


CLASSIFY = Dialect(
    name="vllm_classify",
    path="/classify",
    summary="vLLM and verl on vLLM: classify",
    request=VllmRequest,
    answer=ClassifyAnswer,
    read=read,
    write=write_classes,
    example={"input": ["Hi there"], "use_activation": False},
)


class PoolingRequest(VllmRequest):
    """No other task than classify: a reward model has no embeddings to give."""

    task: Literal["classify"] | None = None


class Pooled(BaseModel):
    """One text; `data` holds its raw reward."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float]


class PoolingAnswer(BaseModel):
    """As vLLM's PoolingResponse."""

    object: Literal["list"] = "list"
    model: str
    data: list[Pooled]
    usage: Usage


def write_pooled(request: PoolingRequest, rewards: Rewards) -> PoolingAnswer:
    """One entry for each text."""
    del request
    data = [Pooled(index=index, data=[value]) for index, value in enumerate(rewards.present)]
    return PoolingAnswer(model=rewards.model, data=data, usage=usage(rewards))


POOLING = Dialect(
    name="vllm_pooling",
    path="/pooling",
    summary="vLLM: pooling with task classify",
    request=PoolingRequest,
    answer=PoolingAnswer,
    read=read,
    write=write_pooled,
    example={"input": ["Hi there"], "task": "classify"},
)
