"""What the data contract found: `check.json` and `rejected.jsonl`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rewardsmith.records.data import (
    ContaminationRecord,
    DataBalance,
    DataLabels,
    DataPrivate,
    OverlapRecord,
    ShortcutsRecord,
    TokenSummary,
)
from rewardsmith.records.files import Record

Severity = Literal["error", "warning", "note"]


class ExampleRow(Record):
    """Where a finding was seen: file (as written in the spec), 1-based row, the row's id, and what was found there."""

    file: str
    row: int
    id: str = ""
    detail: str = ""


class Finding(Record):
    """One thing that is wrong or worth knowing, with its size and its fix.

    `count` of `of` rows show it. `meaning` says what it is, `why` why a reward model suffers from it, `fix` what to do.
    `summary` says what was measured, in words; `ci_low` and `ci_high` bound the share `count / of`, where it estimates
    that of all such data.
    """

    code: str
    severity: Severity
    title: str
    meaning: str
    why: str
    fix: str
    count: int
    of: int
    summary: str = ""
    ci_low: float | None = None
    ci_high: float | None = None
    examples: tuple[ExampleRow, ...] = ()


class SourceCount(Record):
    """How many rows of one source were read, and what became of them.

    Rows: read = used + unused + mixed_out; of a used row pairs were formed, an unused one was rejected with its reason,
    and `mixed_out` were left out by the mixture. Comparisons: formed = pairs + ties + capped. Pairs: pairs = kept +
    those that failed a check; `rejected` counts these and the unused rows. Where a row holds one pair and no mixture is
    drawn, this is read = kept + rejected. `unread` counts rows by column: those that look like context and that
    nothing reads.
    """

    source: str
    role: Literal["train", "held_out"]
    read: int
    kept: int
    rejected: int
    form: str = "pair"
    used: int = 0
    unused: int = 0
    mixed_out: int = 0
    formed: int = 0
    pairs: int = 0
    ties: int = 0
    capped: int = 0
    mixture: str = ""
    unread: dict[str, int] = Field(default_factory=dict)
    sha256: str = ""
    revision: str = ""


class RejectedRow(Record):
    """A row that was left out, with its reason (the code of a check) and what was found."""

    source: str
    row: int
    id: str
    role: Literal["train", "held_out"]
    reason: str
    detail: str = ""


class FixRecord(Record):
    """What `check --fix` wrote: read = kept + removed, in pairs and rows that gave none.

    `removed_by_reason` counts by the code of a check.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    read: int
    kept: int
    removed: int
    removed_by_reason: dict[str, int]
    files: tuple[str, ...]


class RenderingRecord(Record):
    """How text becomes tokens; kept in the checkpoint so that serving does the same.

    `shipped_pad_token` is the base model's own, before another one took its place; null where it had none. `closing` is
    how a text ends: `eos` with EOS and nothing after it, `openrlhf` as OpenRLHF's trainer ends it, `shipped` as the
    template of a model trained elsewhere writes it. `special_tokens` is what happens to a message that contains a token
    which opens or closes turns or texts: the conversation is refused, or the token is encoded as plain text.
    """

    template_sha256: str
    conversational: bool
    eos_token: str
    eos_token_id: int
    bos_token_id: int | None
    pad_token: str
    pad_token_id: int
    added_pad_token: bool
    shipped_pad_token: str | None = None
    changed_template: bool
    max_length: int
    over_length: str
    closing: Literal["eos", "openrlhf", "shipped"] = "eos"
    special_tokens: Literal["refuse", "text"] = "refuse"
    padding_side: Literal["right"] = "right"
    pooling: str = "last token that the attention mask keeps"


class ShownRow(Record):
    """A pair as `check --show` prints it: as read, and as the model will see it."""

    source: str
    row: int
    id: str
    prompt: tuple[dict[str, Any], ...]
    chosen: tuple[dict[str, Any], ...]
    rejected: tuple[dict[str, Any], ...]
    tools: tuple[Any, ...] = ()
    chosen_text: str
    rejected_text: str
    margin: float | None = None


class CheckRecord(Record):
    """Verdict of the data contract. `passed` is false when a finding's severity or code is listed under `fail_on`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    fingerprint: str
    data_fingerprint: str
    passed: bool
    failed_on: tuple[str, ...] = ()
    read: int
    kept: int
    rejected: int
    rejected_by_reason: dict[str, int]
    train_pairs: int
    held_out_pairs: int
    held_out_origin: str
    distinct_prompts: int
    sources: tuple[SourceCount, ...]
    findings: tuple[Finding, ...]
    tokens: TokenSummary
    rendering: RenderingRecord
    labels: DataLabels | None = None
    balance: DataBalance | None = None
    private: DataPrivate | None = None
    overlap: OverlapRecord | None = None
    contamination: ContaminationRecord | None = None
    shortcuts: ShortcutsRecord | None = None
    shown: tuple[ShownRow, ...] = ()
