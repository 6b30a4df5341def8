"""The token tree for an existing script around TRL's `RewardTrainer`: two lines, nothing else of Rewardsmith.

    from rewardsmith import share_prefixes, tree_collator

    trainer = RewardTrainer(model=share_prefixes(model), data_collator=tree_collator, …)

TRL's loss, optimizer, loop and arguments stay as they are; what it trains on is the same to rounding, and it takes as
many times less as its pairs share prompts and differ in length. Each micro-batch becomes one row of trees, so that
`per_device_train_batch_size` bounds memory as before.

The reward is read at the last token of each text. TRL's own collator and transformers' pooling read it there as well
unless the padding token stands at the end of a text; then ours is right and theirs is one token early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rewardsmith.errors import DataError, ModelError
from rewardsmith.modeling.layouts import PairIds, TreeRows, choose_layout
from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.modeling.reward_head import install_reward_forward


def share_prefixes(model: Any) -> Any:
    """Make a sequence-classification decoder with one label read rows of token trees; returns `model`.

    Its weights, its configuration and what `save_pretrained` writes stay the same, and it still takes padded batches.

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
