"""What the kept pairs are made of: sources, subsets, forms, languages, turns, prompts, annotators and models."""

from __future__ import annotations

from rewardsmith.records.analysis import LabelAgreement
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
