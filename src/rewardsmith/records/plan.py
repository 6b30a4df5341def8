"""What `rewardsmith plan` answers: `plan.json`. Bytes, seconds, dollars and counts, unrounded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class PlannedStage(Record):
    """A stage of the run: its contract with its neighbours, and what this spec has it do."""

    key: str
    """Short name."""
    title: str
    """As the report shows it."""
    receives: str
    """What it is given."""
    returns: str
    """What it hands on."""
    must_not: str
    """What it never does."""
    fails: str
    """What makes it stop."""
    here: tuple[str, ...] = ()
    """What this spec has it do, a line each; empty where nothing depends on the spec."""


class PlannedModel(Record):
    """Sizes, counted from configs on the meta device."""

    id: str
    """Hub id or folder of the base."""
    family: str
    """Architecture, as the config names it."""
    parameters: int
    """Of the base with its reward head."""
    active: int
    """Parameters that are multiplied with every token; fewer than `parameters` with experts."""
    trained: int
    """Parameters with a gradient."""
    layers: int
    """Of the decoder or encoder."""
    hidden: int
    """Width of the hidden states."""
    vocabulary: int
    """Tokens."""
    layout: Literal["tree", "padded"]
    """How texts are laid out: shared prompts once, or padded."""
    why_padded: str | None
    """Why the layout is not the token tree; null where it is."""
    policy_parameters: int | None
    """Of the policy; null where the spec does not say."""
    policy_family: str | None
    """Of the policy; null where it is not known."""
    kernel: str | None = None
    """Attention kernel of its rows on this machine: calls, varlen, flex or dense; null where padded, or in older
    records."""


class PlannedMachine(Record):
    """What the numbers are for."""

    kind: Literal["cpu", "cuda", "mps"]
    """Kind of device."""
    name: str
    """Of one device."""
    nodes: int
    """Machines."""
    devices_per_node: int
    """Devices of each."""
    memory: float
    """Bytes of one device."""
    flops: float
    """Peak operations a second of one device."""
    bandwidth: float
    """Bytes a second from a device's memory."""
    link: float
    """Bytes a second between devices of a node."""
    node_link: float
    """Bytes a second between nodes, a device."""
    price: float | None
    """Dollars a device and hour; null where it is not known."""


class PlannedTokens(Record):
    """Lengths in tokens, and how many a step computes."""

    pairs: int | None
    """Training pairs; null where no check has counted them."""
    of_pair: float
    """Mean tokens of a pair as laid out."""
    text: float
    """Mean tokens of a text, EOS included."""
    longest: float
    """Tokens of the longest text."""
    attended: float
    """Tokens that a token attends to, on average."""
    budget: int
    """Most tokens of a forward pass."""
    micro_batch: float
    """Tokens that one forward pass holds."""
    passes_per_step: int
    """Forward passes of one device in a step."""
    steps: int | None
    """Optimizer steps of the epoch; null where the number of pairs is not known."""
    source: str
    """Where the lengths are from, in words."""


class TrainingWay(Record):
    """A backend, how it spreads the model over how many devices, and the adapter."""

    backend: Literal["trl", "openrlhf"]
    """That trains."""
    strategy: Literal["single", "ddp", "fsdp", "zero2", "zero3"]
    """How weights, gradients and optimizer are shared among devices."""
    adapter: str
    """`none` or the adapter's kind."""
    devices: int
    """That train together."""


class MemoryUse(Record):
    """Bytes of one device. The parts need not be alive together."""

    weights: float
    """Bytes."""
    gradients: float
    """Bytes."""
    optimizer: float
    """Bytes of its states."""
    activations: float
    """Bytes of one micro-batch."""
    buffers: float
    """Bytes of what is gathered or sent."""
    peak: float
    """Bytes of the phase that needs most."""
    phase: Literal["forward and backward", "optimizer step", "saving"]
    """That phase."""


class MemoryPlan(MemoryUse, TrainingWay):
    """Bytes of one device under one way to train. The parts need not be alive together."""

    fits: bool
    """Whether the peak is within what may be used of a device."""


class BackendPlan(TrainingWay):
    """What trains, and why; where nothing fits, what comes nearest."""

    peak: float
    """Bytes of one device."""
    fits: bool
    """Whether the peak is within what may be used of a device."""
    reason: str
    """Why this one, in words."""


class TimePlan(Record):
    """One epoch."""

    pairs: int
    """Training pairs that the time is for."""
    assumed: bool
    """Whether their number is not known, and a round one stands in for it."""
    operations: float
    """Floating-point operations of the epoch."""
    utilisation: float
    """Share of the peak that useful operations reach, 0 to 1."""
    compute_seconds: float
    """Of computing."""
    network_seconds: float
    """Of what is sent between devices."""
    network_bytes: float
    """That a device sends in the epoch."""
    seconds: float
    """Of the epoch."""
    cost: float | None
    """Dollars of all devices; null without a price."""


class StageTime(Record):
    """How long one stage of a run takes, by the planner."""

    stage: str
    """Its name, as in `manifest.json`."""
    seconds: float
    """Wall time."""
    basis: str
    """What is counted, in words."""


class ScoringPlan(Record):
    """One kind of grader."""

    kind: Literal["dedicated", "judge", "hybrid"]
    """A reward model, a judge, or a reward model with a judge where it is unsure."""
    seconds: float
    """For a lone text."""
    per_second: float | None
    """Texts a second in bulk; null where it is not known."""
    per_million: float | None
    """Dollars a million texts; null where no price is known."""
    source: str
    """Where the numbers are from, in words."""
    within_budget: bool
    """Whether it meets the stated budget."""


class AdvicePlan(Record):
    """What should grade, for a stated budget."""

    kind: Literal["dedicated", "judge", "hybrid"]
    """As in `scoring`."""
    reason: str
    """In words."""
    judge_share: float
    """Part of the pairs that a judge decides, 0 to 1."""
    within_budget: bool
    """Whether the advice meets the budget."""
    budget_seconds: float | None
    """Longest time for a lone text that was asked for; null without one."""
    budget_per_million: float | None
    """Most dollars a million texts that were asked for; null without one."""
    rewards: int
    """Texts to grade that the advice is for."""


class SourcedNote(Record):
    """Advice, and where it is from."""

    text: str
    """In a sentence."""
    source: str
    """Paper or page."""


class PlanRecord(Record):
    """`plan.json`: the whole plan. Bytes, seconds, dollars and counts, unrounded."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    name: str
    """Of the spec."""
    spec_fingerprint: str
    """Of the spec."""
    stages: tuple[PlannedStage, ...]
    """In the order in which data flows."""
    model: PlannedModel
    """Sizes of base and policy."""
    machine: PlannedMachine
    """What the numbers are for."""
    tokens: PlannedTokens
    """Lengths and steps."""
    memory: tuple[MemoryPlan, ...]
    """One a way to train."""
    choice: BackendPlan
    """The way that is chosen."""
    time: TimePlan
    """Of one epoch."""
    times: tuple[StageTime, ...] = ()
    """Of every stage, training among them; empty in older records."""
    scoring: tuple[ScoringPlan, ...]
    """Kinds of graders."""
    advice: AdvicePlan
    """Which of them, for the budget."""
    sizing: tuple[SourcedNote, ...]
    """What scaling laws say of base, policy and data."""
    launch: tuple[str, ...]
    """Commands that start the training."""
    warnings: tuple[str, ...] = ()
    """What to look at before training."""
    assumptions: tuple[str, ...] = ()
    """What nobody stated."""
