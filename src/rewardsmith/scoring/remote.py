"""A reward server somewhere else as a `Scorer`: the client of `rewardsmith serve`, over its own `POST /v1/score`.

    scorer = RemoteScorer("http://10.0.0.7:8000")                     # the only model there
    scorer = RemoteScorer("https://rewards.example/models/helpful")   # one of several
    rewards_B = scorer.score(conversations)                           # NaN where the server's model has none
    scorer.missing                                                    # why: {"over_length": 3}

The token is read from `$REWARDSMITH_TOKEN`, or from the URL (`https://any:TOKEN@host`); it stands in no message.
Redirects are not followed and proxies not used: the token goes to the named host only.

A long list travels in several requests. A request that the server's limits refuse is halved and sent again; a server
that is full (503) or not there yet is asked again, with `Retry-After` respected, until `patience` seconds are over.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from rewardsmith.addresses import fault_of_address, fault_of_secret, keep_hidden, userinfo, without_userinfo
from rewardsmith.errors import ModelError
from rewardsmith.protocols import Progress
from rewardsmith.records.bounded import parse_json
from rewardsmith.rendering.special_tokens import REASONS
from rewardsmith.scoring.ensemble import Scale
from rewardsmith.scoring.local import NO_REWARD
from rewardsmith.types import Conversation

TOKEN_VARIABLE = "REWARDSMITH_TOKEN"  # noqa: S105 - a name, not a secret

_ITEMS = 128
_CHARACTERS = 2**20
"""Most conversations and characters of a request: below the limits that a server has unless told otherwise."""

_HALVED = {"body_too_large", "too_many_items", "too_many_values"}
_ALONE = {"body_too_large", "text_too_long", "too_many_values"}
_IDENTITY = frozenset(string.ascii_letters + string.digits + "._+-")
_ANSWER_BYTES = 64 * 2**20
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """What a server says of its model (`GET /v1/models`)."""

    name: str
    identity: str
    scale: Scale
    max_length: int | None = None
    conversational: bool = True


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    retry_after: str | None
    content: Any

    @property
    def code(self) -> str:
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def message(self) -> str:
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("message", "")) if isinstance(error, dict) else ""


class RemoteScorer:
    """Scores conversations with a model behind a URL.

    Args:
        url: of the server, or of one of its models (`…/models/NAME`).
        token: else the URL's userinfo, else `$REWARDSMITH_TOKEN`.
        timeout: seconds that one request may take.
        patience: seconds for which a server that is full or not there is asked again.
        sleep: how to wait; for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 180.0,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = _parse(url)
        self.url = f"{parts.scheme}://{_host(parts)}{parts.path.rstrip('/')}"
        self.timeout = timeout
        self.patience = patience
        self.missing: Counter[str] = Counter()
        self._said: dict[Conversation, str] = {}
        self._parts = parts
        self._prefix = parts.path.rstrip("/")
        self._sleep = sleep
        self._headers = _headers(parts, token if token is not None else os.environ.get(TOKEN_VARIABLE))

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Raw rewards, shape (len(conversations),), in input order; NaN where the server's model has none.

        Raises:
            ModelError: the server is not there, refuses the token or the request, or does not answer as it should.
        """
        rewards = np.full(len(conversations), np.nan)
        done = 0
        self._said = {}
        for indices in _chunks(conversations):
            rewards[indices] = self._score([conversations[index] for index in indices])
            done += len(indices)
            if progress is not None:
                progress(done, len(conversations))
        return rewards

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """The server's codes for conversations of the last call that have no reward, `code: detail`."""
        codes = [self._said.get(conversation, "") for conversation in conversations]
        return [f"{code}: {REASONS.get(code, 'the server gives none')}" if code else NO_REWARD for code in codes]

    def describe(self) -> RemoteModel:
        """What the server says of the model behind this URL. Raises as `score`."""
        base, _, name = self._prefix.rpartition("/models/")
        prefix = base if name and "/" not in name and self._prefix.endswith(f"/models/{name}") else self._prefix
        named = name if prefix != self._prefix else None
        cards = self._content(self._call("GET", f"{prefix}/v1/models", None)).get("data")
        found = [card for card in cards or [] if isinstance(card, dict) and named in (None, card.get("id"))]
        if len(found) != 1:
            raise ModelError(
                f"serves {len(found)} models that this could mean", where=self.url, fix="write …/models/NAME"
            )
        return _model(found[0])

    def _score(self, conversations: list[Conversation]) -> NDArray[np.float64]:
        reply = self._call("POST", f"{self._prefix}/v1/score", _request(conversations))
        if reply.status in (413, 422) and reply.code in _HALVED and len(conversations) > 1:
            middle = len(conversations) // 2
            return np.concatenate([self._score(conversations[:middle]), self._score(conversations[middle:])])
        if reply.status in (413, 422) and reply.code in _ALONE:
            return self._each_alone(conversations, reply.code)
        content = self._content(reply)
        rewards, reasons = content.get("rewards"), content.get("reasons")
        if not isinstance(rewards, list) or len(rewards) != len(conversations):
            raise ModelError(
                "the answer has not one reward for each conversation", where=self.url, fix="ask a rewardsmith server"
            )
        if not all(reward is None or _is_finite(reward) for reward in rewards):
            raise ModelError(
                "the answer holds a reward that is no finite number", where=self.url, fix="ask a rewardsmith server"
            )
        told = reasons if isinstance(reasons, list) and len(reasons) == len(rewards) else ["unknown"] * len(rewards)
        for index, reward in enumerate(rewards):
            if reward is None:
                code = str(told[index])[:_SHOWN]
                self.missing[code] += 1
                self._said[conversations[index]] = code
        return np.array([np.nan if reward is None else float(reward) for reward in rewards])

    def _each_alone(self, conversations: list[Conversation], code: str) -> NDArray[np.float64]:
        """One text is beyond a limit: it has no reward, the others do."""
        if len(conversations) == 1:
            self.missing[code] += 1
            self._said[conversations[0]] = code
            return np.array([np.nan])
        return np.concatenate([self._score([one]) for one in conversations])

    def _content(self, reply: _Reply) -> dict[str, Any]:
        """The JSON object of an answer.

        Raises:
            ModelError: it is none, or the server refuses.
        """
        if reply.status == 200 and isinstance(reply.content, dict):
            return reply.content
        if 300 <= reply.status < 400:
            raise ModelError(
                f"the server answers {reply.status}; redirects are not followed",
                where=self.url,
                fix="write the address that answers itself",
            )
        if reply.status == 401:
            raise ModelError("the server refuses the token", where=self.url, fix=f"set ${TOKEN_VARIABLE}")
        said = f"{reply.status} {reply.code}: {reply.message}".rstrip(": ")
        raise ModelError(
            f"the server answers {said}", where=self.url, fix="see the server's log; is it `rewardsmith serve`?"
        )

    def _call(self, method: str, path: str, body: bytes | None) -> _Reply:
        """One request, repeated while the server is full or not there, until patience ends."""
        until = time.monotonic() + self.patience
        pause = 0.25
        while True:
            try:
                reply = self._once(method, path, body)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                reply, problem = None, _problem(error)
            if reply is not None and reply.status != 503:
                return reply
            wait = _seconds(reply, pause)
            if time.monotonic() + wait > until:
                if reply is not None:
                    return reply
                raise ModelError(
                    f"no answer: {problem}", where=self.url, fix="start the server, or correct the address"
                )
            self._sleep(wait)
            pause = min(2 * pause, 8.0)

    def _once(self, method: str, path: str, body: bytes | None) -> _Reply:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self.timeout)
        try:
            connection.request(method, path, body, self._headers)
            found = connection.getresponse()
            raw = found.read(_ANSWER_BYTES)
            return _Reply(found.status, found.getheader("retry-after"), _json(raw))
        finally:
            connection.close()


def is_url(source: object) -> bool:
    """Whether `source` names a server rather than a folder."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _parse(url: str) -> SplitResult:
    fault = fault_of_address(url)
    if not fault:
        parts = urlsplit(url)
        if not (parts.query or parts.fragment):
            return parts
        fault = "it has a query or a fragment"
    raise ModelError(
        f"is no address of a reward server: {fault}", where=without_userinfo(url), fix="write http://HOST:PORT"
    )


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _headers(parts: SplitResult, token: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "rewardsmith"}
    if (given := userinfo(parts)) is not None:
        for secret in given:
            keep_hidden(secret)
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(given).encode()).decode()}"
    elif token := (token or "").strip():
        if fault := fault_of_secret(token):
            raise ModelError(f"the token {fault}", where=f"${TOKEN_VARIABLE}", fix="set it to the token alone")
        keep_hidden(token)
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _chunks(conversations: Sequence[Conversation]) -> Iterator[list[int]]:
    """Indices of requests: conversations of one kind (messages, plain text), in order, within the sizes above."""
    for plain in (False, True):
        chunk: list[int] = []
        size = 0
        for index, conversation in enumerate(conversations):
            if _is_text(conversation) is not plain:
                continue
            length = sum(len(turn.text) for turn in conversation)
            if chunk and (len(chunk) == _ITEMS or size + length > _CHARACTERS):
                yield chunk
                chunk, size = [], 0
            chunk.append(index)
            size += length
        if chunk:
            yield chunk


def _is_text(conversation: Conversation) -> bool:
    return all(turn.role == "text" for turn in conversation)


def _request(conversations: list[Conversation]) -> bytes:
    body: dict[str, Any] = {"allow_missing": True}
    if _is_text(conversations[0]):
        body["texts"] = ["".join(turn.content for turn in one) for one in conversations]
    else:
        body["conversations"] = [[turn.as_dict() for turn in one] for one in conversations]
    return json.dumps(body).encode()


def _json(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except ValueError:
        return None


def _problem(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__


def _seconds(reply: _Reply | None, pause: float) -> float:
    """How long to wait: what the server says, else `pause`."""
    try:
        asked = float(reply.retry_after) if reply is not None and reply.retry_after else pause
    except ValueError:
        return pause
    return max(0.0, asked) if asked == asked else pause  # "nan" is a float, too


def _model(card: dict[str, Any]) -> RemoteModel:
    return RemoteModel(
        name=str(card.get("id", "")),
        identity="".join(one for one in str(card.get("identity", "")) if one in _IDENTITY)[:200],
        scale=Scale(_number(card, "reward_mean"), _number(card, "reward_std"), _number(card, "temperature")),
        max_length=int(card["max_length"]) if isinstance(card.get("max_length"), int) else None,
        conversational=card.get("conversational") is not False,
    )


def _number(card: dict[str, Any], name: str) -> float | None:
    """A number that rewards can be compared with; a mean may be negative."""
    value = card.get(name)
    return float(value) if _is_finite(value) and (value > 0 or name == "reward_mean") else None


def _is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float holds: JSON has NaN, and integers of 400 digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
