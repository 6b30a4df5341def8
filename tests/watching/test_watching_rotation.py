"""A log that is renamed, replaced, truncated or copied while it is read: no row twice, none missed without a word."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.watching import Read, Stream


def line(step: int) -> str:
    return json.dumps({"prompt": f"Why {step}?", "response": f"At {step}.", "reward": 0.5, "step": step}) + "\n"


def append(path: Path, *steps: int) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.writelines(map(line, steps))


def steps(stream: Stream, *, last: bool = False) -> list[int]:
    reads = list(stream.poll(last=last))
    assert [read.why for read in reads] == [""] * len(reads)
    return [read.answer.step for read in reads if read.answer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    append(tmp_path / "log.jsonl", 1, 2)
    return tmp_path / "log.jsonl"


@pytest.fixture
def stream(path: Path) -> Stream:
    """Has read what is there."""
    found = Stream(path)
    assert steps(found) == [1, 2]
    return found


def again(stream: Stream, path: Path, mark: str) -> Stream:
    """Another process that continues behind what `stream` has read."""
    return Stream(path, form="plain", file=stream.place[0], offset=stream.place[1], mark=mark)


def mark_of(stream: Stream) -> str:
    assert steps(stream) == []
    return stream.mark_at(stream.place[1])


def test_a_renamed_log_is_read_to_its_end_before_the_new_one(path: Path, stream: Stream) -> None:
    append(path, 3)
    old = path.rename(path.with_name("log.jsonl.1"))
    append(old, 4)
    assert steps(stream) == [3, 4], "its name is free: it is waited for"
    assert stream.said == [f"{path} is gone: the watch waits for a file of that name"]
    assert steps(stream) == []
    assert len(stream.said) == 1
    path.touch()
    append(old, 5)
    assert steps(stream) == [5], "the writer has not gone over to the new one"
    append(old, 6)
    append(path, 7, 8)
    assert steps(stream) == [6, 7, 8]
    assert stream.said[1:] == [f"{path} is a new file: the old one is read to its end"]
    append(path, 9)
    assert steps(stream) == [9]
    assert stream.rotations == {"replaced": 1}


def test_rows_name_the_file_that_they_stand_in_and_a_cut_row_of_the_old_one_is_one(path: Path, stream: Stream) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write("{oops")
    path.rename(path.with_name("away.jsonl"))
    append(path, 3)
    reads: list[Read] = list(stream.poll())
    assert [(read.why, read.place) for read in reads] == [
        ("no JSON", f"{path.with_name('away.jsonl')}, byte {2 * len(line(1))}"),
        ("", f"{path}, byte 0"),
    ]


def test_a_call_that_continues_finds_what_was_rotated_meanwhile_in_its_order(path: Path, stream: Stream) -> None:
    mark = mark_of(stream)
    append(path, 3)
    for number, name in enumerate(("log.jsonl.2", "log.jsonl.1")):
        moved = path.rename(path.with_name(name))
        os.utime(moved, ns=(0, 10**18 + number))
        append(path, 4 + number)
    append(path.with_name("log.jsonl.old"), 99)  # not called as a rotated file
    found = again(stream, path, mark)
    assert steps(found, last=True) == [3, 4, 5]
    assert found.rotations == {"replaced": 2}


def test_a_mark_leads_back_to_a_row_of_the_file_that_was_rotated(path: Path, stream: Stream) -> None:
    mark = mark_of(stream)
    append(path, 3, 4)
    path.rename(path.with_name("log.jsonl.1"))
    append(path, 5)
    found = again(stream, path, mark)
    marks = {
        read.answer.step: (read.offset, found.mark_at(read.offset)) for read in found.poll(last=True) if read.answer
    }
    for step, wanted in ((3, [3, 4, 5]), (4, [4, 5]), (5, [5])):
        offset, mark = marks[step]
        back = Stream(path, form="plain", file=path.name, offset=offset, mark=mark)
        assert steps(back, last=True) == wanted
        assert back.rotations == ({"replaced": 1} if step < 5 else {})


@pytest.mark.parametrize("grown", [False, True])
def test_a_truncated_log_begins_anew_also_where_it_has_grown_beyond_what_was_read(
    path: Path, stream: Stream, grown: bool
) -> None:
    many = [3, 4, 5] if grown else [3]
    os.truncate(path, 0)
    append(path, *many)
    assert steps(stream) == many
    assert stream.rotations == {"truncated": 1}
    end = 2 * len(line(1))
    assert stream.said == [f"{path} was truncated: what came after byte {end} and before the cut is not read"]
    append(path, 6)
    assert steps(stream) == [6]
    assert stream.rotations == {"truncated": 1}


def test_an_empty_log_after_a_cut_waits_for_rows(path: Path, stream: Stream) -> None:
    os.truncate(path, 0)
    assert (steps(stream), stream.rotations) == ([], {"truncated": 1})
    append(path, 3)
    assert (steps(stream), stream.rotations) == ([3], {"truncated": 1})


def test_a_log_that_was_removed_and_made_anew_is_read_and_its_rest_is_said_to_be_lost(
    path: Path, stream: Stream
) -> None:
    with path.open("rb") as held:  # its inode is not given away
        path.unlink()
        append(path, 3)
        assert held.read(1)
        assert steps(stream) == [3]
    assert stream.rotations == {"lost": 1}
    assert "the old one is gone" in stream.said[0]


def test_a_copy_that_has_grown_goes_on_where_it_was(path: Path, stream: Stream, tmp_path: Path) -> None:
    """rsync and editors write aside and rename: another inode, the same beginning."""
    copy = tmp_path / "aside"
    shutil.copy(path, copy)
    append(copy, 3)
    copy.replace(path)
    assert (steps(stream), stream.rotations, stream.said) == ([3], {}, [])


def test_a_file_of_a_folder_that_is_cut_begins_anew(tmp_path: Path) -> None:
    append(tmp_path / "1.jsonl", 1)
    append(tmp_path / "2.jsonl", 2, 3)
    stream = Stream(tmp_path)
    assert steps(stream) == [1, 2, 3]
    os.truncate(tmp_path / "2.jsonl", 0)
    append(tmp_path / "2.jsonl", 4)
    append(tmp_path / "3.jsonl", 5)
    assert (steps(stream), stream.rotations) == ([4, 5], {"truncated": 1})


def test_a_table_with_fewer_rows_than_were_read_is_another_table(tmp_path: Path) -> None:
    def write(*numbers: int) -> None:
        table = {"prompt": ["Why?"] * len(numbers), "completion": ["So."] * len(numbers), "step": list(numbers)}
        pq.write_table(pa.table({**table, "good": [0.5] * len(numbers)}), tmp_path / "log.parquet")

    write(1, 2, 3)
    stream = Stream(tmp_path / "log.parquet")
    assert steps(stream) == [1, 2, 3]
    write(4, 5)
    assert (steps(stream), stream.rotations) == ([4, 5], {"replaced": 1})
    write(4, 5, 6)
    assert (steps(stream), stream.rotations) == ([6], {"replaced": 1})


def test_the_servers_stream_is_read_past_its_rotation(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    from serving_world import chat

    from rewardsmith.serving.dialects import Ask, Rewards
    from rewardsmith.serving.engine import ModelInfo
    from rewardsmith.serving.stream import Mark, RewardStream

    path, stream = tmp_path / "rollouts.jsonl", Stream(tmp_path / "rollouts.jsonl")
    rewards = Rewards([1.0], [1], [0], [""], {}, "m", ModelInfo(identity="i", max_length=9))

    def serve(*steps: int) -> None:
        with closing(RewardStream(path, lambda outcome, rows: None)) as writer:
            for step in steps:
                writer.add(Ask([chat("Why?", f"At {step}.")]), rewards, Mark(step))

    serve(1, 2)
    assert steps(stream) == [1, 2]
    serve(3)
    path.rename(path.with_name("rollouts.jsonl.1"))
    serve(4)
    assert (steps(stream), stream.rotations) == ([3, 4], {"replaced": 1})
