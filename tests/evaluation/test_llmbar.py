"""LLMBar: folders of its repository, the mean over both orders for equal and missing rewards, adversarial mean."""

import hashlib
import json
import math

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError, UserError
from rewardsmith.evaluation import find_benchmark, score_rows
from rewardsmith.evaluation.benchmarks import llmbar

BENCHMARK = find_benchmark("llmbar")


def line(number, label=1, **changes):
    return {"input": f"do {number}", "output_1": "first", "output_2": "the second", "label": label, **changes}


def write(folder, files):
    for name, lines in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(lines), encoding="utf-8")
    return str(folder)


def score(bundle, rewards):
    arrays = [np.array(reward, dtype=float) for reward in rewards]
    return score_rows(BENCHMARK, bundle, arrays, seed=1, resamples=400)


@pytest.fixture
def bundle(tmp_path):
    files = {
        "Natural/dataset.json": [line(1), line(2, 2)],
        "Adversarial/Neighbor/dataset.json": [line(3)],
        "Adversarial/GPTInst/dataset.json": [line(4, 2), line(5)],
        "Adversarial/GPTInst/evaluators/GPT-4/result.json": [{"not": "a row"}],
    }
    return BENCHMARK.load(write(tmp_path, files), None)


def test_a_folder_is_read_with_its_subsets(bundle):
    assert [row.key for row in bundle.rows] == [
        ("GPTInst", "1"), ("GPTInst", "2"), ("Neighbor", "1"), ("Natural", "1"), ("Natural", "2"),
    ]  # fmt: skip
    right = [row.chosen[0][0].content for row in bundle.rows]
    assert right == ["the second", "first", "first", "first", "the second"]
    assert not bundle.dataset.official


def test_scores_by_hand(bundle):
    # GPTInst: equal 1/2, right 1; Neighbor: wrong; Natural: one missing 1/2, right 1
    found = score(bundle, [(1, 1), (2, 1), (0, 1), (math.nan, 1), (3, 1)])
    assert [row.result for row in found.rows] == [0.5, 1, 0, 0.5, 1]
    result = found.result
    assert {name: subset.score for name, subset in result.subsets.items()} == {
        "Natural": 0.75, "Neighbor": 0.0, "GPTInst": 0.75,
    }  # fmt: skip
    assert result.average == pytest.approx(0.5)
    assert result.metrics["section_Adversarial"] == pytest.approx((0.0 + 0.75) / 2)
    assert result.subsets["Natural"].n_missing == 1
    assert (result.average_baseline, result.subsets["Natural"].baseline) == (0.5, 0.5)
    # the longer response wins: output_2 always
    assert result.metrics["average_length_baseline"] == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert "1/2 where both are equal or one is missing" in result.protocol
    # What the script prints beside it: both orders right; both orders the same output (not where equal or missing).
    assert (result.metrics["correct_both"], result.metrics["equal"]) == (2 / 5, 3 / 5)
    assert (result.metrics["Natural_correct_both"], result.metrics["Natural_equal"]) == (0.5, 0.5)
    assert (result.metrics["Neighbor_correct_both"], result.metrics["Neighbor_equal"]) == (0.0, 1.0)
    assert "Absent here: GPTOut, Manual" in result.protocol


def test_one_file_in_its_folder_and_rows_that_name_their_subset(tmp_path):
    folder = write(tmp_path, {"Manual/dataset.json": [line(1)], "all.json": [line(1, subset="GPTOut", id="seven")]})
    one = BENCHMARK.load(f"{folder}/Manual/dataset.json", None)
    named = BENCHMARK.load(f"{folder}/all.json", None)
    assert [row.key for row in one.rows + named.rows] == [("Manual", "1"), ("GPTOut", "seven")]


def test_the_published_files_to_the_byte_are_official(tmp_path, monkeypatch):
    folder = write(tmp_path, {"Natural/dataset.json": [line(1)]})
    content = hashlib.sha256((tmp_path / "Natural" / "dataset.json").read_bytes()).hexdigest()
    listed = hashlib.sha256(f"{content}  Natural/dataset.json\n".encode()).hexdigest()
    monkeypatch.setattr(llmbar, "PUBLISHED_SHA256", listed)
    found = BENCHMARK.load(folder, None)
    assert (found.title, found.dataset.official, found.dataset.sha256) == ("LLMBar", True, listed)


def test_the_hub_id_says_what_to_do():
    with pytest.raises(BenchmarkError, match="loading script") as caught:
        BENCHMARK.load("princeton-nlp/LLMBar", None)
    assert "Dataset/LLMBar" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"label": 3}, "label", "3, not 1 or 2"),
        ({"label": True}, "label", "True, not 1 or 2"),
        ({"label": None}, "label", "None, not 1 or 2"),
        ({"output_1": []}, "output_1", "[], not a string"),
        ({"subset": "Neighbour"}, "subset", "unknown subset 'Neighbour'"),
        ({"id": []}, "id", "[], not a string"),
        ({"id": "1"}, "id", "stands twice"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, field, found):
    folder = write(tmp_path, {"Natural/dataset.json": [line(1), line(2, **changes)]})
    with pytest.raises(BenchmarkError) as caught:
        BENCHMARK.load(folder, None)
    assert caught.value.where == f"{tmp_path / 'Natural' / 'dataset.json'}:2, field {field!r}"
    assert found in caught.value.problem
    assert caught.value.fix


def test_a_folder_that_is_no_subset_is_named(tmp_path):
    folder = write(tmp_path, {"Base_10/dataset.json": [line(1)]})
    with pytest.raises(BenchmarkError, match="'Base_10' is no subset") as caught:
        BENCHMARK.load(folder, None)
    assert "Natural, Neighbor, GPTInst, GPTOut, Manual" in caught.value.fix


@pytest.mark.parametrize("content", [None, [], {"input": 1}])
def test_folders_without_rows_are_errors(tmp_path, content):
    if content is not None:
        write(tmp_path, {"Natural/dataset.json": content})
    with pytest.raises(UserError) as caught:
        BENCHMARK.load(str(tmp_path), None)
    assert caught.value.where.startswith(str(tmp_path))
    assert caught.value.fix
