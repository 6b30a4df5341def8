"""JudgeBench: equal rewards are read as B>A; the rewards of five published models give their published accuracies."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from rewardsmith.cli import main
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import find_benchmark, score_rows
from rewardsmith.evaluation import rows as tables
from rewardsmith.evaluation.benchmarks import judgebench

BENCHMARK = find_benchmark("judgebench")
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "judgebench_published_rewards.json"
OVERALL = {
    "Ray2333_GRM-Gemma-2B-rewardmodel-ft": 59.43,
    "Skywork_Skywork-Reward-Gemma-2-27B": 64.29,
    "Skywork_Skywork-Reward-Llama-3.1-8B": 62.29,
    "internlm_internlm2-20b-reward": 63.43,
    "internlm_internlm2-7b-reward": 59.43,
}


def line(number, label="A>B", source="mmlu-pro-law", **changes):
    return {
        "pair_id": f"pair-{number}",
        "original_id": "7",
        "source": source,
        "question": f"question {number}",
        "response_model": "gpt-4o",
        "response_A": "answer A",
        "response_B": "the answer B",
        "label": label,
        **changes,
    }


def write(path, lines):
    path.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    return str(path)


def load(tmp_path, lines):
    return BENCHMARK.load(write(tmp_path / "pairs.jsonl", lines), None)


def score(bundle, rewards):
    arrays = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(BENCHMARK, bundle, arrays, seed=1, resamples=400)


def test_the_right_response_comes_first_whatever_its_letter(tmp_path):
    rows = load(tmp_path, [line(1), line(2, "B>A")]).rows
    assert [(row.chosen[0][0].content, row.rejected[0][0].content) for row in rows] == [
        ("answer A", "the answer B"),
        ("the answer B", "answer A"),
    ]


def test_equal_rewards_are_right_exactly_where_the_label_is_b(tmp_path):
    bundle = load(tmp_path, [line(1), line(2, "B>A"), line(3), line(4, "B>A"), line(5, "B>A")])
    found = score(bundle, [(1, 1), (1, 1), (2, 1), (0, 1), (math.nan, 1)])
    assert [row.result for row in found.rows] == [0, 1, 1, 0, 0]
    assert found.result.average == pytest.approx(2 / 5)
    assert found.result.subsets["knowledge"].n_missing == 1
    assert "equal rewards are read as B>A" in found.result.protocol


def test_missing_as_upstream_reads_it_as_b(tmp_path):
    bundle = load(tmp_path, [line(1), line(2, "B>A"), line(3)])
    rewards = [np.array(pair) for pair in ((math.nan, 1.0), (1.0, math.nan), (2.0, 1.0))]
    ours = score_rows(BENCHMARK, bundle, rewards, seed=1, resamples=100)
    theirs = score_rows(BENCHMARK.as_upstream(), bundle, rewards, seed=1, resamples=100)
    assert [row.result for row in ours.rows] == [0, 0, 1]
    assert [row.result for row in theirs.rows] == [0, 1, 1]  # NaN > 1 is false, which its code calls B>A
    assert "its code reads NaN as B>A too" in ours.result.protocol
    assert "a missing reward is read as B>A too" in theirs.result.protocol
    assert "scores 0 (its code" not in theirs.result.protocol


def test_missing_as_upstream_by_response_model(tmp_path):
    bundle = load(tmp_path, [line(1, "B>A"), line(2, response_model="claude")])
    rewards = [np.array((math.nan, 1.0)), np.array((1.0, 0.0))]
    ours, theirs = (
        score_rows(one, bundle, rewards, seed=1, resamples=100) for one in (BENCHMARK, BENCHMARK.as_upstream())
    )
    assert (ours.result.metrics["accuracy_gpt-4o"], theirs.result.metrics["accuracy_gpt-4o"]) == (0.0, 1.0)
    assert find_benchmark("rm_bench").as_upstream() == find_benchmark("rm_bench")


def test_a_folder_of_both_files_names_both_models(tmp_path):
    write(tmp_path / "gpt.jsonl", [line(1), line(2)])
    write(tmp_path / "claude.jsonl", [line(3, response_model="claude")])
    bundle = BENCHMARK.load(str(tmp_path), None)
    found = score(bundle, [(1, 0), (1, 0), (0, 1)]).result  # claude.jsonl comes first
    assert (found.metrics["accuracy_claude"], found.metrics["accuracy_gpt-4o"]) == (1.0, 0.5)
    assert "The pairs of claude and gpt-4o are taken together." in found.protocol
    assert not found.dataset.official


def test_categories_come_from_the_beginning_of_the_source(tmp_path):
    sources = ["mmlu-pro-computer science", "livebench-reasoning", "livebench-math", "livecodebench", "livecodebench"]
    bundle = load(tmp_path, [line(number, source=source) for number, source in enumerate(sources)])
    found = score(bundle, [(1, 0), (0, 1), (1, 0), (0, 1), (1, 0)]).result
    assert {name: (part.n, part.score, part.baseline) for name, part in found.subsets.items()} == {
        "knowledge": (1, 1.0, 0.5),
        "reasoning": (1, 0.0, 0.5),
        "math": (1, 1.0, 0.5),
        "coding": (2, 0.5, 0.5),
    }
    assert (found.average, found.average_baseline) == (0.6, 0.5)
    assert found.metrics["average_length_baseline"] == 0.0  # the longer one is B, and never right


def test_pairs_of_one_question_are_one_unit_but_left_out_questions_are_not(tmp_path):
    same = score(load(tmp_path, [line(number, question="why?") for number in range(3)]), [(1, 0), (1, 0), (0, 1)])
    blank = score(load(tmp_path, [line(number, question="") for number in range(3)]), [(1, 0), (1, 0), (0, 1)])
    assert same.result.subsets["knowledge"].interval == "bootstrap over 1 groups, 400 resamples"
    assert blank.result.subsets["knowledge"].interval == "Wilson"


def test_only_the_published_pairs_are_official(tmp_path, monkeypatch):
    sizes = {"mmlu-pro-law": 154, "livebench-reasoning": 98, "livebench-math": 56, "livecodebench": 42}
    lines = [line(f"{source}-{i}", source=source) for source, n in sizes.items() for i in range(n)]
    monkeypatch.setattr(tables, "read_hub", lambda place: iter(enumerate(lines, start=1)))
    monkeypatch.setattr(tables, "hub_revision", lambda place: "abc")
    whole = BENCHMARK.load("ScalerLab/JudgeBench", None)
    assert (whole.title, whole.dataset.official) == ("JudgeBench", True)
    local = load(tmp_path, lines)
    assert (local.title, local.dataset.official) == ("pairs.jsonl", False)
    monkeypatch.setattr(judgebench, "PUBLISHED_SHA256", local.dataset.sha256)
    assert load(tmp_path, lines).dataset.official
    assert not load(tmp_path, lines[1:]).dataset.official


@pytest.mark.parametrize(
    ("changes", "field", "found", "fix"),
    [
        ({"label": "A<B"}, "label", "unknown label 'A<B'", "A>B"),
        ({"label": None}, "label", "None", "text"),
        ({"source": "livebench"}, "source", "unknown source 'livebench'", "livebench-math"),
        ({"question": ["text"]}, "question", "['text'], not a string", "text"),
        ({"response_B": None}, "response_B", "None, not a string", "text"),
        ({"pair_id": 1.5}, "pair_id", "1.5, not a string", "id"),
        ({"pair_id": "pair-1"}, "pair_id", "stands twice", "rename"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, field, found, fix):
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, [line(1), line(2, **changes)])
    assert caught.value.where == f"{tmp_path / 'pairs.jsonl'}:2, field {field!r}"
    assert found in caught.value.problem
    assert fix in caught.value.fix


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rewardsmith", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0, capsys.readouterr()


@pytest.mark.skipif(not GOLDEN.exists(), reason="../shared is not here")
@pytest.mark.parametrize("model", OVERALL)
def test_published_rewards_give_the_published_accuracies(tmp_path, capsys, monkeypatch, model):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[model]
    blank = {"question": "", "response_A": "", "response_B": ""}
    lines = [
        {"pair_id": row["pair_id"], "source": row["source"], "label": row["label"], **blank} for row in golden["rows"]
    ]
    data = write(tmp_path / "pairs.jsonl", lines)
    rewards = [
        {
            "id": pair.id,
            "subset": pair.subset,
            "rewards": [row["reward_A"], row["reward_B"]][:: 1 if row["label"] == "A>B" else -1],
        }
        for pair, row in zip(BENCHMARK.load(data, None).rows, golden["rows"], strict=True)
    ]
    offline = write(tmp_path / "rewards.jsonl", rewards)
    wanted = ("--benchmark", "judgebench", "--data", data, "--rewards", offline, "--out", tmp_path / "out", "--json")
    code, said = run(capsys, monkeypatch, "evaluate", *wanted)
    assert code == 0, said.err
    result = json.loads(said.out)
    assert round(100 * result["average"], 2) == golden["overall"] == OVERALL[model]
    assert {name: round(100 * part["score"], 2) for name, part in result["subsets"].items()} == golden["by_category"]
    assert {part["interval"] for part in result["subsets"].values()} == {"Wilson"}
    assert sum(part["n"] for part in result["subsets"].values()) == golden["n"] == 350


def test_a_bad_file_is_exit_2_and_named(tmp_path, capsys, monkeypatch):
    data = write(tmp_path / "pairs.jsonl", [line(1), line(2, source="livebenchmath")])
    offline = write(tmp_path / "rewards.jsonl", [])
    wanted = ("--benchmark", "judgebench", "--data", data, "--rewards", offline, "--out", tmp_path / "out")
    code, said = run(capsys, monkeypatch, "evaluate", *wanted)
    assert code == 2
    assert "pairs.jsonl:2" in said.err
    assert "unknown source 'livebenchmath'" in said.err
    assert "Traceback" not in said.err
