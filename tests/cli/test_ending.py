"""How a command ends: codes 70, 130, 141 and 2 for what the machine lacks; nothing passes uncaught."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer

from rewardsmith.cli.terminal import ended
from rewardsmith.errors import DataError, MarginStop

MODULE = [sys.executable, "-m", "rewardsmith"]


@pytest.fixture(autouse=True)
def _own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def raising(error: BaseException) -> Any:
    def command() -> None:
        raise error

    return command


def test_an_uncaught_exception_is_70_one_line_and_a_private_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(ZeroDivisionError("division by zero"))) == 70
    out, err = capsys.readouterr()
    assert out == ""
    found = re.fullmatch(r"internal error: ZeroDivisionError: division by zero; traceback: (\S+)\n", err)
    assert found, err
    file = Path(found[1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "raise error\nZeroDivisionError: division by zero" in file.read_text()


def test_a_hostile_message_of_an_exception_stays_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(ValueError("[/red]\x1b[2J\u202egpj\nverdict: PASS"))) == 70
    err = capsys.readouterr().err
    assert err.startswith("internal error: ValueError: [/red]\\x1b[2J\\u202egpj; traceback: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("is empty", where="a.jsonl", fix="write rows"), 2, "error: a.jsonl: is empty\n  try: write rows\n"),
        (MarginStop("stopped"), 1, "error: stopped\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 2, "error: standard input has ended"),
        (SystemExit("library says no"), 70, "internal error: SystemExit: library says no; traceback: "),
        (SystemExit(3), 70, "internal error: SystemExit: 3; traceback: "),
        (SystemExit(0), 0, ""),
        (RecursionError("maximum recursion depth exceeded"), 70, "internal error: RecursionError"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x.bin"), 2, "error: /data/x.bin: cannot be"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/y"), 2, "error: /data/y: cannot be"),
        (MemoryError(), 2, "error: out of memory"),
        (ConnectionError("no route"), 70, "internal error: ConnectionError: no route; traceback: "),
    ],
)
def test_codes(error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(error)) == code
    err = capsys.readouterr().err
    assert err.startswith(says) if says else err == ""
    assert "Traceback" not in err


def test_a_name_that_is_no_utf_8_is_the_user_s_to_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The byte 0xff, as Python hands it over; the same error without such an argument is a fault of ours."""

    def write() -> None:
        "b\udcff".encode()

    monkeypatch.setattr(sys, "argv", ["rewardsmith", "evaluate", "--data", "b\udcff/x.jsonl", "--out", "é"])
    assert ended(write) == 2
    assert capsys.readouterr().err.startswith("error: b\\udcff/x.jsonl: is not UTF-8")
    monkeypatch.setattr(sys, "argv", ["rewardsmith", "evaluate", "--data", "é.jsonl"])
    assert ended(write) == 70


def test_a_full_disk_by_the_words_of_a_library_names_the_file_being_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def save_file(filename: str) -> None:
        raise RuntimeError(f"I/O error: No space left on device (os error 28), {len(filename)}")

    assert ended(lambda: save_file("/data/out/model.safetensors")) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: /data/out/model.safetensors: cannot be written: ")
    assert "try: free space on the disk of /data/out" in err


def test_a_broken_pipe_of_a_connection_is_no_closed_output(capfd: pytest.CaptureFixture[str]) -> None:
    # Standard output is open here, so that somebody else's pipe has broken: silence would hide it.
    assert ended(raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 70
    assert "BrokenPipeError" in capfd.readouterr().err


def test_warnings_of_libraries_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        warnings.simplefilter("always")
        warnings.warn("odd \x1b]0;title\x07 name", UserWarning, stacklevel=1)
        return 1

    assert ended(command) == 1
    assert capsys.readouterr().err == "warning: UserWarning: odd \\x1b]0;title\\x07 name\n"


def test_the_traceback_is_shown_where_no_file_can_hold_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    assert ended(raising(KeyError("x"))) == 70
    assert "could not be written (No such file or directory):\nTraceback" in capsys.readouterr().err


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def run(request: pytest.FixtureRequest) -> Any:
    """Output is buffered where users start it, and unbuffered in many containers: what fails, fails elsewhere."""

    def in_bash(command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            env={**os.environ, "PYTHONUNBUFFERED": request.param},
            check=False,
        )

    return in_bash


def test_a_reader_that_leaves_ends_it_silently(run: Any) -> None:
    done = run(f"{sys.executable} -m rewardsmith --help | true")
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", ["--version", "serve --help"])  # less than a buffer holds, and more
def test_output_to_a_full_disk(arguments: str, run: Any) -> None:
    done = run(f"COLUMNS=80 {sys.executable} -m rewardsmith {arguments} > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard output")
    assert b"the disk is full" in done.stderr
    assert done.stderr.count(b"\n") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_message_to_a_full_disk_leaves_the_code(run: Any) -> None:
    assert run(f"{sys.executable} -m rewardsmith ls /nowhere 2> /dev/full").returncode == 2
    assert run(f"{sys.executable} -m rewardsmith --version > /dev/full 2> /dev/full").returncode == 2


def test_streams_that_are_closed_from_the_start(run: Any) -> None:
    done = run(f"{sys.executable} -m rewardsmith --version >&-")
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(f"{sys.executable} -m rewardsmith ls /nowhere >&- <&-")
    assert (done.returncode, done.stderr.split(b":")[0]) == (2, b"error")
    assert run(f"{sys.executable} -m rewardsmith ls /nowhere <&- >&- 2>&-").returncode == 2


def test_a_name_that_the_encoding_lacks() -> None:
    done = subprocess.run(
        [*MODULE, "ls", "/nowhere/é–\x1b[31m[/red]"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: /nowhere/\\xe9-\\x1b[31m[/red]: no such folder\n")


def test_click_messages_are_cleaned() -> None:
    done = subprocess.run([*MODULE, "ls", "a", "b\x1b[31m"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr
    assert b"b\\x1b[31m" in done.stderr


def test_a_full_disk_as_torch_says_it_and_as_a_copy_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    def save(output_dir: str) -> None:
        raise RuntimeError(
            f"[enforce fail at inline_container.cc:672] . unexpected pos 151872 vs 151764, {len(output_dir)}"
        )

    assert ended(lambda: save("/data/run/train/checkpoint-2")) == 2
    assert capsys.readouterr().err.startswith("error: /data/run/train/checkpoint-2: cannot be written: ")
    copy = OSError(errno.ENOSPC, "No space left on device", "model/config.json", None, "out/config.json")
    assert ended(raising(copy)) == 2
    assert capsys.readouterr().err.startswith("error: out/config.json: cannot be read or written: the disk is full\n")
