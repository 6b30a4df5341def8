"""A short causal-LM training of the embedded base model: it reads questions with their right answers.

    warm_up(model, sequences, Recipe(), seed=0, progress=print)

Afterwards the model knows the facts and the forms of the training part; which of two responses is better it has never
been told. Plain torch in float32: the same seed, thread count and library versions give the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from rewardsmith.protocols import Progress

Text = tuple[list[int], int]
"""Token ids, and how many of them are the prompt's."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the warm-up trains.

    Attributes:
        texts_per_step: texts in an optimizer step.
        learning_rate: its peak, reached after `rise` of the steps; from there it falls to 0 in a straight line.
        prompt_weight: what a token of the prompt counts in the loss; a token of the response counts 1.
        clip: largest norm of the gradient.
    """

    texts_per_step: int = 16
    learning_rate: float = 4e-3
    rise: float = 0.05
    prompt_weight: float = 0.1
    clip: float = 1.0


def warm_up(
    model: PreTrainedModel,
    texts: Sequence[Text],
    recipe: Recipe,
    *,
    seed: int,
    pad_token_id: int,
    progress: Progress | None = None,
) -> None:
    """Train `model` in place, one pass over `texts`."""
    batches = _batches(texts, recipe.texts_per_step, Random(seed))  # noqa: S311
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rise_and_fall(len(batches), recipe.rise))
    model.train()
    for step, batch in enumerate(batches, start=1):
        loss = _loss(model, [texts[i] for i in batch], recipe.prompt_weight, pad_token_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if progress:
            progress(step, len(batches))
    model.eval()


def _batches(texts: Sequence[Text], size: int, rng: Random) -> list[list[int]]:
    """Indices in random batches of similar lengths, so that little is padded."""
    order = list(range(len(texts)))
    rng.shuffle(order)
    batches = [batch for pool in _chunks(order, 16 * size) for batch in _sorted_batches(pool, texts, size)]
    rng.shuffle(batches)
    return batches


def _sorted_batches(pool: list[int], texts: Sequence[Text], size: int) -> Iterator[list[int]]:
    return _chunks(sorted(pool, key=lambda i: len(texts[i][0])), size)


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _rise_and_fall(steps: int, rise: float) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / max(1.0, rise * steps)) * (1 - step / steps)


def _loss(model: PreTrainedModel, batch: list[Text], prompt_weight: float, pad_token_id: int) -> torch.Tensor:
    """Weighted mean of the next-token losses. B texts, T tokens, N predicted tokens, D width, V vocabulary."""
    longest = max(len(ids) for ids, _ in batch)
    ids_BT = torch.tensor([ids + [pad_token_id] * (longest - len(ids)) for ids, _ in batch])
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
    weight_BT = mask_BT.float()
    for row, (_, n_prompt) in enumerate(batch):
        weight_BT[row, :n_prompt] = prompt_weight
    hidden_BTD = model.model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    # The vocabulary is the widest matrix here: only positions that count go through it.
    counts_BT = mask_BT[:, 1:].bool()
    logits_NV = model.lm_head(hidden_BTD[:, :-1][counts_BT])
    losses_N = cross_entropy(logits_NV, ids_BT[:, 1:][counts_BT], reduction="none")
    weight_N = weight_BT[:, 1:][counts_BT]
    return (losses_N * weight_N).sum() / weight_N.sum()
