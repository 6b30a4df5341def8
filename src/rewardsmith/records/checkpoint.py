"""What commands say of a checkpoint: `rewardsmith.json`, `verify.json`, and the answers of export, score and explain.

`CheckpointRecord` is `rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer. `VerifyRecord`
compares the same conversations through every way to a reward. `BulkState` is what `score` leaves beside its output
while it works, `BulkRecord` what it says when it is done.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.checks import RenderingRecord
from rewardsmith.records.files import Record
from rewardsmith.records.run import Verdict


class GoldenReward(Record):
    """A fixed conversation and the reward that this checkpoint gives it in float32; loaders compare theirs with it."""

    conversation: tuple[tuple[str, str], ...]
    """(role, content) turns."""
    reward: float
    """Raw."""


class ParentCheckpoint(Record):
    """One of the checkpoints that were averaged."""

    folder: str
    """Where it was read."""
    weight: float
    """Its share of the average, 0 to 1."""
    distance: float
    """Of its weights from the average, relative to the average's length, 0 or more."""
    head_cosine: float
    """Cosine between its reward head and the average's, -1 to 1."""


class CheckpointRecord(Record):
    """`rewardsmith.json`: what a checkpoint carries beside its weights and tokenizer (design section 5)."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    rewardsmith_version: str
    """That wrote the checkpoint."""
    base_model: str
    """Id of the base, as the spec names it."""
    base_fingerprint: str | None = None
    """Hash of the weights and the tokenizer that training began with; null where it is not known."""
    rendering: RenderingRecord
    """How text becomes tokens."""
    data_fingerprints: tuple[str, ...]
    """Every data set that these weights were trained on as a reward model, oldest first."""
    reward_range: tuple[float, float] | None = None
    """Lowest and highest reward that the spec expected; null where it states none, or where parents differ."""
    reward_mean: float | None = None
    """Of raw rewards on the held-out pairs, or on the first evaluated set where there are none; null before
    evaluation. Rewards are never normalised by it."""
    reward_std: float | None = None
    """Standard deviation of the same."""
    calibration: dict[str, float] | None = None
    """On the held-out pairs: `temperature` for P = sigmoid(margin / temperature), its interval, and errors out of
    sample (`ece`, `brier`, `log_loss`); null where no temperature could be fitted."""
    normalization: dict[str, str | float] | None = None
    """For a consumer that normalises by itself (`export` of the spec): `required_by`, `formula`, `mean`, `std`; or
    what another trainer's checkpoint says of them. Recorded, never applied; null where nothing asks for it."""
    evaluation: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    """Evaluated set → `average` and the score of each subset, at the end of the run; empty before."""
    parents: tuple[ParentCheckpoint, ...] = ()
    """The checkpoints that these weights are the average of; empty for a trained one."""
    golden: tuple[GoldenReward, ...] = ()
    """Fixed conversations with their rewards; empty where none fits the length limit."""


class ExportRecord(Record):
    """One checkpoint written again for another program."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    source: str
    """Folder or hub id that was read."""
    out: str
    """Folder that was written."""
    target: Literal["hf", "openrlhf", "vllm"]
    """Program that the files are for."""
    trainer: Literal["rewardsmith", "openrlhf", "transformers"]
    """Who made the source."""
    merged: bool
    """Whether an adapter became part of the weights."""
    dtype: str
    """Type of the written weights."""
    conversations: int
    """Golden conversations that were compared before and after."""
    largest_difference: float
    """Between their rewards before and after, both in float32."""
    tolerance: float
    """The most that was allowed; beyond it nothing is written."""
    normalization: dict[str, str | float] | None = None
    """What the source says of mean and std: kept, never applied. Null where it says nothing."""
    transformers: tuple[str, ...] = ()
    """Versions in which models of this type were loaded and gave the same rewards; empty for a type that was not
    tried."""
    start: tuple[str, ...] = ()
    """Commands that start the target program with these files."""


PathName = Literal[
    "recorded", "padded", "saved template", "transformers", "tree", "merged", "bfloat16", "server", "server messages"
]


class PathResult(Record):
    """One way to a reward, beside the reference: each text alone, unpadded, in float32."""

    path: PathName
    """The way."""
    verdict: Verdict
    """NO_DATA where there is nothing to compare, such as an adapter's path for a model without one."""
    why: str = ""
    """What failed, or why there is nothing to compare; empty for PASS."""
    fix: str = ""
    """What to do; empty for PASS."""
    compared: int = 0
    """Rewards that were compared."""
    largest: float | None = None
    """Largest difference to the reference, in reward units; null where nothing was compared."""
    tolerance: float | None = None
    """The most that is allowed; null where nothing was compared."""
    flips: int = 0
    """Pairs of conversations that this way ranks the other way round."""
    pairs: int = 0
    """Pairs of conversations that `flips` is out of."""
    worst: str = ""
    """End of the conversation with the largest difference."""
    reference: float | None = None
    """Its reward by the reference; null where nothing was compared."""
    reward: float | None = None
    """Its reward by this way; null where there is none."""


class FileFinding(Record):
    """A field of a file that makes another program give another reward."""

    file: str
    """Path."""
    field: str
    """Key in the file, or names of tensors."""
    value: str
    """What stands there."""
    problem: str
    """What is wrong."""
    fix: str
    """What to write or do."""
    fails: bool = True
    """False for a published model: read by this project's commands, it gives its rewards all the same."""


class VerifyRecord(Record):
    """`verify.json`: paths and files of one checkpoint."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    model: str
    """Folder or hub id."""
    against: str | None = None
    """Address of the server that was asked, without its token; null where none was."""
    trainer: Literal["rewardsmith", "openrlhf", "transformers"]
    """Who made the checkpoint."""
    device: str
    """That computed the rewards."""
    passed: bool
    """Whether no path and no finding fails."""
    conversations: int
    """Those that could be rendered."""
    golden: int
    """How many of them, the first ones, are the golden conversations."""
    spread: float
    """Standard deviation of rewards that bfloat16's tolerance is a share of: that of the held-out pairs where the
    checkpoint records it, else of these conversations."""
    paths: tuple[PathResult, ...]
    """One a way to a reward."""
    findings: tuple[FileFinding, ...]
    """What stands wrong in the files."""
    weights: int | None = None
    """Tensors in memory that were held against the files; null in older records."""
    notes: tuple[str, ...] = ()
    """What was done to the names of weights, and what else to know."""


class BulkState(Record):
    """How far an unfinished job of `score` has come: what is on disk."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of everything that the rewards depend on: the input, the models, how they are combined, versions."""
    rows: int = 0
    """Whose rewards are on disk."""
    rewards: int = 0
    """On disk."""
    reasons: dict[str, int] = Field(default_factory=dict)
    """Reason → rows that lack a reward."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Reason → nulls in the output."""
    output_bytes: int = 0
    """Length of the output at that time."""
    rejected_bytes: int = 0
    """Length of the file of such rows at that time."""


class BulkRecord(Record):
    """A finished job of `score`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    output: str
    """File of the rewards."""
    rejected: str | None
    """File of the rows that lack one; null where there is none."""
    rows: int
    """Of the input."""
    rewards: int
    """That were computed."""
    bad_rows: int
    """Rows that lack one."""
    reasons: dict[str, int]
    """Reason → such rows."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Reason → nulls in the output: a row may have several, and a row that cannot be read has none."""
    resumed_rows: int
    """Rows that an earlier start had done."""


class ExplainedToken(Record):
    """One token and the reward of the text that ends with it."""

    id: int
    """In the vocabulary."""
    token: str
    """The vocabulary's name of it."""
    text: str
    """What it decodes to alone."""
    reward: float | None
    """Of the text up to here; null where it was not computed."""
    change: float | None
    """Difference to the token before; null for the first one, and where a reward is."""


class ExplainedText(Record):
    """One conversation as the model sees it. Positions count from 0."""

    name: Literal["conversation", "chosen", "rejected"]
    """Which text of the row."""
    text: str
    """As rendered."""
    tokens: tuple[ExplainedToken, ...]
    """The prompt's first."""
    response_start: int
    """Position of the response's first token."""
    eos_token: str
    """As the vocabulary names it."""
    eos_positions: tuple[int, ...]
    """Of every EOS, those that end earlier turns included."""
    ends_with_eos: bool
    """Whether the last token is the EOS."""
    eos_doubled: bool
    """Whether the last two tokens are."""
    bos: int
    """BOS tokens at the beginning."""
    pooling_position: int | None
    """Where the reward is read; null for an encoder with a pooler of its own."""
    reward: float
    """Of the text."""
    cut: int = 0
    """Tokens of the prompt that the length policy took away."""
    cut_text: str = ""
    """What they said."""
    jumps: tuple[int, ...] = ()
    """Positions within the response where the reward changed most, the largest change first."""
    reward_with_bos: float | None = None
    """Reward of programs that tokenize the rendered text as plain text: given where the tokenizer adds BOS to plain
    text and the template writes none, null else."""


class ExplainRecord(Record):
    """One row explained."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    model: str
    """Folder or hub id."""
    source: str
    """File and row."""
    max_length: int
    """Most tokens of a text."""
    over_length: str
    """What happens to longer ones."""
    running: str
    """How the rewards after each token were computed, in words."""
    texts: tuple[ExplainedText, ...]
    """One conversation, or chosen and rejected."""
    first_difference: int | None = None
    """Position of the first token that differs between the two; null for one conversation."""
    margin: float | None = None
    """Chosen − rejected reward; null for one conversation."""
