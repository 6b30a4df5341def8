"""What a plan says beside its numbers: what to look at before training, and what nobody stated."""

from __future__ import annotations

from rewardsmith.modeling.shapes import ModelShape
from rewardsmith.spec import Spec
from rewardsmith.training.planning.backend import Choice
from rewardsmith.training.planning.hardware import GIB, Machine
from rewardsmith.training.planning.scoring import Speed
from rewardsmith.training.planning.speed import TrainingTime
from rewardsmith.training.planning.tokens import Lengths

LEAST_STEPS = 20
"""Steps below which the margin monitor gives no verdict."""


def warnings_of(spec: Spec, shape: ModelShape, lengths: Lengths, choice: Choice) -> tuple[str, ...]:
    """What may be wrong with this spec, each with its mend."""
    found = (
        None if choice.fits else choice.reason,
        _policy(spec),
        _positions(spec, shape),
        _low_weights(spec, choice),
        _host_memory(spec, shape, choice),
        _few_steps(spec, lengths),
    )
    return tuple(warning for warning in found if warning)


def assumptions_of(
    machine: Machine, lengths: Lengths, stale: str | None, time: TrainingTime, measured: Speed | None
) -> tuple[str, ...]:
    """What the numbers rest on that neither the spec nor the data said.

    Args:
        stale: a note where the lengths are of other data than the spec names.
    """
    found = [*machine.assumptions, f"lengths: {lengths.source}"]
    if stale:
        found.append(stale)
    if lengths.pairs is None:
        found.append(f"the number of pairs is not known: times are for {time.pairs:,} (--pairs, or run check first)")
    found.append(f"{time.utilisation:.0%} of a device's peak of {machine.flops / 1e12:.3g} TFLOP/s is reached")
    if machine.price is not None:
        found.append(f"a device costs ${machine.price:g} an hour (--price)")
    if measured is None:
        found.append("scoring latency is estimated for one device; no trained checkpoint was measured")
    return tuple(found)


def _policy(spec: Spec) -> str | None:
    if spec.policy.id is not None or spec.policy.family is not None:
        return None
    return (
        "the policy's family is not known, so that its lineage cannot be compared with the base's: RewardBench 2 found "
        "that a base of another lineage costs in PPO; write policy.id, or policy.parameters and policy.family"
    )


def _positions(spec: Spec, shape: ModelShape) -> str | None:
    if shape.positions is None or spec.data.max_length <= shape.positions:
        return None
    return (
        f"data.max_length is {spec.data.max_length} and the base was made for {shape.positions} positions; lower it, "
        "or expect rewards of long texts to mean little"
    )


def _low_weights(spec: Spec, choice: Choice) -> str | None:
    if spec.base_model.dtype != "bfloat16" or spec.adapter.kind != "none" or choice.row.backend != "trl":
        return None
    return (
        "all weights are trained in bfloat16: steps smaller than 1/256 of a weight are rounded away; write "
        "base_model.dtype: float32 with hardware.precision: bfloat16, or train an adapter"
    )


def _host_memory(spec: Spec, shape: ModelShape, choice: Choice) -> str | None:
    if choice.row.devices == 1 or choice.row.backend != "trl":
        return None
    held = choice.row.devices * shape.parameters * (2 if spec.base_model.dtype == "bfloat16" else 4)
    return f"each of the {choice.row.devices} processes loads the base into host memory first: {held / GIB:.0f} GiB"


def _few_steps(spec: Spec, lengths: Lengths) -> str | None:
    if lengths.pairs is None:
        return None
    steps = -(-lengths.pairs // spec.training.pairs_per_step)
    if steps >= LEAST_STEPS:
        return None
    return f"{lengths.pairs:,} pairs make {steps} steps, too few for the margin monitor; lower training.pairs_per_step"
