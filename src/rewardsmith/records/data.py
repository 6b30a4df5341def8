"""What check.json says of the kept pairs.

What they are made of, what their labels say of each other, near-duplicates and leaks, contamination by benchmarks, and
how much of which secrets and personal data they hold (never the data itself).
"""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.evaluation import LabelAgreement
from rewardsmith.records.files import Record


class NamedCount(Record):
    """Pairs of one name: a source, a subset, an annotator."""

    name: str
    """As the rows write it."""
    train: int
    """Training pairs."""
    held_out: int
    """Held-out pairs."""


class NamedCounts(Record):
    """The most frequent names."""

    distinct: int
    """All names there are."""
    effective: float
    """Number of equally frequent names that would be as varied as the training pairs are: the exponential of the
    Shannon entropy (Hill 1973, Ecology 54:427, order 1)."""
    most: tuple[NamedCount, ...]
    """The most frequent ones, by training and held-out pairs together."""


class SourceForms(Record):
    """How the rows of a source are written."""

    source: str
    """As written in the spec."""
    forms: dict[str, int]
    """Way of writing → pairs, the most frequent first."""


class LanguageShare(Record):
    """A language among the sampled prompts."""

    language: str
    """ISO 639; "und": not sure, "zxx": no language."""
    prompts: int
    """Sampled prompts in it."""
    share: float
    """Of the sampled prompts, 0 to 1."""
    ci_low: float
    """Lower end of the 95 % interval of its share of all prompts."""
    ci_high: float
    """Upper end of the same."""


class Languages(Record):
    """Languages of the training prompts."""

    prompts: int
    """Distinct training prompts."""
    sampled: int
    """How many of them were looked at."""
    seed: int
    """Of the draw."""
    by: str
    """What told the language."""
    shares: tuple[LanguageShare, ...]
    """The most frequent first."""


class PromptReuse(Record):
    """How training pairs share prompts."""

    pairs: int
    """Training pairs."""
    distinct: int
    """Distinct prompts."""
    effective: float
    """Number of equally used prompts that would be as varied: the exponential of the Shannon entropy (Hill 1973,
    order 1)."""
    effective_simpson: float
    """The same by the inverse Simpson index, (Σ pairs)² / Σ pairs² (order 2): what the pairs are worth as
    independent ones if all pairs of a prompt say the same (Kish 1965)."""
    most: int
    """Pairs of the most used prompt."""
    pairs_per_prompt: dict[str, int]
    """Pairs of a prompt ("1", "2", "3-5", …) → prompts."""


class ModelRate(Record):
    """How often a model's response was chosen over another model's."""

    model: str
    """As the rows name it."""
    pairs: int
    """That it answered against another model."""
    prompts: int
    """Distinct prompts of these pairs."""
    chosen: float
    """Share in which its response was chosen, 0 to 1."""
    ci_low: float
    """Lower end of its 95 % interval, at the number of prompts."""
    ci_high: float
    """Upper end of the same."""


class Models(Record):
    """Training pairs of which both models are known and differ."""

    pairs: int
    """Such pairs."""
    distinct: int
    """Models that they name."""
    rule_accuracy: float
    """Accuracy of the rule "of two models, choose the one that was chosen more often in the other pairs of the same
    two": how much of the label follows from who wrote the responses."""
    rule_ci: tuple[float, float]
    """Its 95 % interval, at the number of prompts."""
    most: tuple[ModelRate, ...]
    """Models with the most pairs."""


class SourceAgreement(Record):
    """Repeated labels of one source; exact copies of a row count as labels that agree."""

    source: str
    """As written in the spec."""
    agreement: LabelAgreement
    """Of its repeated labels."""


class DataBalance(Record):
    """What the kept pairs are made of."""

    sources: NamedCounts
    """Pairs by source."""
    subsets: NamedCounts | None
    """Pairs by subset; null where no row names one."""
    annotators: NamedCounts | None
    """Pairs by annotator; null where no row names one."""
    models: Models | None
    """Who wrote the responses; null where no pair names two models."""
    forms: tuple[SourceForms, ...]
    """How the rows of each source are written."""
    turns: dict[str, int]
    """The user's turns in a prompt → training pairs."""
    prompts: PromptReuse
    """How training pairs share prompts."""
    languages: Languages | None
    """Of the training prompts; null without training pairs."""
    agreement: tuple[SourceAgreement, ...]
    """Of the sources with repeated labels, those with the most."""


class PreferenceCycle(Record):
    """Rows of one prompt that go round: each one's rejected response is the next one's chosen response."""

    rows: tuple[str, ...]
    """As `file:row`."""


class MarginSummary(Record):
    """The margins that one source states, over all its kept rows."""

    source: str
    """As written in the spec."""
    stated: int
    """Rows with a finite margin."""
    unread: int
    """Rows whose margin is no finite number."""
    zero: int
    """Stated margins of 0."""
    negative: int
    """Stated margins below 0: the row scores its chosen response lower."""
    negative_ci: tuple[float, float]
    """95 % interval of their share of the stated margins."""
    out_of_range: int
    """Margins outside of `allowed`."""
    allowed: tuple[float, float] | None
    """The declared range, or else what is plausible beside the source's other margins; null where nothing is stated."""
    declared: bool
    """Whether the spec declares the range."""
    quantiles: dict[str, float]
    """`min`, `p05`, `p50`, `p95`, `max` → margin; empty where nothing is stated."""
    edges: tuple[float, ...]
    """Of the histogram over the allowed margins: one value more than `counts`."""
    counts: tuple[int, ...]
    """Rows in each bin."""


class DataLabels(Record):
    """What the labels say of each other. Counts of rows, over all kept pairs."""

    pairs: int
    """Kept pairs, training and held out."""
    distinct_pairs: int
    """That differ in prompt, chosen or rejected."""
    repeated: int
    """That an earlier row says too."""
    contradictory: int
    """That have a counterpart with the opposite label."""
    contradictory_comparisons: int
    """Comparisons of two responses that these rows are about."""
    cyclic: int
    """That lie on a cycle of preferences."""
    cycles: int
    """Sets of responses that cycles join."""
    shown: tuple[PreferenceCycle, ...] = ()
    """One shortest cycle of each of the first few sets."""
    margins: tuple[MarginSummary, ...] = ()
    """One a source that states margins."""


class ClusterSizes(Record):
    """Clusters of near-duplicate prompts of one range of sizes."""

    low: int
    """Fewest pairs of such a cluster."""
    high: int | None
    """Most pairs; null: no limit."""
    clusters: int
    """How many there are."""
    pairs: int
    """That they hold together."""


class ClusterExample(Record):
    """One of the largest clusters of near-duplicate prompts."""

    pairs: int
    """That it holds."""
    prompts: int
    """Distinct prompts among them."""
    file: str
    """Of its first pair, as written in the spec."""
    row: int
    """Of its first pair, counted from 1."""


class OverlapRecord(Record):
    """Near-duplicates among the training pairs, and leaks out of them into the held-out ones."""

    training_pairs: int
    """Kept for training."""
    distinct_prompts: int
    """Prompts that differ in any character."""
    prompt_clusters: int
    """Prompts that are no near-duplicates of each other."""
    effective_prompts: float
    """(Σ n)² / Σ n² over the pairs n of each cluster (Kish 1965): the number of equally frequent prompts that would
    weigh as unevenly."""
    short_prompts: int
    """Pairs whose prompt has fewer than 20 words beside boilerplate: compared word for word only."""
    sizes: tuple[ClusterSizes, ...]
    """Clusters by size; equal prompts count."""
    largest: tuple[ClusterExample, ...]
    """Of the clusters with more than one prompt, the largest."""
    duplicate_pairs: int
    """Near-duplicates of an earlier pair."""
    pair_clusters: int
    """Clusters that these lie in."""
    duplicate_share: float | None
    """`duplicate_pairs` / `training_pairs`; null without training pairs."""
    ci_low: float | None
    """Lower end of the 95 % interval of that share in all such data; null as `duplicate_share`."""
    ci_high: float | None
    """Upper end of the same."""
    leaked_prompts: int
    """Held-out pairs whose prompt is in training too."""
    near_leaked_prompts: int
    """Held-out pairs whose prompt is a near-duplicate of a training prompt."""
    leaked_turns: int
    """Held-out pairs of which a turn is in training."""


OverlapRule = Literal["equal", "ngrams", "near"]


class BenchmarkOverlap(Record):
    """How much of a subset of a benchmark stands in the training prompts.

    Boilerplate of the benchmark is not counted.
    """

    benchmark: str
    """Key in the spec."""
    subset: str
    """Of the benchmark; empty for the whole."""
    rows: int
    """Of the subset."""
    touched: int
    """Rows whose prompt is in at least one training pair."""
    share: float
    """`touched` / `rows`, 0 to 1."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""
    training_pairs: int
    """That hold such a prompt."""
    equal: int
    """Touched rows whose prompt has the same words."""
    ngrams: int
    """Touched rows of which more than half of the words lie in n-grams of eight that one training prompt has too
    (Tülu 3)."""
    near: int
    """Touched rows of which a training prompt has most of the word triples."""


class ContaminatedRow(Record):
    """A training pair whose prompt holds a benchmark's prompt."""

    benchmark: str
    """Key in the spec."""
    subset: str
    """Of the benchmark's row."""
    id: str
    """Of the benchmark's row."""
    file: str
    """Of the training pair, as written in the spec."""
    row: int
    """Of the training pair, counted from 1."""
    rule: OverlapRule
    """By which it was found."""
    share: float
    """Part of the benchmark's prompt that is found in it, 0 to 1."""


class ContaminationRecord(Record):
    """Contamination by each benchmark that the spec evaluates."""

    benchmarks: tuple[BenchmarkOverlap, ...]
    """The whole of each, then subset by subset."""
    training_pairs: int
    """Kept for training."""
    contaminated_pairs: int
    """That hold a prompt of any benchmark."""
    examples: tuple[ContaminatedRow, ...]
    """The clearest cases of each benchmark, each of another prompt."""


class PrivateKind(Record):
    """One kind of secret or personal data."""

    kind: str
    """Code."""
    title: str
    """In words."""
    group: Literal["secret", "personal"]
    """A secret must not be in texts; personal data need a reason."""
    matches: int
    """How often it stands in the texts."""
    rows: int
    """Pairs that have it."""
    prompt_rows: int
    """Pairs that have it in the prompt."""
    chosen_rows: int
    """Pairs that have it in the chosen response."""
    rejected_rows: int
    """Pairs that have it in the rejected response."""


class DataPrivate(Record):
    """Secrets and personal data, over all kept pairs."""

    pairs: int
    """That were searched."""
    secret_rows: int
    """Pairs with a secret."""
    personal_rows: int
    """Pairs with personal data."""
    kinds: tuple[PrivateKind, ...]
    """That were found."""
    looked_for: tuple[str, ...]
    """Titles of all kinds."""
