"""What `rewardsmith compare` found: `comparison.json`.

Scores are of the rows that all models share, so that they may differ a little from each model's own `results.json`.
Differences are second minus first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record

Conclusion = Literal["better", "worse", "cannot be told apart"]


class ComparedModel(Record):
    """One model of the comparison."""

    name: str
    """That this record calls it by."""
    path: str
    """Folder that its results were read from."""
    model: str = ""
    """What its results say was scored; empty where they do not."""


class DifferenceResult(Record):
    """A paired difference, second minus first, in the unit of the scores."""

    first: float
    """Score of the first model on the shared rows."""
    second: float
    """Score of the second model on the shared rows."""
    difference: float
    """`second` - `first`."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""
    p_value: float
    """Two-sided, of no difference."""
    test: str
    """Test behind `p_value`."""
    smallest_shown: float
    """A difference smaller than this could not have been told from none by these rows; 1 where no difference could."""
    verdict: Conclusion
    """Of the second model; never "better" or "worse" where the interval holds 0."""


class SubsetComparison(DifferenceResult):
    """The difference on one subset."""

    n: int
    """Shared rows."""
    units: int
    """Rows, or groups of rows, that were drawn independently."""
    p_holm: float
    """`p_value` corrected for the number of subsets; "better" and "worse" need it below 0.05."""
    gained: int
    """Rows that score higher under the second model."""
    lost: int
    """Rows that score lower under the second model."""


class FlippedRow(Record):
    """A row whose result differs between two models."""

    id: str
    """Of the row within its subset."""
    subset: str
    """Of the benchmark."""
    n_chosen: int
    """How many of the rewards are of chosen responses; these come first."""
    first: float
    """The row's score under the first model, 0 to 1."""
    second: float
    """The row's score under the second model, 0 to 1."""
    rewards_first: tuple[float | None, ...]
    """Of the first model; null where it has none."""
    rewards_second: tuple[float | None, ...]
    """Of the second model; null where it has none."""
    digest: str = ""
    """Of the row's texts."""
    prompt: str | None = None
    """As text; null where it is not at hand."""
    chosen: tuple[str, ...] | None = None
    """Chosen responses; null where they are not at hand."""
    rejected: tuple[str, ...] | None = None
    """Rejected responses; null where they are not at hand."""


class PairComparison(Record):
    """Two models on one benchmark."""

    first: str
    """Name of the first model."""
    second: str
    """Name of the second model."""
    average: DifferenceResult
    """Difference of the benchmark's averages."""
    subsets: dict[str, SubsetComparison]
    """Subset → difference."""
    gained_rows: int
    """Rows that score higher under the second model."""
    lost_rows: int
    """Rows that score lower under the second model."""
    gained: tuple[FlippedRow, ...] = ()
    """The first few of the former."""
    lost: tuple[FlippedRow, ...] = ()
    """The first few of the latter."""
    words: str
    """The conclusion in a sentence."""


class RankedModel(Record):
    """One model among three or more, by the average score on the shared rows."""

    name: str
    """Of the model."""
    score: float
    """Average on the shared rows."""
    ci_low: float | None = None
    """Lower end of its 95 % interval; null where there is none."""
    ci_high: float | None = None
    """Upper end of its 95 % interval; null where there is none."""
    probability_best: float
    """Share of resamples in which it has the highest score."""
    candidate: bool
    """Whether it cannot be told from the best, the threshold corrected for the number of models."""


class BenchmarkComparison(Record):
    """All models on one benchmark."""

    benchmark: str
    """Name in the registry."""
    title: str
    """Name as the report shows it."""
    rows: int
    """That all models were scored on."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and which texts are not at hand."""
    missing: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Model → its missing rewards on the shared rows, by reason."""
    no_data: tuple[str, ...] = ()
    """Models that have no reward at all there."""
    pairs: tuple[PairComparison, ...]
    """Each model with the first."""
    ranking: tuple[RankedModel, ...] = ()
    """All models, best first; empty for two."""
    ranking_words: str = ""
    """The ranking in a sentence; empty for two."""


class OverallComparison(Record):
    """Two models over all shared benchmarks."""

    first: str
    """Name of the first model."""
    second: str
    """Name of the second model."""
    verdict: Literal["better", "worse", "mixed", "cannot be told apart"]
    """Of the second model; mixed where it is better on one benchmark and worse on another."""
    p_holm: dict[str, float]
    """Benchmark → p-value of its average, corrected for the number of benchmarks and of models compared."""
    words: str
    """The conclusion in a sentence."""


class AttackComparison(Record):
    """What edits without meaning buy from two models, on the pairs that both order rightly."""

    first: str
    """Name of the first model."""
    second: str
    """Name of the second model."""
    pairs: int
    """That were attacked in both."""
    edits: int
    """Most edits in a composition."""
    first_share: float
    """Share of these pairs that is flipped under the first model."""
    second_share: float
    """Share of these pairs that is flipped under the second model."""
    difference: float
    """`second_share` minus `first_share`; positive: the second is cheaper to fool."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""
    gained: int
    """Pairs that are flipped under the second model alone."""
    lost: int
    """Pairs that are flipped under the first model alone."""
    p_value: float
    """McNemar's exact test of no difference."""
    words: str
    """The conclusion in a sentence."""


class ComparisonRecord(Record):
    """`comparison.json`: models side by side on the rows that they share."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    models: tuple[ComparedModel, ...]
    """In the order given; each is compared with the first."""
    benchmarks: dict[str, BenchmarkComparison]
    """Key → comparison."""
    not_shared: tuple[str, ...] = ()
    """What only some of the models were scored on."""
    overall: tuple[OverallComparison, ...]
    """Each model with the first, over all benchmarks."""
    attacks: tuple[AttackComparison, ...] = ()
    """Each model with the first, where all hold an attack.json."""
    ranking: tuple[RankedModel, ...] = ()
    """By the mean of several benchmarks, best first; empty for two models or one benchmark."""
    ranking_words: str = ""
    """The ranking in a sentence; empty without one."""
    seed: int
    """Of the bootstrap."""
    resamples: int
    """Of the bootstrap."""
