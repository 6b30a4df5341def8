"""uvicorn around the application: one process, one event loop, and a SIGTERM that loses nothing.

    server = RewardServer(application, bind("127.0.0.1", 8000), state)
    server.run()                                     # until SIGTERM, or server.stop() from another thread

On SIGTERM or SIGINT the server stops listening, `/readyz` says why, and every request that was accepted is answered
before the process ends, with 0; SIGHUP (the terminal is gone) does the same, unless it is ignored already (nohup). A
second SIGTERM or SIGINT ends it at once: who still waits is told so (503). With port 0 the system chooses; the line
`listening` of the log says which.

Puts the parts of a server together: the application that uvicorn runs.

application = reward_app(models, access, limits, metrics, state)
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import uvicorn

from rewardsmith.errors import UserError
from rewardsmith.protocols import Router
from rewardsmith.serving.access import Access
from rewardsmith.serving.gate import Gate
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.logs import log
from rewardsmith.serving.metrics import CountedRouter, Metrics
from rewardsmith.serving.models import Models
from rewardsmith.serving.routes import Routes
from rewardsmith.serving.stream import RewardStream
from rewardsmith.serving.wire import Bounds, wire

DRAIN_SECONDS = 200
"""Longer than the longest deadline of a request."""

_LAST_WORDS_SECONDS = 1.0

_SWITCH_SECONDS = 0.001
"""How long the model's thread may keep Python's lock while the event loop waits for it: 5 ms unless set."""


@dataclass(slots=True)
class State:
    """Whether the server takes new work: `reason` is empty, or says why not."""

    reason: str = ""


class RewardServer(uvicorn.Server):
    """uvicorn with the settings and the signals of this project."""

    def __init__(
        self, application: Callable[..., Any], listener: socket.socket, state: State, bounds: Bounds | None = None
    ) -> None:
        config = uvicorn.Config(
            application,
            lifespan="off",
            ws="none",
            loop="asyncio",
            http=cast("Any", wire(bounds)),
            # The gate writes one line a request of its own, as JSON and without texts.
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            backlog=2048,
        )
        super().__init__(config)
        self.listening = threading.Event()
        self._listener = listener
        self._state = state

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, or until `stop`, then drain."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        asyncio.run(self.serve(sockets=sockets or [self._listener]))
        log("stopped")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; says when and where it listens."""
        await super().startup(sockets)
        log("listening", url=self.url)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; when it ends at once, requests that wait are told so (`Gate`) before the loop ends."""
        await super().shutdown(sockets)
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_WORDS_SECONDS)

    def stop(self, *, hurry: bool = True) -> None:
        """Drain and end; the second time at once, if it is to `hurry`."""
        if self.should_exit and hurry:
            self.force_exit = True
        self._state.reason = "draining"
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In place of uvicorn's, which ends the drained process by the signal once more."""
        # Python takes signal handlers in the main thread only; a server in another one is ended by `stop`.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        for one in signals:
            loop.add_signal_handler(one, self._signalled, one)
        try:
            yield
        finally:
            for one in signals:
                loop.remove_signal_handler(one)

    def _signalled(self, received: signal.Signals) -> None:
        log("draining", signal=received.name)
        self.stop(hurry=received is not signal.SIGHUP)


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound, and does not listen yet.

    Raises:
        UserError: the address is taken or is none of this machine.
    """
    host = host.strip("[]")
    # Named as TCP, its connections send at once (asyncio looks at the protocol); else each answer waits for an
    # acknowledgement that the other side delays by 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError, ValueError) as error:  # ValueError: a name that no name server could have
        listener.close()
        raise UserError(
            f"cannot listen: {error}", where=f"{host}:{port}", fix="name another --host or --port"
        ) from error
    return listener


def reward_app(
    models: Models,
    access: Access,
    limits: Limits,
    metrics: Metrics,
    state: State,
    router: Router | None = None,
    stream: RewardStream | None = None,
) -> Gate:
    """The ASGI application over models that are loaded; with a `router`, `/v1/compare` can ask a judge.

    With a `stream`, every answered conversation is handed to it; whoever opened it closes it.
    """
    for name in models.names():
        model = models.find(name)
        counted = metrics.model(name)
        counted.serve(model.info)
        counted.follow(model.batcher)
        model.batcher.observe(counted.batch)
    counting = CountedRouter(router, metrics) if router is not None else None
    routes = Routes(models, limits, metrics, ready=lambda: state.reason, router=counting, stream=stream)
    return Gate(routes, access, limits, metrics)
