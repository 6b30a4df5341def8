"""Starts the command of `launch.sh`, looks after it, and ends it when it is not wanted any more.

with launched(folder) as running:
    while running.alive():
        …
running.require_success(folder / "finished.json")
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rewardsmith.errors import ModelError
from rewardsmith.training.openrlhf.scripts import LAUNCH

LOG = "log.txt"
_EXCEPTION = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception|Interrupt|Exit)\b")
_PATIENCE = 20.0  # seconds between asking a process to end and ending it


class Running:
    """A launcher and the processes below it, in a session of their own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, begin: int) -> None:
        self._process = process
        self._log = log
        self._begin = begin

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; True when it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def end(self) -> None:
        """End the launcher and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            if self.wait(_PATIENCE):
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what outlived its launcher

    def require_success(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            ModelError: it ended with an error; the message shows the line that says so.
        """
        code = self._process.returncode
        if code:
            said = self._log.read_bytes()[self._begin :].decode("utf-8", errors="replace")
            raise ModelError(
                f"OpenRLHF ended with code {code}: {first_fault(said)}",
                where=str(self._log),
                fix="mend what the log says and run again; a resumable checkpoint is kept where one was written",
            )


@contextlib.contextmanager
def launched(folder: Path) -> Iterator[Running]:
    """Run `launch.sh` of a folder with its output in `log.txt`; nothing of it outlives the block."""
    log = folder / LOG
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a script of `scripts.py`
            ["/bin/bash", str(folder.resolve() / LAUNCH)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = Running(process, log, begin)
        try:
            yield running
        finally:
            if not running.wait(0):
                running.end()


def first_fault(said: str) -> str:
    """The first line that is an exception, because the others follow from it; without one the last line there is."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    faults = [line for line in lines if _EXCEPTION.match(line)]
    return (faults or lines[-1:] or ["it wrote nothing"])[0][:300]
