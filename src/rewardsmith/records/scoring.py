"""What `rewardsmith score` leaves beside its output while it works, and what it says when it is done.

What `rewardsmith explain` says about one conversation, or about both sides of a pair.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


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
