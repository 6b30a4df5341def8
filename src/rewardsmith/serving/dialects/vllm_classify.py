"""vLLM's `POST /classify`, and what verl and TRL's vLLM clients read of it: `data[i].probs[0]`, here the raw reward."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from rewardsmith.serving.dialects.contract import Dialect, Rewards
from rewardsmith.serving.dialects.vllm_input import Usage, VllmRequest, read, usage


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


def write(request: VllmRequest, rewards: Rewards) -> ClassifyAnswer:
    """One entry for each text."""
    del request
    data = [Classified(index=index, probs=[value]) for index, value in enumerate(rewards.present)]
    return ClassifyAnswer(model=rewards.model, data=data, usage=usage(rewards))


DIALECT = Dialect(
    name="vllm_classify",
    path="/classify",
    summary="vLLM and verl on vLLM: classify",
    request=VllmRequest,
    answer=ClassifyAnswer,
    read=read,
    write=write,
    example={"input": ["Hi there"], "use_activation": False},
)
