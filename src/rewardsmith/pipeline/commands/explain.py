"""`rewardsmith explain`: one conversation as a model sees it, token by token.

    record = explain_job(Path("runs/x/model"), Path("pairs.jsonl"), row=3)

A row is a conversation (`messages`, or `prompt` and `response`) or a pair in any form that training reads; of a pair
both sides are explained. The text is rendered as scoring renders it, so the reward is the one that evaluation saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.columns import find_columns
from rewardsmith.data.files import check_file, read_rows
from rewardsmith.data.forms import read_pair
from rewardsmith.data.responses import formed_conversations, tooled
from rewardsmith.data.sources import named_source, open_reader
from rewardsmith.errors import DataError
from rewardsmith.modeling.loading import choose_device
from rewardsmith.modeling.reward_head import reads_one_token
from rewardsmith.records.bounded import parse_json, read_bounded
from rewardsmith.records.checkpoint import ExplainedText, ExplainedToken, ExplainRecord
from rewardsmith.rendering import REASONS, Ids, Rendered, Renderer
from rewardsmith.rendering.encoding import encode, shared_prefix
from rewardsmith.rendering.messages import RowFault, plain_text, read_messages, read_text
from rewardsmith.scoring import LocalScorer
from rewardsmith.scoring.local import running_rewards
from rewardsmith.spec import SourceSpec
from rewardsmith.types import Conversation, Message

JUMPS = 8
"""How many of the largest changes are marked; at most a third of the response's tokens."""

Name = Literal["conversation", "chosen", "rejected"]

_FORMS = 'write {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}'
_FORMS += ', or {"prompt": …, "response": …}, or {"prompt": …, "chosen": …, "rejected": …}'


def explain_job(model: str | Path, path: Path, *, row: int = 1, device: str = "auto") -> ExplainRecord:
    """Explain one row of a file.

    Args:
        model: checkpoint folder or hub id.
        path: JSON or JSONL (or any format that training reads); or a spec, whose form its source is read in.
        row: counted from 1.
        device: as `hardware.device` of a spec.

    Raises:
        DataError: the file, the row or the rendering cannot be used.
        ModelError: the checkpoint cannot be used.
    """
    named = named_source(path)
    where, content = _find_row(path if named is None else Path(named.path or ""), row)
    _conversations(content, where, "chat", named)  # a row that is none is refused before a model is loaded
    scorer = LocalScorer.load(model, device=choose_device(device).type)
    record = scorer.checkpoint.renderer.record
    conversations = _conversations(content, where, "chat" if record.conversational else "text", named)
    explained = {name: _explain(scorer, name, text, where) for name, text in conversations.items()}
    texts = tuple(text for text, _, _ in explained.values())
    running = next(method for _, _, method in explained.values())
    chosen, rejected = explained.get("chosen"), explained.get("rejected")
    return ExplainRecord(
        model=str(model),
        source=where,
        max_length=record.max_length,
        over_length=record.over_length,
        running=running,
        texts=texts,
        first_difference=shared_prefix(chosen[1], rejected[1]) if chosen and rejected else None,
        margin=chosen[0].reward - rejected[0].reward if chosen and rejected else None,
    )


def _find_row(path: Path, row: int) -> tuple[str, dict[str, Any]]:
    """(file:row, content) of the `row`-th row."""
    rows = _one_object(path) or read_rows(path)
    count = 0
    for number, content in rows:
        count += 1
        if count == row:
            return f"{path}:{number}", content
    found = f"it has {count} row{'' if count == 1 else 's'}" if count else "it is empty"
    raise DataError(f"there is no row {row}: {found}", where=str(path), fix="count rows from 1, or leave --row out")


def _one_object(path: Path) -> list[tuple[int, dict[str, Any]]] | None:
    """The row of a `.json` file that holds one object over several lines; None for every other file."""
    check_file(path)
    if path.suffix != ".json":
        return None
    try:
        content = parse_json(read_bounded(path).decode("utf-8-sig"))
    except (OSError, ValueError):
        return None  # read_rows says what is wrong with it
    return [(1, content)] if isinstance(content, dict) else None


def _conversations(
    row: dict[str, Any], where: str, strings: Literal["chat", "text"], named: SourceSpec | None
) -> dict[Name, Conversation]:
    """What the row asks to be explained, by name; of several pairs the first."""
    try:
        if named is not None:
            texts = formed_conversations(open_reader(named, strings), row, 1)
            names: tuple[Name, ...] = ("chosen", "rejected") if len(texts) > 1 else ("conversation",)
            return {name: _as(strings, text) for name, text in zip(names, texts, strict=False)}
        if row.get("messages") is not None:
            (told,) = tooled(row, (_ends_with_assistant(read_messages(row["messages"], "messages")),))
            return {"conversation": _as(strings, told)}
        if row.get("response") is not None:
            (told,) = tooled(row, (_prompt_and_response(row),))
            return {"conversation": _as(strings, told)}
        if not {"chosen", "rejected"} <= row.keys():
            there = ", ".join(map(repr, row)) or "none"
            raise DataError(f"holds no conversation; its fields are {there}", where=where, fix=_FORMS)
        columns = find_columns(row.keys(), {}, where=where)
        pair = read_pair(row, columns, strings, source=where, number=1)
    except RowFault as fault:
        raise DataError(f"cannot be read: {fault.detail}", where=where, fix=_FORMS) from fault
    return {"chosen": _as(strings, pair.prompt + pair.chosen), "rejected": _as(strings, pair.prompt + pair.rejected)}


def _prompt_and_response(row: dict[str, Any]) -> Conversation:
    def turns(field: str, role: str) -> Conversation:
        value = row[field]
        return (Message(role, read_text(value, field)),) if isinstance(value, str) else read_messages(value, field)

    prompt = turns("prompt", "user") if row.get("prompt") is not None else ()
    return _ends_with_assistant(prompt + turns("response", "assistant"))


def _ends_with_assistant(conversation: Conversation) -> Conversation:
    if conversation[-1].role != "assistant":
        raise RowFault("wrong_role", f"the last message has the role {conversation[-1].role!r}, not 'assistant'")
    return conversation


def _as(strings: Literal["chat", "text"], conversation: Conversation) -> Conversation:
    """As plain text for a model that was trained without a chat template."""
    return conversation if strings == "chat" else plain_text(conversation)


def _explain(scorer: LocalScorer, name: Name, conversation: Conversation, where: str) -> tuple[ExplainedText, Ids, str]:
    """The record of one text, its ids, and how its running rewards were computed."""
    renderer = scorer.checkpoint.renderer
    rendered = renderer.render_many([conversation])[0]
    if rendered.ids is None:
        raise _not_renderable(rendered, renderer, f"{where}, {name}")
    ids_T = rendered.ids
    full_T = encode(renderer.tokenizer, [renderer.text(conversation)])[0]
    running = running_rewards(scorer, ids_T)
    prompt_T = encode(renderer.tokenizer, [_prompt_text(renderer, conversation)])[0]
    start = max(shared_prefix(full_T, prompt_T) - rendered.cut, 0)
    bos, eos = renderer.record.bos_token_id, renderer.eos_token_id
    leading = int(np.argmin(np.append(ids_T == bos, False))) if bos is not None else 0
    gone = full_T[leading : leading + rendered.cut].tolist() if rendered.cut else []
    record = ExplainedText(
        name=name,
        text=renderer.text(conversation),
        tokens=_tokens(renderer, ids_T, running.rewards),
        response_start=start,
        eos_token=renderer.record.eos_token,
        eos_positions=tuple(np.flatnonzero(ids_T == eos).tolist()),
        ends_with_eos=bool(ids_T[-1] == eos),
        eos_doubled=bool((ids_T[-2:] == eos).sum() == 2),
        bos=leading,
        pooling_position=len(ids_T) - 1 if reads_one_token(scorer.checkpoint.model) else None,
        reward=float(running.rewards[-1]),
        cut=rendered.cut,
        cut_text=renderer.tokenizer.decode(gone) if gone else "",
        jumps=_jumps(running.rewards, start),
        reward_with_bos=_with_bos(scorer, ids_T),
    )
    return record, ids_T, running.method


def _with_bos(scorer: LocalScorer, ids_T: Ids) -> float | None:
    """The reward behind a BOS that the tokenizer adds and the template does not write."""
    bos = scorer.checkpoint.renderer.unwritten_bos
    if bos is None or ids_T[0] == bos:
        return None
    return float(scorer.score_ids([np.insert(ids_T, 0, bos)])[0])


def _prompt_text(renderer: Renderer, conversation: Conversation) -> str:
    """The text before the response, with its header; empty where there is none."""
    prompt = conversation[:-1]
    return renderer.text(prompt, add_generation_prompt=True) if prompt else ""


def _not_renderable(rendered: Rendered, renderer: Renderer, where: str) -> DataError:
    fixes = {
        "over_length": "shorten it, or explain it with a checkpoint of a higher limit "
        f"(this one: {renderer.max_length} tokens, policy {renderer.record.over_length})",
        "special_token_in_text": "take the token out of the message: it opens or closes turns or texts",
        "template_refused": "use the roles, and their order, that the chat template knows",
    }
    return DataError(
        f"it has no sound rendering: {REASONS[rendered.reason]} ({rendered.detail})",
        where=where,
        fix=fixes.get(rendered.reason, "correct the text: special tokens do not belong in it"),
    )


def _tokens(renderer: Renderer, ids_T: Ids, rewards_T: NDArray[np.float64]) -> tuple[ExplainedToken, ...]:
    ids = ids_T.tolist()
    names: Sequence[str] = renderer.tokenizer.convert_ids_to_tokens(ids)
    changes_T = np.diff(rewards_T, prepend=np.nan)
    return tuple(
        ExplainedToken(
            id=token,
            token=name,
            text=renderer.tokenizer.decode([token]),
            reward=_number(reward),
            change=_number(change),
        )
        for token, name, reward, change in zip(ids, names, rewards_T, changes_T, strict=True)
    )


def _jumps(rewards_T: NDArray[np.float64], start: int) -> tuple[int, ...]:
    """Positions of the response where the reward changed most, the largest change first."""
    sizes_T = np.abs(np.diff(rewards_T, prepend=np.nan))
    sizes_T[:start] = np.nan
    order = np.argsort(-sizes_T, kind="stable")  # NaN sorts last
    most = min(JUMPS, max(1, (len(rewards_T) - start) // 3))
    return tuple(int(position) for position in order[:most] if sizes_T[position] > 0)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
