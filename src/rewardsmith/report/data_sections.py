"""The sections of check.json as blocks, in the order of the page.

data_blocks(check) → blocks of the sections that the record has
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewardsmith.records import CheckRecord
from rewardsmith.report.blocks import Block
from rewardsmith.report.data_balance import balance_block
from rewardsmith.report.data_labels import labels_block, private_block
from rewardsmith.report.data_overlap import contamination_block, overlap_block
from rewardsmith.report.data_shortcuts import shortcuts_block
from rewardsmith.report.data_tokens import tokens_block

SECTIONS: dict[str, Callable[[Any], Block]] = {
    "shortcuts": shortcuts_block,
    "contamination": contamination_block,
    "overlap": overlap_block,
    "labels": labels_block,
    "balance": balance_block,
    "private": private_block,
}
"""Field of `CheckRecord` → its block; what changes a model most stands first."""


def data_blocks(check: CheckRecord) -> tuple[Block, ...]:
    """Sections that were not measured (an older record, a survey left out) are not shown."""
    sections = ((make, getattr(check, field)) for field, make in SECTIONS.items())
    blocks = [make(section) for make, section in sections if section is not None]
    return (*blocks, tokens_block(check.tokens, check.rendering.max_length))
