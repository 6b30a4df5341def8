"""One benchmark in every file format gives the same rows; folders are read where a benchmark comes as one."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.errors import BenchmarkError, UserError
from rewardsmith.evaluation import find_benchmark
from rewardsmith.evaluation.rows import read_table

PAIRS = [
    {"id": "1", "subset": "shp", "prompt": "Say é", "chosen": "é", "rejected": "e\n"},
    {"id": "2", "subset": "hep-go", "prompt": "Say b", "chosen": "b", "rejected": "c, d"},
]
MATRIX = {"id": "1", "prompt": "p", "domain": "chat", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}


def write(path, lines):
    """The rows in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as handle:
            table = csv.DictWriter(handle, fieldnames=list(lines[0]))
            table.writeheader()
            table.writerows(lines)
    else:
        whole = path.name.removesuffix(".gz").endswith(".json")
        text = json.dumps(lines) if whole else "".join(json.dumps(row) + "\n" for row in lines)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.parquet", "a.csv", "a.ndjson"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    rows = find_benchmark("rewardbench").load(write(tmp_path / name, PAIRS), None).rows
    assert [(row.key, row.prompt[0].content, row.chosen[0][0].content, row.rejected[0][0].content) for row in rows] == [
        (("shp", "1"), "Say é", "é", "e\n"),
        (("hep-go", "2"), "Say b", "b", "c, d"),
    ]


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "a.jsonl.gz"])
def test_lists_of_responses_survive_every_format(tmp_path, name):
    (row,) = find_benchmark("rm_bench").load(write(tmp_path / name, [MATRIX]), None).rows
    assert [response[0].content for response in row.responses] == ["a", "b", "c", "d", "e", "f"]


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path):
    write(tmp_path / "b" / "two.json", [{"n": 2}])
    write(tmp_path / "one.jsonl", [{"n": 3}, {"n": 4}])
    write(tmp_path / "a.parquet", [{"n": 1}])
    (tmp_path / "readme.txt").write_text("not a table")
    table = read_table(str(tmp_path), pattern="**/*")
    assert [row.fields["n"] for row in table.rows] == [1, 2, 3, 4]
    assert [row.where for row in table.rows] == [
        f"{tmp_path}/a.parquet:1",
        f"{tmp_path}/b/two.json:1",
        f"{tmp_path}/one.jsonl:1",
        f"{tmp_path}/one.jsonl:2",
    ]
    assert table.rows[1].file == f"{tmp_path}/b/two.json"
    assert (table.hub, table.title) == (False, tmp_path.name)


def test_the_hash_of_a_folder_knows_contents_and_names(tmp_path):
    write(tmp_path / "one" / "a.json", [{"n": 1}])
    write(tmp_path / "two" / "a.json", [{"n": 1}])
    write(tmp_path / "three" / "b.json", [{"n": 1}])
    write(tmp_path / "four" / "a.json", [{"n": 2}])
    hashes = {
        name: read_table(str(tmp_path / name), pattern="*").dataset.sha256 for name in ("one", "two", "three", "four")
    }
    assert hashes["one"] == hashes["two"]
    assert len(set(hashes.values())) == 3


@pytest.mark.parametrize("name", ["rewardbench", "rewardbench2", "pairs"])
def test_benchmarks_of_one_file_refuse_folders(tmp_path, name):
    write(tmp_path / "a.jsonl", PAIRS)
    with pytest.raises(UserError, match="is a directory") as caught:
        find_benchmark(name).load(str(tmp_path), None)
    assert caught.value.where.startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["rm_bench", "llmbar"])
def test_a_folder_without_the_benchmarks_files_says_what_was_looked_for(tmp_path, name):
    write(tmp_path / "a.jsonl", PAIRS)
    with pytest.raises(BenchmarkError, match=r"has no file .*json") as caught:
        find_benchmark(name).load(str(tmp_path), None)
    assert caught.value.where == str(tmp_path)
