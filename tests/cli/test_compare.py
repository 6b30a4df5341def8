"""`rewardsmith compare` on files alone: what it reads, says and refuses, and the texts that it finds again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import World

from rewardsmith.evaluation import BenchmarkRows, find_benchmark, pair_rows, score_rows, write_evaluation
from rewardsmith.records.comparison import ComparisonRecord
from rewardsmith.records.evaluation import DatasetInfo
from rewardsmith.records.files import read_record, write_text
from rewardsmith.spec import DataSpec, HeldOutSpec, SourceSpec, Spec, dump_spec
from rewardsmith.types import Message, PreferencePair


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, tmp_path, capsys, monkeypatch)
    rows = [
        {
            "id": str(i),
            "subset": "Math",
            "prompt": f"What is {i} + 1?",
            "chosen": [f"It is {i + 1}."],
            "rejected": ["No."],
        }
        for i in range(60)
    ]
    (tmp_path / "sums.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    evaluation("old", "rewardbench2", find_benchmark("rewardbench2").load("sums.jsonl", None), range(0, 60, 2))
    evaluation("new", "rewardbench2", find_benchmark("rewardbench2").load("sums.jsonl", None), range(1, 56))
    return world


def evaluation(folder: str, name: str, rows: BenchmarkRows, right: Any, **options: Any) -> None:
    """Results and rows of a model that is right on these rows."""
    rewards = [
        np.array([float(i in right)] * len(row.chosen) + [0.5] * len(row.rejected)) for i, row in enumerate(rows.rows)
    ]
    write_evaluation(
        score_rows(find_benchmark(name), rows, rewards, seed=1, resamples=100, model=folder, **options), Path(folder)
    )


def test_the_new_model_is_better(world: World, tmp_path: Path) -> None:
    answer = world("compare", "old", "new", "--out", "compared", "--rows", "2")
    assert answer.code == 0
    # 28 of the odd rows up to 55 are won; row 0 and the even ones from 56 are lost
    assert "verdict: new is better than old on sums.jsonl." in answer.out
    assert re.search(r"1 +Math +won +0 → 1 .*What is 1 \+ 1\? +chosen 0 → 1: It is 2\.", answer.out)
    record = read_record(tmp_path / "compared" / "comparison.json", ComparisonRecord)
    pair = record.benchmarks["rewardbench2"].pairs[0]
    assert (pair.gained_rows, pair.lost_rows, len(pair.gained), len(pair.lost)) == (28, 3, 2, 2)
    assert (pair.lost[0].id, pair.lost[0].prompt) == ("0", "What is 0 + 1?")
    assert (pair.lost[0].chosen, pair.lost[0].rejected) == (("It is 1.",), ("No.",))
    assert (pair.average.first, pair.average.second) == pytest.approx((30 / 60, 55 / 60))
    page = (tmp_path / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# Against old\n\n✅ new is better than old on sums.jsonl.\n")
    assert "| Math | 60 | 50.0 | 91.7 | **+41.7** |" in page
    assert "Rows that flipped: 28 rows won, 3 rows lost by new:" in page


def test_json_is_the_record(world: World) -> None:
    answer = world("compare", "old", "new", "--json")
    record = ComparisonRecord.model_validate(answer.json())
    assert [model.name for model in record.models] == ["old", "new"]
    assert record.overall[0].verdict == "better"
    assert answer.json()["schema"] == 1


def test_a_model_against_itself_is_no_winner(world: World) -> None:
    answer = world("compare", "old", "old")
    assert answer.code == 0
    assert "verdict: old (2) and old cannot be told apart on sums.jsonl." in answer.out
    assert " is better" not in answer.out


def test_three_models_are_ranked(world: World) -> None:
    evaluation("third", "rewardbench2", find_benchmark("rewardbench2").load("sums.jsonl", None), range(1, 57))
    answer = world("compare", "old", "new", "third", "--rows", "0")
    assert "third has the highest score on sums.jsonl (93.3)" in answer.out
    assert "new cannot be told from it (95 %, corrected for 3 models)" in answer.out


def test_texts_that_changed_are_not_shown(world: World, tmp_path: Path) -> None:
    (tmp_path / "sums.jsonl").write_text((tmp_path / "sums.jsonl").read_text().replace("It is", "That is"))
    record = ComparisonRecord.model_validate(world("compare", "old", "new", "--json").json())
    found = record.benchmarks["rewardbench2"]
    assert all(flip.prompt is None for flip in (*found.pairs[0].gained, *found.pairs[0].lost))
    assert found.notes == ("The texts of 6 of the rows that flipped are not at hand.",)


def test_a_source_that_is_gone_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "sums.jsonl").unlink()
    answer = world("compare", "old", "new")
    assert answer.code == 0
    assert "The texts of 6 of the rows that flipped are not at hand: sums.jsonl: " in answer.out


def test_held_out_texts_come_from_the_specs_sources(world: World, tmp_path: Path) -> None:
    pairs = [
        PreferencePair(
            (Message("user", f"Say {i}."),),
            (Message("assistant", f"{i}"),),
            (Message("assistant", "no"),),
            id=f"p{i}",
            subset="words",
        )
        for i in range(20)
    ]
    world.write_pairs("held_out.jsonl", pairs)
    spec = Spec(
        data=DataSpec(
            train=(SourceSpec(path="train.jsonl"),), held_out=HeldOutSpec(sources=(SourceSpec(path="held_out.jsonl"),))
        )
    )
    rows = pair_rows(pairs, DatasetInfo(source="own"), "Held-out pairs")
    for run, right in (("runs/a", range(20)), ("runs/b", range(5, 20))):
        evaluation(f"{run}/eval/held_out", "pairs", rows, right, held_out=True)
        write_text(tmp_path / run / "spec.yaml", dump_spec(spec))
    record = ComparisonRecord.model_validate(world("compare", "runs/a", "runs/b", "--json").json())
    lost = record.benchmarks["held_out"].pairs[0].lost
    assert [(flip.id, flip.prompt, flip.chosen) for flip in lost] == [
        (f"p{i}", f"Say {i}.", (f"{i}",)) for i in range(3)
    ]
    assert record.benchmarks["held_out"].notes == ()


def test_what_is_not_shared_is_named(world: World) -> None:
    pairs = [PreferencePair((Message("user", "?"),), (Message("assistant", "a"),), (Message("assistant", "b"),))]
    rows = pair_rows(pairs, DatasetInfo(source="own"), "Own pairs")
    for run in ("runs/a", "runs/b"):
        evaluation(
            f"{run}/eval/rewardbench2",
            "rewardbench2",
            find_benchmark("rewardbench2").load("sums.jsonl", None),
            range(30),
        )
    evaluation("runs/a/eval/own", "pairs", rows, [0])
    record = ComparisonRecord.model_validate(world("compare", "runs/a", "runs/b", "--json").json())
    assert list(record.benchmarks) == ["rewardbench2"]
    assert record.not_shared == ("own: not evaluated in b.",)


def test_hostile_texts_do_not_reach_the_page(world: World, tmp_path: Path) -> None:
    text = (tmp_path / "sums.jsonl").read_text().replace("What is 1 + 1?", "<script>alert(1)</script> | # \\u202e")
    (tmp_path / "sums.jsonl").write_text(text)
    for name, right in (("old", range(0, 60, 2)), ("new", range(1, 56))):
        evaluation(name, "rewardbench2", find_benchmark("rewardbench2").load("sums.jsonl", None), right)
    answer = world("compare", "old", "new", "--out", "compared", "--rows", "1")
    page = (tmp_path / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "\u202e" not in page + answer.out


def refused(world: World, *arguments: str) -> str:
    answer = world("compare", *arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    return " ".join(answer.err.split())


def test_one_folder_is_not_enough(world: World) -> None:
    assert "compare takes two or more folders" in refused(world, "old")


def test_a_folder_without_an_evaluation_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty: holds no evaluation" in refused(world, "old", "empty")
    assert "nowhere: is not there" in refused(world, "old", "nowhere")


def test_nothing_shared_is_refused(world: World) -> None:
    pairs = [PreferencePair((Message("user", "?"),), (Message("assistant", "a"),), (Message("assistant", "b"),))]
    evaluation("pairs", "pairs", pair_rows(pairs, DatasetInfo(source="own"), "Own pairs"), [0])
    message = refused(world, "old", "pairs")
    assert "old and pairs: share nothing that could be compared" in message
    assert "rewardbench2: not evaluated in pairs." in message


def test_broken_rows_are_named_by_line(world: World, tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace('"rewards"', '"reward"')
    path.write_text("\n".join(lines))
    assert "new/rows.jsonl:5: is no row of an evaluation: field 'rewards'" in refused(world, "old", "new")
    path.write_text("{broken\n")
    assert "new/rows.jsonl:1: is no row" in refused(world, "old", "new")
    path.unlink()
    assert "new/rows.jsonl: cannot be read" in refused(world, "old", "new")


def test_missing_rewards_count_as_the_results_say(world: World, tmp_path: Path) -> None:
    """JudgeBench's own code reads NaN as B>A: with `--missing upstream` a pair labelled so needs no reward."""
    pair = {"question": "q", "response_A": "a", "response_B": "b", "source": "mmlu-pro", "response_model": "m"}
    lines = [json.dumps({**pair, "pair_id": str(i), "question": f"q {i}", "label": "B>A"}) for i in range(10)]
    (tmp_path / "judgebench.jsonl").write_text("\n".join(lines) + "\n")
    kind = find_benchmark("judgebench")
    rows = kind.load("judgebench.jsonl", None)
    right = [np.array((1.0, 0.0))] * 10
    absent = [np.array((np.nan, 0.0)), *right[1:]]
    for folder, rule, rewards in (
        ("as-theirs", kind.as_upstream(), absent),
        ("whole-theirs", kind.as_upstream(), right),
        ("as-ours", kind, absent),
        ("whole-ours", kind, right),
    ):
        write_evaluation(score_rows(rule, rows, rewards, seed=1, resamples=100, model=folder), Path(folder))

    def difference(*folders: str) -> float:
        found = json.loads(world("compare", *folders, "--json").out)
        return found["benchmarks"]["judgebench"]["pairs"][0]["average"]["difference"]

    assert difference("whole-theirs", "as-theirs") == 0.0  # the missing reward is read as the label
    assert difference("whole-ours", "as-ours") == pytest.approx(-0.1)
    refused = world("compare", "whole-theirs", "as-ours")
    assert refused.code == 2
    assert "missing rewards count as the benchmark's own code has it in whole-theirs alone" in refused.err
