"""How many training labels are wrong, and which are suspected: `label_noise.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


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
