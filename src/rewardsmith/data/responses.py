"""From one row of a file to the conversations that are to be rewarded, in the forms that such files have.

    found = read_responses(row, "chat")          # Responses, or Unreadable with the reason
    found.conversations                          # one reward each, in this order

| the row has | conversations |
|---|---|
| `conversation` or `messages` | one: the messages, which end with the response |
| `prompt` and `responses` (or `completions`) | one for each response |
| `prompt` and `response` (or `completion`) | one |
| `chosen` and `rejected`, with `prompt` or without | two: chosen, then rejected |
| `text` | one: plain text that is rendered already |

`tools` beside any of the first four are what these may call.

The first that fits counts. A prompt is text or messages, a response likewise; with `strings="text"` a prompt and a
response that are both texts are joined as they are, without a template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardsmith.data.columns import Columns
from rewardsmith.data.forms import GroupedReader, LoneReader, Strings, read_pair
from rewardsmith.rendering.messages import RowFault, Turns, read_messages, read_text
from rewardsmith.types import TOOLS, Conversation, Message, with_tools

_PROMPTS = ("prompt", "input")
_LISTS = ("responses", "completions")
_SINGLES = ("response", "completion")
_TURNS = Turns()


@dataclass(frozen=True, slots=True)
class Responses:
    """What a row asks for."""

    conversations: tuple[Conversation, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a row cannot be scored: a code, and what was found."""

    code: str
    detail: str


def read_responses(row: Mapping[str, Any], strings: Strings) -> Responses | Unreadable:
    """The conversations of a row, each ending with the response to be rewarded."""
    try:
        found = tooled(row, _conversations(row, strings))
        for conversation in found:
            if conversation[-1].role not in ("assistant", "text"):
                return Unreadable("no_response", f"a conversation ends with the role {conversation[-1].role}")
    except RowFault as fault:
        return Unreadable(fault.code, fault.detail)
    return Responses(found)


def read_formed(reader: LoneReader, row: Mapping[str, Any], number: int) -> Responses | Unreadable:
    """The conversations of a row in a form of the spec (`formed_conversations`)."""
    try:
        return Responses(formed_conversations(reader, row, number))
    except RowFault as fault:
        return Unreadable(fault.code, fault.detail)


def formed_conversations(reader: LoneReader, row: Mapping[str, Any], number: int) -> tuple[Conversation, ...]:
    """Of each pair of a row the chosen, then the rejected conversation; a row of the form `grouped` has one.

    Raises:
        RowFault: the row is no pair, or a tie.
    """
    if isinstance(reader, GroupedReader):
        return (reader.conversation(row),)
    pairs = reader.read(row, number).pairs
    return tuple(pair.prompt + side for pair in pairs for side in (pair.chosen, pair.rejected))


def tooled(row: Mapping[str, Any], conversations: tuple[Conversation, ...]) -> tuple[Conversation, ...]:
    """The conversations of a row with the row's own tools.

    Raises:
        RowFault: the tools are none, or stand beside text that no template renders.
    """
    tools = _TURNS.read_tools(row.get("tools"))
    if tools and any(one[0].role == "text" for one in conversations):
        raise RowFault("not_text", "tools stand beside plain text, which no template renders")
    return tuple(one if one[0].role == TOOLS else with_tools(one, tools) for one in conversations)


def _conversations(row: Mapping[str, Any], strings: Strings) -> tuple[Conversation, ...]:
    for name in ("conversation", "messages"):
        if row.get(name) is not None:
            return (read_messages(row[name], name),)
    prompt = next((name for name in _PROMPTS if row.get(name) is not None), None)
    if prompt is not None:
        for name in _LISTS:
            if row.get(name) is not None:
                return _several(row[prompt], row[name], name, strings)
        for name in _SINGLES:
            if row.get(name) is not None:
                return (_one(row[prompt], row[name], name, strings),)
    if row.get("chosen") is not None and row.get("rejected") is not None:
        pair = read_pair(row, Columns("chosen", "rejected", prompt), strings, source="", number=0)
        return (pair.prompt + pair.chosen, pair.prompt + pair.rejected)
    if row.get("text") is not None:
        return ((Message("text", read_text(row["text"], "text")),),)
    names = ", ".join(sorted(map(str, row))) or "no fields"
    raise RowFault(
        "missing_field",
        f"has {names}; a row has messages, or prompt with response or responses, or chosen with rejected, or text",
    )


def _several(prompt: Any, responses: Any, field: str, strings: Strings) -> tuple[Conversation, ...]:
    if not isinstance(responses, list) or not responses:
        raise RowFault("missing_field", f"{field} is no list of responses, or an empty one")
    return tuple(_one(prompt, one, f"{field}[{index}]", strings) for index, one in enumerate(responses))


def _one(prompt: Any, response: Any, field: str, strings: Strings) -> Conversation:
    if strings == "text" and isinstance(prompt, str) and isinstance(response, str):
        return (Message("text", read_text(prompt, "prompt")), Message("text", read_text(response, field)))
    return _turns(prompt, "prompt", "user") + _turns(response, field, "assistant")


def _turns(value: Any, field: str, role: str) -> Conversation:
    return (Message(role, read_text(value, field)),) if isinstance(value, str) else read_messages(value, field)
