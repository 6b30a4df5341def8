"""Bulk scoring: every form of row, output row for input row, bad rows aside, the same bytes after a kill."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from checkpoint_maker import make_checkpoint
from cli_world import World
from hypothesis import given
from hypothesis import strategies as st
from serving_world import chat, joined, reward_of

from rewardsmith.data.responses import Responses, read_responses
from rewardsmith.errors import ModelError, RunDirectoryError
from rewardsmith.pipeline.commands import score
from rewardsmith.pipeline.commands.score import ScoreOptions, score_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.protocols import Progress
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.bulk import BulkRow, score_window, windows
from rewardsmith.types import Conversation, Message


class Counting:
    """`reward_of` the joined text, NaN for `NAN`; stops like a kill at the call of that number."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.calls: list[list[str]] = []

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
        del progress
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        texts = [joined(one) for one in conversations]
        self.calls.append(texts)
        return np.array([np.nan if "NAN" in text else reward_of(text) for text in texts])


lengths = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=40)


@given(lengths, st.integers(1, 12), st.integers(1, 60))
def test_windows_keep_every_row_in_order_within_their_bounds(sizes: Any, most: int, characters: int) -> None:
    rows = [
        BulkRow(number, conversations=tuple(chat("", "x" * length) for _ in range(count)))
        for number, (count, length) in enumerate(sizes)
    ]
    found = list(windows(rows, conversations=most, characters=characters))
    assert [row for window in found for row in window] == rows
    for window in found:
        texts = [one for row in window for one in row.conversations]
        assert len(window) == 1 or (len(texts) <= most and sum(len(joined(one)) for one in texts) <= characters)


@given(lengths, st.integers(1, 12), st.data())
def test_a_job_that_goes_on_at_a_window_makes_the_same_windows(sizes: Any, most: int, data: Any) -> None:
    rows = [
        BulkRow(number, conversations=(chat("", "x" * length),) * count) for number, (count, length) in enumerate(sizes)
    ]
    whole = list(windows(rows, conversations=most, characters=60))
    done = data.draw(st.integers(0, len(whole)))
    rest = rows[sum(len(window) for window in whole[:done]) :]
    assert list(windows(rest, conversations=most, characters=60)) == whole[done:]


def test_equal_prompts_lie_side_by_side_and_rewards_come_back_in_order() -> None:
    rows = [
        BulkRow(1, conversations=(chat("b", "1"), chat("a", "2"))),
        BulkRow(2, reason="missing_field"),
        BulkRow(3, conversations=(chat("b", "0"), chat("a", "NAN"))),
    ]
    scorer = Counting()
    found = score_window(scorer, rows)
    assert scorer.calls == [["a2", "aNAN", "b0", "b1"]]
    np.testing.assert_array_equal(found[0], [reward_of("b1"), reward_of("a2")])
    assert found[1].shape == (0,)
    np.testing.assert_array_equal(found[2], [reward_of("b0"), np.nan])


USER, YES, NO = Message("user", "Q"), Message("assistant", "yes"), Message("assistant", "no")
TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    ("row", "strings", "conversations"),
    [
        ({"messages": TURNS}, "chat", ((USER, YES),)),
        ({"conversation": TURNS, "id": 1}, "chat", ((USER, YES),)),
        ({"prompt": "Q", "response": "yes"}, "chat", ((USER, YES),)),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, "chat", ((USER, YES),)),
        ({"prompt": "Q", "responses": ["yes", "no"]}, "chat", ((USER, YES), (USER, NO))),
        ({"prompt": "Q", "chosen": "yes", "rejected": "no"}, "chat", ((USER, YES), (USER, NO))),
        (
            {"chosen": TURNS, "rejected": [TURNS[0], {"role": "assistant", "content": "no"}]},
            "chat",
            ((USER, YES), (USER, NO)),
        ),
        ({"text": "<s>Q yes"}, "chat", ((Message("text", "<s>Q yes"),),)),
        ({"prompt": "Q ", "response": "yes"}, "text", ((Message("text", "Q "), Message("text", "yes")),)),
    ],
)
def test_every_form_of_row_is_read(row: Any, strings: Any, conversations: Any) -> None:
    assert read_responses(row, strings) == Responses(conversations)


@pytest.mark.parametrize(
    ("row", "code", "detail"),
    [
        ({"prompt": "Q"}, "missing_field", "has prompt; a row has messages"),
        ({}, "missing_field", "has no fields"),
        ({"messages": TURNS[:1]}, "no_response", "ends with the role user"),
        ({"messages": []}, "missing_field", "messages is an empty list"),
        ({"prompt": "Q", "responses": []}, "missing_field", "responses is no list"),
        ({"prompt": "Q", "responses": ["yes", 3]}, "not_text", "responses[1] is 3"),
        ({"prompt": "Q", "response": 3}, "not_text", "response is 3"),
        ({"prompt": "Q", "response": "\ud800"}, "not_unicode", "response has"),
    ],
)
def test_a_row_that_cannot_be_scored_has_a_reason(row: Any, code: str, detail: str) -> None:
    found = read_responses(row, "chat")
    assert found.code == code
    assert detail in found.detail


LINES = [
    '{"prompt": "Q", "responses": ["yes", "no"], "id": "a"}',
    "",
    "{broken",
    '{"prompt": "Q", "response": "NAN"}',
    '{"prompt": "Q"}',
    *(json.dumps({"prompt": f"Q{index % 3}", "response": f"answer {index} \u00fc"}) for index in range(30)),
]


def job(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, scorer: Counting, **options: Any) -> Any:
    """Score `in.jsonl` in windows of seven, with a scorer in place of a checkpoint."""
    monkeypatch.setattr(score, "open_models", lambda *_: (scorer, "counting"))
    monkeypatch.setattr(score, "windows", partial(windows, conversations=7))
    if not (folder / "in.jsonl").exists():
        (folder / "in.jsonl").write_text("\n".join(LINES) + "\n{late", encoding="utf-8")
    return score_job(ScoreOptions(("x",), folder / "in.jsonl", folder / name, **options), Silent())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_output_has_a_row_for_each_row_of_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = job(tmp_path, "out.jsonl", monkeypatch, Counting())
    found = rows(tmp_path / "out.jsonl")
    assert [row["row"] for row in found] == [1, *range(3, 37)]
    assert found[0] == {"row": 1, "id": "a", "rewards": [reward_of("Qyes"), reward_of("Qno")], "reason": ""}
    assert found[1] == {"row": 3, "id": None, "rewards": [], "reason": "broken_line"}
    assert found[2] == {"row": 4, "id": None, "rewards": [None], "reason": "no_reward"}
    assert (found[3]["reason"], found[-1]["reason"]) == ("missing_field", "broken_line")
    assert found[4]["rewards"] == [reward_of("Q0answer 0 \u00fc")]
    aside = rows(tmp_path / "out.rejected.jsonl")
    assert [row["row"] for row in aside] == [3, 4, 5, 36]
    assert aside[0]["detail"].startswith("broken JSON at column 2")
    assert (record.rows, record.rewards, record.bad_rows, record.resumed_rows) == (35, 32, 4, 0)
    assert record.reasons == {"broken_line": 2, "missing_field": 1, "no_reward": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "out.rejected.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("stop_at", [0, 1, 3, 4])
def test_a_killed_job_ends_with_the_same_bytes(
    name: str, stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    whole.mkdir(), again.mkdir()
    first = Counting()
    job(whole, name, monkeypatch, first)
    with pytest.raises(KeyboardInterrupt):
        job(again, name, monkeypatch, Counting(stop_at))
    assert not (again / name).exists()
    for part in again.glob("*.part"):
        with part.open("ab") as handle:
            handle.write(b'{"row": 99, "torn')  # what a kill leaves after the last whole window
    rest = Counting()
    record = job(again, name, monkeypatch, rest)
    assert rest.calls == first.calls[stop_at:]
    assert record.reasons == {"broken_line": 2, "missing_field": 1, "no_reward": 1}
    for path in whole.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()
    assert len(list(again.iterdir())) == len(list(whole.iterdir()))


def test_an_unfinished_output_of_another_input_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path, "out.jsonl", monkeypatch, Counting(2))
    (tmp_path / "in.jsonl").write_text(LINES[0] + "\n")
    record = job(tmp_path, "out.jsonl", monkeypatch, Counting())
    assert (record.rows, record.resumed_rows) == (1, 0)
    assert len(rows(tmp_path / "out.jsonl")) == 1
    assert not (tmp_path / "out.rejected.jsonl").exists()


def test_parquet_out_says_what_jsonl_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path, "out.jsonl", monkeypatch, Counting())
    job(tmp_path, "out.parquet", monkeypatch, Counting())
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows(tmp_path / "out.jsonl")


def test_an_output_that_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path, "out.jsonl", monkeypatch, Counting())
    with pytest.raises(RunDirectoryError, match="stands there already"):
        job(tmp_path, "out.jsonl", monkeypatch, Counting())
    job(tmp_path, "out.jsonl", monkeypatch, Counting(), overwrite=True)
    with pytest.raises(RunDirectoryError, match=r"the suffix \.txt names no format"):
        job(tmp_path, "out.txt", monkeypatch, Counting())
    with (
        score._writable(score._Files(tmp_path / "new.jsonl")),
        pytest.raises(RunDirectoryError, match="another process"),
    ):
        job(tmp_path, "new.jsonl", monkeypatch, Counting())


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("bulk") / "model", tiny_base, max_length=60)


def test_the_command_gives_the_rewards_of_a_scorer(
    model: Path, tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    sent = [
        {"prompt": "Say red.", "responses": ["red", "blue sky"]},
        {"prompt": "Say red.", "response": "word " * 60},
        {"prompt": "Say red.", "chosen": "red", "rejected": "green"},
    ]
    with gzip.open(tmp_path / "in.jsonl.gz", "wt") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in sent)
    answer = world("score", "--model", str(model), "--input", "in.jsonl.gz", "--output", "o.jsonl", "--device", "cpu")
    assert answer.code == 0, answer.err
    assert (
        "3 rows, 4 rewards; 1 missing: over_length 1; rows without one: over_length 1 (o.rejected.jsonl)" in answer.out
    )
    wanted = LocalScorer.load(model).score([chat("Say red.", one) for one in ("red", "blue sky", "green")]).tolist()
    found = [row["rewards"] for row in rows(tmp_path / "o.jsonl")]
    assert found[0] == pytest.approx(wanted[:2], abs=1e-5)
    assert found[1] == [None]
    assert found[2] == pytest.approx([wanted[0], wanted[2]], abs=1e-5)
    assert rows(tmp_path / "o.rejected.jsonl")[0]["detail"].startswith("response 1: ")
    again = world("score", "--model", str(model), "--input", "in.jsonl.gz", "--output", "o.jsonl", "--device", "cpu")
    assert again.code == 2
    assert "o.jsonl: stands there already" in again.err
    combined = world(
        *("score", "--model", f"a={model}", "--model", f"b={model}", "--combine", "uwo", "--weights", "a=1,b=2"),
        *("--input", "in.jsonl.gz", "--output", "c.parquet", "--device", "cpu", "--json"),
    )
    assert combined.code == 0, combined.err
    assert combined.json()["rewards"] == 4
    table = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert table[0]["rewards"] == pytest.approx(wanted[:2], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x", "--calibrated"], "nothing to calibrate"),
        (["--model", "a=x", "--model", "b=y"], "there are 2 models and no rule"),
        (["--model", "x", "--weights", "x=1"], "--weights: there is nothing to combine"),
        (["--model", "nothing/here"], "nothing/here: the tokenizer cannot be loaded"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(
    arguments: list[str], message: str, tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    answer = world("score", *arguments, "--input", "train.jsonl", "--output", "o.jsonl")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (tmp_path / "o.jsonl").exists()


def test_a_dead_server_stops_the_job_and_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(Counting):
        def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> np.ndarray:
            if len(self.calls) == 2:
                raise ModelError("no answer", where="http://h", fix="start it")
            return super().score(conversations, progress)

    with pytest.raises(ModelError, match="no answer"):
        job(tmp_path, "out.jsonl", monkeypatch, Dying())
    assert job(tmp_path, "out.jsonl", monkeypatch, Counting()).resumed_rows > 0
