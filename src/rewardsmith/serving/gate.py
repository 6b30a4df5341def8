"""What happens to a request around its route: who may ask, the body within its limits, errors, one log line.

Who may ask: a token as Bearer or as HTTP Basic, and the names under which this server may be addressed.

    access = Access(tokens=("…",), hosts=frozenset({"rm.internal"}), addresses=True)
    access.check_host(headers); access.check_token(headers)          # Refusal 400, 401, 403, 421

Basic is there because OpenRLHF's client sends no headers of its own: the token travels in the URL's userinfo
(`http://any:TOKEN@host:8000/get_reward`). Tokens are compared by their SHA-256 in constant time, all of them.

A page of another site that a browser on this machine shows can send requests to 127.0.0.1, under a name that its owner
points there (DNS rebinding). So a name in `Host` must be known, and an address must be this machine's own (127.0.0.1,
[::1]). Where others may ask (`addresses`), any address is accepted there: which ones lead here, past bridges and port
mappings, is not known, and an address needs no name server. The same pages send `Origin`: it must be of this machine or
one of the names, an address of another machine is another site.

The ASGI application: what happens to every request before and after its route.

    host ─► token ─► route ─► body within its limits ─► endpoint, unless the client leaves ─► answer, metrics, log

A plain ASGI callable, without a web framework: everything here has to happen before a framework would begin (a body
may not be read before the token is known, nor parsed before it is counted and decompressed), and what a framework would
still do is a table of a dozen paths. What comes before a request is known to be one is `wire.py`'s.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import os
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rewardsmith.addresses import keep_hidden
from rewardsmith.errors import UserError
from rewardsmith.records.bounded import read_bounded
from rewardsmith.serving.limits import Arriving, Gone, Limits, Receive, Refusal, check_values, discard, read_body
from rewardsmith.serving.logs import log
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.routes import JSON, Request, Response, Route, Routes, refused

LOCAL = frozenset({"localhost"})
# Of the 64 characters that `secrets.token_urlsafe` draws from, 16 are 96 bits.
LEAST_TOKEN = 16
_AUTHORITY = re.compile(r"[\w.\-]+(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?", re.ASCII)
_CHALLENGE = {"www-authenticate": 'Bearer realm="rewardsmith", Basic realm="rewardsmith", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class Access:
    """The tokens that open the server (none: it is open), and the names and addresses in `Host` beside this machine's.

    `addresses`: any address in `Host` is accepted, because the server listens beyond this machine.
    """

    tokens: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    addresses: bool = False
    _digests: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digests", tuple(_digest(token) for token in self.tokens))

    def without_tokens(self) -> Access:
        """The same rules, with the tokens' digests alone: for another process."""
        other = Access(hosts=self.hosts, addresses=self.addresses)
        object.__setattr__(other, "_digests", self._digests)
        return other

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names of other sites.

        Raises:
            Refusal: `Host` is missing or doubled (400) or not ours (421), or `Origin` is another site's (403).
        """
        host = headers.get("host")
        # `_Visit` puts the values of a doubled header together with a comma.
        if not host or "," in host:
            raise Refusal(
                400, "host_missing", "the Host header is missing, or stands twice", fix="send Host: ADDRESS:PORT"
            )
        name = _host_name(host)
        if not (self._knows(name) or (self.addresses and _is_address(name))):
            raise Refusal(
                421, "unknown_host", "the Host header names another site", fix="start the server with --allow-host NAME"
            )
        origin = headers.get("origin")
        if origin is not None and not self._knows(_origin_name(origin)):
            raise Refusal(
                403, "unknown_origin", "a page of another site asks", fix="start the server with --allow-host NAME"
            )

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without a token.

        Raises:
            Refusal: 401.
        """
        if not self._digests:
            return
        # Digests are equally long, so that the time of a comparison does not tell a token's length.
        given = [_digest(secret) for secret in _secrets(headers.get("authorization", ""))]
        matches = [hmac.compare_digest(one, other) for one in given for other in self._digests]
        if not any(matches):
            raise Refusal(
                401,
                "unauthorized",
                "the token is missing or wrong",
                fix="send Authorization: Bearer TOKEN, or http://any:TOKEN@host/",
                headers=dict(_CHALLENGE),
            )

    def _knows(self, name: str | None) -> bool:
        return name is not None and ("*" in self.hosts or name in self.hosts or is_loopback(name))


def read_tokens(file: Path | None, variable: str) -> tuple[str, ...]:
    """Tokens of a file, one a line, or of an environment variable; none where neither is given.

    Raises:
        UserError: the file cannot be read, is empty, or a token can be guessed.
    """
    if file is not None:
        try:
            text = read_bounded(file).decode("utf-8")
            found = tuple(line.strip() for line in text.splitlines() if line.strip())
        except (OSError, ValueError) as error:
            raise UserError(
                "the token file cannot be read", where=str(file), fix="name a readable text file"
            ) from error
        if not found:
            raise UserError("the token file is empty", where=str(file), fix="write a token into it, one a line")
        where = str(file)
    else:
        value = os.environ.get(variable, "").strip()
        found, where = ((value,) if value else ()), f"${variable}"
    if any(len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() for token in found):
        raise UserError(
            f"a token has fewer than {LEAST_TOKEN} characters, or others than printable ASCII: it can be guessed",
            where=where,
            fix='make one with: python -c "import secrets; print(secrets.token_urlsafe())"',
        )
    for token in found:
        keep_hidden(token)
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host in LOCAL
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    return bool((mapped or address).is_loopback)


def _secrets(authorization: str) -> list[str]:
    """What an Authorization header may hold as the token: of Basic, the password or the name."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return [value]
    if scheme.lower() != "basic":
        return []
    try:
        name, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except ValueError:  # no base64, or no UTF-8
        return []
    # http://TOKEN@host/ makes the token the name, http://any:TOKEN@host/ the password.
    return [name, password]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _host_name(host: str) -> str | None:
    """The name or address of `name:port`; None where it is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    # urlsplit drops tabs and line ends, and takes a comma (two headers, put together) for a part of a name
    if not _AUTHORITY.fullmatch(host) or parts.username is not None or not parts.hostname:
        return None
    # A name may end with the dot of the root, and case does not count.
    return parts.hostname.rstrip(".").lower()


def _origin_name(origin: str) -> str | None:
    """The name or address of `http://name:port`; None where it is none, as `null`."""
    scheme, separator, host = origin.partition("://")
    return _host_name(host) if separator and scheme.lower() in ("http", "https") else None


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


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
