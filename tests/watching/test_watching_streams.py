"""Logs of each trainer are read as they write them; what cannot be used is counted and named; reading continues."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.errors import DataError
from rewardsmith.types import Message
from rewardsmith.watching import Answer, Stream


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows), "utf-8")
    return path


def answers(stream: Stream) -> list[Answer]:
    return [read.answer for read in stream.poll() if read.answer is not None]


PLAIN = {"prompt": "Why?", "response": "Because.", "reward": 1.5, "step": 3}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def test_a_plain_log_with_all_that_it_may_say(tmp_path: Path) -> None:
    more = {**PLAIN, "prompt": CHAT, "group": 7, "kl": 0.2, "doubt": 0.5, "quality": 3}
    stream = Stream(lines(tmp_path / "log.jsonl", PLAIN, more))
    first, second = answers(stream)
    assert first == Answer(3, (Message("user", "Why?"),), "Because.", 1.5, group="Why?")
    assert second.prompt == (Message("system", "Be brief."), Message("user", "Why?"))
    assert (second.group, second.kl, second.doubt, second.quality) == ("7", 0.2, 0.5, 3.0)
    assert stream.form == "plain"


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    bad = [
        ("{", "no JSON"),
        ("[1]", "no object"),
        ({**PLAIN, "reward": None}, "no finite reward"),
        ({**PLAIN, "reward": "3"}, "no finite reward"),
        ('{"prompt": "a", "response": "b", "reward": NaN, "step": 1}', "no finite reward"),
        ({**PLAIN, "step": 1.5}, "no whole step"),
        ({**PLAIN, "step": True}, "no whole step"),
        ({**PLAIN, "response": "  "}, "no text of an answer"),
        ({**PLAIN, "response": 3}, "no text of an answer"),
        ({**PLAIN, "prompt": 3}, "a prompt that is no text and no messages"),
        ({**PLAIN, "prompt": [{"role": "user"}]}, "a prompt that is no text and no messages"),
    ]
    stream = Stream(lines(tmp_path / "log.jsonl", PLAIN, *(row for row, _ in bad), "", PLAIN))
    reads = list(stream.poll())
    assert [read.why for read in reads] == ["", *(why for _, why in bad), ""]
    assert reads[1].place.endswith("log.jsonl, byte 69")


def test_verls_rollouts_are_read_in_the_order_of_steps(tmp_path: Path) -> None:
    """`_dump_generations` of verl's `ray_trainer.py`: a file a step, with `gts` and what reward functions add."""
    for step in (10, 2):
        row = {"input": "user\nWhy?\nassistant\n", "output": f"At {step}.", "gts": None, "score": 0.5, "step": step}
        lines(tmp_path / f"{step}.jsonl", {**row, "acc": True})
    stream = Stream(tmp_path)
    assert [(one.step, one.response, one.reward) for one in answers(stream)] == [(2, "At 2.", 0.5), (10, "At 10.", 0.5)]
    assert stream.form == "verl"
    lines(tmp_path / "11.jsonl", {**row, "step": 11})
    assert [one.step for one in answers(stream)] == [11]


def test_trls_completions_are_read_and_several_rewards_need_a_name(tmp_path: Path) -> None:
    """GRPOTrainer with `log_completions`: step, prompt, completion, a column a reward function, advantage."""
    table = {
        "step": [5, 5],
        "prompt": [CHAT, CHAT],
        "completion": [[{"role": "assistant", "content": "Because."}], [{"role": "assistant", "content": "So."}]],
        "helpful": [1.0, 2.0],
        "advantage": [-1.0, 1.0],
    }
    folder = tmp_path / "completions"
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "completions_00005.parquet")
    stream = Stream(folder)
    found = answers(stream)
    assert [(one.step, one.response, one.reward) for one in found] == [(5, "Because.", 1.0), (5, "So.", 2.0)]
    assert found[0].prompt[-1] == Message("user", "Why?")
    assert answers(stream) == []
    pq.write_table(pa.table({**table, "brief": [0.25, 0.5]}), folder / "completions_00010.parquet")
    with pytest.raises(DataError, match="2 columns of numbers: brief, helpful"):
        answers(Stream(folder, file="completions_00005.parquet", offset=2))
    both = Stream(folder, rewards=("helpful", "brief"), file="completions_00005.parquet", offset=2)
    assert [one.reward for one in answers(both)] == [1.25, 2.5]


def test_openrlhfs_table_of_samples(tmp_path: Path) -> None:
    """Its WandbLogger sends a table with the columns global_step, text, reward."""
    table = {"columns": ["global_step", "text", "reward"], "data": [[1, "user: Why? So.", 0.5], [2, "x", None]]}
    path = tmp_path / "generated_samples.table.json"
    path.write_text(json.dumps(table))
    reads = list(Stream(path).poll())
    assert reads[0].answer is not None
    assert (reads[0].answer.step, reads[0].answer.response, reads[1].why) == (1, "user: Why? So.", "no finite reward")


def test_rows_without_a_step_need_to_know_how_many_make_one(tmp_path: Path) -> None:
    row = {name: value for name, value in PLAIN.items() if name != "step"}
    path = lines(tmp_path / "log.jsonl", *[row] * 5)
    with pytest.raises(DataError, match=r"rows have no step[\s\S]*--per-step"):
        answers(Stream(path))
    assert [one.step for one in answers(Stream(path, per_step=2))] == [1, 1, 2, 2, 3]


def test_unknown_columns_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"columns are question[\s\S]*prompt, response, reward and step"):
        answers(Stream(lines(tmp_path / "log.jsonl", {"question": "x"})))
    for name in ("none.jsonl", "log.txt"):
        (tmp_path / "log.txt").touch()
        with pytest.raises(DataError, match=r"no such file|no file that can be read"):
            answers(Stream(tmp_path / name))


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", PLAIN)
    stream = Stream(path)
    assert len(answers(stream)) == 1
    text = json.dumps({**PLAIN, "step": 4}) + "\n"
    with path.open("a") as handle:
        handle.write(text[:20])
    assert answers(stream) == []
    with path.open("a") as handle:
        handle.write(text[20:])
    assert [one.step for one in answers(stream)] == [4]
    with path.open("a") as handle:
        handle.write(text.strip())
    assert answers(stream) == []
    assert [read.answer.step for read in stream.poll(last=True) if read.answer] == [4], "nobody writes any more"
    again = Stream(path, form="plain", file=path.name, offset=stream.place[1])
    assert answers(again) == []


def test_a_file_of_a_folder_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    lines(tmp_path / "1.jsonl", PLAIN)
    (tmp_path / "2.parquet").write_bytes(b"PAR1 no more")
    reads = list(Stream(tmp_path).poll())
    assert [bool(read.answer) for read in reads] == [True, False]
    assert "cannot be read" in reads[1].why
    stream = Stream(tmp_path)
    assert [len(list(stream.poll())) for _ in range(3)] == [2, 0, 0], "it is counted once"
