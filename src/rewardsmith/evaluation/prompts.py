"""Prompts of benchmark rows: text or messages, as plain text, and the group that rows of one prompt form.

In: a field of a row. Out: a conversation; a string is one user turn, a list holds messages of role and content.
"""

from __future__ import annotations

import hashlib
import reprlib

from rewardsmith.evaluation.fields import bad, missing_or
from rewardsmith.evaluation.tables import TableRow
from rewardsmith.types import Conversation, Message

ROLES = ("system", "user", "assistant", "tool")


def prompt(row: TableRow, field: str = "prompt") -> Conversation:
    """The prompt that stands in a field.

    Raises:
        BenchmarkError: it is neither text nor a list of messages (row, field and place are named).
    """
    value = row.fields.get(field)
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not value:
        problem = "is an empty list" if value == [] else missing_or(row, field, "text or messages")
        raise bad(row, field, problem, f'write "{field}": "text", or a list of messages with role and content')
    return tuple(_message(row, f"{field}[{place}]", turn) for place, turn in enumerate(value))


def plain_text(conversation: Conversation) -> Conversation:
    """The same turns as plain text, for a model that was trained without a chat template (`data.strings: text`)."""
    return tuple(Message("text", message.text) for message in conversation)


def prompt_group(conversation: Conversation) -> str:
    """A short name that rows of the same prompt share: they were not drawn independently.

    Empty for a prompt without text: rows whose texts are left out (offline rewards) are not one prompt.
    """
    if not any(message.text for message in conversation):
        return ""
    text = "\x1e".join(f"{message.role}\x1f{message.text}" for message in conversation)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _message(row: TableRow, place: str, turn: object) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if role not in ROLES or not isinstance(content, str):
        problem = f"is {reprlib.repr(turn)}, not a message"
        raise bad(row, place, problem, f'write {{"role": …, "content": "text"}} with a role of {", ".join(ROLES)}')
    return Message(str(role), content)
