"""HTTP bytes against a running server: kept cases, mutated, cut in pieces, sent together, left half-way.

    python tests/fuzz/http_bytes.py --minutes 20 --seed 1          make fuzz-http
    python tests/fuzz/http_bytes.py --serve                        the server alone, as the fuzzer starts it

The server is in a process of its own, on a free port of 127.0.0.1, with an engine whose rewards are known. What is
wrong: an answer of 500, a line of its log that is no JSON or is of an error, a health check or a whole request without
an answer for 10 s, a wrong reward, more memory than `MOST_BYTES` above the start, another exit than 0 at the end.
Whatever was sent is decided by the seed; a finding is appended to `--found` with its bytes, as a line that can be moved
to the kept cases, `http_corpus.jsonl`, once it is fixed: `http` has the bytes as Latin-1, `gzip` packed in base64.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import faulthandler
import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "http_corpus.jsonl"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "builders")]

HANG_SECONDS = 10.0
MOST_BYTES = 256 * 2**20
PATIENCE = (0.4, 0.03)
"""Seconds for an answer to bytes that may never be a request, and for more of it."""

TOKENS = [
    *(
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Content-Encoding: gzip\r\n",
    ),
    *(b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Origin: http://[\r\n", b"HTTP/1.0"),
    *(
        b"HTTP/9.9",
        b"\r\n\r\n",
        b"\n\n",
        b"\r",
        b"\x00",
        b"\xff\xfe",
        b"%00",
        b"%ff",
        b"../",
        b"0\r\n\r\n",
        b"-1",
        b"1e999",
    ),
    *(b"NaN", b"Infinity", b"\\ud800", b"\\u0000", b"99999999999999999999", b"[[[[[[[[", b'{"a":', b"null", b"true"),
    *(
        b'"texts"',
        b'"conversations"',
        b'"model"',
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"Host: a\r\n",
        b"Authorization: Basic ",
    ),
    *(b"POST ", b"GET ", b"CONNECT ", b"OPTIONS * ", b"http://evil.example/", b"Content-Type: application/json\r\n"),
    *(b";x=1", b"fffffffffffffffff\r\n", b"a" * 5000, b"X: y\r\n" * 120, b": :\r\n", b" \r\n folded\r\n"),
]
PATHS = [
    *("/v1/score", "/v1/compare", "/get_reward", "/classify", "/pooling", "/v1/embeddings", "/slime"),
    *("/v1/score/evaluation", "/models/counting/v1/score", "/v1/models/counting/reload", "/healthz", "/metrics"),
    *(
        "/openapi.json",
        "/v1/models",
        "/%2e%2e/",
        "/models/%00/v1/score",
        "*",
        "http://localhost/healthz",
        "/" + "a" * 3000,
    ),
]
FIELDS = [
    *("texts", "conversations", "prompt", "responses", "query", "prompts", "labels", "input", "messages", "text"),
    *("model", "response", "label", "allow_missing", "route", "role", "content", "type", "use_activation", "task"),
]
BAD = re.compile(rb"NAN|BREAK")
"""Texts for which the engine of the tests is told to fail: their 500 is meant."""


@dataclass
class Seen:
    """What happened."""

    sent: int = 0
    bytes_sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    canaries: int = 0
    starved: int = 0
    slowest_health: float = 0.0
    start_bytes: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


# What is sent


class Maker:
    """Bytes by a seed."""

    def __init__(self, seed: int, cases: dict[str, bytes]) -> None:
        self.draw = random.Random(seed)
        self.cases = cases
        self.names = sorted(cases)

    def next(self) -> list[bytes]:
        """Pieces to send, in this order."""
        draw = self.draw
        kind = draw.random()
        if kind < 0.15:
            return [self.made()]
        raw = self.cases[draw.choice(self.names)]
        if kind < 0.25:
            raw = b"".join(self.cases[draw.choice(self.names)] for _ in range(draw.choice((2, 3, 40))))
        for _ in range(draw.choice((0, 1, 1, 2, 4, 8))):
            raw = self.mutated(raw)
        if draw.random() < 0.3:
            raw = self.refit(raw)
        return self.cut(raw[: 2**20])

    def mutated(self, raw: bytes) -> bytes:
        draw = self.draw
        at = draw.randrange(len(raw) + 1)
        to = min(len(raw), at + draw.choice((1, 2, 8, 64, 512)))
        match draw.randrange(9):
            case 0:
                return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
            case 1:
                return raw[:at] + draw.choice(TOKENS) + raw[at:]
            case 2:
                return raw[:at] + raw[to:]
            case 3:
                return raw[:to] + raw[at:to] * draw.choice((1, 2, 50)) + raw[to:]
            case 4:
                return raw[:at]
            case 5:
                other = self.cases[draw.choice(self.names)]
                return raw[:at] + other[draw.randrange(len(other) + 1) :]
            case 6:
                return re.sub(rb"\d+", lambda found: self.number(found[0]), raw, count=draw.choice((1, 3)))
            case 7:
                lines = raw.split(b"\r\n")
                draw.shuffle(lines)
                return b"\r\n".join(lines)
            case _:
                return raw[:at] + draw.randbytes(draw.choice((1, 4, 300))) + raw[at:]

    def number(self, found: bytes) -> bytes:
        return self.draw.choice(
            [b"0", b"-1", found + b"0", b"4294967296", b"18446744073709551616", b"9" * 400, b"0x10", found]
        )

    def refit(self, raw: bytes) -> bytes:
        """The same head with a length that fits, so that what was changed in the body is read."""
        head, end, body = raw.partition(b"\r\n\r\n")
        head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", b"", head)
        return head + b"\r\nContent-Length: %d" % len(body) + end + body

    def made(self) -> bytes:
        """A request of our own making: any JSON under any path, packed any way."""
        draw = self.draw
        body = json.dumps(self.json(0)).encode()
        if draw.random() < 0.3:
            body = self.mutated(body)
        lines = [
            f"{draw.choice(('POST', 'POST', 'POST', 'GET', 'PUT', 'HEAD'))} {draw.choice(PATHS)} HTTP/1.1".encode(),
            b"Host: localhost",
            b"Content-Type: application/json",
        ]
        packing = draw.random()
        if packing < 0.15:
            body = gzip.compress(body, mtime=0)
            lines.append(b"Content-Encoding: gzip")
        elif packing < 0.2:
            body = zlib.compress(body)
            lines.append(b"Content-Encoding: deflate")
        if draw.random() < 0.3:
            lines.append(b"Transfer-Encoding: chunked")
            return b"\r\n".join([*lines, b"", b""]) + self.chunked(body)
        lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", b""]) + body

    def chunked(self, body: bytes) -> bytes:
        parts, at = [], 0
        while at < len(body):
            size = self.draw.choice((1, 3, 100, 4000))
            part = body[at : at + size]
            parts.append(b"%x%s\r\n%s\r\n" % (len(part), self.draw.choice((b"", b"", b";a=b")), part))
            at += size
        trailer = self.draw.choice((b"", b"", b"X: y\r\n", b"Authorization: Bearer x\r\n", b"Content-Length: 5\r\n"))
        return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"

    def json(self, depth: int) -> Any:
        draw = self.draw
        kind = draw.randrange(9 if depth < 4 else 6)
        if depth == 0 or kind == 8:
            return {draw.choice(FIELDS): self.json(depth + 1) for _ in range(draw.randrange(1, 4))}
        if kind in (6, 7):
            return [self.json(depth + 1) for _ in range(draw.randrange(4))]
        return [
            *("hello", "", "\ud83d", "\x00", "assistant", "user", "text", "counting", "auto"),
            *(0, -1, 1.5, 10**30, True, None, 1e308, "é" * 50, "a" * 2000),
        ][draw.randrange(18)]

    def cut(self, raw: bytes) -> list[bytes]:
        """In one piece mostly, else in several."""
        if self.draw.random() < 0.7 or len(raw) < 4:
            return [raw]
        places = sorted(self.draw.sample(range(1, len(raw)), min(len(raw) - 1, self.draw.choice((1, 2, 5)))))
        return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


# Sending and looking


async def left(writer: asyncio.StreamWriter) -> None:
    """End a connection at once; its socket is closed on return."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


class Fuzz:
    """One run against one server."""

    def __init__(self, port: int, pid: int, maker: Maker, found: Path | None) -> None:
        self.port = port
        self.pid = pid
        self.maker = maker
        self.seen = Seen(start_bytes=resident(pid))
        self.found = found
        self.until = 0.0
        self.first: Iterator[tuple[str, bytes]] = iter(())

    async def run(self, seconds: float, clients: int) -> Seen:
        started = time.monotonic()
        self.until = started + seconds
        self.first = iter(self.maker.cases.items())
        await asyncio.gather(*(self.client() for _ in range(clients)), self.watch())
        await self.canary()
        self.seen.seconds = time.monotonic() - started
        return self.seen

    async def client(self) -> None:
        for name, raw in self.first:
            await self.exchange([raw], name)
        while time.monotonic() < self.until and len(self.seen.problems) < 20:
            await self.exchange(self.maker.next(), f"number {self.seen.sent}")

    async def exchange(self, pieces: list[bytes], name: str) -> None:
        """Send, read what comes for a moment, leave."""
        raw = b"".join(pieces)
        leaves = self.maker.draw.random() < 0.1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            self.problem(f"no connection: {error}", raw, name)
            return
        answer = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), HANG_SECONDS)
                if len(pieces) > 1:
                    await asyncio.sleep(0.001)
            while not leaves:
                part = await asyncio.wait_for(reader.read(2**16), PATIENCE[bool(answer)])
                answer += part
                if not part:
                    break
        except (TimeoutError, ConnectionError):
            pass
        finally:
            await left(writer)
        self.seen.sent += 1
        self.seen.bytes_sent += len(raw)
        for status in re.findall(rb"(?:^|\n|\})HTTP/1\.1 (\d{3}) ", answer):
            self.seen.statuses[status.decode()] += 1
            if status == b"500" and not BAD.search(raw):
                self.problem(f"answered 500: {answer[:400]!r}", raw, name)

    async def watch(self) -> None:
        """Health, a known reward and memory, over and over."""
        while time.monotonic() < self.until and len(self.seen.problems) < 20:
            await self.canary()
            self.seen.peak_bytes = max(self.seen.peak_bytes, resident(self.pid))
            if self.seen.peak_bytes - self.seen.start_bytes > MOST_BYTES:
                self.problem(f"memory grew to {self.seen.peak_bytes >> 20} MiB", b"", "watch")
            await asyncio.sleep(0.05)

    async def canary(self) -> None:
        health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        started = time.monotonic()
        answer = await self.whole(health)
        self.seen.slowest_health = max(self.seen.slowest_health, time.monotonic() - started)
        if b'{"status":"ok"}' not in answer:
            self.problem(f"health: {answer[:200]!r}", health, "canary")
        body = b'{"texts":["AB"]}'
        head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        answer = await self.whole(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if b"16.375" not in answer and b" 503 " not in answer:
            self.problem(f"reward: {answer[:400]!r}", body, "canary")
        self.seen.canaries += 1

    async def whole(self, raw: bytes) -> bytes:
        """The answer to a sound request; asked again where the machine, not the server, was busy meanwhile."""
        while True:
            started, waited = time.monotonic(), starved(self.pid) + starved(os.getpid())
            try:
                async with asyncio.timeout(HANG_SECONDS):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        writer.write(raw)
                        return await reader.read()
                    finally:
                        await left(writer)
            except (TimeoutError, OSError) as error:
                lost = starved(self.pid) + starved(os.getpid()) - waited
                if isinstance(error, TimeoutError) and lost > (time.monotonic() - started) / 2:
                    self.seen.starved += 1
                    continue
                os.kill(self.pid, signal.SIGUSR1)  # its stacks, into its log
                return f"no answer: {type(error).__name__}, {lost:.1f} s without a processor".encode()

    def problem(self, text: str, raw: bytes, name: str) -> None:
        self.seen.problems.append(f"{name}: {text}")
        if self.found is not None:
            self.found.parent.mkdir(parents=True, exist_ok=True)
            packed = base64.b64encode(gzip.compress(raw, mtime=0)).decode()
            with self.found.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"name": name, "problem": text, "gzip": packed}) + "\n")


def kept_cases() -> dict[str, bytes]:
    """The bytes of each kept case, by name."""
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    return {
        row["name"]: row["http"].encode("latin-1") if "http" in row else gzip.decompress(base64.b64decode(row["gzip"]))
        for row in rows
    }


def fuzz(seconds: float, seed: int, clients: int = 8, found: Path | None = None) -> Seen:
    """Start a server, fuzz it, end it, read its log."""
    cases = kept_cases()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            server = subprocess.Popen([sys.executable, __file__, "--serve"], stderr=stream, stdout=subprocess.DEVNULL)
        try:
            port = listening(log, server)
            seen = asyncio.run(Fuzz(port, server.pid, Maker(seed, cases), found).run(seconds, clients))
            server.send_signal(signal.SIGTERM)
            try:
                code: int | str = server.wait(120)  # a body may take 30 s to arrive
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGUSR1)
                time.sleep(1)
                code = "none within 120 s"
        finally:
            server.kill()
            server.wait()
        if code != 0:
            seen.problems.append(f"the server ended with {code}")
        seen.problems += complaints(log.read_text(encoding="utf-8", errors="replace"))
    return seen


def complaints(log: str) -> list[str]:
    """Lines of the server's log that should not be there."""
    wrong = []
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            wrong.append(f"log: {line[:300]}")
            continue
        meant = event["event"] in ("reload_refused", "model_failed")
        if (event["level"] == "error" and not meant) or event["event"] in ("asyncio", "concurrent.futures"):
            wrong.append(f"log: {line[:600]}")
    return wrong[:200]


def listening(log: Path, server: subprocess.Popen[bytes]) -> int:
    for _ in range(600):
        for line in log.read_text().splitlines():
            with suppress(ValueError, KeyError):
                return int(json.loads(line)["url"].rpartition(":")[2])
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(log.read_text())


def starved(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and had no processor."""
    waits = (path.read_text().split()[1] for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(int, waits)) / 1e9


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(delay: float) -> None:
    """The server that is fuzzed: the engine of the tests, slowed by `delay` seconds, that cannot always be reloaded."""
    from concurrent.futures import ThreadPoolExecutor

    from serving_world import CountingEngine

    from rewardsmith.errors import ModelError
    from rewardsmith.serving.access import Access
    from rewardsmith.serving.engine import ModelInfo
    from rewardsmith.serving.limits import Limits
    from rewardsmith.serving.logs import server_log
    from rewardsmith.serving.metrics import Metrics
    from rewardsmith.serving.models import Models, ServedModel
    from rewardsmith.serving.queue import MicroBatcher
    from rewardsmith.serving.server import RewardServer, State, bind, reward_app

    faulthandler.register(signal.SIGUSR1)
    loads = 0

    class Slow(CountingEngine):
        def score(self, batch: Any) -> Any:
            time.sleep(delay)
            return super().score(batch)

    def load() -> CountingEngine:
        nonlocal loads
        loads += 1
        if loads % 3 == 0:
            raise [ModelError("a fault", where="there"), ValueError("a text"), KeyboardInterrupt()][loads // 3 % 3]
        return Slow(ModelInfo(identity="counting", max_length=1000, temperature=1.0))

    with server_log(), ThreadPoolExecutor(1) as worker, bind("127.0.0.1", 0) as listener:
        info = ModelInfo(identity="counting", max_length=1000, temperature=1.0)
        models = Models([ServedModel("counting", MicroBatcher(Slow(info), worker), load)])
        state, metrics = State(), Metrics()
        RewardServer(reward_app(models, Access(), Limits(), metrics, state), listener, state).run()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0, help="with --serve: seconds of a batch")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--found", type=Path, default=Path("build/fuzz-http.jsonl"))
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.delay)
        return 0
    seen = fuzz(60 * asked.minutes, asked.seed, asked.clients, asked.found)
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(seen.statuses.items()))
    print(f"seed {asked.seed}: {seen.sent} sequences, {seen.bytes_sent >> 20} MiB in {seen.seconds:.0f} s")
    print(f"answers: {statuses}")
    print(f"{seen.canaries} known requests, {seen.starved} repeated since the machine was busy")
    print(f"slowest health check {1000 * seen.slowest_health:.0f} ms")
    print(f"memory: {seen.start_bytes >> 20} MiB at the start, {seen.peak_bytes >> 20} MiB at most")
    print(f"{len(seen.problems)} problems")
    for problem in seen.problems:
        print(f"  {problem}")
    return 1 if seen.problems else 0


if __name__ == "__main__":
    sys.exit(main())
