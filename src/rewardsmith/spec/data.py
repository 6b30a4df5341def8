"""Layer 1 of the spec: where preference pairs come from, how they are held out, and what happens to long ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rewardsmith.spec.forms import FormSpec, PairForm
from rewardsmith.spec.section import Refusal, Section

_HUB_ONLY = ("name", "split", "revision")

Column = Literal[
    "prompt",
    "chosen",
    "rejected",
    "target_margin",
    "id",
    "source",
    "subset",
    "annotator",
    "chosen_model",
    "rejected_model",
    "tools",
    "system",
    "history",
    "context",
    "input",
]
"""What a column may hold; annotator and models are for the checks only."""
OurRole = Literal["system", "user", "assistant", "tool"]


class SourceSpec(Section):
    """One source of preference pairs: exactly one of `path`, `id` and `embedded`."""

    path: str | None = None
    """JSONL (also .gz), JSON, Parquet or CSV file."""
    id: str | None = None
    """Hub id of a data set."""
    embedded: Literal["train", "held_out"] | None = None
    """Pairs that Rewardsmith generates itself."""
    name: str | None = None
    """Configuration of a hub data set."""
    split: str = "train"
    """Split of a hub data set."""
    revision: str | None = None
    """Revision of a hub data set: a commit keeps runs reproducible."""
    form: FormSpec = Field(default_factory=PairForm)
    """How the rows are written and what the label means; `init` recognises it. docs/public_data.md shows each."""
    columns: dict[Column, str | None] = Field(default_factory=dict)
    """Our name: the name in the file, or a path; null for none. For example `{chosen: good_answer}`."""
    roles: dict[str, OurRole] = Field(default_factory=dict)
    """Roles of messages under other names than the known ones: theirs: ours."""
    ignore: tuple[str, ...] = ()
    """Columns, and keys of messages, that are left out knowingly."""
    label: str = ""
    """Name of the source in reports; the file's or data set's name when left out."""
    limit: int | None = Field(None, ge=1)
    """Take this many rows, drawn by the spec's seed, in the file's order."""
    rows: int | None = Field(None, ge=1)
    """Mixture: at most this many rows, drawn by prompt: all rows of a prompt or none."""
    share: float | None = Field(None, gt=0.0, le=1.0)
    """Mixture: this share of the prompts, with all their rows."""
    weight: float | None = Field(None, gt=0.0)
    """Mixture: rows in proportion to the weights, as many as the smallest source allows: none is repeated."""
    target_margin_range: tuple[float, float] | None = None
    """Smallest and largest `target_margin` on the source's scale; rows outside are a finding. For example `[0, 3]`."""

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        given = [name for name in ("path", "id", "embedded") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise Refusal(f"a source has exactly one of path, id and embedded; this one has {found}", "keep one")
        for name in _HUB_ONLY:
            if self.id is None and getattr(self, name) != type(self).model_fields[name].default:
                raise Refusal(
                    f"it belongs to a hub data set (id); this source has {given[0]}",
                    "delete the line",
                    field=(name,),
                )
        return self

    @model_validator(mode="after")
    def _one_mixture(self) -> SourceSpec:
        given = [name for name in ("rows", "share", "weight") if getattr(self, name) is not None]
        if len(given) > 1:
            raise Refusal(
                f"a source has at most one of rows, share and weight; this one has {' and '.join(given)}", "keep one"
            )
        return self

    @model_validator(mode="after")
    def _margins_from_low_to_high(self) -> SourceSpec:
        if self.target_margin_range is not None and self.target_margin_range[0] >= self.target_margin_range[1]:
            raise Refusal(
                "no margin lies between these", "write the smallest, then the largest", field=("target_margin_range",)
            )
        return self

    @property
    def title(self) -> str:
        """How reports call this source."""
        return self.label or self.path or self.id or f"embedded:{self.embedded}"


class HeldOutSpec(Section):
    """Pairs that are never trained on: sources of their own, or a share of the training pairs, split by prompt."""

    sources: tuple[SourceSpec, ...] = ()
    """Sources of held-out pairs, written like `data.train`."""
    fraction: float = Field(0.05, ge=0.0, lt=0.5)
    """Share of distinct training prompts held out when no sources are given. Equal prompts are never parted."""


class DataSpec(Section):
    """The data contract."""

    train: tuple[SourceSpec, ...] = Field(default=(SourceSpec(embedded="train"),), min_length=1)
    """Sources of preference pairs: `path` (a file), `id` (a hub data set) or `embedded`, one each."""
    held_out: HeldOutSpec = Field(default_factory=HeldOutSpec)
    strings: Literal["chat", "text"] = "chat"
    """Plain strings: `chat` makes the prompt a user turn and the response an assistant turn; `text` joins them."""
    bad_lines: Literal["error", "skip"] = "error"
    """A line of JSON that cannot be read: `error` stops there, `skip` leaves it out and writes it down."""
    max_length: int = Field(2048, ge=8)
    """Longest text in tokens, prompt and response and EOS together."""
    over_length: Literal["drop", "truncate_prompt", "error"] = "drop"
    """What happens to a pair with a longer text; `truncate_prompt` cuts the prompt's oldest tokens only."""
    special_tokens: Literal["refuse", "text"] = "refuse"
    """Messages with tokens that open or close turns: `refuse` them, or read these as `text`, unlike TRL and vLLM."""
    severity: dict[str, Literal["error", "warning", "note"]] = Field(default_factory=dict)
    """Another severity for a finding than the check's own. For example `{duplicate_pair: error}`."""
    fail_on: tuple[str, ...] = ("error",)
    """Severities (error, warning, note) or codes of findings that fail the check."""
