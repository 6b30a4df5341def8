"""`POST /v1/compare`: responses to one prompt, ranked, with calibrated probabilities where the checkpoint has them.

    P(i is preferred to j) = sigmoid((reward_i - reward_j) / temperature)
    P(i is the best)       = softmax(reward / temperature)_i         (Luce's rule, of which the first is a case)

The temperature is the checkpoint's calibration (`rewardsmith.json`). Without one there are no probabilities: null.
With `route: auto` a judge decides what the reward model is not sure of (`routed.py`); the ranking stays the model's.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from rewardsmith.bradley_terry import preference_probability
from rewardsmith.protocols import Router
from rewardsmith.serving.dialects.contract import Ask, Dialect, RequestBody, Rewards
from rewardsmith.serving.dialects.messages import Messages, responses_to
from rewardsmith.serving.dialects.routed import Routed, routed

Floats = NDArray[np.float64]


class CompareRequest(RequestBody):
    """A prompt, as text or as messages, and at least two responses.

    With `route: auto` ambiguous comparisons go to the server's judge.
    """

    model: str | None = None
    prompt: str | Messages
    responses: Annotated[list[str], Field(min_length=2, fail_fast=True)]
    route: Literal["reward_model", "auto"] = "reward_model"


class Ranked(BaseModel):
    """One response: its place in the request, its rank from 1 (equal rewards share one), its raw reward."""

    index: int
    rank: int
    reward: float
    best_probability: float | None


class CompareAnswer(BaseModel):
    """The responses, best first; `preferred[i][j]` is P(response i is preferred to response j), by request order.

    `routed` says which one is best by reward model and judge together; null unless it was asked for.
    """

    model: str
    identity: str
    ranking: list[Ranked]
    calibrated: bool
    temperature: float | None
    preferred: list[list[float]] | None
    routed: Routed | None = None


def read(request: CompareRequest) -> Ask:
    """One conversation for each response."""
    return Ask(responses_to(request.prompt, request.responses), request.model)


def write(request: CompareRequest, rewards: Rewards) -> CompareAnswer:
    """Rank, and say how sure the model is."""
    del request
    values = np.array(rewards.present)
    temperature = rewards.info.temperature
    best = preferred = None
    if temperature is not None:
        with np.errstate(over="ignore"):  # an infinite margin is a probability of 0 or 1
            best = _softmax(values, temperature)
            preferred = preference_probability(values[:, None] - values[None, :], temperature).tolist()
    order = np.argsort(-values, kind="stable").tolist()
    return CompareAnswer(
        model=rewards.model,
        identity=rewards.info.identity,
        ranking=[
            Ranked(
                index=index,
                rank=1 + int((values > values[index]).sum()),
                reward=float(values[index]),
                best_probability=None if best is None else float(best[index]),
            )
            for index in order
        ],
        calibrated=temperature is not None,
        temperature=temperature,
        preferred=preferred,
    )


async def settle(request: CompareRequest, rewards: Rewards, router: Router | None) -> CompareAnswer:
    """The ranking, and with `route: auto` the router's ruling."""
    answer = write(request, rewards)
    if request.route == "reward_model":
        return answer
    found = await routed(responses_to(request.prompt, request.responses), rewards, router)
    return answer.model_copy(update={"routed": found})


def _softmax(values: Floats, temperature: float) -> Floats:
    """Softmax of values / temperature; the largest is taken off first, since a small temperature makes infinities."""
    weights = np.exp((values - values.max()) / temperature)
    return np.asarray(weights / weights.sum())


DIALECT = Dialect(
    name="compare",
    path="/v1/compare",
    summary="Responses to one prompt, ranked, with calibrated probabilities",
    request=CompareRequest,
    answer=CompareAnswer,
    read=read,
    write=write,
    settle=settle,
    example={"prompt": "What is 17 + 25?", "responses": ["42", "41"]},
)
