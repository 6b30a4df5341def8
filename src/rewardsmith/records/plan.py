"""What `rewardsmith plan` answers: `plan.json`. Bytes, seconds, dollars and counts, unrounded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class PlannedStage(Record):
    """A stage of the run: its contract with its neighbours, and what this spec has it do."""

    key: str
    title: str
    receives: str
    returns: str
    must_not: str
    fails: str
    here: tuple[str, ...] = ()


class PlannedModel(Record):
    """Sizes, counted from configs on the meta device. `active` parameters are multiplied with every token.

    `why_padded` says why the layout is not the token tree; null where it is.
    """

    id: str
    family: str
    parameters: int
    active: int
    trained: int
    layers: int
    hidden: int
    vocabulary: int
    layout: Literal["tree", "padded"]
    why_padded: str | None
    policy_parameters: int | None
    policy_family: str | None


class PlannedMachine(Record):
    """What the numbers are for: bytes of one device, speeds a second, `price` in dollars a device and hour."""

    kind: str
    name: str
    nodes: int
    devices_per_node: int
    memory: float
    flops: float
    bandwidth: float
    link: float
    node_link: float
    price: float | None


class PlannedTokens(Record):
    """Lengths, in tokens. `of_pair` is as laid out; `micro_batch` what one forward pass holds; `source` where from."""

    pairs: int | None
    of_pair: float
    text: float
    longest: float
    attended: float
    budget: int
    micro_batch: float
    passes_per_step: int
    steps: int | None
    source: str


class MemoryPlan(Record):
    """Bytes of one device under one way to train. `fits`: the peak is within what may be used of a device."""

    backend: Literal["trl", "openrlhf"]
    strategy: Literal["single", "ddp", "fsdp", "zero2", "zero3"]
    adapter: str
    devices: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    buffers: float
    peak: float
    phase: str
    fits: bool


class BackendPlan(Record):
    """What trains, and why."""

    backend: Literal["trl", "openrlhf"]
    strategy: str
    adapter: str
    devices: int
    peak: float
    fits: bool
    reason: str


class TimePlan(Record):
    """One epoch over `pairs` pairs (`assumed` where their number is not known). `cost` in dollars."""

    pairs: int
    assumed: bool
    operations: float
    utilisation: float
    compute_seconds: float
    network_seconds: float
    network_bytes: float
    seconds: float
    cost: float | None


class ScoringPlan(Record):
    """One kind of grader: seconds for a lone text, texts a second, dollars a million."""

    kind: Literal["dedicated", "judge", "hybrid"]
    seconds: float
    per_second: float | None
    per_million: float | None
    source: str
    within_budget: bool


class AdvicePlan(Record):
    """What grades, for a stated budget. `judge_share` is the part of the pairs that a judge decides."""

    kind: Literal["dedicated", "judge", "hybrid"]
    reason: str
    judge_share: float
    within_budget: bool
    budget_seconds: float | None
    budget_per_million: float | None
    rewards: int


class SourcedNote(Record):
    """Advice, and where it is from."""

    text: str
    source: str


class PlanRecord(Record):
    """The whole plan. `warnings` are what to look at before training; `assumptions` what nobody stated."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str
    spec_fingerprint: str
    stages: tuple[PlannedStage, ...]
    model: PlannedModel
    machine: PlannedMachine
    tokens: PlannedTokens
    memory: tuple[MemoryPlan, ...]
    choice: BackendPlan
    time: TimePlan
    scoring: tuple[ScoringPlan, ...]
    advice: AdvicePlan
    sizing: tuple[SourcedNote, ...]
    launch: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
