"""A checkpoint whose weights cannot be used ends every command that opens it with 2, one message, file and fix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from checkpoint_maker import make_checkpoint
from cli_world import Answer, World
from safetensors.torch import load_file, save_file
from test_exports import make_adapter
from test_modeling_weights import TEXTS

from rewardsmith.errors import ModelError
from rewardsmith.modeling.checkpoint import open_checkpoint
from rewardsmith.scoring import LocalScorer

Change = Callable[[Path], None]


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return apply


def config(**fields: Any) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return apply


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


FAULTS: dict[str, tuple[Change, str]] = {
    "cut off": (cut, "model/model.safetensors: it is cut off or damaged"),
    "five labels": (
        weights(lambda found: found | {"score.weight": torch.ones(5, 32)}),
        "its head is another: score.weight is 5 × 32",
    ),
    "two layers": (
        weights(
            lambda found: (
                {k: v for k, v in found.items() if k != "score.weight"}
                | {"score.0.weight": torch.ones(32, 32), "score.2.weight": torch.ones(1, 32)}
            )
        ),
        "the head has score.0.weight, score.2.weight",
    ),
    "pad beyond": (config(pad_token_id=4000), "model/config.json, field 'pad_token_id': is 4000"),
}
COMMANDS = {
    "score": ("score", "--model", "model", "--input", "train.jsonl", "--output", "out.jsonl", "--device", "cpu"),
    "serve": ("serve", "--model", "model", "--port", "0", "--device", "cpu"),
    "verify": ("verify", "--model", "model", "--device", "cpu"),
    "explain": ("explain", "--model", "model", "--input", "train.jsonl", "--device", "cpu"),
    "evaluate": ("evaluate", "--model", "model", "--benchmark", "pairs", "--data", "train.jsonl", "--out", "out"),
    "probe": ("probe", "--model", "model", "--data", "train.jsonl", "--out", "out"),
    "export": ("export", "--model", "model", "--to", "hf", "--out", "out"),
    "average": ("average", "model", "other", "--out", "out"),
    "push": ("push", "model", "org/name", "--dry-run", "--even-if-failed"),
    "plan": ("plan", "spec.yaml"),
    "dry run": ("run", "spec.yaml", "--dry-run"),
    "run": ("run", "spec.yaml"),
}


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    make_checkpoint(tmp_path / "model", tiny_base)
    shutil.copytree(tmp_path / "model", tmp_path / "other")
    world.write_spec(base_model={"id": "model"})
    return world


def refused(answer: Answer, message: str) -> None:
    assert answer.code == 2, answer
    error = answer.err[answer.err.index("error: ") :]
    assert message in error
    assert "\n  try: " in error
    assert "Traceback" not in answer.err + answer.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_cannot_be_loaded(world: World, tmp_path: Path, command: str) -> None:
    (tmp_path / "sound").mkdir()
    for path in (tmp_path / "model").iterdir():
        shutil.copyfile(path, tmp_path / "sound" / path.name)
    for change, message in FAULTS.values():
        shutil.copytree(tmp_path / "sound", tmp_path / "model", dirs_exist_ok=True)
        change(tmp_path / "model")
        refused(world(*COMMANDS[command]), message)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.safetensors"))
    assert not list(tmp_path.glob("runs/*/model"))


def test_doctor_finds_each(world: World, tmp_path: Path) -> None:
    clean = world("doctor", "other", "--json").json()
    assert not [one for one in clean["findings"] if one["rule"] == "checkpoint-weights"]
    for name, (change, message) in FAULTS.items():
        shutil.copytree(tmp_path / "other", tmp_path / name)
        change(tmp_path / name)
        answer = world("doctor", name, "--json")
        found = [one for one in answer.json()["findings"] if one["rule"] == "checkpoint-weights"]
        assert len(found) == 1, name
        said = f"{found[0]['file']}: {found[0]['problem']}"
        assert message.split(": ")[-1] in said
        assert (answer.code, found[0]["severity"]) == (1, "error")


def test_doctor_warns_of_a_prefix_that_others_do_not_take_off(world: World, tmp_path: Path) -> None:
    weights(lambda found: {f"_orig_mod.{name}": one for name, one in found.items()})(tmp_path / "model")
    (found,) = [one for one in world("doctor", "model", "--json").json()["findings"] if one["file"] == "model"]
    assert found["severity"] == "warning"
    assert "the prefix of torch.compile is taken off" in found["problem"]


def test_a_mapped_prefix_is_said_on_the_terminal(world: World, tmp_path: Path) -> None:
    weights(lambda found: {f"_orig_mod.{name}": one for name, one in found.items()})(tmp_path / "model")
    (note,) = world("verify", "--model", "model", "--json").json()["notes"]
    assert note == (
        "the prefix of torch.compile is taken off: _orig_mod.model.embed_tokens.weight → model.embed_tokens.weight, "
        "_orig_mod.model.layers.0.input_layernorm.weight → model.layers.0.input_layernorm.weight, "
        "_orig_mod.model.layers.0.mlp.down_proj.weight → model.layers.0.mlp.down_proj.weight and 22 more"
    )


def test_what_was_done_to_a_base_stands_in_the_record(world: World, tmp_path: Path) -> None:
    (tmp_path / "model" / "rewardsmith.json").unlink()
    weights(lambda found: {f"module.{name}": one for name, one in found.items()})(tmp_path / "model")
    assert world("train", world.write_spec(base_model={"id": "model"})).code == 2  # nothing is checked yet
    assert world("check", "spec.yaml").code == 0
    assert world("train", "spec.yaml").code == 0
    notes = json.loads((tmp_path / "runs" / "tiny" / "train" / "summary.json").read_text())["base_notes"]
    assert notes[0].startswith(
        "the prefix of DDP or DataParallel is taken off: module.model.embed_tokens.weight → model."
    )
    assert notes[1:] == ["it has a reward head, and training goes on with it; base_model.head: new draws another"]


def test_a_base_with_another_head_trains_when_the_spec_drops_it(world: World, tmp_path: Path) -> None:
    FAULTS["two layers"][0](tmp_path / "model")
    (tmp_path / "model" / "rewardsmith.json").unlink()
    refused(world("run", "spec.yaml"), "write base_model.head: new")
    world.write_spec(base_model={"id": "model", "head": "new"})
    assert world("run", "spec.yaml").code in (0, 1)
    assert open_checkpoint(tmp_path / "runs" / "tiny" / "model").record is not None


def test_a_tokenizer_with_tokens_beyond_the_embedding_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    """Their rows would be drawn anew at each load: another reward at each call."""
    folder = make_checkpoint(tmp_path / "model", tiny_base)
    (folder / "rewardsmith.json").unlink()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{number}>" for number in range(40)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"tokens without a row of the embedding, which has 400 .*would be random"):
        open_checkpoint(folder)


def test_a_grown_vocabulary_is_saved_with_an_adapter(tiny_base: Path, tmp_path: Path) -> None:
    """peft saves the embedding beside the adapter then; without it the rewards would be others at each load."""
    base = shutil.copytree(tiny_base, tmp_path / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<extra{number}>" for number in range(40)] + ["France"])
    tokenizer.save_pretrained(base)
    folder = make_adapter(tmp_path / "lora", base)
    one, two = (LocalScorer.load(folder).score(TEXTS).tolist() for _ in range(2))
    assert one == two
    path = folder / "adapter_model.safetensors"
    save_file({name: one for name, one in load_file(path).items() if "embed" not in name}, path)
    with pytest.raises(ModelError, match="tokens without a row of the embedding"):
        open_checkpoint(folder)
