"""One server of rewards by HTTP: its address, its token, and requests that neither hang nor follow where they are sent.

    at = parse_address("vllm+http://any:TOKEN@10.0.0.7:8000?tokenizer=runs/x/model")
    at.engine, at.options                                # "vllm", {"tokenizer": "runs/x/model"}
    connection = Connection(at, timeout=180.0, patience=60.0)
    reply = connection.call("POST", "/classify", {"input": [[1, 2]]})

The token is read from `$REWARDSMITH_TOKEN` (of another kind of server from its own variable), or from the URL's
userinfo; it stands in no message. Redirects are not followed and proxies not used: the token goes to the named host
only. An answer has `ANSWER_BYTES` at most and `timeout` seconds in all, however slowly it trickles. A server that is
full (503, 429) or not there yet is asked again, with `Retry-After` respected, until `patience` seconds are over, and
that is said once. What waiting does not cure (a certificate, another protocol) is said at once.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from rewardsmith.addresses import (
    engine_address,
    fault_of_address,
    fault_of_secret,
    keep_hidden,
    userinfo,
    without_userinfo,
)
from rewardsmith.errors import ModelError
from rewardsmith.records.bounded import parse_json

_LOG = logging.getLogger(__name__)

TOKEN_VARIABLE = "REWARDSMITH_TOKEN"  # noqa: S105 - a name, not a secret
ANSWER_BYTES = 64 * 2**20
_PIECE = 2**16
_SHOWN = 300
_FULL = (429, 503)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")  # by the version of OpenSSL
OPTIONS = ("tokenizer", "model")
"""What may stand behind the `?` of an address; it is not sent."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `engine` is "" unless the address names one, `path` has no slash at its end."""

    parts: SplitResult
    engine: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path that stands before every request's own."""
        return self.parts.path.rstrip("/")

    @property
    def shown(self) -> str:
        """The address without its secret."""
        return f"{self.parts.scheme}://{self.parts.netloc.rpartition('@')[2]}{self.path}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `content` is None where it is no JSON."""

    status: int
    retry_after: str | None
    content: Any

    @property
    def code(self) -> str:
        """The code of an error, as `rewardsmith serve`, vLLM and SGLang write it."""
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def message(self) -> str:
        """What a server says of an error, on one line and short: an engine may quote the text that it was sent."""
        said = self.content if isinstance(self.content, dict) else {}
        error = said.get("error", said.get("message", said.get("detail", "")))
        text = error.get("message", "") if isinstance(error, dict) else error
        return " ".join(str(text).split())[:_SHOWN]


def parse_address(url: str) -> Address:
    """Take an address apart.

    Raises:
        ModelError: it is none, names an option that there is not, or has a fragment.
    """
    engine, plain = engine_address(url)
    fault = fault_of_address(plain)
    if not fault:
        parts = urlsplit(plain)
        try:
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            options = {"": ""}
        if not parts.fragment and all(name in OPTIONS and value for name, value in options.items()):
            return Address(parts, engine, options)
        fault = f"behind its path stands something else than {' and '.join(f'?{name}=' for name in OPTIONS)}"
    raise ModelError(f"is no address of a server: {fault}", where=without_userinfo(url), fix="write http://HOST:PORT")


class Connection:
    """Asks one server.

    Args:
        address: where it is.
        token: else the URL's userinfo, else `$REWARDSMITH_TOKEN`.
        variable: of the environment, that the token is read from.
        timeout: seconds that one request may take, its answer included.
        patience: seconds for which a server that is full or not there is asked again.
        sleep: how to wait; for tests.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        variable: str = TOKEN_VARIABLE,
        timeout: float = 180.0,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self.url = address.shown
        self.variable = variable
        self.timeout = timeout
        self.patience = patience
        self._sleep = sleep
        self._said_waiting = False
        self._headers = _headers(address.parts, token if token is not None else os.environ.get(variable), variable)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
        """One request, repeated while the server is full or not there, until patience ends.

        Raises:
            ModelError: there is no answer.
        """
        raw = None if body is None else json.dumps(body).encode()
        until = time.monotonic() + self.patience
        pause = 0.25
        while True:
            try:
                reply = self._once(method, path, raw)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                reply, problem = None, self._problem(error)
                if fix := _hopeless(error):
                    raise ModelError(f"no answer: {problem}", where=self.url, fix=fix) from error
            if reply is not None and reply.status not in _FULL:
                return reply
            wait = _seconds(reply, pause)
            if time.monotonic() + wait > until:
                if reply is not None:
                    return reply
                raise ModelError(
                    f"no answer: {problem}", where=self.url, fix="start the server, or correct the address"
                )
            if not self._said_waiting:
                self._said_waiting = True
                said = problem if reply is None else f"the server is full ({reply.status})"
                _LOG.warning("note: %s: %s; it is asked again for up to %g seconds", self.url, said, self.patience)
            self._sleep(wait)
            pause = min(2 * pause, 8.0)

    def content(self, reply: Reply, who: str = "is it `rewardsmith serve`?") -> dict[str, Any]:
        """The JSON object of an answer.

        Raises:
            ModelError: it is none, or the server refuses.
        """
        if reply.status == 200 and isinstance(reply.content, dict):
            return reply.content
        raise self.refused(reply, who)

    def refused(self, reply: Reply, who: str) -> ModelError:
        """The error of an answer that cannot be used."""
        if 300 <= reply.status < 400:
            return ModelError(
                f"the server answers {reply.status}; redirects are not followed",
                where=self.url,
                fix="write the address that answers itself",
            )
        if reply.status == 401:
            return ModelError("the server refuses the token", where=self.url, fix=f"set ${self.variable}")
        said = f"{f'{reply.status} {reply.code}'.rstrip()}: {reply.message}".rstrip(": ")
        return ModelError(f"the server answers {said}", where=self.url, fix=f"see the server's log; {who}")

    def _once(self, method: str, path: str, body: bytes | None) -> Reply:
        parts = self.address.parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        until = time.monotonic() + self.timeout
        try:
            connection.request(method, path, body, self._headers)
            found = connection.getresponse()
            raw = bytearray()
            while piece := found.read1(_PIECE):
                raw += piece
                if len(raw) > ANSWER_BYTES:
                    raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > until:
                    raise TimeoutError
            return Reply(found.status, found.getheader("retry-after"), _json(bytes(raw)))
        finally:
            connection.close()

    def _problem(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"not within {self.timeout:g} seconds"
        if type(error) is http.client.HTTPException:
            return str(error)
        return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__


def _hopeless(error: Exception) -> str:
    """The fix of what no waiting cures; empty where the server may only be starting or going down."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "name the host as its certificate does; $SSL_CERT_FILE names authorities that this machine lacks"
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "write http:// where the server has no TLS"
    if type(error) in (http.client.BadStatusLine, http.client.LineTooLong, http.client.HTTPException):
        return "correct the port: what answers there is no server of rewards"
    return "correct the address" if isinstance(error, UnicodeError) else ""


def _headers(parts: SplitResult, token: str | None, variable: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "rewardsmith"}
    if (given := userinfo(parts)) is not None:
        for secret in given:
            keep_hidden(secret)
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(given).encode()).decode()}"
    elif token := (token or "").strip():
        if fault := fault_of_secret(token):
            raise ModelError(f"the token {fault}", where=f"${variable}", fix="set it to the token alone")
        keep_hidden(token)
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _json(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except ValueError:
        return None


def _seconds(reply: Reply | None, pause: float) -> float:
    """How long to wait: what the server says, else `pause`."""
    try:
        asked = float(reply.retry_after) if reply is not None and reply.retry_after else pause
    except ValueError:
        return pause
    return max(0.0, asked) if asked == asked else pause  # "nan" is a float, too
