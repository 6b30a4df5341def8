"""What check.json says of the kept texts: its sections `shortcuts` and `tokens`.

`shortcuts` is what tells chosen from rejected without the prompt. A lone rule says "the response with more of it is
chosen". Its accuracy is the share of right decisions among the pairs where both sides differ in it; below 0.5 the
opposite rule is the better one. Intervals are Wilson's at 95 %, with as many pairs as they are worth when pairs of one
prompt are not independent (`effective`).

`tokens` is what the data contract measured in tokens. Everything after `truncated` has a default, so that older records
can still be read.
"""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record

Grade = Literal["strong", "weak", ""]


class LoneRule(Record):
    """The rule "the response with more of it is chosen", over some pairs."""

    more: int
    """Pairs whose chosen response has more of it."""
    less: int
    """Pairs whose rejected response has more of it."""
    equal: int
    """Ties."""
    effective: int
    """What the decided pairs are worth as independent ones, where pairs share prompts."""
    coverage: float
    """(more + less) / all pairs, 0 to 1."""
    accuracy: float | None = None
    """More / (more + less), 0 to 1; null where no pair differs."""
    ci_low: float | None = None
    """Lower end of its 95 % interval; null where no pair differs."""
    ci_high: float | None = None
    """Upper end of its 95 % interval; null where no pair differs."""
    p_value: float | None = None
    """Two-sided against 0.5, corrected over all rules of its table (Holm); null where it was not tested."""


class Estimate(Record):
    """A share and its 95 % interval."""

    value: float
    """0 to 1."""
    ci_low: float
    """Lower end."""
    ci_high: float
    """Upper end."""


class LengthRuleBin(Record):
    """The length rule among pairs of one range of ratios."""

    low: float
    """Least ratio of the longer response to the shorter one."""
    high: float | None
    """Largest ratio; null is no limit."""
    rule: LoneRule
    """Over these pairs."""


class LengthRule(Record):
    """ "The longer response is chosen", in one unit."""

    unit: Literal["characters", "words", "tokens"]
    """Of the lengths."""
    rule: LoneRule
    """Over all pairs."""
    grade: Grade
    """As a shortcut."""
    bins: tuple[LengthRuleBin, ...]
    """By the ratio of the two lengths."""
    chosen_mean: float
    """Mean length of chosen responses."""
    rejected_mean: float
    """Mean length of rejected responses."""
    chosen_quantiles: dict[str, float]
    """`p05`, `p25`, `p50`, `p75`, `p95` → length of chosen responses."""
    rejected_quantiles: dict[str, float]
    """The same of rejected responses."""


class GroupRules(Record):
    """The rules within one source, or within one subset of a source."""

    source: str
    """As written in the spec."""
    subset: str = ""
    """Empty for the source as a whole."""
    pairs: int
    """Of the group."""
    rules: dict[str, LoneRule]
    """Unit of length or, for sources, code of a feature → the rule."""
    grades: dict[str, Grade]
    """Those of the rules that are shortcuts here → how strong."""


class FeatureRule(Record):
    """One surface feature as a lone rule: "the response with more `meaning` is chosen"."""

    code: str
    """Of the feature."""
    kind: Literal["format", "wording"]
    """Formatting or wording."""
    meaning: str
    """What is counted."""
    rule: LoneRule
    """Over all pairs."""
    chosen_share: float
    """Share of chosen responses that have it at all."""
    rejected_share: float
    """Share of rejected responses that have it at all."""
    at_equal_length: Estimate | None
    """Accuracy between responses of equal length, from a logistic regression on both: about 0.5 for what only stands
    for length. Null where the pairs cannot tell the two apart."""
    grade: Grade
    """As a shortcut."""


class WordRule(Record):
    """A word, or the first words of responses, as a lone rule: "the response that has it is chosen"."""

    text: str
    """The word or words."""
    opening: bool
    """Whether these are the first words of responses."""
    rule: LoneRule
    """Over the sampled pairs."""
    log_odds: float
    """Positive where chosen responses have it more often."""
    z: float
    """`log_odds` over its standard error."""
    at_equal_length: Estimate | None
    """Accuracy between responses of equal length; null where the pairs cannot tell the two apart."""
    grade: Grade
    """As a shortcut."""


class SourceAccuracy(Record):
    """Accuracy of a classifier on the pairs of one source."""

    source: str
    """As written in the spec."""
    pairs: int
    """Of the source, in the sample."""
    accuracy: Estimate
    """With its interval."""
    grade: Grade
    """As a shortcut."""


class BlindModel(Record):
    """A classifier that reads responses and no prompts, measured on pairs of prompts that it was not fitted on."""

    name: Literal["length", "surface", "words"]
    """Length, surface features, or words."""
    reads: str
    """What it is given, in words."""
    right: float
    """Pairs that it orders rightly; undecided ones count half."""
    accuracy: Estimate
    """With its interval."""
    grade: Grade
    """As a shortcut."""
    by_source: tuple[SourceAccuracy, ...]
    """Sources of at least 50 pairs in the sample."""


class ShortcutsRecord(Record):
    """How much of the label can be predicted without reading the prompt, from the training pairs."""

    pairs: int
    """Training pairs; lengths and features come from all of them."""
    prompts: int
    """Distinct prompts among them."""
    sampled: int
    """Pairs that words and models come from, drawn by the spec's seed."""
    folds: int
    """Of cross-validation; pairs of a prompt share one."""
    rules_compared: int
    """Rules of length and features; intervals that grade are corrected for so many."""
    thresholds: dict[str, float]
    """Of the grades: `strong`, `weak`, `blind` are accuracies, `least_share` the share of the pairs that a rule must
    decide."""
    lengths: tuple[LengthRule, ...]
    """One a unit."""
    features: tuple[FeatureRule, ...]
    """By their evidence, the strongest first."""
    words_compared: int
    """Words and openings that were tested."""
    words: tuple[WordRule, ...]
    """The most telling of each side, and those that are shortcuts."""
    openings: tuple[WordRule, ...]
    """The same of the first words."""
    models: tuple[BlindModel, ...]
    """Empty where `models_left_out` says why."""
    models_left_out: str = ""
    """Why there are none; empty where there are."""
    sources: tuple[GroupRules, ...]
    """One a source."""
    subsets: tuple[GroupRules, ...]
    """One a named subset: lengths only."""


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
