"""slime's and miles' `remote_rm`: a prompt and a response in, the bare number out. The path is ours to choose.

    --rm-type remote_rm --rm-url http://host:port/slime

A prompt as text is rendered already (slime applies the template before it generates), so prompt and response are joined
as they are; a prompt as messages is a chat.
"""

from __future__ import annotations

from typing import Any

from rewardsmith.serving.dialects.contract import Ask, Dialect, Messages, RequestBody, Rewards, responses_to, text


class SlimeRequest(RequestBody):
    """`label` is for rules; a reward model does not need it."""

    prompt: str | Messages
    response: str
    label: Any = None


def read(request: SlimeRequest) -> Ask:
    """One conversation."""
    if isinstance(request.prompt, str):
        return Ask([text(request.prompt + request.response)], prompts=[request.prompt])
    return Ask(responses_to(request.prompt, [request.response]))


def write(request: SlimeRequest, rewards: Rewards) -> float:
    """The number itself."""
    del request
    return rewards.present[0]


DIALECT = Dialect(
    name="slime",
    path="/slime",
    summary="slime and miles: remote_rm",
    request=SlimeRequest,
    answer=float,
    read=read,
    write=write,
    example={"prompt": "What is 17 + 25?", "response": "42", "label": None},
)
