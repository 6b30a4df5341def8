"""Logs of a policy in training → answers with their rewards, in order, from where an earlier call stopped.

    stream = Stream(Path("rollouts.jsonl"))
    for read in stream.poll():             what is new; `read.answer`, or `read.why` it cannot be used
    stream.place                           (file, offset) behind the last row

A file, or a folder of files that are read in the order of the numbers in their names. JSONL that is being written is
read up to its last whole line, and past a rotation (`following.py`). Forms are told apart by the names of the columns
of the first row:

    plain      prompt, response, reward, step; and, where there are: group (or id), kl, doubt, quality
    served     the same without a step, as a reward server's front logs them; `per_step` answers make a step
    verl       input, output, score, step: the JSONL files of `trainer.rollout_data_dir`, one a step
    trl        prompt, completion, step, a column a reward function: the Parquet files of `log_completions=True`
    openrlhf   global_step, text, reward: the table `train/generated_samples` that it sends to Weights & Biases, as a
               file
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rewardsmith.data.files import read_rows
from rewardsmith.errors import DataError
from rewardsmith.records.bounded import MIB, BeyondLimitError, parse_json, read_bounded
from rewardsmith.types import Conversation, Message
from rewardsmith.watching.following import Followed

Row = Mapping[str, Any]
SUFFIXES = (".jsonl", ".parquet", ".json")
_TABLE_SIZE = 256 * MIB
_EMPTY_PROMPT = "Prompt and answer stand together in the text below."


@dataclass(frozen=True, slots=True)
class Answer:
    """What a policy said at a step, and what it was paid.

    `group` is what answers to one prompt have in common. `kl` is the divergence from the reference policy, `doubt` the
    spread of an ensemble or of a Laplace approximation, `quality` what somebody says of the answer: any scale, more is
    better. None where the log does not say.
    """

    step: int
    prompt: Conversation
    response: str
    reward: float
    group: str = ""
    kl: float | None = None
    doubt: float | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A row: the answer, or why there is none; and where it begins."""

    place: str
    file: str
    offset: int
    answer: Answer | None = None
    why: str = ""


class UnusableRowError(ValueError):
    """Why a row is no answer, in a few words that many rows share."""


def _plain(row: Row, rewards: Sequence[str]) -> Answer:
    return _answer(row, row.get("prompt"), row.get("response"), _reward(row, rewards, ("reward",)), row.get("step"))


def _verl(row: Row, rewards: Sequence[str]) -> Answer:
    return _answer(row, row.get("input"), row.get("output"), _reward(row, rewards, ("score",)), row.get("step"))


def _trl(row: Row, rewards: Sequence[str]) -> Answer:
    own = [name for name, value in row.items() if _number(value) is not None and name not in _TRL_OTHERS]
    return _answer(row, row.get("prompt"), row.get("completion"), _reward(row, rewards, own), row.get("step"))


def _openrlhf(row: Row, rewards: Sequence[str]) -> Answer:
    return _answer(row, "", row.get("text"), _reward(row, rewards, ("reward",)), row.get("global_step"))


_TRL_OTHERS = ("step", "advantage", "kl", "doubt", "quality")
Reader = Callable[[Row, Sequence[str]], Answer]
FORMS: Mapping[str, tuple[frozenset[str], Reader]] = MappingProxyType(
    {
        "plain": (frozenset(("prompt", "response", "reward", "step")), _plain),
        "verl": (frozenset(("input", "output", "score", "step")), _verl),
        "trl": (frozenset(("prompt", "completion", "step")), _trl),
        "openrlhf": (frozenset(("global_step", "text", "reward")), _openrlhf),
        "served": (frozenset(("prompt", "response", "reward")), _plain),
    }
)
"""Form → the columns that it is known by, and how a row is read; the first that fits counts."""


def _reward(row: Row, named: Sequence[str], own: Sequence[str]) -> float:
    """The sum of the named columns, or the form's own one."""
    columns = named or own
    # TRL writes a column for each reward function; which of several numbers are rewards only the user knows.
    if not named and len(own) > 1:
        raise DataError(
            f"has {len(own)} columns of numbers: {', '.join(sorted(own)[:6])}",
            where="rewards",
            fix="name those that are rewards: --reward COLUMN, several are added up",
        )
    values = [_number(row.get(name)) for name in columns]
    if not values or any(value is None for value in values):
        raise UnusableRowError("no finite reward")
    return sum(value for value in values if value is not None)


def _answer(row: Row, prompt: Any, response: Any, reward: float, step: Any) -> Answer:
    number = _number(step)
    if number is None or number != int(number) or number < 0:
        raise UnusableRowError("no whole step")
    said = _turns(response, "assistant")
    if not said or not "".join(turn.content for turn in said).strip():
        raise UnusableRowError("no text of an answer")
    before = _turns(prompt, "user")
    if before is None:
        raise UnusableRowError("a prompt that is no text and no messages")
    named = row.get("group", row.get("id"))
    return Answer(
        step=int(number),
        prompt=before,
        response="\n".join(turn.text for turn in said),
        reward=reward,
        group=str(named) if isinstance(named, str | int) else "\n".join(turn.text for turn in before),
        kl=_number(row.get("kl")),
        doubt=_number(row.get("doubt")),
        quality=_number(row.get("quality")),
    )


def _turns(said: Any, role: str) -> Conversation | None:
    if isinstance(said, str):
        return (Message(role, said or _EMPTY_PROMPT),) if role == "user" else (Message(role, said),)
    if hasattr(said, "tolist"):
        said = said.tolist()
    if not isinstance(said, list) or not said:
        return None
    turns = []
    for turn in said:
        content = turn.get("content") if isinstance(turn, dict) else None
        if not isinstance(content, str):
            return None
        turns.append(Message(str(turn.get("role", role)), content))
    return tuple(turns)


def _number(value: Any) -> float | None:
    # bool is a subclass of int: true would be a reward of 1.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


class Stream:
    """See the module.

    Args:
        path: a file or a folder.
        rewards: columns that are rewards, where the form does not say so; several are added up.
        per_step: answers that make a step, for rows without one.
        form: as an earlier call found it; "" to find it.
        file, offset, mark, served: where that call stopped; `mark` tells whether the file is still the same.
        rotations: how often the file was rotated before, by kind (`following.py`).

    Attributes:
        place: behind the last row.
        rotations: the same by now.
        said: what happened to files, in words; whoever reads it may clear it.

    Raises (when read):
        DataError: there is no such file or folder, or the first row has the columns of no form.
    """

    def __init__(
        self,
        path: Path,
        *,
        rewards: Sequence[str] = (),
        per_step: int | None = None,
        form: str = "",
        file: str = "",
        offset: int = 0,
        mark: str = "",
        served: int = 0,
        rotations: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.path = path
        self.form = form
        self.place = (file, offset)
        self.served = served
        self.rotations = Counter(rotations)
        self.said: list[str] = []
        self._followed: Followed | None = None
        if file.endswith(".jsonl"):
            self._followed = self._following(path / file if path.is_dir() else path, offset, mark)
        self._rewards = tuple(rewards)
        self._per_step = per_step
        self._unreadable: set[str] = set()

    def poll(self, *, last: bool = False) -> Iterator[Read]:
        """The rows that are new since the last call.

        Args:
            last: nobody writes any more: a line without an end is a line.
        """
        for path in self._files(last):
            name = path.name
            # Files before the one where the last call stopped are read.
            if self.place[0] and _natural(name) < _natural(self.place[0]):
                continue
            if name != self.place[0]:
                self.place = (name, 0)
                self._followed = None
            rows = self._lines(path, last) if path.suffix == ".jsonl" else self._table(path)
            for offset, after, where, row, why in rows:
                self.place = (name, after)
                if why or row is None:
                    yield Read(where, name, offset, why=why)
                else:
                    yield self._read(row, where, name, offset)

    def _following(self, path: Path, offset: int, mark: str = "") -> Followed:
        return Followed(path, offset, mark, tell=self._told, alone=not self.path.is_dir())

    def _told(self, kind: str, what: str) -> None:
        self.said.append(what)
        if kind:
            self.rotations[kind] += 1

    def mark_at(self, offset: int) -> str:
        """What the file that is being read is known by at the beginning of a row; "" for a table."""
        return self._followed.mark_at(offset) if self._followed else ""

    def _files(self, last: bool) -> list[Path]:
        if self.path.is_dir():
            found = [one for one in self.path.iterdir() if one.suffix in SUFFIXES and one.is_file()]
            return sorted(found, key=lambda one: _natural(one.name))
        # A file that is followed has no name for a moment while it is rotated.
        if not last and self._followed is not None and not self.path.exists():
            return [self.path]
        if not self.path.is_file() or self.path.suffix not in SUFFIXES:
            what = "is no file that can be read" if self.path.exists() else "no such file or folder"
            raise DataError(
                what, where=str(self.path), fix=f"name a file that ends in {', '.join(SUFFIXES)}, or a folder of them"
            )
        return [self.path]

    def _lines(self, path: Path, last: bool) -> Iterator[tuple[int, int, str, Row | None, str]]:
        if self._followed is None:
            self._followed = self._following(path, self.place[1])
        for line in self._followed.lines(last=last):
            where = f"{line.path}, byte {line.offset:,}"
            if line.raw is None:
                yield line.offset, line.after, where, None, "a line that is too long"
            elif line.raw.strip():
                yield line.offset, line.after, where, *_parsed(line.raw)

    def _table(self, path: Path) -> Iterator[tuple[int, int, str, Row | None, str]]:
        done = self.place[1]
        try:
            rows = 0
            for rows, row in enumerate(_wandb_rows(path) if path.suffix == ".json" else _records(path), 1):
                if rows > done:
                    yield rows - 1, rows, f"{path}, row {rows:,}", row, ""
            if rows < done:
                self._told("replaced", f"{path} has {rows:,} rows, fewer than the {done:,} that were read: all are new")
                self.place = (path.name, 0)
                yield from self._table(path)
        except (DataError, OSError, ValueError) as error:
            if not self.path.is_dir():
                raise
            if path.name in self._unreadable:
                return
            # Told once: a file that another process is writing fails at every poll until it is whole.
            self._unreadable.add(path.name)
            yield done, done, str(path), None, f"a file that cannot be read: {type(error).__name__}"

    def _read(self, row: Row, where: str, file: str, offset: int) -> Read:
        if not self.form:
            self.form = self._recognised(row, where)
        try:
            if self.form == "served":
                row = {**row, "step": self.served // (self._per_step or 1) + 1}
            answer = FORMS[self.form][1](row, self._rewards)
        except UnusableRowError as error:
            return Read(where, file, offset, why=str(error))
        self.served += self.form == "served"
        return Read(where, file, offset, answer)

    def _recognised(self, row: Row, where: str) -> str:
        found = next((name for name, (columns, _) in FORMS.items() if columns <= row.keys()), "")
        if not found:
            raise DataError(
                f"the columns are {', '.join(sorted(map(str, row))[:8]) or 'none'}",
                where=where,
                fix="write prompt, response, reward and step, or name a log of verl, TRL or OpenRLHF",
            )
        # Without steps there are no windows, and a guess would decide what counts as early.
        if found == "served" and not self._per_step:
            raise DataError("rows have no step", where=where, fix="say how many answers make one: --per-step N")
        return found


def _parsed(line: bytes) -> tuple[Row | None, str]:
    if not line.strip():
        return None, ""
    try:
        row = parse_json(line.decode("utf-8"))
    except BeyondLimitError:
        return None, "JSON beyond a limit"
    except ValueError:
        return None, "no JSON"
    return (row, "") if isinstance(row, dict) else (None, "no object")


def _records(path: Path) -> Iterator[Row]:
    for _, row in read_rows(path):
        yield row


def _wandb_rows(path: Path) -> Iterator[Row]:
    """A table of Weights & Biases, `{"columns": […], "data": [[…], …]}`, or a list of objects."""
    table = parse_json(read_bounded(path, _TABLE_SIZE))
    if isinstance(table, dict) and isinstance(table.get("columns"), list) and isinstance(table.get("data"), list):
        names = [str(name) for name in table["columns"]]
        yield from (dict(zip(names, row, strict=False)) for row in table["data"] if isinstance(row, list))
        return
    if not isinstance(table, list):
        raise DataError(
            "is no table", where=str(path), fix='write {"columns": […], "data": [[…]]}, or a list of objects'
        )
    yield from (row for row in table if isinstance(row, dict))


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Names in the order of the numbers in them: 2.jsonl before 10.jsonl."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]
