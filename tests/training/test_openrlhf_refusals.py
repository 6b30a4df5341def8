"""Each thing of a spec that OpenRLHF would ignore is refused with its field and a fix; what it follows passes."""

from __future__ import annotations

from typing import Any

import pytest

from rewardsmith.errors import SpecError
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.refusals import RULES, refuse_shape, refuse_spec


def a_spec(**changes: Any) -> Spec:
    content: dict[str, Any] = {"backend": "openrlhf", "openrlhf": {"interpreter": "/opt/o/bin/python"}}
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return Spec.model_validate(content)


# The field that is refused, and the smallest change that breaks its rule.
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no environment": ("openrlhf.interpreter", {"openrlhf": {"interpreter": None}}),
    "LoRA": ("adapter.kind", {"adapter": {"kind": "lora"}}),
    "QLoRA": ("adapter.kind", {"adapter": {"kind": "qlora"}}),
    "float32": ("hardware.precision", {"hardware": {"precision": "float32"}}),
    "mps": ("hardware.device", {"hardware": {"device": "mps"}}),
    "Ray workers": ("hardware.workers", {"hardware": {"workers": 2}}),
    "FSDP": ("hardware.sharding", {"hardware": {"sharding": "fsdp"}}),
    "Ray's storage": ("hardware.shared_storage", {"hardware": {"shared_storage": "/shared"}}),
    "Ray's restarts": ("hardware.restarts", {"hardware": {"restarts": 5}}),
    "an order": ("training.order", {"training": {"order": "as_given"}}),
    "prompts together": ("training.order", {"training": {"order": "by_prompt"}}),
    "trees": ("training.layout", {"training": {"layout": "tree"}}),
    "tokens of a micro-batch": ("training.tokens_per_micro_batch", {"training": {"tokens_per_micro_batch": 4096}}),
    "packing by eager": ("openrlhf.packing", {"openrlhf": {"packing": True}, "base_model": {"attention": "eager"}}),
    "packing on a CPU": ("openrlhf.packing", {"openrlhf": {"packing": True}, "hardware": {"device": "cpu"}}),
    "nodes without hostfile": ("openrlhf.hostfile", {"hardware": {"nodes": 2, "devices_per_node": 8}}),
    "torchrun on nodes": (
        "openrlhf.launcher",
        {"openrlhf": {"launcher": "torchrun"}, "hardware": {"nodes": 2, "devices_per_node": 8}},
    ),
    "uncounted devices": (
        "hardware.devices_per_node",
        {"openrlhf": {"hostfile": "hosts"}, "hardware": {"nodes": 2}},
    ),
    "uncounted devices of Slurm": ("hardware.devices_per_node", {"openrlhf": {"launcher": "slurm"}}),
}


@pytest.mark.parametrize(("field", "changes"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_refused_with_its_field(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        refuse_spec(a_spec(**changes))
    assert refused.value.where == field
    assert refused.value.fix
    found: Any = a_spec(**changes)
    for name in field.split("."):
        found = getattr(found, name)
    assert refused.value.problem.startswith("it is not given" if found is None else f"{found!r} ")


def test_every_rule_has_a_fault() -> None:
    assert {rule.field for rule in RULES} == {field for field, _ in FAULTS.values()}
    broken = [
        [index for index, rule in enumerate(RULES) if rule.broken(a_spec(**faults))] for _, faults in FAULTS.values()
    ]
    assert {index for indices in broken for index in indices} == set(range(len(RULES)))


CLEAN: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bfloat16": {"hardware": {"precision": "bfloat16", "device": "cuda"}},
    "packing": {"openrlhf": {"packing": True}, "base_model": {"attention": "flash_attention_2"}},
    "padded": {"training": {"layout": "padded", "checkpoint_every_steps": None, "seeds": [1, 2]}},
    "two nodes": {"hardware": {"nodes": 2, "devices_per_node": 8}, "openrlhf": {"hostfile": "hosts"}},
    "Slurm": {"hardware": {"nodes": 2, "devices_per_node": 8}, "openrlhf": {"launcher": "slurm"}},
    "Ray": {"hardware": {"nodes": 2, "devices_per_node": 8}, "openrlhf": {"launcher": "ray"}},
    "torchrun": {"openrlhf": {"launcher": "torchrun"}},
}


@pytest.mark.parametrize("changes", CLEAN.values(), ids=CLEAN.keys())
def test_what_it_follows_passes(changes: dict[str, Any]) -> None:
    refuse_spec(a_spec(**changes))


def shape_fault(spec: Spec, version: str = "0.11.2", pairs: int = 1000, processes: int = 8) -> str:
    with pytest.raises(SpecError) as refused:
        refuse_shape(spec, version, pairs, processes)
    return refused.value.where


def test_numbers_that_would_be_rounded() -> None:
    micro = {"pairs_per_micro_batch": 3}
    assert shape_fault(a_spec(openrlhf=micro)) == "training.pairs_per_step"  # 64 is no multiple of 3 * 8
    refuse_shape(a_spec(openrlhf=micro, training={"pairs_per_step": 48}), "0.11.2", 1000, 8)


def test_fewer_pairs_than_a_step() -> None:
    assert shape_fault(a_spec(), pairs=63) == "training.pairs_per_step"
    refuse_shape(a_spec(), "0.11.2", 64, 8)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_that_crash_before_0_10_2(schedule: str) -> None:
    spec = a_spec(training={"schedule": schedule})
    assert shape_fault(spec, version="0.9.8") == "training.schedule"
    refuse_shape(spec, "0.10.2", 1000, 8)
    refuse_shape(a_spec(training={"schedule": "constant"}), "0.9.8", 1000, 8)
