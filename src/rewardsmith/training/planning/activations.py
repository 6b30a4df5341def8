"""What a forward pass leaves in memory for its backward pass, in bytes, by counting saved tensors.

    held = activation_memory(shape, numerics, tokens=2048, adapter=None, checkpointing=False, tree=True)
    held.saved + held.working

The count is that of Korthikanti et al. 2022 (arXiv 2205.05198, §4.1: every tensor that an operation keeps for its
gradient), done again for the layers of today: RMSNorm, gated MLP, rotary positions, grouped keys, attention that keeps
the log-sum-exp instead of the scores (FlashAttention, arXiv 2205.14135, §3.1), the token tree's last layer, adapters,
and autocast, which copies an input for every matrix that reads it. For decoders of the Llama and Qwen families the
formula equals what autograd saves to the byte (tests/test_planning_activations.py).

Not covered: attention whose scores are capped (Gemma 2), which keeps them, T numbers a token and head.

All numbers are for `tokens` of one micro-batch as laid out: in a row of token trees each token once, in a padded batch
with its padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardsmith.modeling.shapes import ModelShape

Modules = Literal["all-linear"] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Numerics:
    """Types of training, as bytes a number.

    Attributes:
        weights: of the weights.
        compute: of the matrix products.
        autocast: whether products are computed lower than the weights say, by copies.
        exact_attention: whether attention is computed in float32 all the same (the tree kernel on a CPU).
    """

    weights: int = 4
    compute: int = 4
    autocast: bool = False
    exact_attention: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA of a rank on some matrices; `quantised` holds the base in 4 bits (QLoRA)."""

    rank: int
    modules: Modules = "all-linear"
    quantised: bool = False


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes that a micro-batch needs.

    Attributes:
        saved: kept from the forward to the backward pass.
        working: what is alive beside it where the backward pass begins: the gradients inside of one layer.
        casts: weights in the compute type, which autocast keeps as long as the graph.
    """

    saved: float
    working: float
    casts: float = 0.0

    @property
    def total(self) -> float:
        """All of it: the peak of one micro-batch."""
        return self.saved + self.working + self.casts


def activation_memory(
    shape: ModelShape,
    numerics: Numerics,
    *,
    tokens: float,
    adapter: Adapter | None = None,
    checkpointing: bool = False,
    tree: bool = True,
) -> Activations:
    """Bytes of one micro-batch of `tokens`.

    With `checkpointing` a layer keeps its input alone and computes the rest again, one layer at a time (Chen et al.
    2016, arXiv 1604.06174). With `tree` the last layer computes only what the reward head reads: of its MLP and its
    queries nothing is left.
    """
    layer = layer_bytes(shape, numerics, adapter)
    last = _last_layer_bytes(shape, numerics, adapter) if tree else layer
    ends = shape.hidden * _norm_bytes(shape, numerics, adapter) + 2 * (shape.attention // shape.heads) * 4
    if checkpointing:
        saved = shape.layers * shape.hidden * numerics.weights + layer
    else:
        saved = (shape.layers - 1) * layer + last
    working = 3 * shape.mlp * numerics.compute + 2 * shape.hidden * numerics.weights
    return Activations(saved=tokens * (saved + ends), working=tokens * working, casts=_cast_bytes(shape, numerics))


def layer_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None = None) -> float:
    """Bytes a token that one decoder layer saves.

    With D the hidden width, A and K those of queries and keys, F of the MLP, w bytes of a weight, c of the compute
    type, a of attention:

        norms        D·(4 + w) each: the input in float32 and the normalised, this one only if the norm is trained
        read         D·c for attention and for the MLP; a copy for each matrix under autocast or adapters
        attention    (2·A + 2·K)·a for queries, output, keys and values, 4 bytes a head for the log-sum-exp
        MLP          4·F·c gated (gate, its activation, up, product), 2·F·c plain
        adapters     rank·c a matrix, and copies of what the frozen matrices read
    """
    width = numerics.compute if numerics.autocast or numerics.weights == 4 else 4
    copies = adapter is not None and (numerics.autocast or numerics.weights != 4)
    norms = shape.norms * (shape.hidden * _norm_bytes(shape, numerics, adapter) + 4)
    mlp = (4 if shape.gated else 2) * shape.mlp * numerics.compute
    routed = 2 * shape.experts * shape.hidden * numerics.compute
    if copies:  # the product is kept as the adapter reads it
        mlp += 0 if numerics.autocast else shape.mlp * (width - numerics.compute)
    return (
        norms
        + _read_bytes(shape, numerics, adapter)
        + _attention_bytes(shape, numerics, adapter)
        + mlp
        + routed
        + _rank_bytes(shape, adapter, width)
    )


def _norm_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None) -> float:
    """Bytes for each number that a norm over the hidden width sees."""
    if shape.layer_norm:
        return numerics.weights  # one kernel, which keeps its input
    return 4 + (numerics.weights if adapter is None else 0)


def _read_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None) -> float:
    """What the matrices read of the hidden width: shared, unless each casts it for itself."""
    if adapter is not None and (numerics.autocast or numerics.weights != 4):
        return shape.readers * shape.hidden * (numerics.compute if numerics.autocast else 4)
    if numerics.autocast and numerics.weights != numerics.compute:
        return shape.readers * shape.hidden * numerics.compute
    return 2 * shape.hidden * numerics.compute


def _attention_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None) -> float:
    exact = 4 if numerics.exact_attention else numerics.compute
    held = (2 * shape.attention + 2 * shape.keys) * exact + 4 * shape.heads
    if adapter is not None and (numerics.autocast or numerics.weights != 4):
        held += shape.attention * (numerics.compute if numerics.autocast else 4)
    elif adapter is None and exact != numerics.compute:
        held += shape.attention * numerics.compute
    return held + _head_norm_bytes(shape, numerics, adapter)


def _head_norm_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None) -> float:
    """Norms over queries and keys, where there are any."""
    if not shape.head_norms:
        return 0.0
    trained = numerics.compute if adapter is None else 0
    return shape.head_norms * (4 + trained) + 4 * (shape.heads + shape.key_heads)


def _last_layer_bytes(shape: ModelShape, numerics: Numerics, adapter: Adapter | None) -> float:
    """The last layer over token trees: its norms, and the keys and values that the reward positions attend to."""
    exact = 4 if numerics.exact_attention else numerics.compute
    norms = shape.norms * (shape.hidden * _norm_bytes(shape, numerics, adapter) + 4)
    read = _read_bytes(shape, numerics, adapter) * 2 / max(shape.readers, 2)
    return norms + read + 2 * shape.keys * exact + _head_norm_bytes(shape, numerics, adapter)


def _rank_bytes(shape: ModelShape, adapter: Adapter | None, width: int) -> float:
    if adapter is None:
        return 0.0
    per_layer = sum(linear.copies for linear in shape.targets(adapter.modules)) / shape.layers
    return per_layer * adapter.rank * width


def _cast_bytes(shape: ModelShape, numerics: Numerics) -> float:
    """Weights of the layers in the compute type."""
    return float(shape.active * numerics.compute) if numerics.autocast and numerics.weights != numerics.compute else 0.0
