"""What tells chosen from rejected without the prompt: the section `shortcuts` of check.json.

A lone rule says "the response with more of it is chosen". Its accuracy is the share of right decisions among the pairs
where both sides differ in it; below 0.5 the opposite rule is the better one. Intervals are Wilson's at 95 %, with as
many pairs as they are worth when pairs of one prompt are not independent (`effective`).
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
