"""What of a spec OpenRLHF would ignore without a word, or fail on after hours: refused before anything is read.

refuse_spec(spec)                                    # by the spec alone: before the check
refuse_shape(spec, version, pairs, processes)        # when version, pairs and devices are known
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rewardsmith.errors import SpecError
from rewardsmith.spec import HardwareSpec, Spec
from rewardsmith.training.openrlhf.command import is_dotted


class Rule(NamedTuple):
    """A field, when it is refused, why (reads on after the value that was found), and the fix."""

    field: str
    broken: Callable[[Spec], bool]
    why: str
    fix: str


RULES: tuple[Rule, ...] = (
    Rule(
        "openrlhf.interpreter",
        lambda spec: spec.openrlhf.interpreter is None,
        "is not given: OpenRLHF's pins conflict with ours, so it runs in an environment of its own",
        "write the path of its Python, for example /opt/openrlhf/bin/python; or backend: trl",
    ),
    Rule(
        "adapter.kind",
        lambda spec: spec.adapter.kind != "none",
        "with OpenRLHF loses the reward head: it puts an adapter on the head as well and saves the adapter alone",
        "write none, or train the adapter with backend: trl",
    ),
    Rule(
        "hardware.precision",
        lambda spec: spec.hardware.precision == "float32",
        "is not there in OpenRLHF, which computes in bfloat16 (or float16) only",
        "write auto or bfloat16; DeepSpeed keeps a float32 copy of the weights for the optimizer",
    ),
    Rule(
        "hardware.device",
        lambda spec: spec.hardware.device == "mps",
        "is no device of DeepSpeed's",
        "write auto or cuda, or backend: trl",
    ),
    Rule(
        "hardware.workers",
        lambda spec: spec.hardware.workers is not None,
        "is the number of Ray workers, which OpenRLHF's train_rm does not read",
        "write hardware.nodes and hardware.devices_per_node: their product is the number of processes",
    ),
    Rule(
        "hardware.sharding",
        lambda spec: spec.hardware.sharding != "auto",
        "is for the TRL backend; DeepSpeed shards by its ZeRO stage",
        "leave it out and write openrlhf.zero_stage",
    ),
    Rule(
        "hardware.shared_storage",
        lambda spec: spec.hardware.shared_storage is not None,
        "is for training under Ray; OpenRLHF reads and writes in the run directory",
        "leave it out, and put output_dir on storage that all machines see",
    ),
    Rule(
        "hardware.restarts",
        lambda spec: spec.hardware.restarts != HardwareSpec().restarts,
        "is for training under Ray; nothing starts OpenRLHF's processes again",
        "leave it out; the same command goes on from the last checkpoint",
    ),
    Rule(
        "training.order",
        lambda spec: spec.training.order != "shuffled",
        "would be ignored: OpenRLHF always shuffles",
        "write shuffled, or backend: trl",
    ),
    Rule(
        "training.layout",
        lambda spec: spec.training.layout == "tree",
        "would be ignored: OpenRLHF pads (or packs, with openrlhf.packing) and shares no prefixes",
        "write auto or padded, or backend: trl",
    ),
    Rule(
        "training.tokens_per_micro_batch",
        lambda spec: spec.training.tokens_per_micro_batch != "auto",
        "would be ignored: OpenRLHF counts the pairs of a micro-batch, not their tokens",
        "leave it out and write openrlhf.pairs_per_micro_batch",
    ),
    Rule(
        "openrlhf.packing",
        lambda spec: spec.openrlhf.packing and spec.base_model.attention not in ("auto", "flash_attention_2"),
        "would change base_model.attention: OpenRLHF packs with flash attention only and says so in its log alone",
        "write base_model.attention: flash_attention_2, or openrlhf.packing: false",
    ),
    Rule(
        "openrlhf.packing",
        lambda spec: spec.openrlhf.packing and spec.hardware.device == "cpu",
        "needs flash attention, which a CPU has not",
        "write false",
    ),
    Rule(
        "openrlhf.hostfile",
        lambda spec: (
            spec.openrlhf.launcher == "deepspeed" and spec.hardware.nodes > 1 and spec.openrlhf.hostfile is None
        ),
        "is not given, and deepspeed reaches several nodes by it",
        "name a file with a line HOST slots=DEVICES for each node; or openrlhf.launcher: slurm or ray",
    ),
    Rule(
        "openrlhf.launcher",
        lambda spec: spec.openrlhf.launcher == "torchrun" and spec.hardware.nodes > 1,
        "starts the processes of one node",
        "write deepspeed with a hostfile, slurm or ray",
    ),
    Rule(
        "hardware.devices_per_node",
        lambda spec: (
            spec.hardware.devices_per_node is None
            and (spec.hardware.nodes > 1 or spec.openrlhf.launcher in ("slurm", "ray"))
        ),
        "is not given, and the devices of other machines cannot be counted from here",
        "write the number of devices of each node",
    ),
)


def refuse_spec(spec: Spec) -> None:
    """Refuse a spec that OpenRLHF would not follow.

    Raises:
        SpecError: the first rule that is broken, with its field and its fix.
    """
    for rule in RULES:
        if rule.broken(spec):
            found = _value(spec, rule.field)
            shown = "it" if found is None else repr(found)
            raise SpecError(f"{shown} {rule.why}", where=rule.field, fix=rule.fix)


def refuse_shape(spec: Spec, version: str, pairs: int, processes: int) -> None:
    """Refuse numbers that OpenRLHF would round, or crash on after the model is loaded.

    Raises:
        SpecError: with the field and its fix.
    """
    for field, why, fix in _shape_faults(spec, version, pairs, processes):
        raise SpecError(why, where=field, fix=fix)


def _shape_faults(spec: Spec, version: str, pairs: int, processes: int) -> Iterator[tuple[str, str, str]]:
    step, micro = spec.training.pairs_per_step, spec.openrlhf.pairs_per_micro_batch
    if step % (micro * processes):
        yield (
            "training.pairs_per_step",
            f"{step} pairs are no whole number of micro-batches of {micro} on {processes} processes",
            f"write a multiple of {micro * processes}, or another openrlhf.pairs_per_micro_batch",
        )
    if pairs < step:
        yield (
            "training.pairs_per_step",
            f"{pairs} training pairs are less than one step of {step}, and OpenRLHF drops what fills no step",
            f"write at most {pairs}",
        )
    if not is_dotted(version) and spec.training.schedule != "constant":
        yield (
            "training.schedule",
            f"OpenRLHF {version} hands a minimum rate to every schedule and crashes on {spec.training.schedule!r}",
            "write constant, or install openrlhf 0.10.2 or later",
        )


def _value(spec: Spec, field: str) -> object:
    value: object = spec
    for name in field.split("."):
        value = getattr(value, name)
    return value
