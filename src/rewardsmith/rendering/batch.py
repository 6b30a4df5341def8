"""Template and tokenizer over a batch of conversations; lengths are not looked at here.

render_batch(tokenizer, encode, tokens, conversations)  → one Rendered each
apply_template(tokenizer, conversations)                → their texts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rewardsmith.rendering.faults import find_fault, loses_response, lost_fields
from rewardsmith.rendering.length import Ids
from rewardsmith.rendering.special_tokens import SpecialTokens
from rewardsmith.types import TOOLS, Conversation, tools_of

Encode = Callable[[Sequence[str]], list[Ids]]
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation as token ids, shape (T,), int32.

    `ids` is None exactly where `reason` (a key of `REASONS`) is given. `cut` counts prompt tokens that the policy
    `truncate_prompt` took away.
    """

    ids: Ids | None
    reason: str = ""
    detail: str = ""
    cut: int = 0


def render_batch(
    tokenizer: Any, encode: Encode, tokens: SpecialTokens, conversations: Sequence[Conversation]
) -> list[Rendered]:
    """Token ids of each conversation, or its fault; `encode` turns rendered texts into ids."""
    texts = together_or_alone(lambda batch: apply_template(tokenizer, batch), conversations)
    sound = [text for text in texts if isinstance(text, str)]
    encoded = iter(together_or_alone(encode, sound))
    done = []
    for conversation, text in zip(conversations, texts, strict=True):
        if isinstance(text, Exception):
            done.append(Rendered(None, "template_refused", first_line(text)))
        else:
            done.append(_judge(next(encoded), text, conversation, tokens))
    return done


def apply_template(
    tokenizer: Any, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False
) -> list[str]:
    """The text of each conversation as the chat template writes it, with its tools."""
    batches: dict[str, list[int]] = {}
    for place, conversation in enumerate(conversations):
        batches.setdefault(conversation[0].content if has_tools(conversation) else "", []).append(place)
    texts = [""] * len(conversations)
    for key, places in batches.items():
        messages = [[m.as_dict() for m in tools_of(conversations[place])[1]] for place in places]
        written = tokenizer.apply_chat_template(
            messages,
            tools=json.loads(key) if key else None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
        for place, text in zip(places, written, strict=True):
            texts[place] = text
    return texts


def _judge(ids_T: Ids | Exception, text: str, conversation: Conversation, tokens: SpecialTokens) -> Rendered:
    if isinstance(ids_T, Exception):
        return Rendered(None, "not_unicode", first_line(ids_T))
    fault = "response_lost" if loses_response(text, conversation) else find_fault(ids_T, tokens)
    if fault:
        return Rendered(None, fault, f"it ends with {text[-40:]!r}")
    lost = lost_fields(text, conversation)
    return Rendered(None, "fields_lost", lost) if lost else Rendered(ids_T)


def has_tools(conversation: Conversation) -> bool:
    """Whether a conversation may call tools."""
    return bool(conversation) and conversation[0].role == TOOLS


def together_or_alone(function: Callable[[Sequence[In]], Sequence[Out]], values: Sequence[In]) -> list[Out | Exception]:
    """Apply a batch function; where the batch fails, each value alone, so that one bad row spoils only itself.

    Templates and tokenizers are foreign code that may raise anything.
    """
    try:
        return list(function(values))
    except Exception:
        results: list[Out | Exception] = []
        for value in values:
            try:
                results.append(function([value])[0])
            except Exception as error:
                results.append(error)
        return results


def first_line(error: Exception) -> str:
    """What a foreign error says, short enough for a finding."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
