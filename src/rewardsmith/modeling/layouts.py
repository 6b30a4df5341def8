"""How token ids become model inputs. Every layout gives the same rewards to rounding; they differ in time and memory.

    layout = choose_layout("auto", model, pad_token_id)
    for part in layout.cut(pairs, token_budget):             # training: the pairs of one optimizer step
        rewards = model(**part.inputs()).logits              # chosen of part.indices, then rejected
    for part in layout.batches(texts, token_budget):         # scoring
        rewards = model(**part.inputs()).logits              # of part.indices

tree     rows of token trees: each token once, no padding. For every decoder that can share prefixes.
padded   length-sorted batches, padded on the right. The reference, and what other models get.

A model can share prefixes if a token's hidden state depends on the tokens before it through attention alone, if it
attends through transformers' `AttentionInterface`, and if positions come from `position_ids`. That leaves out encoders
(they read in both directions), recurrent and hybrid models (their state runs through a row from left to right),
attention over fixed chunks, attention sinks, and models with attention code of their own. `supports_tree` says so
before weights are loaded, `tree_matches_padded` proves it by the numbers.

`share_prefixes` and `tree_collator` bring the token tree to an existing script around TRL's `RewardTrainer`.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from rewardsmith.errors import DataError, ModelError
from rewardsmith.modeling.regimes import Regimes, find_regimes, regimes_of
from rewardsmith.modeling.reward_head import (
    find_head_owner,
    install_reward_forward,
    layout_instead_of_mask,
    reads_one_token,
    restrict_last_layer,
    send,
)
from rewardsmith.modeling.tree.attention import TREE_ATTENTION, to_model_inputs
from rewardsmith.modeling.tree.token_tree import Pack, pack_pairs, pack_sequences
from rewardsmith.rendering.encoding import Ids

_LOG = logging.getLogger(__name__)

CHUNK = 4096
"""Texts that are laid out together when scoring: similar ones share rows, and memory does not grow with the corpus."""

SHARING_LAYERS = ("full_attention", "sliding_attention")


class PairIds(NamedTuple):
    """Token ids of the two texts of a pair, EOS included."""

    chosen: Ids
    rejected: Ids


@dataclass(frozen=True, slots=True)
class Part:
    """One forward pass: which pairs or texts it holds, and how to make its inputs."""

    indices: list[int]
    inputs: Callable[[], dict[str, Any]]


class Layout(Protocol):
    """Turns token ids into what the model's forward takes."""

    @property
    def name(self) -> str:
        """What records call it."""
        ...

    def cut(self, pairs: Sequence[PairIds], token_budget: int) -> list[Part]:
        """Every pair once, in forward passes of at most `token_budget` tokens as laid out, the largest first.

        Rewards come back as all chosen, then all rejected.
        """
        ...

    def batches(self, texts: Sequence[Ids], token_budget: int) -> Iterator[Part]:
        """Every text once, in forward passes of at most `token_budget` tokens as laid out."""
        ...


def choose_layout(name: str, model: Any, pad_token_id: int, *, autocast: bool = False) -> Layout:
    """The layout called `name`, with `model` made ready for it; `auto` takes trees where the model can share prefixes.

    With `autocast` that is proved in bfloat16 (`tree_matches_padded`).

    Raises:
        ModelError: `tree` was asked for and the model cannot.
    """
    if name == "padded":
        return PaddedBatches(pad_token_id)
    reason = supports_tree(model)
    if reason is None and not tree_matches_padded(model, autocast=autocast):
        reason = "its rewards over trees differ from those of each text alone"
        if name == "auto":
            _LOG.warning(
                "padded batches are used, which take longer: %s is of a kind that shares prefixes, but %s",
                type(model).__name__,
                reason,
            )
    if reason is None:
        owner = find_head_owner(model)
        owner.set_attn_implementation(TREE_ATTENTION)
        restrict_last_layer(getattr(owner, owner.base_model_prefix))
        return TreeRows(regimes=regimes_of(model), pad_token_id=pad_token_id)
    if name == "tree":
        raise ModelError(
            f"the token tree cannot be used: {reason}", where="training.layout", fix="write auto or padded"
        )
    return PaddedBatches(pad_token_id)


@dataclass(frozen=True, slots=True)
class PaddedBatches:
    """Length-sorted batches, padded on the right to the longest text; `masked_bos_id` as in `pad_right`."""

    pad_token_id: int
    name: str = "padded"
    masked_bos_id: int | None = None

    def cut(self, pairs: Sequence[PairIds], token_budget: int) -> list[Part]:
        """See `Layout.cut`; both texts of a pair count as long as the longer one."""
        lengths = [max(len(pair.chosen), len(pair.rejected)) for pair in pairs]
        return [
            self._part(indices, [pairs[i].chosen for i in indices] + [pairs[i].rejected for i in indices])
            for indices in batches_by_length(lengths, token_budget // 2)
        ]

    def batches(self, texts: Sequence[Ids], token_budget: int) -> Iterator[Part]:
        """See `Layout.batches`."""
        for indices in batches_by_length([len(text) for text in texts], token_budget):
            yield self._part(indices, [texts[index] for index in indices])

    def _part(self, indices: list[int], texts: list[Ids]) -> Part:
        return Part(indices, lambda: pad_right(texts, self.pad_token_id, self.masked_bos_id))


def batches_by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of texts in batches of similar length.

    Each batch has at most `token_budget` tokens with its padding (a longer single text has a batch of its own). The
    longest batch comes first, so that running out of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad_right(texts: Sequence[Ids], pad_token_id: int, masked_bos_id: int | None = None) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, both (B, T) int64, padded on the right to the longest text.

    Where a text begins with two tokens `masked_bos_id`, the first keeps its place and its mask is 0, as in
    RewardBench's script (`rendering.upstream`).
    """
    width = max(len(text) for text in texts)
    ids_BT = np.full((len(texts), width), pad_token_id, dtype=np.int64)
    mask_BT = np.zeros((len(texts), width), dtype=np.int64)
    for row, text in enumerate(texts):
        ids_BT[row, : len(text)] = text
        mask_BT[row, : len(text)] = 1
        if masked_bos_id is not None and len(text) > 1 and text[0] == text[1] == masked_bos_id:
            mask_BT[row, 0] = 0
    return {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}


@dataclass(frozen=True, slots=True)
class TreeRows:
    """Rows of token trees (`token_tree`): shared prefixes once, no padding.

    Of a model with `regimes` a row holds texts of one regime.
    """

    name: str = "tree"
    regimes: Regimes | None = None
    pad_token_id: int = 0

    def cut(self, pairs: Sequence[PairIds], token_budget: int) -> list[Part]:
        """See `Layout.cut`."""
        if self.regimes is None:
            return _tree_parts(pairs, list(range(len(pairs))), token_budget)
        groups = _group([(self.regimes.key(len(pair.chosen)), self.regimes.key(len(pair.rejected))) for pair in pairs])
        parts = []
        for (chosen, rejected), members in groups.items():
            if chosen == rejected:
                parts += _tree_parts([pairs[index] for index in members], members, token_budget)
                continue
            # The two texts cannot share a row, and the forward parts a padded batch by itself.
            for part in PaddedBatches(self.pad_token_id).cut([pairs[index] for index in members], token_budget):
                parts.append(Part([members[index] for index in part.indices], part.inputs))
        return parts

    def batches(self, texts: Sequence[Ids], token_budget: int) -> Iterator[Part]:
        """See `Layout.batches`."""
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            keys = [self.regimes.key(len(text)) if self.regimes else () for text in chunk]
            for members in _group(keys).values():
                for pack in pack_sequences([chunk[index] for index in members], token_budget):
                    yield _tree_part(pack, [start + index for index in members])


def _group(keys: Sequence[Any]) -> dict[Any, list[int]]:
    """Indices of equal keys, in the order of their first."""
    found: dict[Any, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def _tree_parts(pairs: Sequence[PairIds], numbers: list[int], token_budget: int) -> list[Part]:
    packs = pack_pairs(pairs, token_budget)
    return [_tree_part(pack, numbers) for pack in sorted(packs, key=len, reverse=True)]


def _tree_part(pack: Pack, numbers: Sequence[int]) -> Part:
    def inputs() -> dict[str, Any]:
        made = to_model_inputs(pack)
        # TRL counts tokens by the mask; the reward forward knows that a row of trees has no padding.
        return made | {"attention_mask": torch.ones_like(made["input_ids"])}

    return Part([numbers[int(index)] for index in pack.members], inputs)


def send_inputs(inputs: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """What `Part.inputs` makes, with its tensors on `device`; a GPU takes them without making the host wait."""
    return {name: send(value, device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def supports_tree(config_or_model: Any) -> str | None:
    """None if the architecture can share prefixes, else the reason why not, as a clause (`"it is an encoder …"`).

    Looks at the configuration and at the module tree (made on the meta device where only a config is given: no memory,
    no weights). Nothing is computed; `tree_matches_padded` is the proof.
    """
    if isinstance(config_or_model, nn.Module):
        return _config_reason(config_or_model.config) or _module_reason(find_head_owner(config_or_model))
    reason = _config_reason(config_or_model)
    if reason is None and type(config_or_model) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return f"transformers has no sequence classification for {config_or_model.model_type!r}"
    return reason or _module_reason(_on_meta(config_or_model))


def tree_matches_padded(model: Any, *, autocast: bool = False) -> bool:
    """Whether `model` gives the same rewards over trees as transformers' plain attention gives for each text alone.

    Computes a few short random sequences, on the model's own device and dtype. The model is left as it was.

    Args:
        model: a sequence-classification decoder, with or without adapters.
        autocast: compute in bfloat16 as a training with float32 weights does: another kernel than theirs.
    """
    owner = find_head_owner(model)
    decoder = getattr(owner, owner.base_model_prefix)
    embedding = decoder.get_input_embeddings().weight
    # Of the largest difference of hidden states, relative to their largest value; the wider one is below float32.
    tolerance = 1e-4 if torch.finfo(embedding.dtype).eps < 1e-6 and not autocast else 5e-2
    texts = _probe(embedding.shape[0])
    regimes = find_regimes(owner) or Regimes()
    lower = torch.autocast(embedding.device.type, torch.bfloat16, enabled=autocast)
    with torch.no_grad(), lower, _evaluating(decoder), _attending(decoder, "eager"):
        alone = [_last_state(decoder, ids, regimes) for ids in texts]
    with torch.no_grad(), lower, _evaluating(decoder), _attending(decoder, TREE_ATTENTION):
        for key in {regimes.key(len(ids)) for ids in texts}:
            members = [index for index, ids in enumerate(texts) if regimes.key(len(ids)) == key]
            (pack,) = pack_sequences([texts[index] for index in members], budget=1 << 20)
            inputs = to_model_inputs(pack, embedding.device)
            reads = inputs.pop("reward_positions")
            regimes.forget()
            mask = layout_instead_of_mask(inputs["input_ids"])
            together = decoder(**inputs, attention_mask=mask, use_cache=False).last_hidden_state[0, reads]
            expected = torch.stack([alone[members[index]] for index in pack.members])
            # Not by `rewardsmith.statistics`: scoring and training rows of trees need torch and transformers only.
            apart = (together.float() - expected.float()).abs().max()
            if not (apart.isfinite() and apart <= tolerance * expected.float().abs().max()):  # false where NaN
                return False
    return True


def _config_reason(config: Any) -> str | None:
    text = config.get_text_config()
    if config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if text is not config:
        return "it reads more than text"
    if not getattr(text, "is_causal", True) or getattr(text, "use_bidirectional_attention", False):
        return "it is an encoder: its tokens attend in both directions"
    others = sorted(set(getattr(text, "layer_types", None) or ()) - set(SHARING_LAYERS))
    return f"it has layers of type {', '.join(others)}" if others else None


def _module_reason(model: Any) -> str | None:
    if model._is_stateful:  # noqa: SLF001
        return "it is recurrent: its state runs through a row from left to right"
    if any(getattr(module, "is_causal", True) is False for module in model.modules()):
        return "it is an encoder: its tokens attend in both directions"
    if not (model._supports_attention_backend and model._can_set_attn_implementation()):  # noqa: SLF001
        return "it does not attend through transformers' AttentionInterface"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "it has attention sinks"
    if not reads_one_token(model):
        return "its reward is not a linear head on one token's hidden state"
    if "position_ids" not in inspect.signature(getattr(model, model.base_model_prefix).forward).parameters:
        return "it takes no position ids"
    return None


def _on_meta(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(copy.deepcopy(config))


def _probe(vocabulary: int) -> list[list[int]]:
    """Five sequences: four in one tree with a trunk below its trunk, one alone."""
    draw = np.random.default_rng(0)
    opening, answer, *tails = (draw.integers(0, vocabulary, size).tolist() for size in (150, 9, 7, 12, 30, 1, 17))
    middle, other, longer, short, alone = tails
    return [opening + answer + middle, opening + other, opening + answer + longer, opening + short, alone]


def _last_state(decoder: Any, ids: list[int], regimes: Regimes) -> Tensor:
    regimes.forget()
    state: Tensor = decoder(torch.tensor([ids], device=decoder.device), use_cache=False).last_hidden_state[0, -1]
    return state


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _attending(decoder: Any, implementation: str) -> Iterator[None]:
    before = decoder.config._attn_implementation  # noqa: SLF001
    decoder.set_attn_implementation(implementation)
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def share_prefixes(model: Any) -> Any:
    """Make a sequence-classification decoder with one label read rows of token trees; returns `model`.

        from rewardsmith import share_prefixes, tree_collator

        trainer = RewardTrainer(model=share_prefixes(model), data_collator=tree_collator, …)

    TRL's loss, optimizer, loop and arguments stay as they are; what it trains on is the same to rounding, and it takes
    as many times less as its pairs share prompts and differ in length. Each micro-batch becomes one row of trees, so
    that `per_device_train_batch_size` bounds memory as before. The model's weights, its configuration and what
    `save_pretrained` writes stay the same, and it still takes padded batches.

    The reward is read at the last token of each text. TRL's own collator and transformers' pooling read it there as
    well unless the padding token stands at the end of a text; then ours is right and theirs is one token early.

    Raises:
        ModelError: the architecture cannot share prefixes (an encoder, a recurrent model, longrope, dynamic NTK …).
    """
    install_reward_forward(model)
    if (regimes := regimes_of(model)) is not None:
        limit = min(regimes.limits + regimes.growing)
        raise ModelError(
            f"a row of trees mixes texts of up to {limit} tokens with longer ones, and this model's positions depend "
            "on the longest text of a row",
            where="model.config.rope_parameters",
            fix="train it with rewardsmith train, which gives each text its own row where that is needed",
        )
    choose_layout("tree", model, pad_token_id=0)
    return model


def tree_collator(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A data collator for TRL's `RewardTrainer`: all pairs of a micro-batch as one row of trees.

    Args:
        examples: rows with `chosen_ids` and `rejected_ids`, as TRL prepares them; a `margin` is passed on, since TRL
            subtracts it in the loss.

    Returns:
        What a model of `share_prefixes` takes; its rewards are all chosen, then all rejected.

    Raises:
        DataError: a row without token ids.
    """
    if not examples or not all("chosen_ids" in row and "rejected_ids" in row for row in examples):
        raise DataError(
            "tree_collator needs rows with chosen_ids and rejected_ids",
            where="data_collator",
            fix="pass preference pairs to TRL's RewardTrainer; it makes these columns",
        )
    pairs = [
        PairIds(np.asarray(row["chosen_ids"], np.int32), np.asarray(row["rejected_ids"], np.int32)) for row in examples
    ]
    (row_of_trees,) = TreeRows().cut(pairs, token_budget=sum(len(chosen) + len(rejected) for chosen, rejected in pairs))
    inputs = row_of_trees.inputs()
    if all(row.get("margin") is not None for row in examples):
        inputs["margin"] = torch.tensor([float(examples[index]["margin"]) for index in row_of_trees.indices])
    return inputs
