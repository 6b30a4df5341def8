"""What a long job says while it works; what a run says is left in its directory as well, so that `open` can follow it.

    with followed(run.path, events) as events:      live.json appears; it is gone when the run ends
        events.progress("scoring", 10, 200)
    record = read_live(run.path)                    None where the run does nothing, or was killed

The command line draws what it is told, tests collect it, a notebook may ignore it. live.json is written at most twice a
second, whole or not at all; a run does not stop because it could not be written.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.run import LiveRecord
from rewardsmith.records.training import StepMetrics
from rewardsmith.training.progress import EpochProgress

StageName = Literal["samples", "check", "train", "labels", "evaluate", "probe", "attack", "controls", "gates", "report"]


class Events(Protocol):
    """Receives what happens, in order. Methods must return quickly and never raise."""

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """A stage began, ended, or was skipped because its inputs are unchanged."""
        ...

    def progress(self, label: str, done: int, total: int) -> None:
        """Countable work inside a stage."""
        ...

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """One optimizer step of `steps`."""
        ...

    def micro_batch(self, at: EpochProgress) -> None:
        """How far an epoch is, within its steps too; a few times a second at most."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


class Silent:
    """Events that nobody watches."""

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """Ignore it."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Ignore it."""

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Ignore it."""

    def micro_batch(self, at: EpochProgress) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


LIVE_FILE = "live.json"


@contextmanager
def followed(run: Path, events: Events) -> Iterator[Events]:
    """The same events, written down in the run directory until the block ends."""
    path = run / LIVE_FILE
    try:
        yield Followed(events, path)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


_EVERY = 0.5  # seconds
_NOTHING: dict[str, Any] = {
    "label": "",
    "done": 0,
    "total": 0,
    "part": 0,
    "parts": 0,
    "tokens_per_second": None,
    "seconds_left": None,
}


class Followed:
    """Events that pass on what they are told, and write it down.

    Args:
        events: who else is told.
        path: of live.json.
        clock: seconds since 1970.
    """

    def __init__(self, events: Events, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._events = events
        self._path = path
        self._clock = clock
        self._written = 0.0
        self._record = LiveRecord(process=os.getpid(), host=socket.gethostname())
        self._note(since=clock())

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """Pass it on; write it at once."""
        self._events.stage(name, state, detail)
        self._note(stage=name if state == "started" else "", since=self._clock(), **_NOTHING)

    def progress(self, label: str, done: int, total: int) -> None:
        """Pass it on; write it now and then."""
        self._events.progress(label, done, total)
        self._note(**_NOTHING | {"label": label, "done": done, "total": total}, seldom=True)

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Pass it on; write it now and then."""
        self._events.step(metrics, steps)
        self._note(label="training steps", done=metrics.step, total=steps, part=0, parts=0, seldom=True)

    def micro_batch(self, at: EpochProgress) -> None:
        """Pass it on; write it now and then."""
        self._events.micro_batch(at)
        self._note(
            label="training steps",
            done=at.step,
            total=at.steps,
            part=at.micro_batch,
            parts=at.micro_batches,
            tokens_per_second=at.tokens_per_second,
            seconds_left=at.seconds_left,
            seldom=at.micro_batches > 0,
        )

    def note(self, text: str) -> None:
        """Pass it on."""
        self._events.note(text)

    def _note(self, *, seldom: bool = False, **changes: Any) -> None:
        self._record = self._record.model_copy(update=changes)
        now = self._clock()
        if seldom and now - self._written < _EVERY:
            return
        self._written = now
        with suppress(RunDirectoryError):
            write_json(self._path, self._record)


def read_live(run: Path) -> LiveRecord | None:
    """What the run is doing; None where it does nothing, or was killed."""
    try:
        record = read_record(run / LIVE_FILE, LiveRecord)
    except RunDirectoryError:
        return None
    return record if _is_alive(record) else None


def _is_alive(record: LiveRecord) -> bool:
    """Whether the process that wrote it still runs; a process of another machine is taken at its word."""
    if record.host != socket.gethostname():
        return True
    if not 0 < record.process < 2**31:
        return False  # 0 and below are groups of processes
    try:
        os.kill(record.process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
