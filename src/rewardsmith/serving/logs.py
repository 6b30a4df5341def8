"""The server's log: one JSON object a line on standard error, without texts, tokens or paths that a client chose.

    {"time": "2026-01-01T12:00:00.123Z", "level": "info", "event": "request", "route": "/v1/score", "status": 200, …}

An error of the program is logged with its type and where it was raised; its message is left out, since tokenizers and
templates quote what they were given.

Requests never wait for the reader of the log: lines go to a thread that writes them, through a queue of `_LINES`. What
finds the queue full is dropped and counted, and the count is logged when there is room again (`dropped_lines`). While
the server runs, `sys.stderr` is such a stream for everybody: a warning of a library would wait as well.
"""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, Any

from rewardsmith.addresses import redacted

_LOGGER = logging.getLogger("rewardsmith.serving")
_TALKERS = ("asyncio", "concurrent.futures")
_LOGGERS = {"rewardsmith.serving": logging.INFO} | dict.fromkeys(("uvicorn", *_TALKERS), logging.WARNING)
_FRAMES = 8
_LINES = 10_000
_LAST_SECONDS = 2.0


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Messages of these show tasks and what they raised.
        event = record.name if record.name in _TALKERS else record.getMessage()
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": event}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            # The type alone: the message of an error may quote what a client wrote.
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = places(record.exc_info[1])
        return redacted(json.dumps(line, ensure_ascii=False, default=str))


def places(error: BaseException) -> list[str]:
    """The last places that an error came through, `file:line function`."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


class Unhurried(io.TextIOBase):
    """A text stream that never makes its writer wait: what the stream behind it does not take in time is dropped."""

    def __init__(self, behind: IO[str]) -> None:
        self._behind = behind
        self._lines: queue.Queue[str | None] = queue.Queue(_LINES)
        self._dropped = 0
        self._open = True
        # A daemon, because whoever no longer reads the log must not keep the process alive.
        self._thread = threading.Thread(target=self._pass_on, name="log", daemon=True)
        self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute
        """Of the stream behind."""
        return getattr(self._behind, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """As the stream behind."""
        return self._behind.isatty()

    def fileno(self) -> int:
        """Of the stream behind."""
        return self._behind.fileno()

    def write(self, text: str) -> int:
        """Hand it to the thread, or drop it; once closed, to the stream behind."""
        if not self._open:
            return self._behind.write(text)
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped += 1
        return len(text)

    def settle(self) -> None:
        """Write what is left, for `_LAST_SECONDS` at most."""
        self._open = False
        while True:
            try:
                self._lines.put_nowait(None)
                break
            except queue.Full:
                self._dropped += self._lines.get() is not None
        self._thread.join(_LAST_SECONDS)

    def _pass_on(self) -> None:
        while (text := self._lines.get()) is not None:
            self._write(text)
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                record = logging.LogRecord("", logging.WARNING, "", 0, "dropped_lines", None, None)
                record.fields = {"count": lost}
                self._write(JsonLines().format(record) + "\n")

    def _write(self, text: str) -> None:
        """Past the stream's own buffer where there is a file: its lock would be held while nobody reads."""
        try:
            # A line must not be lost for a character that the stream cannot write.
            whole = text.encode(self.encoding, "backslashreplace")
            number = self._behind.fileno()
        except (OSError, ValueError, AttributeError):
            self._behind.write(text)
            return
        with suppress(OSError):  # nobody can be told that the log is closed
            while whole:
                whole = whole[os.write(number, whole) :]


@contextmanager
def server_log(stream: IO[str] | None = None) -> Iterator[None]:
    """Send the server's lines, and warnings of uvicorn and asyncio, to `stream` (standard error) while it runs."""
    behind = stream or sys.stderr
    unhurried = Unhurried(behind)
    handler = logging.StreamHandler(unhurried)
    handler.setFormatter(JsonLines())
    before = sys.stderr
    if behind is before:
        sys.stderr = unhurried
    loggers = {logging.getLogger(name): level for name, level in _LOGGERS.items()}
    for logger, level in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(level)
        # A handler of the root logger would write the line a second time.
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        sys.stderr = before
        unhurried.settle()


def log(
    event: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    fields: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """One line. `fields` and `more` hold numbers and names of this program, never what a client wrote."""
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, event, extra={"fields": {**more, **(fields or {})}}, exc_info=error)
