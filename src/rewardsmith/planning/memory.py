"""Memory of one device in training: weights, gradients, optimizer, activations and buffers, and when they peak.

    use = training_memory(setup, strategy="fsdp", devices=8)
    use.peak, use.phase
    held = activation_memory(shape, numerics, tokens=2048, adapter=None, checkpointing=False, tree=True)
    held.saved + held.working

Strategies, all of them data parallel: each of `devices` processes computes its own micro-batches.

    single   one process
    ddp      a copy on each device, gradients averaged through buckets (PyTorch DDP, arXiv 2006.15704)
    fsdp     weights, gradients and optimizer in shards, a layer gathered at a time (PyTorch FSDP, arXiv 2304.11277)
    zero2    gradients and optimizer in shards (DeepSpeed ZeRO, arXiv 1910.02054), as OpenRLHF runs it
    zero3    weights too

Bytes a parameter: TRL's AdamW keeps gradients and both moments in the type of the weights (4·4 = 16 in float32, 8 in
bfloat16). DeepSpeed in bfloat16 keeps 2 + 2 for weights and gradients and 12 for float32 weights and both moments
(1910.02054, §3.1). Adapters are trained in float32 (peft casts them), 16 bytes each.

`activation_memory` is what a forward pass leaves in memory for its backward pass, in bytes, by counting saved tensors.
The count is that of Korthikanti et al. 2022 (arXiv 2205.05198, §4.1: every tensor that an operation keeps for its
gradient), done again for the layers of today: RMSNorm, gated MLP, rotary positions, grouped keys, attention that keeps
the log-sum-exp instead of the scores (FlashAttention, arXiv 2205.14135, §3.1), the token tree's last layer, adapters,
and autocast, which copies an input for every matrix that reads it. For decoders of the Llama and Qwen families the
formula equals what autograd saves to the byte (tests/planning/test_activations.py).

Not covered: attention whose scores are capped (Gemma 2), which keeps them, T numbers a token and head.

All numbers are for `tokens` of one micro-batch as laid out: in a row of token trees each token once, in a padded batch
with its padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.records.plan import MemoryUse

Modules = Literal["all-linear"] | Sequence[str]
Strategy = Literal["single", "ddp", "fsdp", "zero2", "zero3"]
Phase = Literal["forward and backward", "optimizer step", "saving"]

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""A weight in 4 bits, its block's scale in 8, the scales' own in 32: QLoRA, double quantisation (2305.14314, §3)."""

BUCKET = 500_000_000
"""Elements that DeepSpeed reduces at a time: its default `reduce_bucket_size`, which OpenRLHF's "auto" leaves."""

LIVE = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered at most: DeepSpeed's default `stage3_max_live_parameters`."""


@dataclass(frozen=True, slots=True)
class Numerics:
    """Types of training, as bytes a number.

    Attributes:
        weights: of the weights.
        compute: of the matrix products.
        autocast: whether products are computed lower than the weights say, by copies.
        exact_attention: whether attention is computed in float32 all the same (the tree kernel on a CPU).
        gathered: keys and values kept for each token: more than 1 where branches get copies of their trunk's.
    """

    weights: int = 4
    compute: int = 4
    autocast: bool = False
    exact_attention: bool = False
    gathered: float = 1.0


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA of a rank on some matrices; `quantised` holds the base in 4 bits (QLoRA)."""

    rank: int
    modules: Modules = "all-linear"
    quantised: bool = False


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one forward pass holds: its tokens as laid out, and whether a step has several of them on a device."""

    tokens: float
    several: bool = True
    tree: bool = True


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What is trained, and how; `on_host`: on a CPU, whose memory holds the saved checkpoint too."""

    shape: ModelShape
    numerics: Numerics
    batch: MicroBatch
    adapter: Adapter | None = None
    checkpointing: bool = False
    on_host: bool = False

    @property
    def trained(self) -> int:
        """Parameters with a gradient."""
        if self.adapter is None:
            return self.shape.parameters
        return self.shape.adapter_parameters(self.adapter.rank, self.adapter.modules)


def training_memory(setup: TrainingSetup, strategy: Strategy = "single", devices: int = 1) -> MemoryUse:
    """The memory of each of `devices` devices under a strategy."""
    return _STRATEGIES[strategy](setup, max(devices, 1))


def most_tokens(setup: TrainingSetup, limit: float, strategy: Strategy = "single", devices: int = 1) -> int:
    """Tokens of a micro-batch with which a device's peak is `limit` bytes; 0 or less where nothing fits.

    The inverse of `training_memory` for a step of several micro-batches: what is left beside weights, gradients,
    optimizer and buffers, over the bytes of a token.
    """
    one = replace(setup, batch=MicroBatch(tokens=1.0, several=True, tree=setup.batch.tree))
    use = training_memory(one, strategy, devices)
    held = _activations(one)
    room = limit - use.weights - use.gradients - use.optimizer - use.buffers - held.casts
    return math.floor(room / (held.saved + held.working))


def _replicated(setup: TrainingSetup, devices: int, *, buckets: bool) -> MemoryUse:
    weights, trained = weight_bytes(setup), _trained_bytes(setup)
    # DDP's buckets are copies of the gradients unless gradients are views of them, which accelerate does not ask for.
    buffers = trained if buckets and devices > 1 else 0.0
    # Adam's two moments are kept in the type of what is trained.
    return _peak(setup, weights, trained, 2 * trained, buffers, always=buffers > 0)


def _fsdp(setup: TrainingSetup, devices: int) -> MemoryUse:
    """Shards, and two layers gathered (the next one is fetched early) with the gradient of one (2304.11277, §3.2.1).

    Where a step has several micro-batches, gradients wait unsharded for the last one (`no_sync`).
    """
    trained = _trained_bytes(setup)
    layer = setup.shape.layer_parameters
    gathered = 2 * layer * setup.numerics.compute + (layer * setup.numerics.compute if setup.adapter is None else 0)
    gradients = trained if setup.batch.several else trained / devices
    weights = weight_bytes(setup) / devices
    return _peak(setup, weights, gradients, 2 * trained / devices, gathered, always=True)


def _zero2(setup: TrainingSetup, devices: int) -> MemoryUse:
    """Whole weights, the rest in shards, and a bucket of gradients on its way (1910.02054, §5.2)."""
    trained = setup.trained
    # DeepSpeed trains in bfloat16 (2 bytes) and keeps a float32 copy and both moments (12).
    weights = 2.0 * setup.shape.parameters
    return _peak(setup, weights, 2 * trained / devices, 12 * trained / devices, 2 * min(BUCKET, trained), always=True)


def _zero3(setup: TrainingSetup, devices: int) -> MemoryUse:
    """Everything in shards, with the parameters that are gathered and a bucket of gradients (1910.02054, §5.3)."""
    trained, parameters = setup.trained, setup.shape.parameters
    gathered = 2 * min(LIVE, parameters) + 2 * min(BUCKET, trained)
    return _peak(setup, 2 * parameters / devices, 2 * trained / devices, 12 * trained / devices, gathered, always=True)


_STRATEGIES: dict[Strategy, Callable[[TrainingSetup, int], MemoryUse]] = {
    "single": partial(_replicated, buckets=False),
    "ddp": partial(_replicated, buckets=True),
    "fsdp": _fsdp,
    "zero2": _zero2,
    "zero3": _zero3,
}


def weight_bytes(setup: TrainingSetup) -> float:
    """Weights as they lie in memory: in 4 bits what QLoRA quantises, adapters in float32."""
    shape, held = setup.shape, setup.numerics.weights
    if setup.adapter is None:
        return float(shape.parameters * held)
    adapters = 4.0 * setup.trained
    if not setup.adapter.quantised:
        return shape.parameters * held + adapters
    quantised = sum(linear.copies * linear.inputs * linear.outputs for linear in shape.linears)
    return quantised * NF4_BITS / 8 + (shape.parameters - quantised) * held + adapters


def _trained_bytes(setup: TrainingSetup) -> float:
    return float(setup.trained * (setup.numerics.weights if setup.adapter is None else 4))


def _peak(
    setup: TrainingSetup, weights: float, gradients: float, optimizer: float, buffers: float, *, always: bool
) -> MemoryUse:
    """The peak over the phases of a step.

    Weights and optimizer are there all the time, also while the checkpoint is saved and loaded again. A step's first
    micro-batch finds no gradients (they are freed after every step), so that with one micro-batch a step they grow
    while activations go; with several, or where buffers hold them anyway, both are there together. `buffers` are alive
    in forward and backward passes. Loading is no peak: safetensors maps the file, and weights are its pages until they
    change.
    """
    held = _activations(setup)
    together = setup.batch.several or always
    computing = gradients + _in_a_pass(setup, held) if together else max(held.total, gradients)
    steady = weights + optimizer
    phases: dict[Phase, float] = {
        "forward and backward": steady + computing + buffers,
        "optimizer step": steady + gradients,
        "saving": steady + (_reloaded_bytes(setup) if setup.on_host else 0.0),
    }
    phase = max(phases, key=lambda name: phases[name])
    return MemoryUse(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=held.total,
        buffers=buffers,
        peak=phases[phase],
        phase=phase,
    )


def _in_a_pass(setup: TrainingSetup, held: Activations) -> float:
    """Beside gradients that are there already: the activations, or at the end the new gradient of the embeddings."""
    table = setup.shape.largest_table * setup.numerics.weights if setup.adapter is None else 0
    return max(held.total, float(table))


def _reloaded_bytes(setup: TrainingSetup) -> float:
    """The checkpoint as it is loaded again in float32, on the host, for its golden rewards, beside the trained weights.

    Weights in bfloat16 are resident twice: as the file's pages, which safetensors maps, and converted.
    """
    mapped = 2 if setup.numerics.weights == 2 else 0
    return float(setup.shape.parameters * (4 + mapped))


def _activations(setup: TrainingSetup) -> Activations:
    return activation_memory(
        setup.shape,
        setup.numerics,
        tokens=setup.batch.tokens,
        adapter=setup.adapter,
        checkpointing=setup.checkpointing,
        tree=setup.batch.tree,
    )


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
    held = (2 * shape.attention + 2 * shape.keys * numerics.gathered) * exact + 4 * shape.heads
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
    return norms + read + 2 * shape.keys * numerics.gathered * exact + _head_norm_bytes(shape, numerics, adapter)


def _rank_bytes(shape: ModelShape, adapter: Adapter | None, width: int) -> float:
    if adapter is None:
        return 0.0
    per_layer = sum(linear.copies for linear in shape.targets(adapter.modules)) / shape.layers
    return per_layer * adapter.rank * width


def _cast_bytes(shape: ModelShape, numerics: Numerics) -> float:
    """Weights of the layers in the compute type."""
    return float(shape.active * numerics.compute) if numerics.autocast and numerics.weights != numerics.compute else 0.0
