"""Fluency from an OpenAI-style endpoint: perplexities worked out by hand, and a name for each way to fail."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from json_server import json_server

from rewardsmith.errors import ModelError
from rewardsmith.protocols import Fluency
from rewardsmith.scoring.fluency import RemoteFluency, load_fluency
from rewardsmith.types import Conversation, Message

LOGPROBS = {"It": -1.0, " ": -0.5, "is": -2.0, "so": -3.0, "verily": -9.0, "\n\n": -0.25, "\n\n-": -4.0}
_TOKEN = re.compile(r"\n\n-?|\s|\w+|[^\w\s]")
ECHO_REFUSED = {"error": {"code": 500, "message": "Only no echo is supported", "type": "server_error"}}


def tokens_of(text: str) -> list[str]:
    return _TOKEN.findall(text)


def completion(text: str, *, index: int = 0, bos: bool = False) -> dict[str, Any]:
    """A choice as vLLM gives it: the prompt and one token more; nothing stands before the first token."""
    tokens = [*(["<s>"] if bos else []), *tokens_of(text), "!"]
    values = [None, *(LOGPROBS.get(token, -0.125) for token in tokens[1:])]
    # vLLM counts the text of a BOS, which the text of the choice does not hold.
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    read = {"tokens": tokens, "token_logprobs": values, "top_logprobs": [None] * len(tokens), "text_offset": offsets}
    return {"index": index, "text": f"{text}!", "logprobs": read, "finish_reason": "length"}


@dataclass
class Endpoint:
    """What a server answers; `seen` is what it was asked."""

    change: Callable[[dict[str, Any], str], Any] = lambda choice, text: choice
    refuse: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda body: None
    models: Any = ("lm",)
    bos: bool = False
    written: int | None = 1
    first: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, body: Any, token: str | None) -> tuple[int, Any, dict[str, str]]:
        self.tokens.append(token)
        if path == "/v1/models":
            if isinstance(self.models, int):
                return self.models, {"error": {"message": "no"}}, {}
            return 200, {"object": "list", "data": [{"id": name} for name in self.models]}, {}
        if path != "/v1/completions":
            return 404, {"detail": "Not Found"}, {}
        self.seen.append(body)
        if self.first:
            return self.first.pop(0)
        refused = self.refuse(body)
        if refused is not None:
            return *refused, {}
        texts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        made = [completion(text, index=place, bos=self.bos) for place, text in enumerate(texts)]
        choices = [self.change(choice, text) for choice, text in zip(made, texts, strict=True)][::-1]
        usage = {} if self.written is None else {"completion_tokens": self.written * len(texts)}
        return 200, {"object": "text_completion", "choices": choices, "usage": usage}, {}


@contextmanager
def serving(**options: Any) -> Iterator[Endpoint]:
    endpoint = Endpoint(**options)
    with json_server(lambda *asked: endpoint.answer(*asked)) as url:  # a test may replace it
        endpoint.url = f"{url}/v1"
        yield endpoint


def said(answer: str, question: str = "What of 1?") -> Conversation:
    return (Message("user", question), Message("assistant", answer))


def asked(endpoint: Endpoint, **options: Any) -> RemoteFluency:
    return RemoteFluency(endpoint.url, patience=0.0, sleep=lambda seconds: None, **options)


def test_nats_are_the_mean_over_the_answers_own_tokens() -> None:
    # "It", " ", "is", " ", "so": 1 + 0.5 + 2 + 0.5 + 3 = 7 nats over 5 tokens, a perplexity of e^1.4 = 4.055. With
    # " verily" 9.5 nats more over 7 tokens: e^(16.5 / 7) = 10.56. A new line more: "\n\n" is worth 0.25.
    with serving() as endpoint:
        found = asked(endpoint).nats([said("It is so"), said("It is so verily"), said("It is so\n\nIt", "Why?")])
    assert found == pytest.approx([7 / 5, 16.5 / 7, (7 + 0.25 + 1) / 7])
    assert np.exp(found[:2]) == pytest.approx([4.0552, 10.5614], rel=1e-4)
    assert endpoint.seen[0] == {
        "model": "lm",
        "prompt": [
            "What of 1?\n\nIt is so",
            "What of 1?\n\nIt is so verily",
            "Why?\n\nIt is so\n\nIt",
        ],
        "echo": True,
        "logprobs": 1,
        "max_tokens": 1,
        "temperature": 0,
    }


@pytest.mark.parametrize("bos", [False, True], ids=["no BOS", "BOS"])
@pytest.mark.parametrize("offsets", [None, [-1] * 99], ids=["vLLM", "SGLang"])
def test_neither_a_bos_nor_text_offsets_decide_where_the_answer_begins(bos: bool, offsets: list[int] | None) -> None:
    def change(choice: dict[str, Any], text: str) -> dict[str, Any]:
        if offsets:
            choice["logprobs"]["text_offset"] = offsets[: len(choice["logprobs"]["tokens"])]
        return choice

    with serving(bos=bos, change=change) as endpoint:
        assert asked(endpoint).nats([said("It is so")]) == pytest.approx([7 / 5])


def test_a_token_that_joins_prompt_and_answer_counts_as_the_answers() -> None:
    # "?\n\n" and "- It" make "\n\n-", " ", "It": 4 + 0.5 + 1 over 3 tokens.
    with serving() as endpoint:
        assert asked(endpoint).nats([said("- It")]) == pytest.approx([5.5 / 3])


def test_without_a_prompt_the_first_token_has_nothing_before_it() -> None:
    # " ", "is": the first word has no likelihood. A single token has none at all, and an empty answer is not asked.
    alone = [(Message("assistant", text),) for text in ("It is", "It", "")]
    with serving() as endpoint:
        found = asked(endpoint).nats(alone)
    assert found[0] == pytest.approx(2.5 / 2)
    assert np.isnan(found[1:]).all()
    assert endpoint.seen[0]["prompt"] == ["It is", "It"]


def test_many_texts_travel_in_several_requests() -> None:
    with serving() as endpoint:
        fluency = asked(endpoint)
        found = fluency.nats([said(f"It is {number}") for number in range(40)])
        assert found == pytest.approx([(1 + 0.5 + 2 + 0.5 + 0.125) / 5] * 40)
        assert [len(body["prompt"]) for body in endpoint.seen] == [32, 8]
        fluency.nats([said("so")])
        assert endpoint.seen[-1]["prompt"] == "What of 1?\n\nso"


def spelt(change: Callable[[str], str]) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """What becomes of the texts of tokens, whose log probabilities stay."""

    def changed(choice: dict[str, Any], text: str) -> dict[str, Any]:
        read = choice["logprobs"]
        return choice | {"logprobs": read | {"tokens": [change(token) for token in read["tokens"]]}}

    return changed


@pytest.mark.parametrize(
    ("change", "heads"),
    [
        (lambda token: "\ufffd" if token == "What" else token, 0),  # the prompt is not spelt, the answer is
        (lambda token: "\ufffd" if token == "so" else token, 0),  # the other way round
        (lambda token: "\ufffd" if token in ("What", "so") else token, 1),
        (lambda token: f"token_id:{sorted(LOGPROBS).index(token) if token in LOGPROBS else len(token)}", 1),
    ],
)
@pytest.mark.parametrize("bos", [False, True], ids=["no BOS", "BOS"])
def test_where_tokens_do_not_spell_the_text_the_prompt_is_asked_for_alone(
    change: Callable[[str], str], heads: int, bos: bool
) -> None:
    with serving(change=spelt(change), bos=bos) as endpoint:
        fluency = asked(endpoint)
        found = fluency.nats([said("It is so"), said("It is so verily")])
        assert found == pytest.approx([7 / 5, 16.5 / 7])
        assert [body["prompt"] for body in endpoint.seen[1:]] == ["What of 1?\n\n"] * heads
        fluency.nats([said("is so")])
        assert len(endpoint.seen) == 2 + heads  # the prompt is known by now


def test_a_server_that_takes_one_text_a_request_is_asked_so() -> None:
    """llama-cpp-python fails on a list of prompts, and writes nothing where it would begin with the end of the text."""

    def refuse(body: dict[str, Any]) -> tuple[int, Any] | None:
        return (500, {"error": {"message": "Internal Server Error"}}) if isinstance(body["prompt"], list) else None

    def change(choice: dict[str, Any], text: str) -> dict[str, Any]:
        for name in ("tokens", "token_logprobs"):
            choice["logprobs"][name] = choice["logprobs"][name][:-1]
        return choice | {"text": text}

    with serving(refuse=refuse, change=change, written=0) as endpoint:
        fluency = asked(endpoint)
        assert fluency.nats([said("It is so"), said("It")]) == pytest.approx([7 / 5, 1.0])
        before = len(endpoint.seen)
        fluency.nats([said("is"), said("so")])
        assert [body["prompt"] for body in endpoint.seen[before:]] == ["What of 1?\n\nis", "What of 1?\n\nso"]


def test_where_some_of_a_list_write_nothing_each_is_asked_alone() -> None:
    def change(choice: dict[str, Any], text: str) -> dict[str, Any]:
        if text.endswith("so"):
            choice["logprobs"] = {name: values[:-1] for name, values in choice["logprobs"].items()}
        return choice

    with serving(change=change) as endpoint:
        plain = endpoint.answer

        def answer(path: str, body: Any, token: str | None) -> tuple[int, Any, dict[str, str]]:
            status, content, headers = plain(path, body, token)
            if body is not None:
                texts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
                content["usage"] = {"completion_tokens": sum(not text.endswith("so") for text in texts)}
            return status, content, headers

        endpoint.answer = answer  # type: ignore[method-assign]
        assert asked(endpoint).nats([said("It is so"), said("It is")]) == pytest.approx([7 / 5, 3.5 / 3])


def test_without_usage_one_token_is_taken_to_be_written() -> None:
    with serving(written=None) as endpoint:
        assert asked(endpoint).nats([said("It is so")]) == pytest.approx([7 / 5])


def test_a_text_that_is_too_long_has_no_likelihood_and_the_others_do() -> None:
    def refuse(body: dict[str, Any]) -> tuple[int, Any] | None:
        texts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        said = "This model's maximum context length is 20 tokens."
        return (400, {"error": {"message": said}}) if any(len(tokens_of(text)) > 20 for text in texts) else None

    with serving(refuse=refuse) as endpoint:
        fluency = asked(endpoint)
        found = fluency.nats([said("It is so"), said("It " * 20), said("It"), said("It", "so " * 30)])
        assert found[[0, 2]] == pytest.approx([7 / 5, 1.0])
        assert np.isnan(found[[1, 3]]).all()
        fluency.nats([said("is"), said("so")])
        assert isinstance(endpoint.seen[-1]["prompt"], list)  # it was no list that it refused


def test_a_full_server_is_asked_again() -> None:
    waits: list[float] = []
    full = [(429, {"error": {"message": "slow down"}}, {"Retry-After": "3"}), (503, {}, {"Retry-After": "2"})]
    with serving(first=full) as endpoint:
        fluency = RemoteFluency(endpoint.url, patience=60.0, sleep=waits.append)
        assert fluency.nats([said("It is so")]) == pytest.approx([7 / 5])
    assert waits == [3.0, 2.0]


def without(name: str) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    return lambda choice, text: choice | {name: None}


def with_values(values: Callable[[list[Any]], list[Any]]) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    def change(choice: dict[str, Any], text: str) -> dict[str, Any]:
        read = choice["logprobs"]
        return choice | {"logprobs": read | {"token_logprobs": values(read["token_logprobs"])}}

    return change


def generated_alone(choice: dict[str, Any], text: str) -> dict[str, Any]:
    return choice | {"logprobs": {name: values[-1:] for name, values in choice["logprobs"].items()}}


def cut_left(choice: dict[str, Any], text: str) -> dict[str, Any]:
    return choice | {"logprobs": {name: values[-4:] for name, values in choice["logprobs"].items()}}


@pytest.mark.parametrize(
    ("options", "problem", "fix"),
    [
        ({"change": lambda choice, text: choice | {"text": "!"}}, "it ignores `echo`", "vLLM"),
        ({"change": without("logprobs")}, "without log probabilities", "vLLM"),
        ({"change": generated_alone}, "of what it writes, and none of the prompt", "vLLM"),
        ({"change": with_values(lambda values: values[:-2])}, "7 log probabilities of 9 tokens", "vLLM"),
        ({"change": with_values(lambda values: [values[0], None, *values[2:]])}, "token 2 of 8 has None", "vLLM"),
        ({"change": with_values(lambda values: [None, 0.9, *values[2:]])}, "token 2 of 8 has 0.9", "vLLM"),
        ({"change": cut_left}, "only the first 0 are the same", "truncate_prompt_tokens"),
        ({"change": lambda choice, text: "text"}, "it has no choices", "/v1"),
        ({"change": lambda choice, text: choice | {"index": 7}}, "to 1 texts it gives answers 7", "OpenAI-style"),
        ({"refuse": lambda body: (500, ECHO_REFUSED)}, "Only no echo is supported", "vLLM"),
        (
            {"refuse": lambda body: (400, {"error": {"message": "Setting 'echo' and 'logprobs' is not supported"}})},
            "refuses to echo a prompt with log probabilities",
            "a folder or a hub id",
        ),
        ({"refuse": lambda body: (404, {"error": {"message": "no such model"}})}, "answers 404: no such model", "/v1"),
        ({"refuse": lambda body: (401, {"error": "who?"})}, "refuses the token", "$REWARDSMITH_FLUENCY_TOKEN"),
        ({"refuse": lambda body: (200, b"<html>")}, "it has no choices", "/v1"),
        ({"refuse": lambda body: (502, {"error": {"message": "bad gateway"}})}, "502: bad gateway", "completions"),
    ],
)
def test_each_way_to_fail_has_a_name_and_a_fix(options: dict[str, Any], problem: str, fix: str) -> None:
    with serving(**options) as endpoint, pytest.raises(ModelError) as caught:
        asked(endpoint).nats([said("It is so", "so?")])
    assert problem in caught.value.problem
    assert fix in (caught.value.fix or "")
    assert caught.value.where == endpoint.url


@pytest.mark.parametrize(
    ("models", "address", "problem"),
    [
        (("a", "b"), "", "serves a, b, and the address names none of them"),
        (("a", "b"), "?model=c", "serves a, b, and no c"),
        (404, "", "does not list its models"),
        (401, "?model=a", "refuses the token"),
        (("a",), "?tokenizer=x", "no engine and no tokenizer"),
    ],
)
def test_a_model_that_the_address_cannot_mean_is_refused_at_once(models: Any, address: str, problem: str) -> None:
    with serving(models=models) as endpoint:
        with pytest.raises(ModelError, match=re.escape(problem)):
            RemoteFluency(endpoint.url + address, patience=0.0)
        assert endpoint.seen == []


def test_the_address_names_one_of_several_models_and_its_secret_is_in_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDSMITH_TOKEN", "token-of-the-reward-server")
    monkeypatch.setenv("REWARDSMITH_FLUENCY_TOKEN", "token-of-the-language-model")
    with serving(models=("a", "org/b")) as endpoint:
        fluency = load_fluency(f"{endpoint.url}?model=org/b")
        assert isinstance(fluency, Fluency)
        assert fluency.name == f"org/b at {endpoint.url}"
        fluency.nats([said("It is so")])
        assert endpoint.seen[0]["model"] == "org/b"
        assert set(endpoint.tokens) == {"Bearer token-of-the-language-model"}
        named = load_fluency(endpoint.url.replace("//", "//user:secret@") + "?model=a")
        assert named.name == f"a at {endpoint.url}"
    with serving(models=404) as endpoint:  # a server that lists nothing is believed
        assert asked(endpoint_with(endpoint, "?model=x")).name == f"x at {endpoint.url}"


def endpoint_with(endpoint: Endpoint, more: str) -> Endpoint:
    return Endpoint(url=endpoint.url + more)


def test_half_a_surrogate_pair_is_sent_as_what_can_be_sent() -> None:
    with serving() as endpoint:
        found = asked(endpoint).nats([said("It \ud800")])
    assert endpoint.seen[0]["prompt"] == "What of 1?\n\nIt ?"
    assert found == pytest.approx([(1 + 0.5 + 0.125) / 3])
    assert math.isfinite(found[0])
