"""Which checkpoints of a training run can be resumed.

    mark_complete(folder / "checkpoint-40", fingerprint)      after its last file is written
    found = find_resumable(folder, fingerprint)               found.checkpoint, found.damaged
    remove_all_but(folder, keep=found.checkpoint)

A checkpoint is whole when its marker stands beside the weights and every file is the one that the marker names by its
SHA-256. The marker is written last, holds the fingerprint of what decides the weights, and is hashed itself. A folder
without one was being written when the process was killed. What the marker does not vouch for is never resumed, because
a lost schedule or a flipped byte of the optimizer's state gives other weights and no error.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.records.checks import Finding
from rewardsmith.records.files import write_text

MARKER = "rewardsmith_checkpoint.json"


@dataclass(frozen=True, slots=True)
class Resumable:
    """The newest whole checkpoint, None where there is none, and what is wrong with each newer one."""

    checkpoint: Path | None
    damaged: tuple[str, ...] = ()


def step_of(folder: Path) -> int:
    """The optimizer step after which a `checkpoint-N` folder was saved; -1 for any other folder."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match[1]) if match else -1


def mark_complete(folder: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole. Call it after every other file is written."""
    content = {"fingerprint": fingerprint, "step": step_of(folder), "files": _hashes(folder)}
    write_text(folder / MARKER, json.dumps(content | {"sha256": _own_hash(content)}, indent=1) + "\n")


def find_resumable(folder: Path, fingerprint: str) -> Resumable:
    """Look for the newest whole checkpoint of this fingerprint under `folder`; reads every file of those it tries.

    Checkpoints of other data or another spec, and those that were being written, are passed over without a word.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        marker = _read_marker(path)
        if marker is None or (isinstance(marker, dict) and marker["fingerprint"] != fingerprint):
            continue
        fault = marker if isinstance(marker, str) else _fault(path, marker["files"])
        if fault is None:
            return Resumable(path, tuple(damaged))
        damaged.append(f"{path.name}: {fault}")
    return Resumable(None, tuple(damaged))


def remove_all_but(folder: Path, keep: Path | None) -> None:
    """Delete every checkpoint under `folder` except `keep`: older, damaged, incomplete or of another fingerprint."""
    for path in folder.glob("checkpoint-*"):
        if path != keep:
            shutil.rmtree(path)


def _read_marker(path: Path) -> dict[str, Any] | str | None:
    """The marker; what is wrong with it; or None where it was never written."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        content = {name: marker[name] for name in ("fingerprint", "step", "files")}
    except FileNotFoundError:
        return None
    except KeyError:
        return f"{MARKER} does not say what the files were; an older version wrote it"
    except (OSError, ValueError, TypeError):
        return f"{MARKER} cannot be read"
    if marker.get("sha256") != _own_hash(content) or content["step"] != step_of(path):
        return f"{MARKER} is not as it was written"
    return content


def _fault(path: Path, files: dict[str, str]) -> str | None:
    """The first file that is missing, was not there, or is not as it was written."""
    there = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - {MARKER}
    if lost := sorted(files.keys() - there):
        return f"{', '.join(lost)} is missing"
    if more := sorted(there - files.keys()):
        return f"{', '.join(more)} was not written by training"
    found = _hashes(path)
    changed = [name for name in sorted(files) if files[name] != found[name]]
    return f"{', '.join(changed)} is not as it was written" if changed else None


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MARKER:
            with file.open("rb") as handle:
                found[str(file.relative_to(folder))] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found


def _own_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def damage_finding(damaged: Sequence[str], resumed: int) -> tuple[Finding, ...]:
    """One finding where checkpoints of this training could not be resumed because they were damaged."""
    if not damaged:
        return ()
    return (
        Finding(
            code="damaged_checkpoint",
            severity="warning",
            title="A training checkpoint was damaged and was not resumed",
            meaning="; ".join(damaged),
            why="a lost schedule or a changed byte of the optimizer's state gives other weights without an error",
            fix=f"nothing for this model: it was trained from {f'step {resumed}' if resumed else 'the start'} again. "
            "Look at the disk",
            count=len(damaged),
            of=len(damaged) + (resumed > 0),
        ),
    )
