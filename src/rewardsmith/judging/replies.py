"""What a reply says: strict. An ambiguous reply is None and counts as missing; it never becomes a score.

    read_labels(question, reply, form)   → probability of each label, None where it cannot be read
    read_rating(question, reply, form)   → the rating from 1 to 10, None where it cannot be read

text     the last line that is not empty holds the verdict in double square brackets, `[[B]]`, and nothing else but
         "Verdict:" and emphasis. A mark anywhere else is talk: a judge that quotes a response has not decided.
json     the whole reply is one JSON object (a code fence around it is taken off) with the field of the question.
token    the probabilities of the first token, where the endpoint gives them: those of the labels must hold more than
half
         of it, and are scaled to 1. Else the reply itself is the verdict, bare or in brackets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.judging.questions import Form, Question
from rewardsmith.records.bounded import parse_json

LEAST_MASS = 0.5
"""Labels that hold no more than this of a token's probability are no verdict: the judge was about to say something
else."""

_UNRESOLVED = 0.01
_MOST = 10**9
_LINE = re.compile(
    r"(?:(?:the\s+)?(?:final\s+|my\s+)?(?:verdict|answer|rating)(?:\s+is)?\s*:?\s*)?\[\[(\w+)\]\]", re.IGNORECASE
)
_DECORATION = " \t*_`#>.!"
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)
_THINKING = re.compile(r"^.*</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered to one call.

    `tops` has, for each token of the reply, the most probable tokens with their natural log probabilities; empty where
    the endpoint gives none.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    tops: tuple[tuple[tuple[str, float], ...], ...] = ()


def read_labels(question: Question, reply: Reply, form: Form) -> Mapping[str, float] | None:
    """Probability of each label, summing to 1: all on one where the reply names one."""
    if form == "token" and reply.tops:
        return _from_tokens(reply.tops[0], question.labels)
    label = _written(question, reply.text, form, "verdict")
    return None if label is None else {one: float(one == label) for one in question.labels}


def read_rating(question: Question, reply: Reply, form: Form) -> float | None:
    """The rating: the number that is written, or the mean over the probabilities of the first token."""
    if form == "token" and reply.tops:
        shares = _from_tokens(reply.tops[0], question.labels)
        if shares is None:
            return None
        # "1" may be the beginning of "10" where a tokenizer parts the two digits: then only the written number is sure
        if not (shares["1"] > _UNRESOLVED and shares["10"] == 0):
            return sum(int(label) * share for label, share in shares.items())
    label = _written(question, reply.text, form, "rating")
    return None if label is None else float(label)


def _from_tokens(tops: Sequence[tuple[str, float]], labels: Sequence[str]) -> dict[str, float] | None:
    shares = dict.fromkeys(labels, 0.0)
    for token, log_probability in tops:
        label = token.strip().strip('"[')
        if label in shares:
            shares[label] += math.exp(min(log_probability, 0.0))
    mass = sum(shares.values())
    return {label: share / mass for label, share in shares.items()} if mass > LEAST_MASS else None


def _written(question: Question, text: str, form: Form, field: str) -> str | None:
    text = _THINKING.sub("", text).strip()
    found = _in_json(text, field) if form == "json" else _in_text(text, bare=form == "token")
    return found if found in question.labels else None


def _in_text(text: str, *, bare: bool) -> str | None:
    last = next((line for line in reversed(text.splitlines()) if line.strip(_DECORATION)), "")
    line = last.strip(_DECORATION)
    match = _LINE.fullmatch(line)
    if match:
        return match[1].upper()
    return line if bare and line == text.strip(_DECORATION) else None


def _in_json(text: str, field: str) -> str | None:
    fenced = _FENCE.fullmatch(text)
    try:
        content: Any = parse_json(fenced[1] if fenced else text)
    except ValueError:
        return None
    value = content.get(field) if isinstance(content, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) if isinstance(value, str) or abs(value) < _MOST else None
