"""From what a file holds to messages: lists of turns in the spellings that people use, with strict types.

    turns = Turns()                                # or Turns(roles={"narrator": "system"}, ignored={"mood"})
    turns.read(row["chosen"], "chosen")            # Conversation, or RowFault
    turns.read_tools(row["tools"])                 # the list that chat templates take

`{"role", "content"}`, ShareGPT's `{"from", "value"}`; roles by their known names or the spec's map; content as text or
as a list of text parts; calls as OpenAI writes them, as its older `function_call`, and as ShareGPT's turn of that name.
Anything else is a RowFault, which the caller turns into a rejected row: a fault never leaves this room. A key of a
message that nothing reads is a fault as well, unless it is known to be about the message and not of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.types import Conversation, Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
"""Known names of roles, in lower case: OpenAI, ShareGPT, Gemini, OpenAssistant (`prompter`), LLaMA-Factory
(`observation`), Cohere (`chatbot`), Llama 3.1 (`ipython`)."""

_CALLING = frozenset({"function_call", "tool_call", "tool_calls"})  # ShareGPT's turns that are calls
_REASONING = ("reasoning_content", "reasoning", "thinking", "thought")
_READ = frozenset({"role", "from", "content", "value", "name", "tool_calls", "tool_call_id", "function_call"})
_ABOUT = frozenset(  # a list literal of one name a line reads worse
    """weight loss_weight loss train id message_id msg_id idx index turn turn_id turn_identifier parent parent_id
    timestamp created_at created updated_at date time language lang toxic redacted hashed_ip country state header
    model model_name score rating rank likes liked label uuid conversation_id tokens token_count length""".split()  # noqa: SIM905
)
"""Keys about a message, not of it: weights, ids, times, and what WildChat and annotation tools add."""


class RowFault(Exception):  # noqa: N818 - a reason, caught in this room
    """Why a row cannot be used: the code of a check, and what was found."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Turns:
    """Reads messages. `roles` adds names of roles (theirs: ours); `ignored` names keys that may be left out."""

    roles: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()

    def read(self, value: Any, where: str) -> Conversation:
        """Messages of one field, ours among them; a single message counts as a list of one.

        Raises:
            RowFault: the field is missing, is not text, or has an unknown role or key.
        """
        turns = [value] if isinstance(value, dict | Message) else value
        if not isinstance(turns, list | tuple):
            raise RowFault("not_text", f"{where} is {shown(value)}, neither text nor messages")
        if not turns:
            raise RowFault("missing_field", f"{where} is an empty list")
        return tuple(self._message(turn, f"{where}[{index}]") for index, turn in enumerate(turns))

    def read_tools(self, value: Any) -> list[Any]:
        """The tools of a row: a list, or its JSON text. [] where there are none.

        Raises:
            RowFault: it is neither.
        """
        tools = _json(value, "tools") if isinstance(value, str) and value.strip() else value
        tools = [tools] if isinstance(tools, dict) else tools
        if not tools:
            return []
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise RowFault("not_text", f"tools is {shown(value)}, no list of tools")
        check_text(json.dumps(tools, ensure_ascii=False), "tools")
        return tools

    def _message(self, turn: Any, where: str) -> Message:
        if isinstance(turn, Message):
            return turn
        if not isinstance(turn, dict):
            raise RowFault("not_text", f"{where} is {shown(turn)}, not a message with role and content")
        if self.ignored:
            turn = {name: value for name, value in turn.items() if name not in self.ignored}
        role = self._role(turn, where)
        content = turn["content"] if "content" in turn else turn.get("value")
        if role in _CALLING:
            return Message("assistant", "", tool_calls=_calls(content, f"{where}.content"))
        calls = _all_calls(turn, where)
        if len(turn) > 2:
            _refuse_unread(turn, where)
        reasoning = _reasoning(turn, where)
        if content is None and calls:
            content = ""
        if isinstance(content, list):
            return _of_parts(role, content, calls, reasoning, _more(turn, where), where)
        text = read_text(content, f"{where}.content")
        if len(turn) == 2:
            return Message(role, text)
        return Message(role, text, calls, *_more(turn, where), reasoning)

    def _role(self, turn: Mapping[str, Any], where: str) -> str:
        role = turn.get("role", turn.get("from"))
        if isinstance(role, str):
            if role in self.roles:
                return self.roles[role]
            name = role.strip().lower()
            if name in ROLES:
                return ROLES[name]
            if name in _CALLING:
                return name
        raise RowFault("unknown_role", f"{where} has the role {shown(role)}; known: {', '.join(ROLES)}")


_PLAIN = Turns()


def read_messages(value: Any, where: str) -> Conversation:
    """Messages of one field, without a map of roles (`Turns.read`)."""
    return _PLAIN.read(value, where)


def plain_text(conversation: Conversation) -> Conversation:
    """The same turns as plain text, for a model that was trained without a chat template (`data.strings: text`)."""
    return tuple(Message("text", message.text) for message in conversation)


def read_text(value: Any, where: str) -> str:
    """Text that is present and valid Unicode (blank text is another check's matter).

    Raises:
        RowFault: missing, not text, or with a lone surrogate.
    """
    if value is None:
        raise RowFault("missing_field", f"{where} is missing")
    if not isinstance(value, str):
        raise RowFault("not_text", f"{where} is {shown(value)}, not text")
    return check_text(value, where)


def check_text(value: str, where: str) -> str:
    """The same text, if it is valid Unicode.

    Raises:
        RowFault: it has a lone surrogate.
    """
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowFault("not_unicode", f"{where} has {value[error.start]!r} at character {error.start}") from error
    return value


def shown(value: Any) -> str:
    """A short, safe look at a value."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def is_unread(name: str, value: Any) -> bool:
    """Whether a key of a message holds something that nothing reads, and that is of the message and not about it."""
    is_known = name in _READ or name in _REASONING or name in _ABOUT
    return not is_known and value not in (None, "", [], {}, False)


def _refuse_unread(turn: Mapping[str, Any], where: str) -> None:
    for name, value in turn.items():
        if is_unread(name, value):
            detail = f"{where} has the key {name!r} ({shown(value)}), which nothing reads; to leave it out, list it"
            raise RowFault("unread_key", f"{detail} under ignore: [{name}]")


def _more(turn: Mapping[str, Any], where: str) -> tuple[str, str]:
    """`tool_call_id` and `name`."""
    found = []
    for name in ("tool_call_id", "name"):
        value = turn.get(name)
        found.append("" if value is None else read_text(value, f"{where}.{name}"))
    return found[0], found[1]


def _reasoning(turn: Mapping[str, Any], where: str) -> str:
    found = {name: value for name in _REASONING if (value := turn.get(name)) not in (None, "", [])}
    if len(found) > 1:
        raise RowFault("unread_key", f"{where} has reasoning twice: {' and '.join(found)}")
    return next((read_text(value, f"{where}.{name}") for name, value in found.items()), "")


def _all_calls(turn: Mapping[str, Any], where: str) -> str:
    """The calls of a message as JSON text, from either of their keys."""
    found = [name for name in ("tool_calls", "function_call") if turn.get(name) not in (None, "", [], {})]
    if len(found) > 1:
        raise RowFault("unread_key", f"{where} has both tool_calls and function_call")
    return _calls(turn[found[0]], f"{where}.{found[0]}") if found else ""


def _calls(value: Any, where: str) -> str:
    calls = _json(value, where) if isinstance(value, str) else value
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not calls:
        raise RowFault("not_text", f"{where} is {shown(value)}, no call of a tool")
    text = json.dumps([_call(call, where) for call in calls], ensure_ascii=False)
    return check_text(text, where)


def _call(call: Any, where: str) -> dict[str, Any]:
    """One call in OpenAI's shape; the older one has name and arguments alone.

    A call without arguments gets the empty object, as OpenAI writes it: templates print what is there.
    """
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowFault("not_text", f"{where} has {shown(call)}, no call with a name")
    arguments = function.get("arguments")
    if not isinstance(arguments, str | dict | None):
        raise RowFault("not_text", f"{where} has the arguments {shown(arguments)}")
    if arguments is None:
        function = {**function, "arguments": {}}
    return {**call, "function": function} if "function" in call else {"type": "function", "function": function}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowFault("not_text", f"{where} is {shown(text)}, no JSON") from error


def _of_parts(role: str, parts: list[Any], calls: str, reasoning: str, more: tuple[str, str], where: str) -> Message:
    """Content as a list of parts: text, and LLaMA-Factory's reasoning and calls."""
    texts: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get("text", part.get("value")) if isinstance(part, dict) else None
        if kind == "text":
            texts.append(read_text(value, f"{where}.content.text"))
        elif kind == "reasoning" and not reasoning:
            reasoning = read_text(value, f"{where}.content.reasoning")
        elif kind == "tool_call" and not calls:
            calls = _calls(value, f"{where}.content.tool_call")
        else:
            raise RowFault("not_text", f"{where} has a content part that is not text: {shown(part)}")
    return Message(role, "".join(texts), calls, *more, reasoning)
