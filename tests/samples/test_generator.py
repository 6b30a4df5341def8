"""The files of the embedded samples: schema, sizes, seeds, parts, cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sample_verifiers import VERIFIERS

from rewardsmith.errors import RunDirectoryError
from rewardsmith.evaluation.benchmarks import rewardbench2
from rewardsmith.samples import Sizes, cache_folder, write_samples
from rewardsmith.samples.generator import (
    DEFAULT_SIZES,
    best_of_n_rows,
    cached,
    preference_pairs,
    warm_up_texts,
)

SMALL = Sizes(train_blocks=12, held_out_blocks=4, row_blocks=5, ties=8, warm_up_blocks=6)
SUBSETS = ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"]


@pytest.fixture(scope="module")
def train():
    return preference_pairs("train", seed=0)


@pytest.fixture(scope="module")
def held_out():
    return preference_pairs("held_out", seed=0)


@pytest.fixture(scope="module")
def rows():
    return best_of_n_rows(seed=0)


def prompt_of(row) -> str:
    return row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]


def test_no_held_out_prompt_is_a_training_prompt(train, held_out, rows) -> None:
    read = {prompt_of(row) for row in train} | {prompt for prompt, _ in warm_up_texts(seed=0)}
    asked = {prompt_of(row) for row in [*held_out, *rows]}
    assert len(read) > 4000
    assert len(asked) > 900
    assert read.isdisjoint(asked)


def test_parts_stay_apart_across_seeds(train) -> None:
    # The split belongs to the item, not to the seed: another seed's benchmark is not this seed's training data.
    asked = {prompt_of(row) for row in best_of_n_rows(seed=1)}
    assert {prompt_of(row) for row in train}.isdisjoint(asked)


def test_pairs_have_the_form_of_the_design(train) -> None:
    for row in train:
        assert list(row) == ["prompt", "chosen", "rejected", "id", "source", "subset"]
        assert [m["role"] for m in row["prompt"] + row["chosen"] + row["rejected"]] == [
            "user",
            "assistant",
            "assistant",
        ]
        assert row["source"] == "embedded"
        assert row["chosen"] != row["rejected"]
    assert len({row["id"] for row in train}) == len(train)
    assert len({json.dumps([row["prompt"], row["chosen"], row["rejected"]]) for row in train}) == len(train)


def test_every_pair_is_labelled_right(train, held_out) -> None:
    for row in [*train, *held_out]:
        verify = VERIFIERS[row["subset"]]
        prompt, chosen, rejected = (row[field][-1]["content"] for field in ("prompt", "chosen", "rejected"))
        assert verify(prompt, chosen), row
        assert not verify(prompt, rejected), row


def test_every_row_is_labelled_right(rows) -> None:
    for row in rows:
        verify = VERIFIERS[row["subset"]]
        assert all(verify(row["prompt"], text) for text in row["chosen"]), row
        assert not any(verify(row["prompt"], text) for text in row["rejected"]), row


def test_subsets_have_the_numbers_that_sizes_say(train, held_out, rows) -> None:
    assert Counter(row["subset"] for row in train) == dict.fromkeys(SUBSETS, 4 * DEFAULT_SIZES.train_blocks)
    assert Counter(row["subset"] for row in held_out) == dict.fromkeys(SUBSETS, 4 * DEFAULT_SIZES.held_out_blocks)
    assert Counter(row["subset"] for row in rows) == {
        **dict.fromkeys(SUBSETS[:5], 4 * DEFAULT_SIZES.row_blocks),
        "Ties": 2 * DEFAULT_SIZES.ties,
    }


def test_rows_have_rewardbench_2s_schema(rows) -> None:
    for row in rows:
        assert list(row) == [
            "id",
            "prompt",
            "chosen",
            "rejected",
            "num_correct",
            "num_incorrect",
            "total_completions",
            "models",
            "subset",
            "additional_metadata",
        ]
        assert (row["num_correct"], row["num_incorrect"]) == (len(row["chosen"]), len(row["rejected"]))
        assert row["total_completions"] == row["num_correct"] + row["num_incorrect"]
        assert len({*row["chosen"], *row["rejected"]}) == row["total_completions"]
        if row["subset"] != "Ties":
            assert (row["num_correct"], row["num_incorrect"]) == (1, 3)
    keys = [(row["subset"], row["id"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert len({(row["subset"], row["prompt"]) for row in rows}) == len(rows)
    ties = {row["id"] for row in rows if row["subset"] == "Ties"}
    assert ties == {f"{half}:{k}" for half in ("ref", "tied") for k in range(DEFAULT_SIZES.ties)}


def test_the_benchmark_reads_the_rows(tmp_path: Path) -> None:
    paths = write_samples(tmp_path, seed=0, sizes=SMALL)
    loaded = rewardbench2.load_rows(str(paths.best_of_4))
    assert Counter(row.subset for row in loaded.rows) == {**dict.fromkeys(SUBSETS[:5], 20), "Ties": 16}
    assert not loaded.dataset.official


def test_each_response_is_chosen_as_often_as_rejected(train, held_out) -> None:
    for pairs in (train, held_out):
        chosen = Counter(row["chosen"][0]["content"] for row in pairs)
        assert chosen == Counter(row["rejected"][0]["content"] for row in pairs)


def test_four_neighbouring_pairs_hold_every_response_on_both_sides(train) -> None:
    for start in range(0, len(train), 4):
        step = train[start : start + 4]
        assert len({row["subset"] for row in step}) == 1
        assert Counter(row["chosen"][0]["content"] for row in step) == Counter(
            row["rejected"][0]["content"] for row in step
        )


def test_right_answers_are_neither_longer_nor_shorter(rows) -> None:
    for subset in SUBSETS[:5]:
        own = [row for row in rows if row["subset"] == subset]
        right = np.mean([len(row["chosen"][0]) for row in own])
        wrong = np.mean([len(text) for row in own for text in row["rejected"]])
        assert right == pytest.approx(wrong, abs=1e-9)


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    paths = write_samples(tmp_path / "here", seed=4, sizes=SMALL)
    code = (
        "from pathlib import Path; from rewardsmith.samples import write_samples, Sizes;"
        f"print(write_samples(Path({str(tmp_path / 'there')!r}), seed=4, sizes={SMALL!r}).train.parent)"
    )
    # Another hash seed: nothing may depend on the order of a set.
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for path in paths.train, paths.held_out, paths.best_of_4:
        assert path.read_bytes() == (Path(run.stdout.strip()) / path.name).read_bytes()


def test_another_seed_gives_other_rows() -> None:
    assert best_of_n_rows(seed=0, sizes=SMALL) != best_of_n_rows(seed=1, sizes=SMALL)


def test_a_larger_training_set_leaves_the_benchmark_as_it_is() -> None:
    more = Sizes(train_blocks=20, held_out_blocks=4, row_blocks=5, ties=8, warm_up_blocks=9)
    assert best_of_n_rows(seed=0, sizes=SMALL) == best_of_n_rows(seed=0, sizes=more)


def test_files_are_written_once(tmp_path: Path) -> None:
    paths = write_samples(tmp_path, seed=0, sizes=SMALL)
    paths.train.write_text("kept")
    assert write_samples(tmp_path, seed=0, sizes=SMALL) == paths
    assert paths.train.read_text() == "kept"
    assert write_samples(tmp_path, seed=1, sizes=SMALL).train != paths.train


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("a half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "made", fail)
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_wins(tmp_path: Path) -> None:
    def overtaken(folder: Path) -> None:
        (folder / "file").write_text("second")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "file").write_text("first")

    assert (cached(tmp_path, "made", overtaken) / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_cache_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="set REWARDSMITH_CACHE"):
        write_samples(tmp_path / "file", seed=0, sizes=SMALL)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"REWARDSMITH_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/rewardsmith"),
        ({}, "/home/somebody/.cache/rewardsmith"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name in ("REWARDSMITH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)
