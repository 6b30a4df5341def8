"""Which rows each step takes, and what it saw: the files that `inside.py` writes in the other environment.

    dealt = Dealt(ids, seed, pairs_per_step, processes)
    dealt.pairs(step)                           # which rows each process takes
    dealt.verify(stepped)                       # the same, after a look at whether it read exactly our token ids
    for event in StepReader(folder / "steps", processes=16).read():     # Begun(step) or Stepped(step, rows)
        …                                       # whatever is new; a step when all processes have written it

OpenRLHF shuffles by `torch.randperm` from the seed and deals row k to process k mod processes; a step is the next
`pairs_per_step / processes` rows of each process. What fills no whole step is computed but never stepped on: those rows
are `dealt.left_out`. Source: `openrlhf/utils/distributed_sampler.py`, `openrlhf/trainer/rm_trainer.py` (0.9.8, 0.11.2).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import PairIds
from rewardsmith.rendering import Ids


class Dealt:
    """Which rows of the training file each step takes, and what their token ids must be.

    Args:
        ids: of the rows, in the order of the file.
        seed: OpenRLHF's `seed`.
        pairs_per_step: over all processes.
        processes: that share a step equally.
    """

    def __init__(self, ids: Sequence[PairIds], seed: int, pairs_per_step: int, processes: int) -> None:
        self.steps = len(ids) // pairs_per_step
        self._ids = ids
        self._processes = processes
        self._share = pairs_per_step // processes
        self._order_P = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).numpy()

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Rows that fill no whole step, in the order of the file."""
        return np.sort(self._order_P[self.steps * self._share * self._processes :])

    def pairs(self, step: int) -> list[int]:
        """Rows of a step (1-based), rank after rank."""
        part = slice((step - 1) * self._share, step * self._share)
        return [int(row) for rank in range(self._processes) for row in self._order_P[rank :: self._processes][part]]

    def verify(self, stepped: Stepped) -> list[int]:
        """The rows of a step, after a look at whether each process read exactly our token ids.

        Raises:
            ModelError: it read others.
        """
        rows = self.pairs(stepped.step)
        for name, side in (("chosen_ids", 0), ("rejected_ids", 1)):
            found, wanted = stepped.all(name), [checksum(self._ids[row][side]) for row in rows]
            if found != wanted:
                differ = [row for row, *both in zip(rows, found, wanted, strict=False) if both[0] != both[1]]
                raise ModelError(
                    f"step {stepped.step} of OpenRLHF read other token ids than ours "
                    f"({len(differ) or abs(len(found) - len(wanted))} of {len(rows)} texts): its tokenizer, "
                    "its treatment of text or its order of rows has changed",
                    where=f"train/openrlhf/train.parquet, row {differ[0] + 1 if differ else len(found)}, "
                    f"field '{name.removesuffix('_ids')}'",
                    fix="use OpenRLHF 0.9.8 to 0.11.2, or train with backend: trl",
                )
        return rows


def checksum(ids_T: Ids) -> int:
    """As `inside.py` computes it: crc32 of the ids as little-endian int32."""
    return zlib.crc32(np.asarray(ids_T).astype("<i4").tobytes())


Row = dict[str, Any]


class Begun(NamedTuple):
    """Training started, or went on, after `step` steps."""

    step: int


class Stepped(NamedTuple):
    """One optimizer step as every process saw it, by rank."""

    step: int
    rows: tuple[Row, ...]

    def all(self, name: str) -> list[Any]:
        """What all processes collected under a name, rank after rank."""
        return [value for row in self.rows for value in row[name]]


@dataclass(slots=True)
class _Rank:
    """One process's file, read up to `offset`; `starts` are where its runs began, `steps` what each of them saw."""

    path: Path
    offset: int = 0
    starts: list[int] = field(default_factory=list)
    steps: dict[tuple[int, int], Row] = field(default_factory=dict)

    def read(self) -> None:
        """Take in whole new lines; a line that a kill cut short is no JSON and is passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as handle:
            handle.seek(self.offset)
            whole = handle.read().rpartition(b"\n")[0]
        self.offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "begin" in row:
                self.starts.append(row["begin"])
            else:
                self.steps[len(self.starts), row["step"]] = row


class StepReader:
    """Reads the files of all processes, and gives each step when all of them have it."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._ranks = [_Rank(folder / f"rank-{rank}.jsonl") for rank in range(processes)]
        self._run = 0
        self._next = 1

    def read(self) -> list[Begun | Stepped]:
        """What is new since the last call, in order."""
        for rank in self._ranks:
            rank.read()
        events: list[Begun | Stepped] = []
        for run in range(self._run, min(len(rank.starts) for rank in self._ranks) + 1):
            if run > self._run:
                begun = self._ranks[0].starts[run - 1]
                self._run, self._next = run, begun + 1
                events.append(Begun(begun))
            events += self._steps()
        return events

    def _steps(self) -> Iterator[Stepped]:
        while all((self._run, self._next) in rank.steps for rank in self._ranks):
            yield Stepped(self._next, tuple(rank.steps.pop((self._run, self._next)) for rank in self._ranks))
            self._next += 1
