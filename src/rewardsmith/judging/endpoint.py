"""The endpoint: one call of OpenAI's chat protocol, and everything that can go wrong with it as one type.

    reply = await endpoint.call(body, idempotency_key)          raises CallFailed

This is the only place that knows the `openai` SDK (extra `judge`). Its own retries are off, so that every call is seen,
counted and paid for once. What failed says whether the endpoint may have been paid (`paid`), whether to ask again
(`again`, after `wait` seconds where it says so), and what its user must mend (`mend`).

    no connection                    never reached: not paid, again
    deadline, broken connection      perhaps paid, again: an answer may have been on its way
    408, 502, 504                    perhaps paid, again: a gateway gave up, what stands behind it may not have
    429, 5xx                         not paid, again, after Retry-After where it is given
    401, 403, 404                    not paid; nothing will come of asking again: the key, the model or the address is
    wrong other 4xx                        not paid; the request cannot be answered: too long, or a field it does not
    know
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from typing import Any

from rewardsmith.errors import SpecError, UserError
from rewardsmith.judging.replies import Reply
from rewardsmith.records.bounded import parse_json
from rewardsmith.spec import JudgeSpec

_PATH = "/chat/completions"
_PERHAPS_PAID = (408, 502, 504)
_UNSUITABLE = (400, 413, 415, 422, 501)
_TOO_LONG = re.compile(r"context[ _-]?(length|window|size)|too (long|large)|exceed", re.IGNORECASE)
_SHOWN = 300
_HIDDEN = "[key]"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave no answer.

    Attributes:
        problem: in words, for logs and errors.
        paid: the endpoint may have been paid.
        again: asking again may help.
        wait: seconds that the endpoint asks to wait.
        status: of the HTTP answer; 0 without one.
        mend: field of the spec and what to write, where nothing else helps.
    """

    problem: str
    paid: bool
    again: bool
    wait: float | None = None
    status: int = 0
    mend: tuple[str, str] | None = None


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
        self._sdk = openai.AsyncOpenAI(
            base_url=spec.endpoint,
            api_key=self._key or "none",
            max_retries=0,
            timeout=spec.call_deadline,
            default_headers={"Accept-Encoding": "identity"},
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
        except (TimeoutError, sdk.APITimeoutError):
            raise CallFailed(Failure(f"no answer within {seconds:g} s", paid=True, again=True)) from None
        except sdk.APIConnectionError as error:
            raise CallFailed(self._unreached(error)) from None
        except sdk.APIStatusError as error:
            raise CallFailed(self._refused(error)) from None
        except sdk.OpenAIError as error:
            raise CallFailed(Failure(self._shown(str(error)), paid=True, again=True)) from None
        return _read(self._without_key(content))

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.close()

    def _unreached(self, error: Any) -> Failure:
        cause = error.__cause__
        never = type(cause).__name__ in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "PoolTimeout")
        said = self._shown(str(cause or error)) or type(cause).__name__
        what = "cannot be reached" if never else "broke the connection"
        return Failure(
            f"{what}: {said}",
            paid=not never,
            again=True,
            mend=("judge.endpoint", "start the endpoint, or correct its address") if never else None,
        )

    def _refused(self, error: Any) -> Failure:
        status = int(error.status_code)
        problem = f"answers {status}: {self._shown(_message(error))}"
        if status in (401, 403):
            variable = self._spec.key_variable
            given = "the key in it is not accepted" if self._key else "it is not set"
            mend = ("judge.key_variable", f"put the endpoint's key into ${variable}: {given}")
            return Failure(problem, paid=False, again=False, status=status, mend=mend)
        if status == 404:
            mend = (
                "judge.model",
                f"{self._spec.endpoint}/models lists the models; does the address end right, with /v1?",
            )
            return Failure(problem, paid=False, again=False, status=status, mend=mend)
        again = status in (408, 409, 425, 429) or status >= 500
        wait = _seconds(error.response.headers.get("retry-after"))
        return Failure(problem, paid=status in _PERHAPS_PAID, again=again, wait=wait, status=status)

    def _shown(self, text: str) -> str:
        return self._without_key(text)[:_SHOWN]

    def _without_key(self, text: str) -> str:
        """Endpoints like to repeat the key that they refuse; no record and no log must have it."""
        return text.replace(self._key, _HIDDEN) if self._key else text


def unsuitable(failure: Failure) -> bool:
    """Whether the endpoint was reached and does not take the request as it is."""
    return failure.status in _UNSUITABLE


def too_long(failure: Failure) -> bool:
    """Whether that is for the length of this very request, and not for its form."""
    return failure.status == 413 or bool(_TOO_LONG.search(failure.problem))


def refusal(spec: JudgeSpec, failure: Failure) -> SpecError:
    """What a user is told when the endpoint cannot be used at all."""
    field, fix = failure.mend or ("judge", "change the field that it names: output, verdict, temperature, limit_name …")
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
    return Reply(text if isinstance(text, str) else "", counts[0], counts[1], _tops(_field(choice, "logprobs")))


def _tops(logprobs: Any) -> tuple[tuple[tuple[str, float], ...], ...]:
    tokens = _field(logprobs, "content")
    found = []
    for token in tokens if isinstance(tokens, list) else []:
        tops = _field(token, "top_logprobs")
        pairs = [(_field(top, "token"), _field(top, "logprob")) for top in tops] if isinstance(tops, list) else []
        found.append(
            tuple((name, float(p)) for name, p in pairs if isinstance(name, str) and isinstance(p, int | float))
        )
    return tuple(found) if found and found[0] else ()


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: Any) -> int:
    return value if _is_number(value) and isinstance(value, int) and value >= 0 else -1


def _message(error: Any) -> str:
    body = error.body
    said = _field(body, "message") or _field(_field(body, "error"), "message") or _field(body, "detail")
    return str(said or error.message)


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None  # a date: the backoff will do
