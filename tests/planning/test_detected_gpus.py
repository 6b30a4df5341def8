"""What is read off a GPU: bfloat16 where it has instructions for it, not where torch could emulate it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from rewardsmith.modeling.loading import multiplies_bfloat16
from rewardsmith.planning.backend import planned_numbers
from rewardsmith.planning.hardware import GIB, detect_machine
from rewardsmith.planning.time import Lengths
from rewardsmith.spec import Spec

LENGTHS = Lengths(pairs=100, tree=300.0, padded=400.0, text=200.0, attended=100.0, longest=300.0, source="by hand")
CUDA = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU that torch reports; torch itself would emulate bfloat16 on any."""
    found = SimpleNamespace(name="Tesla T4", total_memory=15 * GIB, major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: found)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda *_: True)
    return found


def test_a_gpu_that_would_emulate_bfloat16_trains_in_float32(gpu: SimpleNamespace):
    assert torch.cuda.is_bf16_supported(), "torch says so"
    assert not multiplies_bfloat16(CUDA)
    machine = detect_machine()
    assert any("Tesla T4 has no instructions for bfloat16" in note for note in machine.assumptions)
    assert not planned_numbers(Spec(), LENGTHS, machine).bf16


def test_one_that_has_it_trains_in_bfloat16(gpu: SimpleNamespace):
    gpu.name, gpu.major, gpu.total_memory = "NVIDIA L4", 8, 22 * GIB
    assert multiplies_bfloat16(CUDA)
    machine = detect_machine()
    assert len(machine.assumptions) == 1
    assert planned_numbers(Spec(), LENGTHS, machine).bf16


def test_a_cpu_does_not_train_in_bfloat16_by_itself():
    assert not multiplies_bfloat16(torch.device("cpu"))
