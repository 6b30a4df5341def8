"""What training saw: `train/summary.json` and `train/metrics.jsonl`.

How many training labels are wrong, and which are suspected: `label_noise.json`.

Several trainings of one spec: other seeds (`replicas.json`), other amounts of data (`learning_curve.json`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.checks import Finding
from rewardsmith.records.files import Record


class StepMetrics(Record):
    """One optimizer step, over `pairs` of `prompts` distinct prompts.

    Rewards are raw; accuracy counts equal rewards as half; margins are chosen − rejected.
    """

    step: int
    pairs: int
    prompts: int = 0
    tokens: int
    loss: float
    accuracy: float
    margin_mean: float
    margin_p10: float
    margin_p50: float
    margin_p90: float
    reward_mean: float
    reward_std: float
    reward_min: float
    reward_max: float
    grad_norm: float | None
    learning_rate: float
    seconds: float
    pairs_per_second: float
    tokens_per_second: float


class TrendTest(Record):
    """A trend test on the per-step mean margin (see `statistics`)."""

    method: str
    n: int
    slope_per_step: float
    slope_low: float
    slope_high: float
    p_value: float
    direction: Literal["rising", "falling", "flat", "too short"]


class SuspectPair(Record):
    """A training pair that the model, when it met it, ranked most confidently against its label."""

    id: str
    source: str
    subset: str
    step: int
    margin: float


class MonitorRecord(Record):
    """What the margin monitor saw: how often the margin fell, the trend, the verdict and the advice."""

    steps: int
    falls: int
    trend: TrendTest
    verdict: Literal["learning", "stall", "collapse", "too short"]
    stopped: bool
    advice: str = ""
    suspects: tuple[SuspectPair, ...] = ()


class TrainRecord(Record):
    """Summary of the one epoch of training.

    `prompts_per_step` is the mean number of distinct prompts of a step; `peak_memory` the main process's highest use in
    bytes: of its accelerator where there is one, else resident memory. `base_notes`: what was done when the base was
    loaded: a wrapper's prefix taken off its weights, a head of its own kept.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    data_fingerprint: str
    backend: str
    base_model: str
    base_parameters: int
    policy_parameters: int | None
    trainable_parameters: int
    adapter: str
    layout: str
    device: str
    dtype: str
    processes: int
    pairs: int
    pairs_per_step: int
    steps: int
    prompts_per_step: float = 0.0
    epochs: Literal[1] = 1
    seconds: float
    pairs_per_second: float
    tokens: int
    peak_memory: int = 0
    resumed_from_step: int | None
    first_loss: float
    last_loss: float
    monitor: MonitorRecord
    reward_range: tuple[float, float] | None
    outside_reward_range: int
    findings: tuple[Finding, ...] = ()
    base_notes: tuple[str, ...] = ()


class LeftOutPair(Record):
    """A line of `train/left_out.jsonl`: a kept pair that the backend did not train on.

    `index` is its place among the kept training pairs, from 0. An `incomplete_step` is what OpenRLHF drops at the end;
    `text_without_these_tokens` a pair that the length policy cut where no text gives the tokens that are left.
    """

    index: int
    id: str
    source: str
    subset: str
    reason: Literal["incomplete_step", "text_without_these_tokens"]


class NoiseShare(Record):
    """The estimated share of wrong labels of one source and subset, read from `n` pairs, with its 95 % interval.

    A share above one half means that chosen and rejected are swapped there. Groups too small for an estimate stand
    together as the source "others".
    """

    source: str
    subset: str
    n: int
    share: float
    ci_low: float
    ci_high: float


class NoiseBand(Record):
    """A tenth of the pairs, by the model's confidence when it met them. Shares of labels that contradict the model.

    `doubt` is what a calibrated model would see if every label were right, `contradicted` what was seen, `expected`
    what the estimated share of wrong labels predicts.
    """

    n: int
    doubt: float
    contradicted: float
    ci_low: float
    ci_high: float
    expected: float


class SuspectLabel(Record):
    """A pair whose label is probably wrong.

    `margin` is the pair's when training met it, at `step`; `probability` that the label is wrong; `final_margin` the
    trained model's, where it was asked again. `file` and `row` say where the pair was read.
    """

    id: str
    source: str
    subset: str
    file: str
    row: int
    step: int
    margin: float
    probability: float
    final_margin: float | None = None


class LabelNoiseRecord(Record):
    """What the margins of one epoch say about the labels.

    `share` of `pairs` labels are wrong; `contradicted` is the share that the model contradicted when it met them, most
    of it the model's own errors; `likely` counts pairs whose label is more probably wrong than right. `verdict` is
    "cannot tell" where the interval is too wide to say anything.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    pairs: int
    share: float
    ci_low: float
    ci_high: float
    contradicted: float
    likely: int
    rescored: int = 0
    verdict: Literal["few", "some", "many", "cannot tell"]
    statement: str
    bands: tuple[NoiseBand, ...] = ()
    groups: tuple[NoiseShare, ...] = ()
    suspects: tuple[SuspectLabel, ...] = ()


class SeedSpread(Record):
    """One score over the seeds: `scores` in the order of the seeds (null where training stopped), and their spread.

    `std` is the sample standard deviation (n − 1), null for fewer than two scores.
    """

    scores: tuple[float | None, ...]
    n: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


class ReplicasRecord(Record):
    """`replicas.json`: the same spec trained once for each seed. The first seed's model is the run's own.

    `spread` maps benchmark → subset (and `average`) → spread. `stopped` maps a seed whose training the margin monitor
    stopped to the reason. `fingerprint` is that of the run's own evaluation.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    seeds: tuple[int, ...]
    spread: dict[str, dict[str, SeedSpread]]
    stopped: dict[str, str] = Field(default_factory=dict)


class CurveScore(Record):
    """A benchmark's average at one point of the curve, with its 95 % interval."""

    score: float
    ci_low: float
    ci_high: float


class CurvePoint(Record):
    """One model of the curve: trained on `pairs` pairs of `prompts` prompts, `fraction` of them all.

    `stopped` says why the margin monitor stopped its training; then there are no scores. `loss` is that of the
    held-out pairs.
    """

    fraction: float
    pairs: int
    prompts: int
    scores: dict[str, CurveScore] = Field(default_factory=dict)
    loss: float | None = None
    stopped: str = ""


class CurveSlope(Record):
    """Change with each doubling of the training pairs, with its 95 % interval (over rows, not over training seeds)."""

    per_doubling: float
    low: float
    high: float


class LearningCurveRecord(Record):
    """`learning_curve.json`: the spec trained on nested shares of its prompts.

    `slopes` maps benchmark → slope of its average; `basis` names the one that decides the verdict. `fingerprint` is
    that of the run's own evaluation.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    points: tuple[CurvePoint, ...]
    basis: str
    slopes: dict[str, CurveSlope] = Field(default_factory=dict)
    loss_slope: CurveSlope | None = None
    verdict: Literal["more data", "flat", "falling", "undecided", "too few points"]
    statement: str
