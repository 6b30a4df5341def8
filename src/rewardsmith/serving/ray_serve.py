"""The server on several machines under Ray Serve: fronts that speak HTTP, and replicas that hold the models.

    with deployed({"helpful": load}, Plan(replicas=Replicas(least=1, most=4, cpus=0.9)), front) as url:
        ...                                            # until the caller is told to end; then drained

    proxy ─► Front: gate, routes, dialects, limits, metrics ─► by prompt ─► Replica: micro-batches ─► engine

A front is the application of one process (`app.py`) with `ray_spread.SpreadBatcher` in place of the queue; a replica is
`ray_replica.Replica`. What is here starts both, and ends them when what they accepted is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from rewardsmith.errors import ModelError
from rewardsmith.serving.access import Access, is_loopback
from rewardsmith.serving.app import reward_app
from rewardsmith.serving.engine import Engine
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.logs import server_log
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.models import Models, ServedModel
from rewardsmith.serving.queue import QueueSettings
from rewardsmith.serving.ray_replica import Replica
from rewardsmith.serving.ray_spread import SpreadBatcher, reload_replicas
from rewardsmith.serving.server import DRAIN_SECONDS, State

APPLICATION = "rewardsmith"

_CALLS = 256
_TARGET_CALLS = 16.0
_FRONT_CPUS = 0.05
_DRAIN_STEP = 0.05
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
