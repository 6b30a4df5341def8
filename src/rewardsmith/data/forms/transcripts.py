"""Texts that hold whole conversations: transcripts with marked turns, and messages that were serialised into text.

    style_of(text)                          # "human_assistant": how the turns of a text are marked, "" for not at all
    read_transcript(text, style)            # the turns of a prompt, or RowFault with the place
    read_answers(texts, style, names)       # the same of several answers to one prompt
    read_serialised(text, "chosen")         # messages that JSON, Python or numpy wrote as text; None for other text
    prompt_end(chosen, rejected)            # where the prompt of two plain texts ends

A transcript is turns in strict alternation, user and assistant by turns, with a system text before them perhaps; it is
never read in part.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from os.path import commonprefix
from typing import Any

from rewardsmith.rendering.messages import RowFault, check_text
from rewardsmith.types import Conversation, Message


@dataclass(frozen=True, slots=True)
class Style:
    """How turns are marked: `opening` matches a marker and names its role, `closing` may end a turn.

    `lead` is put before the first turn, so that a pattern may begin with letters that it can be searched for by;
    `first` before a prompt that begins without a marker, where that is how a first turn is written.
    """

    opening: re.Pattern[str]
    closing: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    lead: str = ""
    first: str = ""

    def role(self, marker: str) -> str:
        """Ours for the role that a marker names, "" where it names none."""
        return self.roles.get(marker) or self.roles.get(marker.strip().lower(), "")


_CHAT = {
    "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "model": "assistant",
    "ai": "assistant", "bot": "assistant", "gpt": "assistant", "system": "system",
}  # fmt: skip
_TASK = {
    "instruction": "user", "human": "user", "user": "user", "response": "assistant", "assistant": "assistant",
    "system": "system",
}  # fmt: skip
_CHAT |= {name.capitalize(): role for name, role in _CHAT.items()}  # as they mostly stand: found at once
_TASK |= {name.capitalize(): role for name, role in _TASK.items()}

STYLES = {
    "human_assistant": Style(re.compile(r"\n\n(Human|Assistant|System):[ ]?"), lead="\n\n", roles=_CHAT),
    "chatml": Style(re.compile(r"<\|im_start\|>([^\n<]{1,20})(?:\n|\Z)"), ("<|im_end|>",), _CHAT),
    "llama3": Style(re.compile(r"<\|start_header_id\|>(\w{1,20})<\|end_header_id\|>\s*"), ("<|eot_id|>",), _CHAT),
    "gemma": Style(re.compile(r"<start_of_turn>(\w{1,20})(?:\n|\Z)"), ("<end_of_turn>",), _CHAT),
    "zephyr": Style(
        re.compile(r"<\|(user|assistant|system|prompter)\|>\s?"), ("</s>", "<|end|>", "<|endoftext|>"), _CHAT
    ),
    "user_assistant": Style(
        re.compile(r"(?:\A\s*|\n+|(?<=</s>)|(?<=[.?!] ))(USER|ASSISTANT|SYSTEM|User|AI|Bot|Assistant):[ ]?"),
        ("</s>",),
        _CHAT,
    ),
    "instruction_response": Style(
        re.compile(r"(?:\A\s*|\s*)### ?(Instruction|Response|Human|Assistant|User|System):[ ]?\n?"), roles=_TASK
    ),
    "extra_id": Style(
        re.compile(r"\n?<extra_id_[01]>(User|Assistant|System)(?:\n|\Z)"), roles=_CHAT, first="<extra_id_1>User\n"
    ),
}
"""By the name that a spec writes."""

_FIRST = {"<|begin_of_text|>", "<bos>", "<s>", "<|endoftext|>"}  # what templates write before the first turn
_SERIALISED = re.compile(r"""\s*(?:array\(\s*)?\[?\s*\{\s*['"](?:role|from|content|value)['"]\s*:""")
_NUMPY = re.compile(r"\A\s*array\((.*?)(?:,\s*dtype=object)?\)\s*\Z", re.DOTALL)
_NUMPY_ITEMS = re.compile(r"\}\s*\n\s*\{")  # numpy prints no comma between items; in a repr no string has a line break
_LONGEST = 1 << 22  # characters of a Python literal: its parser takes a hundred times the memory
_ASSISTANT = re.compile(
    r"<\|im_start\|>assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n*|<start_of_turn>model\n"
    r"|<\|assistant\|>|<｜Assistant｜>|\[/INST\]"
    r"|(?:(?<=\n)|\A)(?:### ?)?(?:Assistant|ASSISTANT|AI|Bot|GPT|Model|Response|Answer|A|Output|Summary|TL;DR):",
)
_INLINE = re.compile(r"(?<=\s)(?:Assistant|ASSISTANT|AI|Bot|GPT):")
_BEGINS = re.compile(r"\s*(?:### ?)?(?:Human|User|USER|Question|Q|Instruction|System|Prompter):")


def style_of(text: str) -> str:
    """The style whose markers begin a text, "" where none does."""
    begun = _after_first(text)
    for name, style in STYLES.items():
        match = style.opening.match(_led(begun, style))
        if match and style.role(match[1]):
            return name
    return ""


def read_transcript(text: str, style: str) -> Conversation:
    """The turns of a prompt, which ends with the user's turn, or with the marker of the answer and nothing after it.

    Args:
        text: begins with a marker.
        style: of `STYLES`.

    Raises:
        RowFault: it does not begin with a turn, or the turns do not alternate.
    """
    marks = STYLES[style]
    begun = _led(_after_first(check_text(text, "prompt")), marks)
    if marks.first and not marks.opening.match(begun):
        begun = marks.first + begun
    return _turns(begun, marks, "prompt", style, is_open=True)[0]


def read_answers(texts: Sequence[str], style: str, names: Sequence[str]) -> list[Conversation]:
    """Answers to one prompt, each a whole transcript or the text after its prompt alone.

    Turns before the answer are read once where the transcripts have them in common, which is most of their text.

    Raises:
        RowFault: as `read_transcript`; an answer without its prompt has a marker of a further turn.
    """
    marks = STYLES[style]
    found: list[Conversation] = []
    head = ""
    before: Conversation = ()
    for text, name in zip(texts, names, strict=True):
        begun = _led(_after_first(check_text(text, name)), marks)
        if head and begun.startswith(head) and not marks.opening.search(begun, len(head)):
            found.append((*before, Message("assistant", _closed(begun[len(head) :], marks.closing, name))))
        elif (match := marks.opening.match(begun)) and marks.role(match[1]):
            turns, last = _turns(begun, marks, name, style)
            head, before = begun[: len(begun) - last], turns[:-1]
            found.append(turns)
        else:
            found.append((Message("assistant", _closed_answer(text, marks, name)),))
    return found


def _turns(begun: str, marks: Style, where: str, style: str, *, is_open: bool = False) -> tuple[Conversation, int]:
    """The turns of a text, and how many characters of it follow its last marker."""
    before, *pieces = marks.opening.split(begun)
    roles = [marks.roles.get(marker, "") for marker in pieces[::2]]
    contents = pieces[1::2]
    if not all(roles):  # spelt unlike most, or no role at all, as in a text about templates
        before, roles, contents = _marked(begun, marks)
    if not roles or before.strip():
        raise RowFault("transcript", f"{where} does not begin with a turn ({style}): {begun[:40]!r}")
    last = len(contents[-1])
    closings = marks.closing
    contents = [_closed(content, closings, where) if closings else content.strip() for content in contents]
    # A prompt may end with the header of the answer, as a generation prompt does.
    if is_open and len(roles) > 1 and roles[-1] == "assistant" and not contents[-1]:
        del roles[-1], contents[-1]
    if fault := _disorder(tuple(roles), is_open):
        raise RowFault("transcript", f"{where}{fault}")
    return tuple(map(Message, roles, contents)), last


def _marked(text: str, marks: Style) -> tuple[str, list[str], list[str]]:
    """What stands before the first marker of a known role; the roles, and what is said in them."""
    found = [match for match in marks.opening.finditer(text) if marks.role(match[1])]
    ends = [*(match.start() for match in found), len(text)]
    roles = [marks.role(match[1]) for match in found]
    return text[: ends[0]], roles, [text[match.end() : end] for match, end in zip(found, ends[1:], strict=True)]


def _closed_answer(text: str, marks: Style, where: str) -> str:
    """An answer without what a template writes after it; a marker of a further turn is a fault."""
    found = next((match for match in marks.opening.finditer(text) if marks.role(match[1])), None)
    if found is not None:
        raise RowFault("transcript", f"{where} goes on with another turn: {text[found.start() :][:40]!r}")
    return _closed(text, marks.closing, where)


def is_serialised(text: str) -> bool:
    """Whether a text looks like messages that were written as text."""
    return _SERIALISED.match(text) is not None


def read_serialised(text: str, where: str) -> Any:
    """Messages that stand as text: as JSON, or as Python or numpy print them; None where the text is none of these.

    Raises:
        RowFault: it looks like messages, and cannot be read as them.
    """
    if not is_serialised(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    literal = _NUMPY_ITEMS.sub("}, {", _NUMPY.sub(r"\1", text)).strip()
    if len(literal) <= _LONGEST:
        try:
            return ast.literal_eval(literal)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
    raise RowFault("serialised", f"{where} looks like messages written as text and cannot be read: {text[:60]!r}")


def prompt_end(chosen: str, rejected: str) -> int:
    """Where the prompt of two plain texts ends: behind the last marker of an answer that both share, 0 for nowhere.

    Words of the answers that happen to be the same are never taken for the prompt.

    Raises:
        RowFault: an answer has further turns: the conversations part before the last one.
    """
    shared = len(commonprefix([chosen, rejected]))  # noqa: RUF071 - characters are what is meant
    marker = _ASSISTANT
    ends = [match.end() for match in marker.finditer(chosen) if match.end() <= shared]
    # Only where the text begins as a dialogue: elsewhere `AI:` within a line is part of a sentence.
    if not ends and _BEGINS.match(chosen):
        marker = _INLINE
        ends = [match.end() for match in marker.finditer(chosen) if match.end() <= shared]
    if not ends:
        return 0
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        further = next((match for match in marker.finditer(text) if match.start() >= ends[-1]), None)
        if further is not None and _same_marker(further[0], chosen[: ends[-1]]):
            raise RowFault(
                "histories_differ", f"{name} has a further turn at character {further.start()}, after the two part"
            )
    end = ends[-1]
    # White space behind the marker is the prompt's where both texts have it.
    while end < shared and chosen[end].isspace():
        end += 1
    return end


def _same_marker(marker: str, before: str) -> bool:
    """Whether this is the marker of the turns before: `Answer:` in an answer is a heading."""
    return before.rstrip().endswith(marker.rstrip())


def _led(text: str, style: Style) -> str:
    """A text whose first turn is marked as all others are."""
    return text if not style.lead or text.startswith(style.lead) else style.lead + text.lstrip()


def _after_first(text: str) -> str:
    """Without a BOS token before the first turn."""
    begun = text.lstrip()
    # All of these tokens begin with <, and most texts do not.
    if begun[:1] != "<":
        return text
    return next((begun.removeprefix(token) for token in _FIRST if begun.startswith(token)), text)


def _closed(content: str, closings: tuple[str, ...], where: str) -> str:
    """The content of a turn, up to what closes it; nothing may stand behind that."""
    for closing in closings:
        if closing in content:
            content, _, rest = content.partition(closing)
            if rest.replace(closing, "").strip():
                raise RowFault("transcript", f"{where} has text behind {closing}: {rest.strip()[:40]!r}")
    return content.strip()


@lru_cache(maxsize=1024)
def _disorder(roles: tuple[str, ...], is_open: bool) -> str:
    """What is wrong with the order of turns, "" for nothing: the same few orders come again in every row.

    One turn alone may be the assistant's: the answer to a prompt in a column of its own.
    """
    if roles == ("assistant",) and not is_open:
        return ""
    spoken = roles[1:] if roles[0] == "system" else roles
    wanted = ["user", "assistant"] * (len(spoken) // 2 + 1)
    for number, (role, expected) in enumerate(zip(spoken, wanted, strict=False)):
        if role != expected:
            place = number + 1 + len(roles) - len(spoken)
            return f": turn {place} is {role}'s where {expected}'s is due"
    last = "user" if is_open else "assistant"
    if not spoken or spoken[-1] != last:
        return f" ends with {roles[-1]}'s turn, not with {last}'s"
    return ""
