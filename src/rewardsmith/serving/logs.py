"""The server's log: one JSON object a line on standard error, without texts, tokens or paths that a client chose.

    {"time": "2026-01-01T12:00:00.123Z", "level": "info", "event": "request", "route": "/v1/score", "status": 200, …}

An error of the program is logged with its type and where it was raised; its message is left out, since tokenizers and
templates quote what they were given.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

_LOGGER = logging.getLogger("rewardsmith.serving")
_FRAMES = 8


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = places(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def places(error: BaseException) -> list[str]:
    """The last places that an error came through, `file:line function`."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


@contextmanager
def server_log(stream: IO[str] | None = None) -> Iterator[None]:
    """Send the server's lines, and uvicorn's warnings, to `stream` (standard error) while it runs."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    loggers = {logging.getLogger("rewardsmith.serving"): logging.INFO, logging.getLogger("uvicorn"): logging.WARNING}
    for logger, level in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


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
