"""What the server accepts, and how a body is read within it: counted as it comes, decompressed within the same limit.

    body = await read_body(receive, headers, limits)          # Refusal 400, 408, 413, 415

    await discard(receive, limits)                            # the rest of a body that is refused

A client that is still sending does not read its answer, so what is left of a refused body is read for a while and
thrown away.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardsmith.serving.refusals import Refusal

Receive = Callable[[], Awaitable[Any]]

_LINGER_SECONDS = 2.0
_LINGER_TIMES = 4


class Gone(Exception):  # noqa: N818 - nobody is left to be told
    """The client closed the connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be.

    `body_bytes` counts twice: as sent, and after decompression. `items` are conversations of a request, `characters`
    those of one conversation. `seconds` is the deadline of a request, `patient_seconds` the one where the client waits
    180 s (OpenRLHF), `body_seconds` the time that a body may take to arrive.
    """

    body_bytes: int = 4 * 2**20
    items: int = 256
    characters: int = 400_000
    seconds: float = 60.0
    patient_seconds: float = 170.0
    body_seconds: float = 30.0


async def read_body(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
    """The decoded body of a request.

    Raises:
        Refusal: too large (413), too slow (408), of an unknown encoding (415), or damaged (400).
        Gone: the client left.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _DECODERS:
        raise Refusal(
            415, "unknown_encoding", "the content-encoding is not known", fix=f"use {', '.join(_DECODERS)}, or none"
        )
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(limits, "the body")
    try:
        async with asyncio.timeout(limits.body_seconds):
            raw = await _read(receive, limits)
    except TimeoutError:
        raise Refusal(
            408,
            "body_too_slow",
            f"the body did not arrive within {limits.body_seconds:g} s",
            limit=("body_seconds", limits.body_seconds),
            headers={"connection": "close"},
        ) from None
    return _DECODERS[encoding](raw, limits)


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


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            raise _too_large(limits, "the body")
        if not message.get("more_body"):
            return b"".join(parts)


def _identity(raw: bytes, limits: Limits) -> bytes:
    del limits
    return raw


def _inflate(raw: bytes, limits: Limits) -> bytes:
    """gzip or zlib, never more than the limit in memory."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        body = decoder.decompress(raw, limits.body_bytes + 1)
    except zlib.error:
        body = b""
    if len(body) > limits.body_bytes:
        raise _too_large(limits, "the decompressed body")
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
