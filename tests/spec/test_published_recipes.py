"""Published recipes: each loads, says where its settings are from, plans, and dry-runs from the hub's caches, offline.

The caches hold what each recipe names: a base of the true shape (its config alone, with a small tokenizer), rows in the
form in which the data set is published, and RewardBench 2's. Nothing reaches a network; no weights are read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_cache import HubHome

from conftest import make_tokenizer
from rewardsmith.spec import load_spec

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "published"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))

LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
}
QWEN2_HALF_B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
BASES = {
    "allenai/Llama-3.1-Tulu-3-8B-SFT": LLAMA_3_8B | {"max_position_embeddings": 131072},
    "OpenRLHF/Llama-3-8b-sft-mixture": LLAMA_3_8B,
    "meta-llama/Meta-Llama-3-8B-Instruct": LLAMA_3_8B,
    "Qwen/Qwen2-0.5B-Instruct": QWEN2_HALF_B,
}


def talk(number: int, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"What is {number} and {number}?"},
        {"role": "assistant", "content": f"{answer} {number}."},
    ]


def sides(number: int) -> dict[str, Any]:
    return {"chosen": talk(number, "It is twice"), "rejected": talk(number, "No idea about")}


DATA: dict[str, Any] = {
    "allenai/llama-3.1-tulu-3-8b-preference-mixture": lambda i: (
        {"id": str(i), "prompt": talk(i, "")[0]["content"], "source": "s"} | sides(i)
    ),
    "Skywork/Skywork-Reward-Preference-80K-v0.2": lambda i: sides(i + 1000) | {"source": "magpie"},
    "OpenRLHF/preference_dataset_mixture2_and_safe_pku": sides,
    "hendrydong/preference_700K": lambda i: sides(i) | {"chosen_score": 4.0, "rejected_score": 1.0},
    "trl-lib/ultrafeedback_binarized": lambda i: sides(i) | {"score_chosen": 8.5, "score_rejected": 3.0},
}


def bench_row(number: int, subset: str) -> dict[str, Any]:
    tie = subset == "Ties"
    return {
        "id": f"{'ref' if number % 2 else 'tied'}:{number // 2}" if tie else str(number),
        "subset": subset,
        "prompt": f"Say {number}.",
        "chosen": ["red", "blue"] if tie and number % 2 == 0 else ["red"],
        "rejected": ["a stone", "b", "c"],
        "num_correct": 2 if tie and number % 2 == 0 else 1,
        "num_incorrect": 3,
        "total_completions": 5 if tie and number % 2 == 0 else 4,
        "models": ["m"],
        "additional_metadata": None,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> HubHome:
    """The caches of a machine that has downloaded everything but the weights."""
    home = HubHome(tmp_path_factory.mktemp("published") / "hf")
    tokenizer: Any = make_tokenizer()
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, config in BASES.items():
        home.add_model(name, files | {"config.json": json.dumps(config).encode()})
    for name, row in DATA.items():
        home.add_dataset(name, {"train": [row(i) for i in range(30)], "test": [row(i + 500) for i in range(6)]})
    subsets = ("Factuality", "Focus", "Math", "Precise IF", "Safety", "Ties")
    home.add_dataset("allenai/reward-bench-2", {"test": [bench_row(i, one) for one in subsets for i in range(2)]})
    return home


CALL = """
import contextlib, io, json, sys
from rewardsmith.cli import main
for line in sys.stdin:
    sys.argv = ["rewardsmith", *json.loads(line)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(home: HubHome, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """(recipe, command) → exit code, output, errors; one process for all, since importing torch takes seconds."""
    calls = [(name, command) for name in NAMES for command in ("plan", "run")]
    lines = [
        [command, str(RECIPES / f"{name}.yaml")]
        + (["--accelerator", "h100-80gb", "--json"] if command == "plan" else ["--dry-run", "--json"])
        for name, command in calls
    ]
    done = subprocess.run(
        [sys.executable, "-c", CALL],
        input="\n".join(json.dumps(line) for line in lines),
        env={**os.environ, **home.environment, "REWARDSMITH_CACHE": str(home.folder / "ours")},
        cwd=tmp_path_factory.mktemp("runs"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(calls), done.stderr
    return dict(zip(calls, found, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_called_after_its_file_and_cites_a_repository_and_what_is_not_published(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    spec = load_spec(path)
    comment = path.read_text(encoding="utf-8").split("name:")[0]
    assert spec.name == name
    assert "# Settings: " in comment
    assert "Not published" in comment
    assert {source.id for source in spec.data.train} <= set(DATA)
    assert spec.base_model.id in BASES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_dry_runs_offline_and_its_rows_are_read_in_their_form(
    name: str, answers: dict[tuple[str, str], Any]
) -> None:
    code, out, err = answers[name, "run"]
    assert code == 0, err
    record = json.loads(out)
    spec = load_spec(RECIPES / f"{name}.yaml")
    held_out = 6 * len(spec.data.held_out.sources)
    assert record["rows"] == 30 * len(spec.data.train) + held_out
    assert record["benchmarks"] == {"rewardbench2": 12}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_plans_with_the_true_size_of_its_base(name: str, answers: dict[tuple[str, str], Any]) -> None:
    code, out, err = answers[name, "plan"]
    assert code in (0, 1), err
    # Llama 3 8B, of 8,030,261,248 parameters, without its 128,256 · 4,096 output embedding, with a head of 4,096;
    # Qwen2-0.5B ties its output embedding: 494,032,768 and a head of 896.
    expected = "494,033,664" if name.startswith("trl") else "7,504,928,768"
    stages = {stage["key"]: stage["here"] for stage in json.loads(out)["stages"]}
    assert f"{expected} parameters" in stages["architecture"][0]


def test_the_settings_are_those_that_the_sources_state() -> None:
    stated = {
        "open-instruct-tulu-3-8b": (256, 3e-6, "linear", 0.0, 4096),
        "open-instruct-skywork-8b": (256, 3e-6, "linear", 0.0, 4096),
        "open-instruct-combined-8b": (256, 3e-6, "linear", 0.0, 4096),
        "openrlhf-llama-3-8b": (256, 9e-6, "cosine", 0.03, 8192),
        "rlhflow-bt-llama-3-8b": (512, 2e-6, "cosine", 0.03, 4096),
        "trl-qwen2-0.5b": (8, 1e-5, "linear", 0.0, 2048),
    }
    found = {name: load_spec(RECIPES / f"{name}.yaml") for name in NAMES}
    assert {
        name: (
            spec.training.pairs_per_step,
            spec.training.learning_rate,
            spec.training.schedule,
            spec.training.warmup,
            spec.data.max_length,
        )
        for name, spec in found.items()
    } == stated
