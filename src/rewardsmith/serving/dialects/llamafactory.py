"""LLaMA-Factory's reward server: `POST /v1/score/evaluation`, rendered texts under `messages`.

Its client sends the fixed name "model", so a name in the request does not count here; with several models, use the
address `/models/NAME/v1/score/evaluation`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rewardsmith.serving.dialects.contract import Ask, Dialect, RequestBody, Rewards, text


class EvaluationRequest(RequestBody):
    """Rendered texts."""

    model: Any = None
    messages: Annotated[list[str], Field(min_length=1, fail_fast=True)]


class EvaluationAnswer(BaseModel):
    """As LLaMA-Factory's ScoreEvaluationResponse."""

    object: Literal["score.evaluation"] = "score.evaluation"
    model: str
    scores: list[float]


def read(request: EvaluationRequest) -> Ask:
    """One text each."""
    return Ask([text(one) for one in request.messages])


def write(request: EvaluationRequest, rewards: Rewards) -> EvaluationAnswer:
    """Raw rewards."""
    del request
    return EvaluationAnswer(model=rewards.model, scores=rewards.present)


DIALECT = Dialect(
    name="llamafactory",
    path="/v1/score/evaluation",
    summary="LLaMA-Factory: score evaluation",
    request=EvaluationRequest,
    answer=EvaluationAnswer,
    read=read,
    write=write,
    example={"model": "model", "messages": ["Hi there"]},
)
