"""A reward server as a scorer, against the real server: order, sizes, missing rewards, tokens, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from serving_world import TOKEN, CountingEngine, World, chat, reward_of, serving

from rewardsmith.errors import ModelError
from rewardsmith.protocols import Scorer
from rewardsmith.scoring import remote
from rewardsmith.scoring.ensemble import Scale
from rewardsmith.scoring.remote import RemoteScorer
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.serving.limits import Limits
from rewardsmith.types import Message


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDSMITH_TOKEN", raising=False)


def scorer(world: World, path: str = "", user: str = "", **options: Any) -> RemoteScorer:
    return RemoteScorer(f"http://{user}{world.host}:{world.port}{path}", patience=0.0, **options)


def test_rewards_come_back_in_input_order_whatever_the_kind_of_text() -> None:
    conversations = [
        chat("Say red.", "red"),
        (Message("text", "plain "), Message("text", "text")),
        chat("Say red.", "REFUSE"),
        chat("", "🙂"),
    ]
    seen: list[tuple[int, int]] = []
    with serving() as world:
        found = scorer(world)
        rewards = found.score(conversations, lambda done, total: seen.append((done, total)))
        assert isinstance(found, Scorer)
        assert found.score([]).shape == (0,)
    np.testing.assert_array_equal(rewards, [reward_of("Say red.red"), reward_of("plain text"), np.nan, reward_of("🙂")])
    assert found.missing == {"template_refused": 1}
    assert seen == [(3, 4), (4, 4)]


def test_a_long_list_travels_in_several_requests_and_a_refused_one_is_halved() -> None:
    conversations = [chat("", "x" * (index % 7 + 1)) for index in range(300)]
    wanted = [reward_of("x" * (index % 7 + 1)) for index in range(300)]
    for limits in (Limits(), Limits(items=5), Limits(body_bytes=2048)):
        with serving(limits=limits) as world:
            assert scorer(world).score(conversations).tolist() == wanted


def test_a_text_beyond_a_limit_has_no_reward_and_the_others_do() -> None:
    conversations = [chat("", "short"), chat("", "x" * 5000), chat("", "also")]
    for limits, reason in ((Limits(characters=1000), "text_too_long"), (Limits(body_bytes=2048), "body_too_large")):
        with serving(limits=limits) as world:
            found = scorer(world)
            np.testing.assert_array_equal(found.score(conversations), [reward_of("short"), np.nan, reward_of("also")])
            assert found.missing == {reason: 1}


def test_the_token_comes_from_the_argument_the_url_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(token=TOKEN) as world:
        with pytest.raises(ModelError, match=r"refuses the token") as refused:
            scorer(world, token="a-wrong-token-of-16").score([chat("", "a")])
        assert "a-wrong-token" not in str(refused.value)
        assert scorer(world, token=TOKEN).score([chat("", "a")]).tolist() == [reward_of("a")]
        by_url = scorer(world, user=f"any:{TOKEN}@")
        assert by_url.score([chat("", "a")]).tolist() == [reward_of("a")]
        assert TOKEN not in by_url.url
        monkeypatch.setenv("REWARDSMITH_TOKEN", TOKEN)
        assert scorer(world).score([chat("", "a")]).tolist() == [reward_of("a")]


def test_one_of_several_models_is_named_by_the_address() -> None:
    info = ModelInfo(identity="second", reward_mean=1.5, reward_std=2.0, temperature=0.7, max_length=99)
    engines = {"first": CountingEngine(), "second": CountingEngine(info, shift=1.0)}
    with serving(engines) as world:
        named = scorer(world, "/models/second/")
        assert named.score([chat("", "a")]).tolist() == [reward_of("a") + 1]
        said = named.describe()
        assert (said.name, said.identity, said.scale, said.max_length) == ("second", "second", Scale(1.5, 2.0, 0.7), 99)
        with pytest.raises(ModelError, match="serves 2 models"):
            scorer(world).describe()
        with pytest.raises(ModelError, match="422 model_missing"):
            scorer(world).score([chat("", "a")])
        with pytest.raises(ModelError, match="404 unknown_model"):
            scorer(world, "/models/third").score([chat("", "a")])


def test_a_model_that_breaks_is_an_error_and_not_a_missing_reward() -> None:
    with serving() as world, pytest.raises(ModelError, match="500 model_failed") as failed:
        scorer(world).score([chat("", "BREAK")])
    assert f"http://{world.host}:{world.port}" in str(failed.value)


def test_nobody_there_is_said_after_the_patience() -> None:
    with serving() as world:
        gone = scorer(world)
    with pytest.raises(ModelError, match=r"no answer: .*refused"):
        gone.score([chat("", "a")])


def test_waiting_for_a_server_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with serving() as world:
        gone = RemoteScorer(f"http://{world.host}:{world.port}", patience=1.0, sleep=waits.append)
    monkeypatch.setattr("rewardsmith.scoring.connection.time", SimpleNamespace(monotonic=lambda: sum(waits)))
    for _ in range(2):
        with pytest.raises(ModelError, match=r"no answer: .*refused"):
            gone.score([chat("", "a")])
    assert waits == [0.25, 0.5, 0.25, 0.5]
    said = [record.message for record in caplog.records]
    assert said == [f"note: {gone.url}: Connection refused; it is asked again for up to 1 seconds"]


def answers(said: bytes) -> Any:
    """A server that says this whatever it is asked, once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with listener, peer:
            peer.recv(4096)
            peer.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


@pytest.mark.parametrize(
    ("scheme", "said", "fix"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "write http:// where the server has no TLS"),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "correct the port"),
        ("http", b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n", "correct the port"),
    ],
)
def test_what_waiting_does_not_cure_is_said_at_once(scheme: str, said: bytes, fix: str) -> None:
    port, thread = answers(said)
    waits: list[float] = []
    with pytest.raises(ModelError, match="no answer: ") as refused:
        RemoteScorer(f"{scheme}://127.0.0.1:{port}", sleep=waits.append).score([chat("", "a")])
    thread.join()
    assert waits == []
    assert fix in str(refused.value)


@contextmanager
def scripted(*replies: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers in turn, and what it was sent."""
    waiting, seen = list(replies), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, body = waiting.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


GOOD = (200, {}, json.dumps({"rewards": [1.25], "reasons": [""]}).encode())


def test_a_full_server_is_asked_again_when_it_says() -> None:
    waits: list[float] = []
    full = (503, {"Retry-After": "7"}, b"{}")
    with scripted(full, (503, {"Retry-After": "soon"}, b""), GOOD) as (url, seen):
        patient = RemoteScorer(url, sleep=waits.append)
        assert patient.score([chat("", "a")]).tolist() == [1.25]
    assert (waits[0], len(waits), len(seen)) == (7.0, 2, 3)
    with scripted(full) as (url, _), pytest.raises(ModelError, match="the server answers 503"):
        RemoteScorer(url, patience=1.0, sleep=waits.append).score([chat("", "a")])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, {}, b"<html>"), "the server answers 200"),
        ((200, {}, b'{"rewards": [1, 2]}'), "not one reward for each conversation"),
        ((302, {"Location": "http://192.0.2.1/"}, b""), "the server answers 302"),
        ((307, {"Location": "http://192.0.2.1/"}, b""), "the server answers 307; redirects are not followed"),
        ((500, {}, b'{"error": {"code": "x", "message": "y"}}'), "answers 500 x: y"),
        ((200, {}, b"[" * 100_000), "the server answers 200"),
        ((200, {}, b'{"rewards": [' + b"9" * 400 + b"]}"), "the server answers 200"),
        *(
            ((200, {}, b'{"rewards": [' + reward + b"]}"), "a reward that is no finite number")
            for reward in (b"NaN", b"-Infinity", b"1e999", b'"1"', b"true", b"[1]", b"{}")
        ),
    ],
)
def test_another_kind_of_server_is_an_error(reply: Any, message: str) -> None:
    with scripted(reply) as (url, _), pytest.raises(ModelError, match=message):
        RemoteScorer(url, patience=0.0).score([chat("", "a")])


def test_reasons_that_do_not_fit_the_rewards_are_unknown() -> None:
    for reasons in (b"[]", b"null", b'{"a": 1}'):
        with scripted((200, {}, b'{"rewards": [null], "reasons": ' + reasons + b"}")) as (url, _):
            found = RemoteScorer(url, patience=0.0)
            assert np.isnan(found.score([chat("", "a")])).tolist() == [True]
        assert found.missing == {"unknown": 1}


@pytest.mark.parametrize("asked", ["nan", "inf", "-5", "1e999"])
def test_no_wait_that_a_server_asks_for_makes_a_loop_without_end(asked: str) -> None:
    waits: list[float] = []
    with scripted((503, {"Retry-After": asked}, b"{}"), GOOD) as (url, _):
        patient = RemoteScorer(url, patience=1.0, sleep=waits.append)
        if asked in ("inf", "1e999"):
            with pytest.raises(ModelError, match="the server answers 503"):
                patient.score([chat("", "a")])
        else:
            assert patient.score([chat("", "a")]).tolist() == [1.25]
    assert waits == {"nan": [0.25], "-5": [0.0]}.get(asked, [])


@pytest.mark.parametrize("value", [f"{TOKEN}\n{TOKEN}", f"{TOKEN}é", f"{TOKEN} x", f"{TOKEN}\x00"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    if "\x00" not in value:  # no environment holds it
        monkeypatch.setenv("REWARDSMITH_TOKEN", value)
    with pytest.raises(ModelError, match="the token holds a space, a line end or others") as refused:
        RemoteScorer("http://127.0.0.1:1", token=value if "\x00" in value else None)
    assert TOKEN not in str(refused.value)
    assert refused.value.where == "$REWARDSMITH_TOKEN"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://host",
            "http://",
            "http://h:99999",
            "http://any:SECRET@h:1/?q=1",
            "http://any:SECRET@[::1",
            "http://a..b",
        ),
        *("http://any:SECRET@h:x", "http://any:SECRET@h h", "http://h/é", "http://h\n", f"http://{'a' * 64}"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(ModelError, match="no address of a server") as refused:
        RemoteScorer(url)
    assert "SECRET" not in str(refused.value)


def test_requests_stay_within_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_CHARACTERS", 10)
    conversations = [chat("", "x" * length) for length in (4, 4, 4, 20, 1)]
    assert list(remote._chunks(conversations)) == [[0, 1], [2], [3], [4]]
