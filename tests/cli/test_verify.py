"""`rewardsmith verify`: clean checkpoints pass on every path; each planted fault is named with file, value and fix."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_maker import make_checkpoint
from cli_world import Answer, World
from foreign_maker import make_openrlhf, make_published
from safetensors.torch import load_file, save_file
from serving_soak import served
from test_exports import make_adapter

from rewardsmith.modeling.paths import WAYS
from rewardsmith.pipeline.commands.verify import MADE_UP, made_up_conversations, verify_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.records.checkpoint import VerifyRecord
from rewardsmith.records.files import read_record
from rewardsmith.scoring import LocalScorer
from rewardsmith.types import Conversation, Message


@pytest.fixture
def world(tiny_base: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> World:
    monkeypatch.delenv("REWARDSMITH_TOKEN", raising=False)
    return World(tmp_path, tiny_base, capsys, monkeypatch)


@pytest.fixture
def model(tiny_base: Path, tmp_path: Path) -> Path:
    """Random weights have more rounding and less spread than trained ones, so the spread is given."""
    folder = make_checkpoint(tmp_path / "model", tiny_base)
    change("rewardsmith.json", reward_std=2.0)(folder)
    return folder


def verdicts(record: Any) -> dict[str, str]:
    return {path["path"]: path["verdict"] for path in record["paths"]}


def test_a_clean_checkpoint_passes_on_every_path(world: World, model: Path, tmp_path: Path) -> None:
    answer = world("verify", "--model", "model", "--out", "out", "--json")
    assert answer.code == 0
    found = answer.json()
    assert read_record(tmp_path / "out" / "verify.json", VerifyRecord) == VerifyRecord.model_validate(found)
    assert verdicts(found) == {
        "recorded": "PASS",
        "padded": "PASS",
        "saved template": "PASS",
        "transformers": "PASS",
        "tree": "PASS",
        "merged": "NO_DATA",
        "bfloat16": "PASS",
    }
    assert found["conversations"] > found["golden"] == 6
    for path in found["paths"]:
        if path["verdict"] == "PASS":
            assert path["largest"] <= path["tolerance"]
            assert path["pairs"] == path["compared"] * (path["compared"] - 1) // 2
            assert path["path"] == "bfloat16" or (path["tolerance"], path["flips"]) == (1e-4, 0)


def test_an_adapter_is_compared_merged_as_well(world: World, tiny_base: Path, tmp_path: Path) -> None:
    make_adapter(tmp_path / "lora", tiny_base)
    said = json.loads((tmp_path / "lora" / "rewardsmith.json").read_text())
    (tmp_path / "lora" / "rewardsmith.json").write_text(json.dumps(said | {"reward_std": 9.0}))
    answer = world("verify", "--model", "lora", "--json")
    found = verdicts(answer.json())
    assert {found[name] for name in ("recorded", "padded", "transformers", "tree", "merged")} == {"PASS"}


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
def test_a_published_classifier_agrees_with_itself(world: World, tmp_path: Path, family: str) -> None:
    """What its config leaves out is a note: vLLM would apply a sigmoid."""
    make_published(tmp_path / "rm", family)
    found = world("verify", "--model", "rm", "--json").json()
    passes = {"padded", "saved template", "transformers", "tree"}
    assert {name for name, verdict in verdicts(found).items() if verdict == "PASS"} >= passes
    assert verdicts(found)["recorded"] == "NO_DATA"
    (note,) = found["findings"]
    assert (note["field"], note["value"], note["fails"]) == ("problem_type", "None", False)


def test_an_openrlhf_checkpoint_agrees_with_itself(world: World, tmp_path: Path) -> None:
    make_openrlhf(tmp_path / "rm", "value_head")
    found = world("verify", "--model", "rm", "--json").json()
    assert found["trainer"] == "openrlhf"
    assert {name for name, verdict in verdicts(found).items() if verdict == "PASS"} >= {"padded", "tree"}
    assert not any(finding["fails"] for finding in found["findings"])


def change(file: str, **changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        said = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(said | changes))

    return spoil


def changed_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] = weights["score.weight"] * 1.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def template_of_the_base(folder: Path) -> None:
    """The likeliest accident: someone copies the base's own template back. Our loader fixes it in memory."""
    base = Path(json.loads((folder / "rewardsmith.json").read_text())["base_model"])
    (folder / "chat_template.jinja").write_text((base / "chat_template.jinja").read_text())


def pad_is_eos(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    change("config.json", pad_token_id=config["eos_token_id"])(folder)


@pytest.mark.parametrize(
    ("spoil", "failed", "said"),
    [
        (changed_weight, {"recorded"}, "recorded: rewards differ by up to"),
        (template_of_the_base, {"saved template"}, "<|im_end|>\\n'"),
        (
            pad_is_eos,
            {"transformers"},
            "model/config.json, field 'pad_token_id': 2: transformers reads a reward",
        ),
        (
            change("config.json", problem_type="multi_label_classification"),
            set(),
            "model/config.json, field 'problem_type': 'multi_label_classification': vLLM and transformers' pipeline",
        ),
        (
            change("config.json", problem_type=None),
            set(),
            "model/config.json, field 'problem_type': None: vLLM and transformers' pipeline apply a sigmoid",
        ),
    ],
    ids=["weight", "EOS", "pad", "sigmoid", "no problem type"],
)
def test_a_planted_fault_is_named(
    world: World, model: Path, spoil: Callable[[Path], None], failed: set[str], said: str
) -> None:
    spoil(model)
    found = world("verify", "--model", "model", "--json")
    assert found.code == 1
    assert {name for name, verdict in verdicts(found.json()).items() if verdict == "FAIL"} == failed
    shown = world("verify", "--model", "model")
    assert shown.code == 1
    assert said in shown.out
    assert "try: " in shown.out
    assert "verdict: FAIL" in shown.out


def lost_head(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if "score" not in name}
    save_file(kept, path, metadata={"format": "pt"})


def other_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>", "<|im_start|> "))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lost_head, "adapter_model.safetensors: the checkpoint lacks the reward head"),
        (other_template, "lora: the tokenizer has template_sha256"),
        (lambda folder: (folder / "rewardsmith.json").write_text("{"), "rewardsmith.json: is not a CheckpointRecord"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "field 'base_model_name_or_path'"),
    ],
)
def test_what_cannot_be_used_ends_with_2(
    world: World, tiny_base: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    make_adapter(tmp_path / "lora", tiny_base)
    spoil(tmp_path / "lora")
    answer = world("verify", "--model", "lora")
    assert answer.code == 2
    assert said in answer.err
    assert "try: " in answer.err


def test_a_softmax_that_transformers_refuses_is_named(world: World, model: Path) -> None:
    change("config.json", problem_type="single_label_classification")(model)
    answer = world("verify", "--model", "model")
    assert answer.code == 2
    assert "model/config.json, field 'problem_type': is no problem of one label" in answer.err
    assert 'try: write "regression"' in answer.err


@pytest.mark.parametrize("arguments", [("--model", "nowhere"), ("--model", "model", "--against", "http://127.0.0.1:9")])
def test_nothing_there_ends_with_2(
    world: World, model: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("rewardsmith.pipeline.commands.verify._PATIENCE", 0.1)
    answer = world("verify", *arguments)
    assert answer.code == 2
    assert "try: " in answer.err


def test_a_running_server_is_a_path(world: World, model: Path) -> None:
    """Natively, by the name of a model, and in OpenRLHF's protocol, against the real thing."""
    with served(model, "--model", f"again={model}") as (url, _):
        for address in (f"{url}/models/again", f"{url}/models/again/v1/score", f"{url}/models/tiny/get_reward"):
            answer = world("verify", "--model", "model", "--against", address, "--json")
            assert answer.code == 0, answer.out
            server = answer.json()["paths"][-1]
            assert (server["path"], server["compared"]) == ("server", answer.json()["conversations"])
            assert server["largest"] <= 1e-4


@pytest.mark.parametrize("kind", ["gemma2", "openrlhf"])
def test_a_checkpoint_of_others_is_served_as_it_is(world: World, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "rm"
    if kind == "openrlhf":
        make_openrlhf(folder, "value_head")
    else:
        make_published(folder, kind)
    with served(folder) as (url, _):
        for address in (url, f"{url}/get_reward"):
            server = world("verify", "--model", "rm", "--against", address, "--json").json()["paths"][-1]
            assert (server["path"], server["verdict"], server["flips"]) == ("server", "PASS", 0)


@contextmanager
def get_reward(answer: Callable[[str], float]) -> Iterator[str]:
    """A server that speaks OpenRLHF's protocol and answers as it is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"rewards": [answer(text) for text in asked["query"]]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://any:secret@127.0.0.1:{server.server_port}/get_reward"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_adds_no_eos_or_a_sigmoid_is_caught(world: World, model: Path) -> None:
    scorer = LocalScorer.load(model)

    def reward(text: str) -> float:
        return float(scorer.score([(Message("text", text),)])[0])

    def against(answer: Callable[[str], float]) -> Answer:
        with get_reward(answer) as url:
            return world("verify", "--model", "model", "--against", url, "--json")

    right = against(reward)
    assert (right.code, right.json()["paths"][-1]["verdict"]) == (0, "PASS")
    assert "secret" not in right.out
    squashed = against(lambda text: 1 / (1 + np.exp(-reward(text))))
    assert (squashed.code, squashed.json()["paths"][-1]["verdict"]) == (1, "FAIL")
    assert squashed.json()["paths"][-1]["flips"] == 0  # a sigmoid keeps the order and changes every margin
    coarse = against(lambda text: reward(text) + 2e-4)
    assert coarse.code == 1
    assert "--server-dtype bfloat16" in coarse.json()["paths"][-1]["fix"]


def test_a_weight_that_is_not_in_the_files_is_named(world: World, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a loader that leaves one weight at random. All paths agree with each other about it."""
    from rewardsmith.modeling import checkpoint

    answer = world("verify", "--model", "model")
    assert answer.code == 0
    assert "weights: 25 tensors in memory are those of the files" in answer.out
    load = checkpoint.load_reward_model

    def half_loaded(folder: str | Path, **options: Any) -> Any:
        model = load(folder, **options)
        torch.nn.init.normal_(model.model.layers[0].mlp.up_proj.weight, generator=torch.Generator().manual_seed(1))
        return model

    monkeypatch.setattr(checkpoint, "load_reward_model", half_loaded)
    answer = world("verify", "--model", "model")
    assert answer.code == 1
    assert (
        "field 'model.layers.0.mlp.up_proj.weight': 1 of 25 tensors: the weights in memory are not those" in answer.out
    )


def test_flips_and_the_largest_difference_by_hand(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two best texts change places: one pair is ranked otherwise, and the largest difference is their margin."""
    from rewardsmith.modeling import paths

    def swapped(case: paths.Verified) -> paths.Way:
        rewards = paths.alone(case.model, case.texts)
        second, first = np.argsort(rewards)[-2:]
        rewards[[first, second]] = rewards[[second, first]]
        return paths.Way(rewards)

    monkeypatch.setitem(WAYS, "padded", swapped)
    record = verify_job(str(model), Silent())
    (padded,) = [path for path in record.paths if path.path == "padded"]
    assert (padded.verdict, padded.flips) == ("FAIL", 1)
    assert padded.largest == pytest.approx(abs((padded.reference or 0) - (padded.reward or 0)))


def test_made_up_conversations_share_prompts_and_differ() -> None:
    found: list[Conversation] = made_up_conversations(MADE_UP, conversational=True)
    assert found == made_up_conversations(MADE_UP, conversational=True)
    assert len(set(found)) == MADE_UP
    assert len({conversation[:-1] for conversation in found}) < MADE_UP / 3
    assert {conversation[-1].role for conversation in found} == {"assistant"}
    plain = made_up_conversations(MADE_UP, conversational=False)
    assert {turn.role for conversation in plain for turn in conversation} == {"text"}
