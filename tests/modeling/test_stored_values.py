"""NaN and infinity in weight files, found from bytes: planted in each type by torch, at each end of a block."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rewardsmith.errors import ModelError
from rewardsmith.modeling import stored
from rewardsmith.modeling.stored import not_finite, refuse_stored_not_finite

TYPES = {
    torch.float64: ("nan", "inf", "-inf"),
    torch.float32: ("nan", "inf", "-inf"),
    torch.float16: ("nan", "inf", "-inf"),
    torch.bfloat16: ("nan", "inf", "-inf"),
    torch.float8_e5m2: ("nan", "inf", "-inf"),
    torch.float8_e4m3fn: ("nan",),  # it has no infinity
}


def largest(kind: torch.dtype) -> torch.Tensor:
    """The extremes of a type and what lies between: all finite."""
    limits = torch.finfo(kind)
    values = [limits.max, limits.min, limits.smallest_normal, -0.0, 0.0, 1.0, -1.5]
    return torch.tensor(values, dtype=torch.float64).to(kind)


@pytest.mark.parametrize(("kind", "odd"), [(kind, odd) for kind, values in TYPES.items() for odd in values])
def test_what_is_no_number_is_found_in_its_tensor_alone(tmp_path: Path, kind: torch.dtype, odd: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"whole": largest(kind)}, path)
    assert not_finite(path) == []
    planted = largest(kind).clone()
    planted[-1] = torch.tensor(float(odd)).to(kind)
    save_file({"a": largest(kind), "b": planted, "c": largest(kind)}, path)
    assert not_finite(path) == ["b"]


@pytest.mark.parametrize("place", [0, 3, 4, 9])
def test_a_large_tensor_is_read_block_by_block(tmp_path: Path, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_BLOCK", 16)  # four float32; ten numbers are two blocks and a half
    path = tmp_path / "model.safetensors"
    weight = torch.ones(10)
    save_file({"weight": weight}, path)
    assert not_finite(path) == []
    weight[place] = float("inf")
    save_file({"weight": weight}, path)
    assert not_finite(path) == ["weight"]


def test_whole_numbers_empty_tensors_and_masks_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    masks = {"h.0.attn.masked_bias": torch.tensor(float("-inf"))}
    save_file({**masks, "ids": torch.full((3,), -1), "none": torch.empty(0, 4)}, path)
    assert not_finite(path) == []


def test_a_refusal_names_file_and_tensors(tmp_path: Path) -> None:
    good, bad = tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors"
    save_file({"a": torch.ones(2)}, good)
    save_file({name: torch.full((2,), float("nan")) for name in "bcde"}, bad)
    with pytest.raises(ModelError, match=r"model-2.safetensors: 4 weights hold NaN or infinity \(b, c, d and 1 more\)"):
        refuse_stored_not_finite([good, bad])


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 20, (4).to_bytes(8, "little") + b"[1,2"])
def test_what_is_no_safetensors_file_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"empty|cut off or damaged"):
        refuse_stored_not_finite([path])
