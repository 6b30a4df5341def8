"""The models of a server, each by its name; a name is never a path, and a request never loads one.

    models = Models([ServedModel("helpful", batcher, reload)])
    models.find("helpful"); models.find(None)        # the only one there is
    await models.reload("helpful")                   # from where the server was started with

A reload loads the new weights beside the old ones, in a thread of its own, while the old ones answer. What was accepted
before the change is answered by the old weights, what comes after it by the new ones. Whatever goes wrong while they
are loaded is a refusal (409), and the old ones go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from rewardsmith.errors import RewardsmithError
from rewardsmith.serving.engine import Engine, ModelInfo
from rewardsmith.serving.limits import Refusal
from rewardsmith.serving.logs import log
from rewardsmith.serving.queue import Answer, Observer
from rewardsmith.types import Conversation

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Line(Protocol):
    """Who stands before a queue."""

    @property
    def waiting(self) -> int:
        """Requests that wait for room in it."""
        ...


class Batcher(Protocol):
    """What scores the requests of a model: a `MicroBatcher` of this process, or what asks those of others."""

    @property
    def engine(self) -> Engine:
        """What new requests get."""
        ...

    @property
    def depth(self) -> int:
        """Conversations that wait."""
        ...

    @property
    def admission(self) -> Line:
        """The line before the queue."""
        ...

    def observe(self, observer: Observer) -> None:
        """Report each batch to `observer`."""
        ...

    def replace(self, engine: Engine) -> None:
        """Use another engine from now on."""
        ...

    async def submit(self, conversations: Sequence[Conversation], *, seconds: float, patience: float = 0.0) -> Answer:
        """Score the conversations of one request; raises `Refusal`."""
        ...


@dataclass(eq=False)
class ServedModel:
    """A name, its queue, and how its engine is loaded again (None: it cannot be)."""

    name: str
    batcher: Batcher
    load: Callable[[], Engine] | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def info(self) -> ModelInfo:
        """Of the engine that new requests get."""
        return self.batcher.engine.info


class Models:
    """The registry of one server."""

    def __init__(self, served: Iterable[ServedModel]) -> None:
        self._served = {model.name: model for model in served}

    def names(self) -> list[str]:
        """All names, in the order of the command line."""
        return list(self._served)

    def find(self, name: str | None) -> ServedModel:
        """The model of that name; of None, the only one.

        Raises:
            Refusal: there is none of that name (404), or none was named and there are several (422).
        """
        if name is None:
            if len(self._served) == 1:
                return next(iter(self._served.values()))
            raise Refusal(
                422,
                "model_missing",
                "several models are served, and the request names none",
                fix=f"name one of {', '.join(self._served)}, or send it to /models/NAME/…",
            )
        if name not in self._served:
            raise Refusal(
                404,
                "unknown_model",
                "no model of that name is served",
                fix=f"name one of {', '.join(self._served)}; paths and hub ids are no names",
            )
        return self._served[name]

    async def reload(self, name: str) -> ServedModel:
        """Load a model again and use it from now on.

        Raises:
            Refusal: no such model (404), it is being reloaded already, or what is there cannot be used (409).
        """
        model = self.find(name)
        if model.load is None:
            raise Refusal(409, "not_reloadable", "this model cannot be loaded again", fix="restart the server")
        # Refused and not queued: the second reload would load what the first one is loading.
        if model.changing.locked():
            raise Refusal(409, "reload_under_way", "this model is being reloaded already", fix="wait for it")
        async with model.changing:
            loaded = await _alone(model.load)
            if isinstance(loaded, BaseException):
                raise _unusable(name, loaded) from loaded
            model.batcher.replace(loaded)
        return model


def _unusable(name: str, error: BaseException) -> Refusal:
    """Whatever goes wrong while a checkpoint is loaded is for whoever put it there: its problem, without its path."""
    ours = isinstance(error, RewardsmithError)
    told = {"problem": error.problem, "where": error.where} if isinstance(error, RewardsmithError) else {}
    # Errors of ours say what is wrong in words; of all others the log also gets the place.
    log("reload_refused", level=logging.ERROR, error=None if ours else error, model=name, fields=told)
    kind = type(error).__name__
    reason = f"{kind}: {' '.join(error.problem.split())}" if isinstance(error, RewardsmithError) else kind
    return Refusal(
        409,
        "reload_refused",
        f"what is there cannot be used, the old model goes on: {reason}",
        fix="see the server's log; restore the checkpoint and reload again",
    )


async def _alone(load: Callable[[], Engine]) -> Engine | BaseException:
    """Load in a thread that ends with it, and with it the OpenMP threads that would slow the model's own down.

    Also what is no `Exception` comes back as a value: the panics of tokenizers and safetensors are none, and raised in
    the event loop they would end the server.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="reload")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, _caught, load)
    finally:
        thread.shutdown(wait=False)


def _caught(load: Callable[[], Engine]) -> Engine | BaseException:
    try:
        return load()
    except BaseException as error:
        return error
