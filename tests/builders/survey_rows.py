"""Kept rows made by hand, and the table that a survey gets at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardsmith.data.store import Rejections, TokenizedPair, pair_keys
from rewardsmith.data.surveys.survey import Setting, Surveyed, Table
from rewardsmith.records.checks import SourceCount
from rewardsmith.spec import Spec
from rewardsmith.types import Message, PreferencePair

CHUNK = 7  # odd, so that no survey may count on whole chunks


def pair(prompt: str, chosen: str, rejected: str, **fields) -> PreferencePair:
    asked = (Message("user", prompt),) if prompt else ()
    return PreferencePair(asked, (Message("assistant", chosen),), (Message("assistant", rejected),), **fields)


def rows_of(pairs: Sequence[PreferencePair], file: str = "a.jsonl") -> list[TokenizedPair]:
    ids = np.arange(3, dtype=np.int32)
    return [TokenizedPair(one, ids, ids, file, row, pair_keys(one)) for row, one in enumerate(pairs, start=1)]


def spec_of(*sources: dict, **data) -> Spec:
    return Spec.model_validate({"data": {"train": list(sources) or [{"path": "a.jsonl"}], **data}})


def table_of(rows: Sequence[TokenizedPair], held_out: Sequence[int] = ()) -> Table:
    files = list(dict.fromkeys(row.file for row in rows)) or ["a.jsonl"]
    counts = [sum(row.file == file for row in rows) for file in files]
    is_held_out = np.zeros(len(rows), dtype=np.bool_)
    is_held_out[list(held_out)] = True
    return Table(
        is_held_out=is_held_out,
        source=np.array([files.index(row.file) for row in rows], dtype=np.int32),
        row=np.array([row.row for row in rows], dtype=np.int64),
        keys=np.frombuffer(b"".join(b"".join(row.keys) for row in rows), dtype="V16").reshape(-1, 3),
        lengths=np.full((len(rows), 2), 3, dtype=np.int32),
        cut=np.zeros(len(rows), dtype=np.int32),
        sources=[
            SourceCount(source=file, role="train", read=count, kept=count, rejected=0)
            for file, count in zip(files, counts, strict=True)
        ],
        rejected=Rejections(),
        pairs=[row.pair for row in rows],
    )


def survey(kind, rows: Sequence[TokenizedPair], *, spec: Spec | None = None, held_out: Sequence[int] = ()) -> Surveyed:
    """What a survey says of some rows, shown to it in chunks."""
    made = kind(Setting(spec or spec_of(), None, {}))
    for start in range(0, len(rows), CHUNK):
        made.see(rows[start : start + CHUNK])
    return made.finish(table_of(rows, held_out))


def codes_of(surveyed: Surveyed) -> dict[str, list[int]]:
    """Places by code, of the findings that there are."""
    return {found.code: found.places.tolist() for found in surveyed.found if len(found.places) or found.count}


def found_in(surveyed: Surveyed, code: str):
    return next(found for found in surveyed.found if found.code == code)
