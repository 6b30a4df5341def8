"""Secrets and personal data in the kept pairs: how much of what, and never the data itself."""

from __future__ import annotations

from typing import Literal

from rewardsmith.records.files import Record


class PrivateKind(Record):
    """One kind of secret or personal datum: how often it stands in the texts, in how many rows, and in which part."""

    kind: str
    title: str
    group: Literal["secret", "personal"]
    matches: int
    rows: int
    prompt_rows: int
    chosen_rows: int
    rejected_rows: int


class DataPrivate(Record):
    """Over all kept pairs; kinds that were not found are not listed. `looked_for` names all kinds."""

    pairs: int
    secret_rows: int
    personal_rows: int
    kinds: tuple[PrivateKind, ...]
    looked_for: tuple[str, ...]
