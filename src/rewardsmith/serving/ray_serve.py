"""The server on several machines under Ray Serve: fronts that speak HTTP, and replicas that hold the models.

    with deployed({"helpful": load}, Replicas(least=1, most=4), FrontSettings(), host=host, port=8000) as url:
        ...                                            # until the caller is told to end; then drained

    proxy ─► Front: gate, routes, dialects, limits, metrics ─► by prompt ─► Replica: micro-batches ─► engine

A front is the application of one process (`server.reward_app`) with a `SpreadBatcher` in place of the queue: it parts
a request by prompt, and Ray Serve's consistent hashing says which replica a prompt belongs to. The answers to one
prompt come to lie in one replica, where the token tree computes the prompt once; a replica more or less moves only its
share of the prompts. A replica that is full passes on to the next. A request keeps to one model: where parts come from
replicas that were reloaded meanwhile, it is asked again.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.serving.access import Access, is_loopback
from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Scored, Unscorable
from rewardsmith.serving.limits import Limits, Refusal, overloaded
from rewardsmith.serving.logs import log, server_log
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.models import Models, ServedModel
from rewardsmith.serving.queue import Answer, BatchReport, MicroBatcher, Observer, Outcome, QueueSettings
from rewardsmith.serving.server import DRAIN_SECONDS, State, reward_app
from rewardsmith.types import Conversation

APPLICATION = "rewardsmith"
_CALLS = 256  # that a replica has at a time
_TARGET_CALLS = 16.0  # of a replica, on average: with more, Ray starts another one
_FRONT_CPUS = 0.05  # that Ray reserves for a front, which waits more than it computes
_DRAIN_STEP = 0.05  # seconds between two looks at what still runs
_PATH_TO_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many hold each model: between `least` and `most`, as requests come; what each reserves, and its threads."""

    least: int = 1
    most: int = 1
    cpus: float = 0.9
    gpus: float = 0.0
    threads: int = 1
    fronts: int = 1


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What a front is told: who may ask, what may be asked, and what waits at a replica."""

    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    queue: QueueSettings = field(default_factory=QueueSettings)


@contextmanager
def deployed(
    loads: Mapping[str, Callable[[], Engine]], replicas: Replicas, front: FrontSettings, *, host: str, port: int
) -> Iterator[str]:
    """Serve the models until the context ends, then answer what was accepted; gives the URL.

    Args:
        loads: how each model is loaded, called by each of its replicas.
        replicas: how many.
        front: access and limits.
        host: `127.0.0.1` listens on this machine alone; any other has a proxy on every machine of the cluster.
        port: must be free.

    Raises:
        ModelError: a model cannot be used.
    """
    everywhere = ProxyLocation.HeadOnly if is_loopback(host) else ProxyLocation.EveryNode
    quiet = {"log_level": "ERROR", "enable_access_log": False}
    serve.start(proxy_location=everywhere, http_options=HTTPOptions(host=host, port=port), logging_config=quiet)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        try:
            handle = serve.run(_application(loads, replicas, front), name=APPLICATION, logging_config=quiet)
        except RuntimeError as error:
            raise _refused(error) from error
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        handle.broadcast("drain").results()
        serve.delete(APPLICATION)
    finally:
        serve.shutdown()


def _refused(error: RuntimeError) -> ModelError:
    """Why a replica did not start: the last line of what Ray Serve says of it that names an error."""
    lines = [line.strip() for line in str(error).splitlines()]
    application = serve.status().applications.get(APPLICATION)
    told = [found.message for found in application.deployments.values()] if application else []
    named = [line.strip() for message in told for line in message.splitlines() if "Error: " in line] or [
        line for line in lines if "Error: " in line
    ]
    return ModelError(
        f"a replica did not start: {named[-1] if named else lines[0]}",
        where="--engine ray",
        fix="see that all machines see the model's folder; rewardsmith verify --model DIR checks it",
    )


def _application(loads: Mapping[str, Callable[[], Engine]], replicas: Replicas, front: FrontSettings) -> Any:
    scaled: dict[str, Any] = {"num_replicas": replicas.least}
    if replicas.most > replicas.least:
        scaling = AutoscalingConfig(
            min_replicas=replicas.least, max_replicas=replicas.most, target_ongoing_requests=_TARGET_CALLS
        )
        scaled = {"autoscaling_config": scaling}
    models = {
        name: serve.deployment(Replica)
        .options(
            name=f"model-{name}",
            max_ongoing_requests=_CALLS,
            # A checkpoint that cannot be used is told at once, instead of being tried again and again.
            max_constructor_retry_count=1,
            graceful_shutdown_timeout_s=DRAIN_SECONDS,
            ray_actor_options={
                "num_cpus": replicas.cpus,
                "num_gpus": replicas.gpus,
                "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(replicas.threads)}},
            },
            request_router_config=RequestRouterConfig(request_router_class=_PATH_TO_ROUTER),
            **scaled,
        )
        .bind(name, load, front.queue)
        for name, load in loads.items()
    }
    # Only digests travel: what a deployment is made of, Ray keeps.
    told = FrontSettings(front.access.without_tokens(), front.limits, front.queue)
    return (
        serve.deployment(serve.ingress()(Front))
        .options(
            name="front",
            num_replicas=replicas.fronts,
            max_ongoing_requests=4 * front.queue.items,
            graceful_shutdown_timeout_s=DRAIN_SECONDS,
            ray_actor_options={"num_cpus": _FRONT_CPUS},
        )
        .bind(models, told)
    )


class Front:
    """The application of one process, with the models elsewhere."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, handles: dict[str, DeploymentHandle], settings: FrontSettings
    ) -> None:
        self._settings = settings
        self._state = State()
        self._metrics = Metrics()
        self._log = ExitStack()
        self._log.enter_context(server_log())
        self._served = [
            ServedModel(name, SpreadBatcher(handle, await handle.describe.remote()), partial(reload_replicas, handle))
            for name, handle in handles.items()
        ]

    def __serve_build_asgi_app__(self) -> Any:
        gate = reward_app(
            Models(self._served), self._settings.access, self._settings.limits, self._metrics, self._state
        )

        async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await _live(receive, send)
            elif scope["type"] == "http":
                await gate(scope, receive, send)
            else:
                await send({"type": "websocket.close"})

        return application

    async def drain(self) -> None:
        """`/readyz` says so; returns when every request that was accepted is answered."""
        self._state.reason = "draining"
        while self._metrics.registry.get_sample_value("rewardsmith_requests_running"):
            await asyncio.sleep(_DRAIN_STEP)


async def _live(receive: Any, send: Any) -> None:
    """The application has nothing to start and nothing to stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


BUCKETS = 64
"""Prompts are dealt into so many groups; a group, not a prompt, belongs to a replica, which bounds the calls of one
request."""

TEXT_KEY = 512
"""Characters of a plain text that name its prompt: where the prompt ends is not said there."""

_ATTEMPTS = 3


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


def reload_replicas(handle: Any) -> Engine:
    """Load the model again on every replica; only when all have it do they change.

    Raises:
        RewardsmithError: of a replica that cannot use what is there; the old model goes on everywhere.
    """
    try:
        infos = handle.broadcast("load_beside").results()
    except ray.exceptions.RayTaskError as error:
        # The replicas that could load it hold two models until they are told.
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


_SICK_BATCHES = 20  # in a row without any reward, before Ray is told to replace the replica


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
        # One text that got a reward shows that the device works.
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
            RuntimeError: no text has had a reward for many batches: a broken device does not fix itself.
        """
        if self._sick >= _SICK_BATCHES:
            raise RuntimeError(f"the model {self._name} has failed for {self._sick} batches")
