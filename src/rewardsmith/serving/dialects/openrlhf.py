"""OpenRLHF's remote reward model: `POST /get_reward` with rendered texts, special tokens kept.

Its client posts one text a call without headers of its own, waits 180 s, tries five times at once and then goes on
without a reward; so it is never told to come back while there is hope. Some releases send empty lists. Its own server
adds no EOS; here a text without EOS gets one, because the model was trained to be read there.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from rewardsmith.serving.dialects.contract import Ask, Dialect, RequestBody, Rewards, text


class OpenRlhfRequest(RequestBody):
    """`prompts` and `labels` are for reward functions; a reward model needs neither."""

    query: Annotated[list[str], Field(fail_fast=True)]
    prompts: Any = None
    labels: Any = None


class OpenRlhfAnswer(BaseModel):
    """`scores` repeats the raw rewards; `extra_logs` has an ensemble's members and their spread."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def read(request: OpenRlhfRequest) -> Ask:
    """One text each."""
    prompts = request.prompts
    named = (
        isinstance(prompts, list)
        and len(prompts) == len(request.query)
        and all(isinstance(one, str) for one in prompts)
    )
    return Ask([text(query) for query in request.query], prompts=prompts if named else None)


def write(request: OpenRlhfRequest, rewards: Rewards) -> OpenRlhfAnswer:
    """Raw rewards twice, as its own server answers."""
    del request
    logs: dict[str, list[float]] = {}
    if rewards.members:
        # Its client makes tensors of the values: a list is whole or not there.
        logs = {f"reward_{name}": _whole(values) for name, values in rewards.members.items() if None not in values}
        logs["reward_spread"] = _whole(rewards.spread)
        logs["members_left_out"] = [float(found.count(None)) for found in zip(*rewards.members.values(), strict=True)]
    return OpenRlhfAnswer(rewards=rewards.present, scores=rewards.present, extra_logs=logs)


def _whole(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


DIALECT = Dialect(
    name="openrlhf",
    path="/get_reward",
    summary="OpenRLHF: remote_rm_url",
    request=OpenRlhfRequest,
    answer=OpenRlhfAnswer,
    read=read,
    write=write,
    patient=True,
    example={
        "query": ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"],
        "prompts": [],
        "labels": [],
    },
)
