"""The application put together, and uvicorn around it: one process, one event loop, and a SIGTERM that loses nothing.

    application = reward_app(models, access, limits, metrics, state)
    server = RewardServer(application, bind("127.0.0.1", 8000), state)
    server.run()                                     # until SIGTERM, or server.stop() from another thread

On SIGTERM or SIGINT the server stops listening, `/readyz` says why, and every request that was accepted is answered
before the process ends, with 0; SIGHUP (the terminal is gone) does the same, unless it is ignored already (nohup). A
second SIGTERM or SIGINT ends it at once: who still waits is told so (503). With port 0 the system chooses; the line
`listening` of the log says which.

`Wire` is uvicorn's HTTP/1.1 protocol with the bounds that it lacks: everything there comes before the token.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn
from pydantic_core import to_json
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rewardsmith.errors import UserError
from rewardsmith.protocols import Router
from rewardsmith.serving.access import Access
from rewardsmith.serving.gate import Gate
from rewardsmith.serving.limits import Limits, Refusal
from rewardsmith.serving.logs import log
from rewardsmith.serving.metrics import CountedRouter, Metrics
from rewardsmith.serving.models import Models
from rewardsmith.serving.routes import Routes
from rewardsmith.serving.stream import RewardStream


@dataclass(slots=True)
class State:
    """Whether the server takes new work: `reason` is empty, or says why not."""

    reason: str = ""


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


DRAIN_SECONDS = 200
"""Longer than the longest deadline of a request."""

_LOOK_SECONDS = 0.1
_LAST_WORDS_SECONDS = 1.0
_SWITCH_SECONDS = 0.001
"""How long the model's thread may keep Python's lock while the event loop waits for it: 5 ms unless set."""


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
        draining = asyncio.ensure_future(super().shutdown(sockets))
        # From Python 3.12 on it waits for every connection, in a hurry too.
        while not (draining.done() or self.force_exit):
            await asyncio.wait((draining,), timeout=_LOOK_SECONDS)
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        await asyncio.wait((draining, *left), timeout=_LAST_WORDS_SECONDS)
        if draining.done():
            draining.result()
        else:
            draining.cancel()

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


def wire(bounds: Bounds | None = None) -> Callable[..., Wire]:
    """What makes the protocol of each connection of one server: `uvicorn.Config(…, http=wire(Bounds()))`."""
    return partial(Wire, bounds=bounds or Bounds(), room=_Room())


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a connection may cost before its request is known."""

    head_bytes: int = 32 * 1024
    fields: int = 100
    head_seconds: float = 60.0
    write_seconds: float = 60.0
    ahead_bytes: int = 32 * 1024
    held_bytes: int = 64 * 2**20


class _Room:
    """Bytes that all connections hold unparsed, or parsed of heads that have no end yet."""

    def __init__(self) -> None:
        self.held = 0


_END = b"\r\n\r\n"
"""Ends a head and, after the last chunk, a chunked body: nothing of the next request stands before it."""

_PIECES = 256
"""Pieces that are parsed in one turn of the event loop: a body can be made of nothing but `_END`."""

_LINGER_SECONDS = 2.0


class _Flow(FlowControl):
    """Reading stays paused while enough was sent ahead, whatever the request that is worked on asks for."""

    full = False

    def resume_reading(self) -> None:
        if not self.full:
            super().resume_reading()


class Wire(HttpToolsProtocol):
    """One connection: bytes → requests.

    uvicorn parses all bytes that come, whoever sends them: a head has no largest size, requests that are sent ahead
    become objects while the first is worked on, and the fields of a trailer are put among the headers. So bytes are
    handed to the parser piece by piece, and no piece goes beyond the end of a request: what is sent ahead stays bytes,
    at most `ahead_bytes` of them a connection (then reading pauses), until the answer is out. A head that is too long,
    has too many fields or does not end in time is refused (431, 408), and so are bytes beyond `held_bytes` of all
    connections (503). A client that does not read its answer is dropped after `write_seconds`.
    """

    def __init__(self, *args: Any, bounds: Bounds, room: _Room, **named: Any) -> None:
        super().__init__(*args, **named)
        self._bounds = bounds
        self._room = room
        self._charged = 0
        self._held = bytearray()
        self._tail = b""
        self._in_head = True
        self._left: int | None = 0
        self._fed = 0
        self._many = False
        self._over = False
        self._later: asyncio.Handle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; smaller reads, so that one read is no more than what is kept of one connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        if hasattr(transport, "max_size"):  # of asyncio's selector transport: 256 KiB
            transport.max_size = self._bounds.ahead_bytes

    def data_received(self, data: bytes) -> None:
        """Keep the bytes, and parse what belongs to the next request."""
        if self._over:
            return
        self._held += data
        self._charge()
        if self._room.held > self._bounds.held_bytes:
            self._refuse(
                503, "too_many_bytes", "the connections of this server hold too many unread bytes", "try later"
            )
            return
        self._feed()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's; gives back what was held."""
        self._stop_timers()
        self._over = True
        self._held.clear()
        self._fed = 0
        self._charge()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: not for ever."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._bounds.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A request line comes."""
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. One of a trailer is none: it came after the token was looked for."""
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > self._bounds.fields:
                self._many = True
                raise ValueError  # which the parser reports as one of its own errors: `send_400_response`

    def on_headers_complete(self) -> None:
        """The head is whole: how many bytes of a body follow, None where chunks will say so."""
        self._in_head = False
        self._fed = 0
        # The parser has refused lengths that are no numbers.
        lengths = [int(value) for name, value in self.headers if name == b"content-length"]
        chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        self._left = None if chunked else sum(lengths)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_head = True
        self._fed = 0
        self._left = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out: what was sent ahead is next."""
        super().on_response_complete()
        self._soon()

    # Piece by piece

    def _feed(self) -> None:
        self._later = None
        for _ in range(_PIECES):
            if not self._held or self._over or self._answers():
                break
            piece = self._piece()
            self._fed += len(piece)
            super().data_received(piece)
            # What is counted here is no body: heads, trailers, and the sizes of chunks with their extensions.
            if self._fed > self._bounds.head_bytes:
                self._too_long("bytes", self._bounds.head_bytes)
        else:
            self._soon()
        if not self._over:
            self._settle()

    def _piece(self) -> bytes:
        """The next bytes for the parser, no further than the end of what is being read."""
        if not self._in_head and self._left:
            size = min(self._left, len(self._held))
            self._left -= size
            self._fed -= size  # they are counted by the limit of the body
            self._tail = b""
        else:
            seen = self._tail + self._held
            found = seen.find(_END)
            size = len(self._held) if found < 0 else found + len(_END) - len(self._tail)
            # The end of a head may be split between two reads: its first three bytes are looked at again.
            self._tail = b"" if found >= 0 else seen[-(len(_END) - 1) :]
        piece = bytes(self._held[:size])
        del self._held[:size]
        return piece

    def _answers(self) -> bool:
        """Whether a request is whole and its answer is not out yet."""
        cycle: Any = self.cycle  # None between requests, whatever uvicorn's annotation says
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _soon(self) -> None:
        if self._held and self._later is None and not self._over:
            self._later = self.loop.call_soon(self._feed)

    def _settle(self) -> None:
        """After bytes came or were parsed: pause or go on, count, watch the clock of an unfinished head."""
        flow = cast("_Flow", self.flow)
        was, flow.full = flow.full, len(self._held) >= self._bounds.ahead_bytes
        if flow.full:
            flow.pause_reading()
        elif was:
            flow.resume_reading()
        self._charge()
        if self._in_head and self._fed and not self._answers():
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(self._bounds.head_seconds, self._too_slow)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _charge(self) -> None:
        # What the parser has taken of an unfinished head is held by it, and counts as well.
        now = len(self._held) + self._fed
        self._room.held += now - self._charged
        self._charged = now

    # Refusals

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's, which is plain text."""
        del msg
        if self._many:
            self._too_long("fields", self._bounds.fields)
        else:
            self._refuse(400, "bad_http", "this is no HTTP/1.1 request", "send one")

    def _too_long(self, unit: str, most: int) -> None:
        self._refuse(
            431,
            "head_too_large",
            f"the head, a trailer or a chunk's extension has more than {most:,} {unit}",
            "send fewer",
            (f"head_{unit}", most),
        )

    def _too_slow(self) -> None:
        seconds = self._bounds.head_seconds
        self._refuse(
            408, "head_too_slow", f"the head did not arrive within {seconds:g} s", "", ("head_seconds", seconds)
        )

    def _refuse(self, status: int, code: str, message: str, fix: str, limit: tuple[str, float] | None = None) -> None:
        """Answer, unless an answer is on its way; then listen a moment longer, so that the client comes to read it."""
        if self._over or self.transport.is_closing():
            return
        self._over = True
        self._held.clear()
        self._fed = 0
        self._charge()
        self._stop_timers()
        log("refused", level=logging.WARNING, status=status, code=code)
        cycle: Any = self.cycle
        working = cycle is not None and not cycle.response_complete
        # Tell the application that nobody waits any more, so that it stops.
        if working:
            cycle.disconnected = True
            cycle.message_event.set()
        if not working or not cycle.response_started:
            body = to_json(Refusal(status, code, message, fix=fix, limit=limit).body())
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        if self.transport.can_write_eof():
            with suppress(OSError):  # the client has reset the connection in the meantime
                self.transport.write_eof()
        # Read on, and drop what comes: with unread bytes the system would reset the connection and our answer with it.
        cast("_Flow", self.flow).full = False
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._write_timer, self._later):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._write_timer = self._later = None
