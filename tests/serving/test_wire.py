"""What a connection may cost and say before its request is known; and a server whose terminal, log or patience ends."""

from __future__ import annotations

import asyncio
import errno
import gzip
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from serving_world import TOKEN, WAIT, CountingEngine, World, request_bytes, reward_of, serving

from fuzz.http_bytes import fuzz, kept_cases, listening
from rewardsmith.errors import ModelError, UserError
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.logs import Unhurried, log, server_log
from rewardsmith.serving.server import Bounds

SCORE = {"texts": ["AB"]}
HOST = b"Host: localhost\r\n"
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"texts":["AB"]}'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with serving(bounds=Bounds(head_seconds=0.5)) as world:
        yield world


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    with serving(token=TOKEN) as world:
        yield world


def answers(connection: socket.socket) -> list[tuple[int, Any]]:
    """Every answer that comes before the connection ends: status, and the JSON in it."""
    with connection, connection.makefile("rb") as stream:
        raw = stream.read()
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        size = int(re.search(rb"content-length: (\d+)", head)[1]) if status >= 200 else 0  # type: ignore[index]
        found.append((status, json.loads(rest[:size]) if size else None))
        raw = rest[size:]
    return found


def connections(world: World) -> Any:
    return world.server.server_state.connections


# Heads


@pytest.mark.parametrize("piece", [7, 1000, 200_000])
def test_a_head_has_a_largest_size_however_it_is_cut(world: World, piece: int) -> None:
    size = 34_000 if piece == 7 else 200_000
    raw = b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"y" * size
    connection = socket.create_connection((world.host, world.port), timeout=WAIT)
    for start in range(0, len(raw), piece):
        connection.sendall(raw[start : start + piece])
    [(status, body)] = answers(connection)
    assert (status, body["error"]["code"]) == (431, "head_too_large")
    assert body["error"]["limit"] == {"name": "head_bytes", "value": 32768}


def test_a_head_of_any_size_below_the_limit_is_read(world: World) -> None:
    raw = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\nX: " + b"y" * 32_000 + b"\r\n\r\n"
    assert [status for status, _ in answers(world.send(raw))] == [200]


def test_a_head_has_at_most_a_hundred_fields(world: World) -> None:
    for count, status in ((98, 200), (99, 431)):
        fields = b"".join(b"X-%d: y\r\n" % number for number in range(count))
        raw = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + fields + b"\r\n"
        [(found, body)] = answers(world.send(raw))
        assert found == status
    assert body["error"]["limit"] == {"name": "head_fields", "value": 100}


@pytest.mark.parametrize("start", [b"G", b"GET /healthz HTTP/1.1\r\nHo", b"\r\n"])
def test_a_head_that_does_not_end_is_told_so(world: World, start: bytes) -> None:
    [(status, body)] = answers(world.send(start))
    assert (status, body["error"]["code"]) == (408, "head_too_slow")


def test_unfinished_heads_of_all_connections_are_bounded() -> None:
    part = b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20_000
    with serving(bounds=Bounds(held_bytes=250_000)) as world:
        held = [world.send(part) for _ in range(20)]
        refused = 0
        for connection in held:
            connection.settimeout(0.2)
            try:
                refused += b" 503 " in connection.recv(2000)
            except TimeoutError:
                continue
            finally:
                connection.close()
        assert refused == 20 - 250_000 // len(part)
        assert world.get("/healthz").status == 200


# Requests sent ahead


def test_requests_sent_ahead_are_answered_in_order(world: World) -> None:
    texts = [f"t{number}" for number in range(300)]
    raw = b"".join(request_bytes("/v1/score", {"texts": [text]}) for text in texts)
    last = request_bytes("/slime", {"prompt": "A", "response": "B"}, "Connection: close")
    found = answers(world.send(raw + last))
    assert [status for status, _ in found] == [200] * 301
    assert [body["rewards"] for _, body in found[:-1]] == [[reward_of(text)] for text in texts]
    assert found[-1][1] == 16.375


def test_what_is_sent_ahead_stays_bytes_and_few_of_them() -> None:
    engine = CountingEngine()
    with serving({"m": engine}) as world:
        engine.gate.clear()
        connection = world.send(request_bytes("/v1/score", SCORE))
        assert engine.entered.wait(WAIT)
        connection.settimeout(1.0)
        many = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000_000
        with pytest.raises(TimeoutError):  # the server stops reading, so the sender has to stop
            connection.sendall(many)
        [protocol] = connections(world)
        assert len(protocol.pipeline) == 0
        assert len(protocol._held) <= 2 * 32768
        engine.gate.set()
        connection.close()


def test_who_sends_and_never_reads_is_dropped() -> None:
    with serving(bounds=Bounds(write_seconds=0.2)) as world:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((world.host, world.port))
        connection.settimeout(5.0)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with connection, pytest.raises(ConnectionError):
            connection.sendall(ask * 1_000_000)


def test_bytes_after_a_request_that_is_being_answered_change_nothing(world: World) -> None:
    found = answers(world.send(request_bytes("/v1/score", SCORE) + b"\x00junk\r\n\r\n"))
    assert [status for status, _ in found] == [200, 400]
    assert found[0][1]["rewards"] == [16.375]


# Trailers, lengths, smuggling


def chunked(body: bytes, trailer: bytes = b"", size: int = 5) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks_of_any_size_make_a_body_and_what_comes_after_it_is_another_request(world: World, size: int) -> None:
    one = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, size=size)
    two = HEAD + b"Connection: close\r\nContent-Length: 16\r\n\r\n" + BODY
    for cut in (1, 40, 10_000):
        connection = socket.create_connection((world.host, world.port), timeout=WAIT)
        for start in range(0, len(one + two), cut):
            connection.sendall((one + two)[start : start + cut])
        assert [body["rewards"] for _, body in answers(connection)] == [[16.375], [16.375]]


def test_a_token_in_a_trailer_opens_nothing(locked: World) -> None:
    start = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n"
    token = f"Authorization: Bearer {TOKEN}\r\n".encode()
    assert [status for status, _ in answers(locked.send(start + b"\r\n" + chunked(BODY, token)))] == [401]
    assert [status for status, _ in answers(locked.send(start + token + b"\r\n" + chunked(BODY, b"X: y\r\n")))] == [200]


def test_a_trailer_has_a_largest_size(world: World) -> None:
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: " + b"y" * 100_000
    [(status, body)] = answers(world.send(raw))
    assert (status, body["error"]["code"]) == (431, "head_too_large")


@pytest.mark.parametrize(
    "name", [name for name in kept_cases() if re.match("smuggle|two_lengths|length_|chunk_", name)]
)
def test_lengths_that_two_readers_could_read_in_two_ways_are_refused(world: World, name: str) -> None:
    connection = world.send(kept_cases()[name])
    connection.shutdown(socket.SHUT_WR) if name == "length_short" else None
    statuses = [status for status, _ in answers(connection)]
    assert statuses in ([], [400], [413], [400, 400])  # none: the client left in the middle of its body
    assert (statuses == []) == (name == "length_short")


def test_a_client_that_waits_to_be_asked_and_is_refused_is_not_read_on(world: World) -> None:
    for path, status in (("/v1/score", 200), ("/nothing", 404)):
        raw = request_bytes(path, SCORE, "Expect: 100-continue")
        head, _, body = raw.partition(b"\r\n\r\n")
        connection = world.send(head + b"\r\n\r\n")
        with connection, connection.makefile("rb") as stream:
            line = stream.readline()
            assert line.startswith(b"HTTP/1.1 100" if status == 200 else b"HTTP/1.1 404")
            if status == 200:
                connection.sendall(body)
                assert stream.readline() == b"\r\n"
                assert stream.readline().startswith(b"HTTP/1.1 200")
            else:
                assert b"connection: close" in stream.read()


# Other sites


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *(
            (origin, 200)
            for origin in ("http://localhost", "http://127.0.0.1:3000", "https://[::1]:9", "HTTP://LOCALHOST")
        ),
        *(
            (origin, 403)
            for origin in ("http://203.0.113.5", "http://10.0.0.1:8000", "http://[2001:db8::1]", "null", "")
        ),
        *(
            (origin, 403)
            for origin in ("http://[", "http://[::1", "http://[::1]x", "http://localhost:99999999", "http://")
        ),
        *(
            (origin, 403)
            for origin in ("localhost", "javascript://localhost", "http://a@localhost", "http://localhost/x")
        ),
        *(
            (origin, 403)
            for origin in ("http://localhost http://evil.example", "http://\xff\xfe", "http://127.0.0.1.evil")
        ),
        *((origin, 403) for origin in ("http://0x7f.1", "http://2130706433", "http://127.1", "http://loc\talhost")),
    ],
)
def test_only_pages_of_this_machine_may_ask(world: World, origin: str, status: int) -> None:
    found = world.post("/v1/models/counting/reload", None, Origin=origin)
    assert (found.status == 403) == (status == 403)
    assert found.status in (403, 409)  # this model cannot be reloaded, but whoever came that far may ask


def test_two_origins_are_one_too_many(world: World) -> None:
    two = b"Origin: http://localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\nContent-Length: 16\r\n\r\n"
    assert [status for status, _ in answers(world.send(HEAD + two + BODY))] == [403]


@pytest.mark.parametrize("host", ["203.0.113.5", "10.1.2.3:80", "[2001:db8::1]", "0.0.0.0", "evil.example", "[::1"])  # noqa: S104
def test_a_server_of_this_machine_alone_is_addressed_as_such(world: World, host: str) -> None:
    assert world.get("/healthz", Host=host).status == 421


# Bodies that are small and make much work


@pytest.mark.parametrize("name", [name for name in kept_cases() if name.startswith(("gzip_bomb", "json_"))])
def test_no_body_makes_others_wait(world: World, name: str) -> None:
    started = time.monotonic()
    connections = [world.send(kept_cases()[name]) for _ in range(3)]
    slowest = 0.0
    while time.monotonic() < started + 0.15:
        before = time.monotonic()
        assert world.get("/healthz").status == 200
        slowest = max(slowest, time.monotonic() - before)
    # 50 ms on a machine of its own; what took 8 s, of two million faults each described, is far from this
    assert slowest < 1.0
    for connection in connections:
        connection.settimeout(5)
        status = int(connection.recv(100).split()[1])
        connection.close()
        assert status in ((200,) if name in SOUND else (400, 413, 422)), (name, status)


SOUND = {"json_infinity_", "json_nul_escaped", "json_huge_float", "json_deep_sound", "json_names"}


def test_json_has_a_largest_number_of_values_not_counted_in_its_strings() -> None:
    with serving(limits=Limits(values=50)) as world:
        for body, status in (
            ({"texts": ["a,[{:" * 1000] * 40}, 200),
            ({"texts": ['\\",[' * 100, '\\\\"' * 99, "\\"]}, 200),
            ({"texts": ["a"], "x": [1] * 40}, 200),
            ({"texts": ["a"], "x": [1] * 60}, 413),
            ({"texts": ["a"], "x": [[]] * 60}, 413),
            ({"texts": ["a"], **{str(number): {} for number in range(60)}}, 413),
            (b'{"texts": ["a"], "x": ' + b"[" * 100_000, 400),
        ):
            found = world.post("/v1/score", body)
            assert found.status == status, (body, found.body)
    assert world.metric("requests_total", route="/v1/score", status="413") == 3


def test_a_name_that_stands_twice_is_refused(world: World) -> None:
    found = world.post("/v1/score", b'{"texts":["a"],"texts":["b"]}')
    assert (found.status, found.code) == (400, "not_json")


def test_bodies_that_arrive_together_are_bounded() -> None:
    part = HEAD + b"Content-Length: 50000\r\n\r\n" + b"x" * 40_000
    with serving(limits=Limits(arriving_bytes=100_000, body_seconds=1.0)) as world:
        held = [world.send(part) for _ in range(4)]
        statuses = sorted(int(connection.recv(100).split()[1]) for connection in held)
        assert statuses == [408, 408, 503, 503]
        for connection in held:
            connection.close()
        assert world.post("/v1/score", SCORE).status == 200


# Reload, calibration


class Panic(BaseException):
    """As pyo3's PanicException, which tokenizers and safetensors raise."""


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ModelError("golden rewards differ", where="/a/secret/path"), "ModelError: golden rewards differ"),
        (UserError("two\nlines"), "UserError: two lines"),
        *(
            (kind("a secret text"), kind.__name__)
            for kind in (ValueError, KeyError, OSError, MemoryError, RuntimeError)
        ),
        *((kind("a secret text"), kind.__name__) for kind in (RecursionError, SystemExit, KeyboardInterrupt, Panic)),
        (asyncio.CancelledError(), "CancelledError"),
        (StopIteration("a secret text"), "StopIteration"),
    ],
)
def test_whatever_goes_wrong_in_a_reload_is_409_and_the_old_model_goes_on(error: BaseException, shown: str) -> None:
    def load() -> CountingEngine:
        raise error

    with serving({"m": CountingEngine()}, reload={"m": load}) as world:
        for _ in range(2):
            found = world.post("/v1/models/m/reload", None)
            assert (found.status, found.code) == (409, "reload_refused")
            assert found.json()["error"]["message"].endswith(f"the old model goes on: {shown}")
            assert b"secret" not in found.body
        assert world.post("/v1/score", SCORE).json()["rewards"] == [16.375]
        assert world.get("/readyz").status == 200


@pytest.mark.parametrize("temperature", [1e-320, 1e-300, 1e300, None])
def test_any_temperature_that_is_one_compares(temperature: float | None) -> None:
    with serving({"m": CountingEngine(ModelInfo(identity="m", temperature=temperature))}) as world:
        found = world.post("/v1/compare", {"prompt": "", "responses": ["A", "B", "A"]}).json()
    assert [ranked["index"] for ranked in found["ranking"]] == [1, 0, 2]
    if temperature is not None:
        assert found["preferred"][1][0] == (0.5 if temperature > 1 else 1.0)
        assert sum(ranked["best_probability"] for ranked in found["ranking"]) == pytest.approx(1.0)


# The log


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_it_lost() -> None:
    reading, writing = os.pipe()
    lines: list[bytes] = []
    with os.fdopen(reading, "rb") as reader:
        with os.fdopen(writing, "w") as behind:
            started = time.monotonic()
            with server_log(behind):
                [writer] = [thread for thread in threading.enumerate() if thread.name == "log"]
                for number in range(15_000):
                    log("line", number=number, fill="x" * 100)
                assert time.monotonic() - started < 10.0
            late = threading.Thread(target=lambda: lines.extend(reader))
            late.start()
            writer.join(WAIT)
            assert not writer.is_alive()
        late.join(WAIT)
    found = [json.loads(line) for line in lines]
    lost = sum(line["count"] for line in found if line["event"] == "dropped_lines")
    numbers = [line["number"] for line in found if line["event"] == "line"]
    assert lost > 1000
    assert len(numbers) + lost == 15_000
    assert numbers == sorted(numbers)


def test_what_libraries_write_to_standard_error_goes_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with server_log():
        assert isinstance(sys.stderr, Unhurried)
        sys.stderr.write("a warning\n")
        kept = sys.stderr
    assert sys.stderr is before
    kept.write("after the end\n")
    assert capfd.readouterr().err.splitlines() == ["a warning", "after the end"]


# The process


@contextmanager
def process(folder: Path, *options: str, stderr: Any = None, before: str = "") -> Iterator[tuple[int, Any]]:
    """The server of the fuzz target in a process of its own; its port."""
    file = folder / "log"
    target = Path(__file__).parents[1] / "fuzz" / "http_bytes.py"
    command = [sys.executable, str(target), "--serve", *options]
    with file.open("wb") as stream:
        run = ["sh", "-c", f'{before} exec "$@"', "sh", *command]
        # As under nohup the tests may run, which a child would inherit.
        hearing = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
        found = subprocess.Popen(run, stderr=stderr or stream, preexec_fn=hearing)
    try:
        if stderr is None:
            yield listening(file, found), found
        else:
            line = json.loads(found.stderr.readline())
            yield int(line["url"].rpartition(":")[2]), found
    finally:
        found.kill()
        found.wait()
        if found.stderr is not None:
            found.stderr.close()


def posted(port: int, count: int) -> list[http.client.HTTPConnection]:
    """Requests that the server has read; each waits for the model."""
    found = []
    for number in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
        connection.request(
            "POST", "/v1/score", json.dumps({"texts": [f"t{number}"]}), {"Content-Type": "application/json"}
        )
        found.append(connection)
    watch = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    running = b""
    while f"rewardsmith_requests_running {count + 1}.0".encode() not in running:
        watch.request("GET", "/metrics")
        running = watch.getresponse().read()
    watch.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_loses_no_request(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path, "--delay", "0.5") as (port, server):
        waiting = posted(port, 6)
        server.send_signal(number)
        for index, connection in enumerate(waiting):
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["rewards"]) == (200, [reward_of(f"t{index}")])
            connection.close()
        assert server.wait(WAIT) == 0


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    with process(tmp_path, before="trap '' HUP;") as (port, server):
        server.send_signal(signal.SIGHUP)
        [connection] = posted(port, 1)
        assert connection.getresponse().status == 200
        connection.close()
        assert server.poll() is None


def test_a_second_interrupt_ends_at_once_and_says_so(tmp_path: Path) -> None:
    with process(tmp_path, "--delay", "2.5") as (port, server):
        waiting = posted(port, 6)
        server.send_signal(signal.SIGINT)
        file = tmp_path / "log"
        while "draining" not in file.read_text():
            time.sleep(0.01)
        server.send_signal(signal.SIGINT)
        started = time.monotonic()
        for connection in waiting:
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "stopping")
            assert answer.getheader("connection") == "close"
            connection.close()
        assert time.monotonic() - started < 2.0
        assert server.wait(WAIT) == 0
    assert not [line for line in file.read_text().splitlines() if json.loads(line)["level"] == "error"]


def test_a_log_that_is_never_read_freezes_no_request(tmp_path: Path) -> None:
    with process(tmp_path, stderr=subprocess.PIPE) as (port, server):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
        for _ in range(1500):  # some 250 bytes each, and a pipe takes 64 KiB
            connection.request("GET", "/" + "x" * 50)
            assert connection.getresponse().read()
        connection.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT) == 0


# Everything at once


def test_fuzzed_bytes_do_no_harm() -> None:
    """The kept cases and what a seed makes of them for some seconds; `make fuzz-http` has twenty minutes of it."""
    seen = fuzz(seconds=12.0, seed=20261129)
    assert seen.problems == []
    assert seen.sent >= len(kept_cases())
    assert {"200", "400", "403", "413", "415", "421", "422", "431"} <= set(seen.statuses)
    assert seen.peak_bytes > seen.start_bytes > 0


def test_the_fuzzer_sees_what_it_looks_for() -> None:
    from fuzz.http_bytes import complaints

    assert complaints('{"level": "info", "event": "request"}\n{"level": "error", "event": "reload_refused"}') == []
    for line in (
        "Traceback (most recent call last):",
        '{"level": "error", "event": "error"}',
        '{"level": "warning", "event": "asyncio"}',
    ):
        assert len(complaints(line)) == 1
    bomb = gzip.decompress(kept_cases()["gzip_bomb_ones"].partition(b"\r\n\r\n")[2])
    assert (len(bomb), bomb[:6]) == (4 * 2**20 - 1, b"[1,1,1")


def test_a_client_that_resets_while_it_is_refused_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the fuzzer: where the end of the refusal failed, the connection stayed, unread, for ever."""

    def not_connected(_: Any) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    with serving() as world:
        monkeypatch.setattr("asyncio.selector_events._SelectorSocketTransport.write_eof", not_connected)
        connection = world.send(request_bytes("/v1/score", SCORE) + b"junk\r\n\r\n")
        connection.settimeout(8.0)
        assert [status for status, _ in answers(connection)] == [
            200,
            400,
        ]  # and the end, after the time that it lingers
        assert len(connections(world)) == 0
