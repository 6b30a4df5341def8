"""What probes found: `probes.json` (bias probes) and `policy_samples.json` (rewards on a policy's own samples)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.evaluation import BestOfNCurve, DatasetInfo
from rewardsmith.records.files import Record

ProbeVerdict = Literal["PASS", "FAIL", "NO_DATA"]


class ProbeExample(Record):
    """One response whose reward went the wrong way; texts are cut. `shift` is in reward standard deviations."""

    id: str
    subset: str
    prompt: str
    original: str
    edited: str
    reward: float
    reward_edited: float
    shift: float | None


class ProbeResult(Record):
    """One probe: how often and how far the reward went the wrong way.

    `responses` = `n` judged + `n_missing` (a reward could not be computed) + `n_not_applicable`. `prompts` counts the
    distinct prompts of the judged responses, which intervals resample. `wrong` is the share that went the wrong way,
    `equal` the share whose reward stayed the same. `shift` is the mean change of the reward in units of `reward_std` of
    the record; null where that is 0. `verdict` is null until limits have been applied.
    """

    kind: Literal["surface", "destroyed"]
    title: str
    meaning: str
    why: str
    responses: int
    n: int
    n_missing: int
    n_not_applicable: int
    prompts: int
    wrong: float | None = None
    wrong_low: float | None = None
    wrong_high: float | None = None
    equal: float | None = None
    shift: float | None = None
    shift_low: float | None = None
    shift_high: float | None = None
    interval: str = ""
    examples: tuple[ProbeExample, ...] = ()
    verdict: ProbeVerdict | None = None
    message: str = ""


class ProbesRecord(Record):
    """`probes.json`: every probe by its code, in the order of the registry.

    `reward_std` is the model's own: over all unedited responses of the drawn rows. `constant` says that all rewards,
    edited ones included, are equal; `flat` that those of the unedited responses are. `asked` counts the distinct
    conversations that were scored, `missing` those that got no reward, by reason.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    dataset: DatasetInfo
    title: str
    rows: int
    drawn: int
    prompts: int
    seed: int
    protocol: str
    reward_mean: float | None
    reward_std: float | None
    flat: bool
    constant: bool
    asked: int = 0
    missing: dict[str, int] = Field(default_factory=dict)
    probes: dict[str, ProbeResult]


class PolicyLabels(Record):
    """What labels say: `correct` is the share of right completions. `auc` compares right and wrong completions of one
    prompt (`mixed` prompts have both), pooled over prompts with equal weight; `pooled_auc` compares across prompts."""

    completions: int
    correct: float
    mixed: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    pooled_auc: float | None
    best_of_n: BestOfNCurve | None


class PolicySamplesRecord(Record):
    """`policy_samples.json`: rewards of several completions a prompt.

    Variances: `within` is the mean over prompts of the unbiased variance of one prompt's rewards; `within_share` the
    part of the whole (population) variance that lies within prompts. `flat` counts prompts whose standard deviation is
    below `flat_below`; `same_text` those whose completions are all one text. `gain` is the expected best of all
    completions minus their mean, in reward units, over prompts. `missing` counts the `n_missing` rewards by reason.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    dataset: DatasetInfo
    prompts: int
    completions: int
    n_missing: int
    missing: dict[str, int] = Field(default_factory=dict)
    judged: int
    reward_mean: float | None
    reward_std: float | None
    within_std: float | None
    within_std_low: float | None
    within_std_high: float | None
    between_std: float | None
    within_share: float | None
    flat: int
    flat_share: float | None
    flat_low: float | None
    flat_high: float | None
    flat_below: float | None
    same_text: int
    gains: dict[str, float] = Field(default_factory=dict)
    labels: PolicyLabels | None
    reading: tuple[str, ...]
