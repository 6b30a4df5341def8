"""From one row of a file to a preference pair, in every form that preference data comes in.

| form | prompt | chosen, rejected |
|---|---|---|
| conversational | list of messages | list of messages |
| implicit prompt | - | lists that begin with the same messages: the longest common beginning is the prompt |
| repeated prompt | text or list | lists that begin with the prompt: it is taken off |
| plain strings, `chat` | text | text; the prompt becomes a user turn, the response an assistant turn |
| plain strings, `text` | text or none | text; joined as they are, no template; a common beginning is the prompt |
| OpenRLHF | `input`: text or list | text or list |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from os.path import commonprefix
from typing import Any, Literal

from rewardsmith.data.columns import Columns
from rewardsmith.data.messages import RowFault, Turns, read_messages, read_text
from rewardsmith.types import Conversation, Message, PreferencePair, with_tools

Strings = Literal["chat", "text"]

_Kind = Literal["text", "messages"]
_KINDS: tuple[_Kind, _Kind] = ("text", "messages")
_SHOWN = 40
_PLAIN = Turns()


def read_pair(
    row: Mapping[str, Any], columns: Columns, strings: Strings, *, source: str, number: int
) -> PreferencePair:
    """The pair that a row holds.

    Args:
        row: the row as read.
        columns: which column is which.
        strings: what plain strings are (`spec.data.strings`).
        source: name of the source, for rows that name none.
        number: the row's number, for rows without an id.

    Raises:
        RowFault: the row is no preference pair.
    """
    sides = {field: _present(row, getattr(columns, field), field) for field in ("chosen", "rejected")}
    prompt = None if columns.prompt is None else _present(row, columns.prompt, "prompt")
    values = (*sides.values(), prompt)
    if strings == "text" and all(value is None or isinstance(value, str) for value in values):
        parts = _text_parts(prompt, **sides)
    else:
        parts = _chat_parts(prompt, **sides)
    margin, unread = _target_margin(row, columns)
    tools = _PLAIN.read_tools(row.get(columns.tools), "tools") if columns.tools is not None else []
    return PreferencePair(
        with_tools(parts[0], tools),
        *parts[1:],
        target_margin=margin,
        id=_label(row, columns.id) or str(number),
        source=_label(row, columns.source) or source,
        subset=_label(row, columns.subset),
        annotator=_label(row, columns.annotator),
        chosen_model=_label(row, columns.chosen_model),
        rejected_model=_label(row, columns.rejected_model),
        unread_margin=unread,
        form=_FORMS[prompt is not None and _kind(prompt), _kind(sides["chosen"]), _kind(sides["rejected"])],
    )


def _form(prompt: _Kind | Literal[False], chosen: _Kind, rejected: _Kind) -> str:
    """How a row is written, in words."""
    asked = f"prompt as {prompt}" if prompt else "no prompt"
    sides = f"responses as {chosen}" if chosen == rejected else f"chosen as {chosen}, rejected as {rejected}"
    return f"{asked}, {sides}"


_FORMS = {
    (prompt, chosen, rejected): _form(prompt, chosen, rejected)
    for prompt in (False, *_KINDS)
    for chosen in _KINDS
    for rejected in _KINDS
}
"""One string for each form, shared by all rows."""


def _kind(value: Any) -> _Kind:
    return "text" if isinstance(value, str) else "messages"


def _present(row: Mapping[str, Any], column: str, field: str) -> Any:
    value = row.get(column)
    if value is None:
        raise RowFault("missing_field", f"{field} is missing" if field == column else f"{field} ({column}) is missing")
    return value


def _text_parts(prompt: Any, chosen: Any, rejected: Any) -> tuple[Conversation, Conversation, Conversation]:
    """Plain text; without a prompt, the common beginning up to its last space is the prompt."""
    chosen, rejected = read_text(chosen, "chosen"), read_text(rejected, "rejected")
    if prompt is None:
        shared = commonprefix([chosen, rejected])  # noqa: RUF071 - characters are what is meant
        cut = max((shared.rfind(space) + 1 for space in " \n\t"), default=0)
        if cut == 0:
            return (), (Message("text", chosen),), (Message("text", rejected),)
        prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
    return (Message("text", read_text(prompt, "prompt")),), (Message("text", chosen),), (Message("text", rejected),)


def _chat_parts(prompt: Any, chosen: Any, rejected: Any) -> tuple[Conversation, Conversation, Conversation]:
    """Messages; a prompt that the sides repeat is taken off, one that only they have is found."""
    given = _as_messages(prompt, "prompt", "user") if prompt is not None else ()
    sides = tuple(
        _without(_as_messages(value, field, "assistant"), given)
        for field, value in (("chosen", chosen), ("rejected", rejected))
    )
    if all(side[0].role == "assistant" for side in sides):
        if not given:
            raise RowFault("missing_prompt", "there is no prompt, and the responses do not begin with one")
        return given, sides[0], sides[1]
    found = _shared_prompt(*sides)
    if not found or any(side[len(found)].role != "assistant" for side in sides):
        raise RowFault("prompt_differs", "chosen and rejected do not begin with the same messages")
    if given and found[-len(given) :] != given:
        raise RowFault("prompt_differs", "the prompt is not the messages that chosen and rejected begin with")
    return found, sides[0][len(found) :], sides[1][len(found) :]


def _as_messages(value: Any, field: str, role: str) -> Conversation:
    if isinstance(value, str):
        return (Message(role, read_text(value, field)),)
    return read_messages(value, field)


def _without(side: Conversation, prompt: Conversation) -> Conversation:
    repeated = prompt and len(side) > len(prompt) and side[: len(prompt)] == prompt
    return side[len(prompt) :] if repeated else side


def _shared_prompt(chosen: Conversation, rejected: Conversation) -> Conversation:
    """The longest common beginning that leaves both a response and does not end with an assistant turn."""
    length = 0
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    while length and chosen[length - 1].role == "assistant":
        length -= 1
    return chosen[:length]


def _label(row: Mapping[str, Any], column: str | None) -> str:
    value = None if column is None else row.get(column)
    return str(value).encode("utf-8", "replace").decode() if isinstance(value, str | int | float) else ""


def _target_margin(row: Mapping[str, Any], columns: Columns) -> tuple[float | None, str]:
    """The stated margin, else the difference of the stated scores; and what stands there if it is no finite number."""
    names = (columns.target_margin,) if columns.target_margin is not None else columns.scores or ()
    stated = [row.get(name) for name in names]
    if not stated or any(value is None or value == "" for value in stated):
        return None, ""
    numbers = [number for number in map(_number, stated) if number is not None]
    margin = numbers[0] - sum(numbers[1:]) if len(numbers) == len(stated) else math.nan
    if math.isfinite(margin):
        return margin, ""
    shown = " and ".join(repr(value)[:_SHOWN] for value in stated)
    return None, shown.encode("utf-8", "replace").decode()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
