"""What a dialect is: a path, the request that a framework sends there, and the answer that it expects.

    DIALECT = Dialect("openrlhf", "/get_reward", …, request=Request, answer=Answer, read=read, write=write)

`read` turns a request into an `Ask`, `write` turns rewards into the answer. Rewards are raw in every dialect: a field
that another server fills with a probability holds the reward itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from rewardsmith.protocols import Router
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.types import Conversation, Message


class RequestBody(BaseModel):
    """Base of requests: types are strict; unknown fields are ignored, since frameworks add some with every release."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks for.

    `model` is a name or None. `allow_missing` asks for null in place of a reward that cannot be computed; otherwise
    one such conversation refuses the whole request.
    """

    conversations: list[Conversation]
    model: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True, slots=True)
class Rewards:
    """What the model gave, in the order of the conversations; None only where missing ones are allowed.

    `tokens` are those of each text, `cut` the prompt tokens that the length policy took away, `members` an ensemble's
    rewards by member (None: left out), `spread` their standard deviations (empty: no ensemble), `reasons` why a reward
    is missing ("" elsewhere).
    """

    values: list[float | None]
    tokens: list[int]
    cut: list[int]
    reasons: list[str]
    members: dict[str, list[float | None]]
    model: str
    info: ModelInfo
    spread: list[float | None] = field(default_factory=list)

    @property
    def left_out(self) -> list[str]:
        """Members of an ensemble that gave no reward to a conversation that has one."""
        return [
            name
            for name, values in self.members.items()
            if any(value is None and reward is not None for value, reward in zip(values, self.values, strict=True))
        ]

    @property
    def present(self) -> list[float]:
        """The rewards where none may be missing."""
        return [value for value in self.values if value is not None]


class Read(Protocol):
    """Request → what it asks for."""

    def __call__(self, request: Any) -> Ask:
        """May raise `Refusal`."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One framework's way to ask.

    `marker` is the field by which two dialects of one path are told apart: this one is meant if the request has it.
    `patient` clients wait for 180 s and give up after a few refusals: they wait for room in a full queue. `settle`
    stands in place of `write` where an answer may need a router, or anything else that is waited for.
    """

    name: str
    path: str
    summary: str
    request: type[RequestBody]
    answer: Any
    read: Read
    write: Callable[[Any, Rewards], Any]
    marker: str | None = None
    patient: bool = False
    settle: Callable[[Any, Rewards, Router | None], Awaitable[Any]] | None = None
    example: dict[str, Any] = field(default_factory=dict)


def one_form(*forms: tuple[str, ...]) -> dict[str, Any]:
    """JSON Schema for "exactly one of these groups of fields is given, whole"; null counts as not given."""
    every = [name for form in forms for name in form]
    given = {"not": {"type": "null"}}
    return {
        "oneOf": [
            {
                "required": list(form),
                "properties": {name: given if name in form else {"type": "null"} for name in every},
            }
            for form in forms
        ]
    }


def text(content: str) -> Conversation:
    """A text that is rendered already, special tokens and all; only EOS is added where it lacks."""
    return (Message("text", content),)
