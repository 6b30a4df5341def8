"""What the speed benches share: operations are counted by the base itself, and a killed worker is a row, not an end."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import transformers

SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "bench"))
    return import_module


def test_operations_are_those_of_the_base_on_the_disk(bench: Any, tmp_path: Path) -> None:
    """SmolLM2-135M by hand: 2·576·576 + 2·576·192 + 3·576·1536 weights a layer, twice as many operations a token."""
    common = bench("common")
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2))
    shape = common.Shape.of(tmp_path)
    assert shape.forward_flops(1, 0) == 2 * 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
    assert shape.forward_flops(0, 1) == 4 * 30 * 576


def test_a_base_that_a_bench_wrote_has_the_shape_it_was_written_with(bench: Any, tmp_path: Path) -> None:
    common = bench("common")
    common.SHAPES["smoke"].config().save_pretrained(tmp_path)
    assert common.Shape.of(tmp_path) == common.SHAPES["smoke"]


def test_a_configuration_of_another_form_is_refused(bench: Any, tmp_path: Path) -> None:
    transformers.GPT2Config(n_embd=64, n_layer=2, n_head=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json has no"):
        bench("common").Shape.of(tmp_path)


def test_a_peer_that_is_killed_fills_a_row(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common, trainings = bench("common"), bench("trainings")
    kill = ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with pytest.raises(common.WorkerKilledError):
        common.run_worker(kill, threads=1)
    real = common.run_worker
    monkeypatch.setattr(trainings, "run_worker", lambda _, *, threads: real(kill, threads=threads))
    setup = trainings.Setup(tmp_path, 8, 1, 64, order="shuffled")
    assert trainings.train_peer(setup, tmp_path / "ids.json", "grouped") == {"failed": "killed: out of memory"}


def test_a_worker_that_fails_by_itself_ends_the_bench_with_its_words(bench: Any) -> None:
    with pytest.raises(RuntimeError, match="what went wrong"):
        bench("common").run_worker(["-c", "raise SystemExit('what went wrong')"], threads=1)
    assert bench("common").run_worker(["-c", 'print("{}")'], threads=1)[0] == "{}"


@pytest.mark.parametrize("adapter", [pytest.param("none", marks=pytest.mark.slow), "lora"])
def test_both_sides_train_and_are_timed(
    adapter: str, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "the sum of two and three is five as counting on from two gives four then five".split()  # noqa: SIM905
    rows = [
        {
            "id": str(number),
            "prompt": [{"role": "user", "content": " ".join(words[number:])}],
            "chosen": [{"role": "assistant", "content": " ".join(words[: number + 2])}],
            "rejected": [{"role": "assistant", "content": " ".join(words[number : number + 3])}],
        }
        for number in range(6)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train_speed = bench("train_speed")
    given = ["--data", str(data), "--pairs", "4", "--pairs-per-step", "2", "--peers", "grouped", "--shape", "smoke"]
    given += ["--alternations", "1", "--threads", "1", "--adapter", adapter, "--untimed", "1", "--name", "tried"]
    monkeypatch.setattr("sys.argv", ["train_speed.py", *given])
    found = train_speed.measure(train_speed.parse(), tmp_path)
    assert {name: [run["pairs"] for run in done] for name, done in found["runs"].items()} == {
        "grouped": [2],
        train_speed.OURS: [2],
    }
    assert ("LoRA of rank 16" in train_speed.section(found)) == (adapter == "lora")
    assert "of that ratio" in train_speed.section(found)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("model name\t: AMD EPYC  9R45 (TM)\nflags\t: fpu avx512_bf16\n", " (AMD EPYC 9R45, with bfloat16)"),
        (
            "model name\t: Intel(R) Xeon(R)\nflags\t: fpu avx512f\n\nflags\t: amx_bf16\n",
            " (Intel Xeon, without bfloat16)",
        ),
        ("model name\t: ARMv8 Processor\nFeatures\t: fp bf16\n", ""),
        ("CPU implementer\t: 0x41\n", ""),
    ],
)
def test_a_processor_is_named_with_what_it_multiplies(info: str, words: str, bench: Any, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    name = bench("tables").processor(tmp_path / "cpuinfo")
    assert name.partition(" cores")[2] == words
    assert bench("tables").processor(tmp_path / "missing").endswith(" cores")
