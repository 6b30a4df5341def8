"""The OpenRLHF backend from a job to a checkpoint, against a miniature of OpenRLHF in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openrlhf_job import openrlhf_job
from openrlhf_miniature import write_environment

from conftest import make_pairs
from rewardsmith.errors import DataError, MarginStop, ModelError, SpecError, UserError
from rewardsmith.modeling.checkpoint import open_checkpoint
from rewardsmith.records.files import read_jsonl
from rewardsmith.rendering import load_renderer
from rewardsmith.spec import Spec
from rewardsmith.training.job import TrainJob
from rewardsmith.training.openrlhf.backend import train
from rewardsmith.training.openrlhf.command import Environment, ask, environment_of, versions_of_backend
from rewardsmith.training.openrlhf.setup import set_up, write_folder
from rewardsmith.training.openrlhf.steps import checksum

HERE = Environment({"openrlhf": "0.11.2"}, devices=0)


def make_job(folder: Path, base: Path, python: Path, count: int = 22, **changes: Any) -> TrainJob:
    content: dict[str, Any] = {
        "hardware": {"device": "cpu"},
        "training": {"pairs_per_step": 4, "learning_rate": 1e-3, "monitor": {"min_steps": 8}},
        "openrlhf": {"interpreter": str(python), "launcher": "torchrun", "pairs_per_micro_batch": 2},
    }
    return openrlhf_job(folder, base, content, changes, count=count, held_out=6)


def test_a_job_becomes_a_checkpoint(tmp_path: Path, tiny_base: Path) -> None:
    job = make_job(tmp_path, tiny_base, write_environment(tmp_path))
    announced: list[tuple[int, int]] = []
    record = train(replace(job, announce=lambda metrics, steps: announced.append((metrics.step, steps))))
    assert announced == [(number, 5) for number in range(1, 6)]
    assert (record.backend, record.steps, record.pairs, record.processes) == ("openrlhf", 5, 20, 1)
    assert (record.device, record.dtype, record.layout) == ("cpu", "bfloat16", "padded")
    assert record.peak_memory > 50_000_000

    steps, margins = (list(read_jsonl(job.folder / name)) for name in ("metrics.jsonl", "margins.jsonl"))
    assert [step["learning_rate"] for step in steps] == [1e-3] * 5
    for step, row in zip(steps, margins, strict=True):
        loss = np.mean(np.log1p(np.exp(-np.array(row["margins"]))))
        assert step["loss"] == pytest.approx(float(loss), abs=1e-5)
        assert step["pairs"] == len(row["pairs"]) == 4
        assert step["grad_norm"] == 1.5
    left_out = list(read_jsonl(job.folder / "left_out.jsonl"))
    assert [row["reason"] for row in left_out] == ["incomplete_step"] * 2
    trained = [pair for row in margins for pair in row["pairs"]]
    assert sorted([*trained, *(row["index"] for row in left_out)]) == list(range(22))
    found = {finding.code: finding for finding in record.findings}
    assert (found["left_out"].count, found["left_out"].of) == (2, 22)
    assert found["imported"].of == 12  # six held-out pairs

    opened = open_checkpoint(job.model_folder)
    assert opened.record is not None
    assert opened.record.normalization is not None
    assert opened.record.data_fingerprints == ("pairs",)
    config = json.loads((job.model_folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert config["dtype"] == "bfloat16"
    assert not {"mean", "std", "value_head_prefix", "normalize_reward"} & config.keys()
    left = {path.name for path in (job.folder / "openrlhf").iterdir()}
    assert {"launch.sh", "log.txt", "job.json", "finished.json", "steps"} <= left
    assert not {"base", "checkpoint", "resumable", "cache"} & left


def test_a_submitted_job_is_taken_up_when_it_has_finished(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = write_environment(tmp_path)
    changes = {"openrlhf": {"launcher": "slurm"}, "hardware": {"devices_per_node": 1}}
    job = make_job(tmp_path, tiny_base, python, count=10, **changes)
    with pytest.raises(UserError) as waits:
        train(job)
    assert "sbatch slurm.sbatch" in waits.value.fix
    assert "0 of 2 steps" in waits.value.problem
    folder = job.folder / "openrlhf"
    tools = tmp_path / "tools"  # a cluster of one node
    tools.mkdir()
    for name, script in {"scontrol": "echo localhost", "srun": 'exec "$@"'}.items():
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NODEID": "0",
    }
    subprocess.run(["/bin/bash", str(folder / "slurm.sbatch")], check=True, env=environment, capture_output=True)

    rewards = folder / "rewards" / "rank-0.jsonl"
    true = rewards.read_text()
    row = json.loads(true)
    for place, name in (({}, "left no reward"), ({**row, "chosen": [9.0] * len(row["chosen"])}, "not OpenRLHF's")):
        rewards.write_text(json.dumps(place or {key: [] for key in row}))
        with pytest.raises(ModelError, match=name):
            train(job)
        assert not job.model_folder.exists()
    rewards.write_text(true)
    assert train(job).steps == 2
    assert job.model_folder.is_dir()


def rows_of_steps(job: TrainJob, margins: list[float]) -> str:
    """What `inside.py` would have written for steps with these margins."""
    setup = set_up(job, HERE)
    lines: list[dict[str, Any]] = [{"begin": 0}]
    for number, margin in enumerate(margins, start=1):
        rows = setup.dealt.pairs(number)
        sides = {
            name: [checksum(setup.ids[row][side]) for row in rows] for side, name in enumerate(("chosen", "rejected"))
        }
        line = {"step": number, "lr": 1e-3, "grad_norm": 1.0, "seconds": 1.0, "tokens": 8}
        line |= {"chosen": [margin + 0.1 * row for row in range(len(rows))], "rejected": [0.0] * len(rows)}
        lines.append({**line, "chosen_ids": sides["chosen"], "rejected_ids": sides["rejected"]})
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_the_monitor_ends_the_processes(tmp_path: Path, tiny_base: Path) -> None:
    """They would wait for an hour after steps whose margins fall."""
    told = tmp_path / "told.jsonl"
    before = f"mkdir -p steps; cat {told} >> steps/rank-0.jsonl; sleep 3600"
    job = make_job(
        tmp_path,
        tiny_base,
        write_environment(tmp_path, before=before),
        count=200,
        training={"monitor": {"min_steps": 8, "after": 0.1}},
    )
    told.write_text(rows_of_steps(job, [2.0 - 0.2 * number for number in range(20)]))
    with pytest.raises(MarginStop) as stopped:
        train(job)
    assert "collapse" in stopped.value.problem
    summary = json.loads((job.folder / "summary.json").read_text())
    assert summary["monitor"]["stopped"]
    assert not job.model_folder.exists()


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("echo 'ModuleNotFoundError: No module named flash_attn'; echo later; exit 3", "code 3: ModuleNotFoundError"),
        ("echo '[rank0]: OSError: full'; echo '[rank1]: RuntimeError: peer'; exit 1", "code 1: .rank0.: OSError: full"),
        ("echo no exception; exit 5", "code 5: no exception"),
        ("exit 0", "without saying that it finished"),
    ],
)
def test_a_failure_shows_what_the_log_says(tmp_path: Path, tiny_base: Path, before: str, says: str) -> None:
    job = make_job(tmp_path, tiny_base, write_environment(tmp_path, before=before))
    with pytest.raises(ModelError, match=says) as failed:
        train(job)
    assert failed.value.where.endswith("log.txt")


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path, tiny_base: Path) -> None:
    told = tmp_path / "told.jsonl"
    python = write_environment(tmp_path, before=f"mkdir -p steps; cat {told} >> steps/rank-0.jsonl; sleep 3600")
    job = make_job(tmp_path, tiny_base, python)
    told.write_text(rows_of_steps(job, [float("nan")]))
    with pytest.raises(ModelError, match="diverged"):
        train(job)


def test_another_training_clears_the_folder_and_the_same_keeps_it(tmp_path: Path, tiny_base: Path) -> None:
    job = make_job(tmp_path, tiny_base, write_environment(tmp_path))
    setup = set_up(job, HERE)
    write_folder(job, setup)
    kept = setup.folder / "resumable"
    kept.mkdir()
    write_folder(job, setup)
    assert kept.is_dir()
    write_folder(replace(job, fingerprint="another"), setup)
    assert not kept.exists()


def test_without_held_out_pairs_golden_conversations_are_evaluated(tmp_path: Path, tiny_base: Path) -> None:
    job = replace(make_job(tmp_path, tiny_base, tmp_path), held_out=())
    setup = set_up(job, HERE)
    assert "capital of France" in setup.evaluation_rows[0].chosen
    trained = {tuple(text) for pair in job.ids for text in pair}
    assert not trained & {tuple(text) for pair in setup.evaluation for text in pair}
    renderer = load_renderer(str(tiny_base), max_length=8)
    with pytest.raises(DataError) as refused:
        set_up(replace(job, renderer=renderer), HERE)
    assert refused.value.where == "data.held_out"


def test_an_evaluation_batch_is_full_on_every_process(tmp_path: Path, tiny_base: Path) -> None:
    job = make_job(
        tmp_path, tiny_base, tmp_path, hardware={"devices_per_node": 2}, openrlhf={"pairs_per_micro_batch": 2}
    )
    setup = set_up(replace(job, held_out=make_pairs(3, seed=9)), HERE)
    assert len(setup.evaluation_rows) == len(setup.evaluation) == 4
    assert setup.evaluation_rows[3] == setup.evaluation_rows[0]


def test_several_processes_of_ours_are_refused(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpecError, match="starts its own processes"):
        train(make_job(tmp_path, tiny_base, tmp_path))


def test_the_environment_is_asked(tmp_path: Path, tiny_base: Path) -> None:
    python = write_environment(tmp_path, version="0.9.8")
    assert ask(python, devices=False).versions["openrlhf"] == "0.9.8"
    spec = make_job(tmp_path, tiny_base, python).spec
    assert versions_of_backend(spec)["openrlhf: openrlhf"] == "0.9.8"
    assert versions_of_backend(Spec()) == {}


def refused_environment(spec: Spec, **changes: Any) -> str:
    with pytest.raises(SpecError) as refused:
        environment_of(spec.model_copy(update={"openrlhf": spec.openrlhf.model_copy(update=changes)}))
    return f"{refused.value.where}: {refused.value.problem}"


def test_environments_that_cannot_be_used(tmp_path: Path, tiny_base: Path) -> None:
    python = write_environment(tmp_path)
    spec = make_job(tmp_path, tiny_base, python).spec
    assert "is not a file" in refused_environment(spec, interpreter=str(tmp_path / "none"))
    assert "is not a file" in refused_environment(spec, interpreter=str(tmp_path / "none"), launcher="slurm")
    assert "openrlhf.version: it is '0.9.8'" in refused_environment(spec, version="0.9.8")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/bash\nexit 1\n")
    broken.chmod(0o755)
    assert "does not run" in refused_environment(spec, interpreter=str(broken))
    for metadata in (tmp_path / "packages").glob("*.dist-info/METADATA"):
        metadata.unlink()
        metadata.parent.rmdir()
    assert "is not installed" in refused_environment(spec)


def test_a_stated_version_stands_for_an_environment_elsewhere(tmp_path: Path, tiny_base: Path) -> None:
    changes = {"interpreter": "/cluster/python", "launcher": "ray", "version": "0.11.2"}
    job = make_job(tmp_path, tiny_base, tmp_path, openrlhf=changes, hardware={"devices_per_node": 8})
    assert environment_of(job.spec) == Environment({"openrlhf": "0.11.2"}, 8)
