"""`rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.checks import RenderingRecord
from rewardsmith.records.files import Record


class GoldenReward(Record):
    """A fixed conversation, as (role, content) turns, and the reward that this checkpoint gives it in float32."""

    conversation: tuple[tuple[str, str], ...]
    reward: float


class ParentCheckpoint(Record):
    """One of the checkpoints that were averaged.

    `distance` is that of its weights from the average, relative to the average's length; `head_cosine` is the cosine
    between its reward head and the average's.
    """

    folder: str
    weight: float
    distance: float
    head_cosine: float


class CheckpointRecord(Record):
    """`rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer (design section 5).

    `data_fingerprints` lists every data set that these weights were trained on as a reward model, oldest first.
    `reward_mean` and `reward_std` describe raw rewards on the held-out pairs; nothing is ever normalised by them.
    `base_fingerprint` hashes the weights and the tokenizer that training began with. `parents` are the checkpoints that
    these weights are the average of. `calibration` is of the held-out pairs too: `temperature` for
    P = sigmoid(margin / temperature), its interval, and errors out of sample (`ece`, `brier`, `log_loss`); null where
    no temperature could be fitted.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    rewardsmith_version: str
    base_model: str
    base_fingerprint: str | None = None
    rendering: RenderingRecord
    data_fingerprints: tuple[str, ...]
    reward_range: tuple[float, float] | None = None
    reward_mean: float | None = None
    reward_std: float | None = None
    calibration: dict[str, float] | None = None
    normalization: dict[str, str | float] | None = None
    evaluation: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    parents: tuple[ParentCheckpoint, ...] = ()
    golden: tuple[GoldenReward, ...] = ()
