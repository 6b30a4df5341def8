"""The exact request: a question in the form that the spec asks for and the endpoint takes.

`FEATURES` are the fields that an endpoint may not know. `off` are those that this one has refused: without
`response_format` the reply is text, without `logprobs` it is the bare verdict.
"""

from __future__ import annotations

import hashlib
from typing import Any

from rewardsmith.judging.questions import RATINGS, Question
from rewardsmith.judging.templates import Form
from rewardsmith.spec import JudgeSpec

FEATURES = ("response_format", "logprobs", "seed")
"""Fields of a request that an endpoint may refuse, in the order in which they are given up."""

_VERDICT_TOKENS = {"ranking": 1, "pairwise": 1, "rating": 3}


def reply_form(spec: JudgeSpec, off: frozenset[str]) -> Form:
    """How the reply is to be written."""
    if spec.verdict == "logprobs":
        return "token"
    return "text" if spec.output == "text" or "response_format" in off else "json"


def request_body(
    spec: JudgeSpec, question: Question, off: frozenset[str], *, seed: int, again: bool
) -> tuple[dict[str, Any], Form]:
    """The body of a chat completion, and the form of its reply.

    Args:
        spec: model, sampling, limits.
        question: what is asked.
        off: features that the endpoint refuses.
        seed: of this sample; sent where replies are sampled.
        again: a first reply could not be read.
    """
    form = reply_form(spec, off)
    limit = _VERDICT_TOKENS[question.kind] if form == "token" else spec.max_tokens
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": question.messages(form, again=again),
        spec.limit_name: limit,
    }
    if spec.temperature is not None:
        body["temperature"] = spec.temperature
    if spec.temperature != 0 and "seed" not in off:
        body["seed"] = seed
    if form == "json":
        body["response_format"] = _schema(question)
    if form == "token" and "logprobs" not in off:
        body |= {"logprobs": True, "top_logprobs": spec.top_logprobs}
    return body, form


def droppable(spec: JudgeSpec, body: dict[str, Any]) -> str | None:
    """The next feature of a refused request that can be done without; None where there is none."""
    kept = ("response_format",) if spec.output == "json_schema" else ()
    return next((feature for feature in FEATURES if feature in body and feature not in kept), None)


def sample_seed(seed: int, sample: int) -> int:
    """The endpoint's seed for one of several samples, in [0, 2^31)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {sample}".encode()).digest()[:4], "big") >> 1


def _schema(question: Question) -> dict[str, Any]:
    field = "rating" if question.labels == RATINGS else "verdict"
    values: dict[str, Any] = {"type": "string", "enum": list(question.labels)}
    if field == "rating":
        values = {"type": "integer", "enum": [int(label) for label in question.labels]}
    properties = {"reasoning": {"type": "string"}, field: values}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": field, "strict": True, "schema": schema}}
