"""Engines that serve reward models, and the dialect that each answers in.

    engine = find_engine(Connection(parse_address("http://10.0.0.7:8000")))     # asks; None for `rewardsmith serve`
    engine = find_engine(Connection(parse_address("sglang+http://10.0.0.7:30000")))          # named
    for answered in engine.ask([Item(ids=(1, 2, 3), text="…")]):
        answered.reward, answered.reason               # 1.25, ""; NaN, "over_length: 530 tokens …"

| engine     | asked at       | is sent                     | says of itself                            |
|------------|----------------|-----------------------------|-------------------------------------------|
| `vllm`     | `/classify`    | token ids                   | `/v1/models`: name, folder, longest text  |
| `vllm`     | `/pooling`     | token ids (named by path)   | the same                                  |
| `sglang`   | `/classify`    | token ids                   | `/v1/models`, `/get_model_info`           |
| `openrlhf` | `/get_reward`  | the rendered text           | nothing                                   |
| `tei`      | `/rerank`      | the question and one answer | `/info`                                   |

Where ids are sent, no template and no tokenizer of the engine stands between text and reward. `/get_reward` is sent the
text that those ids mean. `/rerank` is of another kind: it makes one text of two by its own rule, so only a conversation
of one question and one answer can be asked about, and `rewardsmith verify --against` says whether the ids are the same.

Rewards are asked for raw (`use_activation: false` of vLLM, `raw_scores` of TEI); `plain=True` asks as a client does
that knows no such field. A request that the engine refuses is halved, so that one text alone is without a reward.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ModelError
from rewardsmith.scoring.connection import Connection, Reply
from rewardsmith.types import Conversation, tools_of

NOT_FINITE = "not_finite"
_TOKENS = 2**17
"""Tokens of a request."""
TOO_LONG = re.compile(
    r"context length|max_model_len|too long|longer than|at most \d+ tokens|less than \d+ tokens", re.I
)
"""In what engines say of a text that they do not take."""
_NO_NUMBER = re.compile(r"JSON compliant|\bnan\b", re.I)
_UNUSABLE = (400, 413, 422)
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Item:
    """A text to ask about: its ids and what they mean, or for `/rerank` its question and answer."""

    ids: tuple[int, ...] = ()
    text: str = ""
    pair: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A reward, or NaN and why there is none: `code: detail`."""

    reward: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """How items are asked about; `salt` keeps vLLM's prefix cache from being read."""

    model: str | None
    plain: bool = False
    salt: str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """Words of one engine: what it is sent, at most so many items at a time, and how its answer is read.

    `rewards` gives one value for each item, whatever it is; it raises `ValueError`, `KeyError`, `TypeError` or
    `IndexError` where the answer has another form.
    """

    engine: str
    path: str
    sends: Literal["ids", "text", "pair"]
    items: int
    request: Callable[[Sequence[Item], Asking], dict[str, Any]]
    rewards: Callable[[Any, int], list[Any]]


def _vllm_request(items: Sequence[Item], asking: Asking) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asking.model, "input": [list(item.ids) for item in items]}
    if not asking.plain:
        body["use_activation"] = False
    if asking.salt is not None:
        body["cache_salt"] = asking.salt
    return body


def _in_order(entries: Any, count: int) -> list[Any]:
    """Entries by their index: each from 0 to count - 1 once."""
    found = {entry["index"]: entry for entry in entries}
    if sorted(found) != list(range(count)) or len(entries) != count:
        raise ValueError(f"{len(entries)} answers to {count} texts")
    return [found[index] for index in range(count)]


def _one(values: Any) -> Any:
    """The only number of a list; of a model that gives every token one, that of the last token."""
    if isinstance(values, list) and values and all(isinstance(value, list) for value in values):
        values = values[-1]
    if not isinstance(values, list) or len(values) != 1:
        several = len(values) if isinstance(values, list) else "no list of"
        raise ValueError(f"{several} numbers for a text: a reward model gives one")
    return values[0]


def _sglang_rewards(content: Any, count: int) -> list[Any]:
    if not isinstance(content, list) or len(content) != count:
        raise ValueError(f"no list of {count} answers")
    return [_one(entry["embedding"]) for entry in content]


def _openrlhf_rewards(content: Any, count: int) -> list[Any]:
    found = content["rewards"]
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"no list of {count} rewards")
    return [_one(value) if isinstance(value, list) else value for value in found]


def _rerank_request(items: Sequence[Item], asking: Asking) -> dict[str, Any]:
    pairs = [item.pair for item in items if item.pair is not None]
    body = {"query": pairs[0][0], "texts": [answer for _, answer in pairs], "truncate": False}
    return body if asking.plain else body | {"raw_scores": True}


VLLM_CLASSIFY = Dialect(
    "vllm",
    "/classify",
    "ids",
    128,
    _vllm_request,
    lambda content, count: [_one(entry["probs"]) for entry in _in_order(content["data"], count)],
)
VLLM_POOLING = Dialect(
    "vllm",
    "/pooling",
    "ids",
    128,
    lambda items, asking: _vllm_request(items, asking) | {"task": "classify"},
    lambda content, count: [_one(entry["data"]) for entry in _in_order(content["data"], count)],
)
SGLANG = Dialect(
    "sglang",
    "/classify",
    "ids",
    128,
    lambda items, asking: {"model": asking.model, "input_ids": [list(item.ids) for item in items]},
    _sglang_rewards,
)
OPENRLHF = Dialect(
    "openrlhf",
    "/get_reward",
    "text",
    32,
    lambda items, asking: {"query": [item.text for item in items], "prompts": [], "labels": []},
    _openrlhf_rewards,
)
TEI = Dialect(
    "tei",
    "/rerank",
    "pair",
    32,
    _rerank_request,
    lambda content, count: [entry["score"] for entry in _in_order(content, count)],
)

DIALECTS: tuple[Dialect, ...] = (VLLM_CLASSIFY, VLLM_POOLING, SGLANG, OPENRLHF, TEI)
"""The registry: the first of an engine is used where the address does not end in another one's path."""
OWN = "rewardsmith"
PRODUCTS = {"vllm": "vLLM", "sglang": "SGLang", "openrlhf": "OpenRLHF", "tei": "TEI"}


class Engine:
    """A served reward model that is asked in its engine's dialect. `find_engine` makes one.

    `root` is where the engine says that it loaded the model from, `limit` its longest text in tokens; None where it
    does not say.
    """

    def __init__(
        self, connection: Connection, prefix: str, dialect: Dialect, card: Mapping[str, Any], model: str | None
    ) -> None:
        self.connection = connection
        self.dialect = dialect
        self.model = model
        root = card.get("root") or card.get("model_path") or card.get("model_id")
        limit = card.get("max_model_len") or card.get("max_input_length")
        self.root = root if isinstance(root, str) else None
        self.limit = limit if isinstance(limit, int) and limit > 0 else None
        self._prefix = prefix

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"{PRODUCTS[self.dialect.engine]}'s {self.dialect.path}"

    def ask(
        self,
        items: Sequence[Item],
        progress: Callable[[int], None] | None = None,
        *,
        plain: bool = False,
        salt: str | None = None,
        together: bool = True,
    ) -> list[Answered]:
        """One answer for each item, in order.

        Args:
            items: what is asked about.
            progress: told how many are done.
            plain: ask as a client that knows no field for raw rewards.
            salt: as in `Asking`.
            together: false sends each item alone.

        Raises:
            ModelError: the engine is not there, refuses the token, answers in another form, or refuses everything.
        """
        asking = Asking(self.model, plain, salt)
        found: list[Answered] = [Answered(float("nan"))] * len(items)
        done = 0
        for indices in self._requests(items, 1 if not together else self.dialect.items):
            for index, one in zip(indices, self._ask([items[index] for index in indices], asking), strict=True):
                found[index] = one
            done += len(indices)
            if progress is not None:
                progress(done)
        refused = [one.reason for one in found if one.reason.startswith("refused: ")]
        if items and len(refused) == len(items):
            raise ModelError(
                f"{self.name} refuses every text: {refused[0].removeprefix('refused: ')}",
                where=self.connection.url,
                fix="serve a reward model there (vLLM: --runner pooling), or correct the address",
            )
        return found

    def template_ids(self, conversation: Conversation) -> NDArray[np.int32] | None:
        """The token ids that the engine's own template makes of messages; None where it does not say (vLLM does)."""
        if self.dialect.engine != "vllm":
            return None
        body = {"model": self.model, **_messages(conversation), "add_generation_prompt": False}
        reply = self._call("/tokenize", body)
        tokens = reply.content.get("tokens") if reply.status == 200 and isinstance(reply.content, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            return None
        return np.array(tokens, dtype=np.int32)

    def ask_messages(self, conversation: Conversation, *, plain: bool = False) -> Answered:
        """The reward of messages that the engine renders by its own template (vLLM only)."""
        body: dict[str, Any] = {"model": self.model, **_messages(conversation)}
        body |= {} if plain else {"use_activation": False}
        body |= {"task": "classify"} if self.dialect.path == VLLM_POOLING.path else {}
        return self._read(self._call(self.dialect.path, body), 1)[0]

    def _ask(self, items: list[Item], asking: Asking) -> list[Answered]:
        reply = self._call(self.dialect.path, self.dialect.request(items, asking))
        if self._is_about_a_text(reply):
            if len(items) > 1:
                middle = len(items) // 2
                return [*self._ask(items[:middle], asking), *self._ask(items[middle:], asking)]
            return [Answered(float("nan"), self._why_not(reply))]
        return self._read(reply, len(items))

    def _read(self, reply: Reply, count: int) -> list[Answered]:
        if reply.status != 200:
            if self._is_about_a_text(reply):
                return [Answered(float("nan"), self._why_not(reply))] * count
            raise self.connection.refused(reply, f"does {self.name} answer there?")
        try:
            values = self.dialect.rewards(reply.content, count)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            said = str(error) if type(error) is ValueError else "another form"
            raise ModelError(
                f"the answer is none of {self.name}: {said}",
                where=self.connection.url,
                fix=f"name the engine: {', '.join(sorted({one.engine for one in DIALECTS}))}+http://HOST:PORT",
            ) from error
        return [_answered(value) for value in values]

    def _is_about_a_text(self, reply: Reply) -> bool:
        """Whether a text may be the reason of the refusal. vLLM and FastAPI fail with 500 on a reward of NaN."""
        return reply.status in _UNUSABLE or (reply.status == 500 and _NO_NUMBER.search(reply.message) is not None)

    def _why_not(self, reply: Reply) -> str:
        said = reply.message[:_SHOWN] or f"status {reply.status}"
        if reply.status == 500:
            return f"{NOT_FINITE}: the engine answers {said}"
        return f"over_length: {said}" if TOO_LONG.search(said) else f"refused: {said}"

    def _call(self, path: str, body: dict[str, Any]) -> Reply:
        return self.connection.call("POST", f"{self._prefix}{path}", body)

    def _requests(self, items: Sequence[Item], most: int) -> Iterator[list[int]]:
        """Indices of requests; those of `/rerank` have one question."""
        groups: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            groups.setdefault(item.pair[0] if item.pair else "", []).append(index)
        for group in groups.values():
            chunk: list[int] = []
            size = 0
            for index in group:
                length = len(items[index].ids) + len(items[index].text) // 4
                if chunk and (len(chunk) == most or size + length > _TOKENS):
                    yield chunk
                    chunk, size = [], 0
                chunk.append(index)
                size += length
            yield chunk


def find_engine(connection: Connection) -> Engine | None:
    """The engine behind an address, by its name, by the path, or by what the server says of itself.

    None for `rewardsmith serve`, and for whatever is not recognised: it is asked as one.

    Raises:
        ModelError: the name is none of an engine, the server is not there or refuses the token, or it serves several
            models and the address names none of them.
    """
    address = connection.address
    named, path = address.engine, address.path
    names = sorted({dialect.engine for dialect in DIALECTS} | {OWN})
    if named and named not in names:
        raise ModelError(
            f"{named!r} is no engine that is known", where=connection.url, fix=f"name one of {', '.join(names)}"
        )
    at_path = [one for one in DIALECTS if path.endswith(one.path) and named in ("", one.engine)]
    if named == OWN or (not named and not at_path and "/models/" in path):
        return None
    prefix = path.removesuffix(at_path[0].path) if at_path else path
    if not named and len({one.engine for one in at_path}) == 1:
        named = at_path[0].engine
    card = _card(connection, prefix, named)
    named = named or _recognised(card)
    if not named:
        return None
    dialect = next(one for one in (*at_path, *DIALECTS) if one.engine == named)
    return Engine(connection, prefix, dialect, card, _asked_model(card, address.options.get("model")))


def _card(connection: Connection, prefix: str, named: str) -> Mapping[str, Any]:
    """What a server says of its model, empty where it says nothing that is understood."""
    wanted = connection.address.options.get("model")
    if named in ("", "vllm", "sglang"):
        reply = connection.call("GET", f"{prefix}/v1/models")
        if reply.status == 401:
            raise connection.refused(reply, "")
        cards = reply.content.get("data") if reply.status == 200 and isinstance(reply.content, dict) else None
        cards = [card for card in cards or [] if isinstance(card, dict)] if isinstance(cards, list) else []
        if any("identity" in card for card in cards):
            return {}
        ours = [card for card in cards if wanted in (None, card.get("id"))]
        if cards and len(ours) != 1:
            there = ", ".join(str(card.get("id"))[:80] for card in cards[:8])
            raise ModelError(
                f"serves {there}, and {f'no {wanted}' if wanted else 'the address names none of them'}",
                where=connection.url,
                fix="write ?model=NAME behind it",
            )
        if ours:
            return dict(ours[0])
    for path, field, engine in (("/info", "model_id", "tei"), ("/get_model_info", "model_path", "sglang")):
        if named in ("", engine):
            reply = connection.call("GET", f"{prefix}{path}")
            if reply.status == 200 and isinstance(reply.content, dict) and field in reply.content:
                return {**reply.content, "owned_by": engine}
    if not named and connection.call("GET", f"{prefix}{OPENRLHF.path}").status == 405:
        # There, but not for GET. Ours has that path too, and was recognised above.
        return {"owned_by": OPENRLHF.engine}
    return {}


def _recognised(card: Mapping[str, Any]) -> str:
    owner = str(card.get("owned_by", "")).lower()
    return owner if owner in {dialect.engine for dialect in DIALECTS} else ""


def _asked_model(card: Mapping[str, Any], wanted: str | None) -> str | None:
    name = card.get("id")
    return wanted or (name if isinstance(name, str) else None)


def pair_of(conversation: Conversation) -> tuple[str, str] | None:
    """Question and answer of a conversation that is nothing else."""
    if [turn.role for turn in conversation] != ["user", "assistant"] or not all(turn.is_plain for turn in conversation):
        return None
    return conversation[0].content, conversation[1].content


def _messages(conversation: Conversation) -> dict[str, Any]:
    """Messages, and the tools that they may call, as vLLM takes them."""
    tools, turns = tools_of(conversation)
    messages = [turn.as_dict() for turn in turns]
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


def _answered(value: Any) -> Answered:
    if is_finite(value):
        return Answered(float(value))
    said = "null" if value is None else f"{value!r}"[:_SHOWN]
    return Answered(float("nan"), f"{NOT_FINITE}: the engine answers {said}")


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float holds: JSON has NaN, and integers of 400 digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
