"""Every format gives the same rows; every broken file is named with its line and its fix."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.data.files import Position, read_rows, sha256_of
from rewardsmith.errors import DataError

ROWS = [
    {"prompt": "Name a river.", "chosen": 'Loire,\n"the" long one', "rejected": "Ümläut 🦀"},
    {"prompt": "And a town?", "chosen": "Nantes", "rejected": ""},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder, name: str, content: bytes | str):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_rows(folder, name: str):
    path = folder / name
    if "parquet" in name:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif "csv" in name:
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    elif name.startswith("list.json"):
        path.write_text(json.dumps(ROWS, indent=2, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text(LINES)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "a.ndjson", "a.json", "list.json", "list.json.gz", "a.csv", "a.csv.gz", "a.parquet"],
)
def test_every_format_gives_the_same_rows(name, tmp_path):
    assert list(read_rows(write_rows(tmp_path, name))) == [(1, ROWS[0]), (2, ROWS[1])]


def test_lines_keep_their_numbers_over_blank_ones_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + b'{"a": 1}\n\n  \r\n{"a": 2}')
    assert list(read_rows(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_messages_in_csv_cells_are_json(tmp_path):
    messages = [{"role": "user", "content": "a, b"}]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([["prompt", "chosen"], [json.dumps(messages), "[{not json"], ["", "x"]])
    assert [row for _, row in read_rows(path)] == [
        {"prompt": messages, "chosen": "[{not json"},
        {"prompt": "", "chosen": "x"},
    ]


def test_long_csv_cells_are_read(tmp_path):
    path = write(tmp_path, "a.csv", "chosen\n" + "x" * 200_000 + "\n")
    assert len(next(read_rows(path))[1]["chosen"]) == 200_000


BROKEN = {
    "bad line": ("a.jsonl", LINES + '{"prompt": "x", "cho\n', r"a\.jsonl:3: broken JSON at column 17: Unterminated"),
    "not an object": ("a.jsonl", LINES + "[1]\n", r"a\.jsonl:3: is a list, not an object"),
    "deep": ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: JSON beyond a limit: nested deeper than 100 levels"),
    "huge number": (
        "a.jsonl",
        '{"a": ' + "9" * 5000 + "}",
        r"a\.jsonl:1: JSON beyond a limit: a number of 5,000 digits",
    ),
    "latin-1": (
        "a.jsonl",
        LINES.encode() + '{"a": "é"}'.encode("latin-1"),
        r"a\.jsonl:3: is not UTF-8: .*0xe9.*\n  try: conv",
    ),
    "utf-16": ("a.jsonl", LINES.encode("utf-16"), r"a\.jsonl:1: is not UTF-8"),
    "binary": ("a.jsonl", bytes(range(256)), r"a\.jsonl:1: "),
    "json with one object over lines": ("a.json", '{\n "a": 1\n}', r"a\.json:1: broken JSON"),
    "json that is a string": ("a.json", '"hello"', r"a\.json: holds a string, not a list of rows"),
    "json list cut off": ("a.json", '[{"a": 1},\n{"a"', r"a\.json: broken JSON at line 2 column 5"),
    "json list of numbers": ("a.json", "[1]", r"a\.json: row 1: is a number, not an object"),
    "not gzip": ("a.jsonl.gz", LINES, r"a\.jsonl\.gz: the gzip file is damaged"),
    "gzip cut off": (
        "a.jsonl.gz",
        gzip.compress((LINES * 500).encode(), mtime=0)[:-300],
        r"the gzip file is damaged or cut off",
    ),
    "csv with too many cells": ("a.csv", "a,b\n1,2\n1,2,3\n", r"a\.csv:3: row 2 has 3 cells, the header has 2"),
    "csv with an open quote": ("a.csv", 'a,b\n"1,2\n', r"a\.csv:\d+: is not CSV"),
    "csv in latin-1": ("a.csv", "a\né\n".encode("latin-1"), r"a\.csv:\d+: is not UTF-8"),
    "not parquet": ("a.parquet", LINES, r"a\.parquet: is not a readable Parquet file"),
    "unknown suffix": ("a.xlsx", LINES, r"a\.xlsx: the suffix \.xlsx names no format(.|\n)*\.jsonl, \.ndjson"),
    "no suffix": ("pairs", LINES, "it has none"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_its_line(case, tmp_path):
    name, content, message = BROKEN[case]
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(write(tmp_path, name, content)))
    assert caught.value.fix


def test_rows_before_the_broken_line_are_read(tmp_path):
    rows = read_rows(write(tmp_path, "a.jsonl", LINES + "{"))
    assert [next(rows)[0], next(rows)[0]] == [1, 2]


@pytest.mark.parametrize("read", [lambda path: list(read_rows(path)), sha256_of])
def test_what_is_no_file_is_refused_without_waiting(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name, message in {
        "absent.jsonl": "there is no such file",
        "folder.jsonl": "is a directory",
        "pipe.jsonl": "is a pipe, no regular file",
        "loop.jsonl": "cannot be read",
        "nul\0.jsonl": "cannot be read",
    }.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_an_empty_file_has_no_rows(tmp_path):
    for name in ("a.jsonl", "a.json", "a.csv"):
        assert list(read_rows(write(tmp_path, name, ""))) == []


def test_sha256_of_a_file(tmp_path):
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    assert sha256_of(write(tmp_path, "a", "abc")) == expected


def bad_line_file(tmp_path, line: bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    return path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2, "b": 1, "a": 3}\n', r"a\.jsonl:2: an object has 'a' twice"),
        (
            "a.jsonl",
            '{"a": [{"role": "user", "content": "x", "content": "y"}]}\n',
            r":1: an object has 'content' twice",
        ),
        ("a.json", '[{"a": 1, "a": 1}]', "an object has 'a' twice"),
        ("a.csv", "prompt,chosen,chosen,rejected\na,b,c,d\n", r"a\.csv:1: has the column 'chosen' twice"),
    ],
)
def test_a_name_that_stands_twice_is_refused(name, content, said, tmp_path):
    with pytest.raises(DataError, match=said):
        list(read_rows(write(tmp_path, name, content)))


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path):
    table = pa.table([["a"], ["b"], ["c"]], names=["prompt", "chosen", "chosen"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has the column 'chosen' twice"):
        list(read_rows(tmp_path / "a.parquet"))


def test_columns_without_a_name_may_be_several(tmp_path):
    assert list(read_rows(write(tmp_path, "a.csv", ",a,\n0,x,1\n"))) == [(1, {"": "1", "a": "x"})]


BAD_LINES = {
    "broken": (b'{"a": 2', "broken JSON at column 8: Expecting ',' delimiter"),
    "latin1": ('{"a": "é"}'.encode("latin1"), "is not UTF-8"),
    "binary": (bytes(range(128, 256)), "is not UTF-8"),
    "twice": (b'{"a": 2, "a": 3}', "an object has 'a' twice"),
    "no object": (b"[1, 2]", "is a list, not an object"),
    "too long": (b'{"a": "' + b"x" * 300 + b'"}', "the line is longer than 0 MiB"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_stops_reading_or_is_stepped_over_and_written_down(fault, tmp_path, monkeypatch):
    monkeypatch.setattr("rewardsmith.data.files.LONGEST_ROW", 200)
    line, problem = BAD_LINES[fault]
    path = bad_line_file(tmp_path, line)
    with pytest.raises(DataError, match=rf"a\.jsonl:2: {problem}"):
        list(read_rows(path))
    bad_lines: list[tuple[int, str]] = []
    assert list(read_rows(path, bad_lines=bad_lines)) == [(1, {"a": 1}), (3, {"a": 3})]
    ((number, said),) = bad_lines
    assert number == 2
    assert said.startswith(problem)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "utf-16"), ("utf-16-be", "utf-16"), ("latin1", "latin1")])
def test_the_fix_of_another_encoding_names_it(name, encoding, said, tmp_path):
    """PowerShell writes UTF-16 with a byte order mark."""
    text = "a\né\n" if name == "a.csv" else json.dumps([{"a": "é"}], ensure_ascii=False)
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    (tmp_path / name).write_bytes(mark + text.encode(encoding))
    with pytest.raises(DataError, match=f"iconv -f {said} -t utf-8"):
        list(read_rows(tmp_path / name))


def test_a_line_of_the_longest_length_is_read(tmp_path, monkeypatch):
    line = b'{"a": "xy"}'
    monkeypatch.setattr("rewardsmith.data.files.LONGEST_ROW", len(line) + 1)
    assert [row for _, row in read_rows(bad_line_file(tmp_path, line))] == [{"a": 1}, {"a": "xy"}, {"a": 3}]
    monkeypatch.setattr("rewardsmith.data.files.LONGEST_ROW", len(line))
    with pytest.raises(DataError, match="the line is longer"):
        list(read_rows(bad_line_file(tmp_path, line)))


@pytest.mark.parametrize("zipped", [False, True])
def test_the_position_goes_from_the_beginning_to_the_end(zipped, tmp_path):
    path = tmp_path / ("a.jsonl.gz" if zipped else "a.jsonl")
    with gzip.open(path, "wb") if zipped else path.open("wb") as handle:
        # Digests hardly shrink: Python 3.12 reads a zipped file in pieces of 128 KiB.
        digests = (hashlib.sha512(str(n).encode()).hexdigest() for n in range(20_000))
        handle.writelines(json.dumps({"a": digest}).encode() + b"\n" for digest in digests)
    position = Position()
    shares = [position.share for _ in read_rows(path, position=position)]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert 0.4 < shares[10_000] < 0.7
    assert 0.9 < shares[-1] <= 1
