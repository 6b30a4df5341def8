"""bench/gpu.py: its steps are the trainers', its pieces go on where they stopped, and a bare machine runs all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_step import fresh_model, gradients, stock_step, world

from rewardsmith.modeling.layouts import PairIds, choose_layout

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["world"]  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # the module sets them
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return import_module("gpu")


def test_the_steps_are_those_of_the_trainers(bench: Any, world: Any, tmp_path: Path) -> None:
    """Peer and ours against TRL's own trainer on one batch: loss and every gradient, in float32."""
    loss, wanted = stock_step(world, tmp_path)
    peer = fresh_model(world, ours=False)
    ours = fresh_model(world, ours=True)
    layout = choose_layout("tree", ours, 0)
    for model, how in ((peer, None), (ours, layout)):
        one = bench.Stepper(model, how, "cpu", budget=300, autocast=False)
        assert float(one.gradients(world.ids)) == pytest.approx(loss, abs=1e-6)
        found = gradients(model)
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm().clamp_min(1e-12), name
    padded = 2 * len(world.ids) * max(len(text) for pair in world.ids for text in pair)
    peer_tokens = bench.Stepper(peer, None, "cpu", autocast=False)
    peer_tokens.gradients(world.ids)
    assert peer_tokens.tokens == padded


def run_of(bench: Any, file: Path, rows: dict[str, Any] | None = None, seconds: float = 100.0) -> Any:
    return bench.Run("kernels", file, seconds, {}, "cpu", rows or {})


def test_a_piece_goes_on_where_it_stopped(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, asked = tmp_path / "results" / "kernels.json", []

    def work(name: str) -> dict[str, Any]:
        asked.append(name)
        if name == "large":
            raise torch.OutOfMemoryError("40 GiB")
        return {"ms": 3.0}

    first = run_of(bench, file)
    first.measure("small", lambda: work("small"))
    first.measure("large", lambda: work("large"))
    first.seconds = 0.0
    first.measure("late", lambda: work("late"))
    assert asked == ["small", "large"]
    saved = bench.kept(file)
    assert saved["small"]["ms"] == 3.0
    assert saved["large"]["failed"] == "out of memory"
    assert saved["late"] == {"left out": "no time"}
    again = run_of(bench, file, saved)
    for name in ("small", "large", "late"):
        again.measure(name, lambda name=name: work(name))
    assert asked == ["small", "large", "late"]
    assert bench.kept(file)["late"]["ms"] == 3.0
    text = bench.page(file.parent)
    assert "| large |" in text
    assert "out of memory" in text
    assert text.count("Not measured.") == len(bench.PIECES) - 1


def test_all_pieces_together_take_less_than_22_minutes(bench: Any) -> None:
    seconds = [seconds for _, seconds in bench.PIECES.values()]
    assert sum(seconds) < 22 * 60
    assert max(seconds) < 600
    assert len(bench.MEMORY) == 10


def test_useful_operations_by_hand(bench: Any) -> None:
    """Two texts of 5 tokens: 15 keys each in the first layer; in the last, keys of all and the rest of two reads."""
    shape = bench.SHAPES["smoke"]  # width 64, 2 layers, MLP 128, 2 heads of 32, one key head
    pair = PairIds(np.array([9, 8, 7, 6, 5]), np.array([9, 8, 7, 4, 3]))
    # They have 3 tokens in common, fewer than are worth sharing: ten tokens.
    layer = 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128)
    first = 10 * layer + 2 * 15 * 4 * 2 * 32
    keys = 2 * 2 * 64 * 32
    last = 10 * keys + 2 * (layer - keys) + 2 * 5 * 4 * 2 * 32
    assert bench.useful_flops(shape, [pair]) == 3 * (first + last)


def test_verdicts_are_ratios(bench: Any) -> None:
    rows = {
        "ours": {"pairs a second": 30.0, "tokens a pair": 400.0},
        "TRL as it comes": {"pairs a second": 10.0, "tokens a pair": 1000.0},
        "TRL grouped": {"pairs a second": 20.0, "tokens a pair": 700.0},
    }
    said = bench.verdict(rows)
    assert "3.00× TRL as it comes; 1.50× TRL grouped, which computes 1.75× the tokens" in said.replace("\n", " ")
    assert bench.verdict(rows | {"TRL grouped": {"failed": "out of memory"}}) == ""


@pytest.mark.slow
def test_every_piece_runs_where_only_torch_and_transformers_are(tmp_path: Path) -> None:
    hidden = ["trl", "datasets", "peft", "pydantic", "typer", "pyarrow", "accelerate", "scipy", "pandas"]
    script = (
        f"import sys\nsys.modules |= dict.fromkeys({hidden!r})\nsys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        f"sys.argv = ['gpu.py', 'all', '--smoke', '--results', {str(tmp_path)!r}]\nimport gpu\ngpu.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    gpu = json.loads((tmp_path / "kernels.json").read_text())
    assert "not a measurement" in gpu["machine"]
    rows = {file.stem: json.loads(file.read_text())["rows"] for file in tmp_path.glob("*.json")}
    assert set(rows) == {"parity", "train-0.6b", "score", "kernels", "train-4b", "memory", "train-8b", "serve"}
    failed = {f"{piece}: {name}" for piece, found in rows.items() for name, row in found.items() if "failed" in row}
    assert all(name.endswith("flex") for name in failed), failed
    assert rows["parity"]["float32 dense"]["gradients"] < 1e-4
    assert rows["parity"]["bfloat16 varlen"]["rewards"] < 10 * rows["parity"]["bfloat16 padded"]["rewards"]
    assert rows["parity"]["deterministic"]["the same bits twice"] is True
    assert rows["train-4b"]["ours"]["tokens a pair"] < rows["train-4b"]["TRL as it comes"]["tokens a pair"]
