"""The kept rows: what one is, the digests that say which texts are equal, and where the rows lie on disk.

    keys = pair_keys(pair)                  # digests of prompt, chosen and rejected
    store = RowStore()
    store.begin("pairs.jsonl")              # a source: the rows that follow are its rows
    store.append(row)                       # TokenizedPair
    store.rows(places)                      # Sequence[TokenizedPair], read again when asked for
    store.pairs(places)                     # Sequence[PreferencePair]
    store.keys, store.lengths, …            # the numbers, as arrays

Texts and token ids lie in a `Spool`, a file without a name; about 90 bytes of memory a row, whatever its length.
`Rejections` keeps the rows that were left out in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import DataError
from rewardsmith.records.checks import RejectedRow
from rewardsmith.records.files import to_json
from rewardsmith.rendering import Ids
from rewardsmith.types import Conversation, Message, PreferencePair


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """A pair that was kept, as token ids (shape (T,), int32), with its place.

    `file` as written in the spec, `row` 1-based; `cut` counts prompt tokens that the length policy took away.
    """

    pair: PreferencePair
    chosen_ids: Ids
    rejected_ids: Ids
    file: str
    row: int
    keys: Keys
    cut: int = 0


Keys = tuple[bytes, bytes, bytes]
"""Digests of prompt, chosen and rejected. A missing prompt counts as one of its own for every two responses."""

DIGEST = 16
"""Bytes of a digest."""


def pair_keys(pair: PreferencePair) -> Keys:
    """Digests of the three texts; equal exactly where roles and contents are."""
    chosen, rejected = digest_of(pair.chosen), digest_of(pair.rejected)
    if pair.prompt:
        return digest_of(pair.prompt), chosen, rejected
    both = b"".join(sorted((chosen, rejected)))  # whichever was preferred
    return hashlib.blake2b(both, digest_size=DIGEST).digest(), chosen, rejected


def digest_of(conversation: Conversation) -> bytes:
    """16 bytes, equal exactly where all messages are."""
    digest = hashlib.blake2b(digest_size=DIGEST)
    for message in conversation:
        content = message.content.encode()
        # The length keeps the end of one message from being read as the beginning of the next.
        digest.update(f"{message.role} {len(content)} ".encode())
        digest.update(content)
        if not message.is_plain:  # plain turns keep the digests that earlier versions gave them
            digest.update(json.dumps(message.as_dict(), ensure_ascii=False).encode())
    return digest.digest()


def halves(digests: NDArray[np.void]) -> NDArray[np.uint64]:
    """Digests as two numbers each, shape (N,) → (N, 2). One half tells ten million texts apart well enough to group."""
    return np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2)


def whole(keys: NDArray[np.void]) -> NDArray[np.void]:
    """The three digests of each pair as one value, shape (P, 3) → (P,): equal exactly where all texts are."""
    return np.ascontiguousarray(keys).view(f"V{3 * DIGEST}").reshape(-1)


def data_fingerprint(keys: NDArray[np.void]) -> str:
    """SHA-256 over the sorted digests of the pairs, shape (P, 3): the same texts in any order give the same value."""
    return hashlib.sha256(np.sort(whole(keys)).tobytes()).hexdigest()


class RowStore:
    """Grows by `append`; every row keeps its place, the number in the order of appending."""

    def __init__(self) -> None:
        self._texts = Spool()
        self._ids = Spool()
        self._keys = bytearray()
        self._titles: list[str] = []
        self._source = array("i")
        self._row = array("q")
        self._lengths = array("i")
        self._cut = array("i")

    def __len__(self) -> int:
        return len(self._row)

    def begin(self, title: str) -> None:
        """The rows that follow are of this source."""
        self._titles.append(title)

    def append(self, row: TokenizedPair) -> None:
        """Keep a row of the source that has begun.

        Raises:
            DataError: the disk is full.
        """
        self._texts.append(_pack(row.pair))
        self._ids.append(np.concatenate([row.chosen_ids, row.rejected_ids], dtype=np.int32).tobytes())
        self._keys += b"".join(row.keys)
        self._source.append(len(self._titles) - 1)
        self._row.append(row.row)
        self._lengths.extend((len(row.chosen_ids), len(row.rejected_ids)))
        self._cut.append(row.cut)

    def rows(self, places: NDArray[np.int64]) -> View[TokenizedPair]:
        """These rows as training sees them."""
        return View(places, self._read)

    def pairs(self, places: NDArray[np.int64]) -> View[PreferencePair]:
        """These rows as texts."""
        return View(places, self._pair)

    @property
    def keys(self) -> NDArray[np.void]:
        """Digests, shape (P, 3), dtype V16."""
        return np.frombuffer(bytes(self._keys), dtype=f"V{DIGEST}").reshape(-1, 3)

    @property
    def source(self) -> NDArray[np.int32]:
        """Which source a row is of, in the order of `begin`, shape (P,)."""
        return np.array(self._source, dtype=np.int32)

    @property
    def row(self) -> NDArray[np.int64]:
        """Row numbers, shape (P,)."""
        return np.array(self._row, dtype=np.int64)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of chosen and rejected, shape (P, 2)."""
        return np.array(self._lengths, dtype=np.int32).reshape(-1, 2)

    @property
    def cut(self) -> NDArray[np.int32]:
        """Prompt tokens cut, shape (P,)."""
        return np.array(self._cut, dtype=np.int32)

    def _pair(self, place: int) -> PreferencePair:
        return _unpack(self._texts[place])

    def _read(self, place: int) -> TokenizedPair:
        ids = np.frombuffer(self._ids[place], dtype=np.int32).copy()
        length = self._lengths[2 * place]
        base = 3 * DIGEST * place
        prompt, chosen, rejected = (bytes(self._keys[base + DIGEST * n : base + DIGEST * (n + 1)]) for n in range(3))
        keys: Keys = (prompt, chosen, rejected)
        file = self._titles[self._source[place]]
        return TokenizedPair(
            self._pair(place), ids[:length], ids[length:], file, self._row[place], keys, self._cut[place]
        )


class Rejections(Sequence[RejectedRow]):
    """Rows that were left out, with their reasons; `counts` has how many by (role, source, reason)."""

    def __init__(self) -> None:
        self._records = Spool()
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def append(self, row: RejectedRow) -> None:
        """Write one down."""
        self._records.append(to_json(row, indent=None).encode())
        self.counts[row.role, row.source, row.reason] += 1

    def by_reason(self) -> dict[str, int]:
        """How many rows each reason took, the most frequent first."""
        reasons: Counter[str] = Counter()
        for (_, _, reason), count in self.counts.items():
            reasons[reason] += count
        return dict(reasons.most_common())

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> RejectedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RejectedRow]: ...
    def __getitem__(self, index: int | slice) -> RejectedRow | Sequence[RejectedRow]:
        if isinstance(index, slice):
            return [RejectedRow.model_validate_json(record) for record in self._records[index]]
        return RejectedRow.model_validate_json(self._records[index])

    def __iter__(self) -> Iterator[RejectedRow]:
        return (RejectedRow.model_validate_json(record) for record in self._records)


T = TypeVar("T", covariant=True)


class View(Sequence[T], Generic[T]):
    """Some rows of a store in a given order, read when asked for."""

    def __init__(self, places: NDArray[np.int64], read: Callable[[int], T]) -> None:
        self._places = places
        self._read = read

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> View[T]: ...
    def __getitem__(self, index: int | slice) -> T | View[T]:
        if isinstance(index, slice):
            return View(self._places[index], self._read)
        return self._read(int(self._places[index]))

    def __iter__(self) -> Iterator[T]:
        return (self._read(int(place)) for place in self._places)

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of the same rows."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


_FIELDS = tuple(name for name in PreferencePair.__dataclass_fields__ if name not in ("prompt", "chosen", "rejected"))

_TURN = tuple(Message.__dataclass_fields__)


def _pack(pair: PreferencePair) -> bytes:
    sides = [_parts(side) for side in (pair.prompt, pair.chosen, pair.rejected)]
    return json.dumps([*sides, *(getattr(pair, name) for name in _FIELDS)], ensure_ascii=False).encode()


def _parts(side: Conversation) -> list[Any]:
    """Role and content by turns, or every field of each turn where one is more than that: most data is plain."""
    if all(message.is_plain for message in side):
        return [part for message in side for part in (message.role, message.content)]
    return [[getattr(message, name) for name in _TURN] for message in side]


def _unpack(record: bytes) -> PreferencePair:
    prompt, chosen, rejected, *rest = json.loads(record)
    more: dict[str, Any] = dict(zip(_FIELDS, rest, strict=True))
    return PreferencePair(_messages(prompt), _messages(chosen), _messages(rejected), **more)


def _messages(parts: Sequence[Any]) -> Conversation:
    if parts and isinstance(parts[0], list):
        return tuple(Message(*fields) for fields in parts)
    return tuple(Message(role, content) for role, content in zip(parts[::2], parts[1::2], strict=True))


_FLUSH = 1 << 20  # bytes that wait in memory before they are written
_BLOCK = 1 << 22  # bytes of neighbouring rows that are read at a time


class Spool(Sequence[bytes]):
    """A list of byte strings on disk, append-only; reading and appending may alternate.

    The file has no name: it lies in the folder for temporary files (`TMPDIR`) and vanishes with the process, however
    that ends. Memory: eight bytes a record.
    """

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
