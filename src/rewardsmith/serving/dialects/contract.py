"""What a dialect is: a path, the request that a framework sends there, and the answer that it expects.

    DIALECT = Dialect("openrlhf", "/get_reward", …, request=Request, answer=Answer, read=read, write=write)

`read` turns a request into an `Ask`, `write` turns rewards into the answer. Rewards are raw in every dialect: a field
that another server fills with a probability holds the reward itself.

Chat messages as requests carry them: roles, and content as text or as a list of text parts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.protocols import Router
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.refusals import ItemFault, Refusal
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


class TextPart(RequestBody):
    """A part of a message: text is all that can be rewarded."""

    type: Literal["text"]
    text: str


class ChatMessage(RequestBody):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]

    def plain(self) -> Message:
        """As the rest of the program knows it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(self.role, content)


Messages = Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]


def conversation(turns: list[ChatMessage], where: str) -> Conversation:
    """A conversation that ends with the response to be rewarded.

    Raises:
        Refusal: it ends with another role (422).
    """
    if turns[-1].role != "assistant":
        raise Refusal(
            422,
            "no_response",
            "a conversation must end with the assistant's response",
            fix="add the response as the last message, with the role assistant",
            items=[ItemFault(where=where, code="no_response", detail=f"it ends with the role {turns[-1].role}")],
        )
    return tuple(turn.plain() for turn in turns)


def responses_to(prompt: str | list[ChatMessage], responses: list[str]) -> list[Conversation]:
    """One conversation for each response; a prompt as text is what the user says."""
    before = (Message("user", prompt),) if isinstance(prompt, str) else tuple(turn.plain() for turn in prompt)
    return [(*before, Message("assistant", response)) for response in responses]
