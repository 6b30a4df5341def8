"""What can be wrong with one rendered text, as codes with their meaning. Pure functions.

find_fault(ids, tokens)             → "" or a key of REASONS
loses_response(text, conversation)  → whether the template dropped the response
lost_fields(text, conversation)     → what of tools, calls, reasoning and names the template dropped, in words
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from rewardsmith.rendering.length import Ids
from rewardsmith.rendering.special_tokens import SpecialTokens
from rewardsmith.types import TOOLS, Conversation, Message

REASONS = {
    "over_length": "the text is longer than the limit",
    "template_refused": "the chat template refuses the conversation",
    "response_lost": "the template does not write the whole response",
    "fields_lost": "the template does not show tools, calls or reasoning",
    "not_unicode": "the text is not valid Unicode",
    "eos_missing": "the last token is not EOS",
    "eos_doubled": "the text ends with EOS twice",
    "bos_doubled": "the text begins with BOS twice",
    "pad_in_text": "the pad token stands inside the text",
    "special_token_in_text": "a message contains a token that opens or closes turns or texts",
}

CONTROL_REASONS = frozenset({"eos_doubled", "bos_doubled", "pad_in_text", "special_token_in_text"})
"""Faults that a control token in a message makes."""


def find_fault(ids_T: Ids, tokens: SpecialTokens) -> str:
    """The first fault in the special tokens of one text; empty when there is none."""
    if len(ids_T) == 0 or (tokens.closes and ids_T[-1] != tokens.eos_id):
        return "eos_missing"
    if tokens.closes and len(ids_T) > 1 and ids_T[-2] == tokens.eos_id:
        return "eos_doubled"
    if tokens.bos_id is not None and len(ids_T) > 1 and ids_T[0] == ids_T[1] == tokens.bos_id:
        return "bos_doubled"
    if (ids_T == tokens.pad_id).any():
        return "pad_in_text"
    return ""


def loses_response(text: str, conversation: Conversation) -> bool:
    """Whether the last message's words are missing from the rendered text; templates may fold whitespace."""
    return not _shows(text, conversation[-1].content.strip())


def lost_fields(text: str, conversation: Conversation) -> str:
    """Which of tools, calls, their results, reasoning and names are missing from the rendered text, "" where none is.

    A template decides how it writes a call; that each name and each value of it stands in the text is proof enough.
    Ids of calls are left to the template: they link a result to its call, which the order does as well.
    """
    if all(message.is_plain and message.role not in (TOOLS, "tool") for message in conversation):
        return ""
    for place, message in enumerate(conversation):
        for what, values in _to_show(message):
            missing = next((value for value in values if not _shows(text, value)), None)
            if missing is not None:
                where = "" if message.role == TOOLS else f" of turn {place + 1} ({message.role})"
                return f"the template does not show the {what}{where}: {missing[:60]!r} is missing"
    return ""


def _to_show(message: Message) -> Iterator[tuple[str, Iterator[str]]]:
    if message.role == TOOLS:
        yield "tools", _leaves(json.loads(message.content))
        return
    if message.tool_calls:
        yield "tool calls", _called(json.loads(message.tool_calls))
    if message.reasoning_content:
        yield "reasoning", iter((message.reasoning_content.strip(),))
    if message.role == "tool":
        yield "content", iter((message.content.strip(),))
    elif message.name:
        yield "name", iter((message.name,))


def _called(calls: Any) -> Iterator[str]:
    """Name and arguments of each call."""
    for call in calls:
        function = call.get("function", call)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError):
                arguments = json.loads(arguments)
        yield from _leaves([function.get("name"), arguments])


def _leaves(value: Any) -> Iterator[str]:
    """Names and values of a JSON value as text, without what has no meaning of its own (`"type": "function"`)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if (name, inner) != ("type", "function"):
                if name not in ("type", "function", "strict"):
                    yield name
                yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield json.dumps(value)


def _shows(text: str, value: str) -> bool:
    """Whether a value stands in a text: as it is, with its whitespace folded, or as JSON writes it."""
    if value in text:
        return True
    folded = "".join(text.split())
    as_json = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return any("".join(form.split()) in folded for form in as_json)
