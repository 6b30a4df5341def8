"""Reads the rows of one data file or hub data set, and says exactly where a file is broken.

    for number, row in read_rows(Path("pairs.jsonl.gz")):      # number: 1-based line (JSONL) or record
        row["chosen"]
    for number, row in read_hub(source): …

What the rows mean is the business of `forms`. A file that cannot be read raises DataError with file, line and fix, as
does a data set that the hub does not give. One reader for each format, in FORMATS:

JSONL   one object a line; blank lines do not count as rows but keep their line numbers. With a list of bad lines, a
        line that cannot be read joins it instead
JSON    one list of objects; a file of objects one a line is read as JSONL
CSV     with a header; a cell that holds a JSON list of messages is read as one
Parquet in batches, whose size is bounded before they are decoded

`datasets` is loaded here and nowhere else.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import DataError
from rewardsmith.hub import ask_hub
from rewardsmith.records.bounded import (
    GZIP_FREE,
    GZIP_RATIO,
    MIB,
    BeyondLimitError,
    RepeatedNameError,
    inflated,
    odd_kind,
    parse_json,
)
from rewardsmith.spec import SourceSpec

BadLines = list[tuple[int, str]] | None
"""Takes number and fault of the lines that cannot be read; None: such a line raises."""

Row = dict[str, Any]


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
                    # Of the bytes on disk: what a compressed file expands to is not known before its end.
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
    if odd := odd_kind(path):
        raise DataError(f"is {odd}, no regular file", where=where, fix="write the rows to a file first")


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


def read_hub(source: SourceSpec) -> Iterator[tuple[int, Row]]:
    """Rows of a hub data set, numbered from 1.

    Raises:
        DataError: the data set, its configuration, split or revision is not there, or the hub cannot be reached.
    """
    from datasets import load_dataset

    _ask(source)
    try:
        dataset = load_dataset(source.id, name=source.name, split=source.split, revision=source.revision)
    except Exception as error:  # what the hub client raises depends on how it fails
        raise DataError(
            f"the data set cannot be loaded: {_first_sentence(error)}",
            where=f"hub data set {source.id}",
            fix="check id, name, split and revision, and that this machine reaches the hub "
            "(or has the data set in its cache); a downloaded file works as path: offline",
        ) from error
    yield from enumerate(dataset, start=1)


def hub_revision(source: SourceSpec) -> str:
    """The commit that a hub id stands for now; what the spec says where the hub cannot be asked."""
    from huggingface_hub import HfApi

    _ask(source)
    try:
        return HfApi().dataset_info(source.id or "", revision=source.revision).sha or ""
    except Exception:  # offline: the cache was used, and only the spec knows a revision
        return source.revision or ""


def _ask(source: SourceSpec) -> None:
    name = source.id or ""
    ask_hub(name, error=DataError, where=f"hub data set {name}", kind="dataset", revision=source.revision)


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


LONGEST_ROW = 16 * MIB
"""Bytes: two responses of a million tokens. A hostile row costs up to 30 times its size in memory."""

LONGEST_FILE = 1024 * MIB
"""Bytes of a JSON list, which is held in memory whole."""


def read_jsonl(handle: BinaryIO, where: str, bad_lines: BadLines = None) -> Iterator[tuple[int, Row]]:
    """Rows of a JSONL file, numbered by line."""
    # A bounded readline: a file without line ends would else be read into memory as one row.
    for number, raw in enumerate(iter(lambda: handle.readline(LONGEST_ROW), b""), start=1):
        line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip()
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


def _line(raw: bytes, line: bytes, where: str) -> Row:
    if len(raw) >= LONGEST_ROW and not raw.endswith(b"\n"):
        raise _too_long("line", where)
    return _object(_parse(_decode(line, where), where), where)


def _finish_line(handle: BinaryIO, raw: bytes) -> None:
    """Step over the rest of a line that was too long."""
    while raw and not raw.endswith(b"\n"):
        raw = handle.readline(LONGEST_ROW)


def _too_long(what: str, where: str) -> DataError:
    return DataError(
        f"the {what} is longer than {LONGEST_ROW // MIB} MiB, the limit of a row",
        where=where,
        fix="write one pair a row and shorten its texts; a JSON list of rows belongs into a .json file",
    )


def read_json(handle: BinaryIO, where: str, bad_lines: BadLines = None) -> Iterator[tuple[int, Row]]:
    """Rows of a JSON file: the elements of its list, or its lines."""
    content = handle.read(LONGEST_FILE + 1).removeprefix(codecs.BOM_UTF8)
    if len(content) >= LONGEST_FILE:
        raise DataError(
            f"is larger than {LONGEST_FILE // MIB} MiB, the limit of a .json file: it is held in memory whole",
            where=where,
            fix="write one row a line into a .jsonl file, which has no limit",
        )
    # A list begins with a bracket, so a brace means objects one a line.
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


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(error, where) from error


def _not_utf8(error: UnicodeDecodeError, where: str) -> DataError:
    encoding = "utf-16" if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin1"
    return DataError(
        f"is not UTF-8: {error.reason} (byte 0x{error.object[error.start]:02x})",
        where=where,
        fix=f"convert the file, for example: iconv -f {encoding} -t utf-8",
    )


def _parse(text: str, where: str) -> Any:
    try:
        return parse_json(text, unique=True)
    except RepeatedNameError as error:
        raise DataError(
            f"an object has {str(error)!r} twice: which of the two counts is not said",
            where=where,
            fix="delete one of the two, or step over this line: --skip-bad-lines",
        ) from error
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20]
        column = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(
            f"broken JSON at {column}: {error.msg}, near {near!r}",
            where=where,
            fix="correct or delete this line (each is one whole JSON object), or step over it: --skip-bad-lines",
        ) from error
    except ValueError as error:
        raise DataError(
            f"JSON beyond a limit: {error}",
            where=where,
            fix="correct or delete this line, or step over it: --skip-bad-lines",
        ) from error


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"is {_kind(value)}, not an object", where=where, fix='write {"prompt": …, "chosen": …, "rejected": …}'
        )
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def read_csv(handle: BinaryIO, where: str, _: BadLines = None) -> Iterator[tuple[int, Row]]:
    """Rows of a CSV file, numbered from 1 after the header."""
    csv.field_size_limit(LONGEST_ROW)  # texts are longer than the default of 128 KiB
    lines = _Lines(handle, where)
    # utf-8-sig drops Excel's byte order mark; strict refuses a quote that never ends, where csv would take the rest in.
    reader = csv.DictReader(codecs.iterdecode(lines, "utf-8-sig"), strict=True)
    try:
        _refuse_repeated(reader.fieldnames or (), f"{where}:1")
        for number, row in enumerate(reader, start=1):
            # DictReader puts surplus cells under None.
            if None in row:
                raise DataError(
                    f"row {number} has {len(row) - 1 + len(row[None])} cells, the header has {len(row) - 1}",
                    where=f"{where}:{reader.line_num}",
                    fix="quote cells that contain commas",
                )
            # Counted by row and not by line: a quoted cell may hold line breaks.
            lines.row = 0
            yield number, {name: _cell(value) for name, value in row.items()}
    except csv.Error as error:
        if "field larger than field limit" in str(error):
            raise _too_long("cell", f"{where}:{reader.line_num}") from error
        raise DataError(
            f"is not CSV: {error}", where=f"{where}:{reader.line_num}", fix="quote cells that contain line breaks"
        ) from error
    except UnicodeDecodeError as error:
        # line_num is of the last line that was read; the one that cannot be decoded follows it.
        raise _not_utf8(error, f"{where}:{reader.line_num + 1}") from error


class _Lines:
    """Lines of a CSV file; `row` counts the bytes since it was last set to 0."""

    def __init__(self, handle: BinaryIO, where: str) -> None:
        self._handle, self._where = handle, where
        self._number = 0
        self.row = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._handle.readline(LONGEST_ROW + 1):
            self._number += 1
            self.row += len(line)
            if self.row > LONGEST_ROW:
                raise _too_long("row", f"{self._where}:{self._number}")
            yield line


def _cell(value: str | None) -> Any:
    """A CSV cell; JSON where it holds a list of messages."""
    if value is None or not value.lstrip().startswith("[{"):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return value


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    twice = [name for place, name in enumerate(names) if name.strip() and name in names[:place]]
    if twice:
        raise DataError(
            f"has the column {twice[0]!r} twice: which of the two counts is not said",
            where=where,
            fix="rename one of the two columns",
        )


_BATCH = 1024 * MIB
"""Bytes that a batch of a Parquet file may come to, were each of its cells as large as its column."""

_EXPANDED = 64 * MIB
"""Bytes that a batch of a Parquet file may come to, were each of its cells the longest of the column's dictionary."""

_WIDTHS = {"BOOLEAN": 1, "INT64": 8, "DOUBLE": 8, "BYTE_ARRAY": 32}
"""Bytes that reading an item of a list takes, 4 for others; of a text what is beside its letters."""

_DELTAS = frozenset(("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"))
"""Encodings of texts that pyarrow does not read as codes."""


def read_parquet(handle: BinaryIO, where: str, _: BadLines = None) -> Iterator[tuple[int, Row]]:
    """Rows of a Parquet file, numbered from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(handle)
        _refuse_repeated(file.schema_arrow.names, where)
        _refuse_expanding(file.metadata, where)
        for group in range(file.num_row_groups):
            size = _batch_size(file.metadata, group, handle, where, number)
            for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                for row in _rows_of(batch, where, number):
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, ValueError) as error:
        raise DataError(
            f"is not a readable Parquet file: {str(error).splitlines()[0]}",
            where=f"{where}: after row {number}" if number else where,
            fix="write the file again, or name it by its real format",
        ) from error


def _refuse_expanding(metadata: Any, where: str) -> None:
    for group in range(metadata.num_row_groups):
        for place, one in enumerate(_columns(metadata, group)):
            name, allowed = one.path_in_schema, GZIP_RATIO * one.total_compressed_size
            if one.total_uncompressed_size > max(GZIP_FREE, allowed):
                raise DataError(
                    f"column {name!r} expands to {one.total_uncompressed_size // MIB:,} MiB, more than "
                    f"{GZIP_RATIO} times its size: text does not",
                    where=where,
                    fix="write the file again without compression, if it is yours",
                )
            # Equal items in a row are a number in the pages: a list of a billion is a few bytes.
            kind = metadata.schema.column(place)
            items = _most_items(metadata, group, place) * (kind.length or _WIDTHS.get(one.physical_type, 4))
            if kind.max_repetition_level and items > max(_BATCH, allowed):
                raise DataError(
                    f"column {name!r} may expand to {items // MIB:,} MiB in one row, more than {GZIP_RATIO} times its "
                    "size: how long its lists are is not known before",
                    where=where,
                    fix="write the file again in row groups of 1,000 rows, if it is yours",
                )


def _columns(metadata: Any, group: int) -> list[Any]:
    return [metadata.row_group(group).column(place) for place in range(metadata.num_columns)]


def _most_items(metadata: Any, group: int, place: int) -> int:
    """Items of a column that one row can have at most: each other row of the group has one, if only a missing one."""
    if not metadata.schema.column(place).max_repetition_level:
        return 1
    values, rows = metadata.row_group(group).column(place).num_values, metadata.row_group(group).num_rows
    return max(1, int(values - rows + 1))


def _batch_size(metadata: Any, group: int, handle: BinaryIO, where: str, before: int) -> int:
    """Rows of a row group that are decoded together.

    Text that stands in the pages row by row cannot come to more than its column. A cell of a dictionary is stored once
    and may stand in every row, so the longest cells bound the batch; in a list it may stand any number of times in one
    row, so the texts of lists are added up row by row.

    Raises:
        DataError: the lists of a row are longer than a row may be, or it cannot be told.
    """
    largest = max((one.total_uncompressed_size for one in _columns(metadata, group)), default=1)
    rows = max(4, min(1024, _BATCH // max(1, largest)))
    longest, in_lists = 1.0, np.zeros(metadata.row_group(group).num_rows, dtype=np.int64)
    for place, one in enumerate(_columns(metadata, group)):
        cells = one.num_values / max(1, metadata.row_group(group).num_rows)  # of a row: more than 1 in a list
        most = max(rows * cells, _most_items(metadata, group, place)) * one.total_uncompressed_size
        if most <= _EXPANDED:
            continue
        if metadata.schema.column(place).max_repetition_level and one.physical_type == "BYTE_ARRAY":
            in_lists += _listed_bytes(metadata, group, one, handle, where)
            if in_lists.max(initial=0) > LONGEST_ROW:
                raise _too_long("row", f"{where}: row {before + int(np.argmax(in_lists > LONGEST_ROW)) + 1}")
        else:
            longest += cells * (metadata.schema.column(place).length or _longest_cell(metadata, group, one, handle))
    rows = max(1, min(rows, int(_EXPANDED // longest)))
    while rows > 1 and np.add.reduceat(in_lists, np.arange(0, len(in_lists), rows)).max() > _EXPANDED:
        rows //= 2
    return rows


def _longest_cell(metadata: Any, group: int, column: Any, handle: BinaryIO) -> int:
    """Bytes of the longest cell in the dictionary of a column of texts, 0 for other columns."""
    import pyarrow.compute as pc

    if column.physical_type != "BYTE_ARRAY" or not _expands(column):
        return 0
    # How long a text is that shares its beginning with the one before is not known; nor can its codes be read.
    if _DELTAS & set(column.encodings):
        return int(column.total_uncompressed_size)
    _, cells = _leaf(next(_codes(metadata, group, column, handle, 1)).column(0))
    return pc.max(pc.binary_length(cells.dictionary)).as_py() or 0


def _listed_bytes(metadata: Any, group: int, column: Any, handle: BinaryIO, where: str) -> NDArray[np.int64]:
    """Bytes of text in each row's lists, without making them; 0 where they cannot be more than their column.

    Raises:
        DataError: the encoding does not tell.
    """
    import pyarrow.compute as pc

    if not _expands(column):
        return np.zeros(metadata.row_group(group).num_rows, dtype=np.int64)
    if deltas := sorted(_DELTAS & set(column.encodings)):
        raise DataError(
            f"column {column.path_in_schema!r} keeps lists in the encoding {deltas[0]}: how long a row is cannot be "
            "told before it is read",
            where=where,
            fix="write the file again with pyarrow's own encodings, if it is yours",
        )
    found = []
    for batch in _codes(metadata, group, column, handle, 1024):
        first, cells = _leaf(batch.column(0))
        lengths = np.append(pc.fill_null(pc.binary_length(cells.dictionary), 0).to_numpy(zero_copy_only=False), 0)
        codes = pc.fill_null(cells.indices, len(lengths) - 1).to_numpy(zero_copy_only=False)
        total = np.concatenate([[0], np.cumsum(lengths.astype(np.int64)[codes])])
        found.append(np.diff(total[first]))
    return np.concatenate(found)


def _expands(column: Any) -> bool:
    """Whether a text may be longer than what stands of it in the pages."""
    return bool({"PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"} & set(column.encodings))


def _codes(metadata: Any, group: int, column: Any, handle: BinaryIO, rows: int) -> Iterator[Any]:
    """Batches of one column of texts as codes and the dictionary, which holds each cell once."""
    import pyarrow.parquet as pq

    name = column.path_in_schema
    # As an extension (JSON) it would be read as text.
    file = pq.ParquetFile(handle, metadata=metadata, read_dictionary=[name], arrow_extensions_enabled=False)
    return iter(file.iter_batches(batch_size=rows, row_groups=[group], columns=[name]))


def _leaf(cells: Any) -> tuple[NDArray[np.int64], Any]:
    """The dictionary array inside lists and structs, and where each row begins in it; one more for the end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first = np.arange(len(cells) + 1, dtype=np.int64)
    while pa.types.is_nested(cells.type):
        if pa.types.is_struct(cells.type):
            (cells,) = cells.flatten()  # of the one column that is read
            continue
        lengths = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
        first = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])[first]
        cells = cells.flatten()
    return first, cells


def _rows_of(batch: Any, where: str, before: int) -> Iterator[Row]:
    """The rows of a batch; a large one row by row, each within the limit."""
    import pyarrow as pa

    # A slice of a column of categories brings all of them, which would count as the row's.
    columns = [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]
    batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    if batch.nbytes <= LONGEST_ROW:
        yield from batch.to_pylist()
        return
    for place in range(batch.num_rows):
        row = batch.slice(place, 1)
        if row.nbytes > LONGEST_ROW:
            raise _too_long("row", f"{where}: row {before + place + 1}")
        yield from row.to_pylist()


FORMATS: dict[str, Callable[[BinaryIO, str, BadLines], Iterator[tuple[int, Row]]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
"""Readers by file suffix; `.gz` may follow any of them."""
