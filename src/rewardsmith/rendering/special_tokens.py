"""EOS, and a pad token that is neither EOS nor BOS; what can be wrong with a rendered text; batches of conversations.

    tokens = prepare_special_tokens(tokenizer)                          # changes the tokenizer in place
    render_batch(tokenizer, encode, tokens, conversations)              # one Rendered each; lengths are not looked at
    render_batch(tokenizer, encode, tokens, conversations, control)     # messages with control tokens are refused

Pad and EOS must differ: transformers reads a reward at the rightmost token whose id is not the pad id, so with
pad = EOS it reads one token early. A reserved token that the vocabulary has and no text uses is taken first; only where
there is none a new one is added, and then the model's embedding may have to grow.

A text that is not sound has no ids: `find_fault` looks at its special tokens, `loses_response` and `lost_fields` at
what the template dropped. The codes of faults are the keys of `REASONS`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.errors import RenderingError
from rewardsmith.rendering.encoding import Ids
from rewardsmith.rendering.sandbox import template_texts, together_or_alone
from rewardsmith.rendering.template import ControlTokens
from rewardsmith.types import TOOLS, Conversation, Message

NEW_PAD = "<|pad|>"

# Tokens that their makers reserved for padding or for nothing, best first. `<|endoftext|>` pads where another token is
# EOS (Qwen's chat models); DeepSeek names EOS as pad beside a token for it, Mistral 0.3 names none, Phi-4 was published
# with its BOS as pad at first.
_RESERVED = (
    "<|finetune_right_pad_id|>",
    "<｜▁pad▁｜>",
    "<pad>",
    "[PAD]",
    NEW_PAD,
    "<|endoftext|>",
    "<|vision_pad|>",
    "<|fim_pad|>",
    "<|dummy_85|>",
    "<|reserved_special_token_0|>",
    "[control_768]",
    "<unused0>",
)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Texts and ids after preparation.

    `adds_bos`: the tokenizer puts BOS before plain text on its own. `shipped_pad`: the pad token before preparation,
    None where there was none. `closes`: every text ends with EOS, exactly once; false for a model trained elsewhere
    whose template does not end so.
    """

    eos: str
    eos_id: int
    bos: str | None
    bos_id: int | None
    adds_bos: bool
    pad: str
    pad_id: int
    added_pad: bool
    shipped_pad: str | None
    closes: bool = True

    def named_by(self, reason: str) -> str:
        """The token that a fault of `REASONS` is about; "" where it is about none."""
        return {"eos_doubled": self.eos, "bos_doubled": self.bos or "", "pad_in_text": self.pad}.get(reason, "")


def prepare_special_tokens(tokenizer: Any) -> SpecialTokens:
    """Settle EOS, BOS and pad, in place; an encoder's [SEP] and [CLS] serve as EOS and BOS.

    Raises:
        RenderingError: the tokenizer has neither EOS nor SEP.
    """
    if tokenizer.eos_token is None:
        if tokenizer.sep_token is None:
            raise RenderingError(
                "the tokenizer has no EOS token, and the reward is read at EOS",
                where=tokenizer_name(tokenizer),
                fix="choose a base whose tokenizer_config.json names an eos_token",
            )
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.bos_token is None and tokenizer.cls_token is not None:
        tokenizer.bos_token = tokenizer.cls_token
    shipped_pad = tokenizer.pad_token
    added = _settle_pad(tokenizer)
    return SpecialTokens(
        eos=str(tokenizer.eos_token),
        eos_id=int(tokenizer.eos_token_id),
        bos=tokenizer.bos_token,
        bos_id=tokenizer.bos_token_id,
        adds_bos=_adds_bos(tokenizer),
        pad=str(tokenizer.pad_token),
        pad_id=int(tokenizer.pad_token_id),
        added_pad=added,
        shipped_pad=None if shipped_pad is None else str(shipped_pad),
    )


def _settle_pad(tokenizer: Any) -> bool:
    """Set a pad token unlike EOS; True when the vocabulary had to grow for it."""
    in_texts = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token is not None and tokenizer.pad_token_id not in in_texts:
        return False
    reserved = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
    for name in _RESERVED:
        if name in reserved and reserved[name] not in in_texts | {tokenizer.unk_token_id}:
            tokenizer.pad_token = name
            return False
    tokenizer.add_special_tokens({"pad_token": NEW_PAD})
    return True


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 1 and ids[0] == tokenizer.bos_token_id


def tokenizer_name(tokenizer: Any) -> str:
    """How messages call a tokenizer."""
    return f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}"


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
