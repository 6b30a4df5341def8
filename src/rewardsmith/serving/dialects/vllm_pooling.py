"""vLLM's `POST /pooling` with `task: "classify"`: the raw reward in `data[i].data[0]`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from rewardsmith.serving.dialects.contract import Dialect, Rewards
from rewardsmith.serving.dialects.vllm_input import Usage, VllmRequest, read, usage


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


def write(request: PoolingRequest, rewards: Rewards) -> PoolingAnswer:
    """One entry for each text."""
    del request
    data = [Pooled(index=index, data=[value]) for index, value in enumerate(rewards.present)]
    return PoolingAnswer(model=rewards.model, data=data, usage=usage(rewards))


DIALECT = Dialect(
    name="vllm_pooling",
    path="/pooling",
    summary="vLLM: pooling with task classify",
    request=PoolingRequest,
    answer=PoolingAnswer,
    read=read,
    write=write,
    example={"input": ["Hi there"], "task": "classify"},
)
