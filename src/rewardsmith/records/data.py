"""What the kept pairs are made of: sources, subsets, forms, languages, turns, prompts, annotators and models.

What the labels of the data say of themselves: repeats, contradictions, cycles, and stated margins.

What the overlap surveys measured: near-duplicates and leaks, and contamination by benchmarks (in check.json).

Secrets and personal data in the kept pairs: how much of what, and never the data itself.

What tells chosen from rejected without the prompt: the section `shortcuts` of check.json.

A lone rule says "the response with more of it is chosen". Its accuracy is the share of right decisions among the pairs
where both sides differ in it; below 0.5 the opposite rule is the better one. Intervals are Wilson's at 95 %, with as
many pairs as they are worth when pairs of one prompt are not independent (`effective`).

What the data contract measured in tokens: the section `tokens` of `check.json`.

Lengths, ends, waste and the effect of the length limit are those of the training pairs; what is wrong inside texts is
counted over all kept pairs. Everything after `truncated` has a default, so that older records can still be read.
"""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.evaluation import LabelAgreement
from rewardsmith.records.files import Record


class NamedCount(Record):
    """Pairs of one name (a source, a subset, an annotator), training and held out."""

    name: str
    train: int
    held_out: int


class NamedCounts(Record):
    """The most frequent names; `distinct` counts all there are.

    `effective` is the number of equally frequent names that would be as varied as the training pairs are: the
    exponential of the Shannon entropy (Hill 1973, Ecology 54:427, order 1).
    """

    distinct: int
    effective: float
    most: tuple[NamedCount, ...]


class SourceForms(Record):
    """How the rows of a source are written, and how many are written so."""

    source: str
    forms: dict[str, int]


class LanguageShare(Record):
    """A language (ISO 639; "und": not sure, "zxx": no language), its sampled prompts, and its share of all prompts."""

    language: str
    prompts: int
    share: float
    ci_low: float
    ci_high: float


class Languages(Record):
    """Languages of `sampled` of the `prompts` distinct training prompts, drawn by `seed`; `by` says what told them."""

    prompts: int
    sampled: int
    seed: int
    by: str
    shares: tuple[LanguageShare, ...]


class PromptReuse(Record):
    """How training pairs share prompts.

    `pairs_per_prompt` counts prompts by how many pairs they have ("1", "2", "3-5", …), `most` is the largest such
    number. `effective` is the number of equally used prompts that would be as varied (exponential of the Shannon
    entropy), `effective_simpson` the same by the inverse Simpson index, (Σ pairs)² / Σ pairs² (Hill 1973, orders 1 and
    2). The latter is what the pairs are worth as independent ones if all pairs of a prompt say the same (Kish 1965).
    """

    pairs: int
    distinct: int
    effective: float
    effective_simpson: float
    most: int
    pairs_per_prompt: dict[str, int]


class ModelRate(Record):
    """How often a model's response was chosen over another model's, with an interval at the number of its prompts."""

    model: str
    pairs: int
    prompts: int
    chosen: float
    ci_low: float
    ci_high: float


class Models(Record):
    """Training pairs of which both models are known and differ.

    `rule_accuracy` is the accuracy of the rule "of two models, choose the one that was chosen more often in the other
    pairs of the same two": how much of the label follows from who wrote the responses.
    """

    pairs: int
    distinct: int
    rule_accuracy: float
    rule_ci: tuple[float, float]
    most: tuple[ModelRate, ...]


class SourceAgreement(Record):
    """Repeated labels of one source; exact copies of a row count as labels that agree."""

    source: str
    agreement: LabelAgreement


class DataBalance(Record):
    """`turns` counts training pairs by the user's turns in their prompt; None where no row says it."""

    sources: NamedCounts
    subsets: NamedCounts | None
    annotators: NamedCounts | None
    models: Models | None
    forms: tuple[SourceForms, ...]
    turns: dict[str, int]
    prompts: PromptReuse
    languages: Languages | None
    agreement: tuple[SourceAgreement, ...]


class PreferenceCycle(Record):
    """Rows (`file:row`) of one prompt that go round: each one's rejected answer is the next one's chosen answer."""

    rows: tuple[str, ...]


class MarginSummary(Record):
    """The margins that one source states, over all its kept rows.

    `negative` margins scored the chosen response lower (their share is of the stated margins, with its interval);
    `unread` ones are no finite number. `allowed` is the declared range, or else what is plausible beside the source's
    other margins (null: nothing is stated). `quantiles` maps "min", "p05", "p50", "p95", "max"; `edges` has one value
    more than `counts` and covers the allowed margins.
    """

    source: str
    stated: int
    unread: int
    zero: int
    negative: int
    negative_ci: tuple[float, float]
    out_of_range: int
    allowed: tuple[float, float] | None
    declared: bool
    quantiles: dict[str, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class DataLabels(Record):
    """Counts of rows, over all kept pairs.

    `distinct_pairs` differ in prompt, chosen or rejected; `repeated` stand there before, `contradictory` have a
    counterpart with the opposite label (`contradictory_comparisons` of two responses), `cyclic` lie on a cycle of
    `cycles` sets of answers that cycles join. `shown` has one shortest cycle of the first few.
    """

    pairs: int
    distinct_pairs: int
    repeated: int
    contradictory: int
    contradictory_comparisons: int
    cyclic: int
    cycles: int
    shown: tuple[PreferenceCycle, ...] = ()
    margins: tuple[MarginSummary, ...] = ()


class ClusterSizes(Record):
    """How many clusters have `low` to `high` pairs (`high` null: or more), and how many pairs they hold together."""

    low: int
    high: int | None
    clusters: int
    pairs: int


class ClusterExample(Record):
    """One of the largest clusters of near-duplicate prompts, and where its first pair stands."""

    pairs: int
    prompts: int
    file: str
    row: int


class OverlapRecord(Record):
    """Near-duplicates among the training pairs, and leaks out of them into the held-out ones.

    `distinct_prompts` counts prompts that differ in any character, `prompt_clusters` those that are no near-duplicates
    of each other; `effective_prompts` is (Σ n)² / Σ n² over the pairs n of each cluster (Kish 1965): the number of
    equally frequent prompts that would weigh as unevenly. `sizes` and `largest` describe the clusters, equal prompts
    counted. `short_prompts` have fewer than 20 words beside boilerplate and are compared word for word only.
    `duplicate_pairs` counts the near-duplicates of an earlier pair, in `pair_clusters` clusters; the interval bounds
    their share in all such data.
    """

    training_pairs: int
    distinct_prompts: int
    prompt_clusters: int
    effective_prompts: float
    short_prompts: int
    sizes: tuple[ClusterSizes, ...]
    largest: tuple[ClusterExample, ...]
    duplicate_pairs: int
    pair_clusters: int
    duplicate_share: float | None
    ci_low: float | None
    ci_high: float | None
    leaked_prompts: int
    near_leaked_prompts: int
    leaked_turns: int


OverlapRule = Literal["equal", "ngrams", "near"]


class BenchmarkOverlap(Record):
    """How much of a subset of a benchmark stands in the training prompts.

    `touched` of `rows` rows have their prompt in at least one of `training_pairs` training pairs; `equal`, `ngrams` and
    `near` say by which rule: equal words, more than half of the words in n-grams of eight that one training prompt has
    too (Tülu 3), or most of the word triples. Boilerplate of the benchmark is not counted. The interval bounds the
    share.
    """

    benchmark: str
    subset: str
    rows: int
    touched: int
    share: float
    ci_low: float
    ci_high: float
    training_pairs: int
    equal: int
    ngrams: int
    near: int


class ContaminatedRow(Record):
    """A training pair whose prompt holds a benchmark's prompt; `share` of that prompt is found in it."""

    benchmark: str
    subset: str
    id: str
    file: str
    row: int
    rule: OverlapRule
    share: float


class ContaminationRecord(Record):
    """Contamination by each benchmark that the spec evaluates, subset by subset; the subset "" is the whole."""

    benchmarks: tuple[BenchmarkOverlap, ...]
    training_pairs: int
    contaminated_pairs: int
    examples: tuple[ContaminatedRow, ...]


class PrivateKind(Record):
    """One kind of secret or personal datum: how often it stands in the texts, in how many rows, and in which part."""

    kind: str
    title: str
    group: Literal["secret", "personal"]
    matches: int
    rows: int
    prompt_rows: int
    chosen_rows: int
    rejected_rows: int


class DataPrivate(Record):
    """Over all kept pairs; kinds that were not found are not listed. `looked_for` names all kinds."""

    pairs: int
    secret_rows: int
    personal_rows: int
    kinds: tuple[PrivateKind, ...]
    looked_for: tuple[str, ...]


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
