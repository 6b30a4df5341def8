"""The base of all records, and how they reach the disk: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rewardsmith.errors import RunDirectoryError


class Record(BaseModel):
    """Base of all records: frozen, strict about names, written by field alias."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="null")


R = TypeVar("R", bound=Record)


def to_json(record: Record, indent: int | None = 2) -> str:
    """JSON of a record, by alias."""
    return record.model_dump_json(by_alias=True, indent=indent)


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all: written aside, flushed to disk, renamed."""
    _write(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they come, so that a file larger than memory can be made; it too appears whole or not at all."""
    _write(path, (f"{line}\n" for line in lines))


def write_json(path: Path, record: Record) -> None:
    """Write one record as indented JSON."""
    write_text(path, to_json(record) + "\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line."""
    write_lines(path, (to_json(record, indent=None) for record in records))


def _write(path: Path, parts: Iterable[str]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as handle:
            handle.writelines(parts)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be written: {error.strerror}", where=str(path), fix="choose an output folder that you may write to"
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink()  # there is one only where something went wrong


def read_record(path: Path, kind: type[R]) -> R:
    """Read one record back.

    Raises:
        RunDirectoryError: the file is missing, is not JSON or is of another schema.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RunDirectoryError(
            f"cannot be read: {reason}", where=str(path), fix="run the stage that writes it again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunDirectoryError(
            f"is not a {kind.__name__}: field {field!r}: {first['msg']}",
            where=str(path),
            fix="delete the file and run the stage again",
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file that Rewardsmith wrote itself, one a line."""
    with path.open(encoding="utf-8") as handle:
        return [json.loads(line) for line in handle if line.strip()]
