"""`rewardsmith verify`: the same conversations through every way to a reward, and the files that others read.

    record = verify_job(Path("runs/x/model"), events, against="http://127.0.0.1:8000")

The reference is each text alone, unpadded, in float32. A way passes when its largest difference is within 1e-4, or for
bfloat16 within 0.03 standard deviations of the reward with the ranks of the golden conversations unchanged (design
section 5). Beside the golden conversations stand some made up here, so that a checkpoint cannot pass by heart, and long
ones, where the maximum length allows: a reward may not depend on the texts beside it.

A running server is asked in its own dialect (`scoring/engines.py`): `rewardsmith serve` conversations, an engine the
ids that we rendered, as any client asks and twice, because the second time its prefix cache is warm. Where it gives
other rewards, the faults that are known are done to the model here, and the one that gives the server's rewards is
named (`scoring/differences.py`). vLLM renders messages too: its template's ids and rewards are a path of their own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.addresses import without_userinfo
from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import (
    BFLOAT16_TOLERANCE,
    FLOAT32_TOLERANCE,
    Checkpoint,
    compare_with_its_files,
    golden_conversations,
    load_checkpoint,
)
from rewardsmith.modeling.loading import choose_device
from rewardsmith.modeling.paths import WAYS, Verified, Way, alone, config_findings
from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.modeling.stored import listed
from rewardsmith.modeling.weights import Compared
from rewardsmith.pipeline.events import Events
from rewardsmith.records.checkpoint import FileFinding, PathName, PathResult, VerifyRecord
from rewardsmith.records.files import guard_folder, write_json
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.scoring.differences import Cause, name_cause, other_ids
from rewardsmith.scoring.engines import Engine, Item, pair_of
from rewardsmith.scoring.remote import RemoteScorer
from rewardsmith.statistics import within
from rewardsmith.types import Conversation, Message

VERIFY_FILE = "verify.json"
MADE_UP = 32
"""Conversations beside the golden ones."""

LONG = 600
"""Tokens of the longest text where positions do not change at some length."""

Rewards = NDArray[np.float64]
ServerType = Literal["float32", "bfloat16"]
_FIXES: dict[PathName, str] = {
    "recorded": "restore the folder as it was exported, or export the model again",
    "saved template": "restore chat_template.jinja and the tokenizer files, or run rewardsmith export --to hf",
    "transformers": "run rewardsmith export --to hf, which writes a pad token that is not EOS",
    "tree": "write --layout padded, and report the architecture",
    "bfloat16": "serve and score this model in float32",
    "server": "start the server with this checkpoint and its own template",
    "server messages": "serve the checkpoint's own chat_template.jinja: rewardsmith export --to vllm writes it",
}


@dataclass(frozen=True, slots=True)
class _Reference:
    """What every way is held against; the first `golden` conversations are the golden ones."""

    conversations: Sequence[Conversation]
    rewards: Rewards
    golden: int
    spread: float


def verify_job(
    model: str | Path,
    events: Events,
    *,
    against: str | None = None,
    server_type: ServerType = "float32",
    out: Path | None = None,
    device: str = "auto",
    made_up: int = MADE_UP,
) -> VerifyRecord:
    """Compare every way that a checkpoint's rewards can take.

    Args:
        model: folder or hub id.
        events: told how far it is.
        against: a running server, as `RemoteScorer` takes it; what is named behind `?tokenizer=` is not used.
        server_type: what the server keeps its weights in.
        out: folder for `verify.json`.
        device: as `hardware.device` of a spec.
        made_up: conversations beside the golden ones.

    Raises:
        ModelError, RenderingError: the checkpoint or the server cannot be used at all.
    """
    if out is not None:
        guard_folder(out, (VERIFY_FILE,), VERIFY_FILE)
    opened = load_checkpoint(model, device=choose_device(device).type)
    compared = compare_with_its_files(opened)  # first: some paths below change the weights
    scorer = _server(against, opened.renderer) if against else None
    case, golden = _render(opened, made_up, _longest_served(scorer))
    beside = _without_bos(case)
    ways = len(WAYS) + (2 if against else 1)
    events.progress("verifying", 0, ways)
    reference = _Reference(case.conversations, case.alone, golden, _spread(opened, case.alone))
    served, said = _ask_server(scorer, case, reference, server_type) if scorer else ((), ())
    paths = [_recorded(opened, reference)]
    for done, (name, way) in enumerate(WAYS.items(), start=1):
        events.progress("verifying", done, ways)
        paths.append(_compare(name, way(case), reference, rounded=name == "bfloat16"))
    paths += served
    events.progress("verifying", ways, ways)
    findings = (*_weight_findings(compared, opened), *config_findings(opened))
    record = VerifyRecord(
        model=str(model),
        against=without_userinfo(against) if against else None,
        trainer=opened.foreign.trainer if opened.foreign else "rewardsmith",
        device=choose_device(device).type,
        passed=not any(path.verdict == "FAIL" for path in paths) and not any(one.fails for one in findings),
        conversations=len(case.texts),
        golden=golden,
        spread=reference.spread,
        paths=tuple(paths),
        findings=findings,
        weights=compared.tensors,
        notes=(*getattr(opened.model, "weight_notes", ()), *beside, *said),
    )
    if out is not None:
        write_json(out / VERIFY_FILE, record)
    return record


def _server(url: str, renderer: Renderer) -> RemoteScorer:
    """The server as one scorer, whatever it speaks."""
    return RemoteScorer(
        url.rstrip("/").removesuffix(NATIVE_PATH), timeout=_SECONDS, patience=_PATIENCE, renderer=renderer
    )


NATIVE_PATH = "/v1/score"
_SECONDS = 180.0
_PATIENCE = 5.0


def _longest_served(scorer: RemoteScorer | None) -> int:
    """Tokens of the longest text: a server may cut what is longer than it likes."""
    if scorer is None:
        return LONG
    return min(SERVED_LONG, (scorer.engine.limit if scorer.engine else None) or SERVED_LONG)


SERVED_LONG = 2200
"""Tokens of a text for a server alone: OpenRLHF's cuts at 2,048."""

_WORDS = ("river", "seven", "because", "never", "Paris", "water", "42", "the", "and", "is", "«zwölf»", "雨", "x=1")
_PROMPTS = (
    (Message("user", "Which is longer, a mile or a kilometre?"),),
    (Message("user", "Name three colours.\n"),),
    (Message("user", "Write a loop in Python."), Message("assistant", "for i in range(3):\n    print(i)")),
    (Message("user", "  Übersetze: the rain 🌧 "),),
)


def _render(opened: Checkpoint, made_up: int, longest: int) -> tuple[Verified, int]:
    """The conversations that have a rendering, golden ones first, and how many of those there are."""
    conversational = opened.renderer.record.conversational
    golden = golden_conversations(conversational)
    wanted = golden + made_up_conversations(made_up, conversational) + long_conversations(opened, longest)
    rendered = [opened.renderer.render_many([conversation])[0] for conversation in wanted]
    kept = [(index, one.ids) for index, one in enumerate(rendered) if one.ids is not None and not one.cut]
    if not kept:
        raise ModelError(
            f"no conversation can be rendered: {rendered[0].reason} ({rendered[0].detail})",
            where=str(opened.folder),
            fix="raise the checkpoint's max_length, or fix its chat template",
        )
    texts = [ids for _, ids in kept]
    case = Verified(opened, [wanted[index] for index, _ in kept], texts, alone(opened.model, texts))
    return case, sum(index < len(golden) for index, _ in kept)


def made_up_conversations(count: int, conversational: bool, seed: int = 17) -> list[Conversation]:
    """Conversations of several lengths that share prompts, so that trees have something to share."""
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    found: list[Conversation] = []
    for index in range(count):
        length = (1, 4, 16, 60)[index // len(_PROMPTS) % 4]
        answer = " ".join(draw.choices(_WORDS, k=length)) + ("\n" if index % 3 == 0 else "")
        found.append((*_PROMPTS[index % len(_PROMPTS)], *_again(index), Message("assistant", answer)))
    return found if conversational else [(Message("text", "\n\n".join(turn.content for turn in one)),) for one in found]


def _again(index: int) -> tuple[Message, ...]:
    """Some conversations go on for another turn."""
    return (Message("assistant", "Well."), Message("user", "Go on.")) if index % 8 in (0, 1, 7) else ()


def long_conversations(opened: Checkpoint, longest: int = LONG) -> list[Conversation]:
    """Texts that a neighbour would change: longer than where the model's positions change, within its maximum length.

    One of the longest for any model, at most `LONG` tokens, beside which short texts get a lot of padding; and one of
    at most `longest` tokens.
    """
    most, regimes = opened.renderer.max_length, regimes_of(opened.model)
    limits = (regimes.limits + regimes.growing) if regimes else ()
    targets = [limit + limit // 8 + 8 for limit in limits]
    lengths = {min(target, most) for target in (*targets, LONG, longest)}
    return [one for length in sorted(lengths) if (one := _of_length(opened.renderer, length)) is not None]


def _of_length(renderer: Renderer, tokens: int) -> Conversation | None:
    """A conversation of at most `tokens` tokens that comes close to it; None where none can be rendered."""
    fewest, most, found = 1, tokens + 1, None
    while fewest < most:
        words = (fewest + most) // 2
        answer = " ".join(_WORDS[index * index % len(_WORDS)] for index in range(words))
        turns = (*_PROMPTS[0], Message("assistant", answer))
        one = (
            turns if renderer.record.conversational else (Message("text", "\n\n".join(turn.content for turn in turns)),)
        )
        (rendered,) = renderer.render_many([one])
        if rendered.ids is None or rendered.cut or len(rendered.ids) > tokens:
            most = words
        else:
            fewest, found = words + 1, one
    return found


def _without_bos(case: Verified) -> tuple[str, ...]:
    """What the rewards would be behind a BOS that the tokenizer adds and the template does not write."""
    bos = case.opened.renderer.unwritten_bos
    lacking = [index for index, ids_T in enumerate(case.texts) if ids_T[0] != bos]
    if bos is None or not lacking:
        return ()
    found = alone(case.model, [np.insert(case.texts[index], 0, bos) for index in lacking])
    apart = np.abs(found - case.alone[lacking])
    worst = int(apart.argmax())
    said = (
        "the template writes no BOS, and the tokenizer adds one to plain text: rewards are read without it, as TRL and "
        "OpenRLHF train. Programs that tokenize the rendered text as plain text (RewardBench's script, vLLM's `input`) "
        f"see up to {apart[worst]:.3g} more or less: {found[worst]:.6g} for {case.alone[lacking[worst]]:.6g}"
    )
    return (said,)


def _spread(opened: Checkpoint, rewards: Rewards) -> float:
    recorded = opened.record.reward_std if opened.record else None
    return float(recorded or rewards.std())


def _ask_server(
    scorer: RemoteScorer, case: Verified, reference: _Reference, server_type: ServerType
) -> tuple[list[PathResult], tuple[str, ...]]:
    """What a server gives, as paths; and what is worth saying of it.

    Raises:
        ModelError: it is not there, refuses the token, or answers something else.
    """
    rounded = server_type == "bfloat16"
    engine = scorer.engine
    if engine is None:
        rewards = scorer.score(case.conversations)
        missing = ", ".join(f"{count} x {reason}" for reason, count in scorer.missing.items())
        result = _compare("server", Way(rewards, note=missing), reference, rounded=rounded)
        return [_explained(result, case, reference, rewards, "messages")], ()
    kept = [index for index, one in enumerate(case.conversations) if _can_ask(engine, one, case.texts[index])]
    if not kept:
        raise ModelError(
            f"{engine.name} can be asked about none of the conversations",
            where=scorer.url,
            fix="serve it with a longer text (vLLM: --max-model-len)",
        )
    part = _Reference(
        [case.conversations[index] for index in kept],
        reference.rewards[kept],
        sum(index < reference.golden for index in kept),
        reference.spread,
    )
    some = Verified(case.opened, part.conversations, [case.texts[index] for index in kept], part.rewards)
    items = [_item(engine, some, index) for index in range(len(kept))]
    paths = [_asked_ids(engine, items, some, part, rounded)]
    if case.opened.renderer.record.conversational and (way := _asked_messages(engine, some)) is not None:
        result = _compare("server messages", way, part, rounded=rounded)
        paths.append(_explained(result, some, part, way.rewards, "messages") if not way.note else result)
    return paths, tuple(_said_of(engine, len(case.conversations) - len(kept), case.opened.renderer))


def _can_ask(engine: Engine, conversation: Conversation, ids_T: Ids) -> bool:
    if engine.dialect.sends == "pair":
        return pair_of(conversation) is not None
    return engine.limit is None or len(ids_T) <= engine.limit


def _item(engine: Engine, case: Verified, index: int) -> Item:
    conversation = case.conversations[index]
    if engine.dialect.sends == "pair":
        return Item(pair=pair_of(conversation))
    text = case.opened.renderer.text(conversation) if engine.dialect.sends == "text" else ""
    return Item(tuple(case.texts[index].tolist()), text)


def _asked_ids(
    engine: Engine, items: Sequence[Item], case: Verified, reference: _Reference, rounded: bool
) -> PathResult:
    """Asked twice, as a client asks that knows no field of vLLM's: the reward that is further from ours counts."""
    plain = engine.dialect.engine == "vllm"
    first, again = (engine.ask(items, plain=plain) for _ in range(2))
    rewards, warm = (np.array([one.reward for one in found]) for found in (first, again))
    nearer = np.abs(warm - reference.rewards) <= np.abs(rewards - reference.rewards)
    worst = np.where(nearer, rewards, warm)
    reasons = Counter(one.reason for one in first if one.reason)
    other = _pair_ids(case) if engine.dialect.sends == "pair" else ""
    notes = [*(f"{count} x {reason}" for reason, count in reasons.items()), *([other] if other else [])]
    result = _compare("server", Way(worst, note="; ".join(notes)), reference, rounded=rounded)
    limit = result.tolerance or FLOAT32_TOLERANCE
    if (
        result.verdict == "FAIL"
        and not reasons
        and (cause := _of_company(engine, items, rewards, warm, reference, limit))
    ):
        return result.model_copy(update={"why": f"{result.why}: {cause.what}", "fix": cause.fix})
    return _explained(result, case, reference, worst, engine.dialect.sends)


def _of_company(
    engine: Engine, items: Sequence[Item], first: Rewards, warm: Rewards, reference: _Reference, limit: float
) -> Cause | None:
    """Whether a reward depends on what was asked before it, or beside it."""

    def right(rewards: Rewards) -> bool:
        return bool(within(float(np.abs(rewards - reference.rewards).max()), limit))

    fix = "serve it without: vLLM --no-enable-prefix-caching, SGLang --disable-radix-cache; and report it to the engine"
    if right(first):
        return Cause("prefix caching: the first time every reward is right, and asked again it is not", fix)
    # Half precision alone makes a text's reward depend a little on what is computed beside it.
    if not within(float(np.abs(first - warm).max()), max(limit, BFLOAT16_TOLERANCE * reference.spread)):
        return Cause("prefix caching: asked about again, a text has another reward", fix)
    salted = engine.ask(items, plain=True, salt=f"verify-{id(items)}", together=False)
    if not right(np.array([one.reward for one in salted])):
        return None
    alone_again = np.array([one.reward for one in engine.ask(items, plain=True, together=False)])
    if right(alone_again):
        return Cause(
            "batching: each text alone has its own reward, and beside others it has not", "serve it with a batch of one"
        )
    return Cause("prefix caching: with a cache of its own each text has its own reward", fix)


def _pair_ids(case: Verified) -> str:
    """How many texts `/rerank` reads otherwise: it joins question and answer by the tokenizer's rule for two texts."""
    tokenizer = case.opened.renderer.tokenizer
    pairs = [pair_of(one) for one in case.conversations]
    found = [np.array(tokenizer(*pair)["input_ids"], dtype=np.int32) for pair in pairs if pair]
    others = [
        other for ids_T, ours in zip(found, case.texts, strict=True) if (other := other_ids(ids_T, ours, tokenizer))
    ]
    if not others:
        return ""
    return f"template: /rerank joins question and answer to other tokens in {len(others)} of {len(pairs)}: {others[0]}"


def _asked_messages(engine: Engine, case: Verified) -> Way | None:
    """Messages, which the engine renders; None where it takes none, or does not say what it made of them."""
    rewards = np.full(len(case.texts), np.nan)
    others: list[str] = []
    reasons: Counter[str] = Counter()
    for index, conversation in enumerate(case.conversations):
        ids_T = engine.template_ids(conversation)
        if ids_T is None and index == 0:
            return None
        if ids_T is not None and (other := other_ids(ids_T, case.texts[index], case.opened.renderer.tokenizer)):
            others.append(other)
        found = engine.ask_messages(conversation, plain=True)
        rewards[index] = found.reward
        reasons.update([found.reason] if found.reason else [])
    notes = [f"{count} x {reason}" for reason, count in reasons.items()]
    if others:
        notes.append(
            f"its template makes other tokens of {len(others)} of {len(case.texts)} conversations: {others[0]}"
        )
    return Way(rewards, note="; ".join(notes))


_SENT = {"ids": "token ids", "text": "rendered text", "pair": "a question and an answer"}


def _said_of(engine: Engine, left_out: int, renderer: Renderer) -> Iterator[str]:
    serves = f"serves {engine.model or 'a model'}" + (f" from {engine.root}" if engine.root else "")
    yield f"the server is {engine.name}; it {serves} and was sent {_SENT[engine.dialect.sends]}"
    if engine.limit is not None and engine.limit < renderer.max_length:
        yield (
            f"the server takes {engine.limit} tokens and the checkpoint {renderer.max_length}: longer texts have no "
            f"reward there ({left_out} of these)"
        )


def _explained(
    result: PathResult, case: Verified, reference: _Reference, rewards: Rewards | None, sends: str
) -> PathResult:
    """A failed path with the fault that gives its rewards, where one is known."""
    if result.verdict != "FAIL" or rewards is None:
        return result
    limit = result.tolerance or FLOAT32_TOLERANCE
    cause = name_cause(case.opened, case.texts, reference.rewards, rewards, tolerance=limit, sends=sends)
    if cause is None:
        return result
    return result.model_copy(update={"why": f"{result.why}: {cause.what}", "fix": cause.fix})


def _recorded(opened: Checkpoint, reference: _Reference) -> PathResult:
    """The golden rewards of `rewardsmith.json` beside the reference."""
    if opened.record is None or not opened.record.golden:
        why = "no rewardsmith.json" if opened.record is None else "rewardsmith.json has no golden conversations"
        return PathResult(path="recorded", verdict="NO_DATA", why=f"{why}: export --to hf writes golden rewards")
    if not reference.golden:
        why = f"none of {len(opened.record.golden)} golden conversations renders any more"
        return PathResult(path="recorded", verdict="FAIL", why=why, fix=_FIXES["recorded"])
    wanted = {one.conversation: one.reward for one in opened.record.golden}
    keys = [tuple((turn.role, turn.content) for turn in one) for one in reference.conversations]
    rewards = np.array([wanted.get(key, np.nan) for key in keys[: reference.golden]])
    golden = _Reference(
        reference.conversations[: reference.golden],
        reference.rewards[: reference.golden],
        reference.golden,
        reference.spread,
    )
    lost = len(wanted) - sum(key in wanted for key in keys[: reference.golden])
    note = f"{lost} of {len(wanted)} golden conversations no longer render" if lost else ""
    return _compare("recorded", Way(rewards, note=note), golden)


def _compare(name: PathName, way: Way, reference: _Reference, *, rounded: bool = False) -> PathResult:
    if way.rewards is None:
        return PathResult(path=name, verdict="NO_DATA", why=way.why)
    tolerance = BFLOAT16_TOLERANCE * reference.spread if rounded else FLOAT32_TOLERANCE
    apart = np.abs(way.rewards - reference.rewards)
    worst = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    faults = [way.note] if way.note else []
    lacking = int(np.isnan(way.rewards).sum())
    if lacking:
        faults.append(f"{lacking} of {len(apart)} conversations have no reward")
    elif not within(apart[worst], tolerance):
        faults.append(f"rewards differ by up to {apart[worst]:.3g} (tolerance {tolerance:.3g})")
    if rounded and not lacking and not _same_ranks(way.rewards, reference):
        faults.append("the golden conversations are ranked otherwise")
    return PathResult(
        path=name,
        verdict="FAIL" if faults else "PASS",
        why="; ".join(faults),
        fix=_FIXES.get(name, _FIXES["recorded"]) if faults else "",
        compared=len(apart) - lacking,
        largest=None if np.isnan(apart).all() else float(np.nanmax(apart)),
        tolerance=tolerance,
        flips=_flips(way.rewards, reference.rewards),
        pairs=len(apart) * (len(apart) - 1) // 2,
        worst=reference.conversations[worst][-1].content[-80:],
        reference=float(reference.rewards[worst]),
        reward=None if np.isnan(way.rewards[worst]) else float(way.rewards[worst]),
    )


def _same_ranks(rewards: Rewards, reference: _Reference) -> bool:
    part = slice(0, reference.golden)
    return bool((np.argsort(rewards[part]) == np.argsort(reference.rewards[part])).all())


def _flips(rewards: Rewards, reference: Rewards) -> int:
    """Pairs that the two rank in opposite order; an equal reward flips nothing."""
    signs = np.sign(rewards[:, None] - rewards) * np.sign(reference[:, None] - reference)
    return int((np.triu(signs, 1) < 0).sum())


def _weight_findings(compared: Compared, opened: Checkpoint) -> tuple[FileFinding, ...]:
    """Weights in memory that are not what stands in the files: every path above would agree on a random one."""
    if not compared.differ:
        return ()
    return (
        FileFinding(
            file=str(opened.folder),
            field=listed(compared.differ),
            value=f"{len(compared.differ)} of {compared.tensors} tensors",
            problem="the weights in memory are not those of the files",
            fix="save the model again with save_pretrained; if it stays, report the architecture",
        ),
    )
