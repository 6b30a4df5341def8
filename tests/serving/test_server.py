"""The server over real sockets: who may ask, what is accepted, who leaves, what is counted, reload, drain."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import logging
import socket
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from checkpoint_maker import make_checkpoint
from prometheus_client.parser import text_string_to_metric_families
from serving_world import TOKEN, WAIT, CountingEngine, World, request_bytes, reward_of, serving

from rewardsmith.errors import ModelError
from rewardsmith.scoring import LocalScorer
from rewardsmith.serving.dialects import DIALECTS
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.logs import JsonLines
from rewardsmith.serving.queue import QueueSettings
from rewardsmith.serving.server import bind

SCORE = {"texts": ["AB"]}
OPEN = ("/healthz", "/readyz")
CLOSED = [
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/counting"),
    ("POST", "/v1/models/counting/reload"),
    ("GET", "/nothing/here"),
    ("DELETE", "/v1/score"),
    *(("POST", prefix + dialect.path) for dialect in DIALECTS.values() for prefix in ("", "/models/counting")),
]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with serving() as world:
        yield world


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    with serving(token=TOKEN) as world:
        yield world


# Who may ask


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_every_route_but_health_needs_the_token(locked: World, method: str, path: str) -> None:
    for given in ("-", "Bearer wrong", "Bearer ", "Basic !!", basic("a", "b"), "Token " + TOKEN, TOKEN):
        found = locked.call(method, path, SCORE if method == "POST" else None, Authorization=given)
        assert (found.status, found.code) == (401, "unauthorized"), given
        assert "Basic" in found.headers["www-authenticate"]


@pytest.mark.parametrize("path", OPEN)
def test_health_needs_none(locked: World, path: str) -> None:
    assert locked.get(path, Authorization="-").status == 200


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("any", TOKEN), basic(TOKEN, "")])
def test_the_token_comes_as_bearer_or_in_the_urls_userinfo(locked: World, given: str) -> None:
    found = locked.post("/get_reward", {"query": ["AB"]}, Authorization=given)
    assert found.json()["rewards"] == [16.375]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "a@localhost", "local host", "-"]
)
def test_names_of_other_sites_are_refused_before_anything_else(locked: World, host: str) -> None:
    connection = http.client.HTTPConnection(locked.host, locked.port, timeout=WAIT)
    connection.putrequest("GET", "/healthz", skip_host=True)
    if host != "-":
        connection.putheader("Host", host)
    connection.endheaders()
    assert 400 <= connection.getresponse().status < 500
    connection.close()


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:1", "[::1]:8000", "LOCALHOST."])
def test_addresses_of_this_machine_and_localhost_are_ours(world: World, host: str) -> None:
    assert world.get("/healthz", Host=host).status == 200


def test_a_name_that_is_allowed_is_ours_and_pages_of_other_sites_are_not() -> None:
    with serving(hosts=frozenset({"rm.internal"})) as world:
        assert world.get("/v1/models", Host="rm.internal:5000").status == 200
        assert world.get("/v1/models", Host="other.internal").status == 421
        assert world.post("/v1/score", SCORE, Origin="http://rm.internal").status == 200
        for origin in ("https://evil.example", "null"):
            assert world.post("/v1/score", SCORE, Origin=origin).status == 403


# What is accepted


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "unknown_path"),
        ("GET", "/v1/score", 405, "unknown_method"),
        ("PUT", "/healthz", 405, "unknown_method"),
        ("POST", "/models/other/v1/score", 404, "unknown_model"),
        ("POST", "/models/..%2F..%2Fetc%2Fpasswd/v1/score", 404, "unknown_path"),
        ("POST", "/models/counting/etc/passwd", 404, "unknown_path"),
        ("GET", "/v1/models/other", 404, "unknown_model"),
        ("POST", "/v1/models//etc/passwd/reload", 404, "unknown_path"),
        ("POST", "/v1/models/..%2Fsecret/reload", 404, "unknown_path"),
    ],
)
def test_what_is_not_there(world: World, method: str, path: str, status: int, code: str) -> None:
    found = world.call(method, path, SCORE if method == "POST" else None)
    assert (found.status, found.code) == (status, code)
    if status == 405:
        assert found.headers["allow"] in ("GET", "POST")


@pytest.mark.parametrize("name", ["other", "/etc/passwd", "../model", "", "org/model"])
def test_a_name_in_the_request_is_never_a_path(world: World, name: str) -> None:
    found = world.post("/v1/score", {**SCORE, "model": name})
    assert (found.status, found.code) == (404, "unknown_model")
    assert found.json()["error"]["fix"].startswith("name one of counting")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"texts": ["\xff"]}', 400),
        (b'{"texts": ["\\ud800"]}', 400),
        (b'{"texts": [NaN]}', 400),
        (b"[" * 100_000, 400),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"texts": {"a": 1}}', 422),
        (b"1e999", 422),
    ],
)
def test_malformed_bodies_are_the_clients_fault(world: World, body: bytes, status: int) -> None:
    assert world.post("/v1/score", body).status == status


def test_only_json_is_read(world: World) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert world.post("/v1/score", SCORE, Content_Type=kind).status == 415
    assert world.post("/v1/score", SCORE, Content_Type="application/json; charset=utf-8").status == 200
    assert world.post("/v1/score", SCORE, Content_Encoding="br").status == 415


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_read(world: World, encoding: str, pack: Any) -> None:
    found = world.post("/v1/score", pack(json.dumps(SCORE).encode()), Content_Encoding=encoding)
    assert found.json()["rewards"] == [16.375]
    damaged = pack(json.dumps(SCORE).encode())
    for body in (damaged[:-3], damaged + b"more", b"no", b""):
        assert world.post("/v1/score", body, Content_Encoding=encoding).status == 400


@pytest.fixture(scope="module")
def small() -> Iterator[World]:
    limits = Limits(body_bytes=1000, items=3, characters=50, body_seconds=0.2)
    with serving(limits=limits) as world:
        yield world


def test_each_limit_says_which_it_is(small: World) -> None:
    fits = {"texts": ["a" * 50, "b", "c"]}
    assert small.post("/v1/score", fits).status == 200
    wanted = {
        ("body_bytes", 1000): (413, {"texts": ["a" * 1000]}),
        ("items", 3): (422, {"texts": ["a"] * 4}),
        ("characters", 50): (422, {"texts": ["a", "b" * 51]}),
    }
    for (name, value), (status, body) in wanted.items():
        found = small.post("/v1/score", body)
        assert (found.status, found.json()["error"]["limit"]) == (status, {"name": name, "value": value})


def test_a_body_is_limited_as_it_comes_and_after_decompression(small: World) -> None:
    bomb = gzip.compress(b"a" * 10_000_000)[:]
    found = small.post(
        "/v1/score", gzip.compress(json.dumps({"texts": ["a" * 2000]}).encode()), Content_Encoding="gzip"
    )
    assert (found.status, found.code) == (413, "body_too_large")
    assert len(bomb) > 1000
    assert small.post("/v1/score", bomb, Content_Encoding="gzip").status == 413
    chunks = b"".join(b"64\r\n" + b"a" * 100 + b"\r\n" for _ in range(30)) + b"0\r\n\r\n"
    head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    assert first_line(small.send(head + chunks)).startswith("HTTP/1.1 413")


def test_a_declared_body_over_the_limit_is_not_waited_for(small: World) -> None:
    head = (
        b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n"
    )
    assert first_line(small.send(head + b"Expect: 100-continue\r\n\r\n")).startswith("HTTP/1.1 413")


def test_a_slow_sender_is_told_so(small: World) -> None:
    whole = request_bytes("/v1/score", SCORE)
    assert first_line(small.send(whole[:-5])).startswith("HTTP/1.1 408")


def test_a_strangers_body_is_not_kept(locked: World) -> None:
    found = locked.post("/v1/score", b"x" * 3_000_000, Authorization="-")
    assert found.status == 401


def first_line(connection: socket.socket) -> str:
    with connection, connection.makefile("rb") as stream:
        return stream.readline().decode()


# Several models


def test_each_model_by_its_name_and_none_by_chance() -> None:
    engines = {"one": CountingEngine(), "two": CountingEngine(ModelInfo(identity="2"), shift=1.0)}
    with serving(engines) as world:
        assert world.post("/v1/score", {**SCORE, "model": "two"}).json()["rewards"] == [17.375]
        assert world.post("/models/two/get_reward", {"query": ["AB"]}).json()["rewards"] == [17.375]
        assert world.post("/models/one/slime", {"prompt": "A", "response": "B"}).json() == 16.375
        # The name in the path counts, whatever stands in the body: verl sends a path there.
        named = world.post("/models/two/v1/embeddings", {"model": "/data/rm", "input": "AB"}).json()
        assert named["data"][0]["embedding"] == [17.375]
        for path, body in {"/v1/score": SCORE, "/get_reward": {"query": ["AB"]}}.items():
            found = world.post(path, body)
            assert (found.status, found.code) == (422, "model_missing")
        assert [card["id"] for card in world.get("/v1/models").json()["data"]] == ["one", "two"]


def test_a_reload_changes_the_rewards_and_drops_nobody() -> None:
    old, new = CountingEngine(), CountingEngine(ModelInfo(identity="new", reward_mean=1.0, reward_std=2.0), shift=1.0)
    loading, loaded = threading.Event(), threading.Event()

    def load() -> CountingEngine:
        loading.set()
        assert loaded.wait(WAIT)
        return new

    with serving({"m": old}, reload={"m": load}) as world, ThreadPoolExecutor(8) as clients:
        old.gate.clear()
        accepted = [clients.submit(world.post, "/v1/score", {"texts": [f"t{index}"]}) for index in range(4)]
        assert old.entered.wait(WAIT)
        reload = clients.submit(world.post, "/v1/models/m/reload", None)
        assert loading.wait(WAIT)
        again = world.post("/v1/models/m/reload", None)
        assert (again.status, again.code) == (409, "reload_under_way")
        loaded.set()
        assert (reload.result().status, reload.result().json()["identity"]) == (200, "new")
        old.gate.set()
        for index, found in enumerate(accepted):
            assert found.result().status == 200
            reward = reward_of(f"t{index}") + (0.0 if found.result().json()["identity"] == "counting" else 1.0)
            assert found.result().json()["rewards"] == [reward]
        after = world.post("/v1/score", SCORE)
        assert after.json()["rewards"] == [17.375]
        assert after.headers["x-rewardsmith-model"] == "m new"
        assert world.metric("reward_reference_std", model="m") == 2.0


def test_a_reload_that_cannot_be_used_leaves_the_old_model() -> None:
    def load() -> CountingEngine:
        raise ModelError("golden rewards differ", where="somewhere secret", fix="restore it")

    with serving({"m": CountingEngine(), "fixed": CountingEngine()}, reload={"m": load}) as world:
        refused = world.post("/v1/models/m/reload", None)
        assert (refused.status, refused.code) == (409, "reload_refused")
        assert b"secret" not in refused.body
        assert world.post("/v1/models/fixed/reload", None).code == "not_reloadable"
        assert world.post("/models/m/v1/score", SCORE).json()["rewards"] == [16.375]


def test_a_checkpoint_whose_rewards_are_nan_does_not_replace_a_healthy_one(tiny_base: Path, tmp_path: Path) -> None:
    """Seen: the golden check let NaN pass, every request was 500 from then on, and /readyz said 200."""
    folder = make_checkpoint(tmp_path / "model", tiny_base)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"rms_norm_eps": float("nan")}))

    def load() -> CountingEngine:
        LocalScorer.load(folder)
        return CountingEngine(shift=float("nan"))

    with serving({"m": CountingEngine()}, reload={"m": load}) as world:
        refused = world.post("/v1/models/m/reload", None)
        assert (refused.status, refused.code) == (409, "reload_refused")
        assert world.get("/readyz").status == 200
        assert world.post("/v1/score", SCORE).json()["rewards"] == [16.375]


# Load, and who leaves


def test_beyond_the_queue_it_is_503_with_retry_after_but_openrlhf_waits() -> None:
    engine = CountingEngine()
    with serving({"m": engine}, queue=QueueSettings(items=2)) as world, ThreadPoolExecutor(8) as clients:
        engine.gate.clear()
        first = clients.submit(world.post, "/v1/score", {"texts": ["a"]})
        assert engine.entered.wait(WAIT)
        second = clients.submit(world.post, "/v1/score", {"texts": ["b"]})
        until(lambda: world.metric("queue_conversations", model="m") == 2)
        refused = world.post("/v1/score", {"texts": ["c"]})
        assert (refused.status, refused.code) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        patient = [clients.submit(world.post, "/get_reward", {"query": [text]}) for text in "def"]
        until(lambda: world.metric("queue_requests_before", model="m") == 3)
        assert world.get("/healthz").status == 200
        engine.gate.set()
        assert [one.result().status for one in (first, second, *patient)] == [200] * 5
        assert [one.result().json()["rewards"] for one in patient] == [[reward_of(text)] for text in "def"]
        assert world.metric("dropped_requests_total", reason="queue_full") == 1


def test_a_deadline_is_503() -> None:
    engine = CountingEngine()
    with serving({"m": engine}, limits=Limits(seconds=0.05)) as world:
        engine.gate.clear()
        found = world.post("/v1/score", SCORE)
        engine.gate.set()
        assert (found.status, found.code) == (503, "deadline")
        assert "retry-after" in found.headers


def test_a_client_that_leaves_takes_its_texts_out_of_the_queue() -> None:
    engine = CountingEngine()
    with serving({"m": engine}) as world, ThreadPoolExecutor(2) as clients:
        engine.gate.clear()
        first = clients.submit(world.post, "/v1/score", {"texts": ["first"]})
        assert engine.entered.wait(WAIT)
        leaving = world.send(request_bytes("/v1/score", {"texts": ["gone"]}))
        until(lambda: world.metric("queue_conversations", model="m") == 2)
        leaving.close()
        until(lambda: world.metric("queue_conversations", model="m") == 1)
        engine.gate.set()
        assert first.result().status == 200
        assert engine.batches == [["first"]]
        assert world.metric("dropped_requests_total", reason="disconnect") == 1


def test_answers_are_sent_at_once() -> None:
    with closing(bind("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio looks at before it sets TCP_NODELAY


def test_two_hosts_are_none(world: World) -> None:
    raw = b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n"
    assert first_line(world.send(raw)).startswith("HTTP/1.1 400")


def test_one_connection_carries_many_requests_also_sent_ahead(world: World) -> None:
    raw = request_bytes("/slime", {"prompt": "A", "response": "B"}) + request_bytes(
        "/slime", {"prompt": "", "response": "C"}, "Connection: close"
    )
    with world.send(raw) as connection, connection.makefile("rb") as stream:
        answer = stream.read()
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b"16.375") < answer.index(b"8.375")


def test_a_model_that_fails_is_500_without_the_text(world: World) -> None:
    for text, kind in (("BREAK", "ValueError"), ("NAN", "not_finite")):
        found = world.post("/v1/score", {"texts": ["fine", text]})
        assert (found.status, found.code) == (500, "model_failed")
        assert kind in found.json()["error"]["message"]
    assert world.post("/v1/score", SCORE).status == 200


def until(true: Any) -> None:
    """Ask again until it holds; the server's own thread makes it so."""
    ticks = threading.Event()
    for _ in range(WAIT * 200):
        if true():
            return
        ticks.wait(0.005)
    pytest.fail("it never came to hold")


# What is counted and logged


def test_metrics_are_prometheus_and_the_drift_is_measured_from_the_reference() -> None:
    info = ModelInfo(identity="m", reward_mean=10.0, reward_std=4.0)
    with serving({"m": CountingEngine(info)}) as world:
        world.post("/v1/score", {"texts": ["AB", "C"]})  # 16.375 and 8.375: mean 12.375, std 4
        world.post("/models/m/v1/score", {"texts": []})
        found = world.get("/metrics")
        families = {family.name: family for family in text_string_to_metric_families(found.body.decode())}
        assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert world.metric("requests_total", route="/v1/score", status="200") == 1
        assert world.metric("requests_total", route="/models/{name}/v1/score", status="422") == 1
        assert world.metric("request_seconds_count", route="/v1/score") == 1
        assert world.metric("batch_conversations_sum", model="m") == 2
        assert world.metric("tokens_received_total", model="m") == 3
        assert (world.metric("reward_mean", model="m"), world.metric("reward_std", model="m")) == (12.375, 4.0)
        assert world.metric("reward_drift", model="m") == pytest.approx((12.375 - 10) / 4)
    assert {"rewardsmith_queue_conversations", "rewardsmith_batch_tokens", "rewardsmith_reward_drift"} <= set(families)


def test_the_log_is_json_and_holds_no_text_and_no_token() -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    logger = logging.getLogger("rewardsmith.serving")
    logger.addHandler(keep := Keep())
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with serving(token=TOKEN) as world:
            secret = "a secret of the client"
            world.post("/v1/score", {"texts": [secret]})
            world.post("/v1/score", {"texts": [secret + "BREAK"]})
            world.post("/v1/score", {"texts": [1, secret]})
            world.post("/v1/score", {"texts": [secret], "model": secret})
            world.get(f"/{secret.replace(' ', '')}?q={secret.replace(' ', '')}")
            world.get("/healthz")
    finally:
        logger.removeHandler(keep)
        logger.setLevel(level)
    parsed = [json.loads(line) for line in lines]
    requests = [line for line in parsed if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [
        ("/v1/score", 200),
        ("/v1/score", 500),
        ("/v1/score", 422),
        ("/v1/score", 404),
        ("unknown", 404),
    ]
    assert (requests[0]["conversations"], requests[0]["model"]) == (1, "counting")
    [failed] = [line for line in parsed if line["event"] == "model_failed"]
    assert failed["error"] == "ValueError"
    assert failed["at"][-1].startswith("serving_world.py:")
    assert failed["at"][-1].endswith(" score")
    assert not any("secret" in line or TOKEN in line for line in lines)


# The end


def test_ready_says_when_it_drains_and_what_was_accepted_is_answered() -> None:
    engine = CountingEngine()
    with serving({"m": engine}) as world, ThreadPoolExecutor(8) as clients:
        assert world.get("/readyz").json() == {"status": "ready"}
        kept = http.client.HTTPConnection(world.host, world.port, timeout=WAIT)
        engine.gate.clear()
        accepted = [clients.submit(world.post, "/v1/score", {"texts": [f"t{index}"]}) for index in range(6)]
        until(lambda: world.metric("queue_conversations", model="m") == 6)
        world.server._state.reason = "draining"
        kept.request("GET", "/readyz")
        ready = kept.getresponse()
        assert (ready.status, json.loads(ready.read())) == (503, {"status": "draining"})
        kept.close()
        world.server.stop()
        engine.gate.set()
        assert [one.result().status for one in accepted] == [200] * 6
        assert [one.result().json()["rewards"] for one in accepted] == [[reward_of(f"t{index}")] for index in range(6)]
