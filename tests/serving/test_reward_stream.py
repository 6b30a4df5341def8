"""`serve --stream`: rows of every dialect as the watch reads them; a file that is slow, full, moved or something else.

Rewards are those of the counting engine: the code points of the text, summed, over 8. "AB" is 16.375, "C" 8.375.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving_world import WAIT, CountingEngine, World, chat, reward_of, serving

from rewardsmith.errors import UserError
from rewardsmith.serving import stream as module
from rewardsmith.serving.dialects import DIALECTS, Ask, Rewards
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.stream import Mark, RewardStream
from rewardsmith.types import Message
from rewardsmith.watching import Stream

EMPTY = "Prompt and answer stand together in the text below."
USER = {"role": "user", "content": "A"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
AGENT = [
    {"role": "assistant", "content": "B", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "D"},
    {"role": "assistant", "content": "C"},
]
ASKED: list[tuple[str, Any, list[tuple[str, str, str]]]] = [  # path, body, (prompt, response, text that is rewarded)
    (
        "/get_reward",
        {"query": ["AB", "XC", "A"], "prompts": ["A", "C", "A"], "labels": []},
        [("A", "B", "AB"), ("C", "XC", "XC"), ("A", "A", "A")],
    ),
    ("/get_reward", {"query": ["AB"], "prompts": [None]}, [(EMPTY, "AB", "AB")]),
    ("/get_reward", {"query": []}, []),
    ("/classify", {"input": ["AB", "C"]}, [(EMPTY, "AB", "AB"), (EMPTY, "C", "C")]),
    ("/classify", {"messages": [USER, {"role": "assistant", "content": "BC"}]}, [("A", "BC", "ABC")]),
    ("/classify", {"text": "AB"}, [(EMPTY, "AB", "AB")]),
    ("/pooling", {"input": "ABC", "task": "classify"}, [(EMPTY, "ABC", "ABC")]),
    ("/v1/embeddings", {"input": ["AB"]}, [(EMPTY, "AB", "AB")]),
    ("/slime", {"prompt": "A", "response": "BC"}, [("A", "BC", "ABC")]),
    ("/slime", {"prompt": [USER], "response": "BC"}, [("A", "BC", "ABC")]),
    ("/v1/score/evaluation", {"messages": ["AB", "C"]}, [(EMPTY, "AB", "AB"), (EMPTY, "C", "C")]),
    ("/v1/score", {"prompt": "A", "responses": ["B", "é\u2028"]}, [("A", "B", "AB"), ("A", "é\u2028", "Aé\u2028")]),
    ("/v1/score", {"prompt": "A", "responses": [AGENT]}, [("A", f"B\n{json.dumps([CALL])}\nD\nC", "ABDC")]),
    ("/v1/score", {"prompt": "A", "responses": ["REFUSE", "B"], "allow_missing": True}, [("A", "B", "AB")]),
    ("/v1/score", {"conversations": [[{"role": "assistant", "content": "B"}]]}, [(EMPTY, "B", "B")]),
    ("/v1/compare", {"prompt": "A", "responses": ["B", "C"]}, [("A", "B", "AB"), ("A", "C", "AC")]),
]


def answers(path: Path) -> list[Any]:
    reads = list(Stream(path, per_step=4).poll(last=True))
    assert [read.why for read in reads] == [""] * len(reads)
    return [read.answer for read in reads]


def one(text: str, reward: float = 1.0, **more: Any) -> tuple[Ask, Rewards]:
    """A request of a chat and what it got."""
    rewards = Rewards([reward], [1], [0], [""], {}, "m", ModelInfo(identity="i", max_length=9), **more)
    return Ask([chat("Q", text)]), rewards


def settled(world: World, **wanted: float) -> None:
    """Wait until the thread has counted so many rows."""
    until = time.monotonic() + WAIT
    while any(world.metric("stream_rows_total", result=name) != value for name, value in wanted.items()):
        assert time.monotonic() < until
        time.sleep(0.01)


class Counts(dict[str, int]):
    def __call__(self, outcome: str, rows: int) -> None:
        self[outcome] = self.get(outcome, 0) + rows


def test_rows_of_every_dialect_are_read_back_by_the_watch(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    assert {asked for asked, _, _ in ASKED} == {dialect.path for dialect in DIALECTS.values()}
    with serving(stream=lambda metrics: RewardStream(path, metrics.streamed)) as world:
        for asked, body, _ in ASKED:
            assert world.post(asked, body).status == 200, asked
        refused = [("/v1/score", {"prompt": "A", "responses": ["REFUSE"]}), ("/v1/score", {"texts": ["NAN"]})]
        assert [world.post(*asked).status for asked in refused] == [422, 500]
        wanted = [row for _, _, rows in ASKED for row in rows]
        settled(world, written=len(wanted))
        assert b'rewardsmith_stream_rows_total{result="written"}' in world.get("/metrics").body
    found = answers(path)
    texts = [("\n".join(turn.text for turn in each.prompt), each.response, each.reward) for each in found]
    assert texts == [(prompt, response, reward_of(text)) for prompt, response, text in wanted]
    assert [each.step for each in found[:9]] == [1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    row = json.loads(path.read_text().splitlines()[0])
    assert (sorted(row), row["identity"]) == (["identity", "prompt", "response", "reward", "time"], "counting")


def test_step_and_group_come_from_headers_and_doubt_from_an_ensemble(tmp_path: Path) -> None:
    path, engine = tmp_path / "rollouts.jsonl", CountingEngine()
    engine.members = ("a", "b")  # rewards r and r + 1: a standard deviation of 0.5
    with serving({"m": engine}, stream=lambda metrics: RewardStream(path, metrics.streamed)) as world:
        marks = {"X_Rewardsmith_Step": "7", "X_Rewardsmith_Group": "q1"}
        assert world.post("/get_reward", {"query": ["AB"]}, **marks).status == 200
        for step in ("-1", "1.5", "٣", "", "9" * 16):
            raw = {"X_Rewardsmith_Step": step.encode().decode("latin-1")}
            found = world.post("/get_reward", {"query": ["AB"]}, **raw)
            assert (found.status, found.code) == (422, "invalid_step")
        assert world.post("/get_reward", {"query": ["A"]}, X_Rewardsmith_Group="q" * 201).code == "invalid_group"
    (answer,) = answers(path)
    assert (answer.step, answer.group, answer.doubt) == (7, "q1", 0.5)


def test_without_a_stream_right_headers_change_nothing_and_wrong_ones_are_refused_all_the_same() -> None:
    with serving() as world:
        plain = world.post("/get_reward", {"query": ["AB"]})
        assert world.post("/get_reward", {"query": ["AB"]}, X_Rewardsmith_Step="7").body == plain.body
        assert world.post("/get_reward", {"query": ["AB"]}, X_Rewardsmith_Step="none").code == "invalid_step"


def test_a_writer_that_is_held_up_delays_no_answer_and_drops_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, held, entered, put = tmp_path / "rollouts.jsonl", threading.Event(), threading.Event(), module._put

    def wait(handle: int, data: bytes) -> None:
        entered.set()
        assert held.wait(WAIT)
        put(handle, data)

    monkeypatch.setattr(module, "_put", wait)
    with (
        caplog.at_level(logging.INFO, "rewardsmith.serving"),
        serving(stream=lambda metrics: RewardStream(path, metrics.streamed, rows=5)) as world,
    ):
        assert world.post("/slime", {"prompt": "A", "response": "0"}).status == 200
        assert entered.wait(WAIT)  # the thread is stuck in its first write
        for number in range(1, 12):  # every one is answered while it is
            assert world.post("/slime", {"prompt": "A", "response": str(number)}).status == 200
        assert world.get("/healthz").status == 200
        settled(world, dropped=7)
        held.set()
        settled(world, written=5)
    assert [answer.response for answer in answers(path)] == ["0", "1", "2", "3", "4"]
    said = {record.getMessage(): record.fields for record in caplog.records if "stream" in record.getMessage()}
    assert list(said) == ["stream_dropped", "stream_ended"]
    assert said["stream_ended"] == {"written": 5, "dropped": 7, "failed": 0, "unwritten": 0}


def test_a_text_without_room_is_dropped_and_a_shorter_one_is_not(tmp_path: Path) -> None:
    counts = Counts()
    with closing(RewardStream(tmp_path / "s.jsonl", counts, characters=10)) as stream:
        stream.add(*one("x" * 10), Mark())
        stream.add(*one("x" * 9), Mark())
    assert counts == {"dropped": 1, "written": 1}


def test_a_thread_that_never_comes_back_does_not_hold_the_end_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = threading.Event()
    monkeypatch.setattr(module, "_put", lambda handle, data: held.wait(WAIT))
    monkeypatch.setattr(module, "_LAST_SECONDS", 0.05)
    stream = RewardStream(tmp_path / "s.jsonl", Counts())
    stream.add(*one("a"), Mark())
    with caplog.at_level(logging.INFO, "rewardsmith.serving"):
        stream.close()
    held.set()
    assert caplog.records[-1].fields == {"written": 0, "dropped": 0, "failed": 0, "unwritten": 1}


def test_a_full_disk_loses_whole_rows_is_said_once_and_the_server_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, put, full = tmp_path / "rollouts.jsonl", module._put, threading.Event()

    def fill(handle: int, data: bytes) -> None:
        if full.is_set():
            put(handle, data[:20])  # what still went in
            raise OSError(errno.ENOSPC, "No space left on device")
        put(handle, data)

    monkeypatch.setattr(module, "_put", fill)
    with (
        caplog.at_level(logging.INFO, "rewardsmith.serving"),
        serving(stream=lambda metrics: RewardStream(path, metrics.streamed)) as world,
    ):
        for number, failed in enumerate((0, 1, 2, 2)):
            full.set() if number in (1, 2) else full.clear()
            assert world.post("/slime", {"prompt": "A", "response": str(number)}).json() == reward_of(f"A{number}")
            settled(world, **({"failed": failed} if number in (1, 2) else {"written": 1 + number // 3}))
    assert [answer.response for answer in answers(path)] == ["0", "3"]
    said = [record for record in caplog.records if record.getMessage().startswith("stream")]
    assert [record.getMessage() for record in said] == ["stream_failed", "stream_ended"]
    assert said[0].fields == {"reason": "ENOSPC"}
    assert said[1].fields == {"written": 2, "dropped": 0, "failed": 2, "unwritten": 0}


def test_a_file_that_was_moved_is_made_anew_and_one_that_is_there_is_continued(tmp_path: Path) -> None:
    path, counts = tmp_path / "s.jsonl", Counts()
    with closing(RewardStream(path, counts)) as stream:
        for number in range(2):
            stream.add(*one(str(number)), Mark())
            until = time.monotonic() + WAIT
            while counts.get("written") != number + 1:
                assert time.monotonic() < until
                time.sleep(0.01)
            if number == 0:
                path.rename(tmp_path / "old.jsonl")
    with path.open("a") as handle:
        handle.write('{"prompt": "cut')  # a server that was killed
    with closing(RewardStream(path, counts)) as stream:
        stream.add(*one("2"), Mark())
    assert [answer.response for answer in answers(tmp_path / "old.jsonl")] == ["0"]
    reads = [(read.answer.response if read.answer else read.why) for read in Stream(path, per_step=1).poll(last=True)]
    assert reads == ["1", "no JSON", "2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    (tmp_path / "other").write_text("name: mine\n")
    said = {
        "pipe": "is no regular file",
        "link": "is a link",
        "other": "holds something else",
        ".": "cannot be written",
        "missing/s.jsonl": "cannot be written",
    }
    for name, what in said.items():
        with pytest.raises(UserError, match=what):
            RewardStream(tmp_path / name, Counts())
    assert (tmp_path / "other").read_text() == "name: mine\n"
    assert not (tmp_path / "away").exists()
    with closing(RewardStream(tmp_path / "s.jsonl", Counts())), pytest.raises(UserError, match="another server"):
        RewardStream(tmp_path / "s.jsonl", Counts())


def test_secrets_of_the_process_are_taken_out_and_text_that_is_no_unicode_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    counts = Counts()
    with closing(RewardStream(tmp_path / "s.jsonl", counts)) as stream:
        stream.add(*one("my key is hf_abcdefghijklmnop"), Mark())
        _, rewards = one("a")
        stream.add(Ask([(Message("text", "\ud800 b"),)]), rewards, Mark())
    assert [answer.response for answer in answers(tmp_path / "s.jsonl")] == ["my key is [key]", "? b"]
    assert counts == {"written": 2}
