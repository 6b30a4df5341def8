"""A JSONL file that grows, line by line from where an earlier call stopped, also where it is rotated meanwhile.

    followed = Followed(path, offset, mark, tell=…)
    for line in followed.lines(last=False):
        …                                    `line.raw`, and `followed.mark_at(line.offset)` to come back to it
    followed.offset, followed.mark           behind the last line

A file is known again by what was read of it: a mark holds its inode and a digest of the first and the last bytes before
the offset. So a copy that has grown (rsync, an editor) goes on where it was, and an inode that the file system gave to
another file does not deceive. What is no longer the same file was rotated:

    replaced    renamed, and a new file made: what is left of the old one is read first, where it still lies in the
                folder, and so are files between them that are called as rotated ones are (NAME.1, NAME-20260101)
    lost        replaced, and the old one is not there any more: its rest was not read
    truncated   cut off in place: what was written between the last look and the cut was not read

A new file without a row is not gone over to yet: with logrotate the writer goes on with the old one until it is told.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rewardsmith.data.files import LONGEST_ROW
from rewardsmith.errors import DataError

_ENDS = 512
"""Bytes at the beginning and before the offset that a file is known by."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its end, and where it begins; `raw` is None for one that is too long."""

    path: Path
    offset: int
    after: int
    raw: bytes | None


class Followed:
    """See the module.

    Args:
        path: the file.
        offset: bytes that are read.
        mark: as `mark_at` gave it for this offset; "" where it is not known: then only the size is looked at.
        tell: told what happened to the file: the kind of rotation ("" for none), and a sentence.
        alone: whether other files of the folder may be what this one was renamed to.
    """

    def __init__(
        self, path: Path, offset: int = 0, mark: str = "", *, tell: Callable[[str, str], None], alone: bool = True
    ) -> None:
        self.path = path
        self.offset = offset
        self.mark = mark
        self._tell = tell
        self._alone = alone
        self._handle: BinaryIO | None = None
        self._gone = False

    def lines(self, *, last: bool) -> Iterator[Line]:
        """Whole lines that are new.

        Args:
            last: nobody writes any more: a line without an end is a line.

        Raises:
            DataError: the file cannot be read.
        """
        handle = self._opened(self.path)
        if handle is None:
            if not self._gone:
                self._tell("", f"{self.path} is gone: the watch waits for a file of that name")
            self._gone = True
            yield from self._rest(last=False)
            return
        with handle:
            self._gone = False
            if not self._goes_on(handle):
                about = os.fstat(handle.fileno())
                if about.st_size == 0 and not last and not self._is_inode(about.st_ino) and self._old() is not None:
                    yield from self._rest(last=False)
                    return
                yield from self._leave(about.st_ino)
            yield from self._lines(handle, self.path, last)

    def mark_at(self, offset: int) -> str:
        """What the file that is being read is known by, up to an offset; between two lines of `lines` only."""
        return self.mark if self._handle is None else _mark(self._handle, offset)

    def _leave(self, inode: int) -> Iterator[Line]:
        """What is left of the file that was read so far; then the one of the name begins."""
        end = f"byte {self.offset:,}"
        if self._is_inode(inode) or not self.mark:
            self._tell("truncated", f"{self.path} was truncated: what came after {end} and before the cut is not read")
        elif self._old() is None:
            self._tell("lost", f"{self.path} is a new file, and the old one is gone: what came after {end} is not read")
        else:
            yield from self._rest(last=True)
            self._tell("replaced", f"{self.path} is a new file: the old one is read to its end")
        self.offset, self.mark = 0, ""

    def _rest(self, *, last: bool) -> Iterator[Line]:
        """New lines of the file that was renamed, and with `last` of those that came between it and the one of now."""
        old = self._old()
        if old is None:
            return
        files = [old, *(_between(self.path, old) if last else ())]
        for place, path in enumerate(files):
            if place:
                self._tell("replaced", f"{path} was rotated as well: the file before it is read to its end")
                self.offset, self.mark = 0, ""
            handle = self._opened(path)
            if handle is not None:
                with handle:
                    yield from self._lines(handle, path, last)

    def _old(self) -> Path | None:
        """What the file was renamed to."""
        if not self._alone or not self.mark:
            return None
        for path in self.path.parent.iterdir():
            if path == self.path or not self._is_inode(_inode(path)):
                continue
            handle = self._opened(path)
            if handle is not None:
                with handle:
                    return path if self._goes_on(handle) else None
        return None

    def _is_inode(self, inode: int | None) -> bool:
        return self.mark.partition(" ")[0] == str(inode)

    def _goes_on(self, handle: BinaryIO) -> bool:
        """Whether a file begins with what was read."""
        about = os.fstat(handle.fileno())
        if about.st_size < self.offset:
            return False
        if not self.mark:
            return True
        # Nothing was read of it, so that only the inode tells it.
        if not self.offset:
            return self._is_inode(about.st_ino)
        return _mark(handle, self.offset).partition(" ")[2] == self.mark.partition(" ")[2]

    def _lines(self, handle: BinaryIO, path: Path, last: bool) -> Iterator[Line]:
        self._handle = handle
        handle.seek(self.offset)
        try:
            while True:
                offset = handle.tell()
                line = handle.readline(LONGEST_ROW)
                if len(line) < LONGEST_ROW and not line.endswith(b"\n") and not (last and line):
                    return  # its end, or being written
                raw: bytes | None = line
                while len(line) == LONGEST_ROW and not line.endswith(b"\n"):
                    raw, line = None, handle.readline(LONGEST_ROW)
                self.offset = handle.tell()
                yield Line(path, offset, self.offset, raw)
        finally:
            self.mark = _mark(handle, self.offset)
            self._handle = None

    def _opened(self, path: Path) -> BinaryIO | None:
        try:
            return path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror}", where=str(path), fix="name a file that you may read"
            ) from error


def _mark(handle: BinaryIO, offset: int) -> str:
    number, size = handle.fileno(), min(_ENDS, offset)
    ends = os.pread(number, size, 0) + os.pread(number, size, offset - size)
    return f"{os.fstat(number).st_ino} {hashlib.blake2b(ends, digest_size=16).hexdigest()}"


def _inode(path: Path) -> int | None:
    try:
        about = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return about.st_ino if stat.S_ISREG(about.st_mode) else None


def _between(path: Path, old: Path) -> list[Path]:
    """Files that were rotated after `old`: called as it would be, and written to later; the oldest first."""
    rotated = re.compile(re.escape(path.name) + r"[.-][\d.-]+")
    written = {one: one.stat().st_mtime_ns for one in path.parent.iterdir() if rotated.fullmatch(one.name)}
    since = old.stat().st_mtime_ns
    found = [one for one, at in written.items() if at > since and one != old]
    return sorted(found, key=lambda one: written[one])
