"""How token ids become model inputs. Every layout gives the same rewards to rounding; they differ in time and memory.

layout = choose_layout("auto", model, pad_token_id)
for part in layout.cut(pairs, token_budget):             # training: the pairs of one optimizer step
    rewards = model(**part.inputs()).logits              # chosen of part.indices, then rejected
for part in layout.batches(texts, token_budget):         # scoring
    rewards = model(**part.inputs()).logits              # of part.indices

tree     rows of token trees: each token once, no padding. For every decoder that can share prefixes.
padded   length-sorted batches, padded on the right. The reference, and what other models get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from rewardsmith.errors import ModelError
from rewardsmith.modeling.last_layer import restrict_last_layer
from rewardsmith.modeling.padded import Ids, batches_by_length, pad_right
from rewardsmith.modeling.regimes import Regimes, regimes_of
from rewardsmith.modeling.reward_head import find_head_owner
from rewardsmith.modeling.token_tree import Pack, pack_pairs, pack_sequences
from rewardsmith.modeling.tree_attention import TREE_ATTENTION, to_model_inputs
from rewardsmith.modeling.tree_support import supports_tree, tree_matches_padded

CHUNK = 4096
"""Texts that are laid out together when scoring: similar ones share rows, and memory does not grow with the corpus."""


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


def choose_layout(name: str, model: Any, pad_token_id: int) -> Layout:
    """The layout called `name`, with `model` made ready for it; `auto` takes trees where the model can share prefixes.

    Raises:
        ModelError: `tree` was asked for and the model cannot.
    """
    if name == "padded":
        return PaddedBatches(pad_token_id)
    reason = supports_tree(model)
    if reason is None and not tree_matches_padded(model):
        reason = "its rewards over trees differ from those of each text alone"
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
