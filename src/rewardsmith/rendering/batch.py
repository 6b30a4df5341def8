"""Template and tokenizer over a batch of conversations; lengths are not looked at here.

render_batch(tokenizer, encode, tokens, conversations)           → one Rendered each
render_batch(tokenizer, encode, tokens, conversations, control)  → the same; messages with control tokens are refused
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.rendering.faults import CONTROL_REASONS, find_fault, loses_response, lost_fields
from rewardsmith.rendering.length import Ids
from rewardsmith.rendering.markers import ControlTokens
from rewardsmith.rendering.sandbox import template_texts, together_or_alone
from rewardsmith.rendering.special_tokens import SpecialTokens
from rewardsmith.types import Conversation

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
        rendered = _judge(next(encoded), text, conversation, tokens, control)
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
    rendered = _judge(ids_T, text, conversation, tokens, None)
    return rendered if not rendered.reason and control.is_the_template_s(conversation, ids_T) else None


def _judge(
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
