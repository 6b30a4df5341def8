"""What a file of pairs seems to hold, for someone who has not written a spec yet.

    seen = look("ratings.csv")
    seen.names          # its columns
    seen.columns        # {"prompt": "question", "chosen": "better"}: what the spec must say
    seen.missing        # ("rejected",): what nothing in the file is called
    unread_columns(seen.names, seen.columns)      # ("where from",): what nothing will read

A guess is made from names, is shown before it is used, and is left open where two columns would fit. A column that says
which of two answers won (`winner`: a, b, tie) is none of a pair's: such rows must be turned into chosen and rejected.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from rewardsmith.data.columns import BESIDE_THE_TEXTS, find_columns, known
from rewardsmith.data.files import read_rows
from rewardsmith.errors import DataError
from rewardsmith.spec.data import Column

_PEEK = 100
_ASKED = frozenset({"winner", "label", "preference", "preferred", "choice", "chosen", "verdict", "better", "best"})
_VERDICTS = frozenset({"a", "b", "0", "1", "2", "left", "right", "first", "second", "tie", "both", "neither"})
_CHOSEN = {"chosen", "better", "best", "preferred", "winner", "win", "good", "positive", "accepted", "selected"}
_REJECTED = {"rejected", "worse", "worst", "dispreferred", "loser", "lose", "bad", "negative", "refused"}
_PROMPT = {"prompt", "question", "instruction", "query", "request", "task", "problem", "user", "context", "input"}
_WORDS: dict[Column, set[str]] = {"chosen": _CHOSEN, "rejected": _REJECTED, "prompt": _PROMPT}


@dataclass(frozen=True, slots=True)
class Seen:
    """The columns of a file, and which of them hold a pair. `verdict` names one that says which answer won."""

    names: tuple[str, ...]
    columns: dict[Column, str]
    missing: tuple[Column, ...]
    verdict: str = ""


def look(path: str | Path) -> Seen:
    """The columns of a file's first rows, and what they seem to hold.

    Raises:
        DataError: the file cannot be read or has no rows.
    """
    rows = [row for _, row in itertools.islice(read_rows(Path(path)), _PEEK)]
    if not rows:
        raise DataError("has no rows", where=str(path), fix="name a file with one pair a line")
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    named = (name for name in names if _parts(name) & _ASKED)
    verdict = next((name for name in named if all(str(row.get(name)).lower() in _VERDICTS for row in rows)), "")
    columns, missing = guess_columns([name for name in names if name != verdict])
    return Seen(names, columns, missing, verdict)


def guess_columns(names: Collection[str]) -> tuple[dict[Column, str], tuple[Column, ...]]:
    """Our names for some columns where theirs are others, and the sides that no single column is called after.

    A prompt is never missing: it may be what both responses begin with.
    """
    found: dict[Column, str] = {}
    missing: list[Column] = []
    texts = [name for name in names if name not in BESIDE_THE_TEXTS]
    for ours, words in _WORDS.items():
        if known(ours, names) is not None:
            continue
        free = [name for name in texts if name not in found.values() and words & _parts(name)]
        if len(free) == 1:
            found[ours] = free[0]
        elif ours != "prompt":
            missing.append(ours)
    return found, tuple(missing)


def unread_columns(names: Collection[str], mapped: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of a file that nothing will read, when some are mapped.

    Raises:
        DataError: the names and the map hold no pair.
    """
    found = find_columns(names, mapped, where="columns")
    read = {getattr(found, field.name) for field in fields(found)} | set(found.scores or ())
    return tuple(name for name in names if name not in read)


def _parts(name: str) -> set[str]:
    """The words of a column's name: `betterAnswer`, `better_answer`, `Better answer`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
