"""examples/smollm2.yaml, from a hub cache and from a folder, full and LoRA; and what `make real` makes of it."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cli_world import World, as_row

from conftest import make_base, make_pairs
from rewardsmith.spec import LoraAdapter, load_spec
from rewardsmith.types import Message, PreferencePair, with_tools

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "smollm2.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LORA = ("--set", "adapter.kind=lora", "--set", "training.learning_rate=2e-4")
FILES = (
    "--set",
    "data.train=[{path: train.jsonl}]",
    "--set",
    "data.held_out.sources=[{path: held_out.jsonl}]",
    "--set",
    "evaluation.benchmarks.0.data=rows.jsonl",
)


@pytest.fixture
def world(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> World:
    """Both of SmolLM2's repositories lie in the hub's cache; a tiny base stands in for each."""
    larger = make_base(tmp_path / "larger", layers=3)
    for name, stand_in in (("SmolLM2-135M-Instruct", tiny_base), ("SmolLM2-1.7B-Instruct", larger)):
        repository = tmp_path / "hub" / f"models--HuggingFaceTB--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / COMMIT).symlink_to(stand_in, target_is_directory=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("named", "adapter"), [("hub", ()), ("hub", LORA), ("folder", ())], ids=["hub", "hub, lora", "folder"]
)
def test_it_plans_and_dry_runs(world: World, named: str, adapter: tuple[str, ...]) -> None:
    base = () if named == "hub" else ("--set", f"base_model.id={world.base}")
    planned = world("plan", str(EXAMPLE), *base, *adapter, *FILES, "--json")
    assert planned.code == 0, planned.err
    plan = planned.json()
    assert plan["choice"]["adapter"] == ("lora" if adapter else "none")
    answer = world("run", str(EXAMPLE), *base, *adapter, *FILES, "--dry-run", "--json")
    assert answer.code == 0, answer.err
    record = answer.json()
    assert record["base"] == ("HuggingFaceTB/SmolLM2-135M-Instruct" if named == "hub" else str(world.base))
    assert record["benchmarks"] == {"rewardbench2": 6}


def test_the_commands_of_its_comment_are_those_tried_here() -> None:
    said = [line.removeprefix("#   ") for line in EXAMPLE.read_text().splitlines() if line.startswith("#   rewards")]
    assert len(said) == 3
    assert " ".join(LORA) in said[1]
    assert "base_model.id=build/SmolLM2-135M-Instruct" in said[2]
    spec = load_spec(EXAMPLE, [LORA[1], LORA[3]])
    assert isinstance(spec.adapter, LoraAdapter)
    assert spec.training.learning_rate == 10 * load_spec(EXAMPLE).training.learning_rate


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls tools/real.py from an empty folder; gives what it ends with, "" where it is well."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.chdir(tmp_path)
    tool = import_module("real")

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["real.py", "--out", "drawn", *arguments])
        try:
            tool.main()
        except SystemExit as stop:
            return str(stop.code or "")
        return ""

    return call


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_without_pairs_it_says_what_it_wants(real: Callable[..., str]) -> None:
    said = real("--look", "--shared", "nowhere")
    assert "make real DATA=pairs.jsonl" in said
    assert "  nowhere  " in said
    assert real("--look", "--data", "gone.jsonl") == "DATA=gone.jsonl: there is no such file"
    assert real("--look", "--shared", ".") == ""


def test_a_file_of_another_form_is_recognised_parted_by_prompt_and_kept_within_the_length(
    real: Callable[..., str], tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pairs a prompt under foreign names; every tenth prompt is far too long."""
    lines = []
    for index, pair in enumerate(make_pairs(60)):
        words = pair.prompt[0].content + (" stone" * 200 if index % 10 == 0 else "")
        good, bad = pair.chosen[0].content, pair.rejected[0].content
        for answer in (good, good + " again"):
            lines.append({"instruction": words, "chosen_response": answer, "rejected_response": bad})
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = ("--base", str(tiny_base), "--data", "mine.jsonl", "--tokens", "120", "--adapter", "lora")
    assert real(*asked, "--pairs", "48") == ""
    assert "120 pairs looked at, left out: over_length 12; taken 56" in capsys.readouterr().out
    train, held_out = rows(tmp_path / "drawn" / "train.jsonl"), rows(tmp_path / "drawn" / "held_out.jsonl")
    assert len(train) + len(held_out) == 56
    assert 8 <= len(held_out) <= 9  # a sixth of 48, and a prompt is not parted
    prompts = [{row["prompt"][0]["content"] for row in part} for part in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert all(row["chosen"][0]["content"] != row["rejected"][0]["content"] for row in train)
    spec = load_spec(tmp_path / "drawn" / "spec.yaml")
    assert (spec.name, spec.adapter.kind, spec.training.learning_rate) == ("real-mine-48x120-lora", "lora", 2e-4)
    assert spec.data.max_length == 120
    assert [benchmark.data for benchmark in spec.evaluation.benchmarks] == ["embedded"]


def test_a_folder_of_real_data_gives_as_much_of_each_source_and_subset(
    real: Callable[..., str], tmp_path: Path, tiny_base: Path
) -> None:
    shared = tmp_path / "shared"
    for part, names in (
        ("train", ("alpaca_eval_direct", "arena_bench_v1", "ultrafeedback_mini", "hh_singleturn_themis")),
        ("held_out", ("alpaca_eval_test_split", "ultrafeedback_mini_eval", "hh_harmless_base_test")),
        ("held_out", ("pandalm_test_human",)),
    ):
        for place, name in enumerate(names):
            pairs = [as_row(pair) | {"subset": str(at)} for at, pair in enumerate(make_pairs(30, seed=place))]
            pack(shared / part / f"{name}.jsonl.gz", pairs)
    pack(shared / "best_of_n" / "six.jsonl.gz", six_rows())
    assert real("--base", str(tiny_base), "--shared", str(shared), "--pairs", "20", "--rows", "2") == ""
    before = [path.read_bytes() for path in sorted((tmp_path / "drawn").glob("*.jsonl"))]
    real("--base", str(tiny_base), "--shared", str(shared), "--pairs", "20", "--rows", "2")
    assert [path.read_bytes() for path in sorted((tmp_path / "drawn").glob("*.jsonl"))] == before
    train = rows(tmp_path / "drawn" / "train.jsonl")
    assert sorted({row["source"] for row in train}) == sorted({row["subset"] for row in train})
    assert {name: [row["source"] for row in train].count(name) for name in {row["source"] for row in train}} == {
        "alpaca_eval_direct": 5,
        "arena_bench_v1": 5,
        "ultrafeedback_mini": 5,
        "hh_singleturn_themis": 5,
    }
    assert len(rows(tmp_path / "drawn" / "held_out.jsonl")) == 40
    drawn = [(row["subset"], row["id"]) for row in rows(tmp_path / "drawn" / "six.jsonl")]
    assert [subset for subset, _ in drawn] == ["Focus", "Focus", "Math", "Ties", "Ties", "Ties", "Ties"]
    assert ("Math", "1") in drawn  # the other Math row has a text that is too long
    assert {name.partition(":")[2] for subset, name in drawn if subset == "Ties"} in (
        {"0", "1"},
        {"0", "2"},
        {"1", "2"},
    )
    spec = load_spec(tmp_path / "drawn" / "spec.yaml")
    assert [(one.name, one.label) for one in spec.evaluation.benchmarks] == [("rewardbench2", "six")]


def six_rows() -> list[dict[str, Any]]:
    row = {"prompt": "Say red.", "chosen": ["red"], "rejected": ["a", "b", "c"]}
    found = [{**row, "id": str(at), "subset": "Focus"} for at in range(5)]
    found += [{**row, "id": "0", "subset": "Math", "chosen": ["stone " * 400]}, {**row, "id": "1", "subset": "Math"}]
    for at in range(3):
        found += [{**row, "id": f"ref:{at}", "subset": "Ties"}, {**row, "id": f"tied:{at}", "subset": "Ties"}]
    return found


def pack(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


def test_tools_of_a_pair_stay_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a turn of role `tools`, which is ours alone."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    search = [{"type": "function", "function": {"name": "search"}}]
    call = json.dumps([{"type": "function", "function": {"name": "search", "arguments": "{}"}}])
    pair = PreferencePair(
        with_tools((Message("user", "Find it."),), search),
        (Message("assistant", "", tool_calls=call),),
        (Message("assistant", "No."),),
        id="7",
    )
    row = import_module("real")._as_row(pair)
    assert row["tools"] == search
    assert row["prompt"] == [{"role": "user", "content": "Find it."}]
    assert row["chosen"] == [{"role": "assistant", "content": "", "tool_calls": json.loads(call)}]
