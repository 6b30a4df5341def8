"""SGLang's `POST /classify`: `text` in, the raw reward as an embedding of one number out.

The path is also vLLM's; a request that has `text` is SGLang's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from rewardsmith.serving.dialects.contract import Ask, Dialect, RequestBody, Rewards, text


class SglangRequest(RequestBody):
    """Rendered text, or a list of them."""

    model: str | None = None
    text: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]


class MetaInfo(BaseModel):
    """Tokens of the text."""

    prompt_tokens: int


class Embedded(BaseModel):
    """One text."""

    embedding: list[float]
    meta_info: MetaInfo


SglangAnswer = list[Embedded] | Embedded


def read(request: SglangRequest) -> Ask:
    """One text each."""
    texts = [request.text] if isinstance(request.text, str) else request.text
    return Ask([text(one) for one in texts], request.model)


def write(request: SglangRequest, rewards: Rewards) -> list[Embedded] | Embedded:
    """A list for a list, one for one."""
    found = [
        Embedded(embedding=[value], meta_info=MetaInfo(prompt_tokens=tokens))
        for value, tokens in zip(rewards.present, rewards.tokens, strict=True)
    ]
    return found[0] if isinstance(request.text, str) else found


DIALECT = Dialect(
    name="sglang_classify",
    path="/classify",
    summary="SGLang: classify",
    request=SglangRequest,
    answer=SglangAnswer,
    read=read,
    write=write,
    marker="text",
    example={"text": ["Hi there"]},
)
