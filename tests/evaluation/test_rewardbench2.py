"""RewardBench 2: golden scores, the rule by hand, the schema and its faults, and what counts as official."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.errors import BenchmarkError, UserError
from rewardsmith.evaluation import BenchmarkRows, EvalRow, find_benchmark, random_baselines, score_rows
from rewardsmith.evaluation import rows as tables
from rewardsmith.evaluation.benchmarks.rewardbench2 import PUBLISHED_ROWS
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.types import Message

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDEN = SHARED / "golden" / "rewardbench2_scores.json"
SIX = SHARED / "data" / "best_of_n" / "six.jsonl.gz"
BENCHMARK = find_benchmark("rewardbench2")


def row(**changes):
    return {"id": "1", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["5", "22", "3"], "subset": "Math"} | changes


def write(path, rows):
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return str(path)


def scored(rows, rewards, **options):
    rows = BenchmarkRows(rows=tuple(rows), dataset=DatasetInfo(source="here"), title="here")
    return score_rows(BENCHMARK, rows, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=200, **options)


def eval_row(number, n_chosen, n_rejected, subset="Math"):
    chosen = tuple((Message("assistant", f"right {i}"),) for i in range(n_chosen))
    rejected = tuple((Message("assistant", f"wrong {i}"),) for i in range(n_rejected))
    return EvalRow(str(number), subset, (Message("user", f"{subset} {number}"),), chosen, rejected)


# The rule


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/golden")
def test_golden_scores_are_reproduced():
    for case in json.loads(GOLDEN.read_text()):
        rows = [
            eval_row(item["id"], item["num_correct"], len(item["rewards"]) - item["num_correct"], item["subset"])
            for item in case["rows"]
        ]
        result = scored(rows, [item["rewards"] for item in case["rows"]]).result
        assert {name: subset.score for name, subset in result.subsets.items()} == pytest.approx(
            case["expected"], abs=1e-12, rel=0
        )
        assert result.average == pytest.approx(case["average"], abs=1e-12, rel=0)


@pytest.mark.parametrize(
    ("rewards", "result"),
    [
        ([2.0, 1.0, 0.0, -1.0], 1.0),
        ([2.0, 2.0, 0.0, -1.0], 1 / 2),
        ([2.0, 2.0, 2.0, -1.0], 1 / 3),
        ([0.0, 0.0, 0.0, 0.0], 1 / 4),
        ([2.0, 3.0, 0.0, 3.0], 0.0),
        ([math.nan, 1.0, 0.0, 0.0], 0.0),
        ([2.0, math.nan, 0.0, 0.0], 0.0),
        ([math.inf, 1.0, 0.0, 0.0], 0.0),
    ],
)
def test_equal_and_missing_rewards_of_one_row(rewards, result):
    found = scored([eval_row(1, 1, 3)], [rewards])
    assert found.rows[0].result == pytest.approx(result)
    assert found.result.subsets["Math"].score == pytest.approx(result)
    assert found.result.subsets["Math"].n_missing == sum(not math.isfinite(reward) for reward in rewards)


def test_missing_rewards_are_null_in_the_rows():
    found = scored([eval_row(1, 1, 2)], [[math.nan, math.inf, 1.5]])
    assert found.rows[0].rewards == (None, None, 1.5)
    assert found.rows[0].n_chosen == 1


def test_several_chosen_answers_share_the_maximum():
    rows = [eval_row(1, 2, 3), eval_row(2, 2, 3), eval_row(3, 2, 3)]
    found = scored(rows, [[3, 1, 2, 2, 2], [3, 3, 3, 1, 1], [1, 1, 5, 1, 1]])
    assert [line.result for line in found.rows] == pytest.approx([1.0, 2 / 3, 0.0])
    assert found.result.subsets["Math"].baseline == pytest.approx(2 / 5)


def test_the_average_weighs_subsets_equally_and_names_absent_ones():
    rows = [eval_row(1, 1, 3), eval_row(2, 1, 3), eval_row(3, 1, 3), eval_row(1, 1, 1, "Safety")]
    result = scored(rows, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0]]).result
    assert result.average == pytest.approx((1 / 3 + 1) / 2)
    assert result.average_baseline == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert list(result.subsets) == ["Math", "Safety"]
    assert "Absent here: Factuality, Precise IF, Focus, Ties; the average is over the 2 present" in result.protocol


def test_baselines_come_from_the_rows():
    rows = [eval_row(1, 1, 1), eval_row(2, 1, 2), eval_row(3, 1, 3)]
    assert random_baselines(BENCHMARK, rows, seed=1)["Math"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    six = [eval_row("ref:0", 1, 4, "Ties"), eval_row("tied:0", 2, 3, "Ties"), *rows]
    found = random_baselines(BENCHMARK, six, seed=1)
    assert found["average"] == pytest.approx((found["Math"] + found["Ties"]) / 2)


def test_length_baseline_counts_characters():
    long_right = EvalRow("1", "Focus", (), ((Message("assistant", "four"),),), ((Message("assistant", "two"),),))
    # Two characters of four bytes each are shorter than three of one byte.
    long_wrong = EvalRow("2", "Focus", (), ((Message("assistant", "😀😀"),),), ((Message("assistant", "abc"),),))
    assert scored([long_right, long_wrong], [[0, 0], [0, 0]]).result.subsets["Focus"].length_baseline == 0.5


# The schema


def test_rows_are_read_as_conversations(tmp_path):
    path = write(tmp_path / "mine.jsonl", [row(id=7, num_correct=1, num_incorrect=3, total_completions=4, models=[])])
    loaded = BENCHMARK.load(path, None)
    (found,) = loaded.rows
    assert found.key == ("Math", "7")
    assert found.conversations[0] == (Message("user", "2 + 2?"), Message("assistant", "4"))
    assert [response[0].content for response in found.responses] == ["4", "5", "22", "3"]
    assert (loaded.title, loaded.dataset.official) == ("mine.jsonl", False)
    assert len(loaded.dataset.sha256) == 64


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    rows = [row(), row(id="2", subset="Focus", chosen=["ünï\u2028code"])]
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)
    (tmp_path / "a.jsonl").write_text(lines + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = {
        name: [(r.key, r.conversations) for r in BENCHMARK.load(str(tmp_path / name), None).rows]
        for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.parquet")
    }
    assert len({str(value) for value in found.values()}) == 1
    assert found["a.jsonl"][1][1][0][1].content == "ünï\u2028code"


TIES = [row(id="ref:0", subset="Ties"), row(id="tied:0", subset="Ties", chosen=["a", "b"])]

FAULTS = {
    "unknown subset": ([row(subset="Maths")], ":1, field 'subset'", "unknown subset 'Maths'", "'Math'"),
    "missing subset": ([{"id": "1"}], ":1, field 'subset'", "is missing", ""),
    "empty list": ([row(), row(id="2", rejected=[])], ":2, field 'rejected'", "is an empty list", "remove the row"),
    "string for list": ([row(chosen="4")], ":1, field 'chosen'", "is '4', not a list", '["text", ...]'),
    "number in list": ([row(rejected=["a", 5])], "field 'rejected[1]'", "is 5, not a string", ""),
    "missing prompt": ([{k: v for k, v in row().items() if k != "prompt"}], "field 'prompt'", "is missing", ""),
    "prompt of messages": ([row(prompt=[{"role": "user"}])], "field 'prompt'", "not a string", ""),
    "wrong count": ([row(num_correct=2)], ":1, field 'num_correct'", "is 2, but the row has 1", "leave it out"),
    "wrong total": ([row(total_completions=3)], "field 'total_completions'", "is 3, but the row has 4", ""),
    "count of another type": ([row(num_incorrect="3")], "field 'num_incorrect'", "is '3'", ""),
    "count that is true": ([row(num_correct=True)], "field 'num_correct'", "is True", ""),
    "double id": ([row(), row()], ":2, field 'id'", "'1' stands twice in Math: first in", ":1"),
    "double Ties id": ([*TIES, row(id="ref:00", subset="Ties")], ":3, field 'id'", "stands twice in Ties", ""),
    "missing id": ([{k: v for k, v in row().items() if k != "id"}], ":1, field 'id'", "is missing", ""),
    "Ties id": ([row(id="17", subset="Ties")], ":1, field 'id'", "'17' is not a Ties id", "ref:k"),
    "no Ties pair": ([TIES[0], row(id="tied:1", subset="Ties")], "field 'id'", "no Ties id has both halves", ""),
    "nothing": ([], "", "has no rows", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_row_field_and_fix(tmp_path, name):
    rows, where, problem, more = FAULTS[name]
    path = write(tmp_path / "mine.jsonl", rows)
    with pytest.raises(BenchmarkError) as caught:
        BENCHMARK.load(path, None)
    message = str(caught.value)
    assert message.startswith(path)
    assert where in message
    assert problem in message
    assert more in message
    assert caught.value.fix


def test_the_same_id_may_stand_in_two_subsets(tmp_path):
    path = write(tmp_path / "mine.jsonl", [row(), row(subset="Safety"), *TIES])
    assert len(BENCHMARK.load(path, None).rows) == 4


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("broken.jsonl", json.dumps(row()).encode() + b'\n{"id": "2",\n', "broken.jsonl:2"),
        ("a.jsonl", json.dumps(row()).encode() + b"\n[1, 2]\n", "a.jsonl:2"),
        ("a.jsonl.gz", gzip.compress(b"x" * 1000, mtime=0)[:-9], "a.jsonl.gz"),
        ("a.parquet", b"PAR1", "a.parquet"),
        ("a.txt", b"text", "a.txt"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, where):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        BENCHMARK.load(str(tmp_path / name), None)
    assert caught.value.where.startswith(str(tmp_path / where))
    assert caught.value.fix


@pytest.mark.parametrize("source", ["none.jsonl", "data/none.jsonl", "data/none.parquet", "none", "."])
def test_sources_that_are_no_files_are_not_asked_of_the_hub(monkeypatch, source):
    monkeypatch.setattr(tables, "read_hub", None)
    with pytest.raises(UserError) as caught:
        BENCHMARK.load(source, None)
    assert caught.value.where.startswith(source)


# Official or not

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def published(counts):
    for name, n in counts.items():
        for k in range(n):
            key = f"{('ref', 'tied')[k % 2]}:{k // 2}" if name == "Ties" else str(k)
            yield row(id=key, subset=name)


@pytest.fixture
def hub(monkeypatch):
    """The hub, with the data set that the test puts into it: {(id, split, revision): rows}."""
    held = {}

    def read(source):
        return enumerate(held[source.id, source.split, source.revision], start=1)

    monkeypatch.setattr(tables, "read_hub", read)
    monkeypatch.setattr(tables, "hub_revision", lambda source: COMMIT)
    return held


@pytest.mark.parametrize(
    ("source", "counts", "official"),
    [
        ("allenai/reward-bench-2", PUBLISHED_ROWS, True),
        ("allenai/reward-bench-2", {**PUBLISHED_ROWS, "Math": 182}, False),
        ("allenai/reward-bench-2", {**PUBLISHED_ROWS, "Math": 182, "Focus": 496}, False),
        ("someone/reward-bench-2", PUBLISHED_ROWS, False),
    ],
)
def test_only_the_published_data_set_in_full_is_official(hub, source, counts, official):
    hub[source, "test", "main"] = list(published(counts))
    loaded = BENCHMARK.load(source, "main")
    assert loaded.dataset.official is official
    assert loaded.dataset.revision == COMMIT
    assert loaded.title == ("RewardBench 2" if official else source)
    assert loaded.rows[0].where == f"{source}:1"


def test_an_unknown_revision_is_not_official(hub, monkeypatch):
    monkeypatch.setattr(tables, "hub_revision", lambda source: "")
    hub["allenai/reward-bench-2", "test", None] = list(published(PUBLISHED_ROWS))
    assert BENCHMARK.load("allenai/reward-bench-2", None).dataset.official is False


def test_a_local_copy_is_named_by_its_file(tmp_path):
    loaded = BENCHMARK.load(write(tmp_path / "copy.jsonl", published(PUBLISHED_ROWS)), None)
    assert len(loaded.rows) == 1865
    assert (loaded.title, loaded.dataset.official) == ("copy.jsonl", False)


@pytest.mark.skipif(not SIX.exists(), reason="needs ../shared/data")
def test_real_rows_of_the_schema_are_read_and_have_their_baselines():
    loaded = BENCHMARK.load(str(SIX), None)
    assert len(loaded.rows) == 1145
    found = random_baselines(BENCHMARK, loaded.rows, seed=1)
    assert found["Factuality"] == found["Math"] == found["Focus"] == 0.25
    assert found["Precise IF"] == 0.5
    assert found["Safety"] == pytest.approx((166 / 2 + 26 / 3 + 8 / 4) / 200)
    assert not loaded.dataset.official


def test_ties_rows_of_another_form_are_named():
    """Rows of a `rows.jsonl`, which `compare` scores again, were checked by nobody."""
    rows = [eval_row("ref:1", 1, 2, "Ties"), eval_row("tie-2", 2, 1, "Ties")]
    with pytest.raises(
        BenchmarkError, match="row 'tie-2' of subset Ties: its id is neither ref:NUMBER nor tied:NUMBER"
    ):
        scored(rows, [[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
