"""What the overlap surveys measured: near-duplicates and leaks, and contamination by benchmarks (in check.json)."""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record


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
