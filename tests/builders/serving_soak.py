"""Many clients that behave and misbehave, against a server in a process of its own; every answer is checked.

    report = asyncio.run(soak(url, texts, rewards, requests=400, clients=16, seed=0))

Well-behaved requests go through every dialect. Some clients leave before the answer, send slowly, send no JSON, too
much, another site's name, or a path in place of a name. `report` counts statuses; a wrong reward, a second answer, or
a 5xx that is not the intended 503 raises.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WAIT = 300
_THREADS = "OMP_NUM_THREADS"
TOLERANCE = 1e-5

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Asked = tuple[str, Any, Callable[[Any], list[float]]]

ASK: dict[str, Callable[[list[str]], Asked]] = {
    "score": lambda texts: ("/v1/score", {"texts": texts}, lambda found: found["rewards"]),
    "named": lambda texts: ("/models/tiny/v1/score", {"texts": texts}, lambda found: found["rewards"]),
    "openrlhf": lambda texts: ("/get_reward", {"query": texts}, lambda found: found["rewards"]),
    "vllm": lambda texts: ("/classify", {"input": texts}, lambda found: [one["probs"][0] for one in found["data"]]),
    "pooling": lambda texts: ("/pooling", {"input": texts}, lambda found: [one["data"][0] for one in found["data"]]),
    "sglang": lambda texts: ("/classify", {"text": texts}, lambda found: [one["embedding"][0] for one in found]),
    "verl": lambda texts: (
        "/v1/embeddings",
        {"input": texts},
        lambda found: [one["embedding"][0] for one in found["data"]],
    ),
    "llamafactory": lambda texts: ("/v1/score/evaluation", {"messages": texts}, lambda found: found["scores"]),
    "slime": lambda texts: ("/slime", {"prompt": texts[0][:5], "response": texts[0][5:]}, lambda found: [found]),
}


@contextmanager
def served(
    model: Path, *options: str, program: Sequence[str] = ("-m", "rewardsmith"), threads: str | None = "1"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`rewardsmith serve` in a process of its own, and its URL.

    Args:
        program: what Python runs.
        threads: OMP_NUM_THREADS; None: nothing in its environment says how many compute.
    """
    command = [sys.executable, *program, "serve", "--model", f"tiny={model}", "--port", "0", *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("MKL_NUM_THREADS", _THREADS)}
    environment |= {_THREADS: threads} if threads else {}
    log = model.parent / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=subprocess.DEVNULL, text=True, env=environment)
    try:
        yield _url(log, process), process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT)


def _url(log: Path, process: subprocess.Popen[str]) -> str:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(log.read_text())


class Soak:
    """The clients of one soak, and what they saw."""

    def __init__(self, url: str, texts: Sequence[str], rewards: Sequence[float], seed: int) -> None:
        self.address = urlsplit(url)
        self.texts = texts
        self.rewards = rewards
        self.seen: Counter[str] = Counter()
        self.draw = random.Random(seed)

    async def run(self, requests: int, clients: int, after: Callable[[int], None] | None = None) -> Counter[str]:
        """Send that many requests; `after` is called with the number of those done."""
        left = iter(range(requests))

        async def client() -> None:
            stream: Stream | None = None
            for number in left:
                stream = await self._one(stream)
                if after is not None:
                    after(number)
            if stream is not None:
                stream[1].close()

        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(clients))), 600)
        return self.seen

    async def _one(self, stream: Stream | None) -> Stream | None:
        """One request, on the connection of the last one where it is still good."""
        kind = self.draw.choices(list(_BEHAVIOURS), weights=[weight for weight, _ in _BEHAVIOURS.values()])[0]
        stream = stream or await self.connect()
        try:
            keep = await asyncio.wait_for(_BEHAVIOURS[kind][1](self, stream), WAIT)
        except (ConnectionError, asyncio.IncompleteReadError):
            # A server may close a connection on which it was sent nonsense; never one that behaved.
            assert kind not in ("well",), "a well-behaved request lost its connection"
            self.seen["closed"] += 1
            keep = False
        if keep:
            return stream
        stream[1].close()
        return None

    async def connect(self) -> Stream:
        return await asyncio.open_connection(self.address.hostname, self.address.port)

    def some(self) -> tuple[list[str], list[float]]:
        chosen = [self.draw.randrange(len(self.texts)) for _ in range(self.draw.choice((1, 1, 1, 2, 5)))]
        return [self.texts[index] for index in chosen], [self.rewards[index] for index in chosen]

    async def well(self, stream: Stream) -> bool:
        texts, wanted = self.some()
        name = self.draw.choice(list(ASK))
        path, body, read = ASK[name](texts)
        stream[1].write(raw(path, body))
        status, _, answer = await response(stream[0])
        if status == 503:
            self.seen["503"] += 1
            return True
        assert status == 200, (status, answer)
        found = read(json.loads(answer))
        expected = wanted[: len(found)]
        assert found, name
        assert all(abs(a - b) <= TOLERANCE for a, b in zip(found, expected, strict=True)), (name, found, expected)
        self.seen["200"] += 1
        return True

    async def leaves(self, stream: Stream) -> bool:
        texts, _ = self.some()
        stream[1].write(raw("/v1/score", {"texts": texts}))
        await stream[1].drain()
        self.seen["left"] += 1
        return False

    async def leaves_halfway(self, stream: Stream) -> bool:
        whole = raw("/v1/score", {"texts": self.some()[0]})
        stream[1].write(whole[: self.draw.randrange(1, len(whole))])
        await stream[1].drain()
        self.seen["left"] += 1
        return False

    async def slow(self, stream: Stream) -> bool:
        texts, wanted = self.some()
        whole = raw("/v1/score", {"texts": texts})
        cuts = sorted(self.draw.sample(range(1, len(whole)), 3))
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            stream[1].write(whole[start:end])
            await stream[1].drain()
            await asyncio.sleep(0.01)
        status, _, answer = await response(stream[0])
        assert status in (200, 503), status
        if status == 200:
            found = json.loads(answer)["rewards"]
            assert all(abs(a - b) <= TOLERANCE for a, b in zip(found, wanted, strict=True))
        self.seen[str(status)] += 1
        return True

    def refused(self, *wanted: int, path: str = "/v1/score", body: Any = None, extra: tuple[str, ...] = ()) -> Any:
        async def send(stream: Stream) -> bool:
            stream[1].write(raw(path, {"texts": ["red"]} if body is None else body, *extra))
            status, headers, _ = await response(stream[0])
            assert status in wanted, (status, wanted)
            self.seen[str(status)] += 1
            return "close" not in headers.get("connection", "")

        return send

    async def nonsense(self, stream: Stream) -> bool:
        body = self.draw.choice([b"{", b"", b"\xff\x00", b'{"texts": [', b"[" * 5000])
        return bool(await self.refused(400, body=body)(stream))

    async def wrong(self, stream: Stream) -> bool:
        body = self.draw.choice([b"{}", b"[]", b'{"texts": [1]}', b'{"texts": "red"}', b'{"texts": ["red <|pad|>"]}'])
        return bool(await self.refused(422, body=body)(stream))

    async def oversize(self, stream: Stream) -> bool:
        return bool(await self.refused(413, body=b"x" * 200_000)(stream))

    async def other_site(self, stream: Stream) -> bool:
        return bool(await self.refused(421, extra=("Host: evil.example",))(stream))

    async def path_for_name(self, stream: Stream) -> bool:
        if self.draw.random() < 0.5:
            return bool(await self.refused(404, body={"texts": ["red"], "model": "/etc/passwd"})(stream))
        return bool(await self.refused(404, path="/models/..%2F..%2Fetc/v1/score")(stream))


_BEHAVIOURS: dict[str, tuple[int, Callable[[Soak, Stream], Awaitable[bool]]]] = {
    "well": (80, Soak.well),
    "leaves": (4, Soak.leaves),
    "leaves_halfway": (2, Soak.leaves_halfway),
    "slow": (2, Soak.slow),
    "nonsense": (3, Soak.nonsense),
    "wrong": (3, Soak.wrong),
    "oversize": (2, Soak.oversize),
    "other_site": (2, Soak.other_site),
    "path_for_name": (2, Soak.path_for_name),
}


def raw(path: str, body: Any, *extra: str) -> bytes:
    """A POST as it goes over the wire."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    host = () if any(line.startswith("Host:") for line in extra) else ("Host: localhost",)
    lines = [
        f"POST {path} HTTP/1.1",
        *host,
        *extra,
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer: status, headers in lower case, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def resident(process: subprocess.Popen[str]) -> int:
    """Resident memory of a process, in bytes."""
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
