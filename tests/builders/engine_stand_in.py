"""Servers that answer as vLLM, SGLang, OpenRLHF and TEI do, with the rewards of a model of the tests, right or spoiled.

    with engine("vllm", scorer) as stand_in:
        RemoteScorer(stand_in.url).score(…)
    with engine("vllm", scorer, reads=lambda ids: ids[:-1]) as stand_in: …

The answers have the form that vLLM 0.32.0 was seen to give (`make test-vllm`), and that the sources of the others
write. A fault changes the ids that are read, or the rewards. `script` answers before the engine does, where it answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from json_server import json_server

from rewardsmith.rendering.encoding import encode
from rewardsmith.rendering.sandbox import apply_template
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Message

Ids = list[int]
ReadIds = Callable[[Ids], Ids]
Reply = tuple[int, Any]


@dataclass
class StandIn:
    """What is served and how it is spoiled; `seen` is what was asked: path and body.

    `reads` is what is read of the ids, `gives` what becomes of a reward, `template` the tokenizer that renders
    messages, `cached` what a reward from the prefix cache is, `warm` whether every prefix was seen before, `beside`
    what a reward gains in company, `most` how many texts a request may have.
    """

    kind: str
    scorer: LocalScorer
    limit: int = 512
    name: str = "rm"
    root: str = ""
    reads: ReadIds = list
    gives: Callable[[float, Ids], float] = lambda reward, ids: reward
    template: Any = None
    activation: Callable[[float], float] = lambda reward: reward
    cached: Callable[[float], float] | None = None
    warm: bool = False
    beside: float = 0.0
    most: int = 10_000
    token: str = ""
    script: Callable[[str, Any], tuple[int, bytes, dict[str, str]] | None] = lambda path, body: None
    url: str = ""
    seen: list[tuple[str, Any]] = field(default_factory=list)
    _blocks: set[tuple[int, ...]] = field(default_factory=set)

    def rewards(self, texts: Sequence[Ids], *, raw: bool = True, salt: str | None = None) -> list[float]:
        """Rewards of ids, as this server gives them."""
        read = [np.array(self.reads(list(ids)), dtype=np.int32) for ids in texts]
        found = [self.gives(float(one), ids) for one, ids in zip(self.scorer.score_ids(read), texts, strict=True)]
        if len(texts) > 1:
            found = [one + self.beside for one in found]
        if self.cached is not None and salt is None:
            found = [self._from_cache(one, ids) for one, ids in zip(found, texts, strict=True)]
        return found if raw else [self.activation(one) for one in found]

    def _from_cache(self, reward: float, ids: Ids) -> float:
        """A text whose first block was seen before is read from a cache that holds something else."""
        block = tuple(ids[:16])
        warm = self.warm or block in self._blocks
        self._blocks.add(block)
        return self.cached(reward) if warm and self.cached else reward

    def ids_of(self, messages: list[dict[str, Any]]) -> Ids:
        """What this server's template makes of messages."""
        turns = [tuple(Message(one["role"], one["content"]) for one in messages)]
        tokenizer = self.template or self.scorer.checkpoint.renderer.tokenizer
        return [int(token) for token in encode(tokenizer, apply_template(tokenizer, turns))[0]]

    def get(self, path: str) -> Reply:
        """What it says of itself."""
        card = {"id": self.name, "object": "model", "root": self.root, "max_model_len": self.limit}
        if self.kind in ("vllm", "sglang") and path == "/v1/models":
            return 200, {"object": "list", "data": [card | {"owned_by": self.kind}]}
        if self.kind == "tei" and path == "/info":
            return 200, {"model_id": self.root, "max_input_length": self.limit, "model_type": {"reranker": {}}}
        if self.kind == "openrlhf" and path == "/get_reward":
            return 405, {"detail": "Method Not Allowed"}
        return 404, {"detail": "Not Found"}

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        """What it answers."""
        answer = {
            ("vllm", "/classify"): self._vllm,
            ("vllm", "/pooling"): self._vllm,
            ("vllm", "/tokenize"): lambda body, _: (200, {"tokens": self.ids_of(body["messages"])}),
            ("sglang", "/classify"): self._sglang,
            ("openrlhf", "/get_reward"): self._openrlhf,
            ("tei", "/rerank"): self._tei,
        }.get((self.kind, path))
        return (404, {"detail": "Not Found"}) if answer is None else answer(body, path)

    def _vllm(self, body: dict[str, Any], path: str) -> Reply:
        if body.get("model") != self.name:
            return 404, {"error": {"message": f"The model `{body.get('model')}` does not exist.", "code": 404}}
        texts = [self.ids_of(body["messages"])] if "messages" in body else body["input"]
        if len(texts) > self.most:
            return 413, {"error": {"message": "request too large", "code": 413}}
        for ids in texts:
            if len(ids) > self.limit:
                said = f"This model's maximum context length is {self.limit} tokens."
                return 400, {
                    "error": {"message": said, "type": "BadRequestError", "param": "input_tokens", "code": 400}
                }
        raw = body.get("use_activation") is False
        rewards = self.rewards(texts, raw=raw, salt=body.get("cache_salt"))
        if path == "/pooling":
            data = [{"index": at, "object": "pooling", "data": [one]} for at, one in enumerate(rewards)]
        else:
            data = [
                {"index": at, "label": "LABEL_0", "probs": [one], "num_classes": 1} for at, one in enumerate(rewards)
            ]
        return 200, {"object": "list", "model": self.name, "data": data[::-1], "usage": {}}

    def _sglang(self, body: dict[str, Any], _: str) -> Reply:
        return 200, [{"embedding": [one], "meta_info": {}} for one in self.rewards(body["input_ids"])]

    def _openrlhf(self, body: dict[str, Any], _: str) -> Reply:
        tokenizer = self.scorer.checkpoint.renderer.tokenizer
        rewards = self.rewards([ids.tolist() for ids in encode(tokenizer, body["query"])])
        return 200, {"rewards": rewards, "scores": rewards, "extra_logs": {}}

    def _tei(self, body: dict[str, Any], _: str) -> Reply:
        tokenizer = self.scorer.checkpoint.renderer.tokenizer
        rewards = self.rewards([tokenizer(body["query"], text)["input_ids"] for text in body["texts"]])
        shown = rewards if body.get("raw_scores") else [1 / (1 + np.exp(-one)) for one in rewards]
        order = np.argsort(shown)[::-1].tolist()
        return 200, [{"index": at, "score": shown[at]} for at in order]


@contextmanager
def engine(kind: str, scorer: LocalScorer, **options: Any) -> Iterator[StandIn]:
    """Serve while the block runs."""
    stand_in = StandIn(kind, scorer, root=options.pop("root", str(scorer.checkpoint.folder)), **options)
    lock = threading.Lock()  # a model is no thread's own

    def answer(path: str, body: Any, authorization: str | None) -> tuple[int, Any, Mapping[str, str]]:
        with lock:
            stand_in.seen.append((path, body))
            scripted = stand_in.script(path, body)
            if stand_in.token and authorization != f"Bearer {stand_in.token}":
                return 401, b'{"error": "Unauthorized"}', {}
            if scripted is not None:
                return scripted
            return *(stand_in.get(path) if body is None else stand_in.post(path, body)), {}

    with json_server(answer) as url:
        stand_in.url = url
        yield stand_in
