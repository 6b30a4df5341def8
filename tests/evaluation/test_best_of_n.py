"""The user's own best-of-N rows: the rule by hand, the schema and its faults, and every file of the shared data."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import random_baselines, read_rewards, score_rows
from rewardsmith.evaluation.benchmarks.best_of_n import BEST_OF_N, share_of_maximum
from rewardsmith.types import Message


def row(**changes):
    return {"id": "1", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["5", "22"], "subset": "sums"} | changes


def write(path, rows):
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return str(path)


def load(tmp_path, *rows):
    return BEST_OF_N.load(write(tmp_path / "mine.jsonl", rows), None)


def scored(loaded, *rewards):
    return score_rows(BEST_OF_N, loaded, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=200)


# The rule


@pytest.mark.parametrize(
    ("rewards", "result"),
    [
        ([3.0, 1.0, 2.0, 2.0], 1.0),
        ([1.0, 3.0, 3.0, 2.0], 1 / 2),
        ([3.0, 3.0, 3.0, 1.0], 2 / 3),
        ([1.0, 1.0, 1.0, 1.0], 1 / 2),
        ([1.0, 1.0, 1.0, 5.0], 0.0),
        ([math.nan, 9.0, 1.0, 1.0], 0.0),
    ],
)
def test_the_chosen_share_of_the_maximum(tmp_path, rewards, result):
    found = scored(load(tmp_path, row(chosen=["4", "four"])), rewards)
    assert found.rows[0].result == pytest.approx(result)
    assert found.result.subsets["sums"].baseline == 0.5
    assert found.result.subsets["sums"].n_missing == sum(map(math.isnan, rewards))


def test_subsets_weigh_equally_and_have_any_name(tmp_path):
    rows = [row(id=str(i), prompt=f"{i}?") for i in range(3)] + [row(subset="Süß", rejected=["a"])]
    loaded = load(tmp_path, *rows)
    result = scored(loaded, [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0]).result
    assert result.average == pytest.approx((1 / 3 + 1) / 2)
    assert random_baselines(BEST_OF_N, loaded.rows, 1) == pytest.approx(
        {"sums": 1 / 3, "Süß": 1 / 2, "average": 5 / 12}
    )
    assert "share the row" in result.protocol
    assert not result.dataset.official


def test_rows_of_one_prompt_are_one_unit(tmp_path):
    alone = scored(load(tmp_path, row(), row(id="2", prompt="3?")), [1, 0, 0], [1, 0, 0]).result.subsets["sums"]
    shared = scored(load(tmp_path, row(), row(id="2")), [1, 0, 0], [1, 0, 0]).result.subsets["sums"]
    assert alone.interval == "Wilson"
    assert shared.interval.startswith("bootstrap over 1 groups")


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=6),
    st.permutations(range(2)),
    st.permutations(range(2, 4)),
)
def test_only_the_order_of_rewards_counts(rewards, first, second):
    for reward_N in np.array(rewards, dtype=float):
        result = share_of_maximum(reward_N, 2)
        assert share_of_maximum(np.exp(reward_N) * 7 - 100, 2) == result
        assert share_of_maximum(reward_N[[*first, *second]], 2) == result
        assert share_of_maximum(np.repeat(reward_N, 2), 4) == result


# The schema


def test_prompts_are_text_or_messages_and_a_subset_may_be_missing(tmp_path):
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}]
    loaded = load(tmp_path, row(), row(id=2, prompt=turns, subset=None))
    assert loaded.rows[0].conversations[0] == (Message("user", "2 + 2?"), Message("assistant", "4"))
    assert loaded.rows[1].prompt == (Message("system", "Be short."), Message("user", "2 + 2?"))
    assert [found.key for found in loaded.rows] == [("sums", "1"), ("all", "2")]
    assert loaded.title == "mine.jsonl"


FAULTS = {
    "no rejected": ([row(rejected=[])], ":1, field 'rejected'", "is an empty list", "remove the row"),
    "no chosen": ([row(), row(id="2", chosen=[])], ":2, field 'chosen'", "is an empty list", "remove the row"),
    "chosen missing": ([{"id": "1", "prompt": "p", "rejected": ["a"]}], "field 'chosen'", "is missing", ""),
    "text for list": ([row(chosen="4")], "field 'chosen'", "is '4', not a list", ""),
    "number in list": ([row(rejected=["a", 5])], "field 'rejected[1]'", "is 5, not a string", ""),
    "no prompt": ([row(prompt=None)], "field 'prompt'", "is None, not text or messages", "role and content"),
    "empty messages": ([row(prompt=[])], "field 'prompt'", "is an empty list", ""),
    "odd role": ([row(prompt=[{"role": "robot", "content": "x"}])], "field 'prompt[0]'", "not a message", "system"),
    "odd turn": ([row(prompt=["x"])], "field 'prompt[0]'", "is 'x', not a message", ""),
    "odd subset": ([row(subset=3)], "field 'subset'", "is 3, not a string", ""),
    "no id": ([row(id=None)], "field 'id'", "is None, not a string", "its own id"),
    "double id": ([row(), row()], ":2, field 'id'", "'1' stands twice in sums: first in", "rename"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_row_field_and_fix(tmp_path, name):
    rows, where, problem, fix = FAULTS[name]
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, *rows)
    assert caught.value.where.startswith(str(tmp_path / "mine.jsonl"))
    assert where in caught.value.where
    assert problem in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


# Real rows


@pytest.mark.parametrize(
    ("name", "rows", "baseline"),
    [
        ("math_level5_zeroeval", 689, 0.45),
        ("rm_bench", 797, 0.5),
        ("truthfulqa", 817, 0.226),
        ("xstest_human", 235, 0.726),
    ],
)
def test_every_shared_file_is_read_and_has_its_random_baseline(shared_data, name, rows, baseline):
    loaded = BEST_OF_N.load(str(shared_data / "best_of_n" / f"{name}.jsonl.gz"), None)
    assert len(loaded.rows) == rows
    found = np.mean([len(row.chosen) / len(row.responses) for row in loaded.rows])
    assert found == pytest.approx(baseline, abs=5e-4)


def test_rewardbench2s_schema_is_read_too(shared_data, tmp_path):
    loaded = BEST_OF_N.load(str(shared_data / "best_of_n" / "six.jsonl.gz"), None)
    assert {found.subset for found in loaded.rows} >= {"Factuality", "Ties"}
    lines = [
        {"id": found.id, "subset": found.subset, "rewards": [1.0] * len(found.chosen) + [0.0] * len(found.rejected)}
        for found in loaded.rows
    ]
    rewards = read_rewards(write(tmp_path / "rewards.jsonl", lines), loaded.rows)
    assert score_rows(BEST_OF_N, loaded, rewards, seed=1, resamples=200).result.average == pytest.approx(1.0)
