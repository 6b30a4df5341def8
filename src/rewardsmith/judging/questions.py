"""What is asked of a judge, as text and as a request, and what its reply says.

    prompts = load_prompts(spec.prompts)                                {"ranking": Prompt, "pairwise": …, "rating": …}
    question = ranking_question(prompts["ranking"], prompt, answers)    or pairwise_question, rating_question
    body, form = request_body(spec, question, off, seed=…, again=False)
    shares = read_labels(question, reply, form)                         or read_rating; None where it cannot be read

A prompt file has sections, each under a line of its own: `--- system ---`, `--- user ---`, and one for each form of the
reply, `--- reply: text ---`, `--- reply: json ---`, `--- reply: token ---`; what stands above them is a comment. Names
in double braces are filled in once, so that braces in the material stay what they are. The files of this project lie in
`prompts/`; a user's own takes the place of one. A prompt is known by the SHA-256 of its file.

Each part of the material stands under a line with a mark that is a hash of all of it: a response cannot know the mark,
so it cannot pretend to be over and speak to the judge itself.

Replies are read strictly: an ambiguous one is None and counts as missing; it never becomes a score.

    text     the last line that is not empty holds the verdict in double square brackets, `[[B]]`, and nothing else but
             "Verdict:" and emphasis. A mark anywhere else is talk: a judge that quotes a response has not decided.
    json     the whole reply is one JSON object (a code fence around it is taken off) with the field of the question.
    token    the probabilities of the first token, where the endpoint gives them: those of the labels must hold more
             than half of it, and are scaled to 1. Else the reply itself is the verdict, bare or in brackets.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from rewardsmith.errors import SpecError
from rewardsmith.records.bounded import BeyondLimitError, parse_json, read_bounded
from rewardsmith.spec import JudgePrompts, JudgeSpec
from rewardsmith.spec.section import nearest
from rewardsmith.types import Conversation

Kind = Literal["ranking", "pairwise", "rating"]
Form = Literal["text", "json", "token"]
"""How a reply is written: reasoned text that ends with the verdict, a JSON object, or the verdict alone."""

KINDS: tuple[Kind, ...] = ("ranking", "pairwise", "rating")
BUILT_IN = "built in"
_FILLED = ("conversation", "answers", "mark", "labels", "reply")
_NEEDED = ("conversation", "answers", "reply")
_SECTIONS = ("system", "user", "reply: text", "reply: json", "reply: token")
_HEADING = re.compile(r"^--- (.+?) ---[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt file: where it came from, its hash, and its sections by name."""

    source: str
    sha256: str
    sections: Mapping[str, str]

    def messages(self, form: Form, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The chat messages of one question, for a reply of this form."""
        reply = _fill(self.sections[f"reply: {form}"], values)
        user = _fill(self.sections["user"], {**values, "reply": reply})
        system = self.sections.get("system", "")
        return [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": user}]

    def reply_form(self, form: Form, values: Mapping[str, str]) -> str:
        """What the prompt says about the reply: repeated where a first one could not be read."""
        return _fill(self.sections[f"reply: {form}"], values)


def load_prompts(spec: JudgePrompts) -> dict[Kind, Prompt]:
    """The three prompts: the spec's files, and those of this project in place of what it leaves out.

    Raises:
        SpecError: a file cannot be read, lacks a section or a name, or has one that nothing fills.
    """
    files: dict[Kind, str | None] = {kind: getattr(spec, kind) for kind in KINDS}
    return {kind: _built_in(kind) if path is None else _own(kind, path) for kind, path in files.items()}


def _built_in(kind: Kind) -> Prompt:
    text = resources.files(__package__).joinpath("prompts", f"{kind}.md").read_text(encoding="utf-8")
    return parse_prompt(text, source=BUILT_IN, where=f"judging/prompts/{kind}.md")


def _own(kind: Kind, path: str) -> Prompt:
    field = f"judge.prompts.{kind}"
    try:
        text = read_bounded(Path(path)).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path!r} cannot be read: it is not UTF-8 text", where=field, fix="save the prompt as UTF-8"
        ) from error
    except (OSError, BeyondLimitError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(
            f"{path!r} cannot be read: {reason}", where=field, fix="name a prompt file, or leave the line out"
        ) from error
    return parse_prompt(text, source=path, where=f"{path}, {field}")


def parse_prompt(text: str, *, source: str, where: str) -> Prompt:
    """A prompt from the text of its file.

    Raises:
        SpecError: a section or a name is missing or unknown.
    """
    parts = _HEADING.split(text)
    sections = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    for name in sections:
        if name not in _SECTIONS:
            raise SpecError(f"there is no section {name!r}", where=where, fix=nearest(name, _SECTIONS))
    missing = [name for name in _SECTIONS if name != "system" and not sections.get(name, "").strip()]
    if missing:
        raise SpecError(
            f"has no section {missing[0]!r}",
            where=where,
            fix=f"write a line `--- {missing[0]} ---` and the text under it; docs/judge.md shows a whole file",
        )
    named = [name for body in sections.values() for name in _NAME.findall(body)]
    for name in named:
        if name not in _FILLED:
            raise SpecError(f"nothing fills {{{{{name}}}}}", where=where, fix=nearest(name, _FILLED))
    for name in _NEEDED:
        if name not in _NAME.findall(sections["user"]):
            raise SpecError(
                f"its section 'user' has no {{{{{name}}}}}", where=where, fix=f"write {{{{{name}}}}} where it belongs"
            )
    return Prompt(source, hashlib.sha256(text.encode()).hexdigest(), sections)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _NAME.sub(lambda match: values.get(match[1], ""), text)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TIE = "C"
"""The letter of a pair's tie."""

PAIR = ("A", "B", TIE)
RATINGS = tuple(str(rating) for rating in range(1, 11))


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its kind, its prompt, what fills it, and the verdicts that may be given."""

    kind: Kind
    prompt: Prompt
    conversation: str
    answers: str
    mark: str
    labels: tuple[str, ...]

    def messages(self, form: Form, *, again: bool = False) -> list[dict[str, str]]:
        """The chat messages; `again` says that a first reply could not be read."""
        values = {
            "conversation": self.conversation,
            "answers": self.answers,
            "mark": self.mark,
            "labels": _listed(self.labels),
        }
        messages = self.prompt.messages(form, values)
        if again:
            wanted = self.prompt.reply_form(form, values)
            last = messages[-1]["content"]
            messages[-1] = {
                "role": "user",
                "content": f"{last}\n\nA first reply could not be read. Once more: {wanted}",
            }
        return messages


def ranking_question(prompt: Prompt, conversation: Conversation, answers: Sequence[str]) -> Question:
    """Which of the answers, in the order in which they stand here, is the best."""
    labels = tuple(LETTERS[: len(answers)])
    shown = [(f"ANSWER {label}", answer) for label, answer in zip(labels, answers, strict=True)]
    return _question("ranking", prompt, conversation, shown, labels)


def pairwise_question(
    prompt: Prompt, conversation: Conversation, first: Conversation, second: Conversation
) -> Question:
    """Which of two responses, shown in this order, is the better one."""
    shown = [(f"RESPONSE {label}", as_text(one)) for label, one in (("A", first), ("B", second))]
    return _question("pairwise", prompt, conversation, shown, PAIR)


def rating_question(prompt: Prompt, conversation: Conversation) -> Question:
    """How good the last message is."""
    shown = [("RESPONSE", conversation[-1].text)]
    return _question("rating", prompt, conversation[:-1], shown, RATINGS)


def _question(
    kind: Kind, prompt: Prompt, conversation: Conversation, shown: Sequence[tuple[str, str]], labels: tuple[str, ...]
) -> Question:
    turns = _sendable("\n\n".join(f"[{message.role}]\n{message.text}" for message in conversation))
    shown = [(name, _sendable(text)) for name, text in shown]
    mark = _mark([turns, *(text for _, text in shown)])
    parts = "\n\n".join(f"=== {name} {mark} ===\n{text}" for name, text in shown)
    return Question(
        kind=kind,
        prompt=prompt,
        conversation=f"=== CONVERSATION {mark} ===\n{turns}",
        answers=f"{parts}\n\n=== END {mark} ===",
        mark=mark,
        labels=labels,
    )


def as_text(response: Conversation) -> str:
    """A response as one text: a lone message as it is, several with their roles."""
    if len(response) == 1:
        return response[0].text
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in response)


def _sendable(text: str) -> str:
    """Half a surrogate pair, which data sets do hold, cannot be sent: it becomes the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mark(texts: Sequence[str]) -> str:
    # Made of the texts themselves: none of them can hold its own mark and so end its part early.
    return hashlib.sha256("\x1e".join(texts).encode()).hexdigest()[:8]


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}" if len(labels) > 1 else labels[0]


FEATURES = ("response_format", "logprobs", "seed")
"""Fields of a request that an endpoint may refuse, in the order in which they are given up."""

_VERDICT_TOKENS = {"ranking": 1, "pairwise": 1, "rating": 3}


def request_body(
    spec: JudgeSpec, question: Question, off: frozenset[str], *, seed: int, again: bool
) -> tuple[dict[str, Any], Form]:
    """The body of a chat completion, and the form of its reply.

    Args:
        spec: model, sampling, limits.
        question: what is asked.
        off: `FEATURES` that the endpoint refuses: without `response_format` the reply is text, without `logprobs` it
            is the bare verdict.
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
    # Without sampling a seed decides nothing, and would only make another key for the log.
    if spec.temperature != 0 and "seed" not in off:
        body["seed"] = seed
    if form == "json":
        body["response_format"] = _schema(question)
    if form == "token" and "logprobs" not in off:
        body |= {"logprobs": True, "top_logprobs": spec.top_logprobs}
    return body, form


def reply_form(spec: JudgeSpec, off: frozenset[str]) -> Form:
    """How the reply is to be written."""
    if spec.verdict == "logprobs":
        return "token"
    return "text" if spec.output == "text" or "response_format" in off else "json"


def _schema(question: Question) -> dict[str, Any]:
    field = "rating" if question.labels == RATINGS else "verdict"
    values: dict[str, Any] = {"type": "string", "enum": list(question.labels)}
    if field == "rating":
        values = {"type": "integer", "enum": [int(label) for label in question.labels]}
    # In this order, so that the reasons are written before the verdict.
    properties = {"reasoning": {"type": "string"}, field: values}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": field, "strict": True, "schema": schema}}


def droppable(spec: JudgeSpec, body: dict[str, Any]) -> str | None:
    """The next feature of a refused request that can be done without; None where there is none."""
    kept = ("response_format",) if spec.output == "json_schema" else ()
    return next((feature for feature in FEATURES if feature in body and feature not in kept), None)


def sample_seed(seed: int, sample: int) -> int:
    """The endpoint's seed for one of several samples, in [0, 2^31)."""
    # Shifted to 31 bits, which also fit a signed 32-bit number.
    return int.from_bytes(hashlib.sha256(f"{seed} {sample}".encode()).digest()[:4], "big") >> 1


LEAST_MASS = 0.5
"""Labels that hold no more than this of a token's probability are no verdict: the judge was about to say something
else."""

# A 1 of no more probability than this moves the mean by less than a tenth, even if a 10 was meant.
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


def _from_tokens(tops: Sequence[tuple[str, float]], labels: Sequence[str]) -> dict[str, float] | None:
    shares = dict.fromkeys(labels, 0.0)
    for token, log_probability in tops:
        # A token may bring a space, a quote or the brackets of [[A]] with it.
        label = token.strip().strip('"[')
        if label in shares:
            # Several tokens may spell one label; a log probability above 0 is rounding.
            shares[label] += math.exp(min(log_probability, 0.0))
    mass = sum(shares.values())
    return {label: share / mass for label, share in shares.items()} if mass > LEAST_MASS else None


def _written(question: Question, text: str, form: Form, field: str) -> str | None:
    # Reasoning models write their thoughts in front, with labels that are no verdict.
    text = _THINKING.sub("", text).strip()
    found = _in_json(text, field) if form == "json" else _in_text(text, bare=form == "token")
    return found if found in question.labels else None


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


def _in_text(text: str, *, bare: bool) -> str | None:
    last = next((line for line in reversed(text.splitlines()) if line.strip(_DECORATION)), "")
    line = last.strip(_DECORATION)
    match = _LINE.fullmatch(line)
    if match:
        return match[1].upper()
    return line if bare and line == text.strip(_DECORATION) else None


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
