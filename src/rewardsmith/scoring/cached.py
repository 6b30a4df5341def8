"""A local scorer that remembers: each text is computed once for a checkpoint, whichever benchmark or command asks.

    scorer = open_scorer(model, device="cpu", cache=samples.cache_folder() / "rewards", note=events.note)
    scorer.score(conversations)
    scorer.reused                      # how many rewards came from the cache

A reward is kept under the model's identity (`model_identity`) and the SHA-256 of the text's token ids: two ways of
rendering one conversation are two texts, and one text that two benchmarks share is one. (Ids decide the mask, too:
only the upstream rendering doubles BOS, and it always masks the first.) Rewards are kept after every forward pass, so
that a killed evaluation goes on where it was. What could not be computed is never kept.

A reward depends on the texts that it was computed beside, to rounding (about 1e-6 in float32). A run of which every
reward is known repeats the earlier one bit for bit; one of which some are known equals a fresh run to rounding.

A cache that cannot be used (damaged, read-only, locked for half a minute) is left alone after one note. Nothing is ever
deleted: a million rewards take some 60 MB, and the folder may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

import rewardsmith
from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.protocols import Progress
from rewardsmith.rendering import Ids, Rendered
from rewardsmith.scoring.local import LocalScorer
from rewardsmith.types import Conversation

# How long SQLite waits for the transaction of another process before it says that the file is locked.
_WAIT_SECONDS = 30.0
# Reward and checksum; little-endian, so that the file means the same on every machine.
_VALUE = struct.Struct("<dI")

Note = Callable[[str], None]
"""Receives one line of progress."""


def open_scorer(
    folder: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    token_budget: int = 16384,
    layout: str = "auto",
    cache: Path | None = None,
    note: Note | None = None,
) -> CheckpointScorer:
    """Open a checkpoint, verify its golden rewards, score with it.

    Args:
        folder: a checkpoint folder or hub id.
        device: cpu, cuda or mps.
        dtype: of the weights in memory.
        token_budget: tokens per forward pass as laid out.
        layout: see `choose_layout`.
        cache: folder for rewards; None computes every reward.
        note: receives one line when the cache cannot be used.

    Raises:
        ModelError: as `open_checkpoint`.
    """
    scorer = LocalScorer.load(folder, dtype=dtype, device=device, token_budget=token_budget, layout=layout)
    return scorer if cache is None else CachedScorer(scorer, cache, note)


class CachedScorer:
    """A `LocalScorer` with rewards on disk between text and model."""

    def __init__(self, scorer: LocalScorer, cache: Path, note: Note | None = None) -> None:
        self.scorer = scorer
        self.reused = 0
        self._cache = cache
        self._note = note
        self._usable = True

    @property
    def checkpoint(self) -> Checkpoint:
        """The wrapped scorer's checkpoint."""
        return self.scorer.checkpoint

    @cached_property
    def path(self) -> Path:
        """The file that holds this model's rewards."""
        return self._cache / f"{model_identity(self.checkpoint.model)}.sqlite3"

    def as_upstream(self) -> CachedScorer:
        """See `LocalScorer.as_upstream`; the cache is the same, since its keys are token ids."""
        return CachedScorer(self.scorer.as_upstream(), self._cache, self._note)

    def render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """See `LocalScorer.render`."""
        return self.scorer.render(conversations)

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """See `LocalScorer.why`."""
        return self.scorer.why(conversations)

    def suggest(self, conversations: Sequence[Conversation], others: Sequence[Conversation], count: int) -> list[str]:
        """See `LocalScorer.suggest`."""
        return self.scorer.suggest(conversations, others, count)

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Raw rewards, shape (len(conversations),), in input order; NaN where a text cannot be rendered."""
        return self.scorer.score_with(self.score_ids, conversations, progress)

    def score_ids(self, texts: Sequence[Ids], progress: Progress | None = None) -> NDArray[np.float64]:
        """Raw rewards of rendered texts, in input order: known ones from the cache, the others computed and kept."""
        keys = [text_key(ids) for ids in texts]
        with self._open() as store:
            known = self._get(store, keys)
            rewards = np.array([known.get(key, np.nan) for key in keys], dtype=np.float64)
            new = [index for index, key in enumerate(keys) if key not in known]
            if progress is not None:
                progress(len(known), len(keys))

            def report(done: int, _: int) -> None:
                if progress is not None:
                    progress(len(known) + done, len(keys))

            def keep(indices: Sequence[int], found: NDArray[np.float64]) -> None:
                pairs = zip(indices, found.tolist(), strict=True)
                self._put(store, {keys[new[index]]: reward for index, reward in pairs if np.isfinite(reward)})

            if new:
                rewards[new] = self.scorer.score_ids([texts[index] for index in new], report, keep)
        self.reused += len(known)
        return rewards

    @contextmanager
    def _open(self) -> Iterator[RewardStore | None]:
        if not self._usable:
            yield None
            return
        try:
            store = RewardStore(self.path)
        except StoreFault as fault:
            self._give_up(fault)
            yield None
            return
        with store:
            yield store

    def _get(self, store: RewardStore | None, keys: Sequence[bytes]) -> dict[bytes, float]:
        if store is None:
            return {}
        try:
            return store.get(keys)
        except StoreFault as fault:
            self._give_up(fault)
            return {}

    def _put(self, store: RewardStore | None, rewards: dict[bytes, float]) -> None:
        if store is None or not self._usable:
            return
        try:
            store.put(rewards)
        except StoreFault as fault:
            self._give_up(fault)

    def _give_up(self, fault: StoreFault) -> None:
        """Say once that the cache is left alone from here on."""
        self._usable = False
        if self._note is not None:
            self._note(
                f"warning: rewards are not cached: {self.path}: {fault}. Every reward is computed; nothing else changes"
            )


CheckpointScorer = LocalScorer | CachedScorer
"""What `open_scorer` gives; both have `checkpoint`."""


def text_key(ids_T: Ids) -> bytes:
    """SHA-256 of a text's token ids, the same on every machine."""
    return hashlib.sha256(np.ascontiguousarray(ids_T, dtype="<i4").tobytes()).digest()


class StoreFault(Exception):  # noqa: N818 - a reason, caught in this room
    """The store cannot be used, and why. Callers go on without it."""


class RewardStore:
    """Rewards on disk: one SQLite file for a model identity, key → reward, safe with several processes at once.

        with RewardStore(path) as store:         raises StoreFault
            store.get(keys)                      # {key: reward} of those that are there
            store.put({key: reward})             # whole or not at all, and there after a SIGKILL

    A key is 32 bytes. A value is the reward's eight bytes and a checksum over key and reward: what does not match it is
    not there, so that a damaged file costs time and never gives a wrong number. SQLite runs in WAL mode where the file
    system bears it: readers and one writer at a time do not stop each other, writers wait. A row takes some 60 bytes.
    Use it in one thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise StoreFault(str(error)) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreFault(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        """The rewards of those keys that are there, undamaged.

        Raises:
            StoreFault: the file cannot be read.
        """
        found = {}
        try:
            for key in keys:
                row = self._connection.execute("SELECT value FROM rewards WHERE key = ?", (key,)).fetchone()
                reward = None if row is None else _unpack(key, row[0])
                if reward is not None:
                    found[key] = reward
        except sqlite3.Error as error:
            raise StoreFault(str(error)) from error
        return found

    def put(self, rewards: Mapping[bytes, float]) -> None:
        """Add rewards, or replace them, in one transaction.

        Raises:
            StoreFault: the file cannot be written.
        """
        rows = [(key, _pack(key, reward)) for key, reward in rewards.items()]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO rewards VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise StoreFault(str(error)) from error

    def _prepare(self) -> None:
        # Two processes that switch a new file at the same time: one is refused, and finds it switched.
        with suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA journal_mode = WAL")
        # Under WAL a power cut may then cost the last transactions, never the file; a lost reward is computed again.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._connection:
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS rewards (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )


def _pack(key: bytes, reward: float) -> bytes:
    return _VALUE.pack(reward, _checksum(key, reward))


def _unpack(key: bytes, value: object) -> float | None:
    """The reward, or None where the value is damaged."""
    if not isinstance(value, bytes) or len(value) != _VALUE.size:
        return None
    reward, checksum = _VALUE.unpack(value)
    return float(reward) if checksum == _checksum(key, reward) else None


def _checksum(key: bytes, reward: float) -> int:
    return zlib.crc32(key + struct.pack("<d", reward))


# The version is hashed as that of the library in use, and the type with each tensor.
_SAYS_NOTHING = ("transformers_version", "dtype", "torch_dtype")


def model_identity(model: Any) -> str:
    """SHA-256 of everything that decides the reward of given token ids, beyond rounding: the model as it is in memory.

    Covered: every weight and buffer with its type (an adapter's and its base's), the configuration, the adapter's
    settings, the kind of device, and the versions of Rewardsmith, torch and transformers. Not covered, because the
    token ids say it already: tokenizer, template, length policy. Not covered, because it changes a reward by rounding
    only: layout, batch size, threads.

    Weights are hashed as they stand in memory, about a second a gigabyte, once for each loaded model. File names and
    times play no part: a copied or a downloaded checkpoint has the identity of the original.
    """
    hasher = hashlib.sha256(json.dumps(_settings(model), sort_keys=True, default=_plain).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As bytes, because numpy has no bfloat16.
            hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _settings(model: Any) -> dict[str, Any]:
    adapters = getattr(model, "peft_config", None) or {}
    return {
        "config": _content(model.config.to_dict()),
        "adapters": {name: _content(adapter.to_dict()) for name, adapter in adapters.items()},
        "device": next(model.parameters()).device.type,
        "versions": [rewardsmith.__version__, torch.__version__, transformers.__version__],
    }


def _content(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without what only says where a model came from."""
    where = {"base_model_name_or_path", "revision", *_SAYS_NOTHING}
    return {str(key): value for key, value in settings.items() if not str(key).startswith("_") and key not in where}


def _plain(value: Any) -> Any:
    """What JSON does not know: sets (in a fixed order), enumerations, types."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
