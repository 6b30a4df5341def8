"""What `rewardsmith verify` looks at in this process: every way from a text to its reward, and what misleads others.

    texts = [ids …]
    reference = alone(model, texts)                                  # each text by itself, no padding, float32
    for name, way in WAYS.items():
        found = way(Verified(opened, conversations, texts, reference))    # Way(rewards) or Way(None, "why none")
    for finding in config_findings(opened):        # FileFinding: file, field, value, what follows, what to write

padded          all texts in right-padded batches
saved template  the tokens that the folder's own tokenizer gives: what TRL, vLLM's `messages` and RewardBench see
transformers    transformers' own forward and pooling, with the pad id of config.json
tree            rows of token trees
merged          an adapter added to the weights, as vLLM and SGLang need it
bfloat16        the checkpoint loaded once more in bfloat16

The order matters: `tree` changes how the model attends, `merged` its weights.

Fields of `config.json` may make another program give another reward than ours. Our own loader does not depend on them;
vLLM, SGLang, transformers' `pipeline` and TRL do. They fail a checkpoint of ours, which promises to work elsewhere, and
are notes on a published one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rewardsmith.errors import ModelError, RenderingError
from rewardsmith.modeling.checkpoint import Checkpoint, load_checkpoint
from rewardsmith.modeling.exports import merge_adapter
from rewardsmith.modeling.faults import config_faults
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, batches_by_length, choose_layout, pad_right
from rewardsmith.modeling.loading import load_config
from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.modeling.reward_head import find_head_owner, reads_one_token
from rewardsmith.records.checkpoint import FileFinding, PathName
from rewardsmith.rendering import load_tokenizer
from rewardsmith.rendering.encoding import Ids, encode
from rewardsmith.rendering.sandbox import apply_template
from rewardsmith.types import Conversation

Rewards = NDArray[np.float64]

BUDGET = 4096
"""Tokens of a batch."""
COMPANY = 3
"""Short texts in one batch with the longest."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A checkpoint with conversations and the token ids that its own renderer gives them."""

    opened: Checkpoint
    conversations: Sequence[Conversation]
    texts: Sequence[Ids]
    alone: Rewards

    @property
    def model(self) -> Any:
        """The model in memory."""
        return self.opened.model


@dataclass(frozen=True, slots=True)
class Way:
    """Rewards in the order of the texts, or why this checkpoint has none of this kind.

    `note` says what is wrong with the texts themselves, whatever their rewards.
    """

    rewards: Rewards | None
    why: str = ""
    note: str = ""


def alone(model: Any, texts: Sequence[Ids]) -> Rewards:
    """Each text in a forward pass of its own: the reference."""
    return compute_rewards(model, texts, PaddedBatches(0), token_budget=1)


def padded(case: Verified) -> Way:
    """Right-padded batches of texts of different lengths, and the shortest ones once more beside the longest."""
    layout = _one_batch(case)
    rewards = compute_rewards(case.model, case.texts, layout, BUDGET)
    order = sorted(range(len(case.texts)), key=lambda index: len(case.texts[index]))
    company = [*order[:COMPANY], order[-1]]
    budget = len(company) * len(case.texts[order[-1]])
    beside = compute_rewards(case.model, [case.texts[index] for index in company], layout, budget)
    # Whichever is further from the reward that the text has alone is what counts; NaN is furthest.
    nearer = np.abs(beside - case.alone[company]) <= np.abs(rewards - case.alone)[company]
    rewards[company] = np.where(nearer, rewards[company], beside)
    return Way(rewards)


def saved_template(case: Verified) -> Way:
    """Token ids of the folder's tokenizer as it was saved, untouched by our loader."""
    if case.opened.foreign is not None and case.opened.foreign.closing == "openrlhf":
        return Way(None, "OpenRLHF's trainer adds the end of a text itself; export --to hf puts it into the template")
    if not case.opened.renderer.record.conversational:
        return Way(None, "the model takes plain text only")
    tokenizer = load_tokenizer(case.opened.folder)
    if tokenizer.chat_template is None:
        raise RenderingError(
            "the saved tokenizer has no chat template",
            where=f"{case.opened.folder}/chat_template.jinja",
            fix="restore the file as it was exported",
        )
    found = [_saved_ids(tokenizer, conversation) for conversation in case.conversations]
    other = [index for index, ids in enumerate(found) if not np.array_equal(ids, case.texts[index])]
    note = ""
    if other:
        end = tokenizer.decode(found[other[0]][-3:])
        note = f"the saved template gives other tokens for {len(other)} of {len(found)} texts; one ends with {end!r}"
    return Way(alone(case.model, found), note=note)


def transformers_alone(case: Verified) -> Way:
    """The stock forward: pooling at the rightmost token whose id is not the pad id of config.json."""
    owner = find_head_owner(case.model)
    if not reads_one_token(case.model):
        return Way(None, "an encoder's forward is transformers' own already")
    settings = owner.config.get_text_config()
    kept = settings.pad_token_id, owner.config.pad_token_id
    saved = _saved_pad(case)
    settings.pad_token_id = owner.config.pad_token_id = saved
    try:
        return Way(_stock(owner, case.texts, saved))
    finally:
        settings.pad_token_id, owner.config.pad_token_id = kept


def tree(case: Verified) -> Way:
    """Rows of token trees, where the architecture can share prefixes."""
    try:
        layout = choose_layout("tree", case.model, case.opened.renderer.pad_token_id)
    except ModelError as error:
        return Way(None, str(error).splitlines()[0].partition(": ")[2])
    return Way(compute_rewards(case.model, case.texts, layout, BUDGET))


def merged(case: Verified) -> Way:
    """An adapter merged into its base."""
    model, there_was_one = merge_adapter(case.model)
    if not there_was_one:
        return Way(None, "the checkpoint is no adapter")
    return Way(compute_rewards(model, case.texts, _one_batch(case), BUDGET))


def bfloat16(case: Verified) -> Way:
    """Loaded once more with weights in bfloat16."""
    device = next(case.model.parameters()).device
    try:
        loaded = load_checkpoint(case.opened.folder, dtype="bfloat16", device=str(device))
        return Way(compute_rewards(loaded.model, case.texts, _one_batch(case), BUDGET))
    except (RuntimeError, TypeError, ValueError) as error:  # an architecture that mixes types (DeBERTa)
        return Way(None, f"it does not run in bfloat16: {str(error).strip().splitlines()[0]}")


WAYS: dict[PathName, Callable[[Verified], Way]] = {
    "padded": padded,
    "saved template": saved_template,
    "transformers": transformers_alone,
    "tree": tree,
    "merged": merged,
    "bfloat16": bfloat16,
}


def _one_batch(case: Verified) -> PaddedBatches:
    return PaddedBatches(case.opened.renderer.pad_token_id)


def _saved_ids(tokenizer: Any, conversation: Conversation) -> Ids:
    """As `apply_chat_template(tokenize=True)`: the template's text, and no special tokens but those in it."""
    return encode(tokenizer, apply_template(tokenizer, [conversation]))[0]


def _saved_pad(case: Verified) -> int | None:
    """The pad id that the folder's configuration names; an adapter gets ours when it is loaded."""
    if hasattr(case.model, "peft_config"):
        return case.opened.renderer.pad_token_id
    pad = load_config(case.opened.folder).get_text_config().pad_token_id
    return None if pad is None else int(pad)


def _stock(owner: Any, texts: Sequence[Ids], pad: int | None) -> Rewards:
    """One text a batch where there is no pad id (transformers refuses more), or where neighbours change a reward."""
    rewards = np.full(len(texts), np.nan)
    lengths = [len(text) for text in texts]
    device = next(owner.parameters()).device
    regimes = regimes_of(owner)
    for indices in batches_by_length(lengths, BUDGET if pad is not None and regimes is None else 1):
        if regimes is not None:
            regimes.forget()
        inputs = pad_right([texts[index] for index in indices], pad or 0)
        with torch.inference_mode():
            logits = type(owner).forward(owner, **{name: value.to(device) for name, value in inputs.items()}).logits
        rewards[indices] = logits[:, 0].float().cpu().numpy()
    return rewards


def config_findings(opened: Checkpoint) -> list[FileFinding]:
    """What stands wrong in a checkpoint's configuration; nothing for an adapter, which has none of its own."""
    if hasattr(opened.model, "peft_config"):
        return []
    config, rendering = load_config(opened.folder), opened.renderer.record
    pad = config.get_text_config().pad_token_id
    faults = config_faults(
        problem_type=config.problem_type,
        num_labels=config.num_labels,
        id2label=config.id2label,
        pad=pad,
        eos=rendering.eos_token_id,
    )
    neighbours = _neighbour_findings(opened)
    export = f"or run rewardsmith export --model {opened.folder} --to hf --out DIR"
    return neighbours + [
        FileFinding(
            file=f"{opened.folder}/config.json",
            field=fault.field,
            value=repr(fault.value),
            problem=fault.problem,
            fix=f"write {fault.wanted or rendering.pad_token_id}, {export}",
            fails=opened.foreign is None,
        )
        for fault in faults
    ]


def _neighbour_findings(opened: Checkpoint) -> list[FileFinding]:
    """Where other programs let the texts of a batch decide about each other. Ours part the batch (`regimes.py`)."""
    regimes = regimes_of(opened.model)
    if regimes is None:
        return []
    found = [
        ("rope_parameters", str(limit), f"a text of up to {limit} tokens another reward beside a longer one", "alone")
        for limit in regimes.limits + regimes.growing
        if opened.renderer.max_length > limit
    ]
    if regimes.alone:
        kind = opened.model.config.model_type
        found.append(("model_type", kind, "a text another reward in a batch: the model reads padding", "one at a time"))
    return [
        FileFinding(
            file=f"{opened.folder}/config.json",
            field=field,
            value=value,
            problem=f"transformers gives {problem}; other servers have rules of their own",
            fix=f"serve it with rewardsmith serve, which gives each text what it has alone; elsewhere send texts {fix}",
            fails=False,
        )
        for field, value, problem, fix in found
    ]
