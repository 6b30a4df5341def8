"""Every answer that is no answer: status, code, what is wrong and how to fix it, as one JSON shape.

    raise Refusal(413, "body_too_large", "the body has more than 4,194,304 bytes", limit=Limit("body_bytes", 4194304))

    {"error": {"code": "body_too_large", "message": …, "fix": …, "limit": {"name": "body_bytes", "value": 4194304}}}

Texts that a client sent never stand in one.
"""

from __future__ import annotations

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
