"""A local scorer that remembers: each text is computed once for a checkpoint, whichever benchmark or command asks.

    scorer = open_scorer(model, device="cpu", cache=samples.cache_folder() / "rewards", note=events.note)
    scorer.score(conversations)
    scorer.reused                      # how many rewards came from the cache

A reward is kept under the model's identity (`identity.py`) and the SHA-256 of the text's token ids: two ways of
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.protocols import Progress
from rewardsmith.rendering import Ids, Rendered
from rewardsmith.scoring.identity import model_identity
from rewardsmith.scoring.local import LocalScorer
from rewardsmith.scoring.store import RewardStore, StoreFault
from rewardsmith.types import Conversation

Note = Callable[[str], None]
"""Receives one line for whoever is watching."""


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

    @property
    def missing(self) -> Counter[str]:
        """How many conversations could not be rendered, by reason."""
        return self.scorer.missing

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
"""What `open_scorer` gives; both have `checkpoint` and `missing`."""


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


def text_key(ids_T: Ids) -> bytes:
    """SHA-256 of a text's token ids, the same on every machine."""
    return hashlib.sha256(np.ascontiguousarray(ids_T, dtype="<i4").tobytes()).digest()
