"""The endpoint over real HTTP: what each fault becomes, and that the key goes nowhere else."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from judge_world import judged, ranked_rows, write_rows
from pydantic import ValidationError
from scripted_judge import scripted_judge

from rewardsmith.errors import SpecError
from rewardsmith.judging import endpoint as endpoint_module
from rewardsmith.judging.endpoint import CallFailed, Endpoint, Failure, too_long, unsuitable
from rewardsmith.judging.questions import Reply
from rewardsmith.spec import JudgeSpec

KEY = "sk-secret-1234567890"
BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
CHOICE = {"message": {"content": "[[A]]"}}


@contextmanager
def answering(
    status: int, content: str | bytes, headers: dict[str, str] | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """A server in this process that gives one answer to everything; its URL, and the headers that it was sent."""
    seen: list[Any] = []
    raw = content if isinstance(content, bytes) else content.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(dict(self.headers))
            self.send_response(status)
            for name, value in {"content-length": str(len(raw)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
        finally:
            server.shutdown()
            thread.join()


def call(url: str, **settings: Any) -> Reply:
    async def one() -> Reply:
        endpoint = Endpoint(JudgeSpec(endpoint=url, model="m", **settings))
        try:
            return await endpoint.call(BODY, "key-0")
        finally:
            await endpoint.close()

    return asyncio.run(one())


def failure(url: str, **settings: Any) -> Failure:
    with pytest.raises(CallFailed) as raised:
        call(url, **settings)
    return raised.value.failure


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (
            {"choices": [CHOICE], "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
            Reply("[[A]]", 9, 3),
        ),
        ({"choices": [CHOICE]}, Reply("[[A]]", -1, -1)),
        ({"choices": [CHOICE], "usage": {"prompt_tokens": -9, "completion_tokens": True}}, Reply("[[A]]", -1, -1)),
        ({"choices": [{"message": {"content": None}}]}, Reply("", -1, -1)),
        ({"choices": []}, Reply("", -1, -1)),
        ([], Reply("", -1, -1)),
        ("nonsense", Reply("", -1, -1)),
        (
            {
                "choices": [
                    CHOICE | {"logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": -0.5}, {"x": 1}]}]}}
                ]
            },
            Reply("[[A]]", -1, -1, ((("A", -0.5),),)),
        ),
    ],
)
def test_whatever_a_200_holds_is_a_reply(content: Any, reply: Reply) -> None:
    with answering(200, json.dumps(content)) as (url, _):
        assert call(url) == reply


def test_a_200_that_is_not_json_is_an_empty_reply() -> None:
    with answering(200, "<html>hello</html>", {"content-type": "text/html"}) as (url, _):
        assert call(url) == Reply("", -1, -1)


@pytest.mark.parametrize(
    ("status", "paid", "again"),
    [
        *((status, False, True) for status in (429, 500, 503)),
        *((status, True, True) for status in (408, 502, 504)),
        *((status, False, False) for status in (400, 401, 403, 404, 413, 422)),
    ],
)
def test_what_a_status_means(status: int, paid: bool, again: bool) -> None:
    with answering(status, '{"error": {"message": "no"}}', {"retry-after": "3"}) as (url, seen):
        found = failure(url)
    assert (found.paid, found.again, found.status) == (paid, again, status)
    assert found.problem == f"answers {status}: no"
    assert found.wait == (None if status in (401, 403, 404) else 3.0)
    assert len(seen) == 1  # the SDK itself tries nothing again


def test_the_request_carries_its_idempotency_key_and_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    with answering(200, "{}") as (url, seen):
        call(url, key_variable="JUDGE_KEY")
        call(url)
    named = [{name.lower(): value for name, value in headers.items()} for headers in seen]
    assert [headers["authorization"] for headers in named] == [f"Bearer {KEY}", "Bearer none"]
    assert [headers["idempotency-key"] for headers in named] == ["key-0", "key-0"]


def test_nobody_there_is_not_paid_and_named() -> None:
    found = failure("http://127.0.0.1:1/v1")
    assert (found.paid, found.again) == (False, True)
    assert found.fix is not None
    assert found.fix[0] == "judge.endpoint"


def test_no_answer_in_time_is_perhaps_paid() -> None:
    with scripted_judge(delay=30.0) as judge:
        found = _late(judge.url)
    assert (found.paid, found.again) == (True, True)
    assert found.problem == "no answer within 0.2 s"


def _late(url: str) -> Failure:
    async def one() -> None:
        endpoint = Endpoint(JudgeSpec(endpoint=url, model="judge", call_deadline=0.2))
        try:
            await endpoint.call(BODY | {"model": "judge"}, "key-0")
        finally:
            await endpoint.close()

    with pytest.raises(CallFailed) as raised:
        asyncio.run(one())
    return raised.value.failure


def test_a_request_that_is_too_long_is_told_from_one_of_a_wrong_form() -> None:
    wrong = Failure("answers 400: unknown field logprobs", paid=False, again=False, status=400)
    long = Failure("answers 400: maximum context length is 4096 tokens", paid=False, again=False, status=400)
    assert unsuitable(wrong)
    assert unsuitable(long)
    assert [too_long(one) for one in (wrong, long)] == [False, True]


def test_a_key_is_written_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDSMITH_JUDGE_KEY", KEY)
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(4))
    with scripted_judge(key=KEY) as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out")
        assert done.complete
        assert judge.counts()["authorizations"] == [f"Bearer {KEY}"]
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(KEY.encode() in content for content in written)


def test_an_endpoint_that_repeats_the_key_it_refuses_does_not_reveal_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDSMITH_JUDGE_KEY", KEY)
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(4))
    with scripted_judge(key="another") as judge, pytest.raises(SpecError) as raised:
        judged(judge.url, "rewardbench2", data, tmp_path / "out")
    assert KEY not in str(raised.value)
    assert raised.value.where == f"{judge.url} (model 'judge'), field 'judge.key_variable'"
    assert "answers 401: Incorrect API key provided: Bearer [key]" in raised.value.problem
    assert raised.value.fix == ("put the endpoint's key into $REWARDSMITH_JUDGE_KEY: the key in it is not accepted")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        *((value, "begins or ends with a space or a line end") for value in (f"{KEY}\n", f" {KEY}", f"{KEY}\r\n")),
        *((f"{KEY}{one}{KEY}", "holds a space, a line end or others than printable ASCII") for one in "\n\x7fé\t "),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, fault: str
) -> None:
    monkeypatch.setenv("REWARDSMITH_JUDGE_KEY", value)
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(2))
    with pytest.raises(SpecError) as raised:
        judged("http://127.0.0.1:9/v1", "rewardbench2", data, tmp_path / "out")
    assert raised.value.problem.startswith(f"the value of $REWARDSMITH_JUDGE_KEY {fault}")
    assert raised.value.where == "judge.key_variable"
    assert KEY not in str(raised.value)


def _spellings() -> list[str]:
    return [
        f"Bearer {KEY}",
        json.dumps(f"header {KEY}"),
        "".join(f"\\u{ord(one):04x}" for one in KEY),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
        "".join(f"%{ord(one):02X}" for one in KEY),
        KEY[:-4],
    ]


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("spelled", _spellings())
def test_a_key_that_comes_back_is_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str, escaped: bool
) -> None:
    monkeypatch.setenv("REWARDSMITH_JUDGE_KEY", KEY)
    content = json.dumps({"choices": [{"message": {"content": f"{spelled}\n[[A]]"}}]})
    if escaped:  # as an encoder may that escapes every character
        content = content.replace(spelled, "".join(f"\\u{ord(one):04x}" for one in spelled))
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(2))
    with answering(200, content) as (url, _):
        judged(url, "rewardbench2", data, tmp_path / "out", output="text")
    calls = (tmp_path / "out" / "calls.jsonl").read_text()
    assert "[key]" in calls
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert not any(one in text for one in (KEY[:12], KEY[5:], *_spellings()[1:5])), path
    with answering(400, json.dumps({"error": {"message": spelled}})) as (url, _):
        found = failure(url)
    assert "[key]" in found.problem
    assert KEY[:12] not in found.problem


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("REWARDSMITH_JUDGE_KEY", KEY)
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(2))
    with answering(200, "{}") as (other, seen):
        place = other.replace("http://", f"http://any:{KEY}@")
        headers = {"location": f"{place}/chat/completions"}
        with answering(status, "", headers) as (url, _), pytest.raises(SpecError) as raised:
            judged(url, "rewardbench2", data, tmp_path / "out")
    assert seen == []
    assert raised.value.problem == f"answers {status}: go to {other}/chat/completions. Redirects are not followed"
    assert raised.value.where.endswith("field 'judge.endpoint'")
    assert KEY not in str(raised.value)


def _logprobs(value: str) -> str:
    tops = (
        f'{{"content": [{{"top_logprobs": [{{"token": "A", "logprob": {value}}}, {{"token": "B", "logprob": -1}}]}}]}}'
    )
    return f'{{"choices": [{{"message": {{"content": "[[A]]"}}, "logprobs": {tops}}}]}}'


HOSTILE = {
    "deep": ("[" * 100_000, Reply("", -1, -1)),
    "deep object": ('{"choices":' * 50_000, Reply("", -1, -1)),
    "digits of a log probability": (_logprobs("9" * 400), Reply("", -1, -1)),
    "digits": (f'{{"choices": {"9" * 5000}}}', Reply("", -1, -1)),
    "nul": ("\x00", Reply("", -1, -1)),
    "no text": ('{"choices": [{"message": {"content": {"a": 1}}}]}', Reply("", -1, -1)),
    "tokens": (
        f'{{"choices": [{{"message": {{"content": "x"}}}}], "usage": {{"prompt_tokens": {"9" * 299}}}}}',
        Reply("x", -1, -1),
    ),
    "usage": ('{"choices": [], "usage": {"prompt_tokens": NaN, "completion_tokens": 1e400}}', Reply("", -1, -1)),
    "surrogate": ('{"choices": [{"message": {"content": "a\\ud83d"}}]}', Reply("a?", -1, -1)),
    **{
        f"log probability {value[:9]}": (_logprobs(value), Reply("[[A]]", -1, -1, ((("B", -1.0),),)))
        for value in ("9" * 299, "-" + "9" * 299, "NaN", "Infinity", "-Infinity", "1e999", "null", "true", '"x"')
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_of_200_is_more_than_a_reply_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    content, reply = HOSTILE[name]
    with answering(200, content) as (url, _):
        assert call(url) == reply
        data = write_rows(tmp_path / "rows.jsonl", ranked_rows(2))
        done = judged(url, "rewardbench2", data, tmp_path / "out")
    assert done.record.missing == ({} if "[[A]]" in reply.text and done.record.judged else {"unparsed": 2})
    assert done.complete is (done.record.judged > 0)


def test_a_verdict_of_400_digits_is_none(tmp_path: Path) -> None:
    for digits in ("9" * 400, "1e400", "NaN"):
        content = json.dumps({"choices": [{"message": {"content": f'{{"rating": {digits}, "verdict": {digits}}}'}}]})
        with answering(200, content) as (url, _):
            data = write_rows(tmp_path / f"{digits[:3]}.jsonl", ranked_rows(2))
            done = judged(url, "rewardbench2", data, tmp_path / digits[:3])
        assert done.record.missing == {"unparsed": 2}


def test_an_answer_is_read_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "MOST_BYTES", 50_000)
    content = json.dumps({"choices": [CHOICE], "fill": "x" * 60_000})
    with answering(200, content) as (url, _):
        assert call(url) == Reply("", -1, -1)
    with answering(500, content) as (url, _):
        found = failure(url)
    assert (found.problem, found.again) == ("answers 500, and more than 0 MiB", False)
    with answering(200, json.dumps({"choices": [CHOICE], "fill": "x" * 40_000})) as (url, _):
        assert call(url) == Reply("[[A]]", -1, -1)


def test_an_answer_that_is_compressed_against_our_request_is_inflated_so_far_and_no_further() -> None:
    gzipped = {"content-encoding": "gzip"}
    whole = gzip.compress(json.dumps({"choices": [CHOICE]}).encode())
    with answering(200, whole, gzipped) as (url, _):
        assert call(url) == Reply("[[A]]", -1, -1)
    with answering(200, zlib.compress(gzip.decompress(whole)), {"content-encoding": "deflate"}) as (url, _):
        assert call(url) == Reply("[[A]]", -1, -1)
    with answering(200, whole[:4] + b"?" + whole[5:20], gzipped) as (url, _):
        assert call(url) == Reply("", -1, -1)
    bomb = gzip.compress(b"[" * 80_000_000, 6)
    with answering(200, bomb, gzipped) as (url, _):
        tracemalloc.start()
        try:
            assert call(url) == Reply("", -1, -1)
            assert tracemalloc.get_traced_memory()[1] < 60_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://127.0.0.1:{port}/v1" for port in ("99999", "65536", "0", "x", "-1")),
        *(
            "http://[::1/v1",
            "http://exa mple/v1",
            "http://a..b/v1",
            f"http://{'a' * 300}/v1",
            "http://h\x00/v1",
            "http://h/é",
        ),
    ],
)
def test_an_address_that_is_none_is_a_fault_of_the_spec(url: str) -> None:
    with pytest.raises(ValidationError, match=r"that is not the address of an endpoint: |holds a NUL character"):
        JudgeSpec(endpoint=url, model="m")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://[::1]:1/v1", "http://nobody.invalid/v1"])
def test_an_endpoint_that_is_not_there_ends_the_job_in_one_message(tmp_path: Path, url: str) -> None:
    data = write_rows(tmp_path / "rows.jsonl", ranked_rows(2))
    with pytest.raises(SpecError) as raised:
        judged(url, "rewardbench2", data, tmp_path / "out", retries=0)
    assert raised.value.problem.startswith("cannot be reached: ")
    assert raised.value.where.endswith("field 'judge.endpoint'")


def test_text_that_is_no_unicode_is_asked_all_the_same(tmp_path: Path) -> None:
    rows = ranked_rows(2)
    rows[0]["chosen"] = ["1 \ud83d, quality 9"]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    with scripted_judge() as judge:
        done = judged(judge.url, "rewardbench2", data, tmp_path / "out")
    assert done.result.average == 1.0
