"""One reader per file format: bytes in, numbered rows out; the first thing that breaks a format raises DataError.

JSONL   one object a line; blank lines do not count as rows but keep their line numbers. With a list of bad lines, a
        line that cannot be read joins it instead
JSON    one list of objects; a file of objects one a line is read as JSONL
CSV     with a header; a cell that holds a JSON list of messages is read as one
Parquet in batches
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from rewardsmith.errors import DataError

BadLines = list[tuple[int, str]] | None
"""Takes number and fault of the lines that cannot be read; None: such a line raises."""

_BOM = b"\xef\xbb\xbf"
_LONGEST_LINE = 64 * 2**20  # bytes; a pair is a few kilobytes, so a longer line is another kind of file


def read_jsonl(handle: BinaryIO, where: str, bad_lines: BadLines = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a JSONL file, numbered by line."""
    for number, raw in enumerate(iter(lambda: handle.readline(_LONGEST_LINE), b""), start=1):
        line = (raw.removeprefix(_BOM) if number == 1 else raw).strip()
        if not line:
            continue
        try:
            row = _line(raw, line, f"{where}:{number}")
        except DataError as error:
            if bad_lines is None:
                raise
            bad_lines.append((number, error.problem))
            _finish_line(handle, raw)
        else:
            yield number, row


def _line(raw: bytes, line: bytes, where: str) -> dict[str, Any]:
    if len(raw) >= _LONGEST_LINE and not raw.endswith(b"\n"):
        raise DataError(
            f"the line is longer than {_LONGEST_LINE // 2**20} MiB",
            where=where,
            fix="write one pair a line; a JSON list of rows belongs into a .json file",
        )
    return _object(_parse(_decode(line, where), where), where)


def _finish_line(handle: BinaryIO, raw: bytes) -> None:
    """Step over the rest of a line that was too long."""
    while raw and not raw.endswith(b"\n"):
        raw = handle.readline(_LONGEST_LINE)


def read_json(handle: BinaryIO, where: str, bad_lines: BadLines = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a JSON file: the elements of its list, or its lines."""
    content = handle.read().removeprefix(_BOM)
    if content.lstrip()[:1] == b"{":
        yield from read_jsonl(io.BytesIO(content), where, bad_lines)
        return
    if not content.strip():
        return
    rows = _parse(_decode(content, where), where)
    if not isinstance(rows, list):
        raise DataError(
            f"holds {_kind(rows)}, not a list of rows", where=where, fix='write [{"prompt": …}, …], or one row a line'
        )
    for number, row in enumerate(rows, start=1):
        yield number, _object(row, f"{where}: row {number}")


def read_csv(handle: BinaryIO, where: str, _: BadLines = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a CSV file, numbered from 1 after the header."""
    csv.field_size_limit(2**31 - 1)  # texts are longer than the default of 128 KiB
    reader = csv.DictReader(codecs.iterdecode(handle, "utf-8-sig"), strict=True)
    try:
        for number, row in enumerate(reader, start=1):
            if None in row:
                raise DataError(
                    f"row {number} has {len(row) - 1 + len(row[None])} cells, the header has {len(row) - 1}",
                    where=f"{where}:{reader.line_num}",
                    fix="quote cells that contain commas",
                )
            yield number, {name: _cell(value) for name, value in row.items()}
    except csv.Error as error:
        raise DataError(
            f"is not CSV: {error}", where=f"{where}:{reader.line_num}", fix="quote cells that contain line breaks"
        ) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(error, f"{where}:{reader.line_num + 1}") from error


def read_parquet(handle: BinaryIO, where: str, _: BadLines = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a Parquet file, numbered from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(handle).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"is not a readable Parquet file: {str(error).splitlines()[0]}",
            where=f"{where}: after row {number}" if number else where,
            fix="write the file again, or name it by its real format",
        ) from error


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(error, where) from error


def _not_utf8(error: UnicodeDecodeError, where: str) -> DataError:
    return DataError(
        f"is not UTF-8: {error.reason} (byte 0x{error.object[error.start]:02x})",
        where=where,
        fix="convert the file, for example: iconv -f latin1 -t utf-8",
    )


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20]
        column = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(
            f"broken JSON at {column}: {error.msg}, near {near!r}",
            where=where,
            fix="correct or delete this line (each is one whole JSON object), or step over it: --skip-bad-lines",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"broken JSON: {error}", where=where, fix="correct or delete this line, or step over it: --skip-bad-lines"
        ) from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"is {_kind(value)}, not an object", where=where, fix='write {"prompt": …, "chosen": …, "rejected": …}'
        )
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _cell(value: str | None) -> Any:
    """A CSV cell; JSON where it holds a list of messages."""
    if value is None or not value.lstrip().startswith("[{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
