"""Reads the rows of one data file, whatever its format, and says exactly where a file is broken.

    for number, row in read_rows(Path("pairs.jsonl.gz")):      # number: 1-based line (JSONL) or record
        row["chosen"]

A file that cannot be read raises DataError with file, line and mend. What the rows mean is `forms`' business.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rewardsmith.data.formats import BadLines, read_csv, read_json, read_jsonl, read_parquet
from rewardsmith.errors import DataError
from rewardsmith.records.bounded import BeyondLimitError, inflated

Row = dict[str, Any]

FORMATS: dict[str, Callable[[BinaryIO, str, BadLines], Iterator[tuple[int, Row]]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
"""Readers by file suffix; `.gz` may follow any of them."""


@dataclass(slots=True)
class Position:
    """How far reading has come in a file: `share` from 0 to 1."""

    share: float = 0.0


def read_rows(path: Path, *, bad_lines: BadLines = None, position: Position | None = None) -> Iterator[tuple[int, Row]]:
    """Number and content of every row, in file order.

    Args:
        path: the file.
        bad_lines: takes number and fault of each line of JSON that cannot be read; without it such a line raises.
        position: kept up to date while reading.

    Raises:
        DataError: the file is missing, is no regular file, has an unknown suffix, or is broken (with the line).
    """
    where = str(path)
    check_file(path)
    zipped = path.suffix == ".gz"
    suffix = path.with_suffix("").suffix if zipped else path.suffix
    if suffix not in FORMATS:
        raise DataError(
            f"the suffix {suffix or 'of the file (it has none)'} names no format that can be read",
            where=where,
            fix=f"name a file that ends in one of {', '.join(FORMATS)}, or in one of these and .gz",
        )
    number = 0
    try:
        with path.open("rb") as raw:
            size = max(1, path.stat().st_size)
            handle = inflated(raw, size) if zipped else raw
            for number, row in FORMATS[suffix](handle, where, bad_lines):
                if position is not None:
                    position.share = raw.tell() / size
                yield number, row
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"the gzip file is damaged or cut off: {error}",
            where=f"{where}: after line {number}" if number else where,
            fix="copy or download the file again",
        ) from error
    except BeyondLimitError as error:
        raise DataError(
            f"the gzip file {error}",
            where=f"{where}: after line {number}" if number else where,
            fix="gunzip it, if it is yours, and name the file that comes out",
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", where=where, fix="check the path and its permissions"
        ) from error


def check_file(path: Path) -> None:
    """Refuse what is not a regular, readable path.

    Raises:
        DataError: missing file, directory, pipe, device, or a path that cannot be followed.
    """
    where = str(path)
    try:
        if path.is_dir():
            raise DataError("is a directory", where=where, fix="name the file in it; several files are several sources")
        path.stat()
    except FileNotFoundError as error:
        raise DataError(
            "there is no such file", where=where, fix=f"correct the path; relative paths start at {Path.cwd()}"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=where, fix="check the path and its permissions") from error
    if not path.is_file():
        raise DataError("is not a regular file", where=where, fix="write the rows to a file first")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    check_file(path)
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", where=str(path), fix="check the path and its permissions"
        ) from error
