"""`rewardsmith verify`: the same conversations through every way to a reward, and the files that others read.

    record = verify_job(Path("runs/x/model"), events, against="http://127.0.0.1:8000")

The reference is each text alone, unpadded, in float32. A way passes when its largest difference is within 1e-4, or for
bfloat16 within 0.03 standard deviations of the reward with the ranks of the golden conversations unchanged (design
section 5). Beside the golden conversations stand some made up here, so that a checkpoint cannot pass by heart, and long
ones, where the maximum length allows: a reward may not depend on the texts beside it.

A running server asked for rewards, natively or as OpenRLHF's client asks.

    way = ask_server("http://127.0.0.1:8000", renderer, conversations)
    way = ask_server("http://any:TOKEN@127.0.0.1:5000/get_reward", renderer, conversations)

An address that ends in /get_reward is sent rendered texts, one a call, in OpenRLHF's protocol: so its own server can be
verified as well. Any other address is a server of ours. The token comes from the address or from $REWARDSMITH_TOKEN.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from rewardsmith.addresses import fault_of_address, fault_of_secret, userinfo, without_userinfo
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
from rewardsmith.records.bounded import parse_json
from rewardsmith.records.checkpoint import FileFinding, PathName, PathResult, VerifyRecord
from rewardsmith.records.files import guard_folder, write_json
from rewardsmith.rendering import Renderer
from rewardsmith.scoring.remote import TOKEN_VARIABLE, RemoteScorer
from rewardsmith.statistics import within
from rewardsmith.types import Conversation, Message

OPENRLHF_PATH = "/get_reward"
NATIVE_PATH = "/v1/score"
_SECONDS = 180.0
_PATIENCE = 5.0


def ask_server(url: str, renderer: Renderer, conversations: Sequence[Conversation]) -> Way:
    """Rewards of a server, NaN where it has none.

    Raises:
        ModelError: it is not there, refuses the token, or answers something else.
    """
    if url.rstrip("/").endswith(OPENRLHF_PATH):
        return Way(_as_openrlhf(url, [renderer.text(one) for one in conversations]))
    scorer = RemoteScorer(url.rstrip("/").removesuffix(NATIVE_PATH), timeout=_SECONDS, patience=_PATIENCE)
    rewards = scorer.score(conversations)
    return Way(rewards, note=", ".join(f"{count} x {reason}" for reason, count in scorer.missing.items()))


def _as_openrlhf(url: str, texts: Sequence[str]) -> Any:
    shown = without_userinfo(url)
    if fault := fault_of_address(url):
        raise ModelError(f"is no address of a server: {fault}", where=shown, fix="write http://HOST:PORT/get_reward")
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    rewards = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        status, content = _post(parts, {"query": [text], "prompts": [], "labels": []}, shown)
        found = content.get("rewards") if isinstance(content, dict) else None
        if status == 401:
            raise ModelError("the server refuses the token", where=shown, fix=f"set ${TOKEN_VARIABLE}")
        if status != 200 or not isinstance(found, list) or len(found) != 1:
            raise ModelError(
                f"the server answers {status} without one reward for the text",
                where=shown,
                fix="see the server's log; does it speak OpenRLHF's protocol?",
            )
        try:
            rewards[index] = float(found[0])
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(
                "the server answers with a reward that is no number", where=shown, fix="see the server's log"
            ) from error
    return rewards


def _post(parts: SplitResult, body: dict[str, Any], shown: str) -> tuple[int, Any]:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
        try:
            connection.request("POST", parts.path, json.dumps(body), _headers(parts))
            answer = connection.getresponse()
            return answer.status, parse_json(answer.read())
        finally:
            connection.close()
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ModelError(
            f"no answer: {type(error).__name__}", where=shown, fix="start the server, or correct the address"
        ) from error


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if (given := userinfo(parts)) is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(given).encode()).decode()}"
    elif token:
        if fault := fault_of_secret(token):
            raise ModelError(f"the token {fault}", where=f"${TOKEN_VARIABLE}", fix="set it to the token alone")
        headers["Authorization"] = f"Bearer {token}"
    return headers


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
}
_WORDS = ("river", "seven", "because", "never", "Paris", "water", "42", "the", "and", "is", "«zwölf»", "雨", "x=1")
_PROMPTS = (
    (Message("user", "Which is longer, a mile or a kilometre?"),),
    (Message("user", "Name three colours.\n"),),
    (Message("user", "Write a loop in Python."), Message("assistant", "for i in range(3):\n    print(i)")),
    (Message("user", "  Übersetze: the rain 🌧 "),),
)


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
        against: a running server: `http://host:port`, `…/models/NAME`, or `…/get_reward` to ask as OpenRLHF does.
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
    case, golden = _render(opened, made_up)
    beside = _without_bos(case)
    ways = len(WAYS) + (2 if against else 1)
    events.progress("verifying", 0, ways)
    reference = _Reference(case.conversations, case.alone, golden, _spread(opened, case.alone))
    paths = [_recorded(opened, reference)]
    for done, (name, way) in enumerate(WAYS.items(), start=1):
        events.progress("verifying", done, ways)
        paths.append(_judge(name, way(case), reference, rounded=name == "bfloat16"))
    if against:
        found = ask_server(against, opened.renderer, case.conversations)
        paths.append(_server(found, reference, server_type))
    events.progress("verifying", ways, ways)
    findings = (*_weight_findings(compared, opened), *config_findings(opened))
    record = VerifyRecord(
        model=str(model),
        against=_without_token(against) if against else None,
        trainer=opened.foreign.trainer if opened.foreign else "rewardsmith",
        device=choose_device(device).type,
        passed=not any(path.verdict == "FAIL" for path in paths) and not any(one.fails for one in findings),
        conversations=len(case.texts),
        golden=golden,
        spread=reference.spread,
        paths=tuple(paths),
        findings=findings,
        weights=compared.tensors,
        notes=(*getattr(opened.model, "weight_notes", ()), *beside),
    )
    if out is not None:
        write_json(out / VERIFY_FILE, record)
    return record


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


def made_up_conversations(count: int, conversational: bool, seed: int = 17) -> list[Conversation]:
    """Conversations of several lengths that share prompts, so that trees have something to share."""
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    found: list[Conversation] = []
    for index in range(count):
        length = (1, 4, 16, 60)[index // len(_PROMPTS) % 4]
        answer = " ".join(draw.choices(_WORDS, k=length)) + ("\n" if index % 3 == 0 else "")
        found.append((*_PROMPTS[index % len(_PROMPTS)], *_again(index), Message("assistant", answer)))
    return found if conversational else [(Message("text", "\n\n".join(turn.content for turn in one)),) for one in found]


def long_conversations(opened: Checkpoint) -> list[Conversation]:
    """Texts that a neighbour would change: longer than where the model's positions change, within its maximum length.

    One of the longest for any model, at most `LONG` tokens, beside which short texts get a lot of padding.
    """
    most, regimes = opened.renderer.max_length, regimes_of(opened.model)
    limits = (regimes.limits + regimes.growing) if regimes else ()
    targets = [limit + limit // 8 + 8 for limit in limits]
    lengths = {min(target, most) for target in (*targets, LONG)}
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


def _again(index: int) -> tuple[Message, ...]:
    """Some conversations go on for another turn."""
    return (Message("assistant", "Well."), Message("user", "Go on.")) if index % 8 in (0, 1, 7) else ()


def _render(opened: Checkpoint, made_up: int) -> tuple[Verified, int]:
    """The conversations that have a rendering, golden ones first, and how many of those there are."""
    conversational = opened.renderer.record.conversational
    golden = golden_conversations(conversational)
    wanted = golden + made_up_conversations(made_up, conversational) + long_conversations(opened)
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


def _spread(opened: Checkpoint, rewards: Rewards) -> float:
    recorded = opened.record.reward_std if opened.record else None
    return float(recorded or rewards.std())


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
    return _judge("recorded", Way(rewards, note=note), golden)


def _server(found: Way, reference: _Reference, server_type: ServerType) -> PathResult:
    """The server's rewards; what bfloat16 would explain is said."""
    result = _judge("server", found, reference, rounded=server_type == "bfloat16")
    limit = BFLOAT16_TOLERANCE * reference.spread
    if result.verdict == "FAIL" and result.largest is not None and within(result.largest, limit) and not found.note:
        hint = "if the server runs in bfloat16, write --server-dtype bfloat16"
        return result.model_copy(update={"fix": f"{hint}; else {_FIXES['server']}"})
    return result


def _judge(name: PathName, way: Way, reference: _Reference, *, rounded: bool = False) -> PathResult:
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


def _without_token(url: str) -> str:
    """The address without what stands before its host: that may be a token."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
