"""A request and an answer as the routes see them, and the JSON between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from rewardsmith.serving.refusals import Refusal

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """What a route gets. `name` is the model named by the path, None where the path names none."""

    headers: Mapping[str, str]
    body: bytes = b""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a route gives. `notes` go into the log line."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path and a method; `label` is the path with names left out, `reads` whether it takes JSON."""

    label: str
    endpoint: Endpoint
    reads: bool = False
    open: bool = False


def answer(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None, notes: dict[str, Any] | None = None
) -> Response:
    """An answer in JSON."""
    return Response(status, to_json(value), headers=headers or {}, notes=notes or {})


def refused(refusal: Refusal) -> Response:
    """A refusal in JSON."""
    return Response(
        refusal.status, to_json(refusal.body()), headers=dict(refusal.headers), notes={"code": refusal.code}
    )
