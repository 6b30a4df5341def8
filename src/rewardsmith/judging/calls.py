"""The log of calls: what was asked, what was answered, what it cost. It is cache, ledger and the memory of a killed
job.

    with CallLog.open(folder) as log:            folder/calls.jsonl; one process at a time
        log.find(key)                            the reply, if this very request was answered before
        log.sending(key, worst)                  written before a call
        log.answered(key, reply)                 written after it: never asked again
        log.unpaid(key)                          the endpoint refused it, or it was never reached

A line is appended with one write, so that a kill leaves at most one torn line, the last, which is cut off when the
file is opened again. A call that was being sent and has no answer is in doubt: the endpoint may have been paid. It
counts as spent at its worst, and its answer is asked for again under the same idempotency key (`attempt`), for which
endpoints that know such keys do not charge again.

No prompt is written, only hashes of requests, and replies. Keys of endpoints never come here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from rewardsmith.errors import RunDirectoryError
from rewardsmith.judging.budget import Charge
from rewardsmith.judging.replies import Reply
from rewardsmith.records.bounded import parse_json

CALLS_FILE = "calls.jsonl"
_LOCK_FILE = ".calls.lock"


def request_key(endpoint: str, body: dict[str, Any]) -> str:
    """SHA-256 of the exact request: where it goes, and every field of it."""
    text = json.dumps([endpoint, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class CallLog:
    """The calls of a folder; `CallLog()` has none and only counts what is spent. Use it as a context manager."""

    def __init__(self, handle: int | None = None, lock: FileLock | None = None) -> None:
        self._handle = handle
        self._lock = lock
        self._end = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._attempts: Counter[str] = Counter()
        self._doubts: dict[str, list[Charge]] = {}
        self._paid = Charge()
        self.refused: set[str] = set()

    @classmethod
    def open(cls, folder: Path) -> CallLog:
        """The log of a folder, made where there is none.

        Raises:
            RunDirectoryError: the folder cannot be written, another process has it, or a line is not of a log.
        """
        path = folder / CALLS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / _LOCK_FILE)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise RunDirectoryError(
                "another process asks a judge with this folder", where=str(folder), fix="wait for it, or name another"
            ) from error
        except OSError as error:
            raise RunDirectoryError(
                f"cannot be written: {error.strerror}", where=str(folder), fix="name a folder that you may write to"
            ) from error
        try:
            log = cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), lock)
            log._load(path)
        except BaseException:
            lock.release()
            raise
        return log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing is lost where this is not called."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._lock is not None:
            self._lock.release()

    def find(self, key: str) -> Reply | None:
        """The reply to a request that was answered before."""
        if key not in self._places or self._handle is None:
            return None
        start, length = self._places[key]
        return _reply(parse_json(os.pread(self._handle, length, start)))

    def attempt(self, key: str) -> int:
        """How often this request came back unpaid: another try needs a new idempotency key, a lost answer the same."""
        return self._attempts[key]

    def sending(self, key: str, worst: Charge) -> None:
        """A call is about to be made."""
        self._append({"sent": key, "prompt_tokens": worst.prompt_tokens, "completion_tokens": worst.completion_tokens})
        self._doubts.setdefault(key, []).append(worst)

    def answered(self, key: str, reply: Reply) -> None:
        """The call's answer is there, and paid."""
        line: dict[str, Any] = {"answered": key, "text": reply.text, "prompt_tokens": reply.prompt_tokens}
        line |= {"completion_tokens": reply.completion_tokens}
        if reply.tops:
            line["tops"] = reply.tops
        place = self._append(line)
        self._note_answer(key, reply, place)

    def unpaid(self, key: str) -> None:
        """The call came to nothing and cost nothing."""
        self._append({"unpaid": key})
        self._note_unpaid(key)

    def refuses(self, feature: str) -> None:
        """The endpoint does not know a feature of the protocol: it is not asked for again."""
        if feature not in self.refused:
            self._append({"refuses": feature})
            self.refused.add(feature)

    @property
    def doubts(self) -> Charge:
        """Calls that were sent and never answered, at their worst."""
        return sum((worst for calls in self._doubts.values() for worst in calls), Charge())

    @property
    def spent(self) -> Charge:
        """Everything that this folder has paid, calls in doubt included."""
        return self._paid + self.doubts

    def _append(self, content: dict[str, Any]) -> tuple[int, int]:
        """Write one line; where it stands."""
        line = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        start = self._end
        if self._handle is not None:
            try:
                written = os.write(self._handle, line)
            except OSError as error:
                raise _unwritten(str(error.strerror)) from error
            if written != len(line):
                os.ftruncate(self._handle, start)  # half a line in the middle would make the rest unreadable
                raise _unwritten("the disk is full")
            self._end += len(line)
        return start, len(line)

    def _note_answer(self, key: str, reply: Reply, place: tuple[int, int]) -> None:
        self._settle(key)
        self._paid += Charge(1, reply.prompt_tokens, reply.completion_tokens)
        if self._handle is not None:
            self._places[key] = place

    def _note_unpaid(self, key: str) -> None:
        self._settle(key)
        self._attempts[key] += 1

    def _settle(self, key: str) -> None:
        """One call of this request is no longer in doubt: the last one, since those before it were lost."""
        calls = self._doubts.get(key, [])
        if calls:
            calls.pop()
        if not calls:
            self._doubts.pop(key, None)

    def _load(self, path: Path) -> None:
        """Read what is there; a torn last line was being written when its process was killed."""
        with path.open("rb") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.endswith(b"\n"):
                    os.truncate(path, self._end)
                    break
                self._read(line, f"{path}:{number}")
                self._end += len(line)

    def _read(self, line: bytes, where: str) -> None:
        try:
            content = parse_json(line)
            if "sent" in content:
                worst = Charge(1, int(content["prompt_tokens"]), int(content["completion_tokens"]))
                self._doubts.setdefault(content["sent"], []).append(worst)
            elif "answered" in content:
                self._note_answer(content["answered"], _reply(content), (self._end, len(line)))
            elif "unpaid" in content:
                self._note_unpaid(content["unpaid"])
            else:
                self.refused.add(content["refuses"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                "is not a line of a log of calls", where=where, fix="name another folder, or delete the line"
            ) from error


def _unwritten(reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"cannot be written: {reason}", where=CALLS_FILE, fix="make room and run the same command again"
    )


def _reply(content: dict[str, Any]) -> Reply:
    tops = tuple(
        tuple((str(token), float(value)) for token, value in token_tops) for token_tops in content.get("tops", ())
    )
    return Reply(str(content["text"]), int(content["prompt_tokens"]), int(content["completion_tokens"]), tops)
