"""verl on SGLang's side: `POST /v1/embeddings`, read as `data[-1].embedding[-1]`.

verl sends the model's path as its name. Give it the address `host:port/models/NAME` as its router: then the name in the
request does not count.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from rewardsmith.serving.dialects.contract import Ask, Dialect, RequestBody, Rewards, text
from rewardsmith.serving.dialects.vllm import Usage, usage


class EmbeddingsRequest(RequestBody):
    """Rendered text, or a list of them."""

    model: str | None = None
    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]


class Embedding(BaseModel):
    """One text; `embedding` holds its raw reward."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float]


class EmbeddingsAnswer(BaseModel):
    """As OpenAI's embeddings."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: Usage


def read(request: EmbeddingsRequest) -> Ask:
    """One text each."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    return Ask([text(one) for one in texts], request.model)


def write(request: EmbeddingsRequest, rewards: Rewards) -> EmbeddingsAnswer:
    """One entry for each text."""
    del request
    data = [Embedding(index=index, embedding=[value]) for index, value in enumerate(rewards.present)]
    return EmbeddingsAnswer(model=rewards.model, data=data, usage=usage(rewards))


DIALECT = Dialect(
    name="verl",
    path="/v1/embeddings",
    summary="verl on SGLang's side: embeddings",
    request=EmbeddingsRequest,
    answer=EmbeddingsAnswer,
    read=read,
    write=write,
    example={"input": "Hi there"},
)
