"""What a benchmark gave: `results.json` and `rows.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from rewardsmith.records.analysis import Analysis, RewardFlag, SideSummary, WithinPrompt
from rewardsmith.records.files import Record

UNKNOWN = "unknown"
"""The reason of a missing reward that came without one."""


class DatasetInfo(Record):
    """Where benchmark rows came from. `official` only for the published data set in full."""

    source: str
    revision: str = ""
    sha256: str = ""
    official: bool = False


class SubsetResult(Record):
    """Score of one subset with its 95 % interval, beside chance and "the longer one wins".

    `interval` names the method (Wilson or bootstrap); `p_value` is one-sided, against `baseline`; `p_holm` is the same
    after Holm's correction for the number of subsets. `missing` counts the `n_missing` rewards by reason.
    """

    n: int
    score: float
    ci_low: float
    ci_high: float
    baseline: float
    length_baseline: float
    p_value: float
    p_holm: float | None = None
    n_missing: int = 0
    missing: dict[str, int] = Field(default_factory=dict)
    interval: str = ""
    extra_baselines: dict[str, float] = Field(default_factory=dict)

    @property
    def missing_rewards(self) -> dict[str, int]:
        """`missing`, with what came without a reason as `unknown`."""
        unknown = self.n_missing - sum(self.missing.values())
        return {**self.missing, UNKNOWN: unknown} if unknown > 0 else dict(self.missing)


class RewardSummary(Record):
    """Distribution of raw rewards; `histogram` is counts over equal bins between `min` and `max`.

    `n` counts rewards, `distinct` their different values, `texts` the different conversations that they belong to.
    `flags` says in words what a policy would stumble over.
    """

    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    distinct: int
    texts: int = 0
    quantiles: dict[str, float] = Field(default_factory=dict)
    histogram: tuple[int, ...] = ()
    chosen: SideSummary | None = None
    rejected: SideSummary | None = None
    within_prompt: WithinPrompt | None = None
    flags: tuple[RewardFlag, ...] = ()


class BenchmarkResult(Record):
    """`results.json`: the part that other programs may rely on (design section 4).

    `rendering` names the protocol by which text became tokens, `checkpoint` or `upstream`; empty where rewards were
    computed elsewhere.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    benchmark: str
    title: str
    average: float | None
    average_ci: tuple[float, float] | None = None
    average_baseline: float | None = None
    protocol: str
    dataset: DatasetInfo
    subsets: dict[str, SubsetResult]
    metrics: dict[str, float | None] = Field(default_factory=dict)
    rewards: RewardSummary
    rewards_by_subset: dict[str, RewardSummary] = Field(default_factory=dict)
    model: str = ""
    held_out: bool = False
    rendering: str = ""
    analysis: Analysis | None = None

    @property
    def missing_rewards(self) -> dict[str, int]:
        """How many rewards could not be computed, by reason, over all subsets."""
        found: Counter[str] = Counter()
        for subset in self.subsets.values():
            found.update(subset.missing_rewards)
        return dict(sorted(found.items()))


LARGEST_REWARD = 3.4028234663852886e38
"""float32's largest number: no model computes a larger reward, and variances of larger ones are beyond float64."""

Reward = Annotated[float, Field(ge=-LARGEST_REWARD, le=LARGEST_REWARD)]


class RowResult(Record):
    """One line of `rows.jsonl`, keyed by (subset, id).

    `rewards` lists chosen, then rejected; `null` where none was computed. Rows of one `group` are one unit for
    intervals; an empty one is a unit of its own. `facts` is what the benchmark's rule reads besides rewards. `digest`
    is of the row's texts: rows of two evaluations are the same row where key and digest are. `reasons` says of each
    missing reward why, by its place in `rewards` from 0: a code, and after a colon the detail.
    """

    id: str
    subset: str
    rewards: tuple[Reward | None, ...]
    n_chosen: int
    result: float | None
    group: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    digest: str = ""
    reasons: dict[str, str] = Field(default_factory=dict)

    @property
    def missing_rewards(self) -> dict[str, int]:
        """How many of the row's rewards could not be computed, by the code of the reason."""
        places = [place for place, reward in enumerate(self.rewards) if reward is None]
        return dict(Counter(reason_code(self.reasons.get(str(place), "")) for place in places))


def reason_code(reason: str) -> str:
    """`over_length: 312 tokens, at most 256` → `over_length`."""
    return reason.partition(":")[0].strip() or UNKNOWN


def reasons_in_words(counts: Mapping[str, int]) -> str:
    """`over_length 100, no_reward 9`: the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)
