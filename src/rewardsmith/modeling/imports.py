"""Checkpoints that other programs wrote: how their files and their texts differ from ours.

    foreign = describe_foreign(config)       # a transformers configuration, as it stands in config.json
    foreign.closing                          # how the trainer ended a text: the renderer does the same
    foreign.head_names                       # what `from_pretrained` has to rename
    foreign.normalization                    # mean and std: kept in the record, never applied

Two kinds are read as they are, wherever a checkpoint is named (`--model DIR`):

openrlhf        `architectures: ["RewardModel"]`, weights `model.*` and `<value_head_prefix>.weight` (`score` or
                `value_head`), no `num_labels`, `mean` and `std` of its training data. Its trainer cuts line breaks from
                the rendered text and appends a space and EOS unless EOS stands there
                (openrlhf/datasets/reward_dataset.py).
transformers    `…ForSequenceClassification` with one label (the Skywork family, what TRL saves). The text is what the
                template that it ships writes, to the last line break: its trainer read the reward there.

`rewardsmith export --to hf` makes one of ours out of either, with golden rewards that loading verifies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rewardsmith.rendering.template import Closing

Trainer = Literal["openrlhf", "transformers"]

OPENRLHF_FIELDS = ("value_head_prefix", "normalize_reward", "mean", "std")
"""What OpenRLHF adds to a configuration."""

_OPENRLHF_CLASSES = ("RewardModel", "LLMForSequenceRegression")
_OPENRLHF_HEADS = ("value_head", "regression_head")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is particular about a checkpoint without `rewardsmith.json`.

    `head_names` maps patterns of weight names to ours. `max_length` is the model's own limit in tokens, None where it
    names none.
    """

    trainer: Trainer
    closing: Closing
    head_names: dict[str, str]
    normalization: dict[str, str | float] | None
    max_length: int | None


def describe_foreign(config: Any) -> Foreign:
    """Tell from a configuration who trained the model, and what follows from that."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    ours = made_by_openrlhf(config)
    return Foreign(
        trainer="openrlhf" if ours else "transformers",
        closing="openrlhf" if ours else "shipped",
        head_names=head_names(config),
        normalization=_normalization(config) if ours else None,
        max_length=int(limit) if limit else None,
    )


def made_by_openrlhf(config: Any) -> bool:
    """Whether OpenRLHF's `train_rm` wrote this configuration."""
    architectures = getattr(config, "architectures", None) or ()
    return any(name in _OPENRLHF_CLASSES for name in architectures) or hasattr(config, "value_head_prefix")


def head_names(config: Any) -> dict[str, str]:
    """Patterns of weight names to rename while loading; empty for a head under its usual name."""
    if not made_by_openrlhf(config):
        return {}
    names = {*_OPENRLHF_HEADS, str(getattr(config, "value_head_prefix", "score"))} - {"score"}
    return {rf"^{name}\.": "score." for name in sorted(names)}


def forget_openrlhf(config: Any) -> None:
    """Take OpenRLHF's own fields out of a configuration, in place; mean and std live in the record from then on."""
    for field in OPENRLHF_FIELDS:
        if hasattr(config, field):
            delattr(config, field)


def _normalization(config: Any) -> dict[str, str | float] | None:
    mean, std = getattr(config, "mean", None), getattr(config, "std", None)
    if mean is None or std is None:
        return None
    return {"required_by": "OpenRLHF", "formula": "(reward - mean) / std", "mean": float(mean), "std": float(std)}
