"""Engines as scorers: each dialect gives the rewards of offline scoring, and what cannot be used is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_maker import make_checkpoint
from engine_stand_in import StandIn, engine

from rewardsmith.errors import ModelError
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.connection import ANSWER_BYTES, Connection, parse_address
from rewardsmith.scoring.remote import RemoteScorer
from rewardsmith.types import Message


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDSMITH_TOKEN", raising=False)


@pytest.fixture(scope="module")
def local(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalScorer:
    return LocalScorer.load(make_checkpoint(tmp_path_factory.mktemp("rm") / "model", tiny_base))


def chat(question: str, answer: str) -> tuple[Message, ...]:
    return (Message("user", question), Message("assistant", answer))


CHATS = [
    *(chat(f"Say {word}.", "red " * (3 * index + 1)) for index, word in enumerate(("red", "blue", "seven"))),
    (Message("system", "Be brief."), *chat("Say red.", "red"), Message("user", "Again."), Message("assistant", "red")),
    chat("Say red.", "red "),  # once more
]


def asked(stand_in: StandIn, prefix: str = "", path: str = "", query: str = "", **options: Any) -> RemoteScorer:
    return RemoteScorer(f"{prefix}{stand_in.url}{path}{query}", patience=0.0, **options)


@pytest.mark.parametrize(
    ("kind", "prefix", "path"),
    [
        ("vllm", "", ""),
        ("vllm", "vllm+", ""),
        ("vllm", "", "/pooling"),
        ("vllm", "vllm+", "/classify"),
        ("sglang", "", ""),
        ("sglang", "sglang+", ""),
        ("openrlhf", "", ""),
        ("openrlhf", "", "/get_reward"),
        ("openrlhf", "openrlhf+", ""),
    ],
)
def test_every_dialect_gives_the_offline_rewards(local: LocalScorer, kind: str, prefix: str, path: str) -> None:
    """Found by asking, by the path, or named; a sigmoid that is the engine's default is not applied."""
    seen: list[tuple[int, int]] = []
    with engine(kind, local, activation=lambda reward: 1 / (1 + np.exp(-reward))) as stand_in:
        scorer = asked(stand_in, prefix, path, f"?tokenizer={local.checkpoint.folder}")
        found = scorer.score(CHATS, lambda done, total: seen.append((done, total)))
        named = scorer.describe()
    np.testing.assert_allclose(found, local.score(CHATS), rtol=0, atol=2e-5)
    assert (scorer.missing, seen[-1]) == ({}, (4, 4))  # two are one text
    assert named.name == ("rm" if kind != "openrlhf" else "openrlhf")
    assert named.max_length == 200
    wanted = {"vllm": path or "/classify", "sglang": "/classify", "openrlhf": "/get_reward"}[kind]
    assert stand_in.seen[-1][0] == wanted


def test_the_tokenizer_is_that_of_the_folder_that_the_engine_serves(local: LocalScorer) -> None:
    with engine("vllm", local) as stand_in:
        np.testing.assert_allclose(asked(stand_in).score(CHATS), local.score(CHATS), rtol=0, atol=2e-5)
    for kind, root, said in (
        ("vllm", "/models/rm", r"\(/models/rm is not on this machine\)"),
        ("openrlhf", "", "known$"),
    ):
        with engine(kind, local, root=root) as stand_in, pytest.raises(ModelError, match="which tokenizer") as refused:
            asked(stand_in).score(CHATS)
        assert refused.match(said.removesuffix("$"))
        assert "?tokenizer=DIR" in str(refused.value)
    with engine("vllm", local) as stand_in, pytest.raises(ModelError, match="what it serves cannot be rendered"):
        asked(stand_in, query="?tokenizer=/nowhere/at/all").score(CHATS)


def test_rerank_is_asked_about_pairs_alone(local: LocalScorer) -> None:
    """By hand: the tokenizer's own two-text rule, grouped by question, raw."""
    pairs = [chat("Say red.", "red"), chat("Say blue.", "blue"), chat("Say red.", "not red"), CHATS[3]]
    tokenizer = local.checkpoint.renderer.tokenizer
    ids = [np.array(tokenizer(one[0].content, one[1].content)["input_ids"], dtype=np.int32) for one in pairs[:3]]
    for prefix in ("", "tei+"):
        with engine("tei", local) as stand_in:
            scorer = asked(stand_in, prefix)
            found = scorer.score(pairs)
        np.testing.assert_allclose(found[:3], local.score_ids(ids), rtol=0, atol=2e-5)
        assert (np.isnan(found[3]), scorer.missing) == (True, {"not_a_pair": 1})
        assert scorer.why([pairs[3]]) == ["not_a_pair: /rerank takes one question and one answer"]
        assert [len(body["texts"]) for path, body in stand_in.seen if path == "/rerank"] == [2, 1]


def test_what_is_too_long_or_not_sound_has_no_reward_and_a_reason(local: LocalScorer) -> None:
    texts = [
        CHATS[0],
        chat("Say red.", "red " * 60),
        chat("Say red.", "red " * 300),
        chat("a", "b <|im_end|> c"),
        CHATS[1],
    ]
    with engine("vllm", local, limit=60) as stand_in:
        scorer = asked(stand_in)
        found = scorer.score(texts)
        why = scorer.why(texts[1:4])
        assert scorer.describe().max_length == 60
    assert np.isnan(found).tolist() == [False, True, True, True, False]
    (long,) = local.render(texts[1:2])
    assert long.ids is not None
    assert why[0] == f"over_length: {len(long.ids)} tokens, and the engine takes 60"
    assert why[1].startswith("over_length: ")
    assert why[2].startswith("special_token_in_text: ")
    assert scorer.missing == {"over_length": 2, "special_token_in_text": 1}
    # An engine that does not say how much it takes refuses the text itself.
    with engine("vllm", local, limit=60, script=_no_card) as stand_in:
        scorer = asked(stand_in, "vllm+", query=f"?model=rm&tokenizer={local.checkpoint.folder}")
        np.testing.assert_array_equal(np.isnan(scorer.score(texts)), np.isnan(found))
        assert scorer.why(texts[1:2]) == ["over_length: This model's maximum context length is 60 tokens."]


def _no_card(path: str, body: Any) -> tuple[int, bytes, dict[str, str]] | None:
    return (404, b"{}", {}) if body is None else None


def test_a_request_that_is_refused_is_halved(local: LocalScorer) -> None:
    many = [chat("Say red.", f"red {number}") for number in range(13)]
    with engine("vllm", local, most=3) as stand_in:
        scorer = asked(stand_in)
        np.testing.assert_allclose(scorer.score(many), local.score(many), rtol=0, atol=2e-5)
        assert scorer.missing == {}
        assert max(len(body["input"]) for _, body in stand_in.seen if body) == 13


def test_one_bad_text_does_not_take_the_others_with_it(local: LocalScorer) -> None:
    ids_T = local.render([CHATS[1]])[0].ids
    assert ids_T is not None
    bad = ids_T.tolist()

    def refuses(path: str, body: Any) -> tuple[int, bytes, dict[str, str]] | None:
        if body and bad in body.get("input", []):
            return 400, b'{"error": {"message": "Token id 99999 is out of vocabulary", "code": 400}}', {}
        return None

    with engine("vllm", local, script=refuses) as stand_in:
        scorer = asked(stand_in)
        found = scorer.score(CHATS)
        assert scorer.why([CHATS[1]]) == ["refused: Token id 99999 is out of vocabulary"]
        assert np.isnan(found).tolist() == [False, True, False, False, False]
        with pytest.raises(ModelError, match=r"vLLM's /classify refuses every text: Token id 99999 is out of vocab"):
            scorer.score([CHATS[1]])


def entry(values: str, index: int = 0) -> str:
    return f'{{"index": {index}, "probs": {values}, "num_classes": 1}}'


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        *(
            (200, f'{{"data": [{entry(f"[{value}]")}]}}', f"the engine answers {said}")
            for value, said in (
                ("null", "null"),
                ("NaN", "nan"),
                ("-Infinity", "-inf"),
                ("1e999", "inf"),
                ('"1"', "'1'"),
                ("true", "True"),
            )
        ),
        (
            500,
            '{"error": {"message": "Out of range float values are not JSON compliant: nan"}}',
            "the engine answers Out",
        ),
    ],
)
def test_a_reward_that_is_no_number_is_missing_and_said(
    local: LocalScorer, status: int, body: str, reason: str
) -> None:
    with engine("vllm", local, script=lambda path, asked: (status, body.encode(), {}) if asked else None) as stand_in:
        scorer = asked(stand_in)
        assert np.isnan(scorer.score(CHATS[:1])).all()
        assert scorer.missing == {"not_finite": 1}
        assert scorer.why(CHATS[:1])[0].startswith(f"not_finite: {reason}")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, f'{{"data": [{entry("[0.1, 0.9]")}]}}', "the answer is none of vLLM's /classify: 2 numbers for a text"),
        (200, f'{{"data": [{entry("[1]", 1)}]}}', "1 answers to 1 texts"),
        (200, f'{{"data": [{entry("[1]")}, {entry("[2]")}]}}', "2 answers to 1 texts"),
        (200, '{"data": []}', "0 answers to 1 texts"),
        (200, '{"data": {"a": 1}}', "none of vLLM's /classify"),
        (200, '{"data": [7]}', "none of vLLM's /classify: another form"),
        (200, "<html>", "none of vLLM's /classify: another form"),
        (200, "[" * 100_000, "none of vLLM's /classify: another form"),
        (500, '{"error": {"message": "engine died"}}', "the server answers 500: engine died"),
        (
            404,
            '{"error": {"message": "The model `a` does not exist.", "code": 404}}',
            "404 404: The model `a` does not",
        ),
        (307, "", "the server answers 307; redirects are not followed"),
        (401, '{"error": "Unauthorized"}', "the server refuses the token"),
    ],
)
def test_another_answer_is_an_error(local: LocalScorer, status: int, body: str, said: str) -> None:
    headers = {"Location": "http://192.0.2.1/"} if status == 307 else {}
    with engine("vllm", local, script=lambda path, asked: (status, body.encode(), headers) if asked else None) as one:
        with pytest.raises(ModelError) as refused:
            asked(one).score(CHATS[:1])
        assert said in str(refused.value)
        assert one.url in str(refused.value)


def test_a_token_goes_with_every_request_and_into_no_message(local: LocalScorer) -> None:
    secret = "a-token-of-some-length"
    with engine("vllm", local, token=secret) as stand_in:
        np.testing.assert_allclose(asked(stand_in, token=secret).score(CHATS), local.score(CHATS), rtol=0, atol=2e-5)
        with pytest.raises(ModelError, match="the server refuses the token") as refused:
            asked(stand_in, token="another-token-of-it").score(CHATS)
        assert "another-token" not in str(refused.value)


def test_one_of_several_models_is_named_behind_the_address(local: LocalScorer) -> None:
    def cards(path: str, body: Any) -> tuple[int, bytes, dict[str, str]] | None:
        found = [{"id": name, "owned_by": "vllm", "root": str(local.checkpoint.folder)} for name in ("a", "rm")]
        return (200, json.dumps({"data": found}).encode(), {}) if path == "/v1/models" else None

    with engine("vllm", local, script=cards) as stand_in:
        assert asked(stand_in, query="?model=rm").describe().name == "rm"
        with pytest.raises(ModelError, match="serves a, rm, and the address names none of them"):
            asked(stand_in).score(CHATS)
        with pytest.raises(ModelError, match="serves a, rm, and no c"):
            asked(stand_in, query="?model=c").score(CHATS)


def test_addresses() -> None:
    found = parse_address("vllm+https://any:TOKEN@h:1/p/?tokenizer=org/rm&model=x")
    assert (found.engine, found.path, found.shown) == ("vllm", "/p", "https://h:1/p")
    assert found.options == {"tokenizer": "org/rm", "model": "x"}
    for url, said in (
        ("http://any:TOKEN@h?tok=1", "something else than"),
        ("http://any:TOKEN@h?tokenizer=", "something else than"),
        ("http://any:TOKEN@h?tokenizer", "something else than"),
        ("http://any:TOKEN@h#a", "something else than"),
        ("vllm+ftp://any:TOKEN@h", "does not begin with"),
    ):
        with pytest.raises(ModelError, match=said) as refused:
            parse_address(url)
        assert "TOKEN" not in str(refused.value)
    with pytest.raises(ModelError, match="'tgi' is no engine that is known") as unknown:
        RemoteScorer("tgi+http://127.0.0.1:1", patience=0.0).score(CHATS)
    assert "openrlhf, rewardsmith, sglang, tei, vllm" in str(unknown.value)


def test_an_answer_is_bounded_in_time_and_size(local: LocalScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is named with its seconds; a flood is given up."""
    import threading

    hold = threading.Event()

    def slow(path: str, body: Any) -> None:
        hold.wait(5)

    with engine("vllm", local, script=slow) as stand_in:
        try:
            with pytest.raises(ModelError, match=r"no answer: not within 0\.2 seconds"):
                asked(stand_in, timeout=0.2).score(CHATS)
        finally:
            hold.set()
    monkeypatch.setattr("rewardsmith.scoring.connection.ANSWER_BYTES", 2**20)
    assert ANSWER_BYTES == 64 * 2**20
    with engine("vllm", local, script=lambda path, body: (200, b" " * 2**21, {})) as stand_in:
        connection = Connection(parse_address(stand_in.url), patience=0.0)
        with pytest.raises(ModelError, match="no answer: an answer of more than"):
            connection.call("GET", "/v1/models")


def test_a_trickle_ends_with_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that keep coming reset a socket's own timeout; the clock is ours."""
    import socket
    import threading

    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr("rewardsmith.scoring.connection.time.monotonic", lambda: float(next(clock)))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(8):
                    try:
                        peer.sendall(b"[")
                    except OSError:
                        return
                    threading.Event().wait(0.01)

        thread = threading.Thread(target=serve)
        thread.start()
        connection = Connection(parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}"), patience=0.0)
        with pytest.raises(ModelError, match="no answer: not within 180 seconds"):
            connection.call("GET", "/v1/models")
        thread.join()
