"""Bombs in files: each is refused in a moment, in little memory, with the limit named; honest files pass."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from cli_world import World

from rewardsmith.data import files
from rewardsmith.data.files import read_rows
from rewardsmith.errors import DataError, ModelError, RenderingError, RunDirectoryError, SpecError, UserError
from rewardsmith.evaluation.offline import read_reward_lines
from rewardsmith.records import bounded
from rewardsmith.records.bounded import BeyondLimitError, inflated, parse_json, parse_yaml, read_bounded
from rewardsmith.records.files import read_record
from rewardsmith.records.run import Manifest
from rewardsmith.spec import load_spec

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [*{chr(97 + i)}, *{chr(97 + i)}, *{chr(97 + i)}]}}\n" for i in range(20)
)


def seconds(start: float) -> float:
    return time.perf_counter() - start


# YAML


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "more than 100,000 values, with aliases written out"),
        (MERGES, "more than 100,000 values, with aliases written out"),
        ("&a [*a]", "stands inside of what it names"),
        ("a: &a\n  b: *a\n", "stands inside of what it names"),
        ("[" * 3000, "nested deeper than 50 levels"),
        ("a:\n" + "".join(" " * i + "- \n" for i in range(1, 60)), "nested deeper than 50 levels"),
        ("x: " + "9" * 5000, "a number or date of 5,000 characters (limit 100)"),
        ("x: 0x" + "f" * 5000, "a number or date of 5,002 characters (limit 100)"),
        ("x: " + ":".join(["1"] * 3000), "a number or date of 5,999 characters (limit 100)"),
        ("x: 2001-99-99", "month must be in 1..12"),
        ("x: !!timestamp noon", "no timestamp, as its tag says"),
        ("a" * 600_000, "600,000 characters (limit 524,288)"),
    ],
)
def test_yaml_bombs(text: str, says: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(yaml.YAMLError, match=says.replace("(", r"\(").replace(")", r"\)")):
        parse_yaml(text)
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"not valid YAML|cannot be read"):
        load_spec(tmp_path / "spec.yaml")
    assert seconds(start) < 5


def test_aliases_of_an_honest_file_pass() -> None:
    text = "base: &base {path: a, weight: 2}\nuse: [*base, *base, {<<: *base, path: b}]\nwhen: 2001-12-14\nn: 0x1F\n"
    found = parse_yaml(text)
    assert found["use"] == [{"path": "a", "weight": 2}] * 2 + [{"path": "b", "weight": 2}]
    assert (str(found["when"]), found["n"]) == ("2001-12-14", 31)
    long = "x" * 5000  # a text may be long
    assert parse_yaml(f"a: {long}\n") == {"a": long}


def test_a_run_with_a_bomb_does_not_stop_ls(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    assert world("check", world.write_spec()).code == 0
    bomb = tmp_path / "runs" / "bomb"
    bomb.mkdir()
    (bomb / "manifest.json").write_bytes((tmp_path / "runs" / "tiny" / "manifest.json").read_bytes())
    (bomb / "spec.yaml").write_text(LAUGHS)
    deep = tmp_path / "runs" / "deep"
    deep.mkdir()
    (deep / "manifest.json").write_text("[" * 100_000)
    start = time.perf_counter()
    found = world("ls", "--json").json()["runs"]
    assert seconds(start) < 5
    problems = {Path(run["path"]).name: run["problem"] for run in found}
    assert problems["tiny"] == ""
    assert "more than 100,000 values" in problems["bomb"]
    assert "is not a Manifest" in problems["deep"]


# JSON


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 5000 + "]" * 5000, "nested deeper than 100 levels"),
        ("[" * 101 + "]" * 101, "nested deeper than 100 levels"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested deeper than 100 levels"),
        ("[" + "9" * 301 + "]", r"a number of 301 digits \(limit 300\)"),
        ("9" * 1_000_000, r"a number of 1,000,000 digits \(limit 300\)"),
        ("[" + "[]," * 10_000_000 + "1]", r"10,000,001 opening brackets \(limit 10,000,000\)"),
    ],
)
def test_json_bombs(text: str, says: str) -> None:
    for raw in (text, text.encode()):
        start = time.perf_counter()
        with pytest.raises(BeyondLimitError, match=says):
            parse_json(raw)
        assert seconds(start) < 5


def test_json_at_the_limits() -> None:
    deep = "[" * 100 + "]" * 100
    assert parse_json(deep) == json.loads(deep)
    assert parse_json("9" * 300) == 10**300 - 1
    assert parse_json('["' + "[" * 1000 + '"]') == ["[" * 1000]  # brackets of a text nest nothing


def test_a_record_that_is_no_file_or_too_large(tmp_path: Path) -> None:
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with pytest.raises(RunDirectoryError, match=r"zero\.json: cannot be read: it is a device, no regular file"):
        read_record(tmp_path / "zero.json", Manifest)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(RunDirectoryError, match="larger than 16 MiB"):
        read_record(tmp_path / "large.json", Manifest)
    (tmp_path / "many.json").write_text(
        '{"name": "x", "stages": {' + ", ".join(f'"{i}": 1' for i in range(5000)) + "}}"
    )
    with pytest.raises(RunDirectoryError, match=r"is not a Manifest: 5,0\d\d fields are wrong"):
        read_record(tmp_path / "many.json", Manifest)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RunDirectoryError, match=r"loop: cannot be read: Too many levels of symbolic links"):
        read_record(tmp_path / "loop", Manifest)
    assert read_bounded(Path(__file__)) == Path(__file__).read_bytes()


# Rows


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def refused(path: Path, says: str) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError, match=says):
        rows(path)
    assert seconds(start) < 8


def bomb(path: Path, head: bytes, filler: bytes, tail: bytes, mib: int) -> Path:
    with gzip.open(path, "wb", 9) as file:
        file.write(head)
        for _ in range(mib):
            file.write(filler * (2**20 // len(filler)))
        file.write(tail)
    assert path.stat().st_size < 300_000
    return path


def test_gzip_that_expands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bomb(tmp_path / "a.json.gz", b'[{"prompt": "', b"a", b'"}]', 80)
    refused(path, r"the gzip file expands beyond 64 MiB, 100 times its size or more.*\n  try: gunzip it")
    assert list(read_reward_lines_or_none(path)) == []
    monkeypatch.setattr(bounded, "GZIP_FREE", 2**20)
    path = bomb(tmp_path / "b.jsonl.gz", b"", b'{"prompt": "a"}\n', b"", 3)
    refused(path, r"b\.jsonl\.gz: after line \d+: the gzip file expands beyond 1 MiB")
    path = bomb(tmp_path / "c.csv.gz", b"prompt,chosen\n", b"a,b\n", b"", 3)
    refused(path, "the gzip file expands beyond 1 MiB")


def read_reward_lines_or_none(path: Path) -> list[object]:
    with pytest.raises(DataError, match="expands beyond"):
        return list(read_reward_lines(str(path)))
    return []


def test_an_honest_gzip_passes(tmp_path: Path) -> None:
    wanted = [{"prompt": f"{i} {'word ' * 200}", "chosen": "a", "rejected": "b"} for i in range(300)]
    text = "".join(json.dumps(row) + "\n" for row in wanted).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    assert rows(tmp_path / "a.jsonl.gz") == wanted
    raw = gzip.compress(text)
    handle = inflated(io.BytesIO(raw), len(raw))
    assert handle.seek(0, io.SEEK_END) == len(text)
    assert handle.seek(5) == 5
    assert handle.read(3) == text[5:8]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_one_large_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 2**20)
    large = "a" * (2**20 + 10)
    if name == "a.jsonl":
        (tmp_path / name).write_text('{"a": 1}\n{"prompt": "' + large + '"}\n')
        refused(tmp_path / name, r"a\.jsonl:2: the line is longer than 1 MiB, the limit of a row")
        return
    (tmp_path / name).write_text("prompt,chosen\n1,2\n" + large + ",x\n")
    refused(tmp_path / name, r"a\.csv:3: the row is longer than 1 MiB, the limit of a row")
    (tmp_path / name).write_text('prompt,chosen\n1,2\n"' + "a\n" * 2**19 + '",x\n')  # one cell of many lines
    refused(tmp_path / name, r"the (row|cell) is longer than 1 MiB, the limit of a row")
    (tmp_path / name).write_text("prompt,chosen\n" + f'"{"b" * 1000}",x\n' * 3000)  # many rows
    assert len(rows(tmp_path / name)) == 3000


def test_a_parquet_cell_that_stands_in_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 2**20)
    table = pa.table({"prompt": ["short"] * 5 + ["a" * (2 * 2**20)] * 50})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=2**30)
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    refused(tmp_path / "a.parquet", r"a\.parquet: row 6: the row is longer than 1 MiB, the limit of a row")


def test_parquet_columns_that_expand(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a" * 2**20] * 70})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    refused(tmp_path / "a.parquet", "column 'prompt' expands to 70 MiB, more than 100 times its size")


def test_an_honest_parquet_passes(tmp_path: Path) -> None:
    wanted = [{"prompt": f"{i}" * 50, "messages": [{"role": "user", "content": f"{i}"}]} for i in range(3000)]
    pq.write_table(pa.Table.from_pylist(wanted), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == wanted


PEAK = """
import sys
from pathlib import Path
from rewardsmith.data.files import read_rows
from rewardsmith.errors import DataError
import pyarrow.parquet  # not part of what a file costs

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
try:
    for _ in read_rows(Path(sys.argv[1])): pass
except DataError as error:
    print(str(error).splitlines()[0])
print((peak() - before) // 1024)
"""


def refusal_and_peak(path: Path) -> tuple[str, int]:
    """What reading a file says where it is refused, and the MiB that it took at most.

    In a process of its own, and by VmHWM: ru_maxrss of a child begins at what its parent had.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc here")
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), int(peak)


def test_memory_of_a_row_of_60_mb_and_of_a_bomb(tmp_path: Path) -> None:
    """A row of 60 MB of `[],` took 4 GB; a process of its own shows the peak."""
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": [' + b"[]," * 20_000_000 + b"1]}\n")
    path = bomb(tmp_path / "b.json.gz", b"[", b"[],", b"1]", 100)
    for file, says in ((tmp_path / "a.jsonl", "the line is longer than 16 MiB"), (path, "expands beyond 64 MiB")):
        said, peak = refusal_and_peak(file)
        assert says in said
        assert 15 < peak < 400  # one line of 16 MiB is read


def one_cell_in_every_row(path: Path, cell: str, rows: int, *, in_list: bool = False) -> Path:
    """A Parquet file whose dictionary has one cell, which each row (of a list: twice) names."""
    column: pa.Array = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows * (1 + in_list), pa.int32()), pa.array([cell])
    )
    if in_list:
        column = pa.ListArray.from_arrays(pa.array(range(0, 2 * rows + 1, 2), pa.int32()), column)
    # Without pyarrow's own schema it is read as text, like a file from elsewhere.
    table = pa.table({"prompt": column})
    pq.write_table(table, path, compression="none", dictionary_pagesize_limit=2**30, store_schema=False)
    return path


def test_memory_of_a_dictionary_cell_of_64_mib(tmp_path: Path) -> None:
    """It was decoded into every row of a batch: 1.6 GiB."""
    path = one_cell_in_every_row(tmp_path / "a.parquet", "ab" * (32 * 2**20), 200)
    said, peak = refusal_and_peak(path)
    assert said.endswith("a.parquet: row 1: the row is longer than 16 MiB, the limit of a row")
    assert 64 < peak < 6 * 64


@pytest.mark.parametrize("in_list", [False, True])
def test_memory_of_a_dictionary_cell_within_the_limit(in_list: bool, tmp_path: Path) -> None:
    """300 rows of 7 MiB are 2 GiB; a batch of them holds at most 64 MiB, which Arrow copies as it grows."""
    path = one_cell_in_every_row(tmp_path / "a.parquet", "a" * (7 * 2**20), 300, in_list=in_list)
    said, peak = refusal_and_peak(path)
    assert said == ""
    assert 64 < peak < 6 * 64


def list_of_one_cell(cell: str, items: list[int]) -> pa.Array:
    """A row for each number: a list that names the one cell of the dictionary so often."""
    codes = pa.array([0] * sum(items), pa.int32())
    starts = pa.array([sum(items[:place]) for place in range(len(items) + 1)], pa.int32())
    return pa.ListArray.from_arrays(starts, pa.DictionaryArray.from_arrays(codes, pa.array([cell])))


@pytest.mark.parametrize("store_schema", [False, True])
@pytest.mark.parametrize("inside", ["list", "list of structs", "list of lists"])
def test_memory_of_a_list_that_names_a_cell_2000_times(inside: str, store_schema: bool, tmp_path: Path) -> None:
    """A file of 1 MiB whose third row is 2 GiB: it took 3.5 GiB to be refused, and with pyarrow's schema it passed."""
    column = list_of_one_cell("a" * 2**20, [1, 0, 2000, *[1] * 5000])
    if inside == "list of structs":
        structs = pa.StructArray.from_arrays([column.values], ["content"])
        column = pa.ListArray.from_arrays(column.offsets, structs)
    elif inside == "list of lists":
        column = pa.ListArray.from_arrays(pa.array(range(len(column) + 1), pa.int32()), column)
    path = tmp_path / "a.parquet"
    table = pa.table({"prompt": column})
    pq.write_table(table, path, compression="none", dictionary_pagesize_limit=2**30, store_schema=store_schema)
    said, peak = refusal_and_peak(path)
    assert said.endswith("a.parquet: row 3: the row is longer than 16 MiB, the limit of a row")
    assert peak < 200


def test_the_lists_of_a_row_are_added_up(tmp_path: Path) -> None:
    """Sixty columns of 14 MiB, each within the limit, are 840 MiB."""
    table = pa.table({f"column{place}": list_of_one_cell("a" * 2**20, [1, 14]) for place in range(60)})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", dictionary_pagesize_limit=2**30)
    said, peak = refusal_and_peak(tmp_path / "a.parquet")
    assert said.endswith("a.parquet: row 2: the row is longer than 16 MiB, the limit of a row")
    assert peak < 200


def test_a_row_of_many_items_makes_the_batches_of_its_group_small_and_no_other(tmp_path: Path) -> None:
    """Rows of 15, 0.25 and 0.25 MiB, and so on: each batch holds at most 64 MiB, so four of the long ones."""
    column = list_of_one_cell("a" * 2**18, [60 if place % 3 == 0 else 1 for place in range(90)])
    pq.write_table(
        pa.table({"prompt": column}), tmp_path / "a.parquet", compression="none", dictionary_pagesize_limit=2**30
    )
    said, peak = refusal_and_peak(tmp_path / "a.parquet")
    assert said == ""
    assert peak < 6 * 64


def test_a_list_of_equal_numbers_is_a_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand million numbers in one row are a file of 400 bytes; here with a limit of 1 MiB in place of 1 GiB."""
    monkeypatch.setattr(files, "_BATCH", 2**20)
    masks = pa.table({"mask": [[1] * 500] * 200})  # 0.8 MiB
    pq.write_table(masks, tmp_path / "masks.parquet")
    assert len(rows(tmp_path / "masks.parquet")) == 200
    pq.write_table(pa.table({"mask": [[1] * 200_000]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'mask\.list\.element' may expand to 1 MiB in one row, more than 100"):
        rows(tmp_path / "a.parquet")
    random = pa.array([list(range(200_000))])  # as large in the file, or nearly
    pq.write_table(pa.table({"numbers": random}), tmp_path / "b.parquet")
    assert len(rows(tmp_path / "b.parquet")[0]["numbers"]) == 200_000


def test_lists_of_one_item_are_no_bomb_however_many_rows_there_are(tmp_path: Path) -> None:
    """A prompt of one turn: its role is the same in every row, and a few bytes."""
    column = pa.ListArray.from_arrays(pa.array(range(200_001), pa.int32()), pa.array(["user"] * 200_000))
    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet", compression="none")
    with (tmp_path / "a.parquet").open("rb") as handle:
        metadata = pq.ParquetFile(handle).metadata
        assert files._most_items(metadata, 0, 0) == 1
        assert files._batch_size(metadata, 0, handle, "a.parquet", 0) == 1024


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["x", "y"], None, [], [None, "zzz"]]),
        pa.array([["x"], ["yy"], [], ["é"]], pa.large_list(pa.large_string())),
        pa.array([["x", "yy"], None, ["z", None], ["", "w"]], pa.list_(pa.string(), 2)),
        pa.array([["x", "yy"], None, [], ["w"]], pa.list_view(pa.string())),
        pa.array([[["x"]], [[], ["y", "yy"]], [], None]),
        pa.array([{"a": ["x"]}, None, {"a": ["y", "yy"]}, {"a": None}]),
        pa.array([[{"a": ["x"]}, None], None, [{"a": ["y", "yy"]}, {"a": None}], []]),
        pa.array([[("k", "v")], [], None, [("kk", "vv"), ("kk", None)]], pa.map_(pa.string(), pa.string())),
        pa.ListArray.from_arrays(pa.array([0, 1, 1, 1, 3]), pa.array(['"x"', "1", "22"], pa.json_())),
        pa.array([["x", "x"], ["y"], None, []], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    ],
    ids=lambda column: str(column.type)[:40],
)
def test_bytes_of_lists_are_those_of_their_texts(column: pa.Array, tmp_path: Path) -> None:
    def letters(value: Any) -> int:
        if isinstance(value, dict):
            value = list(value.values())
        return sum(map(letters, value)) if isinstance(value, list | tuple) else len((value or "").encode())

    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("rb") as handle:
        metadata = pq.ParquetFile(handle).metadata
        found = sum(files._listed_bytes(metadata, 0, one, handle, "a.parquet") for one in files._columns(metadata, 0))
    assert found.tolist() == [letters(value) for value in column.to_pylist()]


def test_texts_in_pages_that_have_no_dictionary(tmp_path: Path) -> None:
    """Delta encodings give no codes: files of other writers were unreadable from 64 KiB on."""
    texts = [f"{number:05d}" * 60 for number in range(3000)]
    for encoding in ("DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        path = tmp_path / f"{encoding}.parquet"
        pq.write_table(pa.table({"prompt": texts}), path, use_dictionary=False, column_encoding={"prompt": encoding})
        assert [row["prompt"] for row in rows(path)] == texts
    listed = {"prompt.list.element": "DELTA_LENGTH_BYTE_ARRAY"}
    table = pa.table({"prompt": [[text] for text in texts]})
    pq.write_table(table, tmp_path / "lists.parquet", use_dictionary=False, column_encoding=listed)
    assert [row["prompt"] for row in rows(tmp_path / "lists.parquet")] == [[text] for text in texts]


def test_memory_of_a_list_of_texts_that_begin_alike(tmp_path: Path) -> None:
    """2,000 times 256 KiB in 260 KiB of pages, which say how long a text is only by making it."""
    column = pa.array([["a" * 2**18] * 2000])
    encoding = {"prompt.list.element": "DELTA_BYTE_ARRAY"}
    table = pa.table({"prompt": column})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, column_encoding=encoding)
    said, peak = refusal_and_peak(path)
    assert "column 'prompt.list.element' keeps lists in the encoding DELTA_BYTE_ARRAY" in said
    assert peak < 100


def test_categories_are_not_the_rows_that_name_them(tmp_path: Path) -> None:
    """20 MiB of categories, as pandas writes them, in rows of 0.5 MiB."""
    cells = [str(number) + "a" * 2**19 for number in range(40)]
    table = pa.table({"prompt": pa.array(cells * 2).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet", dictionary_pagesize_limit=2**30)
    assert [row["prompt"] for row in rows(tmp_path / "a.parquet")] == cells * 2


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", "yy", None]),
        pa.array([b"x", b"yy", None]),
        pa.array(["x", "yy", None], pa.string_view()),
        pa.array(["x", "yy", None]).dictionary_encode(),
        pa.array([b"xx", b"yy", None], pa.binary(2)),
        pa.array([["x", "y"], None, []]),
        pa.array([["x"], ["y"], []], pa.large_list(pa.large_string())),
        pa.array([["x"], ["y"], ["z"]], pa.list_(pa.string(), 1)),
        pa.array([[["x"]], [[], ["y"]], []]),
        pa.array([{"a": ["x"]}, None, {"a": ["y"]}]),
        pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        pa.array(['{"a": 1}', "2", None], pa.json_()),
        pa.array([None, None, None], pa.string()),
        pa.nulls(3),
        pa.array([1.5, None, 2.0]),
    ],
    ids=lambda column: str(column.type)[:40],
)
@pytest.mark.parametrize("dictionary", [True, False])
def test_rows_of_every_type_whose_dictionary_is_looked_at(
    column: pa.Array, dictionary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_EXPANDED", 1)
    table = pa.table({"prompt": column})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=dictionary, row_group_size=2)
    assert rows(tmp_path / "a.parquet") == table.to_pylist()


@pytest.mark.parametrize("name", ["pipe.py", "pipe.jinja", "pipe.jsonl", "pipe.json"])
def test_a_pipe_blocks_nobody_and_a_device_is_not_read(name: str, tmp_path: Path) -> None:
    """Nothing writes into the pipe: whoever opened it would wait for ever."""
    from rewardsmith.doctor.scanning import scan_file
    from rewardsmith.judging.questions import load_prompts
    from rewardsmith.records.files import read_jsonl
    from rewardsmith.spec import JudgePrompts

    os.mkfifo(tmp_path / name)
    for path, kind in ((tmp_path / name, "a pipe"), (Path("/dev/zero"), "a device")):
        assert scan_file(path, ()).unreadable == f"it is {kind}, no regular file"
        with pytest.raises(RunDirectoryError, match=", no regular file"):
            list(read_jsonl(path))
        with pytest.raises(SpecError, match=", no regular file"):
            load_prompts(JudgePrompts(pairwise=str(path)))


def test_what_commands_name_is_opened_where_it_is_a_file_alone(tmp_path: Path) -> None:
    """Token file, audit log, rows of an evaluation, weights: nothing writes into these pipes."""
    from rewardsmith.doctor.checkpoints import checkpoint_findings
    from rewardsmith.modeling.stored import not_finite
    from rewardsmith.pipeline.commands.compare import _shared_rows
    from rewardsmith.routing.audit import _lines
    from rewardsmith.serving.access import read_tokens

    for name in ("tokens", "audit.jsonl", "rows.jsonl", "model.safetensors"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="the token file cannot be read"):
        read_tokens(tmp_path / "tokens", "REWARDSMITH_NO_TOKEN")
    with pytest.raises(DataError, match="cannot be read: it is a pipe"):
        list(_lines(tmp_path / "audit.jsonl"))
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        _shared_rows(tmp_path)
    with pytest.raises(BeyondLimitError, match="it is a pipe"):
        not_finite(tmp_path / "model.safetensors")
    (finding,) = checkpoint_findings(tmp_path)
    assert (finding.rule, "it is a pipe" in finding.problem) == ("checkpoint-unreadable", True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("config.json", "a pipe"),
        ("tokenizer_config.json", "a pipe"),
        ("rewardsmith.json", "a pipe"),
        ("model.safetensors", "a folder"),
        ("generation_config.json", "a link to a file that is not there"),
        ("chat_template.jinja", "a device"),
    ],
)
def test_what_stands_for_a_file_of_a_model_is_named(name: str, kind: str, tiny_base: Path, tmp_path: Path) -> None:
    """transformers takes each of these for absent: a model without its settings, or one that is "not recognised"."""
    from rewardsmith.doctor.checkpoints import checkpoint_findings, is_checkpoint
    from rewardsmith.modeling import loading, shapes
    from rewardsmith.rendering.tokenizer import load_tokenizer

    model = Path(shutil.copytree(tiny_base, tmp_path / "model"))
    (model / name).unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(model / name)
    elif kind == "a folder":
        (model / name).mkdir()
    else:
        (model / name).symlink_to("/dev/null" if kind == "a device" else "missing")
    says = f"{re.escape(name)}: is {kind}, no regular file\n  try: put the file itself into the model's folder"
    with pytest.raises(RenderingError, match=says):
        load_tokenizer(model)
    with pytest.raises(ModelError, match=says):
        loading.load_config(model)
    with pytest.raises(ModelError, match=says):
        shapes.load_config(str(model))
    assert is_checkpoint(model)
    if name in ("config.json", "tokenizer_config.json"):
        assert [(one.rule, one.problem) for one in checkpoint_findings(model) if kind in one.problem] == [
            ("checkpoint-unreadable", "it cannot be read: it is a pipe, no regular file")
        ]


def test_a_check_of_a_base_whose_configuration_is_a_pipe(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base" / "config.json").unlink()
    os.mkfifo(tmp_path / "base" / "config.json")
    os.mkfifo(tmp_path / "pipe")
    for base, says in (
        ("base", "base/config.json: is a pipe, no regular file"),
        ("pipe", "pipe: is a pipe, no folder"),
    ):
        answer = world("check", world.write_spec(base_model={"id": base}))
        assert (answer.code, answer.out) == (2, "")
        assert says in answer.err


def test_a_file_of_the_kernel_is_not_waited_for() -> None:
    """/proc/kmsg says that it is a regular file, and blocks until the kernel says something."""
    path = Path("/proc/version")
    if not path.exists():
        pytest.skip("there is no /proc here")
    assert bounded.odd_kind(path) == "a file of the kernel"
    assert bounded.odd_kind(Path(__file__)) == ""
    with pytest.raises(BeyondLimitError, match="it is a file of the kernel, no regular file"):
        read_bounded(path)
