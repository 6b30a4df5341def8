"""What `rewardsmith compare` found: `comparison.json`.

Scores are of the rows that all models share, so that they may differ a little from each model's own `results.json`.
Differences are second minus first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record

Verdict = Literal["better", "worse", "cannot be told apart"]


class ComparedModel(Record):
    """One model of the comparison: the name that the record calls it by, where its files are, what they say it is."""

    name: str
    path: str
    model: str = ""


class DifferenceResult(Record):
    """A paired difference with its 95 % interval, in the unit of the scores.

    `p_value` is two-sided, of no difference, by `test`. A difference smaller than `smallest_shown` could not have been
    told from none by these rows. `verdict` is about the second model; it is never "better" or "worse" where the
    interval holds 0.
    """

    first: float
    second: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    test: str
    smallest_shown: float
    verdict: Verdict


class SubsetComparison(DifferenceResult):
    """One subset. `p_holm` is corrected for the number of subsets, and the verdict holds it below 0.05.

    `units` were drawn independently: rows, or groups of rows. `gained` rows score higher under the second model, `lost`
    rows lower.
    """

    n: int
    units: int
    p_holm: float
    gained: int
    lost: int


class FlippedRow(Record):
    """A row whose result differs. Rewards are chosen first; texts are None where they are not at hand."""

    id: str
    subset: str
    n_chosen: int
    first: float
    second: float
    rewards_first: tuple[float | None, ...]
    rewards_second: tuple[float | None, ...]
    digest: str = ""
    prompt: str | None = None
    chosen: tuple[str, ...] | None = None
    rejected: tuple[str, ...] | None = None


class PairComparison(Record):
    """Two models on one benchmark. `gained` and `lost` hold the first rows of each kind; `words` is the verdict."""

    first: str
    second: str
    average: DifferenceResult
    subsets: dict[str, SubsetComparison]
    gained_rows: int
    lost_rows: int
    gained: tuple[FlippedRow, ...] = ()
    lost: tuple[FlippedRow, ...] = ()
    words: str


class RankedModel(Record):
    """One model among several, by the average score on the shared rows.

    `probability_best` is the share of resamples in which it has the highest score; `candidate` says that it cannot be
    told from the best, the threshold corrected for the number of models.
    """

    name: str
    score: float
    ci_low: float | None = None
    ci_high: float | None = None
    probability_best: float
    candidate: bool


class BenchmarkComparison(Record):
    """All models on one benchmark: `pairs` compares each with the first, `ranking` (of three and more) all of them.

    `notes` names what could not be compared and which texts are not at hand. `missing` counts each model's missing
    rewards on the shared rows by reason; `no_data` names the models that have no reward at all there.
    """

    benchmark: str
    title: str
    rows: int
    notes: tuple[str, ...] = ()
    missing: dict[str, dict[str, int]] = Field(default_factory=dict)
    no_data: tuple[str, ...] = ()
    pairs: tuple[PairComparison, ...]
    ranking: tuple[RankedModel, ...] = ()
    ranking_words: str = ""


class OverallComparison(Record):
    """Two models over all shared benchmarks.

    `p_holm` is of each benchmark's average, corrected for the number of benchmarks and of models compared.
    """

    first: str
    second: str
    verdict: Literal["better", "worse", "mixed", "cannot be told apart"]
    p_holm: dict[str, float]
    words: str


class ComparisonRecord(Record):
    """`comparison.json`. `not_shared` names what only some of the models were scored on."""

    schema_version: Literal[1] = Field(1, alias="schema")
    models: tuple[ComparedModel, ...]
    benchmarks: dict[str, BenchmarkComparison]
    not_shared: tuple[str, ...] = ()
    overall: tuple[OverallComparison, ...]
    ranking: tuple[RankedModel, ...] = ()
    ranking_words: str = ""
    seed: int
    resamples: int
