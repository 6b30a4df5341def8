"""What a check is: a code, a severity, an explanation, and where it looks.

    pair    a pair as read:    the detail of the fault, or "" → the row is left out
    tokens  a tokenized pair:  the detail of the fault, or "" → the row is left out
    note    a kept pair:       the detail of the fault, or "" → the row stays, the finding counts it

A check without a function describes a fault that the reader (`forms`, `messages`), the renderer or a survey (of the set
as a whole) finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rewardsmith.data.rows import TokenizedPair
from rewardsmith.records import Severity
from rewardsmith.types import PreferencePair

Population = Literal["read", "kept", "train", "held_out", "sources"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `meaning` says what it is, `why` why a reward model suffers from it, `fix` what to do.

    `of` names what its count is a share of: rows read or kept, training pairs, held-out pairs or sources.
    """

    code: str
    severity: Severity
    title: str
    meaning: str
    why: str
    fix: str
    pair: Callable[[PreferencePair], str] | None = None
    tokens: Callable[[TokenizedPair], str] | None = None
    note: Callable[[PreferencePair], str] | None = None
    of: Population = "read"
