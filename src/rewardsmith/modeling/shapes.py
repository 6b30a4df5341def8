"""The shape of a model from its config alone: how many parameters, which matrices, how wide a token is inside a layer.

    shape = read_shape("Qwen/Qwen3-8B")            # the config from a folder, the hub or its cache; no weights
    shape.parameters, shape.active, shape.adapter_parameters(rank=16)

The module tree is made on the meta device, so that nothing is allocated, and looked at: every number is of the
modules that training will run, whatever the family calls them. `training.planning` turns a shape into memory and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from rewardsmith.errors import ModelError
from rewardsmith.modeling.sizes import load_config
from rewardsmith.modeling.tree_support import supports_tree

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
        embeddings: in embedding tables, which are looked up and not multiplied.
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
        no_tree: why it cannot share prefixes (see `tree_support`); None where it can.
    """

    family: str
    parameters: int
    embeddings: int
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

    def targets(self, modules: Literal["all-linear"] | Sequence[str]) -> tuple[LinearMap, ...]:
        """The matrices that adapters go to."""
        return tuple(linear for linear in self.linears if modules == "all-linear" or linear.name in modules)

    def adapter_parameters(self, rank: int, modules: Literal["all-linear"] | Sequence[str] = "all-linear") -> int:
        """Parameters that LoRA trains: rank · (inputs + outputs) a matrix (arXiv 2106.09685, §4.1), and the head."""
        low_rank = sum(linear.copies * rank * (linear.inputs + linear.outputs) for linear in self.targets(modules))
        return low_rank + self.hidden


def read_shape(model: str, revision: str | None = None, *, field: str = "base_model.id") -> ModelShape:
    """The shape of a hub model or a folder, as a reward model.

    Raises:
        ModelError: the config cannot be loaded, or the model has no reward head in the installed transformers.
    """
    return shape_of(load_config(model, revision, field=field), name=model, field=field)


def shape_of(config: Any, *, name: str = "the base", field: str = "base_model.id") -> ModelShape:
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
            where=field,
            fix="choose a text model",
        ) from error
    layers = max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len, default=None)
    if not layers:
        raise ModelError(f"{name!r} ({config.model_type}) has no layers to count", where=field, fix="choose a decoder")
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
        embeddings=sum(tables),
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
