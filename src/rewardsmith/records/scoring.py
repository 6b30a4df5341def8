"""What `rewardsmith score` leaves beside its output while it works, and what it says when it is done.

What `rewardsmith explain` says about one conversation, or about both sides of a pair.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class BulkState(Record):
    """How far an unfinished job has come: rows whose rewards are on disk, and how long the files were then.

    `reasons` counts rows, `missing` nulls. `fingerprint` is of everything that the rewards depend on: the input, the
    models, how they are combined, versions.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    rows: int = 0
    rewards: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    missing: dict[str, int] = Field(default_factory=dict)
    output_bytes: int = 0
    rejected_bytes: int = 0


class BulkRecord(Record):
    """A finished job: input rows, rewards, rows that lack one (`reasons`), rows that an earlier start had done.

    `missing` counts nulls by reason: a row may have several, and a row that cannot be read has none.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    output: str
    rejected: str | None
    rows: int
    rewards: int
    bad_rows: int
    reasons: dict[str, int]
    missing: dict[str, int] = Field(default_factory=dict)
    resumed_rows: int


class ExplainedToken(Record):
    """One token and the reward of the text that ends with it.

    `token` is the vocabulary's name of it, `text` what it decodes to alone. `reward` is null where it was not computed;
    `change` is the difference to the token before.
    """

    id: int
    token: str
    text: str
    reward: float | None
    change: float | None


class ExplainedText(Record):
    """One conversation as the model sees it.

    Positions count from 0. `tokens` begins with the prompt; the response begins at `response_start`. `pooling_position`
    is where the reward is read (null for an encoder with a pooler of its own). `eos_positions` lists every EOS, those
    that end earlier turns included. `bos` counts BOS tokens at the beginning. `cut` tokens of the prompt were taken
    away by the length policy; `cut_text` is what they said. `jumps` are the positions within the response where the
    reward changed most, the largest change first. `reward_with_bos` is given where the model's tokenizer adds BOS to
    plain text and its template writes none: the reward of programs that tokenize the rendered text as plain text.
    """

    name: Literal["conversation", "chosen", "rejected"]
    text: str
    tokens: tuple[ExplainedToken, ...]
    response_start: int
    eos_token: str
    eos_positions: tuple[int, ...]
    ends_with_eos: bool
    eos_doubled: bool
    bos: int
    pooling_position: int | None
    reward: float
    cut: int = 0
    cut_text: str = ""
    jumps: tuple[int, ...] = ()
    reward_with_bos: float | None = None


class ExplainRecord(Record):
    """One row explained. `running` says how the rewards after each token were computed.

    For a pair, `first_difference` is the position of the first token that differs and `margin` is chosen − rejected.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    source: str
    max_length: int
    over_length: str
    running: str
    texts: tuple[ExplainedText, ...]
    first_difference: int | None = None
    margin: float | None = None
