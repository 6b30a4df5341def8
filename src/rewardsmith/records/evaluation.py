"""What a benchmark gave: `results.json` and `rows.jsonl`; and other domains, `ood.json`.

Beside the scores stands what evaluation finds in the rewards: spread, length, calibration, best-of-N, label agreement.
All of it is additive: `BenchmarkResult.analysis` and fields of `RewardSummary`. A number that the rewards do not
determine is `null`, never 0. Intervals are 95 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rewardsmith.records.diagnosis import Diagnosis, PairShare
from rewardsmith.records.files import Record

RESULTS_FILE, ROWS_FILE = "results.json", "rows.jsonl"
"""What an evaluation leaves in its folder: `BenchmarkResult`, and a `RowResult` a line."""


class RewardFlag(Record):
    """Something about the rewards that would trouble policy optimisation."""

    code: Literal["collapsed", "saturated", "probabilities", "flat_within_prompt", "between_prompts"]
    """What was seen: rewards all (nearly) the same; many exactly at one end; all between 0 and 1; answers of a
    prompt with nearly one reward; reward that mostly rates the prompt."""
    text: str
    """The same in a sentence, with the numbers."""


class SideSummary(Record):
    """Rewards of the chosen or of the rejected responses."""

    n: int
    """Rewards that could be computed."""
    mean: float
    """In reward units."""
    std: float
    """Population standard deviation, in reward units."""
    median: float
    """In reward units."""


class WithinPrompt(Record):
    """How rewards differ among the answers of one prompt, over the prompts with at least two distinct answers."""

    prompts: int
    """Prompts with at least two distinct answers that have a reward."""
    std_mean: float | None = None
    """Mean over prompts of the population standard deviation of a prompt's rewards; null without such a prompt."""
    std_median: float | None = None
    """Median of the same; null without such a prompt."""
    flat: int = 0
    """Prompts whose rewards span at most 1 % of the standard deviation of all these rewards."""
    flat_share: float | None = None
    """`flat` / `prompts`, 0 to 1; null without such a prompt."""
    variance_share: float | None = None
    """Part of the total variance that lies within prompts, 0 to 1; null where all rewards are equal."""


class RewardSummary(Record):
    """Distribution of raw rewards."""

    n: int
    """Rewards that could be computed."""
    mean: float | None
    """In reward units; null without a reward."""
    std: float | None
    """Population standard deviation; null without a reward."""
    min: float | None
    """Lowest reward; null without a reward."""
    max: float | None
    """Highest reward; null without a reward."""
    distinct: int
    """Different values."""
    texts: int = 0
    """Different conversations that the rows hold; fewer than `n` where rows repeat a text."""
    quantiles: dict[str, float] = Field(default_factory=dict)
    """`p01`, `p05`, `p25`, `p50`, `p75`, `p95`, `p99` → reward."""
    histogram: tuple[int, ...] = ()
    """Counts over equal bins from `min` to `max`; empty without a reward."""
    chosen: SideSummary | None = None
    """Of the chosen responses; null where none has a reward."""
    rejected: SideSummary | None = None
    """Of the rejected responses; null where none has a reward."""
    within_prompt: WithinPrompt | None = None
    """How rewards differ among the answers of one prompt; null without a reward."""
    flags: tuple[RewardFlag, ...] = ()
    """What would trouble policy optimisation."""


class LengthCalibrated(Record):
    """What the scores would be with the reward's trend over length taken out. For comparison only: rewards stay raw."""

    method: str
    """How the trend was fitted."""
    average: float | None
    """The benchmark's average without the trend; null where it has none."""
    subsets: dict[str, float]
    """Subset → score without the trend."""
    pearson: float | None
    """Correlation of length and the reward that is left, within prompts, -1 to 1; null where nothing varies."""


class LengthBias(Record):
    """How much of the reward follows length, given the prompt. Lengths are characters of the response."""

    prompts: int
    """Prompts with at least two distinct answers."""
    responses: int
    """Answers of these prompts."""
    pearson: float | None = None
    """Correlation of reward and length within prompts, -1 to 1; null where nothing varies."""
    pearson_ci: tuple[float, float] | None = None
    """Its 95 % interval, by bootstrap over prompts; null without one."""
    spearman: float | None = None
    """The same of ranks within prompts, -1 to 1; null where nothing varies."""
    spearman_ci: tuple[float, float] | None = None
    """Its 95 % interval; null without one."""
    longer_wrong: PairShare
    """Accuracy over the pairs whose rejected response is the longer one."""
    longer_right: PairShare
    """Accuracy over the pairs whose chosen response is the longer one."""
    equal_length: int = 0
    """Pairs of equally long responses."""
    calibrated: LengthCalibrated | None = None
    """Scores with the length trend taken out; null where there is nothing to compare."""
    method: str = ""
    """How the numbers were computed, in words."""


class ReliabilityPoint(Record):
    """One bin of pairs: the stated confidence beside the share that is ordered rightly."""

    n: int
    """Pairs in the bin."""
    confidence: float
    """Mean stated probability of the response that the model prefers, 0.5 to 1."""
    accuracy: float
    """Share of these pairs that are ordered rightly."""
    low: float
    """Lower end of Wilson's 95 % interval of `accuracy`."""
    high: float
    """Upper end of Wilson's 95 % interval of `accuracy`."""


class Calibration(Record):
    """Margins as probabilities: P(chosen is preferred) = sigmoid(margin / temperature).

    Errors are out of sample: each pair is measured with a temperature that was fitted without its prompt; `raw` errors
    use temperature 1.
    """

    n: int
    """Pairs that have both rewards."""
    prompts: int
    """Distinct prompts among them."""
    temperature: float | None = None
    """Fitted on all pairs, for use on other data, above 0 and in reward units; null where the pairs allow none."""
    temperature_ci: tuple[float, float] | None = None
    """Its 95 % interval; null where it could not be computed."""
    ece: float | None = None
    """Expected calibration error, 0 to 1. The plain estimate is above 0 for a calibrated model too. Null without a
    temperature."""
    ece_debiased: float | None = None
    """`ece` with that bias taken out; null without a temperature."""
    ece_ci: tuple[float, float] | None = None
    """95 % interval of the debiased error; null without a temperature."""
    ece_if_calibrated: float | None = None
    """What `ece` would be on average if the model were calibrated; null without a temperature."""
    ece_raw: float | None = None
    """`ece` at temperature 1."""
    brier: float | None = None
    """Mean squared error of the probability, 0 to 1 (0.25: always one half); null without a temperature."""
    brier_raw: float | None = None
    """The same at temperature 1."""
    log_loss: float | None = None
    """Mean loss in nats (0.693: always one half); null without a temperature."""
    log_loss_raw: float | None = None
    """The same at temperature 1."""
    bins: int = 0
    """Bins of equally many pairs."""
    points: tuple[ReliabilityPoint, ...] = ()
    """The bins, by rising confidence; empty without a temperature."""
    method: str = ""
    """How the numbers were computed, in words."""
    note: str = ""
    """Why a number is missing; empty where none is."""


class BestOfNPoint(Record):
    """The answer with the highest reward among n drawn ones: what it is worth on average."""

    n: int
    """Answers drawn."""
    gold: float
    """Expected gold quality of the picked answer, in the unit of the benchmark's labels."""
    gold_low: float
    """Lower end of its 95 % interval."""
    gold_high: float
    """Upper end of its 95 % interval."""
    reward: float
    """Expected reward of the picked answer."""
    random: float
    """Expected gold quality of any answer: what no picking gives."""
    oracle: float
    """Expected gold quality of the best drawn answer: the most that picking can give."""
    kl_bound: float
    """Log n - (n - 1) / n, in nats: how far best-of-n moves a policy at most."""


class BestOfNCurve(Record):
    """Best-of-n over the rows with the most common number of answers, or more."""

    answers: int
    """The largest n: every row that is used has at least so many answers."""
    rows: int
    """Rows that are used."""
    prompts: int
    """Distinct prompts among them; the bootstrap draws these."""
    left_out: int = 0
    """Rows with fewer answers, or with one that lacks a reward."""
    points: tuple[BestOfNPoint, ...]
    """By rising n."""
    peak_n: int
    """The n with the highest gold quality."""
    turns_down_at: int | None = None
    """The same n, where gold quality surely falls after it while the reward still rises; null else."""
    confidence: float | None = None
    """Share of resamples in which gold quality falls from `peak_n` to the largest n; null where the peak is at the
    largest n."""
    text: str = ""
    """The curve in a sentence."""
    method: str = ""
    """How the numbers were computed, in words."""


class LabelAgreement(Record):
    """Comparisons that were labelled more than once, and what their agreement allows a model to reach."""

    comparisons: int
    """Comparisons with at least two labels."""
    labels: int
    """Labels that these have together."""
    agreement: float
    """Probability that two labels of one comparison agree, 0 to 1."""
    agreement_ci: tuple[float, float]
    """Its 95 % interval."""
    ceiling_low: float
    """Lower bound of the accuracy of the best possible model on such labels."""
    ceiling_high: float
    """Upper bound of the same."""


class Analysis(Record):
    """Everything beside the scores of one benchmark; a part that does not apply is `null`."""

    length: LengthBias | None = None
    """Reward and length; null where no prompt has two answers."""
    calibration: Calibration | None = None
    """Margins as probabilities; null for benchmarks that are no pairs."""
    best_of_n: BestOfNCurve | None = None
    """What picking by reward gives; null where no row has three answers with a reward."""
    label_agreement: LabelAgreement | None = None
    """Agreement of repeated labels; null where nothing was labelled twice."""


UNKNOWN = "unknown"
"""The reason of a missing reward that came without one."""


class DatasetInfo(Record):
    """Where benchmark rows came from."""

    source: str
    """Path, hub id, or words for the spec's own held-out pairs."""
    revision: str = ""
    """Commit of a hub data set; empty for files."""
    sha256: str = ""
    """Of the file or files that were read; empty for a hub data set."""
    official: bool = False
    """Whether this is the published data set in full."""


class SubsetResult(Record):
    """Score of one subset with its 95 % interval, beside chance and "the longer one wins"."""

    n: int
    """Rows, those without a reward included."""
    score: float
    """0 to 1, by the benchmark's rule."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""
    baseline: float
    """What random rewards score: chance."""
    length_baseline: float
    """What the rule "the longer response wins" scores."""
    p_value: float
    """One-sided, that random rewards score as high."""
    p_holm: float | None = None
    """`p_value` after Holm's correction for the number of subsets; null in results written before there was one."""
    n_missing: int = 0
    """Rewards that could not be computed; the benchmark's rule says what a row that lacks one scores."""
    missing: dict[str, int] = Field(default_factory=dict)
    """The same by reason; those without a known reason are in `n_missing` alone."""
    interval: str = ""
    """Method of the interval: Wilson, or bootstrap with its size."""
    extra_baselines: dict[str, float] = Field(default_factory=dict)
    """Simpler scorer (a published baseline, a model that reads no prompts) → what it scores here."""

    @property
    def missing_rewards(self) -> dict[str, int]:
        """`missing`, with what came without a reason as `unknown`."""
        unknown = self.n_missing - sum(self.missing.values())
        return {**self.missing, UNKNOWN: unknown} if unknown > 0 else dict(self.missing)


class SourceResult(SubsetResult):
    """The same of the pairs of one source, by which a mixture is judged."""

    margin_mean: float | None
    """Mean margin, chosen less rejected, of the pairs that have both rewards; null without one."""


class BenchmarkResult(Record):
    """`results.json`: what a benchmark gave. Other programs may rely on it (design section 4)."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    benchmark: str
    """Name in the registry, as `--benchmark` and the spec write it."""
    title: str
    """Name as the report shows it."""
    average: float | None
    """The benchmark's own average over subsets or rows, 0 to 1; null where none could be computed."""
    average_ci: tuple[float, float] | None = None
    """Its 95 % interval; null in older results."""
    average_baseline: float | None = None
    """What random rewards average; null in older results."""
    protocol: str
    """How rows become scores, in words: the rule, the average, and what was left out."""
    left_out: str = ""
    """Rows of the source that are not among these, counted by reason; empty where all are, and in older results."""
    dataset: DatasetInfo
    """Where the rows came from."""
    subsets: dict[str, SubsetResult]
    """Subset → its score, in the benchmark's order."""
    by_source: dict[str, SourceResult] = Field(default_factory=dict)
    """Source → the score of its pairs, the largest first; of preference pairs from several sources, else empty."""
    metrics: dict[str, float | None] = Field(default_factory=dict)
    """Further numbers by name: `average_length_baseline` and what the benchmark adds (for pairs `loss` in nats,
    `margin_mean`, quantiles of margins, `temperature`); null where the rewards do not determine one."""
    rewards: RewardSummary
    """Distribution over all rows."""
    rewards_by_subset: dict[str, RewardSummary] = Field(default_factory=dict)
    """Subset → distribution of its rewards."""
    model: str = ""
    """What was scored, as it was named: a folder, a hub id, a server; empty where nobody said."""
    held_out: bool = False
    """Whether these are the spec's own held-out pairs."""
    rendering: str = ""
    """Protocol by which text became tokens: `checkpoint` or `upstream`; empty where rewards were computed elsewhere."""
    analysis: Analysis | None = None
    """Everything beside the scores; null in older results."""
    diagnosis: Diagnosis | None = None
    """What kind of model the rewards show; null without a pair, and in older results."""

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
    """One line of `rows.jsonl`, keyed by (`subset`, `id`)."""

    id: str
    """Of the row within its subset."""
    subset: str
    """Of the benchmark."""
    rewards: tuple[Reward | None, ...]
    """Raw rewards, the chosen responses first; null where none was computed."""
    n_chosen: int
    """How many of them are of chosen responses."""
    result: float | None
    """The row's score by the benchmark's rule, 0 to 1; null where the rule gives rows none of their own."""
    group: str = ""
    """Rows of one group are one unit for intervals; an empty one is a unit of its own."""
    facts: dict[str, str] = Field(default_factory=dict)
    """What the benchmark's rule reads besides rewards."""
    digest: str = ""
    """Of the row's texts: rows of two evaluations are the same row where key and digest are."""
    reasons: dict[str, str] = Field(default_factory=dict)
    """Place in `rewards` from 0 → why this reward is missing: a code, and after a colon the detail."""

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


class OodRow(Record):
    """Skill of one set of rows beside that on the held-out pairs; skill = (score - chance) / (1 - chance), 1 for a
    perfect score and 0 for chance.
    """

    key: str
    """Key of the evaluated set: the benchmark's, or `held_out`."""
    title: str
    """Name as the report shows it; for a domain, the subset."""
    kind: Literal["held_out", "domain", "pairs", "benchmark"]
    """The held-out pairs, one subset of them, other pairs, or a benchmark."""
    n: int
    """Rows."""
    score: float
    """Average score, 0 to 1."""
    chance: float
    """Score of random rewards, below 1."""
    skill: float
    """At most 1; below 0 where the score is below chance."""
    skill_ci: tuple[float, float] | None = None
    """Its 95 % interval; null where the score has none."""
    gap: float | None = None
    """Held-out skill minus this one; null for the held-out pairs and their subsets, and where there are none."""
    gap_ci: tuple[float, float] | None = None
    """Its 95 % interval; null where there is no gap."""
    flag: Literal["", "distribution_specific", "benchmark_specific"] = ""
    """Set where the gap's interval excludes 0 and the gap is at least `notable`."""
    text: str = ""
    """The reason of the flag in words; empty without one."""


class OodRecord(Record):
    """`ood.json`: every evaluated set of a run side by side."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    notable: float
    """Smallest gap in skill that is flagged."""
    rows: tuple[OodRow, ...]
    """The held-out pairs first, then their subsets, then the other sets."""
