"""Chat messages as requests carry them: roles, and content as text or as a list of text parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewardsmith.serving.dialects.contract import RequestBody
from rewardsmith.serving.refusals import ItemFault, Refusal
from rewardsmith.types import Conversation, Message


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
