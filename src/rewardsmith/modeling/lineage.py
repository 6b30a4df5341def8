"""Whether checkpoints may be averaged: what their files say of base, configuration and texts, field by field.

    records = [usable(folder) for folder in folders]
    refuse_too_few(folders)
    refuse_other_lineage(first, records[0], other, records[1])     # names the first field that differs

What the weights themselves say is `averaging`'s business: it reads them once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import RECORD, read_checkpoint_record
from rewardsmith.modeling.spellings import both_spellings
from rewardsmith.records import CheckpointRecord

_DECIDES_TEXT = (
    "template_sha256",
    "conversational",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "max_length",
    "over_length",
)
_SAYS_NOTHING = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")


def usable(folder: Path) -> CheckpointRecord:
    """The record of a checkpoint that can be averaged.

    Raises:
        ModelError: it is an adapter, or no checkpoint of ours.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            "it is an adapter", where=str(folder), fix=f"rewardsmith export --model {folder} --to hf --out DIR, first"
        )
    record = read_checkpoint_record(folder)
    if record is None:
        raise ModelError(
            f"there is no {RECORD}, so nothing says what it was trained from",
            where=str(folder),
            fix=f"rewardsmith export --model {folder} --to hf --out DIR, then name its base there in base_model",
        )
    return record


def refuse_too_few(folders: Sequence[Path]) -> None:
    """Refuse fewer than two, and the same one twice.

    Raises:
        ModelError: there are.
    """
    distinct = {folder.resolve() for folder in folders}
    if len(folders) < 2 or len(distinct) < len(folders):
        raise ModelError(
            f"{len(distinct)} different checkpoints in {len(folders)} places",
            where="DIR DIR…",
            fix="name two or more checkpoints, each once; --weights gives one more weight than another",
        )


def refuse_other_lineage(first: Path, one: CheckpointRecord, folder: Path, other: CheckpointRecord) -> None:
    """Compare base, configuration, rendering and tokenizer; the fingerprint of the base counts where both have one.

    Raises:
        ModelError: one of them differs.
    """
    if one.base_fingerprint and other.base_fingerprint:
        refuse_unlike(first, folder, RECORD, [("base_fingerprint", one.base_fingerprint, other.base_fingerprint)])
    else:
        refuse_unlike(first, folder, RECORD, [("base_model", one.base_model, other.base_model)])
    refuse_unlike(first, folder, "config.json", _fields(_config(first), _config(folder)))
    refuse_unlike(first, folder, RECORD, _rendering(one, other))
    refuse_unlike(first, folder, "tokenizer.json", _fields(_json(first), _json(folder)))


def refuse_unlike(first: Path, folder: Path, file: str, fields: Iterable[tuple[str, object, object]]) -> None:
    """Refuse the first of (name, value in the first checkpoint, value in the other) that differs.

    Raises:
        ModelError: one does.
    """
    for name, wanted, found in fields:
        if wanted != found:
            raise ModelError(
                f"is {_short(found)}, and {_short(wanted)} in {first}: these are not of one lineage",
                where=f"{folder / file}, field {name!r}",
                fix="average checkpoints of the same base and the same texts; combine others as an ensemble, by reward",
            )


def _rendering(one: CheckpointRecord, other: CheckpointRecord) -> list[tuple[str, object, object]]:
    return [(name, getattr(one.rendering, name), getattr(other.rendering, name)) for name in _DECIDES_TEXT]


def _config(folder: Path) -> dict[str, Any]:
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # In both spellings: a parent of 0.1.0 has one of them only.
    return {name: value for name, value in both_spellings(said).items() if name not in _SAYS_NOTHING}


def _json(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return said


def _fields(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in sorted(one.keys() | other.keys()):
        yield name, one.get(name), other.get(name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
