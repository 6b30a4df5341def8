"""What the server was asked and what it paid, as JSONL that `rewardsmith watch` reads: `serve --stream FILE`.

    stream = RewardStream(Path("rollouts.jsonl"), metrics.streamed)      # UserError
    stream.add(ask, rewards, mark_of(headers))                           # in the event loop; never waits for the file
    stream.close()

    {"prompt": "Hi", "response": "Hello", "reward": 1.5, "time": "2026-01-01T12:00:00.123Z", "identity": "…"}

A row stands for each conversation that got a reward; `step` and `group` where the client names them in headers
(`X-Rewardsmith-Step`, `X-Rewardsmith-Group`), `doubt` where an ensemble states its spread. Prompt and response are cut
after the last turn of a system or a user. A rendered text has no such place: all of it is the response, unless the
request names its prompt.

Answers never wait for the file. A thread writes it; at most `ROWS` rows and `CHARACTERS` characters are held for it,
what finds no room is dropped and counted. Where the file cannot be written (a full disk) rows are lost and counted, the
log says so once, and the server goes on. The file is created with mode 0600, one server writes it at a time, and where
it was moved away it is made anew. Secrets of this process are taken out of every row.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rewardsmith.addresses import redacted
from rewardsmith.errors import UserError
from rewardsmith.records.files import begins_with
from rewardsmith.scoring.recording import row_turns
from rewardsmith.serving.dialects.contract import Ask, Rewards
from rewardsmith.serving.limits import Refusal
from rewardsmith.serving.logs import log
from rewardsmith.types import Conversation

ROWS = 10_000
CHARACTERS = 64 * 2**20
STEP, GROUP = "x-rewardsmith-step", "x-rewardsmith-group"
STEP_DIGITS, GROUP_CHARACTERS = 15, 200

_AT_ONCE = 256
"""Rows of one write: what one failure loses."""

_LAST_SECONDS = 5.0
_FIELDS = ("prompt", "response", "reward", "time", "identity")
_PROMPTERS = ("system", "developer", "user", "tools")

Outcome = Literal["written", "dropped", "failed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a policy's training stands, as its client says."""

    step: int | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    conversation: Conversation
    prompt: str | None
    reward: float
    doubt: float | None
    mark: Mark
    identity: str
    time: datetime
    size: int


def mark_of(headers: Mapping[str, str]) -> Mark:
    """Step and group of a request's headers (names in small letters).

    Raises:
        Refusal: the step is no whole number, or the group is too long (422).
    """
    step, group = headers.get(STEP), headers.get(GROUP, "")
    if step is not None and not (step.isascii() and step.isdecimal() and len(step) <= STEP_DIGITS):
        raise Refusal(422, "invalid_step", "X-Rewardsmith-Step is no whole number from 0 on", fix="send a number")
    if len(group) > GROUP_CHARACTERS:
        raise Refusal(
            422,
            "invalid_group",
            f"X-Rewardsmith-Group has more than {GROUP_CHARACTERS} characters",
            fix="shorten it",
        )
    return Mark(None if step is None else int(step), group)


class RewardStream:
    """See the module.

    Args:
        path: the file.
        count: told of rows that were written, dropped or failed; from two threads.
        rows: most rows that are held for the thread.
        characters: most characters of these.

    Raises:
        UserError: the file cannot be made or written, is no regular file, holds something else, or another server
            writes it.
    """

    def __init__(
        self, path: Path, count: Callable[[Outcome, int], None], *, rows: int = ROWS, characters: int = CHARACTERS
    ) -> None:
        self._path = path
        self._count = count
        self._most = (rows, characters)
        self._held = [0, 0]
        self._totals: dict[Outcome, int] = {"written": 0, "dropped": 0, "failed": 0}
        self._waiting: deque[_Row] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._told: set[str] = set()
        self._handle = _opened(path)
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def add(self, ask: Ask, rewards: Rewards, mark: Mark) -> None:
        """Hand over what one request asked and got; conversations without a reward are left out."""
        now = datetime.now(UTC)
        prompts: Sequence[str | None] = ask.prompts or [None] * len(ask.conversations)
        spread: Sequence[float | None] = rewards.spread or [None] * len(ask.conversations)
        identity = rewards.info.identity
        dropped = 0
        with self._changed:
            for conversation, prompt, value, doubt in zip(
                ask.conversations, prompts, rewards.values, spread, strict=True
            ):
                if value is None:
                    continue
                size = sum(len(turn.text) for turn in conversation) + len(prompt or "")
                if self._open and self._held[0] < self._most[0] and self._held[1] + size <= self._most[1]:
                    self._waiting.append(_Row(conversation, prompt, value, doubt, mark, identity, now, size))
                    self._held[0] += 1
                    self._held[1] += size
                else:
                    dropped += 1
            self._changed.notify()
        self._counted("dropped", dropped)

    def close(self) -> None:
        """Write what is left, for `_LAST_SECONDS` at most, and say how many rows there are and are not."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)
        with self._changed:
            unwritten = self._held[0]
        lost = unwritten or self._totals["dropped"] or self._totals["failed"]
        totals = {str(outcome): rows for outcome, rows in self._totals.items()} | {"unwritten": unwritten}
        log("stream_ended", level=logging.WARNING if lost else logging.INFO, fields=totals)
        if not self._thread.is_alive():
            os.close(self._handle)

    def _counted(self, outcome: Outcome, rows: int) -> None:
        """Count; the first loss of each kind is logged."""
        if not rows:
            return
        with self._changed:
            self._totals[outcome] += rows
        self._count(outcome, rows)
        if outcome == "dropped" and outcome not in self._told:
            self._told.add(outcome)
            log("stream_dropped", level=logging.WARNING, count=rows, fix="see rewardsmith_stream_rows in /metrics")

    # In the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                rows = list(islice(self._waiting, _AT_ONCE))
                for _ in rows:
                    self._waiting.popleft()
            if not rows:
                return
            try:
                self._write(rows)
            except Exception as error:  # whatever goes wrong, the server and this thread go on
                self._failed(error, len(rows))
            else:
                self._told.discard("failed")
                self._counted("written", len(rows))
            with self._changed:
                self._held[0] -= len(rows)
                self._held[1] -= sum(row.size for row in rows)

    def _write(self, rows: Sequence[_Row]) -> None:
        whole = "".join(redacted(json.dumps(_laid_out(row), ensure_ascii=False)) + "\n" for row in rows)
        if _moved(self._path, self._handle):
            handle = _opened(self._path)
            os.close(self._handle)
            self._handle = handle
            log("stream_reopened")
        size = os.fstat(self._handle).st_size
        try:
            _put(self._handle, whole.encode("utf-8", "replace"))
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._handle, size)  # no row is left cut
            raise

    def _failed(self, error: Exception, rows: int) -> None:
        self._counted("failed", rows)
        if "failed" not in self._told:
            self._told.add("failed")
            number = error.errno if isinstance(error, OSError) else None
            reason = errno.errorcode.get(number, "") if number is not None else ""
            log("stream_failed", level=logging.ERROR, error=error, reason=reason)


def _put(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _moved(path: Path, handle: int) -> bool:
    """Whether the file that is written is no longer the one of that name."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return True
    return not os.path.samestat(there, os.fstat(handle))


def _opened(path: Path) -> int:
    """A handle that appends, alone, behind a whole line."""
    try:
        # Not blocking: a pipe without a reader would hold the server up before it is known to be one.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        what = "is a link" if error.errno == errno.ELOOP else f"cannot be written: {error.strerror}"
        raise UserError(what, where=str(path), fix="name a file that you may write to") from error
    try:
        _take(handle, str(path))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _take(handle: int, where: str) -> None:
    """Check what was opened, lock it, and end a line that has no end."""
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        raise UserError("is no regular file", where=where, fix="name a file")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError("another server writes it", where=where, fix="name another file") from error
    if about.st_size and not _is_stream(handle):
        fix = "name another file, or move this one away"
        raise UserError("holds something else than such a stream", where=where, fix=fix)
    if about.st_size and os.pread(handle, 1, about.st_size - 1) != b"\n":
        _put(handle, b"\n")  # a server was killed while it wrote


def _is_stream(handle: int) -> bool:
    """By its first row: preference pairs begin with a prompt too."""
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        return begins_with(file, _FIELDS)


def _laid_out(row: _Row) -> dict[str, Any]:
    prompt, response = _sides(row.conversation, row.prompt)
    time = row.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found: dict[str, Any] = {"prompt": prompt, "response": response, "reward": row.reward, "time": time}
    if row.mark.step is not None:
        found["step"] = row.mark.step
    if row.mark.group:
        found["group"] = row.mark.group
    if row.doubt is not None:
        found["doubt"] = row.doubt
    return found | {"identity": row.identity}


def _sides(conversation: Conversation, named: str | None) -> tuple[Any, Any]:
    """Prompt and response, each as text or as messages."""
    if conversation[0].role == "text":
        text = "".join(turn.content for turn in conversation)
        rest = text.removeprefix(named or "")
        return named or "", rest if rest.strip() else text
    cut = max((place + 1 for place, turn in enumerate(conversation) if turn.role in _PROMPTERS), default=0)
    return row_turns(conversation[:cut], "user"), row_turns(conversation[cut:], "assistant")
