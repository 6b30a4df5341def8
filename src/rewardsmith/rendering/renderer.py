"""Conversations go in; int32 ids, or the reason why there are none, come out.

    renderer = load_renderer("Qwen/Qwen3-0.6B", max_length=2048)
    for rendered in renderer.render_many(conversations):
        rendered.ids                     # ends with EOS, BOS at most once, no pad; None with a reason
    renderer.render_pairs(pairs)         # both sides at once: the length policy treats them alike
    renderer.save(folder)                # the tokenizer, with the template that was used

A tokenizer as it ships becomes the tokenizer of a reward model: special tokens, template, sides (`prepare_tokenizer`).
The saved template gives the same ids by `apply_chat_template(messages, tokenize=True)`: the renderer calls the same
template and the same tokenizer, in batches (`encoding.py`), and adds nothing of its own. A text that cannot be rendered
soundly is never fixed in silence: it carries one of `REASONS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rewardsmith.errors import DataError, RenderingError
from rewardsmith.records.bounded import BeyondLimitError, read_bounded
from rewardsmith.records.checks import RenderingRecord
from rewardsmith.rendering.encoding import Encoder, Ids, encode, shared_prefix
from rewardsmith.rendering.sandbox import apply_template, template_texts, together_or_alone
from rewardsmith.rendering.special_tokens import (
    ControlTokens,
    Markers,
    SpecialTokens,
    find_markers,
    prepare_special_tokens,
    tokenizer_name,
)
from rewardsmith.rendering.template import (
    REASONS,
    TEXT_ONLY,
    Closing,
    DateUse,
    Rendered,
    close_template,
    date_use,
    render_batch,
)
from rewardsmith.rendering.tokenizer import Unknown, find_unknown, load_tokenizer
from rewardsmith.types import Conversation, Message, PreferencePair

OverLength = Literal["drop", "truncate_prompt", "error"]

InText = Literal["refuse", "text"]
"""What happens to control tokens in messages: the conversation is refused, or they are encoded as plain text."""

_CHUNK = 512
_ANSWER = "A spider has eight legs."


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """Both sides of a pair as token ids; None exactly where `reason` (a key of `REASONS`) is given.

    `cut` counts prompt tokens that the policy `truncate_prompt` took away, the same on both sides.
    """

    chosen_ids: Ids | None
    rejected_ids: Ids | None
    reason: str = ""
    detail: str = ""
    cut: int = 0


class Renderer:
    """A prepared tokenizer with its template and its length policy.

    Build one with `load_renderer`, `Renderer.from_tokenizer` or `Renderer.from_checkpoint`. `record` is what the
    checkpoint and the report keep of it.
    """

    def __init__(self, tokenizer: Any, tokens: SpecialTokens, record: RenderingRecord) -> None:
        self.tokenizer = tokenizer
        self.record = record
        self._tokens = tokens
        self._encode = Encoder.of(tokenizer, response_header(tokenizer)).encode
        self._control = ControlTokens(tokenizer)

    def __reduce__(self) -> tuple[type[Renderer], tuple[Any, SpecialTokens, RenderingRecord]]:
        """Pickled without what it remembers of earlier texts."""
        return Renderer, (self.tokenizer, self._tokens, self.record)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        max_length: int,
        over_length: OverLength = "drop",
        conversational: bool = True,
        chat_template: str | None = None,
        closing: Closing = "eos",
        special_tokens: InText = "refuse",
    ) -> Renderer:
        """Prepare a transformers tokenizer, in place: it becomes the checkpoint's tokenizer.

        Args:
            tokenizer: any transformers tokenizer.
            max_length: longest text in tokens, EOS included.
            over_length: what happens to longer texts (`spec.data.over_length`).
            conversational: false for data that is plain text only; no chat template is needed then.
            chat_template: Jinja source that replaces the tokenizer's own.
            closing: how the trainer of the model ended a text; ours ends it with EOS.
            special_tokens: what happens to a conversation with control tokens in its messages (`data.special_tokens`).

        Raises:
            RenderingError: no EOS; no usable chat template.
        """
        tokens, record = prepare_tokenizer(
            tokenizer,
            max_length=max_length,
            over_length=over_length,
            conversational=conversational,
            chat_template=chat_template,
            closing=closing,
        )
        return cls(tokenizer, tokens, record.model_copy(update={"special_tokens": special_tokens}))

    @classmethod
    def from_checkpoint(cls, folder: str | Path, record: RenderingRecord) -> Renderer:
        """The renderer that a checkpoint was trained with.

        Raises:
            RenderingError: the folder's tokenizer is not the one that `record` describes.
        """
        tokenizer = load_tokenizer(folder)
        tokens, loaded = prepare_tokenizer(
            tokenizer,
            max_length=record.max_length,
            over_length=cast("OverLength", record.over_length),
            conversational=record.conversational,
            chat_template=None,
            closing=record.closing,
        )
        for field in ("template_sha256", "eos_token_id", "pad_token_id", "bos_token_id"):
            found, trained = getattr(loaded, field), getattr(record, field)
            if found != trained:
                raise RenderingError(
                    f"the tokenizer has {field} {found}; the model was trained with {trained}, so its rewards differ",
                    where=str(folder),
                    fix="restore the tokenizer files that were saved with the model",
                )
        return cls(tokenizer, tokens, record)

    @property
    def max_length(self) -> int:
        """Longest text in tokens, EOS included."""
        return self.record.max_length

    @property
    def eos_token_id(self) -> int:
        """Id of the last token of every text."""
        return self._tokens.eos_id

    @property
    def pad_token_id(self) -> int:
        """Id that right padding uses; never EOS."""
        return self._tokens.pad_id

    @property
    def unwritten_bos(self) -> int | None:
        """Id of a BOS that the tokenizer adds to plain text, and that the trainer of a model from elsewhere did not.

        Programs that tokenize a rendered text as plain text (RewardBench's script, vLLM's `input`) put it in front.
        """
        return self._tokens.bos_id if self._tokens.adds_bos and self.record.closing != "eos" else None

    def markers(self) -> Markers:
        """Texts that the tokenizer or the template would not take for content."""
        return find_markers(self.tokenizer)

    def control_tokens(self, contents: Sequence[str]) -> list[list[str]]:
        """The control tokens that each text holds by itself, one EOS at its very end aside.

        For text that a template has rendered in part: a completion that follows a prompt as plain text.
        """
        eos = self._tokens.eos
        return self._control.tokens_in([text.rstrip().removesuffix(eos) for text in contents])

    def unknown(self) -> Unknown:
        """What the tokenizer does with characters that its vocabulary lacks."""
        return find_unknown(self.tokenizer)

    def date_use(self) -> DateUse:
        """Whether the template writes today's date."""
        return date_use(self.tokenizer.chat_template, self.tokenizer.special_tokens_map)

    def save(self, folder: str | Path) -> None:
        """Save the tokenizer with its template; `from_checkpoint` reads it back."""
        self.tokenizer.save_pretrained(str(folder))

    def text(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> str:
        """The rendered text of one conversation, special tokens written out."""
        return apply_template(self.tokenizer, [conversation], add_generation_prompt=add_generation_prompt)[0]

    def ids(self, conversation: Conversation) -> Ids:
        """Token ids of one conversation, shape (T,).

        Raises:
            DataError: the conversation has no sound rendering.
        """
        rendered = self.render_many([conversation])[0]
        if rendered.ids is None:
            raise DataError(
                f"{REASONS[rendered.reason]} ({rendered.detail})",
                where="conversation",
                fix="shorten or correct the conversation",
            )
        return rendered.ids

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """Token ids of many conversations, in order.

        A text over the limit follows the policy: `drop` gives `ids=None`, `truncate_prompt` cuts the oldest tokens of
        what comes before the last message, `error` raises.

        Raises:
            DataError: a text is over the limit and the policy is `error`.
            RenderingError: chat messages, and the tokenizer has no chat template.
        """
        done: list[Rendered] = []
        for start in range(0, len(conversations), _CHUNK):
            chunk = conversations[start : start + _CHUNK]
            for conversation, rendered in zip(chunk, self._render(chunk), strict=True):
                done.append(self._fit_one(conversation, rendered, f"conversation {len(done) + 1}"))
        return done

    def render_pairs(self, pairs: Sequence[PreferencePair], places: Sequence[str] | None = None) -> list[RenderedPair]:
        """Token ids of both sides of many pairs, in order.

        Args:
            pairs: prompt, chosen and rejected.
            places: what to call each pair in an error ("pairs.jsonl:12").

        Raises:
            DataError: a text is over the limit and the policy is `error`.
            RenderingError: chat messages, and the tokenizer has no chat template.
        """
        done: list[RenderedPair] = []
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            sides = self._render([pair.prompt + side for pair in chunk for side in (pair.chosen, pair.rejected)])
            for pair, chosen, rejected in zip(chunk, sides[::2], sides[1::2], strict=True):
                place = places[len(done)] if places else f"pair {pair.id or len(done) + 1}"
                done.append(self._fit_pair(pair, chosen, rejected, place))
        return done

    def prompt_ids(self, prompts: Sequence[Conversation]) -> list[Ids | None]:
        """Ids of prompts with the header of the response, as a policy reads them; None where the template refuses.

        A prompt of the batch that was rendered last is encoded no second time.
        """
        texts = template_texts(self.tokenizer, prompts, add_generation_prompt=True)
        encoded = iter(together_or_alone(self._encode, [text for text in texts if isinstance(text, str)]))
        found = [text if isinstance(text, Exception) else next(encoded) for text in texts]
        if self.record.special_tokens == "text":
            held = [any(self._control.tokens_in([turn.content for turn in prompt])) for prompt in prompts]
            found = [
                self._control.as_text(prompt, add_generation_prompt=True)[1] if in_text else ids_T
                for prompt, in_text, ids_T in zip(prompts, held, found, strict=True)
            ]
        return [None if isinstance(ids_T, Exception) else ids_T for ids_T in found]

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        if not has_template(self.tokenizer) and any(m.role != "text" for messages in conversations for m in messages):
            raise template_missing(self.tokenizer)
        as_text = self.record.special_tokens == "text"
        return render_batch(self.tokenizer, self._encode, self._tokens, conversations, self._control, as_text=as_text)

    def _fit_one(self, conversation: Conversation, rendered: Rendered, place: str) -> Rendered:
        if rendered.ids is None:
            return rendered
        cut = excess((rendered.ids,), self.max_length)
        if not cut:
            return rendered
        kept = self._shorten((rendered.ids,), conversation[:-1], place)
        if kept is None:
            return Rendered(None, "over_length", too_long((rendered.ids,), self.max_length))
        return Rendered(kept[0], cut=cut)

    def _fit_pair(self, pair: PreferencePair, chosen: Rendered, rejected: Rendered, place: str) -> RenderedPair:
        if chosen.ids is None or rejected.ids is None:
            faulty, side = (chosen, "chosen") if chosen.ids is None else (rejected, "rejected")
            return RenderedPair(None, None, faulty.reason, f"{side}: {faulty.detail}")
        both = (chosen.ids, rejected.ids)
        cut = excess(both, self.max_length)
        if not cut:
            return RenderedPair(*both)
        kept = self._shorten(both, pair.prompt, place)
        if kept is None:
            return RenderedPair(None, None, "over_length", too_long(both, self.max_length))
        return RenderedPair(kept[0], kept[1], cut=cut)

    def _shorten(self, texts: tuple[Ids, ...], prompt: Conversation, place: str) -> tuple[Ids, ...] | None:
        """Apply the length policy to texts of which at least one is too long."""
        if self.record.over_length == "error":
            raise DataError(
                too_long(texts, self.max_length),
                where=place,
                fix="raise data.max_length, or write data.over_length: drop or truncate_prompt",
            )
        if self.record.over_length == "drop" or not prompt:
            return None
        prompt_ids = self._encode([self.text(prompt, add_generation_prompt=True)])[0]
        return cut_prompt(texts, prompt_ids, max_length=self.max_length, bos_id=self._tokens.bos_id)


def load_renderer(
    base: str | Path,
    *,
    max_length: int,
    over_length: OverLength = "drop",
    revision: str | None = None,
    chat_template_file: str | Path | None = None,
    conversational: bool = True,
    special_tokens: InText = "refuse",
) -> Renderer:
    """A renderer for a base model.

    Args:
        base: hub id or folder.
        max_length: longest text in tokens, EOS included.
        over_length: what happens to longer texts (`spec.data.over_length`).
        revision: hub revision.
        chat_template_file: Jinja file that replaces the tokenizer's own template.
        conversational: false for data that is plain text only; no chat template is needed then.
        special_tokens: what happens to control tokens in messages (`spec.data.special_tokens`).

    Raises:
        RenderingError: the tokenizer or the template is missing or cannot be used.
    """
    template = _read_template(Path(chat_template_file)) if chat_template_file is not None else None
    return Renderer.from_tokenizer(
        load_tokenizer(base, revision=revision),
        max_length=max_length,
        over_length=over_length,
        conversational=conversational,
        chat_template=template,
        special_tokens=special_tokens,
    )


def _read_template(path: Path) -> str:
    try:
        return read_bounded(path).decode("utf-8").replace("\r\n", "\n")  # as transformers reads it
    except (OSError, UnicodeDecodeError, BeyondLimitError) as error:
        raise RenderingError(
            f"the chat template cannot be read: {error}", where=str(path), fix="name a Jinja file in UTF-8"
        ) from error


def prepare_tokenizer(
    tokenizer: Any,
    *,
    max_length: int,
    over_length: OverLength,
    conversational: bool,
    chat_template: str | None,
    closing: Closing = "eos",
) -> tuple[SpecialTokens, RenderingRecord]:
    """Prepare in place and say what came of it (arguments as `Renderer.from_tokenizer`); a second time changes nothing.

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
            fix="fix the template, or name another Jinja file under base_model.chat_template",
        )


def excess(texts: tuple[Ids, ...], max_length: int) -> int:
    """Tokens by which the longest text passes the limit; 0 when all fit."""
    return max(0, max(len(ids_T) for ids_T in texts) - max_length)


def cut_prompt(texts: tuple[Ids, ...], prompt_T: Ids, *, max_length: int, bos_id: int | None) -> tuple[Ids, ...] | None:
    """Cut the same oldest prompt tokens from texts that share a prompt, until the longest fits.

    BOS stays first, the response and EOS stay whole, and texts keep sharing their prompt.

    Args:
        texts: token ids, the shared prompt first.
        prompt_T: ids of the prompt alone, with the header of the response. What a text shares with it may be cut.
        max_length: longest text allowed.
        bos_id: kept where it is the first token.

    Returns:
        The shortened texts; None when the prompt cannot give enough, that is, when a response alone is too long.
    """
    cut = excess(texts, max_length)
    start = int(bos_id is not None and all(len(ids_T) > 0 and ids_T[0] == bos_id for ids_T in texts))
    prompt_length = min(shared_prefix(ids_T, prompt_T) for ids_T in texts)
    if start + cut > prompt_length:
        return None
    return tuple(np.concatenate((ids_T[:start], ids_T[start + cut :])) for ids_T in texts)


def too_long(texts: tuple[Ids, ...], max_length: int) -> str:
    """Says how long the longest text is."""
    return f"{max(len(ids_T) for ids_T in texts)} tokens, the limit is {max_length}"


def length_said(detail: str) -> int:
    """The number of tokens in what `too_long` said, also where more stands around it."""
    said = re.search(r"(\d+) tokens, the limit is \d+", detail)
    if said is None:
        raise ValueError(f"not said by too_long: {detail!r}")
    return int(said[1])
