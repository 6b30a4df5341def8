"""What the data contract measured in tokens: the section `tokens` of `check.json`.

Lengths, ends, waste and the effect of the length limit are those of the training pairs; what is wrong inside texts is
counted over all kept pairs. Everything after `truncated` has a default, so that older records can still be read.
"""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record


class LengthBin(Record):
    """Texts of `low` to `high` tokens, both included.

    `left_out` counts pairs that were left out for their length, by their longer text.
    """

    low: int
    high: int
    chosen: int
    rejected: int
    left_out: int


class LimitEffect(Record):
    """What another limit would do to the same pairs.

    Of `pairs`, `over` have a text longer than `limit`. Cutting texts at their end, as other programs do, would take
    `differing_lost` of the `differing` tokens after the shared ones of the pairs that were kept, and make `identical`
    of them the same on both sides.
    """

    limit: int
    pairs: int
    over: int
    differing: int
    differing_lost: int
    identical: int


class LengthPolicy(Record):
    """What the limit did: `left_out` pairs and `cut` pairs among `pairs`, with `cut_tokens` of `prompt_tokens` gone.

    Prompt tokens are those that the two sides share. `differing_lost` of `differing` tokens after the shared ones were
    lost in pairs that stayed: none, because only prompts are cut.
    """

    limit: int
    policy: str
    pairs: int
    left_out: int
    left_out_low: float | None
    left_out_high: float | None
    cut: int
    cut_tokens: int
    prompt_tokens: int
    differing: int
    differing_lost: int
    limits: tuple[LimitEffect, ...] = ()


class TokenWaste(Record):
    """Tokens that a model computes for one epoch in each layout.

    `padded`: right-padded steps of `pairs_per_step` pairs in file order. `packed`: no padding. `tree`: what the two
    sides of a pair share counted once. `prompt_tree`: what all answers to one prompt share counted once, and equal
    answers once.
    """

    pairs_per_step: int
    padded: int
    packed: int
    tree: int
    prompt_tree: int


class TextEnd(Record):
    """How many texts have this token before the EOS, by side."""

    token: str
    chosen: int
    rejected: int


class MarkerCount(Record):
    """Pairs whose prompt, chosen or rejected response contains a text that is no content.

    `kind`: a special token of the tokenizer; what the template writes around turns; what templates of other models
    write.
    """

    text: str
    kind: Literal["special", "role", "foreign"]
    pairs: int
    prompt: int
    chosen: int
    rejected: int


class PrefixStability(Record):
    """Whether the tokens of a prompt are the first tokens of prompt and response.

    Of `pairs` with a prompt, `text` have a prompt that the template writes differently with and without the response,
    and `tokens` are written alike and still tokenized otherwise at the seam.
    """

    pairs: int
    text: int
    text_low: float | None
    text_high: float | None
    tokens: int
    tokens_low: float | None
    tokens_high: float | None


class UnknownTokens(Record):
    """What the vocabulary lacks.

    `kind`: `unk` writes `token` for it, `byte_fallback` writes its bytes, with `bytes` nothing is unknown. `texts` of
    `of` texts have such tokens, `tokens` in all.
    """

    kind: Literal["unk", "byte_fallback", "bytes"]
    token: str
    of: int
    texts: int
    texts_low: float | None
    texts_high: float | None
    tokens: int
    share: float


class TokenSummary(Record):
    """How long the kept training texts are, in tokens, and what right padding at the spec's batch size wastes.

    `quantiles` maps "min", "p05", "p50", "p95", "max" to the length of one text (prompt and response, EOS included).
    `last_tokens` counts the last token of every text: a sound data set has one entry, the EOS. `truncated` counts
    pairs whose prompt was cut.

    `ends` has the most frequent tokens before the EOS. `mentions_date`: the template's source asks for the date;
    `depends_on_date`: it writes it.
    """

    texts: int
    tokens: int
    quantiles: dict[str, float]
    last_tokens: dict[str, int]
    padded_tokens: int
    truncated: int
    histogram: tuple[LengthBin, ...] = ()
    length: LengthPolicy | None = None
    waste: TokenWaste | None = None
    ends: tuple[TextEnd, ...] = ()
    markers: tuple[MarkerCount, ...] = ()
    prefix: PrefixStability | None = None
    unknown: UnknownTokens | None = None
    mentions_date: bool = False
    depends_on_date: bool = False
