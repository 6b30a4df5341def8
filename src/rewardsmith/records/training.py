"""What training saw, and what its labels and other trainings of the same spec say of it.

`train/summary.json` and `train/metrics.jsonl`; how many training labels are wrong, and which are suspected
(`label_noise.json`); other seeds (`replicas.json`), other amounts of data (`learning_curve.json`), changed data
(`controls.json`). Intervals are 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from rewardsmith.records.checks import Finding
from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.files import Record


class StepMetrics(Record):
    """One line of `train/metrics.jsonl`: one optimizer step.

    Rewards are raw, as the model gave them when it met the pairs; margins are chosen − rejected.
    """

    step: int
    """Counted from 1."""
    pairs: int
    """Of the step."""
    prompts: int = 0
    """Distinct prompts among them; 0 in older files."""
    tokens: int
    """That were computed."""
    loss: float
    """Mean Bradley-Terry loss of the pairs, in nats."""
    accuracy: float
    """Share of pairs with a margin above 0, equal rewards counted as half."""
    margin_mean: float
    """In reward units."""
    margin_p10: float
    """Tenth percentile."""
    margin_p50: float
    """Median."""
    margin_p90: float
    """Ninetieth percentile."""
    reward_mean: float
    """Of both sides."""
    reward_std: float
    """Population standard deviation of both sides."""
    reward_min: float
    """Lowest of both sides."""
    reward_max: float
    """Highest of both sides."""
    grad_norm: float | None
    """Before clipping; null where the backend does not say."""
    learning_rate: float
    """Of this step."""
    seconds: float
    """That the step took."""
    pairs_per_second: float
    """`pairs` / `seconds`."""
    tokens_per_second: float
    """`tokens` / `seconds`."""


class TrendTest(Record):
    """A trend test on the per-step mean margin (see `statistics`)."""

    method: str
    """Name of the test."""
    n: int
    """Steps."""
    slope_per_step: float
    """In reward units a step."""
    slope_low: float
    """Lower end of its 95 % interval."""
    slope_high: float
    """Upper end of its 95 % interval."""
    p_value: float
    """Two-sided, of no trend."""
    direction: Literal["rising", "falling", "flat", "too short"]
    """Rising or falling where `p_value` is below the spec's `alpha`."""


class SuspectPair(Record):
    """A training pair that the model, when it met it, ranked most confidently against its label."""

    id: str
    """Of the pair."""
    source: str
    """As written in the spec."""
    subset: str
    """Of the pair; empty where it names none."""
    step: int
    """At which the model met it."""
    margin: float
    """At that step, below 0."""


class MonitorRecord(Record):
    """What the margin monitor saw."""

    steps: int
    """That it saw."""
    falls: int
    """Steps whose mean margin is below that of the step before."""
    trend: TrendTest
    """Of the mean margin over the steps."""
    verdict: Literal["learning", "stall", "collapse", "too short"]
    """Whether the model learned."""
    stopped: bool
    """Whether the monitor stopped the training."""
    advice: str = ""
    """What to look at; empty while the model learns."""
    suspects: tuple[SuspectPair, ...] = ()
    """Pairs of the second half of the epoch that were ranked most confidently against their label, worst first."""


class TrainRecord(Record):
    """`train/summary.json`: the one epoch of training."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of everything that the weights depend on: a training of equal fingerprint need not run again."""
    data_fingerprint: str
    """Of the training pairs, whatever their order."""
    backend: str
    """That trained."""
    base_model: str
    """Id of the base."""
    base_parameters: int
    """Of the base."""
    policy_parameters: int | None
    """Of the policy; null where the spec does not say."""
    trainable_parameters: int
    """With a gradient."""
    adapter: str
    """`none` or the adapter's kind."""
    layout: str
    """How texts were laid out."""
    device: str
    """That trained."""
    dtype: str
    """Of the matrix products."""
    processes: int
    """That trained together."""
    pairs: int
    """Of the epoch."""
    pairs_per_step: int
    """Pairs of an optimizer step."""
    steps: int
    """Optimizer steps."""
    prompts_per_step: float = 0.0
    """Mean number of distinct prompts of a step; 0 in older records."""
    epochs: Literal[1] = 1
    """Always 1."""
    seconds: float
    """That training took, since it was last resumed."""
    pairs_per_second: float
    """Over these seconds."""
    tokens: int
    """That were computed."""
    peak_memory: int = 0
    """The main process's highest use in bytes: of its accelerator where there is one, else resident memory; 0 in
    older records."""
    resumed_from_step: int | None
    """Where the last start began; null for the beginning."""
    first_loss: float
    """Of the first step, in nats."""
    last_loss: float
    """Of the last step, in nats."""
    monitor: MonitorRecord
    """What the margin monitor saw."""
    reward_range: tuple[float, float] | None
    """Lowest and highest reward that the spec expects; null where it states none."""
    outside_reward_range: int
    """Steps with a reward outside of it."""
    findings: tuple[Finding, ...] = ()
    """What to know of this training."""
    base_notes: tuple[str, ...] = ()
    """What was done when the base was loaded: a wrapper's prefix taken off its weights, a head of its own kept."""
    optimizer: str | None = None
    """As transformers names it; null in older records and of OpenRLHF."""
    tokens_per_micro_batch: int | None = None
    """The most tokens of a forward pass, what `auto` came to; null in older records and of OpenRLHF."""
    threads: int | None = None
    """CPU threads of a process; null in older records and of OpenRLHF."""
    threads_reason: str = ""
    """Why so many: what the spec or the environment says, or how many cores were free at the start."""
    kernels: Mapping[str, int] = {}
    """Forward passes since training last started, by attention kernel: calls, varlen, flex, dense, `flex + varlen`
    where layers differ, padded without a tree. Empty in older records and of OpenRLHF."""


class LeftOutPair(Record):
    """A line of `train/left_out.jsonl`: a kept pair that the backend did not train on."""

    index: int
    """Its place among the kept training pairs, from 0."""
    id: str
    """Of the pair."""
    source: str
    """As written in the spec."""
    subset: str
    """Of the pair; empty where it names none."""
    reason: Literal["incomplete_step", "text_without_these_tokens"]
    """`incomplete_step`: OpenRLHF drops what fills no step at the end. `text_without_these_tokens`: the length
    policy cut the pair where no text gives the tokens that are left."""


class NoiseShare(Record):
    """The estimated share of wrong labels of one source and subset."""

    source: str
    """As written in the spec; "others" stands for all groups too small for an estimate."""
    subset: str
    """Of the source; empty where rows name none."""
    n: int
    """Pairs that it is read from."""
    share: float
    """0 to 1; above one half, chosen and rejected are swapped there."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""


class NoiseBand(Record):
    """A tenth of the pairs, by the model's confidence when it met them.

    Shares of labels that contradict the model, 0 to 1.
    """

    n: int
    """Pairs."""
    doubt: float
    """What a calibrated model would see if every label were right."""
    contradicted: float
    """What was seen."""
    ci_low: float
    """Lower end of the 95 % interval of `contradicted`."""
    ci_high: float
    """Upper end of the same."""
    expected: float
    """What the estimated share of wrong labels predicts."""


class SuspectLabel(Record):
    """A pair whose label is probably wrong."""

    id: str
    """Of the pair."""
    source: str
    """As written in the spec."""
    subset: str
    """Of the pair; empty where it names none."""
    file: str
    """Where the pair was read."""
    row: int
    """In that file, counted from 1."""
    step: int
    """At which training met it."""
    margin: float
    """At that step."""
    probability: float
    """That the label is wrong, 0 to 1."""
    final_margin: float | None = None
    """Of the trained model; null where it was not asked again."""


class LabelNoiseRecord(Record):
    """`label_noise.json`: what the margins of one epoch say about the labels."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of the stage's inputs."""
    pairs: int
    """That training met."""
    share: float
    """Of wrong labels, estimated, 0 to 1."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""
    contradicted: float
    """Share that the model contradicted when it met them, most of it the model's own errors; equal rewards count
    half."""
    likely: int
    """Pairs whose label is more probably wrong than right."""
    rescored: int = 0
    """Pairs that the trained model was asked about again, those that the margins of the epoch doubt most; `share`,
    `bands` and `groups` are estimated from the margins of the epoch alone."""
    verdict: Literal["few", "some", "many", "cannot tell"]
    """How many labels are wrong; "cannot tell" where the interval is too wide to say anything."""
    statement: str
    """The same in a sentence."""
    bands: tuple[NoiseBand, ...] = ()
    """Tenths of the pairs, by confidence."""
    groups: tuple[NoiseShare, ...] = ()
    """By source and subset, the largest first."""
    suspects: tuple[SuspectLabel, ...] = ()
    """The most probably wrong labels first."""


class SeedSpread(Record):
    """One score over several seeds."""

    scores: tuple[float | None, ...]
    """In the order of the seeds; null where training stopped."""
    n: int
    """Scores that are there."""
    mean: float | None
    """Of these; null without one."""
    std: float | None
    """Sample standard deviation (n − 1); null for fewer than two scores."""
    low: float | None
    """Lowest; null without one."""
    high: float | None
    """Highest; null without one."""


class ReplicasRecord(Record):
    """`replicas.json`: the same spec trained once for each seed. The first seed's model is the run's own."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of the run's own evaluation."""
    seeds: tuple[int, ...]
    """In the order of the spec."""
    spread: dict[str, dict[str, SeedSpread]]
    """Benchmark → subset (and `average`) → spread."""
    stopped: dict[str, str] = Field(default_factory=dict)
    """Seed whose training the margin monitor stopped → why."""


class CurveScore(Record):
    """A benchmark's average at one point of the curve."""

    score: float
    """0 to 1."""
    ci_low: float
    """Lower end of its 95 % interval."""
    ci_high: float
    """Upper end of its 95 % interval."""


class CurvePoint(Record):
    """One model of the learning curve."""

    fraction: float
    """Of the training prompts, above 0 to 1."""
    pairs: int
    """That it was trained on."""
    prompts: int
    """Distinct prompts among them."""
    scores: dict[str, CurveScore] = Field(default_factory=dict)
    """Benchmark → average; empty where training was stopped."""
    loss: float | None = None
    """Mean loss of the held-out pairs, in nats; null where there are none, or training was stopped."""
    stopped: str = ""
    """Why the margin monitor stopped its training; empty else."""


class CurveSlope(Record):
    """Change with each doubling of the training pairs. The interval is over rows, not over training seeds."""

    per_doubling: float
    """In the unit of what changes."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""


class LearningCurveRecord(Record):
    """`learning_curve.json`: the spec trained on nested shares of its prompts."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of the run's own evaluation."""
    points: tuple[CurvePoint, ...]
    """By rising fraction."""
    basis: str
    """The evaluated set that decides the verdict."""
    slopes: dict[str, CurveSlope] = Field(default_factory=dict)
    """Evaluated set → slope of its average."""
    loss_slope: CurveSlope | None = None
    """Of the loss on the held-out pairs; null without one."""
    verdict: Literal["more data", "flat", "falling", "undecided", "too few points"]
    """Whether more data would help."""
    statement: str
    """The same in a sentence."""


ControlName = Literal["labels_swapped", "labels_shuffled", "prompts_removed", "prompts_exchanged"]


class ControlResult(Record):
    """One control: what was changed, what it reached on the held-out pairs, and where theory puts it."""

    name: ControlName
    """Of the control."""
    changed: str
    """What was changed, in words."""
    trained: bool
    """Whether a model was trained for it; false where the reference model was asked about changed pairs."""
    left_out: int = 0
    """Training pairs that could not be used once they were changed."""
    accuracy: PairShare
    """On the held-out pairs, by their own labels, pairs of a prompt as one unit."""
    expected: str
    """Where theory puts the accuracy, in words."""
    expected_low: float
    """Lower end of that, 0 to 1."""
    expected_high: float
    """Upper end of that, 0 to 1."""
    distance: float
    """How far the accuracy is outside of it, above 0 where it is above, 0 where it is within."""
    distance_ci: tuple[float, float]
    """95 % interval of the difference that decides: to chance, or, pair by pair, to the model that it is compared
    with."""
    outside: bool
    """Whether it is surely outside by more than the record's `tolerance`."""
    text: str
    """What it says, in a sentence."""


class ControlsRecord(Record):
    """`controls.json`: the same training on changed data, where nothing, or a known thing, can be learnt."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of everything that decides the numbers: controls of equal fingerprint need not run again."""
    share: float
    """Of the training prompts that each control and the reference are trained on, above 0 and up to 1."""
    pairs: int
    """Training pairs of that share."""
    prompts: int
    """Distinct prompts among them."""
    seed: int
    """Of the share, of which labels are shuffled, and of which prompts are exchanged."""
    tolerance: float
    """By how much an accuracy may lie outside before it is flagged: another seed of a training moves it by as much."""
    reference: PairShare
    """The same share trained with nothing changed."""
    model: PairShare
    """The run's own model, trained on everything, on the same held-out pairs."""
    blind: float | None = None
    """Accuracy of the data check's best classifier that reads no prompts, on training pairs; null where there is
    none."""
    controls: tuple[ControlResult, ...]
    """In a fixed order."""
    note: str = ""
    """Why the controls say little; empty where they do not."""
