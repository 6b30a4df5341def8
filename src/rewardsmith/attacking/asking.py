"""Queries within a budget: asked once and kept in a journal, and planned so that a search fits into its seconds.

    asking = Asking(scorer, queries=6000, seconds=None, journal=out / "attack.journal.jsonl", fingerprint="…")
    asking.ask(conversations)            False: the budget ended before all of them were asked
    asking.rewards[conversation]         NaN where the model gave none; `asking.why[conversation]` says why
    asking.close()                       lets the journal go: one process at a time writes it
    plan = make_plan(characters, parts, rate=…, spent=…, limit=600.0)     after a few queries were timed
    plan.pairs, plan.queries, plan.in_words()

What is asked together is scored prompt by prompt, in chunks: the token tree of a chunk then holds each prompt and each
edited beginning once.

The search is decided by its seed and by rewards. A resumed attack therefore runs again from the beginning, and what the
journal holds is read instead of asked: the same conversations in the same chunks, so that a model whose rewards depend
on their neighbours in the last digits gives the same ones. Every query counts once, whether read or asked; the seconds
that it took are in the journal too, so that what is planned by them is planned alike.

A limit in seconds is spread over the search, not cut off at its end: fewer pairs are attacked, each by every part of
it, so that every number of the record is there, with a wider interval. Pairs stand in random order, so that the first
of them are a sample of all.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout

from rewardsmith.errors import RunDirectoryError
from rewardsmith.evaluation.results import why_missing
from rewardsmith.gates import FEWEST_ATTACKED
from rewardsmith.protocols import Progress, Scorer
from rewardsmith.records.evaluation import reason_code
from rewardsmith.records.files import read_jsonl
from rewardsmith.types import Conversation

CHUNK = 256
"""Conversations that are scored at a time, and lost when the attack is killed."""

LOCK_FILE = ".attack.lock"
"""Beside the journal; held while an attack writes it."""


class Asking:
    """The budget, what was asked, and the journal.

    Raises:
        RunDirectoryError: the journal cannot be read, is that of another attack, or another process writes it.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        queries: int | None = None,
        seconds: float | None = None,
        journal: Path | None = None,
        fingerprint: str = "",
        overwrite: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rewards: dict[Conversation, float] = {}
        self.why: dict[Conversation, str] = {}
        self.ended_by: Literal["", "queries", "seconds"] = ""
        self._scorer, self._queries, self._seconds = scorer, queries, seconds
        self._progress, self._clock, self._began = progress, clock, clock()
        self._journal = journal
        self._known: dict[str, tuple[float, str]] = {}
        self._cost: dict[str, float] = {}
        self._latest = 0.0
        self.scored = 0.0
        """Seconds that the scorer took for what was asked, also in the calls that this one continues."""
        self.expected: int | None = None
        """Queries that the search is expected to ask; what progress is measured by."""
        self._before = 0.0
        self._lock: FileLock | None = None
        if journal is not None:
            self._lock = _lock(journal)
            try:
                if overwrite:
                    # Only with the lock in hand: another process may be writing it.
                    journal.unlink(missing_ok=True)
                self._open(journal, fingerprint)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let the journal go. More than once is no harm."""
        if self._lock is not None:
            self._lock.release()

    @property
    def spent(self) -> int:
        """Distinct conversations that were asked."""
        return len(self.rewards)

    def allow(self, queries: int) -> None:
        """Let exactly so many queries more be asked, whatever is left of the budget; `seconds` stays."""
        self._queries, self.expected = self.spent + queries, None

    @property
    def seconds(self) -> float | None:
        """Most seconds; None: no limit."""
        return self._seconds

    def until(self, seconds: float | None) -> None:
        """Set another limit of seconds."""
        self._seconds = seconds

    @property
    def took(self) -> float:
        """Seconds of this call and of those that it continues."""
        return self._before + self._clock() - self._began

    def ask(self, conversations: Iterable[Conversation]) -> bool:
        """Ask for the rewards of those that are not known yet; the first of them, where the budget is too small."""
        # Each once, and in the order given, which decides what a budget of queries still reaches.
        wanted = [one for one in dict.fromkeys(conversations) if one not in self.rewards]
        if self._queries is not None and len(wanted) > self._queries - self.spent:
            wanted, self.ended_by = wanted[: self._queries - self.spent], "queries"
            cut = True
        else:
            cut = False
        for chunk in _by_prompt(wanted):
            if not self._chunk(chunk):
                self.ended_by = "seconds"
                return False
            if self._progress is not None:
                most = [limit for limit in (self._queries, self.expected) if limit is not None]
                self._progress(self.spent, max(min(most, default=0), self.spent))
        return not cut

    def _chunk(self, chunk: list[Conversation]) -> bool:
        """Rewards of one chunk, read or asked; False where the time is over, which never stops what is read."""
        keys = [_key(one) for one in chunk]
        if any(key not in self._known for key in keys):
            # A chunk that would end behind the limit is not begun, by what a text of the last one took.
            if self._seconds is not None and self.took + self._latest * len(chunk) >= self._seconds:
                return False
            began = self._clock()
            rewards = np.asarray(self._scorer.score(chunk), dtype=np.float64)
            self._latest = (self._clock() - began) / len(chunk)
            if rewards.shape != (len(chunk),):
                raise ValueError(f"the scorer gave rewards of shape {rewards.shape} for {len(chunk)} conversations")
            missing = [one for one, reward in zip(chunk, rewards.tolist(), strict=True) if not math.isfinite(reward)]
            reasons = why_missing(missing, self._scorer)
            found = [
                (reward if math.isfinite(reward) else math.nan, reason_code(reasons[one]) if one in reasons else "")
                for one, reward in zip(chunk, rewards.tolist(), strict=True)
            ]
            self._known.update(zip(keys, found, strict=True))
            self._cost.update(dict.fromkeys(keys, self._latest))
            self._write(keys, found)
        self.scored += math.fsum(self._cost.get(key, 0.0) for key in keys)
        for one, key in zip(chunk, keys, strict=True):
            self.rewards[one], why = self._known[key]
            if why:
                self.why[one] = why
        return True

    def _write(self, keys: list[str], found: list[tuple[float, str]]) -> None:
        if self._journal is not None:
            line = {
                "keys": keys,
                "rewards": [None if math.isnan(reward) else reward for reward, _ in found],
                "why": [why for _, why in found],
                "seconds": self.took,
                "scored": self._latest * len(keys),
            }
            _append(self._journal, line)

    def _open(self, path: Path, fingerprint: str) -> None:
        """Read what an earlier call has asked, cut off a line that was being written, or begin a journal."""
        lines = list(_whole_lines(path)) if path.exists() else []
        if not lines:
            path.unlink(missing_ok=True)
            _append(path, {"schema": 1, "attack": fingerprint})
            return
        if lines[0].get("attack") != fingerprint:
            raise RunDirectoryError(
                "is the journal of another attack: another model, other data or other settings",
                where=str(path),
                fix="name another --out, or add --overwrite",
            )
        for number, line in enumerate(lines[1:], start=2):
            columns = [line.get(name) for name in ("keys", "rewards", "why")]
            lists = [column for column in columns if isinstance(column, list)]
            if len(lists) < len(columns) or len({len(column) for column in lists}) > 1:
                raise _damaged(path, number)
            for key, reward, reason in zip(*lists, strict=True):
                finite = isinstance(reward, int | float) and not isinstance(reward, bool) and math.isfinite(reward)
                if not isinstance(key, str) or not isinstance(reason, str) or not (finite or reward is None):
                    raise _damaged(path, number)
                self._known[key] = (float(reward) if finite else math.nan, reason)
            scored = line.get("scored")
            if isinstance(scored, int | float) and lists[0]:
                self._cost.update(dict.fromkeys(map(str, lists[0]), scored / len(lists[0])))
            seconds = line.get("seconds")
            self._before = seconds if isinstance(seconds, int | float) else self._before


def _by_prompt(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    """Chunks of at most `CHUNK`. Answers to one prompt stay together, and share a chunk where they fit into one."""
    prompts: dict[Conversation, list[Conversation]] = {}
    for one in conversations:
        prompts.setdefault(one[:-1], []).append(one)
    chunk: list[Conversation] = []
    for group in prompts.values():
        if chunk and len(chunk) + len(group) > CHUNK:
            yield chunk
            chunk = []
        chunk += group
        while len(chunk) > CHUNK:
            yield chunk[:CHUNK]
            chunk = chunk[CHUNK:]
    if chunk:
        yield chunk


def _lock(journal: Path) -> FileLock:
    """Two processes on one journal would each pay for the queries of the other, and leave lines in no order."""
    try:
        lock = FileLock(journal.parent / LOCK_FILE, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunDirectoryError(
            f"another process is attacking into this folder (it holds {LOCK_FILE})",
            where=str(journal),
            fix="wait for it, or name another --out",
        ) from error
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be written: {error.strerror}", where=str(journal), fix="name another --out"
        ) from error
    return lock


def _append(path: Path, line: dict[str, object]) -> None:
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
            handle.flush()
            # On disk before the next chunk is asked: after a crash nothing is paid for twice.
            os.fsync(handle.fileno())
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be written: {error.strerror}", where=str(path), fix="make room, or name another --out"
        ) from error


def _whole_lines(path: Path) -> Iterator[dict[str, object]]:
    """The lines of a journal; a last one that was being written is cut off the file."""
    try:
        with path.open("rb+") as handle:
            raw = handle.read()
            whole = raw.rfind(b"\n") + 1
            if whole < len(raw):
                handle.truncate(whole)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be read: {error.strerror}", where=str(path), fix="name another --out, or add --overwrite"
        ) from error
    yield from read_jsonl(path)


def _damaged(path: Path, number: int) -> RunDirectoryError:
    return RunDirectoryError(
        "is no line of an attack's journal", where=f"{path}:{number}", fix="delete the file and run the attack again"
    )


def _key(conversation: Conversation) -> str:
    text = json.dumps([message.as_dict() for message in conversation], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


PROBED = 2
"""Pairs whose edits are timed before the rest is planned."""

FEWEST = FEWEST_ATTACKED
"""Pairs that are attacked however long it takes: what a gate needs to judge."""

COMPOSED = 1.25
SPARE = 0.1
"""Of the time, that a plan leaves free: it is an estimate."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Queries of a search: single edits and padding, and compositions."""

    alone: float
    composed: float

    @property
    def queries(self) -> int:
        """All of them."""
        return round(self.alone + self.composed)

    @property
    def units(self) -> float:
        """As many single edits take as long."""
        return self.alone + COMPOSED * self.composed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search will ask.

    Args:
        pairs: that are attacked.
        of: that could be.
        queries: of the search of `pairs`, about.
        seconds: that it takes, about.
        whole: seconds that the search of all pairs takes, about.
        limit: seconds that there are; None: no limit.
    """

    pairs: int
    of: int
    queries: int
    seconds: float
    whole: float
    limit: float | None

    @property
    def fits(self) -> bool:
        """Whether the search is expected to end within the limit."""
        return self.limit is None or self.seconds <= self.limit

    def in_words(self) -> str:
        """What is told before the search begins."""
        each = self.seconds / max(1, self.queries)
        text = f"about {self.queries:,} queries at {each:.2g} s each, {_duration(self.seconds)}"
        if self.limit is None:
            return text
        if not self.fits:
            text += f": more than the limit of {_duration(self.limit)}, so that the end will be cut off"
        if self.pairs < self.of:
            text += (
                f"; {self.pairs} of {self.of} pairs are attacked, because all of them would take "
                f"{_duration(self.whole)} and the limit is {_duration(self.limit)}"
            )
        return text


def make_plan(
    characters: Sequence[int], parts: Callable[[int], Parts], *, rate: float, spent: float, limit: float | None
) -> Plan:
    """As many pairs as fit into the limit, at least `FEWEST`, all of them without one.

    A query is taken to cost time in proportion to the characters of its conversation, and a composition `COMPOSED`
    times what an edit alone costs: the answer behind an edited beginning is encoded again, and few compositions leave
    the beginning as it was. So planned, the searches of four data sets by a model of 2.4M parameters on one core took
    0.8 to 1 of the seconds that they were said to take.

    Args:
        characters: of each pair's conversation, in the order in which pairs are attacked; one at least.
        parts: pairs → what the search of so many asks.
        rate: seconds of a single edit, for each character of its conversation.
        spent: seconds that are gone.
        limit: seconds that there are.
    """

    def seconds(pairs: int) -> float:
        return spent + rate * sum(characters[:pairs]) / pairs * parts(pairs).units

    of = len(characters)
    pairs, whole = of, seconds(of)
    if limit is not None:
        while pairs > min(FEWEST, of) and seconds(pairs) > (1 - SPARE) * limit:
            pairs -= 1
    return Plan(pairs, of, parts(pairs).queries, seconds(pairs), whole, limit)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
