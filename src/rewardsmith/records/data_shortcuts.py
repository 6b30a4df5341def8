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
    """`more` pairs whose chosen response has more of it, `less` whose rejected response has, `equal` ties.

    `accuracy` = more / (more + less), None where no pair differs; `coverage` = (more + less) / all. `p_value` is
    two-sided against 0.5, corrected over all rules of its table (Holm).
    """

    more: int
    less: int
    equal: int
    effective: int
    coverage: float
    accuracy: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None


class Estimate(Record):
    """A share and its interval."""

    value: float
    ci_low: float
    ci_high: float


class LengthRuleBin(Record):
    """The length rule among pairs whose longer response is `low` to `high` times as long; `high` None is no limit."""

    low: float
    high: float | None
    rule: LoneRule


class LengthRule(Record):
    """ "The longer response is chosen" in one unit. Quantiles map "p05", "p25", "p50", "p75", "p95" to a length."""

    unit: Literal["characters", "words", "tokens"]
    rule: LoneRule
    grade: Grade
    bins: tuple[LengthRuleBin, ...]
    chosen_mean: float
    rejected_mean: float
    chosen_quantiles: dict[str, float]
    rejected_quantiles: dict[str, float]


class GroupRules(Record):
    """The rules within one source, or one subset of a source: `rules` by unit of length and, for sources, by feature.

    `grades` names those that are strong or weak shortcuts there.
    """

    source: str
    subset: str = ""
    pairs: int
    rules: dict[str, LoneRule]
    grades: dict[str, Grade]


class FeatureRule(Record):
    """One surface feature as a lone rule: "the response with more `meaning` is chosen".

    `chosen_share` and `rejected_share` of the responses have it at all. `at_equal_length` is the accuracy
    between responses of equal length, from a logistic regression on both: about 0.5 for what only stands for length,
    None where the pairs cannot tell the two apart.
    """

    code: str
    kind: Literal["format", "wording"]
    meaning: str
    rule: LoneRule
    chosen_share: float
    rejected_share: float
    at_equal_length: Estimate | None
    grade: Grade


class WordRule(Record):
    """A word, or the first words of responses (`opening`), as a lone rule: "the response that has it is chosen".

    `log_odds` is positive where chosen responses have it more often; `z` is it over its standard error.
    """

    text: str
    opening: bool
    rule: LoneRule
    log_odds: float
    z: float
    at_equal_length: Estimate | None
    grade: Grade


class SourceAccuracy(Record):
    """Accuracy of a classifier on the pairs of one source."""

    source: str
    pairs: int
    accuracy: Estimate
    grade: Grade


class BlindModel(Record):
    """A classifier that reads responses and no prompts: its accuracy on pairs of prompts that it was not fitted on.

    `right` counts undecided pairs as half. `by_source` leaves out sources of fewer than 50 pairs in the sample.
    """

    name: Literal["length", "surface", "words"]
    reads: str
    right: float
    accuracy: Estimate
    grade: Grade
    by_source: tuple[SourceAccuracy, ...]


class ShortcutsRecord(Record):
    """How much of the label can be predicted without reading the prompt, from the training pairs.

    Lengths and features come from all `pairs`; words and models from `sampled` of them, drawn by the spec's seed.
    `features` are in order of their evidence, the strongest first. `thresholds` are those of the grades.
    `models` is empty where `models_left_out` says why.
    """

    pairs: int
    prompts: int
    sampled: int
    folds: int
    rules_compared: int
    thresholds: dict[str, float]
    lengths: tuple[LengthRule, ...]
    features: tuple[FeatureRule, ...]
    words_compared: int
    words: tuple[WordRule, ...]
    openings: tuple[WordRule, ...]
    models: tuple[BlindModel, ...]
    models_left_out: str = ""
    sources: tuple[GroupRules, ...]
    subsets: tuple[GroupRules, ...]
