"""The only place where text becomes tokens. Conversations go in; int32 ids, or the reason why there are none, come out.

    renderer = load_renderer("Qwen/Qwen3-0.6B", max_length=2048)
    for rendered in renderer.render_many(conversations):
        rendered.ids                     # ends with EOS, BOS at most once, no pad; None with a reason
    renderer.render_pairs(pairs)         # both sides at once: the length policy treats them alike
    renderer.save(folder)                # the tokenizer, with the template that was used

The saved template gives the same ids by `apply_chat_template(messages, tokenize=True)`: the renderer calls the same
template and the same tokenizer, in batches (`encoding.py`), and adds nothing of its own. A text that cannot be rendered
soundly is never mended in silence: it carries one of `REASONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rewardsmith.errors import DataError, RenderingError
from rewardsmith.protocols import Progress
from rewardsmith.records import RenderingRecord
from rewardsmith.rendering.batch import Rendered, render_batch
from rewardsmith.rendering.dates import DateUse, date_use
from rewardsmith.rendering.encoding import Encoder
from rewardsmith.rendering.faults import REASONS
from rewardsmith.rendering.length import Ids, cut_prompt, excess, too_long
from rewardsmith.rendering.markers import ControlTokens, Markers, find_markers
from rewardsmith.rendering.preparation import (
    OverLength,
    has_template,
    prepare_tokenizer,
    response_header,
    template_missing,
)
from rewardsmith.rendering.sandbox import apply_template, template_texts, together_or_alone
from rewardsmith.rendering.special_tokens import SpecialTokens
from rewardsmith.rendering.template import Closing
from rewardsmith.rendering.unknown import Unknown, find_unknown
from rewardsmith.types import Conversation, PreferencePair

InText = Literal["refuse", "text"]
"""What happens to control tokens in messages: the conversation is refused, or they are encoded as plain text."""

_CHUNK = 512


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

    def with_special_tokens(self, policy: InText) -> Renderer:
        """The same renderer with another policy for control tokens in messages."""
        return Renderer(self.tokenizer, self._tokens, self.record.model_copy(update={"special_tokens": policy}))

    @classmethod
    def from_checkpoint(cls, folder: str | Path, record: RenderingRecord) -> Renderer:
        """The renderer that a checkpoint was trained with.

        Raises:
            RenderingError: the folder's tokenizer is not the one that `record` describes.
        """
        from rewardsmith.rendering.loading import load_tokenizer

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

    def render_many(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> list[Rendered]:
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
            if progress is not None:
                progress(len(done), len(conversations))
        return done

    def render_pairs(
        self, pairs: Sequence[PreferencePair], progress: Progress | None = None, places: Sequence[str] | None = None
    ) -> list[RenderedPair]:
        """Token ids of both sides of many pairs, in order.

        Args:
            pairs: prompt, chosen and rejected.
            progress: called after each chunk.
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
            if progress is not None:
                progress(len(done), len(pairs))
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
