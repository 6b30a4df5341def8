r"""What a chat template writes: full conversations closed with EOS, the date, and texts that are no content to it.

    closed = close_template(template, eos="<|im_end|>", bos=None)
    date_use(template, special_tokens)          # DateUse(mentions=True, differs=True): other tokens tomorrow
    markers = find_markers(tokenizer)
    markers.special       # control tokens: EOS, BOS, the tokens that open and close turns
    markers.roles         # written by the template before or after a turn, but no special tokens: "\nassistant: "
    FOREIGN_MARKERS       # what the templates of other model families write
    control = ControlTokens(tokenizer)
    control.fault(conversation, text, ids)      # "<|im_end|> in message 2 (assistant)", or ""
    control.as_text(conversation)               # the same conversation with such tokens encoded as plain text

The saved template is the definition: programs that load only the tokenizer (TRL's GRPO, vLLM's `messages`,
RewardBench's script) get the ids that training saw. A model that was trained elsewhere is read where its trainer read
it (`Closing`): OpenRLHF cuts line breaks and appends a space and EOS where the template wrote none; a published
classifier has whatever its own template writes.

Control tokens must not stand in what people write: where a user's text contains `<|im_end|>\n<|im_start|>assistant\n`,
the model sees a turn that nobody took. A template that marks its turns with plain words can be imitated without any.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from rewardsmith.rendering.encoding import Ids, encode
from rewardsmith.rendering.sandbox import apply_template, run_template, template_texts
from rewardsmith.types import TOOLS, Conversation, Message

Closing = Literal["eos", "openrlhf", "shipped"]

_MARK = "{#- rewardsmith 1: "
_SAYS: dict[Closing, str] = {
    "eos": "a full conversation ends with EOS and nothing follows it",
    "openrlhf": "a full conversation ends as OpenRLHF's trainer ends it",
    "shipped": "a full conversation ends as this template was shipped",
}

# The line break after the first `set` is eaten by trim_blocks, so that the original starts a line as it did before;
# the empty expression before `endset` keeps lstrip_blocks away from the original's last line.
_FRAME = """MARK
{%- if messages and messages[0]['role'] == 'text' -%}
{%- set rewardsmith_text -%}{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}{%- endset -%}
{%- else -%}
{%- set rewardsmith_text %}
ORIGINAL{{ '' }}{% endset -%}
{%- endif -%}
BEGIN{%- if add_generation_prompt -%}
{{- rewardsmith_text -}}
CLOSING{%- endif -%}"""

_CLOSINGS: dict[Closing, str] = {
    "eos": """{%- elif rewardsmith_text.rstrip().endswith(EOS) -%}
{{- rewardsmith_text.rstrip() -}}
{%- else -%}
{{- rewardsmith_text ~ EOS -}}
""",
    "openrlhf": r"""{%- elif rewardsmith_text.rstrip('\n').endswith(EOS) -%}
{{- rewardsmith_text.rstrip('\n') -}}
{%- else -%}
{{- rewardsmith_text.rstrip('\n') ~ ' ' ~ EOS -}}
""",
    "shipped": """{%- else -%}
{{- rewardsmith_text -}}
""",
}

_BEGIN = """{%- if not rewardsmith_text.startswith(BOS) -%}{{- BOS -}}{%- endif -%}
"""

TEXT_ONLY = "{{ raise_exception('this tokenizer has no chat template: it takes messages of role text only') }}"
"""Stands in for the template of a tokenizer that has none: chat messages are refused, plain text works."""


def is_closed(template: str) -> bool:
    """Whether `close_template` wrote this template."""
    return template.startswith(_MARK)


def close_template(template: str, *, eos: str, bos: str | None, closing: Closing = "eos") -> str:
    """The template, rewritten so that a full conversation ends with EOS and nothing follows it; unchanged if it is so.

    The original template is kept whole inside a Jinja `set` block; what it writes is captured, its end alone is fixed:

    - it ends with EOS and whitespace follows (ChatML's newline): the whitespace goes;
    - it does not end with EOS (Gemma, Llama 3 with another EOS, plain text): EOS is appended. Nothing is stripped,
      because a template's own newline cannot be told from one that ends the response;
    - `bos` is given (a base whose tokenizer adds BOS to plain text) and the template writes none: BOS is put first;
    - `add_generation_prompt` is set: nothing is appended, so that a prompt stays the beginning of its conversation;
    - the messages have the role `text`: their contents are joined as they are, and closed in the same way.

    Args:
        template: Jinja source as transformers understands it (`trim_blocks`, `lstrip_blocks`).
        eos: text of the EOS token.
        bos: text of the BOS token where the tokenizer adds one to plain text, else None.
        closing: how the model's trainer ended a text.
    """
    if is_closed(template):
        return template
    parts = {
        "MARK": f"{_MARK}{_SAYS[closing]} -#}}",
        "BEGIN": _BEGIN.replace("BOS", _literal(bos)) if bos else "",
        "CLOSING": _CLOSINGS[closing].replace("EOS", _literal(eos)),
        "ORIGINAL": _without_generation_tags(re.sub(r"(\r\n|\r|\n)\Z", "", template)),
    }
    return re.sub("MARK|BEGIN|CLOSING|ORIGINAL", lambda match: parts[match[0]], _FRAME)


def _literal(text: str) -> str:
    """A Jinja string. It stands in the template itself, because not every program that reads one passes `eos_token`."""
    return json.dumps(text, ensure_ascii=False)


def _without_generation_tags(template: str) -> str:
    """`{% generation %}` marks assistant tokens by their place in the output, which a captured block does not know.

    A wrong mask would be silent; with the tags gone transformers says that the template has none.
    """
    opened = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", opened)


_DAYS = (datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2024, 11, 28, 17, 39, 40, tzinfo=UTC))
_ASKED = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Loire."}]
_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (_ASKED, [{"role": "system", "content": "Be brief."}, *_ASKED])


@dataclass(frozen=True, slots=True)
class DateUse:
    """`mentions`: the source names the clock. `differs`: what it writes differs from day to day."""

    mentions: bool
    differs: bool


def date_use(template: str, special_tokens: Mapping[str, Any]) -> DateUse:
    """What a template does with the date: written, the same conversation has another reward tomorrow.

    `strftime_now` is the only clock that transformers gives a template. It is looked for in the source, and the
    template is rendered on two days, both in the past, with everything else the same.

    Args:
        template: Jinja source as transformers understands it.
        special_tokens: `tokenizer.special_tokens_map`, which templates may name.
    """
    if "strftime_now" not in template:
        return DateUse(mentions=False, differs=False)
    differs = any(
        len({_render(template, special_tokens, conversation, day) for day in _DAYS}) > 1
        for conversation in _CONVERSATIONS
    )
    return DateUse(mentions=True, differs=differs)


def _render(template: str, names: Mapping[str, Any], messages: Sequence[Mapping[str, str]], day: datetime) -> str:
    """A conversation as the template writes it on `day`; a refusal is a text like any other."""
    conversation = tuple(Message(message["role"], message["content"]) for message in messages)
    (found,) = run_template(template, names, [conversation], now=day)
    return found if isinstance(found, str) else f"refused: {found}"


FOREIGN_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|end_of_turn|>",
    "<|start_of_role|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "\nHuman:",
    "\nAssistant:",
    "\nUSER:",
    "\nASSISTANT:",
    "\n### Instruction:",
    "\n### Response:",
    "\n### Human:",
    "\n### Assistant:",
)
"""ChatML, Llama 2 and 3, Gemma, Phi, Zephyr, DeepSeek, Granite, Vicuna, Alpaca and the HH data. Not `<s>` and `</s>`,
which are also HTML."""

# Words that a template would never write itself, so that it can be seen what it writes between them.
_WORDS = ("zqsystem", "zqask", "zqsay", "zqagain", "zqend")
# Reasoning is content, though some templates take it apart and write its tags themselves.
_REASONING = re.compile(r"</?(think|thinking|reasoning)>", re.IGNORECASE)
# Names of tokens that mark content, without brackets and without what says "here it begins" or "here it ends".
_CONTENT = re.compile(
    r"think(ing)?|thoughts?|reasoning|reflection|scratchpad|answer|solution|python_tag|action|citation|code"
    r"|tools|available_tools|tool_?(calls?|use|sep)|tool_?(response|result|output)s?"
    r"|functions|function_?(calls?|response|results?|output)"
)
_ENDS_OF_CONTENT = re.compile(r"^(start|begin|end)_(of_)?|_(start|begin|end)$")
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
# Stands in for a content: no template treats it in its own way, and it makes no added token with what is beside it.
_PLACEHOLDER = "zq"
_REMEMBERED = 4096
# Private characters around a token that is to be encoded as text. One that a text itself holds is dropped there.
_OPEN, _CLOSE = "\uee00", "\uee01"
# `<|name|>`, `<name>`, `[INST]`: written by a template, it is a marker wherever it stands.
_BRACKETED = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
# `user: `, `### Response:`: a marker at the start of a line only.
_HEADER = re.compile(r"\n[^\w\n]{0,5}\w[\w ]{0,20}:")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Markers:
    """Texts to look for, longest first. One that begins with a line break counts at the start of a line only."""

    special: tuple[str, ...]
    roles: tuple[str, ...]


def find_markers(tokenizer: Any) -> Markers:
    """The control tokens of a prepared tokenizer, and what its template writes around turns beside them.

    Control tokens are the added tokens that open or close turns and texts:

    - BOS, EOS, pad, unk, sep, cls and mask of the tokenizer;
    - what the template writes around the contents of a conversation, special or not (`<|im_start|>`, header ids);
    - every other added token with `special: true` (reserved tokens, fill-in-the-middle, images),
      unless its name says that it marks content: reasoning, tool calls and their results (`_CONTENT`).

    `<think>`, `<tool_call>`, `<tool_response>` and their like are what a response may be made of; they pass.
    transformers draws the line in the same place (`apply_chat_template(sanitize_control_tokens=True)`, since 5.23), but
    for content marked as special.
    """
    pieces = [_without_ends(piece, tokenizer) for piece in _written(tokenizer)]
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    special = {token.content for token in added if token.special and not _marks_content(token.content)}
    special |= {token.content for token in added if any(token.content in piece for piece in pieces)}
    special = {text for text in special if not _REASONING.fullmatch(text)}
    special |= {str(text) for name in _NAMED if (text := getattr(tokenizer, name, None))}
    roles = {text for piece in pieces for text in _role_markers(piece, special)}
    return Markers(_longest_first(special), _longest_first(roles))


def _marks_content(token: str) -> bool:
    """Whether a token's name says that it marks content (`<|tool_call|>`, `[THINK]`, `</tool_response>`)."""
    if not re.fullmatch(r"<.*>|\[.*\]", token):
        return False
    name = re.sub(r"[\u2581 -]", "_", token.strip("<>[]|/\uff5c").lower())
    return bool(_CONTENT.fullmatch(_ENDS_OF_CONTENT.sub("", name)))


class ControlTokens:
    """Looks for control tokens of a prepared tokenizer (with its template) in what people wrote.

    What counts is ids, not spelling. A conversation is sound where its control ids are exactly those that the template
    writes for these roles around other contents. So a token that a normalizer makes of another spelling is seen, one
    that arises where content and template meet is seen, and a spelling that this tokenizer takes apart passes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts = find_markers(tokenizer).special
        ids = {text: tokenizer.convert_tokens_to_ids(text) for text in self._texts}
        self._name_of = {int(token): text for text, token in ids.items() if token is not None}
        # An unknown token also stands for what the vocabulary lacks: only its spelling says that somebody wrote it.
        unknown = tokenizer.unk_token_id
        named = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        self._unknown = int(unknown) if unknown in self._name_of and unknown not in named else None
        self._is_control = np.zeros(max(self._name_of, default=0) + 2, dtype=bool)
        self._is_control[[token for token in self._name_of if token != self._unknown]] = True
        longest = sorted(self._texts, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)")
        self._ends = [str(token) for token in (tokenizer.bos_token, tokenizer.eos_token) if token]
        self._wanted: dict[tuple[str, ...], Ids | None] = {}
        self._plain: Any = None

    def fault(self, conversation: Conversation, text: str, ids_T: Ids) -> str:
        """Which control token stands in which message, "" where the template wrote all of them.

        Messages of the role `text` are rendered already: their control tokens are meant.

        Args:
            conversation: what was rendered.
            text: as the template wrote it.
            ids_T: its tokens, before anything is cut.
        """
        if conversation[0].role == "text":
            return ""
        unknown = self._unknown is not None and bool((ids_T == self._unknown).any())
        if unknown and (said := self._in_messages(conversation)):
            return said
        if not all(message.is_plain and message.role != TOOLS for message in conversation):
            # What a template writes of calls and tools depends on them: here the strings themselves are looked at.
            return self._in_messages(conversation)
        # A template closes (or begins) a text only where its content did not: a content's own EOS would pass for it.
        if any(token in message.content for message in conversation for token in self._ends):
            said = self._in_messages(conversation)
            if said:
                return said
        if self.is_the_template_s(conversation, ids_T):
            return ""
        return self._in_messages(conversation) or self._at_seams(conversation, text, ids_T)

    def is_the_template_s(self, conversation: Conversation, ids_T: Ids) -> bool:
        """Whether the control tokens are those that the template writes for messages of these roles."""
        wanted = self._wanted_of(tuple(message.role for message in conversation))
        return wanted is not None and np.array_equal(self._control(ids_T), wanted)

    def as_text(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> tuple[str, Ids]:
        """Text and ids with the messages' control tokens as plain text; raises what template and tokenizer raise.

        As `encode_marked_chat` of transformers 5.24: the text is parted at such tokens, each part is encoded alone.
        """
        marked = tuple(replace(message, content=self._marked(message.content)) for message in conversation)
        (written,) = apply_template(self._tokenizer, [marked], add_generation_prompt=add_generation_prompt)
        pieces = re.split(f"{_OPEN}(.*?){_CLOSE}|[{_OPEN}{_CLOSE}]", written, flags=re.DOTALL)
        if self._plain is None:
            self._plain = copy.deepcopy(self._tokenizer)
            self._plain.split_special_tokens = True
        parts = [
            self._behind(self._plain if place % 2 else self._tokenizer, piece, first=place == 0)
            for place, piece in enumerate(pieces)
            if piece
        ]
        return "".join(piece or "" for piece in pieces), np.concatenate(parts)

    def _marked(self, content: str) -> str:
        return self._pattern.sub(f"{_OPEN}\\g<0>{_CLOSE}", content.replace(_OPEN, "").replace(_CLOSE, ""))

    def _behind(self, tokenizer: Any, piece: str, *, first: bool) -> Ids:
        """Ids of what stands behind something: SentencePiece puts a space before the beginning of a text only."""
        if first:
            return encode(tokenizer, [piece])[0]
        line, both = encode(tokenizer, ["\n", f"\n{piece}"])
        return both[len(line) :] if np.array_equal(both[: len(line)], line) else encode(tokenizer, [piece])[0]

    def _control(self, ids_T: Ids) -> Ids:
        """The control ids among others, in order."""
        return ids_T[self._is_control[np.minimum(ids_T, len(self._is_control) - 1)]]

    def _wanted_of(self, roles: tuple[str, ...]) -> Ids | None:
        """Control ids that the template writes for messages of these roles; None where it refuses to say."""
        if roles not in self._wanted:
            neutral = tuple(Message(role, "[]" if role == TOOLS else _PLACEHOLDER) for role in roles)
            (text,) = template_texts(self._tokenizer, [neutral])
            found = None if isinstance(text, Exception) else self._control(encode(self._tokenizer, [text])[0])
            if any(self._pattern.search(role) for role in roles):
                found = None
            if len(self._wanted) >= _REMEMBERED:
                self._wanted.clear()
            self._wanted[roles] = found
        return self._wanted[roles]

    def tokens_in(self, contents: Sequence[str]) -> list[list[str]]:
        """The control tokens that texts by themselves hold, each once."""
        found = []
        for content, ids_T in zip(contents, encode(self._tokenizer, contents), strict=True):
            names = [self._name_of[token] for token in self._control(ids_T).tolist()]
            if self._unknown is not None and self._name_of[self._unknown] in content:
                names.append(self._name_of[self._unknown])
            found.append(list(dict.fromkeys(names)))
        return found

    def _in_messages(self, conversation: Conversation) -> str:
        """Control tokens of messages by themselves."""
        messages = list(enumerate(conversation, start=0 if conversation[0].role == TOOLS else 1))
        said = [
            f"{name} in the role of message {place}"
            for place, one in messages
            for name in self._pattern.findall(one.role)
        ]
        for (place, one), names in zip(messages, self.tokens_in([_strings(one) for _, one in messages]), strict=True):
            where = f"message {place} ({one.role})" if one.role != TOOLS else "the tools"
            said += [f"{name} in {where}" for name in names]
        return ", ".join(said[:_SHOWN]) + (f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")

    def _at_seams(self, conversation: Conversation, text: str, ids_T: Ids) -> str:
        """Control tokens made of a content together with what stands beside it.

        Templates write other tokens for other contents (an empty message, a system prompt of their own); so where
        every content is found in the text, places decide, and numbers only where one is not.
        """
        spans = _spans(conversation, text)
        if spans is not None and self._tokenizer.is_fast:
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            found = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            control = [(token, span) for token, span in found if token in self._name_of and token != self._unknown]
            for token, span in control:
                for place, content in enumerate(spans, start=1):
                    if _holds(text, span, content):
                        where = f"message {place} ({conversation[place - 1].role})"
                        return f"{self._name_of[token]}, made with what the template writes beside {where}"
            return ""
        wanted = self._wanted_of(tuple(message.role for message in conversation))
        if wanted is None:
            return ""
        extra = Counter(self._control(ids_T).tolist()) - Counter(wanted.tolist())
        return f"{self._name_of[next(iter(extra))]}, more often than the template writes it" if extra else ""


def _spans(conversation: Conversation, text: str) -> list[tuple[int, int]] | None:
    """Where the contents stand in a rendered text, outer whitespace aside; None where one is not found in its turn."""
    found, start = [], 0
    for message in conversation:
        content = message.content.strip()
        place = text.find(content, start)
        if place < 0:
            return None
        start = place + len(content)
        found.append((place, start))
    return found


def _strings(message: Message) -> str:
    """All that a person or a model wrote in a message: content, reasoning, calls and names, JSON's escapes resolved."""
    if message.is_plain and message.role != TOOLS:
        return message.content
    content = _unescaped(message.content) if message.role == TOOLS else message.content
    calls = _unescaped(message.tool_calls) if message.tool_calls else ""
    return "\n".join((message.reasoning_content, content, calls, message.name, message.tool_call_id))


def _unescaped(text: str) -> str:
    """JSON text with its strings as they are."""
    found, waiting = [], [json.loads(text)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
    return "\n".join(found)


def _holds(text: str, token: tuple[int, int], content: tuple[int, int]) -> bool:
    """Whether a token takes visible characters of a content; a token with `lstrip` may take whitespace from it."""
    return bool(text[max(token[0], content[0]) : min(token[1], content[1])].strip())


def _written(tokenizer: Any) -> list[str]:
    """What the template writes around the contents of a conversation; a system message only where it takes one."""
    roles = ("system", "user", "assistant", "user", "assistant")
    whole: Conversation = tuple(Message(role, word) for role, word in zip(roles, _WORDS, strict=True))
    conversations = [whole, whole[1:], whole[1:3]]
    texts = template_texts(tokenizer, conversations)
    split = re.compile("|".join(_WORDS))
    return [piece for text in texts if isinstance(text, str) for piece in split.split(text)]


def _without_ends(piece: str, tokenizer: Any) -> str:
    """BOS and EOS as line breaks: a header beside them stands at the start of a line, and is a marker of its own."""
    for token in (tokenizer.bos_token, tokenizer.eos_token):
        piece = piece.replace(str(token), "\n") if token else piece
    return piece


def _role_markers(piece: str, special: set[str]) -> set[str]:
    """Markers in what stands between two contents, special tokens aside.

    Words in a line with a special token (`<|im_start|>assistant`) are no marker without it.
    """
    bracketed = {text for text in _BRACKETED.findall(piece) if text not in special and not _REASONING.fullmatch(text)}
    if bracketed or any(text in piece for text in special if text.strip()):
        return bracketed
    return set(_HEADER.findall("\n" + piece))


def _longest_first(texts: set[str]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))
