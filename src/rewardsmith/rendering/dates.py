"""Does a chat template write today's date? Then the same conversation has other tokens, and another reward, tomorrow.

    date_use(template, special_tokens) → DateUse(mentions=True, differs=True)

`strftime_now` is the only clock that transformers gives a template. It is looked for in the source, and the template is
rendered on two days, both in the past, with everything else the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rewardsmith.rendering.sandbox import run_template
from rewardsmith.types import Message

_DAYS = (datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2024, 11, 28, 17, 39, 40, tzinfo=UTC))
_ASKED = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Loire."}]
_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (_ASKED, [{"role": "system", "content": "Be brief."}, *_ASKED])


@dataclass(frozen=True, slots=True)
class DateUse:
    """`mentions`: the source names the clock. `differs`: what it writes differs from day to day."""

    mentions: bool
    differs: bool


def date_use(template: str, special_tokens: Mapping[str, Any]) -> DateUse:
    """What a template does with the date.

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
