"""A front's way to the replicas: a request parted by prompt, each part asked of the replica that its prompt belongs to.

Ray Serve's consistent hashing says which one that is. The answers to one prompt come to lie in one replica, where the
token tree computes the prompt once; a replica more or less moves only its share of the prompts. A replica that is full
passes on to the next. A request keeps to one model: where parts come from replicas that were reloaded meanwhile, it is
asked again.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Scored, Unscorable
from rewardsmith.serving.logs import log
from rewardsmith.serving.queue import Answer, Observer, Outcome
from rewardsmith.serving.ray_replica import Part
from rewardsmith.serving.refusals import Refusal, overloaded
from rewardsmith.types import Conversation

BUCKETS = 64
"""Prompts are dealt into so many groups; a group, not a prompt, belongs to a replica, which bounds the calls of one
request."""

TEXT_KEY = 512
"""Characters of a plain text that name its prompt: where the prompt ends is not said there."""

_ATTEMPTS = 3


class _Elsewhere:
    """An engine as the front knows it: what it says of itself."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        """Never here."""
        raise TypeError("the replicas prepare")

    def score(self, batch: Sequence[Prepared]) -> Scored:
        """Never here."""
        raise TypeError("the replicas score")


@dataclass(frozen=True, slots=True)
class _Line:
    """Requests that wait before the queue: at the replicas, none here."""

    waiting: int = 0


class SpreadBatcher:
    """In place of a `MicroBatcher`: parts requests by prompt, and asks the replicas."""

    admission = _Line()

    def __init__(self, handle: Any, info: ModelInfo) -> None:
        self.engine: Engine = _Elsewhere(info)
        self.depth = 0
        self._handle = handle
        self._observe: Observer | None = None

    def observe(self, observer: Observer) -> None:
        """Report to `observer` what the replicas report with their answers."""
        self._observe = observer

    def replace(self, engine: Engine) -> None:
        """Another model answers from now on."""
        self.engine = engine

    async def submit(self, conversations: Sequence[Conversation], *, seconds: float, patience: float = 0.0) -> Answer:
        """Score the conversations of one request. Raises as `MicroBatcher.submit` does."""
        if not conversations:
            return Answer([], self.engine.info)
        self.depth += len(conversations)
        try:
            async with asyncio.timeout(seconds):
                return await self._ask_until_one(conversations, seconds, patience)
        except TimeoutError:
            raise overloaded("deadline", "the deadline passed before the model was free", 1.0) from None
        finally:
            self.depth -= len(conversations)

    async def _ask_until_one(self, conversations: Sequence[Conversation], seconds: float, patience: float) -> Answer:
        """Ask, and ask again while the parts are of more than one model (a reload goes through the replicas)."""
        groups = group_by_prompt(conversations)
        for _ in range(_ATTEMPTS):
            parts = await asyncio.gather(
                *(
                    self._ask(bucket, [conversations[index] for index in places], seconds, patience)
                    for bucket, places in groups.items()
                )
            )
            if len({part.info.identity for part in parts}) == 1:
                info = parts[0].info
                if info != self.engine.info:
                    self.engine = _Elsewhere(info)
                return Answer(_in_order(groups.values(), [part.outcomes for part in parts]), info)
        raise overloaded("reload_under_way", "the model is being reloaded", 1.0)

    async def _ask(self, bucket: str, part: list[Conversation], seconds: float, patience: float) -> Answer:
        """One replica's part; another one's, where the first is lost: a reward can be computed twice."""
        for _ in range(_ATTEMPTS):
            try:
                found = await self._call(bucket, part, seconds, patience)
            except ray.exceptions.RayActorError as error:
                log("replica_lost", level=logging.WARNING, error=error)
                continue
            for report in found.reports:
                if self._observe is not None:
                    self._observe(report)
            if found.refused is not None:
                status, code, message, fix, headers = found.refused
                raise Refusal(status, code, message, fix=fix, headers=headers)
            if found.answer is not None:
                return found.answer
        raise overloaded("replica_lost", "the replica of this prompt was lost", 5.0)

    def _call(self, bucket: str, part: list[Conversation], seconds: float, patience: float) -> Awaitable[Part]:
        """A call to the replica of a bucket.

        In a context of its own: Ray Serve 2.60 names a call by the request in which it is made, and of several that are
        made at once by one request its router forgets all but one.
        """
        call = self._handle.options(session_id=bucket).score.remote
        response: Awaitable[Part] = contextvars.Context().run(call, part, seconds, patience)
        return response


def reload_replicas(handle: Any) -> Engine:
    """Load the model again on every replica; only when all have it do they change.

    Raises:
        RewardsmithError: of a replica that cannot use what is there; the old model goes on everywhere.
    """
    try:
        infos = handle.broadcast("load_beside").results()
    except ray.exceptions.RayTaskError as error:
        handle.broadcast("change", go=False).results()
        cause: BaseException | None = error.cause
        if isinstance(cause, RewardsmithError):
            raise cause from error
        raise
    same = len({info.identity for info in infos}) == 1
    handle.broadcast("change", go=same).results()
    if not same:
        raise ModelError("the replicas read different models", fix="reload again when all machines see the same files")
    return _Elsewhere(infos[0])


def group_by_prompt(conversations: Sequence[Conversation]) -> dict[str, list[int]]:
    """Positions of the conversations by the bucket of their prompt: all messages but the last.

    A conversation of one message is a text that was rendered elsewhere; its first `TEXT_KEY` characters stand for its
    prompt.
    """
    found: dict[str, list[int]] = {}
    for index, conversation in enumerate(conversations):
        found.setdefault(_bucket(conversation), []).append(index)
    return found


def _bucket(conversation: Conversation) -> str:
    if len(conversation) > 1:
        name = "\x00".join(f"{turn.role}\x00{turn.content}" for turn in conversation[:-1])
    else:
        name = "".join(turn.content for turn in conversation)[:TEXT_KEY]
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return str(int.from_bytes(digest) % BUCKETS)


def _in_order(groups: Any, outcomes: list[list[Outcome]]) -> list[Outcome]:
    placed = {
        place: outcome
        for places, found in zip(groups, outcomes, strict=True)
        for place, outcome in zip(places, found, strict=True)
    }
    return [placed[place] for place in range(len(placed))]
