"""What a dialect is: a path, the request that a framework sends there, and the answer that it expects.

    DIALECT = Dialect("openrlhf", "/get_reward", …, request=Request, answer=Answer, read=read, write=write)

`read` turns a request into an `Ask`, `write` turns rewards into the answer. Rewards are raw in every dialect: a field
that another server fills with a probability holds the reward itself.

Chat messages in requests are OpenAI's, with content as text or as a list of text parts, tool calls (or the older
`function_call`), results of tools and reasoning. They are read by the reader of the data, so that a request gives the
ids that training saw of the same row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.protocols import Router
from rewardsmith.rendering.messages import RowFault, Turns, is_unread
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.limits import ItemFault, Refusal
from rewardsmith.types import Conversation, Message, with_tools


class RequestBody(BaseModel):
    """Base of requests: types are strict; unknown fields are ignored, since frameworks add some with every release."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks for.

    `model` is a name or None. `prompts` are those of rendered texts, one each, where the request names them: a reward
    does not need them, who reads the texts later does. `allow_missing` asks for null in place of a reward that cannot
    be computed; otherwise one such conversation refuses the whole request.
    """

    conversations: list[Conversation]
    model: str | None = None
    allow_missing: bool = False
    prompts: list[str] | None = None


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


def one_form(*forms: tuple[str, ...], rendered: str) -> dict[str, Any]:
    """JSON Schema for "exactly one of these groups of fields is given, whole"; null counts as not given.

    With the field `rendered`, which no template touches, there are no `tools`.
    """
    every = [name for form in forms for name in form]
    given, none = {"not": {"type": "null"}}, {"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}]}
    return {
        "oneOf": [
            {
                "required": list(form),
                "properties": {
                    **{name: given if name in form else {"type": "null"} for name in every},
                    **({"tools": none} if rendered in form else {}),
                },
            }
            for form in forms
        ]
    }


class TextPart(RequestBody):
    """A part of a message: text is all that can be rewarded."""

    type: Literal["text"]
    text: str


JsonObjects = Annotated[list[dict[str, Any]], Field(fail_fast=True)]
_NAME = 40
_SAME = frozenset({"system", "user", "assistant", "tool"})
_FAULTS = {
    "missing_field": "it has neither content nor calls",
    "unread_key": "it has a key that nothing reads, or calls or reasoning twice",
    "not_text": "it has a call without a name or with other arguments, or a name that is no text",
    "not_unicode": "it has a lone surrogate",
}
_TURNS = Turns()


class ChatMessage(RequestBody):
    """One turn. A key that nothing reads is refused where it holds something: the label may rest on it."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    tool_calls: JsonObjects | None = None
    function_call: dict[str, Any] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def read(self) -> Message:
        """As the rest of the program knows it.

        Raises:
            RowFault: it has no content and no call, a call that is none, or a key that nothing reads.
        """
        content = "".join(part.text for part in self.content) if isinstance(self.content, list) else self.content
        if self.model_fields_set <= {"role", "content"} and content is not None and self.role in _SAME:
            return Message(self.role, content)
        # The dicts of a call as they came: a template that writes them as JSON keeps the order of their keys.
        turn = {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}
        return _TURNS.read({**turn, "content": content}, "message")[0]

    def unread(self) -> str:
        """The name of a key that nothing reads, where it is a name and no text."""
        names = [name for name, value in (self.model_extra or {}).items() if is_unread(name, value)]
        return next((f": {name}" for name in names if name.isidentifier() and len(name) <= _NAME), "")


Messages = Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
Response = str | Messages
"""A response: the text of one assistant turn, or messages that end with one."""
Responses = Annotated[list[Response], Field(min_length=1, fail_fast=True)]


def text(content: str) -> Conversation:
    """A text that is rendered already, special tokens and all; only EOS is added where it lacks."""
    return (Message("text", content),)


def conversation(turns: list[ChatMessage], where: str, tools: JsonObjects | None = None) -> Conversation:
    """A conversation that ends with the response to be rewarded.

    Raises:
        Refusal: it ends with another role, or a call is none (422).
    """
    if turns[-1].role != "assistant":
        raise Refusal(
            422,
            "no_response",
            "a conversation must end with the assistant's response",
            fix="add the response as the last message, with the role assistant",
            items=[ItemFault(where=where, code="no_response", detail=f"it ends with the role {turns[-1].role}")],
        )
    return read_turns(turns, where, tools)


def prompt_of(prompt: str | list[ChatMessage], tools: JsonObjects | None = None) -> Conversation:
    """A prompt; as text it is what the user says."""
    return (
        _with_tools((Message("user", prompt),), tools)
        if isinstance(prompt, str)
        else read_turns(prompt, "prompt", tools)
    )


def side_of(response: Response, where: str) -> Conversation:
    """A response as messages."""
    return (Message("assistant", response),) if isinstance(response, str) else conversation(response, where)


def responses_to(
    prompt: str | list[ChatMessage], responses: list[Response], tools: JsonObjects | None = None
) -> list[Conversation]:
    """One conversation for each response."""
    before = prompt_of(prompt, tools)
    return [before + side_of(response, f"responses[{index}]") for index, response in enumerate(responses)]


def read_turns(turns: list[ChatMessage], where: str, tools: JsonObjects | None = None) -> Conversation:
    """Messages with the tools that they may call.

    Raises:
        Refusal: a message or a tool cannot be read (422).
    """
    read = []
    for place, turn in enumerate(turns):
        try:
            read.append(turn.read())
        except RowFault as fault:
            detail = _FAULTS.get(fault.code, fault.code) + turn.unread()
            raise _unreadable(f"{where}[{place}]", fault.code, detail) from None
    return _with_tools(tuple(read), tools)


def _with_tools(turns: Conversation, tools: JsonObjects | None) -> Conversation:
    try:
        return with_tools(turns, _TURNS.read_tools(tools))
    except RowFault as fault:
        raise _unreadable("tools", fault.code, _FAULTS["not_unicode"]) from None


def _unreadable(where: str, code: str, detail: str) -> Refusal:
    return Refusal(
        422,
        "unreadable_message",
        "a message, or a tool, cannot be read whole",
        fix="write messages as OpenAI does: content, or tool_calls with function.name and function.arguments",
        items=[ItemFault(where=where, code=code, detail=detail)],
    )
