"""How likely a language model finds answers: what bounds a learned ending of an attack.

    fluency = load_fluency("HuggingFaceTB/SmolLM2-135M")                     # in this process
    fluency = load_fluency("http://127.0.0.1:8000/v1?model=NAME")            # behind an OpenAI-style endpoint
    fluency.nats(conversations)          # mean negative log likelihood a token of each last message

The messages before are joined as plain text; only the tokens of the last message count. In this process texts longer
than the model's positions keep their end; of an endpoint they have none.

An endpoint is asked for the log probabilities of a prompt: `POST /v1/completions` with `echo: true, logprobs: 1`. As of
late 2026 that is answered by

    vLLM, SGLang         as it is
    llama-cpp-python     with `logits_all=True`, one text a request
    llama-server         not: it refuses `echo` (llama.cpp)
    OpenAI               not by its present models: they refuse `echo` together with `logprobs`

One token is asked to be written (`max_tokens: 1`), as lm-evaluation-harness does, and not counted: 0 means "no limit"
to llama-cpp-python. Where the last message begins is read off the tokens' texts, from either end of the text. Where
they do not spell it (bytes of a character, SentencePiece's spaces, `token_id:7`), what stands before the message is
asked for alone: its tokens are those behind the longest common beginning. `text_offset` cannot tell: SGLang writes -1,
vLLM counts a BOS that is no text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.addresses import is_address
from rewardsmith.errors import ModelError, first_line
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.cpu_matmul import use_faster_products
from rewardsmith.protocols import Fluency
from rewardsmith.scoring.connection import Connection, Reply, parse_address
from rewardsmith.scoring.engines import TOO_LONG
from rewardsmith.types import Conversation

TOKEN_VARIABLE = "REWARDSMITH_FLUENCY_TOKEN"  # noqa: S105 - a name, not a secret
"""Not the reward server's: each token goes to the host that it is for."""

_MOST_TOKENS = 2048
_TEXTS = 32
"""Of a request."""
_UNUSABLE = (400, 413, 422, 500)
_LITTLE = 1e-3
"""What rounding may put above 0, which no log probability is."""
_SERVERS = "vLLM, SGLang and llama-cpp-python (logits_all) give them; or name a folder or a hub id"


def load_fluency(name: str) -> Fluency:
    """The language model of a folder, a hub id, or the address of an endpoint.

    Raises:
        ModelError: there is none, or the endpoint serves no model that the address could mean.
    """
    return RemoteFluency(name) if is_address(name) else CausalFluency.load(name)


class CausalFluency:
    """A language model in this process."""

    def __init__(self, model: Any, tokenizer: Any, name: str = "") -> None:
        self.name = name
        self._model, self._tokenizer = model, tokenizer
        limit = getattr(model.config, "max_position_embeddings", None) or _MOST_TOKENS
        self._most = min(limit, _MOST_TOKENS)

    @classmethod
    def load(cls, name: str) -> Self:
        """A folder or a hub id.

        Raises:
            ModelError: there is none, or it is no causal language model.
        """
        import transformers

        ask_hub(name, error=ModelError, where="--fluency")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{name!r} cannot be loaded as a language model: {first_line(error)}",
                where="--fluency",
                fix="name a folder or a hub id with a causal language model",
            ) from error
        use_faster_products(model)
        return cls(model, tokenizer, name)

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        """See `protocols.Fluency`."""
        return np.array([self._nats(one) for one in conversations])

    def _nats(self, conversation: Conversation) -> float:
        head = self._tokenizer(_head(conversation), add_special_tokens=False)["input_ids"]
        own = self._tokenizer(conversation[-1].content, add_special_tokens=False)["input_ids"]
        ids = (head + own)[-self._most :]
        counted = min(len(own), len(ids) - 1)
        if counted < 1:
            return float("nan")
        ids_1T = torch.tensor([ids], device=next(self._model.parameters()).device)
        with torch.inference_mode():
            logits_TV = self._model(input_ids=ids_1T).logits[0, -counted - 1 : -1].float()
        losses_T = torch.nn.functional.cross_entropy(logits_TV, ids_1T[0, -counted:], reduction="none")
        return float(losses_T.double().mean())


@dataclass(frozen=True, slots=True)
class _Echo:
    """Tokens of a text and their log probabilities; None for the first one, before which nothing stands."""

    tokens: list[str]
    logprobs: list[float | None]


class RemoteFluency:
    """A language model behind an OpenAI-style endpoint.

    Its token is the URL's userinfo, else `$REWARDSMITH_FLUENCY_TOKEN`.

    Args:
        url: its base, as OpenAI's clients take it: `http://HOST:PORT/v1`; `?model=NAME` where it serves several.
        patience: seconds for which an endpoint that is full or not there is asked again.
        sleep: how to wait; for tests.

    Raises:
        ModelError: it is not there, refuses the token, or serves no model that the address could mean.
    """

    def __init__(self, url: str, *, patience: float = 60.0, sleep: Callable[[float], None] = time.sleep) -> None:
        address = parse_address(url)
        if address.engine or "tokenizer" in address.options:
            raise ModelError(
                "a language model's address names no engine and no tokenizer: it is sent texts",
                where=address.shown,
                fix="write http://HOST:PORT/v1?model=NAME",
            )
        self._connection = Connection(address, variable=TOKEN_VARIABLE, patience=patience, sleep=sleep)
        self._model = _served(self._connection)
        self._together = _TEXTS
        self._heads: dict[str, _Echo | None] = {}
        self.name = f"{self._model} at {address.shown}"

    def nats(self, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
        """See `protocols.Fluency`; NaN too where a text is longer than the endpoint takes.

        Raises:
            ModelError: the endpoint is not there any more, does not echo, or gives no log probabilities of a prompt.
        """
        texts = [(_sent(_head(one)), _sent(one[-1].content)) for one in conversations]
        wanted = dict.fromkeys(head + own for head, own in texts if own)
        found = dict(zip(wanted, self._echoes(list(wanted)), strict=True))
        starts = {(head, own): _start(head, head + own, found[head + own]) for head, own in texts if own}
        unclear = dict.fromkeys(
            head for (head, own), start in starts.items() if start is None and found[head + own] is not None
        )
        asked = [head for head in unclear if head not in self._heads]
        self._heads.update(zip(asked, self._echoes(asked), strict=True))
        return np.array(
            [self._mean(head, starts[head, own], found[head + own]) if own else math.nan for head, own in texts]
        )

    def _mean(self, head: str, start: int | None, echo: _Echo | None) -> float:
        if echo is None:
            return math.nan
        if start is None:
            before = self._heads[head]
            if before is None:
                return math.nan
            start = self._common(before.tokens, echo.tokens)
        known = [value for value in echo.logprobs[start:] if value is not None]
        return -math.fsum(known) / len(known) if known else math.nan

    def _common(self, before: list[str], tokens: list[str]) -> int:
        differs = (at for at, (one, other) in enumerate(zip(before, tokens, strict=False)) if one != other)
        start = next(differs, min(len(before), len(tokens)))
        # The last tokens of the head may join with what follows; if most of them do, it is not read from its beginning.
        if 2 * start < len(before):
            raise self._fault(
                f"of {len(before)} tokens of a prompt only the first {start} are the same when an answer follows",
                "see that it does not cut prompts (truncate_prompt_tokens, a small context)",
            )
        return start

    def _echoes(self, texts: list[str]) -> list[_Echo | None]:
        """Each text as the endpoint reads it; None where it is too long."""
        found: list[_Echo | None] = []
        while len(found) < len(texts):
            found += self._ask(texts[len(found) : len(found) + self._together])
        return found

    def _ask(self, texts: list[str]) -> list[_Echo | None]:
        body: dict[str, Any] = {"model": self._model, "prompt": texts if len(texts) > 1 else texts[0]}
        body |= {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
        reply = self._connection.call("POST", f"{self._connection.address.path}/completions", body)
        if reply.status == 200:
            return self._read(reply, texts)
        if reply.status in _UNUSABLE and len(texts) > 1:
            middle = len(texts) // 2
            halves = [*self._ask(texts[:middle]), *self._ask(texts[middle:])]
            if len(texts) == 2 and None not in halves:
                self._together = 1  # it was the list that it refused
            return halves
        if reply.status in _UNUSABLE and TOO_LONG.search(reply.message):
            return [None]
        raise self._refused(reply)

    def _read(self, reply: Reply, texts: list[str]) -> list[_Echo | None]:
        content = reply.content if isinstance(reply.content, dict) else {}
        choices, usage = content.get("choices"), content.get("usage")
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise self._fault("the answer is no completion: it has no choices", "correct the address: …/v1")
        by_index = {str(one.get("index", place)): one for place, one in enumerate(choices)}
        if len(choices) != len(texts) or set(by_index) != {str(place) for place in range(len(texts))}:
            raise self._fault(
                f"to {len(texts)} texts it gives answers {', '.join(sorted(by_index))[:80]}",
                "ask an OpenAI-style endpoint",
            )
        written = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if not isinstance(written, int) or written < 0:
            written = len(texts)
        if written % len(texts) and len(texts) > 1:
            # Some wrote a token and others ended at once: which ones is seen of each alone.
            return [one for text in texts for one in self._ask([text])]
        return [self._echo(by_index[str(place)], text, written // len(texts)) for place, text in enumerate(texts)]

    def _echo(self, choice: dict[str, Any], text: str, written: int) -> _Echo:
        said = choice.get("text")
        if not isinstance(said, str) or not said.startswith(text):
            raise self._fault("it ignores `echo`: its text does not begin with the prompt", _SERVERS)
        logprobs = choice.get("logprobs")
        read = logprobs if isinstance(logprobs, dict) else {}
        tokens, values = read.get("tokens"), read.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(values, list):
            raise self._fault("it answers without log probabilities (choices[].logprobs)", _SERVERS)
        if len(tokens) != len(values):
            raise self._fault(f"{len(values)} log probabilities of {len(tokens)} tokens", _SERVERS)
        kept = max(0, len(tokens) - written)
        tokens, values = tokens[:kept], values[:kept]
        if not values:
            raise self._fault("it gives log probabilities of what it writes, and none of the prompt", _SERVERS)
        wrong = [place for place, value in enumerate(values) if not _is_logprob(value) and (place or value is not None)]
        if wrong or not all(isinstance(token, str) for token in tokens):
            shown = f"{values[wrong[0]]!r}"[:40] if wrong else "a token that is no text"
            raise self._fault(f"token {wrong[0] + 1 if wrong else 1} of {len(values)} has {shown}", _SERVERS)
        return _Echo(tokens, values)

    def _refused(self, reply: Reply) -> ModelError:
        if reply.status == 404:
            said = f"answers 404: {reply.message}".rstrip(": ")
            return self._fault(said, f"write the address up to /v1; {self._connection.url}/models lists models")
        if "echo" in reply.message.lower() or "logprobs" in reply.message.lower():
            return self._fault(f"refuses to echo a prompt with log probabilities: {reply.message}", _SERVERS)
        return self._connection.refused(reply, "does it answer /v1/completions?")

    def _fault(self, problem: str, fix: str) -> ModelError:
        return ModelError(problem, where=self._connection.url, fix=fix)


def _head(conversation: Conversation) -> str:
    """What stands before the last message."""
    before = "\n\n".join(message.content for message in conversation[:-1])
    return f"{before}\n\n" if before else ""


def _start(head: str, text: str, echo: _Echo | None) -> int | None:
    """The first token that holds a character behind the head; None where the tokens do not spell the text so far.

    A token before the text (BOS) has no place in it.
    """
    if echo is None:
        return None
    if not head:
        return 0
    tokens, at = echo.tokens, 0
    for place in range(0 if text.startswith(tokens[0]) else 1, len(tokens)):
        if not text.startswith(tokens[place], at):
            break
        at += len(tokens[place])
        if at > len(head):
            return place
    end = len(text)
    for place in reversed(range(len(tokens))):
        begin = end - len(tokens[place])
        if begin < 0 or text[begin:end] != tokens[place]:
            break
        if begin <= len(head):
            return place
        end = begin
    return None


def _sent(text: str) -> str:
    """Text that JSON of a server can hold: half a surrogate pair is none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value <= _LITTLE


def _served(connection: Connection) -> str:
    """The model that the address means: the one that it names, else the only one there."""
    wanted = connection.address.options.get("model")
    reply = connection.call("GET", f"{connection.address.path}/models")
    if reply.status in (401, 403):
        raise connection.refused(reply, "")
    cards = reply.content.get("data") if reply.status == 200 and isinstance(reply.content, dict) else None
    names = [str(card.get("id")) for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    if wanted and (not names or wanted in names):
        return wanted
    if len(names) == 1 and not wanted:
        return names[0]
    there = ", ".join(name[:80] for name in names[:8])
    raise ModelError(
        f"serves {there}, and {f'no {wanted}' if wanted else 'the address names none of them'}"
        if names
        else f"does not list its models at {connection.url}/models",
        where=connection.url,
        fix="write http://HOST:PORT/v1?model=NAME",
    )
