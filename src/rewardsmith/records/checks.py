"""What the data contract found: `check.json` and `rejected.jsonl`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rewardsmith.records.data import ContaminationRecord, DataBalance, DataLabels, DataPrivate, OverlapRecord
from rewardsmith.records.files import Record
from rewardsmith.records.texts import ShortcutsRecord, TokenSummary

Severity = Literal["error", "warning", "note"]


class ExampleRow(Record):
    """Where a finding was seen."""

    file: str
    """As written in the spec."""
    row: int
    """Counted from 1; 0 where the source as a whole is meant."""
    id: str = ""
    """The row's own id; empty where it has none."""
    detail: str = ""
    """What was found there."""


class Finding(Record):
    """One thing that is wrong or worth knowing, with its size and its fix."""

    code: str
    """Name of the check, as `data.fail_on` may list it."""
    severity: Severity
    """An error stops a run by default."""
    title: str
    """In a few words."""
    meaning: str
    """What it is."""
    why: str
    """Why a reward model suffers from it."""
    fix: str
    """What to do."""
    count: int
    """Rows (or sources, steps, texts, as the check counts) that show it."""
    of: int
    """Out of how many."""
    summary: str = ""
    """What was measured, in words; empty where the count says it all."""
    ci_low: float | None = None
    """Lower end of the 95 % interval of the share `count` / `of` in all such data; null where the share is no
    estimate."""
    ci_high: float | None = None
    """Upper end of the same."""
    examples: tuple[ExampleRow, ...] = ()
    """The first few."""


class SourceCount(Record):
    """How many rows of one source were read, and what became of them.

    Rows: read = used + unused + mixed_out. Comparisons: formed = pairs + ties + capped. Pairs: pairs = kept + those
    that failed a check; `rejected` counts these and the unused rows. Where a row holds one pair and no mixture is
    drawn, read = kept + rejected.
    """

    source: str
    """As written in the spec."""
    role: Literal["train", "held_out"]
    """Training or held out."""
    read: int
    """Rows in the source."""
    kept: int
    """Pairs that passed every check."""
    rejected: int
    """Pairs that failed a check, and rows that gave none."""
    form: str = "pair"
    """How the source writes a preference, by `kind` of the spec."""
    used: int = 0
    """Rows that pairs were formed of."""
    unused: int = 0
    """Rows that were rejected as a whole."""
    mixed_out: int = 0
    """Rows that the mixture left out."""
    formed: int = 0
    """Comparisons that the rows hold."""
    pairs: int = 0
    """Pairs formed, before the checks."""
    ties: int = 0
    """Comparisons without a winner."""
    capped: int = 0
    """Comparisons beyond the most that one row may give."""
    mixture: str = ""
    """What the spec takes of this source (`rows`, `share`, `weight`); empty for all of it."""
    unread: dict[str, int] = Field(default_factory=dict)
    """Column that looks like context and that nothing reads → rows that have it."""
    sha256: str = ""
    """Of the file; empty for a hub data set."""
    revision: str = ""
    """Commit of a hub data set; empty for files."""


class RejectedRow(Record):
    """A line of `rejected.jsonl`: a row, or a pair of it, that was left out."""

    source: str
    """As written in the spec."""
    row: int
    """Counted from 1."""
    id: str
    """The row's own id, its first 100 characters; empty where it has none."""
    role: Literal["train", "held_out"]
    """Training or held out."""
    reason: str
    """Code of the check that it failed."""
    detail: str = ""
    """What was found."""


class FixRecord(Record):
    """`fix.json`: what `check --fix` wrote."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    read: int
    """Pairs, and rows that gave none; read = kept + removed."""
    kept: int
    """Pairs that were written."""
    removed: int
    """Pairs and rows that were not."""
    removed_by_reason: dict[str, int]
    """Code of a check → how many of them it removed."""
    files: tuple[str, ...]
    """Names in the output folder."""


class RenderingRecord(Record):
    """How text becomes tokens; kept in the checkpoint so that serving does the same."""

    template_sha256: str
    """Of the chat template as used."""
    conversational: bool
    """Whether texts are chats; false where prompt and response are plain text."""
    eos_token: str
    """Last token of every text; the reward is read there."""
    eos_token_id: int
    """Its id."""
    bos_token_id: int | None
    """Id of the BOS; null where the tokenizer has none."""
    pad_token: str
    """Fills batches; never the EOS of a text."""
    pad_token_id: int
    """Its id."""
    added_pad_token: bool
    """Whether the vocabulary had no usable one."""
    shipped_pad_token: str | None = None
    """The base model's own, before another one took its place; null where it had none."""
    changed_template: bool
    """Whether the base's template was changed so that texts end with EOS."""
    max_length: int
    """Most tokens of a text, EOS included."""
    over_length: str
    """What happens to longer ones: `drop` leaves the pair out, `truncate_prompt` cuts the prompt, `error` stops."""
    closing: Literal["eos", "openrlhf", "shipped"] = "eos"
    """How a text ends: with EOS and nothing after it, as OpenRLHF's trainer ends it, or as the template of a model
    trained elsewhere writes it."""
    special_tokens: Literal["refuse", "text"] = "refuse"
    """What happens to a message that contains a token which opens or closes turns or texts: the conversation is
    refused, or the token is encoded as plain text."""
    padding_side: Literal["right"] = "right"
    """Always right."""
    pooling: str = "last token that the attention mask keeps"
    """Which token's reward is the text's."""


class ShownRow(Record):
    """A pair as `check --show` prints it: as read, and as the model will see it."""

    source: str
    """As written in the spec."""
    row: int
    """Counted from 1."""
    id: str
    """The row's own id; empty where it has none."""
    prompt: tuple[dict[str, Any], ...]
    """Messages before the response."""
    chosen: tuple[dict[str, Any], ...]
    """Messages of the chosen response."""
    rejected: tuple[dict[str, Any], ...]
    """Messages of the rejected response."""
    tools: tuple[Any, ...] = ()
    """Tool definitions of the conversation."""
    chosen_text: str
    """Prompt and chosen response as rendered."""
    rejected_text: str
    """Prompt and rejected response as rendered."""
    margin: float | None = None
    """How much better the row says the chosen response is; null where it does not say."""


class CheckRecord(Record):
    """`check.json`: what the data contract found."""

    schema_version: Literal[1] = Field(1, alias="schema")
    """Version of this format: it counts breaking changes."""
    fingerprint: str
    """Of data, checks and settings: a check of equal fingerprint need not run again."""
    data_fingerprint: str
    """Of the kept training pairs, whatever their order."""
    passed: bool
    """False where a finding's severity or code is listed under `data.fail_on`."""
    failed_on: tuple[str, ...] = ()
    """Codes of those findings."""
    read: int
    """Rows of all sources."""
    kept: int
    """Pairs that passed every check, training and held out."""
    rejected: int
    """Pairs that failed one, and rows that gave none."""
    rejected_by_reason: dict[str, int]
    """Code of a check → how many it rejected."""
    train_pairs: int
    """Kept for training."""
    held_out_pairs: int
    """Kept for evaluation."""
    held_out_origin: str
    """Where the held-out pairs come from, in words."""
    distinct_prompts: int
    """Among the training pairs."""
    sources: tuple[SourceCount, ...]
    """One a source, in the order of the spec."""
    findings: tuple[Finding, ...]
    """By harm: errors first."""
    tokens: TokenSummary
    """Lengths and what the tokenizer does."""
    rendering: RenderingRecord
    """How text becomes tokens."""
    labels: DataLabels | None = None
    """Repeats, contradictions and margins; null where this was not surveyed, as in a `--sample`."""
    balance: DataBalance | None = None
    """What the pairs are made of; null where this was not surveyed."""
    private: DataPrivate | None = None
    """Secrets and personal data; null where this was not surveyed."""
    overlap: OverlapRecord | None = None
    """Near-duplicates and leaks; null where this was not surveyed."""
    contamination: ContaminationRecord | None = None
    """Overlap with the spec's benchmarks; null where this was not surveyed."""
    shortcuts: ShortcutsRecord | None = None
    """What predicts labels without the prompt; null where this was not surveyed."""
    shown: tuple[ShownRow, ...] = ()
    """Rows that `--show` asked for."""
