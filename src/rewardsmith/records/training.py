"""What training saw: `train/summary.json` and `train/metrics.jsonl`."""

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
