"""A model on one worker of a Ray cluster: its engine and its micro-batches, asked by the fronts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rewardsmith.serving.engine import Engine, ModelInfo
from rewardsmith.serving.queue import Answer, BatchReport, MicroBatcher, QueueSettings
from rewardsmith.serving.refusals import Refusal
from rewardsmith.types import Conversation

_SICK_BATCHES = 20


@dataclass(frozen=True, slots=True)
class Part:
    """What a replica gives for its part of a request: an answer or a refusal, and the batches since the last one."""

    answer: Answer | None
    refused: tuple[int, str, str, str, dict[str, str]] | None
    reports: list[BatchReport]


class Replica:
    """A model on one worker: its engine and its micro-batches."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, name: str, load: Callable[[], Engine], queue: QueueSettings
    ) -> None:
        self._name = name
        self._load = load
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        engine = await asyncio.wrap_future(self._worker.submit(load))
        self._batcher = MicroBatcher(engine, self._worker, queue)
        self._batcher.observe(self._observe)
        self._reports: list[BatchReport] = []
        self._next: Engine | None = None
        self._sick = 0

    def _observe(self, report: BatchReport) -> None:
        self._reports.append(report)
        self._sick = self._sick + 1 if report.failures == report.conversations else 0

    async def score(self, conversations: Sequence[Conversation], seconds: float, patience: float) -> Part:
        """One part of a request."""
        answer, refused = None, None
        try:
            answer = await self._batcher.submit(conversations, seconds=seconds, patience=patience)
        except Refusal as refusal:
            refused = (refusal.status, refusal.code, refusal.info.message, refusal.info.fix, refusal.headers)
        reports, self._reports = self._reports, []
        return Part(answer, refused, reports)

    async def describe(self) -> ModelInfo:
        """What the model says of itself."""
        return self._batcher.engine.info

    async def load_beside(self) -> ModelInfo:
        """Load the model again, beside the one that answers."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="reload")
        try:
            self._next = await asyncio.wrap_future(thread.submit(self._load))
        finally:
            thread.shutdown(wait=False)
        return self._next.info

    async def change(self, go: bool) -> None:
        """Use what was loaded beside from now on, or forget it."""
        if go and self._next is not None:
            self._batcher.replace(self._next)
        self._next = None

    def check_health(self) -> None:
        """Asked by Ray Serve, which replaces a replica that raises here.

        Raises:
            RuntimeError: no text has had a reward for many batches: a broken device does not mend itself.
        """
        if self._sick >= _SICK_BATCHES:
            raise RuntimeError(f"the model {self._name} has failed for {self._sick} batches")
