"""Rewards from a file: `rows.jsonl` comes back as it went, and every fault is named by its row."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import (
    BenchmarkRows,
    EvalRow,
    find_benchmark,
    read_rewards,
    score_conversations,
    score_rows,
    write_evaluation,
)
from rewardsmith.records.evaluation import BenchmarkResult, DatasetInfo
from rewardsmith.records.files import read_record
from rewardsmith.types import Message


def eval_row(number, n_rejected=2, subset="Math", prompt="2 + 2?"):
    rejected = tuple((Message("assistant", f"wrong {i}"),) for i in range(n_rejected))
    return EvalRow(str(number), subset, (Message("user", prompt),), ((Message("assistant", "right"),),), rejected)


ROWS = [eval_row(1), eval_row(2, 3), eval_row(1, subset="Safety")]
LINES = [
    {"id": "1", "subset": "Math", "rewards": [1.5, 0, -2]},
    {"id": 2, "subset": "Math", "rewards": [0.25, None, 3, 4], "n_chosen": 1, "result": 0.7},
    {"id": "1", "subset": "Safety", "rewards": [1, 2, 3]},
]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_rewards_follow_the_order_of_the_rows(tmp_path):
    found = read_rewards(write(tmp_path / "r.jsonl", LINES[::-1]), ROWS)
    np.testing.assert_array_equal(found[0], [1.5, 0.0, -2.0])
    np.testing.assert_array_equal(found[1], [0.25, math.nan, 3.0, 4.0])
    np.testing.assert_array_equal(found[2], [1.0, 2.0, 3.0])


def changed(place, **changes):
    return [line | changes if i == place else line for i, line in enumerate(LINES)]


FAULTS = {
    "missing": (LINES[:2], "r.jsonl: 1 of 3 rows have no rewards: Safety / 1", "null"),
    "extra": ([*LINES, LINES[0] | {"id": "9"}], "r.jsonl:4, field 'id': Math / 9 is not a row", "remove it"),
    "double": ([*LINES, LINES[0]], "r.jsonl:4, field 'id': Math / 1 stands twice: first in", "keep one"),
    "NaN": (
        changed(1, rewards=[1, 2, math.nan, 3]),
        "r.jsonl:2, field 'rewards[2]': is nan",
        "write a number, or null",
    ),
    "infinite": (changed(0, rewards=[-math.inf, 2, 3]), "r.jsonl:1, field 'rewards[0]': is -inf", ""),
    "too large": (changed(0, rewards=[10**299, 2, 3]), "a finite number that float32 can hold", ""),
    "beyond float32": (changed(0, rewards=[-1.7e308, 2, 3]), "is -1.7e+308, not a finite number that float32", ""),
    "text": (changed(0, rewards=["1", 2, 3]), "r.jsonl:1, field 'rewards[0]': is '1', not a finite number", ""),
    "true": (changed(0, rewards=[True, 2, 3]), "field 'rewards[0]': is True", ""),
    "too few": (changed(0, rewards=[1, 2]), "has 2 rewards, but the row has 3 responses", "chosen first"),
    "not a list": (changed(0, rewards=1.0), "r.jsonl:1, field 'rewards': is 1.0, not a list", ""),
    "without rewards": (changed(0, rewards=None), "field 'rewards': is None, not a list", ""),
    "other n_chosen": (changed(0, n_chosen=2), "r.jsonl:1, field 'n_chosen': is 2, but the row has 1 chosen", ""),
    "without subset": ([{"id": "1", "rewards": [1]}], "r.jsonl:1, field 'subset': is missing", ""),
    "without id": ([{"subset": "Math", "rewards": [1]}], "r.jsonl:1, field 'id': is missing", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_the_row_and_the_fix(tmp_path, name):
    lines, problem, fix = FAULTS[name]
    with pytest.raises(BenchmarkError) as caught:
        read_rewards(write(tmp_path / "r.jsonl", lines), ROWS)
    assert problem in str(caught.value)
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


def test_many_missing_rows_fit_one_line(tmp_path):
    rows = [eval_row(i) for i in range(1000)]
    with pytest.raises(BenchmarkError) as caught:
        read_rewards(write(tmp_path / "r.jsonl", [LINES[0]]), rows)
    assert (
        caught.value.problem == "999 of 1000 rows have no rewards: Math / 0, Math / 2, Math / 3, Math / 4, Math / 5, …"
    )


REWARD = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(REWARD, min_size=10, max_size=10))
def test_rows_jsonl_reads_back_as_rewards(tmp_path_factory, values):
    numbers = np.array([math.nan if value is None else value for value in values])
    rewards = [numbers[:3], numbers[3:7], numbers[7:]]
    bundle = BenchmarkRows(rows=tuple(ROWS), dataset=DatasetInfo(source="here"), title="here")
    evaluation = score_rows(find_benchmark("rewardbench2"), bundle, rewards, seed=1, resamples=200)
    folder = tmp_path_factory.mktemp("eval")
    write_evaluation(evaluation, folder)
    for wanted, found in zip(rewards, read_rewards(str(folder / "rows.jsonl"), ROWS), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert read_record(folder / "results.json", BenchmarkResult) == evaluation.result


class CountingScorer:
    """Rewards a conversation by its last message; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, conversations, progress=None):
        self.asked += conversations
        if progress:
            progress(len(conversations), len(conversations))
        return np.array([len(conversation[-1].content) for conversation in conversations], dtype=float)


def test_each_distinct_conversation_is_scored_once():
    rows = [eval_row(1), eval_row(2), eval_row(3, prompt="3 + 3?")]
    scorer, seen = CountingScorer(), []
    rewards = score_conversations(rows, scorer, lambda done, total: seen.append((done, total)))
    assert len(scorer.asked) == len(set(scorer.asked)) == 6
    assert seen == [(6, 6)]
    for found in rewards:
        np.testing.assert_array_equal(found, [5.0, 7.0, 7.0])


def test_a_scorer_that_answers_too_little_is_a_bug():
    class Short:
        def score(self, conversations, progress=None):
            return np.zeros(1)

    with pytest.raises(ValueError, match=r"rewards of shape \(1,\) for 3 conversations"):
        score_conversations([eval_row(1)], Short())


def test_results_json_has_the_published_names(tmp_path):
    bundle = BenchmarkRows(rows=tuple(ROWS), dataset=DatasetInfo(source="here"), title="here")
    rewards = [np.array([1.0, 0, 0]), np.array([0.0, 1, 0, 0]), np.array([1.0, 2, math.nan])]
    write_evaluation(score_rows(find_benchmark("rewardbench2"), bundle, rewards, seed=1, resamples=200), tmp_path)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["benchmark"], found["average"]) == (1, "rewardbench2", 0.25)
    assert found["dataset"] == {"source": "here", "revision": "", "sha256": "", "official": False}
    assert found["subsets"]["Safety"].keys() >= {
        "n", "score", "ci_low", "ci_high", "baseline", "length_baseline", "p_value", "n_missing",
    }  # fmt: skip
    assert (found["subsets"]["Safety"]["n_missing"], found["subsets"]["Safety"]["score"]) == (1, 0.0)
    assert found["rewards"].keys() >= {"n", "mean", "std", "min", "max", "distinct"}
    first = json.loads((tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()[0])
    digest = first.pop("digest")
    assert (len(digest), set(digest) <= set("0123456789abcdef")) == (16, True)
    assert first == {
        "id": "1", "subset": "Math", "rewards": [1.0, 0.0, 0.0], "n_chosen": 1, "result": 1.0, "group": "", "facts": {},
        "reasons": {},
    }  # fmt: skip


def test_an_unknown_benchmark_lists_the_names():
    with pytest.raises(BenchmarkError, match="unknown benchmark 'rewardbench3'") as caught:
        find_benchmark("rewardbench3")
    assert "did you mean 'rewardbench" in caught.value.fix
