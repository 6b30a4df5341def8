"""What the server accepts, and how it says no: every refusal, the limits, and a body read within them.

    body = await read_body(receive, headers, limits, arriving)    # Refusal 400, 408, 413, 415, 503
    check_values(body, limits)                                    # Refusal 413, before anything is built of it
    await discard(receive, limits)                                # the rest of a body that is refused

    raise Refusal(413, "body_too_large", "the body has more than 4,194,304 bytes", limit=("body_bytes", 4194304))
    {"error": {"code": "body_too_large", "message": …, "fix": …, "limit": {"name": "body_bytes", "value": 4194304}}}

Texts that a client sent never stand in a refusal. A body is counted as it comes and decompressed within the same
limit. A client that is still sending does not read its answer, so what is left of a refused body is read for a while
and thrown away.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field


class LimitInfo(BaseModel):
    """Which limit was passed, and what it is."""

    name: str
    value: float


class ItemFault(BaseModel):
    """What is wrong with one field of the request, or with one conversation (`conversations[3]`)."""

    where: str
    code: str
    detail: str


class ErrorInfo(BaseModel):
    """What went wrong."""

    code: str
    message: str
    fix: str = ""
    limit: LimitInfo | None = None
    items: list[ItemFault] = Field(default_factory=list)


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorInfo


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the program
    """A request that is not answered with rewards.

    Args:
        status: HTTP status.
        code: for programs; never changes its meaning.
        message: for people, with the value that was found where it is no text.
        fix: what to send or set instead.
        limit: name and value of the limit that was passed.
        items: the faulty fields or conversations.
        headers: added to the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fix: str = "",
        limit: tuple[str, float] | None = None,
        items: list[ItemFault] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}
        self.info = ErrorInfo(
            code=code,
            message=message,
            fix=fix,
            limit=LimitInfo(name=limit[0], value=limit[1]) if limit else None,
            items=items or [],
        )

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return ErrorAnswer(error=self.info).model_dump(mode="json")


def overloaded(code: str, message: str, retry_after: float) -> Refusal:
    """503: come back after `retry_after` seconds."""
    return Refusal(
        503,
        code,
        message,
        fix="send it again after Retry-After seconds, or start more servers",
        headers={"retry-after": str(max(1, round(retry_after)))},
    )


Receive = Callable[[], Awaitable[Any]]
_SMALL = 64 * 1024
"""Bytes that are worked on in the event loop's thread; larger ones would let others wait."""

_NESTED = re.compile(rb"[\[{]{200}")
"""Deeper than the parser goes."""

_DIGITS = 18
"""Of a length; Python refuses to read a number of thousands of digits."""

_LINGER_SECONDS = 2.0
_LINGER_TIMES = 4


class Gone(Exception):  # noqa: N818 - nobody is left to be told
    """The client closed the connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be.

    `body_bytes` counts twice: as sent, and after decompression. `values` are those of its JSON: strings, numbers,
    lists, objects. `items` are conversations of a request, `characters` those of one conversation. `arriving_bytes` are
    those of all bodies that have begun to arrive. `seconds` is the deadline of a request, `patient_seconds` the one
    where the client waits 180 s (OpenRLHF), `body_seconds` the time that a body may take to arrive.
    """

    body_bytes: int = 4 * 2**20
    values: int = 2**16
    arriving_bytes: int = 256 * 2**20
    items: int = 256
    characters: int = 400_000
    seconds: float = 60.0
    patient_seconds: float = 170.0
    body_seconds: float = 30.0


class Arriving:
    """Bytes of all bodies that have begun to arrive. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self.bytes = 0


async def read_body(receive: Receive, headers: Mapping[str, str], limits: Limits, arriving: Arriving) -> bytes:
    """The decoded body of a request.

    Raises:
        Refusal: too large (413), too slow (408), of an unknown encoding (415), damaged (400), or one of too many (503).
        Gone: the client left.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _DECODERS:
        raise Refusal(
            415, "unknown_encoding", "the content-encoding is not known", fix=f"use {', '.join(_DECODERS)}, or none"
        )
    # A stated length is refused before a byte is read; where none is stated, or a wrong one, `_read` counts.
    declared = headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _DIGITS or int(declared) > limits.body_bytes):
        raise _too_large(limits, "the body")
    try:
        async with asyncio.timeout(limits.body_seconds):
            raw = await _read(receive, limits, arriving)
    except TimeoutError:
        raise Refusal(
            408,
            "body_too_slow",
            f"the body did not arrive within {limits.body_seconds:g} s",
            limit=("body_seconds", limits.body_seconds),
            headers={"connection": "close"},
        ) from None
    if len(raw) <= _SMALL and encoding == "identity":
        return raw
    return await asyncio.to_thread(_DECODERS[encoding], raw, limits)


async def _read(receive: Receive, limits: Limits, arriving: Arriving) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            arriving.bytes += len(parts[-1])
            if size > limits.body_bytes:
                raise _too_large(limits, "the body")
            if arriving.bytes > limits.arriving_bytes:
                raise overloaded("bodies_arriving", "the bodies of too many requests are arriving", retry_after=1.0)
            if not message.get("more_body"):
                return b"".join(parts)
    finally:
        # Also where the body is refused or its client leaves: the room is for the others.
        arriving.bytes -= size


def _identity(raw: bytes, limits: Limits) -> bytes:
    del limits
    return raw


def _inflate(raw: bytes, limits: Limits) -> bytes:
    """gzip or zlib, never more than the limit in memory."""
    # 32 lets zlib find out from the header whether it is gzip or zlib.
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        # One byte beyond the limit is enough to know; a bomb is never expanded.
        body = decoder.decompress(raw, limits.body_bytes + 1)
    except zlib.error:
        body = b""
    if len(body) > limits.body_bytes:
        raise _too_large(limits, "the decompressed body")
    # unused_data is what stands behind the end of the stream, where nothing belongs.
    if not decoder.eof or decoder.unused_data:
        raise Refusal(400, "damaged_body", "the compressed body is damaged", fix="send one whole gzip or zlib stream")
    return body


_DECODERS: dict[str, Callable[[bytes, Limits], bytes]] = {"identity": _identity, "gzip": _inflate, "deflate": _inflate}


def _too_large(limits: Limits, what: str) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"{what} has more than {limits.body_bytes:,} bytes",
        fix="send fewer conversations at a time",
        limit=("body_bytes", limits.body_bytes),
        headers={"connection": "close"},
    )


def check_values(body: bytes, limits: Limits) -> None:
    """Refuse JSON of more values than the limit, which are counted in the bytes, outside of strings.

    4 MiB of `[1,1,…` are two million objects, and each could be a fault that is described. What comes after this grows
    with `values`, not with the bytes.

    Raises:
        Refusal: 413; or 400, where they only lie in each other.
    """
    most = limits.values
    # Pairs of backslashes go first, from the left, as JSON reads them: what is left before a quote escapes it.
    plain = body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in body else body
    # Each value may have a name, and each of the two strings two quotes.
    if (many := plain.count(b'"') > 4 * (most + 1)) is False:
        outside = b"".join(plain.split(b'"')[::2])
        many = outside.count(b",") + outside.count(b"[") + outside.count(b"{") > most
    if many and _NESTED.search(body[:_SMALL].translate(None, b': \t\r\n"')):
        raise Refusal(
            400, "not_json", "the body is nested too deeply for JSON", fix="send the request as it is described"
        )
    if many:
        raise Refusal(
            413,
            "too_many_values",
            f"the JSON has more than {most:,} values",
            fix="send fewer conversations at a time",
            limit=("values", most),
        )


async def discard(receive: Receive, limits: Limits) -> None:
    """Read on and forget, for two seconds and a few times the limit at most, so that the client comes to listen."""
    left = _LINGER_TIMES * limits.body_bytes
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
