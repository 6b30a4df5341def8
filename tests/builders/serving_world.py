"""A reward server in this process, with an engine whose rewards can be worked out by hand, and a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.serving.access import Access
from rewardsmith.serving.engine import Engine, ModelInfo, Prepared, Scored, Unscorable
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.models import Models, ServedModel
from rewardsmith.serving.queue import MicroBatcher, QueueSettings, prefix_blocks
from rewardsmith.serving.server import Bounds, RewardServer, State, bind, reward_app
from rewardsmith.serving.stream import RewardStream
from rewardsmith.types import Conversation, Message

WAIT = 30
TOKEN = "a-token-of-these-tests"


def reward_of(text: str) -> float:
    """What `CountingEngine` gives: the code points of the text, summed, over 8. Exact in binary."""
    return sum(map(ord, text)) / 8


def joined(conversation: Conversation) -> str:
    return "".join(turn.content for turn in conversation)


class CountingEngine:
    """A character is a token; the reward is `reward_of` the joined contents. Remembers its batches.

    "REFUSE" in a text has no rendering, "NAN" no finite reward, "BREAK" breaks the batch that it is in. `gate` holds
    every batch back until it is set.
    """

    def __init__(self, info: ModelInfo | None = None, *, shift: float = 0.0) -> None:
        self.info = info or ModelInfo(identity="counting", max_length=1000)
        self.shift = shift
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.members: tuple[str, ...] = ()

    def prepare(self, conversations: Sequence[Conversation]) -> list[Prepared | Unscorable]:
        return [self._prepare(joined(conversation)) for conversation in conversations]

    def _prepare(self, text: str) -> Prepared | Unscorable:
        if "REFUSE" in text:
            return Unscorable("template_refused", "the chat template refuses the conversation")
        ids = np.array([ord(character) for character in text], dtype=np.int32)
        return Prepared(text, len(text), text, prefix_blocks(ids))

    def score(self, batch: Sequence[Prepared]) -> Scored:
        texts = [prepared.content for prepared in batch]
        self.entered.set()
        assert self.gate.wait(WAIT)
        if any("BREAK" in text for text in texts):
            raise ValueError("a text that must not be logged")
        self.batches.append(texts)
        rewards = np.array([np.nan if "NAN" in text else reward_of(text) + self.shift for text in texts])
        members = {name: rewards + index for index, name in enumerate(self.members)}
        return Scored(rewards, members, np.std(list(members.values()), axis=0) if members else None)


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


@dataclass
class World:
    """A server that runs, and how to talk to it."""

    host: str
    port: int
    server: RewardServer
    engines: dict[str, CountingEngine]
    metrics: Metrics
    token: str | None = None
    models: Models | None = None
    opened: list[http.client.HTTPConnection] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own; header names are written with underscores."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=WAIT)
        try:
            connection.request(method, path, raw, {name: value for name, value in sent.items() if value != "-"})
            found = connection.getresponse()
            return Reply(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.call("POST", path, body, **headers)

    def get(self, path: str, **headers: str) -> Reply:
        return self.call("GET", path, **headers)

    def send(self, raw: bytes) -> socket.socket:
        """Raw bytes on a connection that stays open."""
        connection = socket.create_connection((self.host, self.port), timeout=WAIT)
        connection.sendall(raw)
        return connection

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"rewardsmith_{name}", labels)


def request_bytes(path: str, body: Any, *extra: str) -> bytes:
    """A POST as it goes over the wire."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(raw)}",
    ]
    return "\r\n".join([*lines, *extra, "", ""]).encode() + raw


@contextmanager
def serving(
    engines: dict[str, Engine] | None = None,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    queue: QueueSettings | None = None,
    reload: dict[str, Any] | None = None,
    hosts: frozenset[str] = frozenset(),
    router: Any = None,
    bounds: Bounds | None = None,
    stream: Callable[[Metrics], RewardStream] | None = None,
    watch: Path | None = None,
) -> Iterator[World]:
    """A server on a free port of 127.0.0.1, in a thread; drained at the end."""
    engines = engines if engines is not None else {"counting": CountingEngine()}
    listener = bind("127.0.0.1", 0)
    metrics, state = Metrics(watch), State()
    with ThreadPoolExecutor(1) as worker, listener:
        models = Models(
            ServedModel(name, MicroBatcher(engine, worker, queue), (reload or {}).get(name))
            for name, engine in engines.items()
        )
        found = stream(metrics) if stream else None
        access = Access((token,) if token else (), hosts)
        application = reward_app(models, access, limits or Limits(), metrics, state, router, found)
        server = RewardServer(application, listener, state, bounds)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert server.listening.wait(WAIT)
        host, port = listener.getsockname()
        try:
            yield World(host, port, server, dict(engines), metrics, token, models)
        finally:
            server.stop()
            thread.join(WAIT)
            if found is not None:
                found.close()
            assert not thread.is_alive()


def chat(prompt: str, response: str) -> Conversation:
    return (Message("user", prompt), Message("assistant", response))
