"""What a benchmark gave: `results.json` and `rows.jsonl`.

What evaluation finds beside the scores: spread, length, calibration, best-of-N, label agreement, other domains.

All of it is additive: `BenchmarkResult.analysis` and the fields of `RewardSummary` that are described here. A number
that the rewards do not determine is `null`, never 0. Intervals are 95 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rewardsmith.records.files import Record


class RewardFlag(Record):
    """Something about the rewards that a policy would stumble over: a code, and what it means in words."""

    code: Literal["collapsed", "saturated", "probabilities", "flat_within_prompt", "between_prompts"]
    text: str


class SideSummary(Record):
    """Rewards of the chosen or of the rejected responses."""

    n: int
    mean: float
    std: float
    median: float


class WithinPrompt(Record):
    """How rewards differ among the answers of one prompt, over the prompts with at least two distinct answers.

    Standard deviations are population ones. `flat` counts prompts whose rewards span at most 1 % of the standard
    deviation of all these rewards. `variance_share` is the part of the total variance that lies within prompts.
    """

    prompts: int
    std_mean: float | None = None
    std_median: float | None = None
    flat: int = 0
    flat_share: float | None = None
    variance_share: float | None = None


class PairShare(Record):
    """Accuracy over some pairs, equal rewards as half; `null` where there is no pair."""

    n: int
    accuracy: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


class LengthCalibrated(Record):
    """What the scores would be with the reward's trend over length taken out. For comparison only: rewards stay raw."""

    method: str
    average: float | None
    subsets: dict[str, float]
    pearson: float | None


class LengthBias(Record):
    """How much of the reward follows length, given the prompt. Lengths are characters of the response.

    `pearson` and `spearman` correlate reward and length within prompts. `longer_wrong` are the pairs whose rejected
    response is the longer one, `longer_right` those whose chosen one is.
    """

    prompts: int
    responses: int
    pearson: float | None = None
    pearson_ci: tuple[float, float] | None = None
    spearman: float | None = None
    spearman_ci: tuple[float, float] | None = None
    longer_wrong: PairShare
    longer_right: PairShare
    equal_length: int = 0
    calibrated: LengthCalibrated | None = None
    method: str = ""


class ReliabilityPoint(Record):
    """One bin of pairs: the stated confidence beside the share that is ordered rightly, with Wilson's interval."""

    n: int
    confidence: float
    accuracy: float
    low: float
    high: float


class Calibration(Record):
    """Margins as probabilities: P(chosen is preferred) = sigmoid(margin / temperature).

    `temperature` is fitted on all pairs, for use on others. All errors are out of sample: each pair is judged by a
    temperature that was fitted without its prompt; `raw` ones use temperature 1. `ece` is the plain estimate,
    which is above 0 for a calibrated model too (`ece_if_calibrated`); `ece_debiased` and `ece_ci` take that out.
    `note` says why a number is missing.
    """

    n: int
    prompts: int
    temperature: float | None = None
    temperature_ci: tuple[float, float] | None = None
    ece: float | None = None
    ece_debiased: float | None = None
    ece_ci: tuple[float, float] | None = None
    ece_if_calibrated: float | None = None
    ece_raw: float | None = None
    brier: float | None = None
    brier_raw: float | None = None
    log_loss: float | None = None
    log_loss_raw: float | None = None
    bins: int = 0
    points: tuple[ReliabilityPoint, ...] = ()
    method: str = ""
    note: str = ""


class BestOfNPoint(Record):
    """The answer that is picked among `n` drawn ones: its expected gold quality and reward.

    `oracle` is the gold quality of the best drawn answer, `random` of any. `kl_bound` is log n - (n - 1) / n.
    """

    n: int
    gold: float
    gold_low: float
    gold_high: float
    reward: float
    random: float
    oracle: float
    kl_bound: float


class BestOfNCurve(Record):
    """Best-of-n over the rows with at least `answers` answers; `left_out` rows have fewer, or lack a reward.

    `peak_n` has the highest gold quality. `turns_down_at` is the same n where gold surely falls after it while the
    reward still rises; `confidence` is the share of resamples in which it falls.
    """

    answers: int
    rows: int
    prompts: int
    left_out: int = 0
    points: tuple[BestOfNPoint, ...]
    peak_n: int
    turns_down_at: int | None = None
    confidence: float | None = None
    text: str = ""
    method: str = ""


class LabelAgreement(Record):
    """Comparisons that were labelled more than once, and what their agreement allows a model to reach.

    `agreement` is the probability that two labels of one comparison agree. The accuracy of the best possible model on
    such labels lies between `ceiling_low` and `ceiling_high`.
    """

    comparisons: int
    labels: int
    agreement: float
    agreement_ci: tuple[float, float]
    ceiling_low: float
    ceiling_high: float


class Analysis(Record):
    """Everything beside the scores of one benchmark; a part that does not apply is `null`."""

    length: LengthBias | None = None
    calibration: Calibration | None = None
    best_of_n: BestOfNCurve | None = None
    label_agreement: LabelAgreement | None = None


class OodRow(Record):
    """Skill of one set of rows beside that on the held-out pairs; skill = (score - chance) / (1 - chance).

    `gap` is the held-out skill minus this one. `flag` is set where the gap's interval excludes 0 and the gap is
    notable; `text` gives the reason in words.
    """

    key: str
    title: str
    kind: Literal["held_out", "domain", "pairs", "benchmark"]
    n: int
    score: float
    chance: float
    skill: float
    skill_ci: tuple[float, float] | None = None
    gap: float | None = None
    gap_ci: tuple[float, float] | None = None
    flag: Literal["", "distribution_specific", "benchmark_specific"] = ""
    text: str = ""


class OodRecord(Record):
    """`ood.json`: every evaluated set of a run side by side."""

    schema_version: Literal[1] = Field(1, alias="schema")
    notable: float
    rows: tuple[OodRow, ...]


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


def _as_a_model_gives(reward: float) -> float:
    """Refuse a finite reward beyond float32. NaN and infinity pass: they are written as null, a missing reward."""
    if math.isfinite(reward) and abs(reward) > LARGEST_REWARD:
        raise ValueError(f"{reward:g} is beyond float32 (±{LARGEST_REWARD:.3g})")
    return reward


Reward = Annotated[float, AfterValidator(_as_a_model_gives)]


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
