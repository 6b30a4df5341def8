"""What happens to every request before and after its route.

    host ─► token ─► route ─► body within its limits ─► endpoint, unless the client leaves ─► answer, metrics, log

A plain ASGI callable, without a web framework: everything here has to happen before a framework would begin (a body
may not be read before the token is known, nor parsed before it is counted and decompressed), and what a framework would
still do is a table of a dozen paths. What comes before a request is known to be one is `server.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from rewardsmith.serving.access import Access
from rewardsmith.serving.limits import Arriving, Gone, Limits, Receive, Refusal, check_values, discard, read_body
from rewardsmith.serving.logs import log
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.routes import JSON, Request, Response, Route, Routes, refused

Send = Callable[[dict[str, Any]], Awaitable[None]]

_HANG_UP = (408,)
"""Refusals of those who take too long already."""

_JOINED = frozenset({"authorization", "content-encoding", "content-type", "host", "origin"})
"""Headers that decide whether and how a body is read: of two, neither may win."""

_QUIET = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds by machines: not worth a line each."""


class Gate:
    """An ASGI application over `routes`."""

    def __init__(self, routes: Routes, access: Access, limits: Limits, metrics: Metrics) -> None:
        self._routes = routes
        self._access = access
        self._limits = limits
        self._metrics = metrics
        self._arriving = Arriving()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application speaks http, not {scope['type']}")
        started = time.perf_counter()
        visit = _Visit(scope, receive)
        with self._metrics.running.track_inprogress():
            try:
                response = await self._answer(visit)
            except Gone:
                self._metrics.dropped("disconnect")
                log("disconnected", id=visit.id, route=visit.label, seconds=_since(started))
                return
            except asyncio.CancelledError:
                # uvicorn would answer 500. The server ends at once, or its patience did: nobody goes on with this.
                response = refused(_stopping())
            await _send(send, visit, response)
        self._count(visit, response, time.perf_counter() - started)

    def _count(self, visit: _Visit, response: Response, seconds: float) -> None:
        """Metrics, and a line in the log."""
        self._metrics.request(visit.label, response.status, seconds)
        # Retry-After stands in refusals for lack of room or time, which are no fault of the request.
        if "retry-after" in response.headers:
            self._metrics.dropped(str(response.notes["code"]))
        if visit.label not in _QUIET or response.status >= 400:
            level = logging.INFO if response.status < 500 else logging.WARNING
            told = {"route": visit.label, "status": response.status, "seconds": round(seconds, 4), **response.notes}
            log("request", level=level, id=visit.id, fields=told)

    async def _answer(self, visit: _Visit) -> Response:
        """The answer of a route, or the refusal in its place."""
        try:
            route, name = self._enter(visit)
            body = b""
            if route.reads:
                _check_type(visit.headers)
                body = await read_body(visit.receive, visit.headers, self._limits, self._arriving)
                check_values(body, self._limits)
            request = Request(visit.headers, body, name)
            return await _unless_gone(route.endpoint(request), visit.receive)
        except Refusal as refusal:
            if visit.still_sends and not visit.waits and refusal.status not in _HANG_UP:
                await discard(visit.receive, self._limits)
            if visit.still_sends:
                # What is left of the body would be read as the next request.
                refusal.headers["connection"] = "close"
            return refused(refusal)
        except Gone:
            raise
        except Exception as error:
            log("error", level=logging.ERROR, error=error, id=visit.id, route=visit.label)
            return refused(Refusal(500, "internal_error", "the server failed", fix="see the server's log"))

    def _enter(self, visit: _Visit) -> tuple[Route, str | None]:
        """Host, token, path: in this order, so that a stranger learns nothing."""
        self._access.check_host(visit.headers)
        try:
            route, name = self._routes.find(visit.method, visit.path)
        # Without a token nobody learns which paths there are: 401 comes before 404.
        except Refusal:
            self._access.check_token(visit.headers)
            raise
        visit.label = route.label
        if not route.open:
            self._access.check_token(visit.headers)
        return route, name


class _Visit:
    """What is known of one request before it is read, and whether all of it was received."""

    __slots__ = ("_receive", "headers", "id", "label", "method", "path", "still_sends", "waits")

    def __init__(self, scope: dict[str, Any], receive: Receive) -> None:
        self.id = uuid.uuid4().hex[:16]
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            twice = name in _JOINED and name in self.headers
            self.headers[name] = f"{self.headers[name]}, {value}" if twice else value
        self.still_sends = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        # A client that expects "100 Continue" sends nothing before it is asked to.
        self.waits = "expect" in self.headers
        self.label = "unknown"
        self._receive = receive

    async def receive(self) -> Any:
        """The next message of the client."""
        self.waits = False
        message = await self._receive()
        if not message.get("more_body"):
            self.still_sends = False
        return message


def _check_type(headers: dict[str, str]) -> None:
    """Only JSON: a form is all that a page of another site can send without being asked first."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise Refusal(415, "not_json", "the content-type is not application/json", fix=f"send Content-Type: {JSON}")


def _stopping() -> Refusal:
    return Refusal(
        503,
        "stopping",
        "the server ends before the answer is there",
        fix="send it to another server",
        headers={"connection": "close", "retry-after": "1"},
    )


async def _unless_gone(work: Coroutine[Any, Any, Response] | Awaitable[Response], receive: Receive) -> Response:
    """The work's result; if the client leaves first, the work is cancelled.

    Raises:
        Gone: the client left.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Gone
    finally:
        for task in (doing, leaving):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, visit: _Visit, response: Response) -> None:
    headers = {
        "content-type": response.content_type,
        "content-length": str(len(response.body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": visit.id,
        **response.headers,
    }
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
