"""What a chat template writes: full conversations closed with EOS, batches of them as ids, and what can be wrong there.

    closed = close_template(template, eos="<|im_end|>", bos=None)
    date_use(template, special_tokens)          # DateUse(mentions=True, differs=True): other tokens tomorrow
    render_batch(tokenizer, encode, tokens, conversations)              # one Rendered each; lengths are not looked at
    render_batch(tokenizer, encode, tokens, conversations, control)     # messages with control tokens are refused

The saved template is the definition: programs that load only the tokenizer (TRL's GRPO, vLLM's `messages`,
RewardBench's script) get the ids that training saw. A model that was trained elsewhere is read where its trainer read
it (`Closing`): OpenRLHF cuts line breaks and appends a space and EOS where the template wrote none; a published
classifier has whatever its own template writes.

A text that is not sound has no ids: `find_fault` looks at its special tokens, `loses_response` and `lost_fields` at
what the template dropped. The codes of faults are the keys of `REASONS`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rewardsmith.rendering.encoding import Ids
from rewardsmith.rendering.sandbox import run_template, template_texts, together_or_alone
from rewardsmith.rendering.special_tokens import ControlTokens, SpecialTokens
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

Encode = Callable[[Sequence[str]], list[Ids]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation as token ids, shape (T,), int32.

    `ids` is None exactly where `reason` (a key of `REASONS`) is given. `cut` counts prompt tokens that the policy
    `truncate_prompt` took away. `token` names control tokens and where they stand, and quotes nothing else of a text.
    """

    ids: Ids | None
    reason: str = ""
    detail: str = ""
    cut: int = 0
    token: str = ""


def render_batch(
    tokenizer: Any,
    encode: Encode,
    tokens: SpecialTokens,
    conversations: Sequence[Conversation],
    control: ControlTokens | None = None,
    *,
    as_text: bool = False,
) -> list[Rendered]:
    """Token ids of each conversation, or its fault.

    Args:
        tokenizer: a prepared transformers tokenizer.
        encode: turns rendered texts into ids.
        tokens: its special tokens.
        conversations: what to render.
        control: looks for control tokens in messages; None looks for none.
        as_text: encode them as plain text instead of refusing the conversation.
    """
    texts = template_texts(tokenizer, conversations)
    sound = [text for text in texts if isinstance(text, str)]
    encoded = iter(together_or_alone(encode, sound))
    done = []
    for conversation, text in zip(conversations, texts, strict=True):
        if isinstance(text, Exception):
            done.append(Rendered(None, "template_refused", first_line(text)))
            continue
        rendered = _checked(next(encoded), text, conversation, tokens, control)
        if as_text and control is not None and rendered.reason in CONTROL_REASONS:
            rendered = _as_text(conversation, tokens, control) or rendered
        done.append(rendered)
    return done


def _as_text(conversation: Conversation, tokens: SpecialTokens, control: ControlTokens) -> Rendered | None:
    """The conversation with its control tokens as plain text; None where that cannot be done."""
    try:
        text, ids_T = control.as_text(conversation)
    except Exception:  # template and tokenizer are foreign code
        return None
    rendered = _checked(ids_T, text, conversation, tokens, None)
    return rendered if not rendered.reason and control.is_the_template_s(conversation, ids_T) else None


def _checked(
    ids_T: Ids | Exception,
    text: str,
    conversation: Conversation,
    tokens: SpecialTokens,
    control: ControlTokens | None,
) -> Rendered:
    if isinstance(ids_T, Exception):
        return Rendered(None, "not_unicode", first_line(ids_T))
    fault = "response_lost" if loses_response(text, conversation) else find_fault(ids_T, tokens)
    found = control.fault(conversation, text, ids_T) if control is not None else ""
    if not fault and not found:
        lost = lost_fields(text, conversation)
        return Rendered(None, "fields_lost", lost) if lost else Rendered(ids_T)
    reason = fault or "special_token_in_text"
    if reason not in CONTROL_REASONS:
        return Rendered(None, reason, f"it ends with {text[-40:]!r}")
    token = found or tokens.named_by(reason)
    detail = token if reason == "special_token_in_text" else f"{token}; it ends with {text[-40:]!r}"
    return Rendered(None, reason, detail, token=token)


def first_line(error: Exception) -> str:
    """What a foreign error says, short enough for a finding."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


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
    Ids of calls are left to the template: they link a result to its call, which the order does as well. So is reasoning
    before the last user turn, which reasoning models (Qwen3, DeepSeek R1, gpt-oss) leave out by design: it was not
    there when the response was written, nor will it be (`hidden_reasoning`).
    """
    if all(message.is_plain and message.role not in (TOOLS, "tool") for message in conversation):
        return ""
    asked = _last_question(conversation)
    for place, message in enumerate(conversation):
        for what, values in _to_show(message):
            if what == "reasoning" and place < asked:
                continue
            missing = next((value for value in values if not _shows(text, value)), None)
            if missing is not None:
                where = "" if message.role == TOOLS else f" of turn {place + 1} ({message.role})"
                return f"the template does not show the {what}{where}: {missing[:60]!r} is missing"
    return ""


def _last_question(conversation: Conversation) -> int:
    """The place of the last user turn, -1 where there is none."""
    return max((place for place, turn in enumerate(conversation) if turn.role == "user"), default=-1)


def hidden_reasoning(text: str, conversation: Conversation) -> int:
    """How many turns before the last user turn have reasoning that the rendered text does not show."""
    before = conversation[: max(0, _last_question(conversation))]
    return sum(bool(turn.reasoning_content) and not _shows(text, turn.reasoning_content.strip()) for turn in before)


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
