"""Sizes of a model from its config alone: how many parameters, which matrices, how wide a token is inside a layer.

    shape = read_shape("Qwen/Qwen3-8B")            # the config from a folder, the hub or its cache; no weights
    shape.parameters, shape.active, shape.adapter_parameters(rank=16)
    base, policy = check_sizes(spec, "Qwen/Qwen3-0.6B")         # refuses a base that is larger than its policy

The module tree is made on the meta device, so that nothing is allocated, and looked at: every number is of the
modules that training will run, whatever the family calls them. `planning` turns a shape into memory and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError, SpecError, first_line
from rewardsmith.hub import ask_hub
from rewardsmith.modeling.faults import refuse_pad_beyond
from rewardsmith.modeling.layouts import supports_tree
from rewardsmith.records.bounded import refuse_odd_files

if TYPE_CHECKING:
    from rewardsmith.spec import LoraAdapter, Spec

_WRITERS = ("o_proj", "down_proj", "dense", "c_proj", "out_proj", "dense_4h_to_h", "fc2")
"""Linear maps of a layer that write its hidden width; the others read it."""


class LinearMap(NamedTuple):
    """`copies` equal matrices of the layers, `inputs` × `outputs`, under one name."""

    name: str
    inputs: int
    outputs: int
    copies: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory and time depend on.

    Attributes:
        family: the config's `model_type`.
        parameters: all, with a one-label reward head.
        active: parameters that are multiplied with every token; of experts, those that a token passes.
        layers: decoder layers.
        layer_parameters: of the largest layer; what sharded training gathers at a time.
        hidden: width of the residual stream.
        attention: width of all query heads together.
        keys: width of all key heads together.
        heads: query heads.
        key_heads: key heads.
        mlp: width of the MLP that a token passes, of all its experts together.
        gated: whether the MLP multiplies by a gate.
        experts: that a token passes; 0 for a dense MLP.
        readers: linear maps of a layer that read the hidden width.
        norms: of a layer, over the hidden width.
        layer_norm: whether they are LayerNorms, whose kernel keeps its input alone, else RMSNorms written in PyTorch.
        head_norms: width that is normalised inside attention (queries and keys); 0 where nothing is.
        vocabulary: rows of the input embedding.
        largest_table: parameters of the largest embedding table.
        linears: the matrices of the layers, which adapters may go to.
        positions: most tokens of a text, where the config says so.
        no_tree: why it cannot share prefixes (see `supports_tree`); None where it can.
        softcap: bound of the attention scores (Gemma 2); None for most.
    """

    family: str
    parameters: int
    active: int
    layers: int
    layer_parameters: int
    hidden: int
    attention: int
    keys: int
    heads: int
    key_heads: int
    mlp: int
    gated: bool
    experts: int
    readers: int
    norms: int
    layer_norm: bool
    head_norms: int
    vocabulary: int
    largest_table: int
    linears: tuple[LinearMap, ...]
    positions: int | None
    no_tree: str | None
    softcap: float | None = None

    def targets(self, modules: Literal["all-linear"] | Sequence[str]) -> tuple[LinearMap, ...]:
        """The matrices that adapters go to."""
        return tuple(linear for linear in self.linears if modules == "all-linear" or linear.name in modules)

    def adapter_parameters(self, rank: int, modules: Literal["all-linear"] | Sequence[str] = "all-linear") -> int:
        """Parameters that LoRA trains: rank · (inputs + outputs) a matrix (arXiv 2106.09685, §4.1), and the head."""
        low_rank = sum(linear.copies * rank * (linear.inputs + linear.outputs) for linear in self.targets(modules))
        return low_rank + self.hidden


def read_shape(model: str, revision: str | None = None) -> ModelShape:
    """The shape of a hub model or a folder, as a reward model.

    Raises:
        ModelError: the config cannot be loaded, or the model has no reward head in the installed transformers.
    """
    return shape_of(load_config(model, revision), name=model)


def shape_of(config: Any, *, name: str = "the base") -> ModelShape:
    """The shape of a config, as a reward model.

    Raises:
        ModelError: the model has no reward head in the installed transformers, or no layers that could be counted.
    """
    config.num_labels = 1
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise ModelError(
            f"{name!r} ({config.model_type}) has no reward head in the installed transformers",
            where="base_model.id",
            fix="choose a text model",
        ) from error
    layers = max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len, default=None)
    if not layers:
        raise ModelError(
            f"{name!r} ({config.model_type}) has no layers to count", where="base_model.id", fix="choose a decoder"
        )
    return _measure(config.get_text_config(), model, layers, supports_tree(config))


def _measure(config: Any, model: nn.Module, layers: nn.ModuleList, no_tree: str | None) -> ModelShape:
    layer = layers[-1]  # the first ones of some mixtures of experts are dense
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    experts, mlp = _mlp(config)
    inside = [part for name, part in layer.named_modules() if name.endswith(("q_norm", "k_norm"))]
    norms = [part for part in layer.modules() if "norm" in type(part).__name__.lower()]
    outside = [part for part in norms if part not in inside and _count(part) >= config.hidden_size]
    tables = [part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding)]
    linears = Counter(_linears(layers))
    return ModelShape(
        family=config.model_type,
        parameters=_count(model),
        active=_active(layers, getattr(config, "num_experts_per_tok", None)),
        layers=len(layers),
        layer_parameters=max(_count(part) for part in layers),
        hidden=config.hidden_size,
        attention=heads * head,
        keys=key_heads * head,
        heads=heads,
        key_heads=key_heads,
        mlp=mlp,
        gated=_is_gated(layer),
        experts=experts,
        readers=sum(
            linear.inputs == config.hidden_size and linear.name not in _WRITERS for linear in _linears([layer])
        ),
        norms=len(outside),
        layer_norm=any(isinstance(part, nn.LayerNorm) for part in outside),
        head_norms=(heads + key_heads) * head if inside else 0,
        vocabulary=config.vocab_size,
        largest_table=max(tables, default=0),
        linears=tuple(linear._replace(copies=count) for linear, count in linears.items()),
        positions=getattr(config, "max_position_embeddings", None),
        no_tree=no_tree,
        softcap=getattr(config, "attn_logit_softcapping", None),
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _linears(layers: Sequence[nn.Module] | nn.ModuleList) -> Iterator[LinearMap]:
    for layer in layers:
        for name, part in layer.named_modules():
            if isinstance(part, nn.Linear):
                yield LinearMap(name.rpartition(".")[2], part.in_features, part.out_features, 1)
            elif isinstance(part, Conv1D):
                yield LinearMap(name.rpartition(".")[2], part.weight.shape[0], part.weight.shape[1], 1)


def _active(layers: nn.ModuleList, passed: int | None) -> int:
    """Matrices of the layers; of those that are stacked by expert, the share that a token passes."""
    total = 0
    for weight in layers.parameters():
        if weight.dim() == 2:
            total += weight.numel()
        elif weight.dim() == 3:
            total += weight.numel() * min(passed or weight.shape[0], weight.shape[0]) // weight.shape[0]
    return total


def _mlp(config: Any) -> tuple[int, int]:
    """Experts that a token passes (0: dense), and the width of what it passes."""
    experts = int(getattr(config, "num_experts_per_tok", None) or 0)
    width = next(
        (
            found
            for name in ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
            if (found := getattr(config, name, None))
        ),
        4 * config.hidden_size,
    )
    if not experts:
        return 0, int(width)
    one = int(getattr(config, "moe_intermediate_size", None) or width)
    return experts, experts * one + int(getattr(config, "shared_expert_intermediate_size", None) or 0)


def _is_gated(layer: nn.Module) -> bool:
    names = [name.rpartition(".")[2] for name, _ in layer.named_parameters()]
    names += [linear.name for linear in _linears([layer])]
    return any(name in ("gate_proj", "gate_up_proj", "w3") for name in names)


def refuse_rank(adapter: LoraAdapter, shape: ModelShape) -> None:
    """Refuse low-rank matrices of more rank than any matrix that they stand on can have: parameters without an effect.

    Raises:
        SpecError: the rank is larger than the smaller side of the largest of them.
    """
    largest = max(shape.targets(adapter.target_modules), key=lambda one: min(one.inputs, one.outputs), default=None)
    if largest is not None and adapter.rank > (most := min(largest.inputs, largest.outputs)):
        raise SpecError(
            f"is {adapter.rank:,}, and no matrix that adapters go to has a rank above {most:,} (the largest, "
            f"{largest.name}, is {largest.inputs:,} by {largest.outputs:,})",
            where="adapter.rank",
            fix=f"write {most:,} or less (8 to 64 is usual); adapter.kind: none trains all weights",
        )


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of a model and its architecture family (the config's `model_type`); None where neither is known."""

    parameters: int | None
    family: str | None


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
    from rewardsmith.spec import compare_sizes

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


def load_config(model: str, revision: str | None = None, *, field: str = "base_model.id") -> Any:
    """The config of a hub model or a folder.

    Raises:
        ModelError: there is no such model, it cannot be reached, or it wants to run code of its own.
    """
    refuse_odd_files(model, ModelError)
    if not (Path(model) / "config.json").is_file():
        # Late, as `compare_sizes` below: a shape and its memory can be had where pydantic is not (bench/gpu.py).
        from rewardsmith.modeling.stored import refuse_adapter

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
