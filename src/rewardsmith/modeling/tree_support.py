"""Which models can compute a row of trees, and the proof that one does.

    reason = supports_tree(config)                # None, or why not: for `plan`, before weights are loaded
    if tree_matches_padded(model): …              # after loading: the numbers themselves

A model can if a token's hidden state depends on the tokens before it through attention alone, if it attends through
transformers' `AttentionInterface`, and if positions come from `position_ids`. That leaves out encoders (they read in
both directions), recurrent and hybrid models (their state runs through a row from left to right), attention over fixed
chunks, attention sinks, and models with attention code of their own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from rewardsmith.modeling.regimes import Regimes, find_regimes
from rewardsmith.modeling.reward_head import find_head_owner, reads_one_token
from rewardsmith.modeling.token_tree import pack_sequences
from rewardsmith.modeling.tree_attention import TREE_ATTENTION, to_model_inputs
from rewardsmith.statistics import largest_difference, within

SHARING_LAYERS = ("full_attention", "sliding_attention")


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


def tree_matches_padded(model: Any, tolerance: float | None = None) -> bool:
    """Whether `model` gives the same rewards over trees as transformers' plain attention gives for each text alone.

    Computes a few short random sequences, on the model's own device and dtype. The model is left as it was.

    Args:
        model: a sequence-classification decoder, with or without adapters.
        tolerance: of the largest difference of hidden states, relative to their largest value; by default 1e-4, or 5e-2
            below float32.
    """
    owner = find_head_owner(model)
    decoder = getattr(owner, owner.base_model_prefix)
    embedding = decoder.get_input_embeddings().weight
    if tolerance is None:
        tolerance = 1e-4 if torch.finfo(embedding.dtype).eps < 1e-6 else 5e-2
    texts = _probe(embedding.shape[0])
    regimes = find_regimes(owner) or Regimes()
    with torch.no_grad(), _evaluating(decoder), _attending(decoder, "eager"):
        alone = [_last_state(decoder, ids, regimes) for ids in texts]
    with torch.no_grad(), _evaluating(decoder), _attending(decoder, TREE_ATTENTION):
        for key in {regimes.key(len(ids)) for ids in texts}:
            members = [index for index, ids in enumerate(texts) if regimes.key(len(ids)) == key]
            (pack,) = pack_sequences([texts[index] for index in members], budget=1 << 20)
            inputs = to_model_inputs(pack, embedding.device)
            reads = inputs.pop("reward_positions")
            regimes.forget()
            together = decoder(**inputs, use_cache=False).last_hidden_state[0, reads]
            expected = torch.stack([alone[members[index]] for index in pack.members])
            apart = largest_difference(together.float().cpu().numpy(), expected.float().cpu().numpy())
            if not within(apart, tolerance * float(expected.abs().max())):
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
