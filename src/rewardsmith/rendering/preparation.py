"""Turns a tokenizer as it ships into the tokenizer of a reward model: special tokens, template, sides.

    tokens, record = prepare_tokenizer(tokenizer, max_length=2048, ...)     # changes the tokenizer in place

Preparing a tokenizer that is prepared already changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

from rewardsmith.errors import RenderingError
from rewardsmith.records import RenderingRecord
from rewardsmith.rendering.batch import render_batch
from rewardsmith.rendering.encoding import encode
from rewardsmith.rendering.faults import REASONS
from rewardsmith.rendering.sandbox import apply_template
from rewardsmith.rendering.special_tokens import SpecialTokens, prepare_special_tokens, tokenizer_name
from rewardsmith.rendering.template import TEXT_ONLY, Closing, close_template
from rewardsmith.types import Conversation, Message

OverLength = Literal["drop", "truncate_prompt", "error"]

_ANSWER = "A spider has eight legs."


def prepare_tokenizer(
    tokenizer: Any,
    *,
    max_length: int,
    over_length: OverLength,
    conversational: bool,
    chat_template: str | None,
    closing: Closing = "eos",
) -> tuple[SpecialTokens, RenderingRecord]:
    """Prepare in place and say what came of it (arguments as `Renderer.from_tokenizer`).

    Raises:
        RenderingError: no EOS; no usable chat template.
    """
    tokens = replace(prepare_special_tokens(tokenizer), closes=closing != "shipped")
    own = chat_template if chat_template is not None else _default_template(tokenizer)
    if own is None and conversational:
        raise template_missing(tokenizer)
    # A model trained elsewhere saw what its template writes, without a BOS that only the tokenizer adds: TRL tokenizes
    # by `apply_chat_template`, OpenRLHF's data set with `add_special_tokens=False`.
    bos = tokens.bos if tokens.adds_bos and closing == "eos" else None
    closed = close_template(TEXT_ONLY if own is None else own, eos=tokens.eos, bos=bos, closing=closing)
    tokenizer.chat_template = closed
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "left"
    _verify(tokenizer, tokens)
    return tokens, RenderingRecord(
        template_sha256=hashlib.sha256(closed.encode()).hexdigest(),
        conversational=conversational,
        eos_token=tokens.eos,
        eos_token_id=tokens.eos_id,
        bos_token_id=tokens.bos_id,
        pad_token=tokens.pad,
        pad_token_id=tokens.pad_id,
        added_pad_token=tokens.added_pad,
        shipped_pad_token=tokens.shipped_pad,
        changed_template=closed != own,
        max_length=max_length,
        over_length=over_length,
        closing=closing,
    )


def has_template(tokenizer: Any) -> bool:
    """Whether a prepared tokenizer can render chat messages, not only plain text."""
    return TEXT_ONLY not in tokenizer.chat_template


def template_missing(tokenizer: Any) -> RenderingError:
    """The refusal of conversational data by a tokenizer without a template."""
    return RenderingError(
        "the data is conversational and the tokenizer has no chat template",
        where=tokenizer_name(tokenizer),
        fix="name a Jinja file under base_model.chat_template, or write data.strings: text if the data is plain text",
    )


def _default_template(tokenizer: Any) -> str | None:
    """The tokenizer's template; of several named ones the default (a reward model calls no tools).

    Raises:
        RenderingError: there are named ones, and none is the default.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict) and template and "default" not in template:
        raise RenderingError(
            f"has chat templates named {', '.join(map(repr, sorted(template)))}, and none of them is the default",
            where=tokenizer_name(tokenizer),
            fix="write the one to train with into a Jinja file and name it under base_model.chat_template",
        )
    return cast("str | None", template.get("default") if isinstance(template, dict) else template)


def response_header(tokenizer: Any) -> str:
    """What the template of a prepared tokenizer writes before the response of a small conversation."""
    conversation = _probe(tokenizer)
    header, _, _ = apply_template(tokenizer, [conversation])[0].rpartition(conversation[-1].content)
    return header


def _probe(tokenizer: Any) -> Conversation:
    """A small conversation that a prepared tokenizer must be able to render."""
    if has_template(tokenizer):
        return Message("user", "How many legs has a spider?"), Message("assistant", _ANSWER)
    return (Message("text", _ANSWER),)


def _verify(tokenizer: Any, tokens: SpecialTokens) -> None:
    """Render a small conversation and refuse a template that fails on it."""
    rendered = render_batch(tokenizer, partial(encode, tokenizer), tokens, [_probe(tokenizer)])[0]
    if rendered.reason:
        raise RenderingError(
            f"the chat template cannot be used: {REASONS[rendered.reason]} ({rendered.detail})",
            where=tokenizer_name(tokenizer),
            fix="mend the template, or name another Jinja file under base_model.chat_template",
        )
