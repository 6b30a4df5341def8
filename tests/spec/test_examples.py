"""The examples are specs that load, and say what their comments promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardsmith.spec import LoraAdapter, Spec, load_spec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_examples_are_there() -> None:
    names = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
    assert names == ["quickstart.yaml", "qwen3-0.6b.yaml", "qwen3-8b-lora.yaml", "smollm2.yaml"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_loads_and_is_called_after_its_file(path: Path) -> None:
    assert load_spec(path).name == path.stem


def test_the_quickstart_needs_no_download() -> None:
    spec = load_spec(EXAMPLES / "quickstart.yaml")
    sources = (*spec.data.train, *spec.data.held_out.sources)
    assert spec.base_model.id == "embedded"
    assert [source.embedded for source in sources] == ["train", "held_out"]
    assert [benchmark.data for benchmark in spec.evaluation.benchmarks] == ["embedded"]
    assert spec.output_dir == Spec().output_dir


@pytest.mark.parametrize("name", ["qwen3-0.6b", "qwen3-8b-lora", "smollm2"])
def test_the_hub_examples_hold_out_another_split_and_ask_rewardbench_2(name: str) -> None:
    spec = load_spec(EXAMPLES / f"{name}.yaml")
    assert {source.split for source in spec.data.train} & {
        source.split for source in spec.data.held_out.sources
    } == set()
    assert [benchmark.data for benchmark in spec.evaluation.benchmarks] == ["allenai/reward-bench-2"]
    assert spec.evaluation.gates.minimum["rewardbench2"]["average"] > 0.25


def test_the_lora_example_is_one_field_away_from_qlora() -> None:
    path = EXAMPLES / "qwen3-8b-lora.yaml"
    assert type(load_spec(path).adapter) is LoraAdapter
    assert load_spec(path, ["adapter.kind=qlora"]).adapter.kind == "qlora"
