"""A reward model served somewhere else as a `Scorer`: `rewardsmith serve`, or an engine that serves reward models.

    scorer = RemoteScorer("http://10.0.0.7:8000")                     # the only model there; the server is recognised
    scorer = RemoteScorer("https://rewards.example/models/helpful")   # one of several of `rewardsmith serve`
    scorer = RemoteScorer("vllm+http://10.0.0.7:8000?tokenizer=Skywork/Skywork-Reward-V2-Qwen3-8B")
    rewards_B = scorer.score(conversations)                           # NaN where the server's model has none
    scorer.missing                                                    # why: {"over_length": 3}

Our own server is sent conversations and renders them. An engine (vLLM, SGLang, OpenRLHF's server, TEI:
`engines.py`) is sent what we rendered: tokenizer and template are those of the checkpoint or hub id behind
`?tokenizer=`, else of the folder that the engine says it serves, where that is on this machine or the hub.

How it is asked, the token included, is in `connection.py`. A long list travels in several requests. A request that the
server's limits refuse is halved and sent again.
"""

from __future__ import annotations

import re
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.addresses import is_address
from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.modeling.checkpoint import load_rendering
from rewardsmith.protocols import Progress
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import REASONS, Renderer
from rewardsmith.rendering.messages import plain_text
from rewardsmith.scoring.connection import TOKEN_VARIABLE, Connection, parse_address
from rewardsmith.scoring.engines import Engine, Item, find_engine, is_finite, pair_of
from rewardsmith.scoring.ensemble import Scale
from rewardsmith.scoring.local import NO_REWARD
from rewardsmith.types import Conversation, tools_of

__all__ = ["TOKEN_VARIABLE", "RemoteModel", "RemoteScorer", "is_url"]

is_url = is_address

_ITEMS = 128
_CHARACTERS = 2**20
"""Most conversations and characters of a request: below the limits that a server has unless told otherwise."""

_HALVED = {"body_too_large", "too_many_items", "too_many_values"}
_ALONE = {"body_too_large", "text_too_long", "too_many_values"}
_IDENTITY = frozenset(string.ascii_letters + string.digits + "._+-")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """What a server says of its model (`GET /v1/models`)."""

    name: str
    identity: str
    scale: Scale
    max_length: int | None = None
    conversational: bool = True


class RemoteScorer:
    """Scores conversations with a model behind a URL.

    Args:
        url: of the server, or of one of its models (`…/models/NAME`); `ENGINE+http://…` names an engine, and
            `?tokenizer=DIR&model=NAME` the tokenizer that renders for it and one of its models.
        token: else the URL's userinfo, else `$REWARDSMITH_TOKEN`.
        timeout: seconds that one request may take.
        patience: seconds for which a server that is full or not there is asked again.
        sleep: how to wait; for tests.
        renderer: what makes token ids for an engine, in place of the tokenizer that the URL names.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 180.0,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        renderer: Renderer | None = None,
    ) -> None:
        address = parse_address(url)
        self.connection = Connection(address, token=token, timeout=timeout, patience=patience, sleep=sleep)
        self.url = address.shown
        self.missing: Counter[str] = Counter()
        self._said: dict[Conversation, str] = {}
        self._prefix = address.path
        self._renderer = renderer
        self._record: CheckpointRecord | None = None

    @cached_property
    def engine(self) -> Engine | None:
        """The engine behind the URL; None for `rewardsmith serve`. The first use asks; raises as `score`."""
        return find_engine(self.connection)

    @cached_property
    def renderer(self) -> Renderer:
        """What makes token ids for an engine. Raises as `score`."""
        if self._renderer is not None:
            return self._renderer
        folder = self._tokenizer()
        try:
            renderer, self._record = load_rendering(folder)
        except RewardsmithError as error:
            raise ModelError(
                f"what it serves cannot be rendered: {error.problem}",
                where=self.url,
                fix="write ?tokenizer=DIR behind it, with the folder or the hub id of the served checkpoint",
            ) from error
        return renderer

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> NDArray[np.float64]:
        """Raw rewards, shape (len(conversations),), in input order; NaN where the server's model has none.

        Raises:
            ModelError: the server is not there, refuses the token or the request, or does not answer as it should.
        """
        self._said = {}
        if self.engine is not None:
            return self._score_engine(self.engine, conversations, progress)
        rewards = np.full(len(conversations), np.nan)
        done = 0
        for indices in _chunks(conversations):
            rewards[indices] = self._score([conversations[index] for index in indices])
            done += len(indices)
            if progress is not None:
                progress(done, len(conversations))
        return rewards

    def why(self, conversations: Sequence[Conversation]) -> list[str]:
        """The server's codes for conversations of the last call that have no reward, `code: detail`."""
        codes = [self._said.get(conversation, "") for conversation in conversations]
        return [_in_words(code) if code else NO_REWARD for code in codes]

    def describe(self) -> RemoteModel:
        """What the server says of the model behind this URL. Raises as `score`.

        Of an engine's model: the engine's name for it, and the numbers of the checkpoint that renders for it. Its
        weights have no identity, so rewards of two models under one name cannot be told apart.
        """
        if self.engine is not None:
            return self._describe_engine(self.engine)
        base, _, name = self._prefix.rpartition("/models/")
        prefix = base if name and "/" not in name and self._prefix.endswith(f"/models/{name}") else self._prefix
        named = name if prefix != self._prefix else None
        cards = self.connection.content(self.connection.call("GET", f"{prefix}/v1/models")).get("data")
        found = [card for card in cards or [] if isinstance(card, dict) and named in (None, card.get("id"))]
        if len(found) != 1:
            raise ModelError(
                f"serves {len(found)} models that this could mean", where=self.url, fix="write …/models/NAME"
            )
        return _model(found[0])

    def _score(self, conversations: list[Conversation]) -> NDArray[np.float64]:
        reply = self.connection.call("POST", f"{self._prefix}/v1/score", _request(conversations))
        if reply.status in (413, 422) and reply.code in _HALVED and len(conversations) > 1:
            middle = len(conversations) // 2
            return np.concatenate([self._score(conversations[:middle]), self._score(conversations[middle:])])
        if reply.status in (413, 422) and reply.code in _ALONE:
            return self._each_alone(conversations, reply.code)
        content = self.connection.content(reply)
        rewards, reasons = content.get("rewards"), content.get("reasons")
        if not isinstance(rewards, list) or len(rewards) != len(conversations):
            raise ModelError(
                "the answer has not one reward for each conversation", where=self.url, fix="ask a rewardsmith server"
            )
        if not all(reward is None or is_finite(reward) for reward in rewards):
            raise ModelError(
                "the answer holds a reward that is no finite number", where=self.url, fix="ask a rewardsmith server"
            )
        told = reasons if isinstance(reasons, list) and len(reasons) == len(rewards) else ["unknown"] * len(rewards)
        for index, reward in enumerate(rewards):
            if reward is None:
                code = str(told[index])[:_SHOWN]
                self.missing[code] += 1
                self._said[conversations[index]] = code
        return np.array([np.nan if reward is None else float(reward) for reward in rewards])

    def _each_alone(self, conversations: list[Conversation], code: str) -> NDArray[np.float64]:
        """One text is beyond a limit: it has no reward, the others do."""
        if len(conversations) == 1:
            self.missing[code] += 1
            self._said[conversations[0]] = code
            return np.array([np.nan])
        return np.concatenate([self._score([one]) for one in conversations])

    def _score_engine(
        self, engine: Engine, conversations: Sequence[Conversation], progress: Progress | None
    ) -> NDArray[np.float64]:
        rewards = np.full(len(conversations), np.nan)
        items = self._pairs(conversations) if engine.dialect.sends == "pair" else self._rendered(engine, conversations)
        wanted = {item: None for item in items if item is not None}  # each text once
        told = None if progress is None else lambda done: progress(done, max(len(wanted), 1))
        found = dict(zip(wanted, engine.ask(list(wanted), told), strict=True))
        for index, item in enumerate(items):
            if item is None:
                continue
            rewards[index] = found[item].reward
            if found[item].reason:
                self._lacks(conversations[index], found[item].reason)
        return rewards

    def _rendered(self, engine: Engine, conversations: Sequence[Conversation]) -> list[Item | None]:
        """What an engine is sent of each conversation; None, and the reason kept, where there is nothing to send."""
        renderer = self.renderer
        asked = conversations if renderer.record.conversational else [plain_text(one) for one in conversations]
        items: list[Item | None] = []
        for conversation, shown, rendered in zip(conversations, asked, renderer.render_many(asked), strict=True):
            if rendered.ids is None:
                self._lacks(conversation, f"{rendered.reason}: {REASONS.get(rendered.reason, rendered.detail)}")
                items.append(None)
            elif engine.limit is not None and len(rendered.ids) > engine.limit:
                self._lacks(
                    conversation, f"over_length: {len(rendered.ids)} tokens, and the engine takes {engine.limit}"
                )
                items.append(None)
            else:
                text = renderer.text(shown) if engine.dialect.sends == "text" else ""
                items.append(Item(tuple(rendered.ids.tolist()), text))
        return items

    def _pairs(self, conversations: Sequence[Conversation]) -> list[Item | None]:
        pairs = [pair_of(conversation) for conversation in conversations]
        for conversation, pair in zip(conversations, pairs, strict=True):
            if pair is None:
                self._lacks(conversation, "not_a_pair: /rerank takes one question and one answer")
        return [None if pair is None else Item(pair=pair) for pair in pairs]

    def _lacks(self, conversation: Conversation, reason: str) -> None:
        self.missing[reason.partition(":")[0]] += 1
        self._said[conversation] = reason

    def _describe_engine(self, engine: Engine) -> RemoteModel:
        name = engine.model or engine.root or engine.dialect.engine
        if engine.dialect.sends == "pair":
            return RemoteModel(name, _plain(f"{engine.dialect.engine}-{name}"), Scale(), engine.limit)
        rendering = self.renderer.record
        record = self._record
        heat = (record.calibration or {}).get("temperature") if record else None
        return RemoteModel(
            name=name,
            identity=_plain(f"{engine.dialect.engine}-{name}-{rendering.template_sha256[:12]}"),
            scale=Scale(record.reward_mean, record.reward_std, heat) if record else Scale(),
            max_length=min(rendering.max_length, engine.limit or rendering.max_length),
            conversational=rendering.conversational,
        )

    def _tokenizer(self) -> str:
        """The folder or hub id whose tokenizer renders."""
        if named := self.connection.address.options.get("tokenizer"):
            return named
        root = self.engine.root if self.engine else None
        if root is not None and (Path(root).is_dir() or _HUB_ID.fullmatch(root)):
            return root
        there = f" ({root} is not on this machine)" if root else ""
        raise ModelError(
            f"an engine is sent token ids, and which tokenizer makes them is not known{there}",
            where=self.url,
            fix="write ?tokenizer=DIR behind it, with the folder or the hub id of the served checkpoint",
        )


def _chunks(conversations: Sequence[Conversation]) -> Iterator[list[int]]:
    """Indices of requests: conversations of one kind (messages, plain text), in order, within the sizes above."""
    for plain in (False, True):
        chunk: list[int] = []
        size = 0
        for index, conversation in enumerate(conversations):
            if _is_text(conversation) is not plain:
                continue
            length = sum(len(turn.text) for turn in conversation)
            if chunk and (len(chunk) == _ITEMS or size + length > _CHARACTERS):
                yield chunk
                chunk, size = [], 0
            chunk.append(index)
            size += length
        if chunk:
            yield chunk


def _is_text(conversation: Conversation) -> bool:
    return all(turn.role == "text" for turn in conversation)


def _request(conversations: list[Conversation]) -> dict[str, Any]:
    body: dict[str, Any] = {"allow_missing": True}
    if _is_text(conversations[0]):
        body["texts"] = ["".join(turn.content for turn in one) for one in conversations]
    else:
        body["conversations"] = [_chat(one) for one in conversations]
    return body


def _chat(conversation: Conversation) -> Any:
    """Messages, and with them the tools that they may call."""
    tools, turns = tools_of(conversation)
    messages = [turn.as_dict() for turn in turns]
    return {"messages": messages, "tools": tools} if tools else messages


def _in_words(code: str) -> str:
    return code if ": " in code else f"{code}: {REASONS.get(code, 'the server gives none')}"


def _plain(identity: str) -> str:
    return "".join(one for one in identity if one in _IDENTITY)[:200]


def _model(card: dict[str, Any]) -> RemoteModel:
    return RemoteModel(
        name=str(card.get("id", "")),
        identity=_plain(str(card.get("identity", ""))),
        scale=Scale(_number(card, "reward_mean"), _number(card, "reward_std"), _number(card, "temperature")),
        max_length=int(card["max_length"]) if isinstance(card.get("max_length"), int) else None,
        conversational=card.get("conversational") is not False,
    )


def _number(card: dict[str, Any], name: str) -> float | None:
    """A number that rewards can be compared with; a mean may be negative."""
    value = card.get(name)
    return float(value) if is_finite(value) and (value > 0 or name == "reward_mean") else None
