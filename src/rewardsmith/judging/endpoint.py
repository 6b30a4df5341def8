"""The endpoint: one call of OpenAI's chat protocol, and everything that can go wrong with it as one type.

    reply = await endpoint.call(body, idempotency_key)          raises CallFailed

This is the only place that knows the `openai` SDK (extra `judge`). Its own retries are off, so that every call is seen,
counted and paid for once. What failed says whether the endpoint may have been paid (`paid`), whether to ask again
(`again`, after `wait` seconds where it says so), and what its user must fix (`fix`).

    no connection                    never reached: not paid, again
    deadline, broken connection      perhaps paid, again: an answer may have been on its way
    408, 502, 504                    perhaps paid, again: a gateway gave up, what stands behind it may not have
    429, 5xx                         not paid, again, after Retry-After where it is given
    3xx                              not paid; not followed: prompts and key are meant for the address that is named
    401, 403, 404                    not paid; nothing will come of asking again: the key, the model or the address is
                                     wrong
    other 4xx                        not paid; the request cannot be answered: too long, or a field it does not know

Whatever stands in an answer of 200 is a reply: what cannot be read of it (no JSON, nested too deeply, a number beyond
any, more than `MOST_BYTES`) is empty or not there, and counted as unread. The key stands in no text that leaves here.
"""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from rewardsmith.addresses import fault_of_secret, keep_hidden, redacted, without_userinfo
from rewardsmith.errors import SpecError, UserError
from rewardsmith.judging.questions import Reply
from rewardsmith.records.bounded import parse_json
from rewardsmith.spec import JudgeSpec

_PATH = "/chat/completions"
_PERHAPS_PAID = (408, 502, 504)
_UNSUITABLE = (400, 413, 415, 422, 501)
_TOO_LONG = re.compile(r"context[ _-]?(length|window|size)|too (long|large)|exceed", re.IGNORECASE)
_SHOWN = 300
_MOST_TOKENS = 10**9

MOST_BYTES = 16 * 2**20
"""Of an answer; a reply has some kilobytes, its token probabilities a few megabytes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave no answer.

    Attributes:
        problem: in words, for logs and errors.
        paid: the endpoint may have been paid.
        again: asking again may help.
        wait: seconds that the endpoint asks to wait.
        status: of the HTTP answer; 0 without one.
        fix: field of the spec and what to write, where nothing else helps.
    """

    problem: str
    paid: bool
    again: bool
    wait: float | None = None
    status: int = 0
    fix: tuple[str, str] | None = None


class CallFailed(Exception):  # noqa: N818 - caught in this room; never shown
    """A call gave no answer."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.problem)


class Endpoint:
    """An OpenAI-compatible endpoint.

    Args:
        spec: address, environment variable of the key, deadline of a call, connections.

    Raises:
        UserError: the extra `judge` is not installed.
        SpecError: the key cannot be sent.
    """

    def __init__(self, spec: JudgeSpec) -> None:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise UserError(
                f"the package {error.name} is not installed", fix="pip install 'rewardsmith[judge]'"
            ) from error
        self._openai = openai
        self._spec = spec
        self._key = os.environ.get(spec.key_variable, "")
        if fault := fault_of_secret(self._key):
            raise SpecError(
                f"the value of ${spec.key_variable} {fault}",
                where="judge.key_variable",
                fix=f"set ${spec.key_variable} to the key alone",
            )
        keep_hidden(self._key)
        self._sdk = openai.AsyncOpenAI(
            base_url=spec.endpoint,
            api_key=self._key or "none",
            # The client retries itself, with the budget and the log in view; the SDK would do so unseen.
            max_retries=0,
            timeout=spec.call_deadline,
            # An answer of a few kilobytes gains nothing from compression, and a bomb could hide in it.
            default_headers={"Accept-Encoding": "identity"},
            # A redirect would send prompts and key to an address that nobody has named.
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [_bounded]}),
        )

    async def call(self, body: dict[str, Any], idempotency_key: str) -> Reply:
        """Make one call.

        Raises:
            CallFailed: there is no answer.
        """
        sdk, seconds = self._openai, self._spec.call_deadline
        try:
            async with asyncio.timeout(seconds):
                # by path: the typed method walks through every field of the body, which costs as much as the rest
                headers = {"Idempotency-Key": idempotency_key}
                content = await self._sdk.post(_PATH, cast_to=str, body=body, options={"headers": headers})
        except _TooLong as long:
            return _cut_off(long)
        except (TimeoutError, sdk.APITimeoutError):
            raise CallFailed(Failure(f"no answer within {seconds:g} s", paid=True, again=True)) from None
        except sdk.APIConnectionError as error:
            if isinstance(error.__cause__, _TooLong):  # openai 2 takes whatever is raised while it reads for a break
                return _cut_off(error.__cause__)
            raise CallFailed(self._unreached(error)) from None
        except sdk.APIStatusError as error:
            raise CallFailed(self._refused(error)) from None
        except (sdk.OpenAIError, ValueError) as error:  # ValueError: an answer in no encoding
            raise CallFailed(Failure(_shown(str(error)), paid=True, again=True)) from None
        return _read(content)

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.close()

    def _unreached(self, error: Any) -> Failure:
        cause = error.__cause__
        # By name: which httpx the SDK brings depends on its version.
        never = type(cause).__name__ in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "PoolTimeout")
        said = _shown(str(cause or error)) or type(cause).__name__
        what = "cannot be reached" if never else "broke the connection"
        return Failure(
            f"{what}: {said}",
            # A connection that broke midway may have delivered the request.
            paid=not never,
            again=True,
            fix=("judge.endpoint", "start the endpoint, or correct its address") if never else None,
        )

    def _refused(self, error: Any) -> Failure:
        status = int(error.status_code)
        problem = f"answers {status}: {_shown(_message(error))}"
        if 300 <= status < 400:
            place = _shown(without_userinfo(error.response.headers.get("location", ""))) or "nowhere"
            problem = f"answers {status}: go to {place}. Redirects are not followed"
            fix = (
                "judge.endpoint",
                "write the address that answers itself, if your prompts may go there",
            )
            return Failure(problem, paid=False, again=False, status=status, fix=fix)
        if status in (401, 403):
            variable = self._spec.key_variable
            given = "the key in it is not accepted" if self._key else "it is not set"
            fix = ("judge.key_variable", f"put the endpoint's key into ${variable}: {given}")
            return Failure(problem, paid=False, again=False, status=status, fix=fix)
        if status == 404:
            fix = (
                "judge.model",
                f"{self._spec.endpoint}/models lists the models; does the address end right, with /v1?",
            )
            return Failure(problem, paid=False, again=False, status=status, fix=fix)
        # Too slow, in conflict, too early, too many requests, or a fault of the server: each may pass.
        again = status in (408, 409, 425, 429) or status >= 500
        wait = _seconds(error.response.headers.get("retry-after"))
        return Failure(problem, paid=status in _PERHAPS_PAID, again=again, wait=wait, status=status)


class _TooLong(Exception):  # noqa: N818 - caught above
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def _cut_off(long: _TooLong) -> Reply:
    """It was answered, so it is paid: an empty reply without counts is charged at the worst.

    Raises:
        CallFailed: what was answered is an error.
    """
    if long.status == 200:
        return Reply("", -1, -1)
    raise CallFailed(
        Failure(f"answers {long.status}, and more than {MOST_BYTES >> 20} MiB", paid=True, again=False)
    ) from None


async def _bounded(response: Any) -> None:
    """Let the body of an answer be read no further than `MOST_BYTES`, and inflate it here where it was compressed
    against our request: httpx inflates what it is given whole, a thousandfold."""
    inner = response.stream
    compressed = response.headers.pop("content-encoding", "identity").strip().lower() in ("gzip", "x-gzip", "deflate")
    # httpx wants a stream of its own class; which httpx the SDK brings depends on its version
    base = next(kind for kind in type(inner).__mro__ if kind.__name__ == "AsyncByteStream")

    class Bounded(base):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            inflater = zlib.decompressobj(wbits=47) if compressed else None  # 47: gzip or zlib, as its header says
            async for raw in inner:
                try:
                    part = inflater.decompress(raw, MOST_BYTES + 1) if inflater else raw
                except zlib.error as error:
                    raise ValueError(f"the answer is compressed and damaged: {error}") from error
                size += len(part)
                if size > MOST_BYTES:
                    raise _TooLong(response.status_code)
                yield part

        async def aclose(self) -> None:
            await inner.aclose()

    response.stream = Bounded()


def _shown(text: str) -> str:
    return _plain(text)[:_SHOWN]


def _plain(text: str) -> str:
    """Text that can be written: without halves of surrogate pairs, and without the key, which endpoints like to
    repeat. It is taken out after JSON was read, since JSON has many ways to write it."""
    return redacted(text.encode("utf-8", "replace").decode("utf-8"))


def unsuitable(failure: Failure) -> bool:
    """Whether the endpoint was reached and does not take the request as it is."""
    return failure.status in _UNSUITABLE


def too_long(failure: Failure) -> bool:
    """Whether that is for the length of this very request, and not for its form."""
    return failure.status == 413 or bool(_TOO_LONG.search(failure.problem))


def refusal(spec: JudgeSpec, failure: Failure) -> SpecError:
    """What a user is told when the endpoint cannot be used at all."""
    field, fix = failure.fix or ("judge", "change the field that it names: output, verdict, temperature, limit_name …")
    return SpecError(failure.problem, where=f"{spec.endpoint} (model {spec.model!r}), field {field!r}", fix=fix)


def _read(content: str) -> Reply:
    """The reply in an answer, as far as there is one: what is missing is empty, or -1 where it is a count."""
    try:
        answer = parse_json(content)
    except ValueError:
        return Reply("", -1, -1)
    choice = _first(_field(answer, "choices"))
    text = _field(_field(choice, "message"), "content")
    usage = _field(answer, "usage")
    counts = [_count(_field(usage, name)) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(_plain(text) if isinstance(text, str) else "", counts[0], counts[1], _tops(_field(choice, "logprobs")))


def _tops(logprobs: Any) -> tuple[tuple[tuple[str, float], ...], ...]:
    tokens = _field(logprobs, "content")
    found = []
    for token in tokens if isinstance(tokens, list) else []:
        tops = _field(token, "top_logprobs")
        pairs = [(_field(top, "token"), _field(top, "logprob")) for top in tops] if isinstance(tops, list) else []
        found.append(
            tuple((_plain(name), float(p)) for name, p in pairs if isinstance(name, str) and _is_log_probability(p))
        )
    return tuple(found) if found and found[0] else ()


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_log_probability(value: Any) -> bool:
    """A finite number: of 400 digits none, and NaN would be neither written nor summed."""
    return _is_number(value) and -_MOST_TOKENS < value < _MOST_TOKENS


def _count(value: Any) -> int:
    return value if _is_number(value) and isinstance(value, int) and 0 <= value < _MOST_TOKENS else -1


def _message(error: Any) -> str:
    body = error.body
    every = (_field(body, "message"), _field(_field(body, "error"), "message"), _field(body, "detail"), error.message)
    return next((said for said in every if isinstance(said, str) and said), "nothing that could be read")


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None  # a date: the backoff will do
