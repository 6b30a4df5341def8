"""What `rewardsmith export` wrote, and how the program that it is for is started with it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardsmith.records.files import Record


class ExportRecord(Record):
    """One checkpoint written again for another program.

    `trainer` says who made the source; `merged` that an adapter became part of the weights. `largest_difference` is
    between the rewards of the golden conversations before and after, both in float32; `tolerance` was its limit.
    `normalization` is what the source says of mean and std: kept, never applied. `transformers` lists the versions in
    which models of this type were loaded and gave the same rewards; it is empty for a type that was not tried there.
    `start` lists commands.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    source: str
    out: str
    target: Literal["hf", "openrlhf", "vllm"]
    trainer: Literal["rewardsmith", "openrlhf", "transformers"]
    merged: bool
    dtype: str
    conversations: int
    largest_difference: float
    tolerance: float
    normalization: dict[str, str | float] | None = None
    transformers: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
