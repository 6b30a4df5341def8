"""OpenRLHF's own `train_rm` trains here, on a CPU, with the stand-ins beside this file; what we say of it is looked at.

    make test-openrlhf

Run by name (pytest collects it in no other way): it needs an environment with OpenRLHF and minutes of two cores, the
first time some more, because DeepSpeed compiles its optimizer then. `OPENRLHF_PYTHON` names the environment's Python,
`OPENRLHF_WHEELS` a folder with the wheels of the versions whose flags are looked at.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from openrlhf_job import openrlhf_job
from transformers import AutoModelForCausalLM

from conftest import make_base, make_pairs
from rewardsmith.errors import ModelError, UserError
from rewardsmith.modeling.checkpoint import open_checkpoint
from rewardsmith.modeling.loading import load_reward_model
from rewardsmith.records.files import read_jsonl, read_record
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.rendering import load_renderer
from rewardsmith.training.job import TrainJob
from rewardsmith.training.openrlhf.backend import train
from rewardsmith.training.openrlhf.command import FLAGS, environment_of
from rewardsmith.training.openrlhf.setup import set_up, their_ids, write_folder
from rewardsmith.training.trl_backend import train as train_by_trl

PYTHON = os.environ["OPENRLHF_PYTHON"]
STANDINS = Path(__file__).with_name("standins")

STEP_LOSS, STEP_NORM, STEP_DIRECTION, STEP_SIZE = 1e-3, 0.02, 0.97, 0.05
"""How near one full-batch step comes to TRL's in float32: loss, relative gradient norm, cosine of the changes of all
weights, relative size of these changes. bfloat16 keeps 8 bits: a relative 4e-3 for each rounding, and Adam's first step
is the sign of each gradient."""

SECOND_UPDATE = (0.1 / (1 - 0.9**2)) / np.sqrt(0.001 / (1 - 0.999**2))
"""At ZeRO 0 DeepSpeed steps once on zero gradients to allocate the optimizer's state, so that Adam corrects its first
update as if it were the second: 0.744 of the learning rate. At ZeRO 2 and 3 it does not."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(STANDINS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def make_job(folder: Path, base: Path, count: int, **changes: Any) -> TrainJob:
    """A job on `count` pairs; `changes` are sections of the spec."""
    content: dict[str, Any] = {
        "name": folder.name,
        "hardware": {"device": "cpu", "devices_per_node": 2},
        "training": {"pairs_per_step": 16, "learning_rate": 1e-3, "monitor": {"min_steps": 8}},
        "openrlhf": {"interpreter": PYTHON, "launcher": "torchrun", "zero_stage": 2, "pairs_per_micro_batch": 4},
    }
    return openrlhf_job(folder, base, content, changes, count=count, held_out=24)


def steps_of(job: TrainJob) -> list[StepMetrics]:
    return [StepMetrics.model_validate(row) for row in read_jsonl(job.folder / "metrics.jsonl")]


def weights_of(job: TrainJob) -> dict[str, torch.Tensor]:
    return {name: weight.float() for name, weight in load_reward_model(job.model_folder).state_dict().items()}


def write_rows(path: Path, count: int, seed: int) -> None:
    def turns(messages: Any) -> list[dict[str, str]]:
        return [{"role": turn.role, "content": turn.content} for turn in messages]

    rows = [
        {"id": pair.id, "subset": pair.subset, "source": pair.source}
        | {"prompt": turns(pair.prompt), "chosen": turns(pair.chosen), "rejected": turns(pair.rejected)}
        for pair in make_pairs(count, seed)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_main_job_runs_to_its_end(tmp_path: Path, base: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 70, seed=0)
    write_rows(tmp_path / "held_out.jsonl", 30, seed=1)
    spec = {
        "name": "tiny",
        "output_dir": str(tmp_path / "runs"),
        "backend": "openrlhf",
        "base_model": {"id": str(base)},
        "hardware": {"device": "cpu", "devices_per_node": 2},
        "data": {
            "train": [{"path": str(tmp_path / "train.jsonl")}],
            "held_out": {"sources": [{"path": str(tmp_path / "held_out.jsonl")}]},
            "max_length": 256,
        },
        "training": {"pairs_per_step": 16, "learning_rate": 3e-3, "monitor": {"min_steps": 8}},
        "openrlhf": {"interpreter": PYTHON, "zero_stage": 2, "pairs_per_micro_batch": 4},
        "evaluation": {"bootstrap": 200, "benchmarks": [], "gates": {"above_baseline": False}},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    command = [sys.executable, "-m", "rewardsmith", "run", str(tmp_path / "spec.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    run = tmp_path / "runs" / "tiny"
    log = run / "train" / "openrlhf" / "log.txt"
    assert done.returncode in (0, 1), done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    record = read_record(run / "train" / "summary.json", TrainRecord)
    assert (record.backend, record.processes, record.steps, record.pairs) == ("openrlhf", 2, 4, 64)
    assert [row["step"] for row in read_jsonl(run / "train" / "metrics.jsonl")] == [1, 2, 3, 4]
    left_out = next(finding for finding in record.findings if finding.code == "left_out")
    assert (left_out.count, left_out.of) == (6, 70)  # 70 pairs are 4 steps of 16 and a tail of 6
    trained = [pair for row in read_jsonl(run / "train" / "margins.jsonl") for pair in row["pairs"]]
    tail = [row["index"] for row in read_jsonl(run / "train" / "left_out.jsonl")]
    assert sorted(trained + tail) == list(range(70))

    opened = open_checkpoint(run / "model")  # golden rewards reproduce, or this raises
    assert opened.record is not None
    assert opened.record.golden
    assert opened.record.normalization is not None  # OpenRLHF's mean and std: kept, never applied
    results = json.loads((run / "eval" / "held_out" / "results.json").read_text())
    assert results["rewards"]["n"] == 60
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("stage", "launcher", "first_update"), [(0, "torchrun", SECOND_UPDATE), (2, "torchrun", 1.0), (3, "deepspeed", 1.0)]
)
def test_a_full_batch_step_is_trls(tmp_path: Path, base: Path, stage: int, launcher: str, first_update: float) -> None:
    """From OpenRLHF's own initial head: its weights at a learning rate that changes nothing, then one step of both."""
    whole = {"pairs_per_step": 32, "warmup": 0.0}
    own = {"zero_stage": stage, "launcher": launcher}
    start = make_job(tmp_path / "start", base, 32, training={**whole, "learning_rate": 1e-30}, openrlhf=own)
    step = make_job(tmp_path / "step", base, 32, training=whole, openrlhf=own)
    train(start)
    train(step)
    initial, theirs = weights_of(start), weights_of(step)
    for name, weight in AutoModelForCausalLM.from_pretrained(base).state_dict().items():
        if name in initial:
            torch.testing.assert_close(initial[name], weight.bfloat16().float(), rtol=0, atol=0)

    spec = step.spec.model_copy(update={"backend": "trl"})
    ours_job = replace(
        step, spec=spec, base=str(start.model_folder), folder=tmp_path / "trl", model_folder=tmp_path / "trl-model"
    )
    train_by_trl(ours_job)
    ours = weights_of(ours_job)
    (their_step,), (our_step,) = steps_of(step), steps_of(ours_job)
    assert their_step.loss == pytest.approx(our_step.loss, abs=STEP_LOSS)
    assert their_step.grad_norm == pytest.approx(our_step.grad_norm, rel=STEP_NORM)
    assert their_step.learning_rate == pytest.approx(our_step.learning_rate)

    moved = [name for name in initial if not name.endswith("norm.weight")]  # 1 + 0.001 is 1 in bfloat16
    theirs_flat, ours_flat = (
        torch.cat([(after[name] - initial[name]).flatten() for name in moved]) for after in (theirs, ours)
    )
    cosine = float(theirs_flat @ ours_flat / (theirs_flat.norm() * ours_flat.norm()))
    size = float(theirs_flat @ ours_flat.sign() / ours_flat.abs().sum())
    print(
        f"ZeRO {stage}: loss {their_step.loss:.5f} / {our_step.loss:.5f}, gradient norm {their_step.grad_norm:.4f} / "
        f"{our_step.grad_norm:.4f}, cosine {cosine:.4f}, size {size:.4f} (expected {first_update:.4f})"
    )
    assert cosine >= STEP_DIRECTION
    assert size == pytest.approx(first_update, rel=STEP_SIZE)


def test_a_failed_run_goes_on_from_its_checkpoint(tmp_path: Path, base: Path) -> None:
    """It fails after the last step, when its evaluation cannot be written; a checkpoint of step 2 is there by then."""
    every = {"checkpoint_every_steps": 2}
    unbroken = make_job(tmp_path / "unbroken", base, 50, training=every)
    broken = make_job(tmp_path / "broken", base, 50, training=every)
    train(unbroken)
    setup = set_up(broken, environment_of(broken.spec))
    write_folder(broken, setup)
    in_the_way = setup.folder / "rewards" / "rank-0.jsonl"
    in_the_way.mkdir(parents=True)
    with pytest.raises(ModelError, match="IsADirectoryError"):
        train(broken)
    in_the_way.rmdir()
    record = train(broken)
    assert record.resumed_from_step == 2
    ours, theirs = steps_of(broken), steps_of(unbroken)
    assert [step.step for step in ours] == [step.step for step in theirs] == [1, 2, 3]
    assert [step.loss for step in ours] == pytest.approx([step.loss for step in theirs], abs=1e-3)
    assert [step.learning_rate for step in ours] == pytest.approx([step.learning_rate for step in theirs])


def test_two_nodes_under_slurm(tmp_path: Path, base: Path) -> None:
    """The batch script as it is written, on this machine twice: `srun` starts a node's torchrun for each node."""
    nodes = {"nodes": 2, "devices_per_node": 1}
    job = make_job(tmp_path / "slurm", base, 32, hardware=nodes, openrlhf={"launcher": "slurm", "zero_stage": 3})
    with pytest.raises(UserError, match="waits to be submitted"):
        train(job)
    tools = tmp_path / "tools"
    tools.mkdir()
    both = 'SLURM_NODEID=0 "$@" & first=$!; SLURM_NODEID=1 "$@" & second=$!; wait $first && wait $second'
    for name, script in {"scontrol": "echo 127.0.0.1; echo 127.0.0.2", "srun": both}.items():
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "two"}
    batch = job.folder / "openrlhf" / "slurm.sbatch"
    done = subprocess.run(["/bin/bash", str(batch)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = train(job)
    assert (record.processes, record.steps) == (2, 2)


def test_other_tokens_than_ours_are_noticed(tmp_path: Path, base: Path) -> None:
    job = make_job(tmp_path / "tampered", base, 32)
    setup = set_up(job, environment_of(job.spec))
    write_folder(job, setup)
    settings = setup.folder / "base" / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    settings.write_text(
        json.dumps({**content, "eos_token": "<|im_start|>"})
    )  # its code closes texts with another token
    with pytest.raises(ModelError, match="other token ids than ours"):
        train(job)


QUESTION = """
import json, sys
from types import SimpleNamespace
from datasets import Dataset
from transformers import AutoTokenizer
from openrlhf.datasets import RewardDataset
folder, texts, longest = json.loads(sys.argv[1])
data = SimpleNamespace(prompt_key=None, chosen_key="chosen", rejected_key="rejected", apply_chat_template=False)
rows = Dataset.from_dict({"chosen": texts, "rejected": texts})
tokenizer = AutoTokenizer.from_pretrained(folder)
made = RewardDataset(rows, tokenizer, longest, SimpleNamespace(args=SimpleNamespace(data=data)), num_processors=1)
print("\\n" + json.dumps([made[index][0][0].tolist() for index in range(len(texts))]))
"""


def test_what_its_code_does_to_texts_is_what_we_say(tmp_path: Path, base: Path) -> None:
    renderer = load_renderer(str(base), max_length=256)
    renderer.save(tmp_path)
    texts = [
        "plain",
        "breaks\n\n",
        "eos<|im_end|>",
        "eos and breaks<|im_end|>\n\n",
        "spaces  ",
        "a<|im_end|> b",
        "\n",
        "é🙂",
    ]
    texts += [renderer.text(pair.prompt + pair.chosen) for pair in make_pairs(5)]
    said = subprocess.run(
        [PYTHON, "-c", QUESTION, json.dumps([str(tmp_path), texts, 256])],
        env={**os.environ, "DS_ACCELERATOR": "cpu"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = json.loads(said.stdout.strip().splitlines()[-1])
    assert [ids_T.tolist() for ids_T in their_ids(renderer.tokenizer, texts)] == wanted


@cache
def flags_of(version: str) -> frozenset[str]:
    """Names that `train_rm` of a version declares."""
    (wheel,) = Path(os.environ["OPENRLHF_WHEELS"]).glob(f"openrlhf-{version}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("openrlhf/cli/train_rm.py")]
        tree = ast.parse(archive.read(name))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return frozenset(
        call.args[0].value
        for call in calls
        if call.func.attr == "add_argument" and isinstance(call.args[0], ast.Constant)
    )


@pytest.mark.parametrize("version", ["0.9.8", "0.10.1"])
def test_flat_names_are_there(version: str) -> None:
    assert {names.flat for names in FLAGS.values()} <= flags_of(version)


@pytest.mark.parametrize("version", ["0.10.2", "0.11.2"])
def test_dotted_names_are_there(version: str) -> None:
    assert {names.dotted for names in FLAGS.values()} <= flags_of(version)
