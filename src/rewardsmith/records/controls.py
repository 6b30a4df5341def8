"""Negative controls of a run: `controls.json`. Intervals are 95 %."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.diagnosis import PairShare
from rewardsmith.records.files import Record

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
