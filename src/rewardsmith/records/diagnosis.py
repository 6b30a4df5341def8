"""What kind of model the rewards show: `BenchmarkResult.diagnosis`, and `diagnosis.json` of a whole run.

A pair is one chosen and one rejected answer of a row. Intervals are 95 %.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record

TraitCode = Literal["length", "format", "refusal", "position"]
CauseCode = Literal[
    "length", "format", "refusal", "position", "saturated", "reversed", "undertrained", "too_little_data"
]


class PairShare(Record):
    """Accuracy over some pairs."""

    n: int
    """Pairs."""
    accuracy: float | None = None
    """Share of pairs whose chosen response has the higher reward, equal rewards counted as half; null without a
    pair."""
    ci_low: float | None = None
    """Lower end of its 95 % interval; null without a pair."""
    ci_high: float | None = None
    """Upper end of its 95 % interval; null without a pair."""


class RowKey(Record):
    """A line of `rows.jsonl`."""

    subset: str
    """Of the benchmark."""
    id: str
    """Of the row within its subset."""


class Trait(Record):
    """One trait of answers, and how far it decides which answer gets the higher reward, whichever is right."""

    code: TraitCode
    """`length`, `format`, `refusal`, or `position`: the place in the published list, where rows keep it."""
    feature: str
    """What is counted: `characters`, a feature of the data check (`bold`, `bullets`, …), `markup` for all Markdown
    marks together, `place`."""
    favours: str
    """The answer that gets the higher rewards, in words: "the longer answer"."""
    direction: Literal[1, -1]
    """1 where more of the feature brings more reward, -1 where less does."""
    found: bool
    """Whether the model surely follows it (`method`)."""
    sway: float
    """Accuracy over the pairs whose right answer is the favoured one minus that over the others, with the other found
    traits equal: 0 for a model that goes by which answer is right, 1 for one that goes by this trait."""
    sway_ci: tuple[float, float]
    """Its 95 % interval, with pairs of a prompt as one unit."""
    correlation: float | None = None
    """Of reward and feature within prompts, -1 to 1; null where one of them does not vary there."""
    correlation_ci: tuple[float, float] | None = None
    """Its 95 % interval, by bootstrap over prompts; null without one."""
    wrong: PairShare
    """Accuracy over the pairs in which the favoured answer is the wrong one."""
    right: PairShare
    """Accuracy over the pairs in which the favoured answer is the right one."""
    equal: int
    """Pairs in which neither has more of it."""
    rows: tuple[RowKey, ...] = ()
    """Rows in which the favoured, wrong answer won by most; empty where the trait is not found."""


class Diagnosis(Record):
    """What kind of model the rewards of one benchmark show."""

    pairs: int
    """Pairs with both rewards."""
    prompts: int
    """Distinct prompts among them."""
    accuracy: PairShare
    """Over all of them."""
    tied: float
    """Share of pairs whose two rewards are nearly equal, by at most 1 % of the standard deviation of all rewards; of
    the pairs in which a found trait differs, where one is found."""
    tied_ci: tuple[float, float]
    """Its 95 % interval."""
    traits: tuple[Trait, ...]
    """The strongest feature of each code that the pairs can tell anything of; the found ones first."""
    unmeasured: tuple[TraitCode, ...] = ()
    """Codes for which too few pairs differ."""
    causes: tuple[CauseCode, ...] = ()
    """What the rewards show, the strongest trait first; empty for a sound model."""
    method: str = ""
    """How traits and causes are decided, in words."""


class Prediction(Record):
    """What the data check said of the training pairs that explains a trait of the model."""

    code: str
    """Of its finding: `length_shortcut`, `format_shortcut`, `lexical_shortcut`, `weak_shortcuts`."""
    source: str
    """As written in the spec; empty for all training pairs."""
    subset: str = ""
    """Of the source; empty for the whole of it."""
    feature: str
    """By which its rule chooses."""
    pairs: int
    """Of the source or subset."""
    chosen: int
    """Of them, pairs in which the favoured answer was chosen."""
    rejected: int
    """Pairs in which it was rejected."""
    ci_low: float | None = None
    """Lower end of the interval of `chosen` / (`chosen` + `rejected`), as the data check gives it."""
    ci_high: float | None = None
    """Upper end of the same."""


class Cause(Record):
    """One thing that is wrong with the model, with its evidence and what to do."""

    code: CauseCode
    """Of the cause."""
    title: str
    """What the model does, after "It": "scores length"."""
    benchmark: str
    """Key of the evaluated set whose numbers these are."""
    also: tuple[str, ...] = ()
    """Keys of the other sets that show it."""
    value: float | None = None
    """The number that decides: a trait's sway, the share of tied pairs, the accuracy."""
    ci: tuple[float, float] | None = None
    """Its 95 % interval."""
    text: str
    """The evidence in a sentence, with numbers and intervals."""
    predicted_by: Prediction | None = None
    """The finding of the data check that foretold it; null where none did."""
    prediction: str = ""
    """The same in a sentence; it says so where the data check does not explain the trait."""
    seeds: str = ""
    """How many other seeds of the same training show it, in a sentence; empty without `training.seeds`."""
    rows: tuple[RowKey, ...] = ()
    """Rows of `benchmark` that show it."""
    fix: str
    """What to do, in a sentence."""


class DiagnosisRecord(Record):
    """`diagnosis.json`: what kind of model the run has made."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    sets: tuple[str, ...]
    """Keys of the evaluated sets that were looked at; those without a diagnosis (older results) are not among them."""
    causes: tuple[Cause, ...]
    """Strongest traits first; empty for a sound model."""
    headline: str = ""
    """The causes in one sentence; empty where there is none."""
    replicas: dict[str, str] = Field(default_factory=dict)
    """Other seed of the same training → the `headline` of its model; empty without `training.seeds`."""
