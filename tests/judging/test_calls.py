"""The log of calls: what a kill leaves of it, what is in doubt, and who may write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.errors import RunDirectoryError
from rewardsmith.judging.client import CALLS_FILE, CallLog, Charge, request_key
from rewardsmith.judging.questions import Reply

WORST = Charge(1, 900, 64)
REPLY = Reply("So.\n[[B]] é \ud800", 100, 7, ((("A", -0.5), ("B", -1.5)),))


def test_a_reply_is_read_back_as_it_was(tmp_path: Path) -> None:
    with CallLog.open(tmp_path) as log:
        log.sending("k", WORST)
        assert log.spent == WORST
        log.answered("k", REPLY)
        assert log.find("k") == REPLY
        assert log.find("other") is None
    with CallLog.open(tmp_path) as log:
        assert log.find("k") == REPLY
        assert log.spent == Charge(1, 100, 7)
        assert log.doubts == Charge()


def test_a_call_without_an_answer_counts_at_its_worst(tmp_path: Path) -> None:
    with CallLog.open(tmp_path) as log:
        log.sending("k", WORST)
    with CallLog.open(tmp_path) as log:
        assert (log.spent, log.doubts) == (WORST, WORST)
        log.sending("k", WORST)  # asked again: answered this time, and the first one stays in doubt
        log.answered("k", REPLY)
        assert log.spent == WORST + Charge(1, 100, 7)
    with CallLog.open(tmp_path) as log:
        assert (log.spent, log.doubts) == (WORST + Charge(1, 100, 7), WORST)


def test_an_unpaid_call_costs_nothing_and_the_next_attempt_has_another_key(tmp_path: Path) -> None:
    with CallLog.open(tmp_path) as log:
        for attempt in (0, 1):
            assert log.attempt("k") == attempt
            log.sending("k", WORST)
            log.unpaid("k")
        assert log.spent == Charge()
    with CallLog.open(tmp_path) as log:
        assert (log.attempt("k"), log.spent) == (2, Charge())


def test_what_an_endpoint_refuses_is_remembered(tmp_path: Path) -> None:
    with CallLog.open(tmp_path) as log:
        log.refuses("seed")
        log.refuses("seed")
    assert len((tmp_path / CALLS_FILE).read_text().splitlines()) == 1
    with CallLog.open(tmp_path) as log:
        assert log.refused == {"seed"}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_kill_at_any_byte_loses_the_torn_line_alone(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    with CallLog.open(folder) as log:
        for number in range(6):
            log.sending(str(number), WORST)
            log.answered(str(number), Reply(f"reply {number}", 10, number))
    path = folder / CALLS_FILE
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].rpartition(b"\n")[0]
    lines = [json.loads(line) for line in kept.splitlines() if line]
    answered = [line["answered"] for line in lines if "answered" in line]
    with CallLog.open(folder) as log:
        assert [number for number in map(str, range(6)) if log.find(number)] == answered
        assert log.doubts.calls == sum("sent" in line for line in lines) - len(answered)
        log.sending("new", WORST)
        log.answered("new", REPLY)
    with CallLog.open(folder) as log:
        assert log.find("new") == REPLY
        assert [number for number in map(str, range(6)) if log.find(number)] == answered


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with CallLog.open(tmp_path), pytest.raises(RunDirectoryError, match="another process asks a judge"):
        CallLog.open(tmp_path)
    CallLog.open(tmp_path).close()


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"sent": "k"}', '{"answered": "k"}', '{"other": 1}'])
def test_a_line_of_something_else_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / CALLS_FILE).write_text(f'{{"unpaid": "k"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(RunDirectoryError, match="is not a line of a log of calls") as raised:
        CallLog.open(tmp_path)
    assert raised.value.where.endswith(f"{CALLS_FILE}:2")
    (tmp_path / CALLS_FILE).unlink()
    CallLog.open(tmp_path).close()  # the lock was let go


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        CallLog.open(tmp_path / "file" / "calls")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with CallLog.open(tmp_path) as log:
        log.sending("k", WORST)
        log.answered("k", REPLY)
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda handle, line: write(handle, line[:7]))
            with pytest.raises(RunDirectoryError, match="the disk is full"):
                log.sending("other", WORST)
        log.sending("third", WORST)
        log.answered("third", REPLY)
    with CallLog.open(tmp_path) as log:
        assert log.find("k") == log.find("third") == REPLY


def test_a_key_is_that_of_the_exact_request() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0.0}
    assert request_key("http://a/v1", body) == request_key("http://a/v1", dict(reversed(body.items())))
    others = [("http://b/v1", body), ("http://a/v1", body | {"temperature": 0.5}), ("http://a/v1", body | {"seed": 1})]
    assert len({request_key(*other) for other in [("http://a/v1", body), *others]}) == 4


def test_without_a_folder_it_only_counts() -> None:
    log = CallLog()
    log.sending("k", WORST)
    log.answered("k", REPLY)
    assert log.find("k") is None
    assert log.spent == Charge(1, 100, 7)
    log.close()
