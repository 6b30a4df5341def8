"""PPE: both tracks by hand, best of K against brute force, the schemas and their faults, and what is official."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import read_rewards, score_rows
from rewardsmith.evaluation import rows as tables
from rewardsmith.evaluation.benchmarks.ppe import ALL, CORRECTNESS, HUB, HUMAN, PPE, best_of_k, curve_metrics, roc_auc
from rewardsmith.types import Message


def human(**changes):
    return {
        "question_id": "h1", "prompt": "Which?", "response_1": "first", "response_2": "second", "winner": "model_b",
        "model_a": "x", "model_b": "y",
    } | changes  # fmt: skip


def graded(**changes):
    """Four responses, of which 2 and 3 (counted from 1) are right."""
    return {
        "question_id": "q1", "model_name": "m", "prompt": "2 + 2?", "scores": [False, True, True, False],
        "response_1": "w1", "response_2": "r1", "response_3": "r2", "response_4": "w2",
        "sampled_conflict_pairs": [[0, 1], [2, 3], [2, 0]],
    } | changes  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return str(path)


def scored(loaded, *rewards):
    return score_rows(PPE, loaded, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=200)


# Human preference


@pytest.mark.parametrize(
    ("winner", "rewards", "result"),
    [("model_b", [2, 1], 1.0), ("model_a", [1, 2], 0.0), ("model_a", [1, 1], 0.0), ("model_b", [math.nan, 1], 0.0)],
)
def test_the_winner_must_be_strictly_above(tmp_path, winner, rewards, result):
    loaded = PPE.load(write(tmp_path / "h.jsonl", [human(winner=winner)]), None)
    won = "first" if winner == "model_a" else "second"
    assert loaded.rows[0].chosen == ((Message("assistant", won),),)
    found = scored(loaded, rewards)
    assert (found.rows[0].result, found.result.average, found.result.subsets[HUMAN].baseline) == (result, result, 0.5)
    assert found.result.subsets[HUMAN].interval == "Wilson"


def test_ties_are_left_out_and_counted(tmp_path):
    rows = [human(), human(question_id="h2", winner="tie"), human(question_id="h3", winner="tie (bothbad)")]
    loaded = PPE.load(write(tmp_path / "h.jsonl", rows), None)
    assert [row.id for row in loaded.rows] == ["h1"]
    result = scored(loaded, [1, 0]).result
    assert "2 of 3 rows are ties and were left out." in result.protocol
    assert "equal rewards and missing rewards count as wrong" in result.protocol


def test_nothing_but_ties_is_refused(tmp_path):
    with pytest.raises(BenchmarkError, match="all of its 1 pairs are ties"):
        PPE.load(write(tmp_path / "h.jsonl", [human(winner="tie")]), None)


# Correctness


def test_right_responses_come_first_and_pairs_follow(tmp_path):
    (row,) = PPE.load(write(tmp_path / "math.jsonl", [graded()]), None).rows
    assert [response[0].content for response in row.responses] == ["r1", "r2", "w1", "w2"]
    assert len(row.chosen) == 2
    assert row.facts["pairs"] == "0>2 1>3 1>2"
    assert row.key == ("math_best_of_k", "q1 m")


@pytest.mark.parametrize(
    ("rewards", "result"),
    [  # of r1, r2, w1, w2; pairs r1>w1, r2>w2, r2>w1
        ([4, 3, 2, 1], 1.0),
        ([1, 2, 2, 1], 1 / 3),
        ([2, 2, 2, 2], 0.0),
        ([math.nan, 3, 2, 1], 2 / 3),
        ([4, math.nan, 2, 1], 1 / 3),
    ],
)
def test_accuracy_over_the_sampled_pairs(tmp_path, rewards, result):
    found = scored(PPE.load(write(tmp_path / "gpqa.jsonl", [graded()]), None), rewards)
    assert found.rows[0].result == pytest.approx(result)
    assert found.result.subsets["gpqa_best_of_k"].score == pytest.approx(result)


def test_pairs_are_pooled_over_rows_and_questions_are_units(tmp_path):
    one = graded(question_id="q2", prompt="3?", sampled_conflict_pairs=[[0, 1]])
    other_model = graded(model_name="n")
    loaded = PPE.load(write(tmp_path / "gpqa.jsonl", [graded(), one, other_model]), None)
    subset = scored(loaded, [4, 3, 2, 1], [0, 0, 1, 1], [0, 0, 1, 1]).result.subsets["gpqa_best_of_k"]
    assert subset.score == pytest.approx(3 / 7)
    assert subset.interval.startswith("bootstrap over 2 groups")


def test_rows_without_a_prompt_are_units_of_their_own(tmp_path):
    """Two questions whose texts were left out are not one question."""
    rows = [graded(prompt=""), graded(prompt="", question_id="q2")]
    loaded = PPE.load(write(tmp_path / "gpqa.jsonl", rows), None)
    assert [row.group for row in loaded.rows] == ["", ""]
    subset = scored(loaded, [4, 3, 2, 1], [0, 0, 1, 1]).result.subsets["gpqa_best_of_k"]
    assert subset.interval.startswith("bootstrap over 2 groups")
    assert (subset.score, subset.ci_low < 0.5 < subset.ci_high) == (0.5, True)


def test_both_tracks_weigh_equally(tmp_path):
    rows = [human(), graded(benchmark="gpqa_best_of_k"), graded(question_id="q2", benchmark="ifeval_best_of_k")]
    loaded = PPE.load(write(tmp_path / "mixed.jsonl", rows), None)
    result = scored(loaded, [0, 1], [4, 3, 2, 1], [1, 2, 2, 1]).result
    assert list(result.subsets) == [HUMAN, "gpqa_best_of_k", "ifeval_best_of_k"]
    assert result.metrics["section_correctness"] == pytest.approx((1 + 1 / 3) / 2)
    assert result.average == pytest.approx((0 + (1 + 1 / 3) / 2) / 2)
    assert "Absent here: mmlu_pro_best_of_k, math_best_of_k, mbpp_plus_best_of_k" in result.protocol


# Best of K


def brute_force(rewards, n_right, k):
    """The mean over all draws of k of the chance that the picked one is right."""
    total = 0.0
    for drawn in itertools.combinations(range(len(rewards)), k):
        top = max(rewards[place] for place in drawn)
        picked = [place for place in drawn if rewards[place] == top]
        total += sum(place < n_right for place in picked) / len(picked)
    return total / math.comb(len(rewards), k)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.data())
def test_best_of_k_equals_the_mean_over_all_draws(rewards, data):
    n_right = data.draw(st.integers(1, len(rewards) - 1))
    wanted = [brute_force(rewards, n_right, k) for k in range(1, len(rewards) + 1)]
    assert best_of_k(np.array(rewards, dtype=float), n_right) == pytest.approx(wanted, abs=1e-12)


def test_the_numbers_of_a_small_curve_by_hand():
    # One right response of three, ranked second: 1/3 alone, right in one of three draws of two, never of three.
    found = curve_metrics([(np.array([2.0, 3.0, 1.0]), 1)])
    assert found["max"] == pytest.approx(1 / 3)
    assert found["end"] == 0.0
    assert found["area"] == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)
    # ideal: 1/3, 2/3, 1
    assert found["loss"] == pytest.approx((0 + 1 / 3 + 1) / 3)
    assert found["roc_auc"] == 0.5


def test_a_missing_reward_is_picked_last():
    assert best_of_k(np.array([math.nan, 1.0]), 1) == pytest.approx([0.5, 0.0])
    assert best_of_k(np.array([1.0, math.nan]), 1) == pytest.approx([0.5, 1.0])


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=4, max_size=4), st.integers(1, 3)), min_size=1, max_size=4)
)
def test_roc_auc_counts_pairs_over_all_prompts(drawn):
    labelled = [(np.array(rewards, dtype=float), n_right) for rewards, n_right in drawn]
    right = [reward for rewards, n in drawn for reward in rewards[:n]]
    wrong = [reward for rewards, n in drawn for reward in rewards[n:]]
    wanted = np.mean([(r > w) + (r == w) / 2 for r in right for w in wrong])
    assert roc_auc(labelled) == pytest.approx(wanted)


def test_the_curve_of_an_oracle_has_no_loss(tmp_path):
    loaded = PPE.load(write(tmp_path / "mbpp_plus.jsonl", [graded()]), None)
    metrics = scored(loaded, [1, 1, 0, 0]).result.metrics
    assert metrics["mbpp_plus_best_of_k_loss"] == pytest.approx(0.0)
    assert metrics["mbpp_plus_best_of_k_end"] == 1.0
    assert metrics["mbpp_plus_best_of_k_roc_auc"] == 1.0


# The schemas


@pytest.mark.parametrize(
    ("place", "subset"),
    [
        ("mmlu_pro.jsonl", "mmlu_pro_best_of_k"),
        ("PPE-MMLU-Pro-Best-of-K/data/train-00000.jsonl", "mmlu_pro_best_of_k"),
        ("MBPP-Plus.jsonl", "mbpp_plus_best_of_k"),
        ("math/gpqa.jsonl", "gpqa_best_of_k"),
    ],
)
def test_the_name_of_file_or_folder_says_the_subset(tmp_path, place, subset):
    path = tmp_path / "ppe" / place
    path.parent.mkdir(parents=True)
    write(path, [graded()])
    assert PPE.load(str(path), None).rows[0].subset == subset
    assert PPE.load(str(tmp_path / "ppe"), None).rows[0].subset == subset


def without(item, field):
    return {name: value for name, value in item.items() if name != field}


PAIRS = "sampled_conflict_pairs"
FAULTS = {
    "unknown winner": ([human(winner="A")], "field 'winner'", "unknown winner 'A'", "model_a"),
    "no response": ([without(human(), "response_2")], "field 'response_2'", "is missing", ""),
    "all right": ([graded(scores=[True] * 4)], "field 'scores'", "every response right", "remove the row"),
    "all wrong": ([graded(), graded(question_id="2", scores=[False] * 4)], ":2, field 'scores'", "response wrong", ""),
    "no scores": ([graded(scores=[])], "field 'scores'", "is an empty list", ""),
    "odd score": ([graded(scores=[True, 0.5])], "field 'scores[1]'", "is 0.5, neither true nor false", ""),
    "missing scores": ([without(graded(), "scores")], "field 'scores'", "is missing", ""),
    "too few responses": ([graded(scores=[True, False] * 3)], "field 'response_5'", "is missing", ""),
    "no pairs": ([graded(sampled_conflict_pairs=[])], f"field '{PAIRS}'", "is an empty list", ""),
    "missing pairs": ([without(graded(), PAIRS)], f"field '{PAIRS}'", "is missing", ""),
    "both right": (
        [graded(sampled_conflict_pairs=[[0, 1], [1, 2]])],
        f"field '{PAIRS}[1]'",
        "is [1, 2], not",
        "0 to 3",
    ),
    "place too high": ([graded(sampled_conflict_pairs=[[0, 4]])], f"field '{PAIRS}[0]'", "is [0, 4]", ""),
    "three places": ([graded(sampled_conflict_pairs=[[0, 1, 2]])], f"field '{PAIRS}[0]'", "is [0, 1, 2]", ""),
    "double key": ([graded(), graded()], ":2, field 'question_id'", "'q1 m' stands twice", ""),
    "no question": ([without(graded(), "question_id")], "field 'question_id'", "is missing", ""),
    "odd benchmark": ([graded(benchmark="math")], "field 'benchmark'", "unknown data set 'math'", "math_best_of_k"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_row_field_and_fix(tmp_path, name):
    rows, where, problem, fix = FAULTS[name]
    path = write(tmp_path / "math.jsonl", rows)
    with pytest.raises(BenchmarkError) as caught:
        PPE.load(path, None)
    assert caught.value.where.startswith(path)
    assert where in caught.value.where
    assert problem in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


def test_a_file_that_could_be_any_data_set_is_refused(tmp_path):
    (tmp_path / "mathews").mkdir()
    with pytest.raises(BenchmarkError, match="the file's path names no data set") as caught:
        PPE.load(write(tmp_path / "mathews" / "rows.jsonl", [graded()]), None)
    assert "mmlu_pro_best_of_k" in caught.value.fix


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "has no rows"),
        ([{"id": "q1", "subset": "math_best_of_k", "rewards": [1] * 4}], "math_best_of_k / q1 is not a row"),
        ([{"id": "q1 m", "subset": "math_best_of_k", "rewards": [1] * 3}], "has 3 rewards, but the row has 4"),
        ([{"id": "q1 m", "subset": "math_best_of_k", "rewards": [1, 2, math.nan, 3]}], "field 'rewards[2]': is nan"),
    ],
)
def test_faults_of_rewards_name_the_row(tmp_path, lines, problem):
    loaded = PPE.load(write(tmp_path / "math.jsonl", [graded()]), None)
    with pytest.raises(BenchmarkError) as caught:
        read_rewards(write(tmp_path / "r.jsonl", lines), loaded.rows)
    assert problem in str(caught.value)


# Official or not


@pytest.fixture
def hub(monkeypatch):
    """The hub, with the rows that the test puts into it: {id: rows}; asks for the published splits only."""
    held = {}
    splits = {hub_id: split for hub_id, split, _ in HUB.values()}

    def read(source):
        assert source.split == splits[source.id]
        return enumerate(held[source.id], start=1)

    monkeypatch.setattr(tables, "read_hub", read)
    monkeypatch.setattr(tables, "hub_revision", lambda source: "abc")
    return held


def fill(hub, **sizes):
    for subset, (hub_id, _, size) in HUB.items():
        make = human if subset == HUMAN else graded
        count = sizes.get(subset, size)
        hub[hub_id] = [make(question_id=str(number)) for number in range(count)]


def test_one_hub_data_set_is_named_by_its_id(hub):
    fill(hub)
    loaded = PPE.load("lmarena-ai/PPE-MATH-Best-of-K", None)
    assert {row.subset for row in loaded.rows} == {"math_best_of_k"}
    assert (loaded.title, loaded.dataset.official) == ("lmarena-ai/PPE-MATH-Best-of-K", False)


def test_all_six_in_full_are_official(hub):
    fill(hub)
    loaded = PPE.load(ALL, None)
    assert len(loaded.rows) == 18_593
    assert (loaded.title, loaded.dataset.official, loaded.dataset.source) == ("PPE", True, ALL)
    assert loaded.dataset.revision == "abc abc abc abc abc abc"
    assert {row.subset for row in loaded.rows} == {HUMAN, *CORRECTNESS}
    fill(hub, math_best_of_k=511)
    assert (PPE.load(ALL, None).title, PPE.load(ALL, None).dataset.official) == (ALL, False)


def test_one_revision_of_six_data_sets_is_refused():
    with pytest.raises(BenchmarkError, match="is six data sets"):
        PPE.load(ALL, "abc")
