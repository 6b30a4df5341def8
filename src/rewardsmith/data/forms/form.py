"""What every form shares: a row's prompt with all that belongs to it, two sides, and the pair that they make.

    basis.prompt(row)                       # system, history, context, prompt and input, by the rules below
    basis.parts(row, first, second)         # (prompt, first side, second side): messages, nothing of either lost
    basis.pair(row, number, parts, …)       # PreferencePair with the row's labels

The rules. `tools` come first, then the `system` text, then `history` (messages, or [question, answer] pairs), then
`context` where it is messages; a `context` that is text stands before the prompt with an empty line between, an `input`
behind it in a line of its own (as LLaMA-Factory joins them). Sides that repeat the prompt have it taken off; sides
that begin with the same messages have their prompt there. No side has a user's turn: their histories would differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rewardsmith.data.columns import Columns, Look, parsed
from rewardsmith.data.forms.transcripts import (
    is_serialised,
    prompt_end,
    read_answers,
    read_serialised,
    read_transcript,
)
from rewardsmith.rendering.messages import RowFault, Turns, read_text, shown
from rewardsmith.spec.forms import same
from rewardsmith.types import Conversation, Message, PreferencePair, with_tools

Strings = Literal["chat", "text"]
Row = Mapping[str, Any]
Parts = tuple[Conversation, Conversation, Conversation]
"""Prompt and two sides."""

_Kind = Literal["text", "messages"]
_KINDS: tuple[_Kind, _Kind] = ("text", "messages")
_LABELS = ("source", "subset", "annotator")


@dataclass(frozen=True, slots=True)
class Formed:
    """What a row (or the rows of a prompt) give: of `compared` comparisons pairs, ties, and those over the cap."""

    pairs: Sequence[PreferencePair]
    ties: int = 0
    capped: int = 0
    compared: int = 1


class Tie(RowFault):
    """A row of which nothing but ties came."""

    def __init__(self, detail: str, ties: int = 1) -> None:
        super().__init__("tie", detail)
        self.ties = ties


@dataclass(frozen=True, slots=True)
class Basis:
    """How a source's rows are written, apart from what makes one answer better than the other."""

    columns: Columns
    looks: Mapping[str, Look]
    strings: Strings
    title: str
    turns: Turns = field(default_factory=Turns)
    style: str = ""
    by_turn: bool = False
    repeated: bool = False
    strip: bool = False
    refused: tuple[str, ...] = ()

    def look(self, ours: str, row: Row) -> Any:
        """What stands in one of our columns, None where there is none."""
        look = self.looks.get(ours)
        return None if look is None else look(row)

    def prompt(self, row: Row) -> Conversation:
        """The stated prompt of a row with what belongs to it; () where the answers hold it."""
        return self._prompt(row, self._stated(row))

    def parts(self, row: Row, first: Any, second: Any, names: tuple[str, str] = ("chosen", "rejected")) -> Parts:
        """Prompt and sides of two answers.

        Raises:
            RowFault: they are no two answers to one prompt.
        """
        self.refuse_images(row)
        for value, name in zip((first, second), names, strict=True):
            if value is None:
                raise RowFault("missing_field", f"{name} is missing")
        stated = self._stated(row)
        if self.by_turn:
            return self._by_turn(row, stated, (first, second), names)
        if self.strings == "text" and not self.style and self._is_text(stated, first, second):
            return _text_parts(stated, (first, second), names)
        given = self._prompt(row, stated, tools=False)
        one, other = self._sides((first, second), names, stated)
        return self.join(row, given, (one, other), names)

    @property
    def joins_texts(self) -> bool:
        """Whether two answers must be read together: texts without a template, or lists of turns."""
        return self.by_turn or (self.strings == "text" and not self.style)

    def several(self, row: Row, values: Sequence[Any], names: Sequence[str]) -> tuple[Conversation, list[Conversation]]:
        """The prompt of a row and its answers, each read once; `join` makes the parts of any two of them.

        Raises:
            RowFault: an answer is none.
        """
        self.refuse_images(row)
        stated = self._stated(row)
        given = self._prompt(row, stated, tools=False)
        return given, self._sides(values, names, stated)

    def side(self, row: Row, value: Any, name: str) -> Conversation:
        """One answer of a row, as `several` reads it; raises as it does."""
        return self._sides((value,), (name,), self._stated(row))[0]

    def join(
        self, row: Row, given: Conversation, sides: tuple[Conversation, Conversation], names: tuple[str, str]
    ) -> Parts:
        """Prompt and sides of two answers that were read before; raises as `parts` does."""
        parts = _chat_parts(given, *sides, names)
        if "tools" in self.looks:
            tools = self.turns.read_tools(self.look("tools", row))
            return with_tools(parts[0], tools), parts[1], parts[2]
        return parts

    def pair(
        self,
        row: Row,
        number: int,
        parts: Parts,
        *,
        margin: float | None = None,
        unread_margin: str = "",
        suffix: str = "",
        models: tuple[Any, Any] | None = None,
        form: str = "",
    ) -> PreferencePair:
        """The pair of a prompt, a chosen and a rejected side, with the row's labels."""
        chosen_model, rejected_model = models or (self.look("chosen_model", row), self.look("rejected_model", row))
        source, subset, annotator = (label(self.look(name, row)) for name in _LABELS)
        return PreferencePair(
            *parts,
            target_margin=margin,
            id=(label(self.look("id", row)) or str(number)) + suffix,
            source=source or self.title,
            subset=subset,
            annotator=annotator,
            chosen_model=label(chosen_model),
            rejected_model=label(rejected_model),
            unread_margin=unread_margin,
            form=form,
        )

    def row_id(self, row: Row) -> str:
        """The id of a row that gave no pair."""
        return label(self.look("id", row))

    def written(self, row: Row, first: Any, second: Any) -> str:
        """How a row is written, in words: one string for each way, shared by all rows."""
        stated = self._stated(row)
        return _FORMS[stated is not None and _kind(stated), _kind(first), _kind(second)]

    def _stated(self, row: Row) -> Any:
        """What stands in the prompt's column."""
        if self.columns.prompt is None:
            return None
        value = self.look("prompt", row)
        if value is None:
            name = self.columns.prompt
            raise RowFault("missing_field", "prompt is missing" if name == "prompt" else f"prompt ({name}) is missing")
        return value

    def _prompt(self, row: Row, stated: Any, *, tools: bool = True) -> Conversation:
        asked = () if stated is None else self._asked(stated)
        turns = self._with_more(row, asked) if self._has_more else asked
        if tools and "tools" in self.looks:
            return with_tools(turns, self.turns.read_tools(self.look("tools", row)))
        return turns

    @property
    def _has_more(self) -> bool:
        return any(name in self.looks for name in ("system", "history", "context", "input"))

    def _asked(self, stated: Any) -> Conversation:
        if self.by_turn:
            texts = _texts(stated, "prompt")
            return (Message("user", texts[0]),)
        if isinstance(stated, str):
            text = read_text(stated, "prompt")
            if messages := read_serialised(text, "prompt"):
                return self.turns.read(messages, "prompt")
            if self.style:
                return read_transcript(text, self.style)
            return (Message("user", text),)
        return self.turns.read(stated, "prompt")

    def _sides(self, values: Sequence[Any], names: Sequence[str], stated: Any) -> list[Conversation]:
        """The answers to one prompt."""
        if self.style and all(isinstance(value, str) and not is_serialised(value) for value in values):
            return read_answers(values, self.style, names)
        return [self._side(value, name, stated) for value, name in zip(values, names, strict=True)]

    def _side(self, value: Any, name: str, stated: Any) -> Conversation:
        if not isinstance(value, str):
            return self.turns.read(value, name)
        text = read_text(value, name)
        if messages := read_serialised(text, name):
            return self.turns.read(messages, name)
        if self.style:
            return read_answers((text,), self.style, (name,))[0]
        if self.repeated:
            text = _without_text(text, stated, name)
        return (Message("assistant", text.strip() if self.strip else text),)

    def _with_more(self, row: Row, asked: Conversation) -> Conversation:
        system = self.look("system", row)
        before = [*self._earlier(self.look("history", row))]
        context, behind = parsed(self.look("context", row)), self.look("input", row)
        if isinstance(context, list | dict) and context:
            before += self.turns.read(context, "context")
        # Messages are earlier turns; a text is a passage that is read before the question.
        elif context is not None and (text := read_text(context, "context")).strip():
            asked = _joined(asked, "context", lambda content: f"{text}\n\n{content}")
        if behind is not None and (more := read_text(behind, "input")).strip():
            asked = _joined(asked, "input", lambda content: f"{content}\n{more}")
        turns = (*before, *asked)
        if system is None or not read_text(system, "system").strip():
            return turns
        said = Message("system", system)
        if turns and turns[0].role == "system":
            # Column and conversation may both state the system message; of two different ones neither may win.
            if turns[0].content.strip() != system.strip():
                raise RowFault("prompt_differs", "the row has two different system messages")
            return turns
        return (said, *turns)

    def _earlier(self, value: Any) -> Conversation:
        """Earlier turns: messages, or pairs of a question and its answer."""
        value = parsed(value)
        if value is None or value == "" or value == []:
            return ()
        if isinstance(value, list) and all(isinstance(item, list) and len(item) == 2 for item in value):
            return tuple(
                Message(role, read_text(text, f"history[{index}]"))
                for index, item in enumerate(value)
                for role, text in zip(("user", "assistant"), item, strict=True)
            )
        return self.turns.read(value, "history")

    def _by_turn(self, row: Row, stated: Any, values: tuple[Any, Any], names: tuple[str, str]) -> Parts:
        questions = _texts(stated, "prompt")
        sides = []
        for value, name in zip(values, names, strict=True):
            answers = _texts(value, name)
            if len(answers) != len(questions):
                raise RowFault("transcript", f"{name} has {len(answers)} turns, the prompt {len(questions)}")
            turns = [
                Message(role, text)
                for both in zip(questions, answers, strict=True)
                for role, text in zip(("user", "assistant"), both, strict=True)
            ]
            sides.append(tuple(turns))
        prompt, first, second = _chat_parts((), sides[0], sides[1], names)
        lead = self._with_more(row, ()) if self._has_more else ()
        return (*lead, *prompt), first, second

    def _is_text(self, *values: Any) -> bool:
        """Whether all of them are plain texts."""
        return all(
            value is None or (isinstance(value, str) and read_serialised(value, "text") is None) for value in values
        )

    def refuse_images(self, row: Row) -> None:
        """Raises RowFault where a column of images, sound or video holds something."""
        for name in self.refused:
            if row.get(name) not in (None, "", [], {}, "[]"):
                raise RowFault("not_text", f"column {name!r} holds images, sound or video, which the model cannot see")


def label(value: Any) -> str:
    """An id, a source or another label as text."""
    # Labels go into records and reports, where a lone surrogate cannot be written.
    return str(value).encode("utf-8", "replace").decode() if isinstance(value, str | int | float) else ""


def number_of(value: Any) -> float | None:
    """A finite number, from text as well; None for anything else."""
    # A bool is an int to Python and no score here; `scored` takes it as 1 or 0.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    # OverflowError: JSON has whole numbers that are beyond any float.
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def scored(value: Any, words: Mapping[str, float], where: str) -> float:
    """The number of an answer or of a verdict: a finite one, a word's, or 1 and 0 for true and false.

    Raises:
        RowFault: it is none, or a word that is not known.
    """
    if words:
        known = words.get(same(value)) if isinstance(value, str | int | float | None) else None
        if known is None:
            raise RowFault("unknown_verdict", f"{where} is {shown(value)}; known: {', '.join(words)}")
        return known
    number = float(value) if isinstance(value, bool) else number_of(value)
    if number is None:
        raise RowFault("unknown_verdict", f"{where} is {shown(value)}, no finite number")
    return number


def _joined(asked: Conversation, where: str, join: Callable[[str], str]) -> Conversation:
    """The prompt with more text in its last turn."""
    if not asked or asked[-1].role != "user":
        raise RowFault("role_order", f"{where} belongs to a question, and the prompt does not end with one")
    last = asked[-1]
    return (*asked[:-1], Message("user", join(last.content), *[getattr(last, n) for n in _REST]))


_REST = ("tool_calls", "tool_call_id", "name", "reasoning_content")


def _texts(value: Any, where: str) -> list[str]:
    texts = parsed(value)
    if not isinstance(texts, list) or not texts:
        raise RowFault("not_text", f"{where} is {value!r:.60}, no list of texts, one for each turn")
    return [read_text(text, f"{where}[{index}]") for index, text in enumerate(texts)]


def _without_text(text: str, stated: Any, name: str) -> str:
    """An answer without the prompt that it repeats."""
    prompt = stated.strip() if isinstance(stated, str) else ""
    begun = text.lstrip()
    if not prompt or not begun.startswith(prompt):
        raise RowFault("prompt_differs", f"{name} does not begin with the prompt")
    return begun[len(prompt) :].lstrip()


def _text_parts(prompt: Any, values: tuple[str, str], names: tuple[str, str]) -> Parts:
    """Plain text; without a prompt, what both share up to the last marker of an answer is the prompt."""
    first, second = (read_text(value, name) for value, name in zip(values, names, strict=True))
    if prompt is None:
        cut = prompt_end(first, second)
        prompt, first, second = first[:cut], first[cut:], second[cut:]
    asked = (Message("text", read_text(prompt, "prompt")),) if prompt else ()
    return asked, (Message("text", first),), (Message("text", second),)


def _chat_parts(given: Conversation, first: Conversation, second: Conversation, names: tuple[str, str]) -> Parts:
    """Messages; a prompt that the sides repeat is taken off, one that only they have is found."""
    sides = (first, second)
    if any(side[0].role == "assistant" for side in sides):
        sides = (_without(first, given), _without(second, given))
    if all(side[0].role == "assistant" for side in sides):
        if not given:
            raise RowFault("missing_prompt", "there is no prompt, and the responses do not begin with one")
        _refuse_histories(given, sides, names)
        return given, sides[0], sides[1]
    found = _shared_prompt(*sides)
    if not found or any(side[len(found)].role != "assistant" for side in sides):
        raise RowFault("prompt_differs", f"{names[0]} and {names[1]} do not begin with the same messages")
    rests = tuple(side[len(found) :] for side in sides)
    _refuse_histories(found, rests, names)
    return _agreed(given, found), rests[0], rests[1]


def _agreed(given: Conversation, found: Conversation) -> Conversation:
    """The prompt that the sides begin with, where the stated one is its beginning or its end (as in Tülu's data)."""
    if not given or found[-len(given) :] == given:
        return found
    system, asked = _parted(given)
    own, turns = _parted(found)
    if system and own and system != own:
        raise RowFault("prompt_differs", "the row has two different system messages")
    if asked and asked not in (turns[: len(asked)], turns[-len(asked) :]):
        raise RowFault("prompt_differs", "the prompt is not the messages that chosen and rejected begin with")
    return (*(own or system), *turns)


def _parted(turns: Conversation) -> tuple[Conversation, Conversation]:
    """A system message, and the rest."""
    return (turns[:1], turns[1:]) if turns and turns[0].role == "system" else ((), turns)


def _refuse_histories(prompt: Conversation, sides: Sequence[Conversation], names: tuple[str, str]) -> None:
    """A user's turn between the place where the sides part and the last turn: they are no answers to one prompt."""
    for side, name in zip(sides, names, strict=True):
        for place, message in enumerate(side[:-1]):
            if message.role in ("user", "system"):
                raise RowFault(
                    "histories_differ",
                    f"the two part at turn {len(prompt) + 1}, and turn {len(prompt) + place + 1} of {name} is the "
                    f"{message.role}'s: their histories differ before the last turn",
                )


def _without(side: Conversation, prompt: Conversation) -> Conversation:
    repeated = prompt and len(side) > len(prompt) and side[: len(prompt)] == prompt
    return side[len(prompt) :] if repeated else side


def _shared_prompt(chosen: Conversation, rejected: Conversation) -> Conversation:
    """The longest common beginning that leaves both a response and does not end with an assistant turn."""
    # Minus one, since the last turn of either side is its response.
    length, most = 0, min(len(chosen), len(rejected)) - 1
    # `is` first: turns that were read once for both sides are the same objects.
    while length < most and (chosen[length] is rejected[length] or chosen[length] == rejected[length]):
        length += 1
    # An assistant's turn that both share begins both answers, and is no part of the prompt.
    while length and chosen[length - 1].role == "assistant":
        length -= 1
    return chosen[:length]


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


def _kind(value: Any) -> _Kind:
    return "text" if isinstance(value, str) else "messages"
