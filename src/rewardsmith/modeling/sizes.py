"""Counting parameters and naming families from configs alone, on the meta device: no weights are read or allocated.

    size = count_parameters("Qwen/Qwen3-8B")       # Size(parameters=…, family="qwen3")

Used by `train` and `run` to refuse a reward model that is larger than its policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from rewardsmith.errors import ModelError, SpecError, first_line
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.config_faults import refuse_pad_beyond
from rewardsmith.modeling.stored import refuse_adapter
from rewardsmith.spec import Spec, compare_sizes


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of a model and its architecture family (the config's `model_type`); None where neither is known."""

    parameters: int | None
    family: str | None


def load_config(model: str, revision: str | None = None, *, field: str = "base_model.id") -> Any:
    """The config of a hub model or a folder.

    Raises:
        ModelError: there is no such model, it cannot be reached, or it wants to run code of its own.
    """
    if not (Path(model) / "config.json").is_file():
        refuse_adapter(model)
    ask_hub(model, error=ModelError, where=field, revision=revision)
    try:
        config = transformers.AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    except Exception as error:  # what a broken file raises depends on the field that is broken
        reason = first_line(error)
        raise ModelError(
            f"the config of {model!r} cannot be loaded: {reason}",
            where=field,
            fix="name a folder with a checkpoint, or a hub model that is public or cached "
            "(with HF_HUB_OFFLINE=1 only the cache is read)",
        ) from error
    refuse_pad_beyond(config, f"{model}/config.json")
    return config


def count_parameters(
    model: str, revision: str | None = None, *, field: str = "base_model.id", head: bool = True
) -> Size:
    """Parameters and family of a model, from its config.

    Args:
        model: hub id or folder.
        head: count it with a one-label reward head (a base), or as a causal language model (a policy).
    """
    config = load_config(model, revision, field=field)
    if head:
        config.num_labels = 1
    kind = transformers.AutoModelForSequenceClassification if head else transformers.AutoModelForCausalLM
    try:
        with torch.device("meta"):
            skeleton = kind.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise ModelError(
            f"{model!r} ({config.model_type}) has no {'reward head' if head else 'causal language model'} "
            "in the installed transformers",
            where=field,
            fix="choose a text model, or state base_model.parameters and policy.parameters",
        ) from error
    return Size(sum(parameter.numel() for parameter in skeleton.parameters()), config.model_type)


def check_sizes(spec: Spec, base: str) -> tuple[Size, Size]:
    """Sizes of base and policy, stated or counted; a base larger than its policy is refused.

    Args:
        base: the folder or hub id that `spec.base_model` resolves to.

    Raises:
        SpecError: the base is larger than the policy.
    """
    counted = count_parameters(base, spec.base_model.revision)
    return check_against_policy(spec, counted)


def check_against_policy(spec: Spec, counted: Size) -> tuple[Size, Size]:
    """The same for a base whose parameters and family were `counted` already; what the spec states goes before."""
    base_size = Size(spec.base_model.parameters or counted.parameters, spec.base_model.family or counted.family)
    policy_size = _policy_size(spec)
    reason = compare_sizes(base_size.parameters, policy_size.parameters)
    if reason:
        problem, _, fix = reason.rpartition(". ")
        raise SpecError(problem, where="base_model.id", fix=fix)
    return base_size, policy_size


def _policy_size(spec: Spec) -> Size:
    policy = spec.policy
    if policy.id is None or (policy.parameters is not None and policy.family is not None):
        return Size(policy.parameters, policy.family)
    if policy.parameters is not None:
        family = load_config(policy.id, policy.revision, field="policy.id").model_type
        return Size(policy.parameters, family)
    counted = count_parameters(policy.id, policy.revision, field="policy.id", head=False)
    return Size(counted.parameters, policy.family or counted.family)


def lineage_warning(base: Size, policy: Size) -> str | None:
    """A sentence when base and policy are of different architecture families, else None.

    Source: RewardBench 2 (2506.01937): in PPO a strong reward model of another lineage than the policy did worse than a
    weaker one of its own.
    """
    if base.family is None or policy.family is None or base.family == policy.family:
        return None
    return (
        f"the base is of family {base.family!r} and the policy of {policy.family!r}. RewardBench 2 found that a reward "
        "model of another lineage than its policy does worse in PPO than its benchmark score promises"
    )
