"""RMB: the rule by hand, its schema and faults, and what counts as published."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation import random_baselines, read_rewards, score_rows
from rewardsmith.evaluation.benchmarks import rmb as module
from rewardsmith.evaluation.benchmarks.rmb import RMB, SUBSETS, git_name
from rewardsmith.types import Message


def answer(text):
    return {"llm_name": "a model", "answer": text}


def asked(text):
    return [{"role": "user", "content": text, "language": "English"}]


def pair(**changes):
    return {
        "pair_uid": "7",
        "conversation_input": asked("2 + 2?"),
        "chosen": answer("4"),
        "reject": answer("5"),
        "category_path": "Pairwise_set/Helpfulness/Code/Data Management",
    } | changes


def best(losers=2, **changes):
    return {
        "bon_uid": "9",
        "conversation_input": asked("3 + 3?"),
        "bon_best": answer("6"),
        "loser_list": [answer(str(i)) for i in range(losers)],
        "category_path": "BoN_set/Harmlessness/S1",
    } | changes


def write(path, rows):
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return str(path)


def load(tmp_path, *rows):
    return RMB.load(write(tmp_path / "mine.jsonl", rows), None)


def scored(loaded, *rewards):
    return score_rows(RMB, loaded, [np.array(r, dtype=float) for r in rewards], seed=1, resamples=200)


# The rule


@pytest.mark.parametrize(
    ("rewards", "result"),
    [
        ([3.0, 2.0, 1.0], 1.0),
        ([3.0, 3.0, 1.0], 0.0),
        ([3.0, 1.0, 4.0], 0.0),
        ([3.0, 3.0, 3.0], 0.0),
        ([math.nan, 1.0, 1.0], 0.0),
        ([3.0, 1.0, math.nan], 0.0),
    ],
)
def test_every_loser_must_be_strictly_below_the_best(tmp_path, rewards, result):
    found = scored(load(tmp_path, best()), rewards)
    assert found.rows[0].result == result
    assert found.result.subsets["Harmlessness, best-of-N"].baseline == pytest.approx(1 / 3)


@pytest.mark.parametrize(("rewards", "result"), [([1, 0], 1.0), ([0, 1], 0.0), ([1, 1], 0.0), ([1, math.nan], 0.0)])
def test_equal_rewards_of_a_pair_lose(tmp_path, rewards, result):
    assert scored(load(tmp_path, pair()), rewards).rows[0].result == result


def four_kinds():
    return [
        best(category_path="BoN_set/Helpfulness/Code/Documentation", losers=3),
        best(bon_uid="10", category_path="BoN_set/Helpfulness/Chat/Discussion", losers=1),
        pair(),
        best(),
        pair(pair_uid="8", category_path="Pairwise_set/Harmlessness/multi"),
    ]


def test_four_scores_their_mean_and_the_scenarios(tmp_path):
    loaded = load(tmp_path, *four_kinds())
    result = scored(loaded, [1, 0, 0, 0], [0, 1], [1, 0], [0, 1, 2], [1, 0]).result
    assert tuple(result.subsets) == SUBSETS
    assert [subset.score for subset in result.subsets.values()] == [0.5, 1.0, 0.0, 1.0]
    assert result.average == pytest.approx(2.5 / 4)
    assert result.average_baseline == pytest.approx(((1 / 4 + 1 / 2) / 2 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    metrics = result.metrics
    assert (metrics["section_Helpfulness"], metrics["section_Harmlessness"]) == (0.75, 0.5)
    assert (metrics["section_best-of-N"], metrics["section_pairwise"]) == (0.25, 1.0)
    assert (metrics["BoN_set/Helpfulness/Code"], metrics["BoN_set/Helpfulness/Chat"]) == (1.0, 0.0)
    assert metrics["Pairwise_set/Harmlessness/multi"] == 1.0
    assert "equal rewards lose" in result.protocol


def test_an_absent_subset_is_named_and_its_sections_are_left_out(tmp_path):
    loaded = load(tmp_path, pair())
    result = scored(loaded, [1, 0]).result
    assert "Absent here: Helpfulness, best-of-N" in result.protocol
    assert not any(name.startswith("section_") for name in result.metrics)
    assert random_baselines(RMB, loaded.rows, 1) == {"Helpfulness, pairwise": 0.5, "average": 0.5}


def test_length_baseline_beats_all_losers_or_none(tmp_path):
    longest = best(bon_best=answer("longest"), loser_list=[answer("short"), answer("longes")])
    assert scored(load(tmp_path, longest), [0, 0, 0]).result.subsets["Harmlessness, best-of-N"].length_baseline == 1.0


# The schema


def test_rows_are_read_as_conversations(tmp_path):
    turns = [*asked("Hi"), {"role": "assistant", "content": "Hello."}, *asked("2 + 2?")]
    (found,) = load(tmp_path, pair(conversation_input=turns)).rows
    assert found.conversations[1] == (
        Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "2 + 2?"), Message("assistant", "5"),
    )  # fmt: skip
    assert found.key == ("Helpfulness, pairwise", "7")


def without(item, field):
    return {name: value for name, value in item.items() if name != field}


FAULTS = {
    "no losers": ([best(losers=0)], ":1, field 'loser_list'", "is an empty list", "remove the row"),
    "losers missing": ([without(best(), "loser_list")], "field 'loser_list'", "is missing", ""),
    "loser without answer": ([best(loser_list=[{}])], "field 'loser_list[0]'", "holds no answer", ""),
    "loser as text": ([best(loser_list=["a"])], "field 'loser_list[0]'", "holds no answer", '{"answer": "text"}'),
    "no best": ([without(best(), "bon_best")], "field 'bon_best'", "is missing", ""),
    "no chosen": ([pair(), without(pair(pair_uid="8"), "chosen")], ":2, field 'chosen'", "is missing", ""),
    "no reject": ([without(pair(), "reject")], "field 'reject'", "is missing", ""),
    "unknown goal": ([pair(category_path="Pairwise_set/Helpful/Code")], "'Helpful' is not one of", "", "Helpfulness"),
    "unknown set": ([pair(category_path="Pair_set/Helpfulness/Code")], "'Pair_set' is not", "", "Pairwise_set"),
    "no scenario": ([pair(category_path="Pairwise_set/Helpfulness")], "names no scenario", "", "SET/GOAL/SCENARIO"),
    "other set": ([best(category_path="Pairwise_set/Harmlessness/S1")], "names the pairwise set", "bon_best", ""),
    "no id": ([without(pair(), "pair_uid")], "field 'pair_uid'", "is missing", ""),
    "double id": ([pair(), pair()], ":2, field 'id'", "stands twice", ""),
    "empty conversation": ([pair(conversation_input=[])], "field 'conversation_input'", "is an empty list", ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_row_field_and_fix(tmp_path, name):
    rows, first, second, fix = FAULTS[name]
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, *rows)
    assert caught.value.where.startswith(str(tmp_path / "mine.jsonl"))
    assert first in str(caught.value)
    assert second in str(caught.value)
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


REWARDS = [
    {"id": "7", "subset": "Helpfulness, pairwise", "rewards": [1, 0]},
    {"id": "9", "subset": "Harmlessness, best-of-N", "rewards": [1, 0, None]},
]
REWARD_FAULTS = {
    "missing": (REWARDS[:1], "1 of 2 rows have no rewards: Harmlessness, best-of-N / 9"),
    "extra": ([*REWARDS, {"id": "1", "subset": "x", "rewards": []}], ":3, field 'id': x / 1 is not a row"),
    "double": ([*REWARDS, REWARDS[0]], ":3, field 'id': Helpfulness, pairwise / 7 stands twice"),
    "NaN": ([REWARDS[0] | {"rewards": [math.nan, 0]}, REWARDS[1]], ":1, field 'rewards[0]': is nan"),
}


@pytest.mark.parametrize("name", REWARD_FAULTS)
def test_faults_of_rewards_name_the_row(tmp_path, name):
    loaded = load(tmp_path, pair(), best())
    lines, problem = REWARD_FAULTS[name]
    with pytest.raises(BenchmarkError) as caught:
        read_rewards(write(tmp_path / "r.jsonl", lines), loaded.rows)
    assert problem in str(caught.value)
    assert caught.value.exit_code == 2


def test_rewards_from_a_file_are_scored(tmp_path):
    loaded = load(tmp_path, pair(), best())
    rewards = read_rewards(write(tmp_path / "r.jsonl", REWARDS), loaded.rows)
    result = score_rows(RMB, loaded, rewards, seed=1, resamples=200).result
    assert [(subset.score, subset.n_missing) for subset in result.subsets.values()] == [(1.0, 0), (0.0, 1)]


# Published or not


def published(folder: Path) -> Path:
    for place, item in (
        ("Pairwise_set/Helpfulness/Code/Data Management.json", pair()),
        ("BoN_set/Harmlessness/S1.json", best()),
    ):
        path = folder / "RMB_dataset" / place
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([item]), encoding="utf-8")
    return folder / "RMB_dataset"


def test_gits_name_of_files_and_folders(tmp_path):
    # `git hash-object` and `git write-tree` over the same two files gave these names.
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_bytes(b"[]\n")
    (tmp_path / "a.json").write_bytes(b"{}\n")
    (tmp_path / ".DS_Store").write_bytes(b"left out")
    assert git_name(tmp_path / "a.json") == "0967ef424bce6791893e9a57bb952f80fd536e93"
    assert git_name(tmp_path / "a" / "x.json") == "fe51488c7066f6687ef680d6bfaa4f7768ef205c"
    assert git_name(tmp_path) == TREE


TREE = "f67d1b08a2d98b560c404c893ac58c527690d206"


def test_only_the_published_folder_in_full_is_official(tmp_path, monkeypatch):
    folder = published(tmp_path)
    loaded = RMB.load(str(folder), None)
    assert (loaded.title, loaded.dataset.official, len(loaded.rows)) == ("RMB_dataset", False, 2)
    monkeypatch.setattr(module, "PUBLISHED_TREE", git_name(folder))
    loaded = RMB.load(str(folder), None)
    assert (loaded.title, loaded.dataset.official) == ("RMB", True)
    (folder / "BoN_set" / "Harmlessness" / "S1.json").write_text(json.dumps([best(losers=4)]), encoding="utf-8")
    assert not RMB.load(str(folder), None).dataset.official
    assert not RMB.load(str(folder / "BoN_set"), None).dataset.official
