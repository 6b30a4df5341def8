"""The data without the rows that the findings name: `check --fix OUT`.

    record = write_fixed(prepared, Path("clean"), drop_leaked="train")

    clean/train.jsonl       the rows that stay, one pair a line in our own form
    clean/held_out.jsonl    the same of the held-out sources, where the spec names some
    clean/removed.jsonl     every other row, with its reason
    clean/fix.json          the counts: read = kept + removed

Checking the result finds none of what was fixed: rows were removed until each finding is gone.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rewardsmith.data.prepare import PreparedData
from rewardsmith.data.registry import CHECKS
from rewardsmith.data.surveys.survey import Places
from rewardsmith.records.checks import FixRecord, RejectedRow
from rewardsmith.records.files import write_json, write_jsonl, write_lines
from rewardsmith.types import Conversation, PreferencePair, tools_of

Side = Literal["train", "held_out"]
"""Which side of a leak gives way."""

FIXED_FILES = ("train.jsonl", "held_out.jsonl", "removed.jsonl", "spec.yaml", "fix.json")
"""What `--fix` leaves in its folder; the spec comes from the pipeline."""

_LABELS = tuple(
    field.name
    for field in dataclasses.fields(PreferencePair)
    if field.name not in ("prompt", "chosen", "rejected", "unread_margin", "form")
)


def write_fixed(prepared: PreparedData, folder: Path, *, drop_leaked: Side) -> FixRecord:
    """Write the data without the rows that findings name.

    Args:
        prepared: with what the surveys found.
        folder: made where it is missing.
        drop_leaked: which side of a leak between held-out and training rows is removed.

    Raises:
        RunDirectoryError: the folder cannot be written to.
    """
    table = prepared.table
    reasons = _reasons(prepared, drop_leaked)
    own = any(source.role == "held_out" for source in table.sources)
    files = []
    for side in ("train", "held_out") if own else ("train",):
        of_side = np.array([source.role == side for source in table.sources])[table.source]
        places = np.array([place for place in np.flatnonzero(of_side).tolist() if place not in reasons], np.int64)
        write_lines(folder / f"{side}.jsonl", _lines(prepared, places))
        files.append(f"{side}.jsonl")
    write_jsonl(folder / "removed.jsonl", _removed(prepared, reasons))
    counts = Counter(code for code, _ in reasons.values()) + Counter(table.rejected.by_reason())
    record = FixRecord(
        read=sum(source.kept + source.rejected for source in table.sources),  # what a mixture left out is not here
        kept=len(table.row) - len(reasons),
        removed=sum(counts.values()),
        removed_by_reason=dict(counts.most_common()),
        files=tuple(files),
    )
    if record.read != record.kept + record.removed:
        raise AssertionError(f"read {record.read}, kept {record.kept}, removed {record.removed}")
    write_json(folder / "fix.json", record)
    return record


def _reasons(prepared: PreparedData, drop_leaked: Side) -> dict[int, tuple[str, str]]:
    """Why each row goes, by place: the code of the first finding that names it, and words."""
    reasons: dict[int, tuple[str, str]] = {}
    order = {code: rank for rank, code in enumerate(CHECKS)}
    for found in sorted(prepared.found, key=lambda one: order[one.code]):
        places = found.places if CHECKS[found.code].of == "held_out" and drop_leaked == "held_out" else found.remove
        if places is None:
            continue
        shown = np.isin(places, found.places)  # the other side of a leak goes without words of its own
        for place, has_words in zip(places.tolist(), shown.tolist(), strict=True):
            if place not in reasons:
                reasons[place] = found.code, found.detail(place) if has_words else ""
    return reasons


def _lines(prepared: PreparedData, places: Places) -> Iterator[str]:
    for place in places.tolist():
        pair = prepared.table.pairs[place]
        sides = _in_parts(pair)
        labels = {name: value for name in _LABELS if (value := getattr(pair, name)) not in ("", None)}
        yield json.dumps(sides | labels, ensure_ascii=False)


def _in_parts(pair: PreferencePair) -> dict[str, Any]:
    if pair.chosen[0].role == "text":  # an empty prompt says that there is none, and none is looked for
        sides = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        return {name: "".join(message.content for message in side) for name, side in sides.items()}
    tools, prompt = tools_of(pair.prompt)
    parts: dict[str, Any] = {
        "prompt": _messages(prompt),
        "chosen": _messages(pair.chosen),
        "rejected": _messages(pair.rejected),
    }
    return {**parts, "tools": tools} if tools else parts


def _messages(conversation: Conversation) -> list[dict[str, Any]]:
    return [message.as_dict() for message in conversation]


def _removed(prepared: PreparedData, reasons: dict[int, tuple[str, str]]) -> Iterator[RejectedRow]:
    yield from prepared.rejected
    table = prepared.table
    for place in sorted(reasons):
        source = table.sources[table.source[place]]
        code, detail = reasons[place]
        yield RejectedRow(
            source=source.source,
            row=int(table.row[place]),
            id=table.pairs[place].id[:100],
            role=source.role,
            reason=code,
            detail=detail,
        )
