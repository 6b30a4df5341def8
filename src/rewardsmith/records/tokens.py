"""What the data contract measured in tokens: the section `tokens` of check.json.

Everything after `truncated` has a default, so that older records can still be read.
"""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record


class LengthBin(Record):
    """Texts of one range of lengths."""

    low: int
    """Fewest tokens."""
    high: int
    """Most tokens, included."""
    chosen: int
    """Kept texts of chosen responses."""
    rejected: int
    """Kept texts of rejected responses."""
    left_out: int
    """Pairs that were left out for their length, by their longer text."""


class LimitEffect(Record):
    """What another limit would do to the same pairs, if texts were cut at their end as other programs do."""

    limit: int
    """In tokens."""
    pairs: int
    """That are looked at."""
    over: int
    """Pairs with a longer text."""
    differing: int
    """Tokens after the shared ones, of the pairs that were kept."""
    differing_lost: int
    """How many of these would be cut."""
    identical: int
    """Kept pairs of which both sides would be the same."""


class LengthPolicy(Record):
    """What the limit did to the training pairs."""

    limit: int
    """In tokens."""
    policy: str
    """What happens to longer texts, as the spec names it."""
    pairs: int
    """Before the limit."""
    left_out: int
    """Pairs that were left out."""
    left_out_low: float | None
    """Lower end of the 95 % interval of their share."""
    left_out_high: float | None
    """Upper end of the same."""
    cut: int
    """Pairs whose prompt was cut."""
    cut_tokens: int
    """Tokens of prompts that are gone."""
    prompt_tokens: int
    """Tokens that the two sides of a pair share, the cut ones included."""
    differing: int
    """Tokens after the shared ones, in pairs that stayed."""
    differing_lost: int
    """How many of these were lost: none, because only prompts are cut."""
    limits: tuple[LimitEffect, ...] = ()
    """What other limits would do."""


class TokenWaste(Record):
    """Tokens that a model computes for one epoch, by layout."""

    pairs_per_step: int
    """That `padded` is computed for."""
    padded: int
    """Right-padded steps of pairs in file order."""
    packed: int
    """No padding."""
    tree: int
    """What the two sides of a pair share counted once."""
    prompt_tree: int
    """What all responses to one prompt share counted once, and equal responses once."""


class TextEnd(Record):
    """A token before the EOS."""

    token: str
    """As the vocabulary names it."""
    chosen: int
    """Texts of chosen responses that end so."""
    rejected: int
    """Texts of rejected responses that end so."""


class MarkerCount(Record):
    """Pairs with a text that is no content."""

    text: str
    """That was found."""
    kind: Literal["special", "role", "foreign"]
    """A special token of the tokenizer, what the template writes around turns, or what templates of other models
    write."""
    pairs: int
    """That have it anywhere."""
    prompt: int
    """Pairs that have it in the prompt."""
    chosen: int
    """Pairs that have it in the chosen response."""
    rejected: int
    """Pairs that have it in the rejected response."""


class PrefixStability(Record):
    """Whether the tokens of a prompt are the first tokens of prompt and response."""

    pairs: int
    """With a prompt."""
    text: int
    """Pairs whose prompt the template writes differently with and without the response."""
    text_low: float | None
    """Lower end of the 95 % interval of their share; null without a pair."""
    text_high: float | None
    """Upper end of the same."""
    tokens: int
    """Pairs whose prompt is written alike and still tokenized otherwise at the seam."""
    tokens_low: float | None
    """Lower end of the 95 % interval of their share; null without a pair."""
    tokens_high: float | None
    """Upper end of the same."""


class UnknownTokens(Record):
    """What the vocabulary lacks."""

    kind: Literal["unk", "byte_fallback", "bytes"]
    """`unk` writes `token` for it, `byte_fallback` writes its bytes, with `bytes` nothing is unknown."""
    token: str
    """That is written for it."""
    of: int
    """Texts that were looked at."""
    texts: int
    """Texts that have such tokens."""
    texts_low: float | None
    """Lower end of the 95 % interval of their share; null without a text."""
    texts_high: float | None
    """Upper end of the same."""
    tokens: int
    """Such tokens in all."""
    share: float
    """Of all tokens, 0 to 1."""


class TokenSummary(Record):
    """What the data contract measured in tokens.

    Lengths, ends, waste and the effect of the limit are those of the training pairs; `markers`, `prefix` and `unknown`
    are counted over all kept pairs.
    """

    texts: int
    """Two a training pair."""
    tokens: int
    """Of all these texts, EOS included."""
    quantiles: dict[str, float]
    """`min`, `p05`, `p50`, `p95`, `max` → tokens of one text."""
    last_tokens: dict[str, int]
    """Last token → texts: sound data have one entry, the EOS."""
    padded_tokens: int
    """Tokens of an epoch with right padding at the spec's batch size."""
    truncated: int
    """Pairs whose prompt was cut."""
    histogram: tuple[LengthBin, ...] = ()
    """Of lengths, in bins of a quarter octave."""
    length: LengthPolicy | None = None
    """What the limit did; null where that was not recorded."""
    waste: TokenWaste | None = None
    """Tokens of an epoch by layout; null in older records."""
    ends: tuple[TextEnd, ...] = ()
    """The most frequent tokens before the EOS."""
    markers: tuple[MarkerCount, ...] = ()
    """Special tokens of the tokenizer first, then the most frequent."""
    prefix: PrefixStability | None = None
    """Null where this was not surveyed."""
    unknown: UnknownTokens | None = None
    """Null where this was not surveyed."""
    mentions_date: bool = False
    """Whether the template's source asks for the date."""
    depends_on_date: bool = False
    """Whether the template writes the date."""
