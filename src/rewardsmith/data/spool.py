"""A list of byte strings on disk: what a million rows would not leave room for in memory.

    spool = Spool()
    spool.append(b"…")
    spool[0]

The file has no name: it lies in the folder for temporary files (`TMPDIR`) and vanishes with the process, however that
ends. Memory: eight bytes a record.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from rewardsmith.errors import DataError

_FLUSH = 1 << 20
_BLOCK = 1 << 22


class Spool(Sequence[bytes]):
    """Append-only; reading and appending may alternate."""

    def __init__(self) -> None:
        self._file, name = tempfile.mkstemp(prefix="rewardsmith-")
        Path(name).unlink()
        weakref.finalize(self, os.close, self._file)
        self._ends = array("q", [0])
        self._waiting: list[bytes] = []
        self._written = 0

    def append(self, record: bytes) -> None:
        """Add a record.

        Raises:
            DataError: the disk is full.
        """
        self._waiting.append(record)
        self._ends.append(self._ends[-1] + len(record))
        if self._ends[-1] - self._written > _FLUSH:
            self._flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        self._flush()
        start = self._ends[place]
        return os.pread(self._file, self._ends[place + 1] - start, start)

    def __iter__(self) -> Iterator[bytes]:
        """All records in order, read in large blocks."""
        self._flush()
        place, total = 0, len(self)
        while place < total:
            first, last = place, place + 1
            while last < total and self._ends[last + 1] - self._ends[first] <= _BLOCK:
                last += 1
            base = self._ends[first]
            block = os.pread(self._file, self._ends[last] - base, base)
            for place in range(first, last):
                yield block[self._ends[place] - base : self._ends[place + 1] - base]
            place = last

    def _flush(self) -> None:
        if not self._waiting:
            return
        block = memoryview(b"".join(self._waiting))
        try:
            while block:
                sent = os.pwrite(self._file, block, self._written)
                self._written += sent
                block = block[sent:]
        except OSError as error:
            raise DataError(
                f"the rows cannot be kept on disk: {error.strerror}",
                where=tempfile.gettempdir(),
                fix="make room there, or point TMPDIR to a folder with room for twice the data",
            ) from error
        self._waiting.clear()
