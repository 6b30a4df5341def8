"""`rewardsmith.json`: what a checkpoint must carry so that the same text gives the same reward elsewhere.

    save_checkpoint(folder, model, renderer, record)     weights, tokenizer, rewardsmith.json; whole or not at all
    checkpoint = open_checkpoint(folder)                 loads all three and reproduces the golden rewards, or raises

The golden conversations are fixed texts of this project, never users' data. Tolerances: design section 5 (float32 to
1e-4; bfloat16 within 0.03 standard deviations of the reward, ranks unchanged). A checkpoint without the file was made
by another program: it is rendered as its trainer did (`stored.py`) and has nothing to verify.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.errors import DataError, ModelError, RewardsmithError
from rewardsmith.modeling.faults import known_faults
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches
from rewardsmith.modeling.loading import (
    adapter_base,
    fit_tokenizer,
    load_config,
    load_reward_model,
    one_label_config,
    refuse_other_tokenizer,
    refuse_tokens_beyond,
)
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.reward_head import find_head_owner
from rewardsmith.modeling.spellings import respell
from rewardsmith.modeling.stored import Foreign, describe_foreign
from rewardsmith.modeling.weights import Compared, compare_with_files
from rewardsmith.records.checkpoint import CheckpointRecord, GoldenReward
from rewardsmith.records.files import follow_umask, guard_removal, read_record, write_json
from rewardsmith.rendering import Ids, Renderer, load_tokenizer
from rewardsmith.statistics import largest_difference, within
from rewardsmith.types import Conversation, Message

RECORD = "rewardsmith.json"
_LOG = logging.getLogger(__name__)
FLOAT32_TOLERANCE = 1e-4  # of a reward
BFLOAT16_TOLERANCE = 0.03  # standard deviations of held-out rewards; ranks have to stay as well

_GOLDEN_TURNS: tuple[tuple[str, ...], ...] = (
    ("What is the capital of France?", "Paris."),
    ("What is the capital of France?", "I think it is Lyon, but I am not sure."),
    ("Add 17 and 25.", "17 + 25 = 42.\n"),
    ("Write a haiku about rain.", "Rain taps on the roof\nA cat listens at the sill\nThe gutter answers"),
    (
        "How do I boil an egg?",
        "Put it in boiling water for eight minutes, then cool it.",
        "And a soft one?",
        "Six minutes.",
    ),
    ("Schreibe «Grüße» rückwärts. 🙂", "eßürG 🙂"),
)
_TEXT_JOIN = "\n\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A reward model ready to score: weights, the way text becomes tokens, and its record or what stands for it."""

    model: Any
    renderer: Renderer
    record: CheckpointRecord | None
    folder: Path
    foreign: Foreign | None = None


def save_checkpoint(
    folder: Path,
    model: Any,
    renderer: Renderer,
    record: CheckpointRecord,
    *,
    shape: Callable[[Path], None] | None = None,
    check: Callable[[CheckpointRecord], None] | None = None,
    describe: Callable[[CheckpointRecord], CheckpointRecord] | None = None,
) -> None:
    """Write weights, tokenizer and `rewardsmith.json`; the folder is renamed into place when all is written.

    `record.golden` is filled in here, from the checkpoint as it loads from disk, so that what is recorded is what a
    user gets.

    Args:
        folder: where it appears; what is there is replaced.
        model: anything with `save_pretrained`.
        renderer: saves the tokenizer.
        record: `rewardsmith.json` without its golden rewards.
        shape: changes the written files before they are loaded again.
        describe: adds to the record what only the written weights show.
        check: looks at the finished record and raises where it is not what it should be; nothing appears then.
    """
    if folder.exists() or folder.is_symlink():
        guard_removal(folder)
    aside = folder.with_name(f".{folder.name}.rewardsmith.part")  # a name that nobody else gives: it is deleted
    guard_removal(aside)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with quiet_upstream():
            model.save_pretrained(aside, safe_serialization=True, **_embedding(model))
        renderer.save(aside)
        if shape is not None:
            shape(aside)
        _respell(aside)
        finished = record.model_copy(update={"golden": golden_rewards(load_reward_model(aside), renderer)})
        refuse_no_rewards(finished.golden, str(folder))
        if describe is not None:
            finished = describe(finished)
        if check is not None:
            check(finished)
        write_json(aside / RECORD, finished)
        follow_umask(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _respell(folder: Path) -> None:
    """The folder's JSON files as transformers 4 and 5 both read them; the configuration stays what it is here.

    A setting that the old names cannot say without changing what this version reads keeps its new name alone: the
    doctor says then what version 4 would take.
    """
    path = folder / "config.json"
    written = path.read_text(encoding="utf-8") if path.is_file() else None
    before = load_config(folder).to_dict() if written is not None else {}
    respell(folder)
    if written is not None and not _same_settings(before, load_config(folder).to_dict()):
        path.write_text(written, encoding="utf-8")


def _same_settings(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether every setting is still what it was; a rope's kind may be there under its old name as well."""
    for key, value in before.items():
        found = after.get(key)
        # Published ropes may name their kind twice, as `type` and `rope_type`; one of the two is enough.
        if found is None and key == "type":
            found = after.get("rope_type")
        if isinstance(value, dict) and isinstance(found, dict):
            if not _same_settings(value, found):
                return False
        elif value != found:
            return False
    return True


def _embedding(model: Any) -> dict[str, bool]:
    """Save the embedding with an adapter where the vocabulary grew: said here, because peft asks the hub about it."""
    grew = getattr(find_head_owner(model), "vocabulary_grew", False)
    return {"save_embedding_layers": bool(grew)} if hasattr(model, "peft_config") else {}


def open_checkpoint(
    folder: str | Path, *, dtype: str = "float32", device: str = "cpu", max_length: int = 4096
) -> Checkpoint:
    """Load a reward model with its renderer and reproduce its golden rewards.

    Args:
        folder: a checkpoint of ours, one that OpenRLHF saved, or a published one-label checkpoint (folder or hub id).
        max_length: limit for a checkpoint without a record; its own limit counts where it is lower.

    Raises:
        ModelError: nothing loadable is there, or the golden rewards do not reproduce.
    """
    opened = load_checkpoint(folder, dtype=dtype, device=device, max_length=max_length)
    if opened.record is not None:
        verify_golden(opened.model, opened.renderer, opened.record, where=str(folder), exact=dtype == "float32")
    else:
        refuse_no_rewards(golden_rewards(opened.model, opened.renderer), str(folder))
    return opened


def load_checkpoint(
    folder: str | Path, *, dtype: str = "float32", device: str = "cpu", max_length: int = 4096
) -> Checkpoint:
    """As `open_checkpoint`, without a look at the golden rewards: for `verify`, which reports what differs.

    Raises:
        ModelError: nothing loadable is there.
    """
    record = read_checkpoint_record(folder)
    if (Path(folder) / "config.json").is_file():
        load_config(folder)  # first, because the tokenizer's loader stumbles over a faulty one and blames the tokenizer
    if record is not None:
        renderer = Renderer.from_checkpoint(Path(folder), record.rendering)
        model = load_reward_model(folder, dtype=dtype, device=device)
        refuse_tokens_beyond(model, renderer.tokenizer, folder)
        refuse_other_tokenizer(model, renderer.tokenizer)
        say_known_faults(Path(folder))
        return Checkpoint(model, renderer, record, Path(folder))
    renderer, foreign = _foreign_renderer(folder, max_length)
    model = load_reward_model(folder, dtype=dtype, device=device)
    refuse_tokens_beyond(model, renderer.tokenizer, folder)
    fit_tokenizer(model, renderer.tokenizer)
    return Checkpoint(model, renderer, None, Path(folder), foreign)


def load_rendering(folder: str | Path, *, max_length: int = 4096) -> tuple[Renderer, CheckpointRecord | None]:
    """How a checkpoint's texts become ids, without its weights: they are on another machine.

    Args:
        folder: as of `open_checkpoint`.
        max_length: as of `open_checkpoint`.

    Raises:
        ModelError, RenderingError: its configuration or its tokenizer cannot be used.
    """
    record = read_checkpoint_record(folder)
    if record is not None:
        return Renderer.from_checkpoint(Path(folder), record.rendering), record
    return _foreign_renderer(folder, max_length)[0], None


def _foreign_renderer(folder: str | Path, max_length: int) -> tuple[Renderer, Foreign]:
    """Texts as the checkpoint's own trainer made them.

    OpenRLHF trains on plain text as well, so its models may have no template; a published classifier without one
    cannot be rendered, and that is said.
    """
    tokenizer = load_tokenizer(folder)
    adapter = Path(folder) / "adapter_config.json"
    foreign = describe_foreign(load_config(adapter_base(adapter) if adapter.is_file() else folder))
    renderer = Renderer.from_tokenizer(
        tokenizer,
        max_length=min(max_length, foreign.max_length or max_length),
        conversational=foreign.trainer != "openrlhf" or tokenizer.chat_template is not None,
        closing=foreign.closing,
    )
    return renderer, foreign


def read_checkpoint_record(folder: str | Path) -> CheckpointRecord | None:
    """The record of a checkpoint folder; None for a published checkpoint without one."""
    path = Path(folder) / RECORD
    return read_record(path, CheckpointRecord) if path.is_file() else None


def golden_conversations(conversational: bool) -> list[Conversation]:
    """The fixed conversations whose rewards every checkpoint records; plain text for a model without a template."""
    if not conversational:
        return [(Message("text", _TEXT_JOIN.join(turns)),) for turns in _GOLDEN_TURNS]
    roles = ("user", "assistant")
    return [tuple(Message(roles[i % 2], text) for i, text in enumerate(turns)) for turns in _GOLDEN_TURNS]


def golden_rewards(model: Any, renderer: Renderer) -> tuple[GoldenReward, ...]:
    """Rewards of the golden conversations that fit the length limit, by the padded layout."""
    rendered = [
        (conversation, ids)
        for conversation in golden_conversations(renderer.record.conversational)
        if (ids := _fitting(renderer, conversation)) is not None
    ]
    if not rendered:
        return ()
    layout = PaddedBatches(renderer.record.pad_token_id)
    rewards = compute_rewards(model, [ids for _, ids in rendered], layout, token_budget=4096)
    return tuple(
        GoldenReward(conversation=tuple((turn.role, turn.content) for turn in conversation), reward=float(reward))
        for (conversation, _), reward in zip(rendered, rewards, strict=True)
    )


def _fitting(renderer: Renderer, conversation: Conversation) -> Ids | None:
    """Token ids; None over the length limit, also where the policy for a user's own texts is `error`."""
    try:
        return renderer.render_many([conversation])[0].ids
    except DataError:
        return None


def verify_golden(model: Any, renderer: Renderer, record: CheckpointRecord, *, where: str, exact: bool) -> float:
    """Largest difference between recorded and reproduced golden rewards.

    Raises:
        ModelError: the difference is beyond the tolerance, or (not `exact`) the ranks changed.
    """
    wanted = {golden.conversation: golden.reward for golden in record.golden}
    found = {golden.conversation: golden.reward for golden in golden_rewards(model, renderer)}
    if wanted.keys() != found.keys():
        raise ModelError(
            "the golden conversations no longer render",
            where=where,
            fix="load it with the tokenizer that it was saved with",
        )
    if not wanted:
        return 0.0
    before, after = np.array(list(wanted.values())), np.array([found[key] for key in wanted])
    worst = largest_difference(before, after)
    spread = record.reward_std or float(before.std())
    tolerance = FLOAT32_TOLERANCE if exact else BFLOAT16_TOLERANCE * spread
    ranks_kept = exact or bool((np.argsort(before) == np.argsort(after)).all())
    if not within(worst, tolerance) or not ranks_kept:
        raise ModelError(
            f"golden rewards differ by up to {worst:.3g} from those recorded (tolerance {tolerance:.3g}): weights, "
            "tokenizer or template are not those that were trained",
            where=where,
            fix="restore the folder as it was exported, or export the model again",
        )
    return worst


def refuse_no_rewards(golden: Iterable[GoldenReward], where: str) -> None:
    """Refuse a model that gives NaN or infinity for a text: nothing could be verified against such rewards.

    Raises:
        ModelError: it does.
    """
    rewards = [one.reward for one in golden]
    none = [reward for reward in rewards if not math.isfinite(reward)]
    if none:
        raise ModelError(
            f"{len(none)} of {len(rewards)} golden conversations get {none[0]} for a reward",
            where=where,
            fix="restore config.json (a scale, epsilon or rope setting) and the weights, or take a checkpoint from "
            "before the training diverged",
        )


@cache
def say_known_faults(folder: Path) -> None:
    """What an older version is known to have done to this checkpoint, once a process; rewards are verified apart."""
    for fault in known_faults(folder):
        _LOG.warning("note: %s: %s", folder, fault)


def compare_with_its_files(opened: Checkpoint) -> Compared:
    """The weights in memory beside those in the files, the base's below an adapter too; see `compare_with_files`."""
    adapter = opened.folder / "adapter_config.json"
    base = adapter_base(adapter) if adapter.is_file() else None
    config = one_label_config(base or opened.folder)
    return compare_with_files(opened.model, opened.folder, config, base)


def refuse_second_epoch(base: str | Path, data_fingerprint: str) -> tuple[str, ...]:
    """Data sets that the base was already trained on as a reward model; none for any other base.

    Raises:
        ModelError: this data set is one of them.
    """
    try:
        record = read_checkpoint_record(base)
    except (OSError, RewardsmithError):
        record = None
    seen = record.data_fingerprints if record else ()
    if data_fingerprint in seen:
        raise ModelError(
            f"{str(base)!r} is a reward model trained on exactly these pairs already: this would be a second epoch",
            where="base_model.id",
            fix="start from the model it was made from, or give pairs that it has not seen",
        )
    return seen
