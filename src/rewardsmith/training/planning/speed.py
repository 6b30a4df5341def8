"""Time of an epoch: operations of the model, the share of the peak that is reached, and what the network adds.

    estimate = training_time(setup, lengths, machine, strategy="ddp", devices=8, budget=16384, pairs_per_step=64)

Operations (Kaplan et al. 2020, arXiv 2001.08361, §2.1; Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B): a
forward pass takes 2 a token for each parameter that is multiplied and 4·A a token, layer and attended key; the backward
pass twice that. Frozen matrices have no weight gradient, so that adapters take two thirds of it. Gradient
checkpointing repeats the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.training.planning.hardware import Machine
from rewardsmith.training.planning.memory import Strategy, TrainingSetup
from rewardsmith.training.planning.tokens import Lengths, passes

UTILISATION = {"cpu": 0.75, "cuda": 0.35, "mps": 0.35}
"""Share of the peak that useful operations reach.

CPU: the median of bench/results/train_speed.md. GPU: what is reported lies between 0.38 (Llama 3, arXiv 2407.21783,
table 4) and 0.52 (Megatron-LM, arXiv 2104.04473, table 1) for code tuned to one model; 0.35 is an assumption.
"""

PAIRS = 1000
"""Pairs that a time is given for where the number of pairs is not known."""


@dataclass(frozen=True, slots=True)
class TrainingTime:
    """One epoch, or `PAIRS` pairs where their number is unknown.

    `seconds` takes the larger of computing and network, which overlap; `operations` are of all devices.
    """

    pairs: int
    operations: float
    compute_seconds: float
    network_seconds: float
    network_bytes: float
    seconds: float
    utilisation: float


def forward_operations(shape: ModelShape, attended: float) -> float:
    """Operations of a forward pass, a token."""
    return 2.0 * shape.active + 4.0 * shape.layers * shape.attention * attended


def training_operations(setup: TrainingSetup, attended: float) -> float:
    """Operations of forward and backward pass, a token."""
    matrices = 2.0 * setup.shape.active
    attention = forward_operations(setup.shape, attended) - matrices
    backward = (2.0 if setup.adapter is None else 1.0) * matrices + 2.0 * attention
    repeated = matrices + attention if setup.checkpointing else 0.0
    return matrices + attention + backward + repeated


def step_traffic(setup: TrainingSetup, strategy: Strategy, devices: int, micro_batches: int) -> float:
    """Bytes that a device sends in one optimizer step.

    With N devices and Ψ bytes: a ring all-reduce sends 2·Ψ·(N − 1)/N, a gather or a scatter half of that (Patarasuk and
    Yuan 2009). DDP reduces gradients once a step. Sharded weights are gathered for each forward and each backward
    pass, and gradients scattered (1910.02054, §7: three times Ψ); FSDP scatters once a step (`no_sync`), DeepSpeed
    after each pass. ZeRO-2 scatters after each pass and gathers the new weights once.
    """
    if devices == 1:
        return 0.0
    ring = (devices - 1) / devices
    width = 4 if setup.adapter is not None else setup.numerics.weights
    gradients = setup.trained * width * ring
    weights = setup.shape.parameters * setup.numerics.compute * ring
    return {
        "single": 0.0,
        "ddp": 2 * gradients,
        "fsdp": 2 * weights * micro_batches + gradients,
        "zero2": gradients * micro_batches + setup.trained * 2 * ring,
        "zero3": (2 * weights + gradients) * micro_batches,
    }[strategy]


def training_time(
    setup: TrainingSetup,
    lengths: Lengths,
    machine: Machine,
    *,
    strategy: Strategy,
    devices: int,
    budget: float,
    pairs_per_step: int,
    utilisation: float | None = None,
) -> TrainingTime:
    """Seconds of one epoch over the data."""
    pairs = PAIRS if lengths.pairs is None else lengths.pairs
    share = UTILISATION[machine.kind] if utilisation is None else utilisation
    of_pair = lengths.of_pair(tree=setup.batch.tree)
    operations = pairs * of_pair * training_operations(setup, lengths.attended)
    compute = operations / (devices * machine.flops * share)
    steps = pairs / pairs_per_step
    traffic = steps * step_traffic(setup, strategy, devices, passes(pairs_per_step * of_pair, budget, devices))
    network = traffic / machine.link_between(devices)
    return TrainingTime(pairs, operations, compute, network, traffic, max(compute, network), share)
