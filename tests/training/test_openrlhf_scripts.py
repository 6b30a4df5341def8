"""The scripts that start OpenRLHF: what they set, what they run, and that a shell reads them so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf import ray_nodes
from rewardsmith.training.openrlhf.command import write_scripts

FLAGS = ["--adam.betas", "0.9", "0.999", "--model.loss_type", "sigmoid"]

TELL = """#!/bin/bash
{ printf '%s\\n' "$@"; echo "pwd=$PWD"; echo "accelerator=${DS_ACCELERATOR-}"; echo "threads=${OMP_NUM_THREADS-}"
  echo "path=$PATH"; } >> "$TOLD"
"""
"""An interpreter that writes down how it was called."""


def a_spec(folder: Path, **changes: Any) -> Spec:
    python = folder / "an environment" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(TELL, encoding="utf-8")
    python.chmod(0o755)
    content: dict[str, Any] = {"name": "r1", "backend": "openrlhf", "openrlhf": {"interpreter": str(python)}}
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return Spec.model_validate(content)


def run(script: Path, tmp_path: Path, **variables: str) -> list[str]:
    """Lines that the interpreter wrote down."""
    told = tmp_path / "told.txt"
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TOLD": str(told), **variables}
    subprocess.run(["/bin/bash", str(script)], check=True, env=environment, cwd=tmp_path)
    return told.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a run" / "openrlhf"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    ("launcher", "module"), [("deepspeed", "deepspeed.launcher.runner"), ("torchrun", "torch.distributed.run")]
)
def test_launch_runs_in_its_folder(tmp_path: Path, folder: Path, launcher: str, module: str) -> None:
    spec = a_spec(tmp_path, openrlhf={"launcher": launcher}, hardware={"threads": 3})
    write_scripts(folder, spec, FLAGS, "cpu", processes_per_node=2)
    told = run(folder / "launch.sh", tmp_path)
    assert told[:2] == ["-m", module]
    assert told[told.index("inside.py") + 1 :][: len(FLAGS)] == FLAGS
    assert f"pwd={folder}" in told
    assert "accelerator=cpu" in told
    assert "threads=3" in told
    assert any(line.startswith(f"path={tmp_path}/an environment:") for line in told)
    assert not (folder / "slurm.sbatch").exists()
    assert {"inside.py", "ray_nodes.py"} <= {path.name for path in folder.iterdir()}


def test_a_gpu_needs_no_other_accelerator(tmp_path: Path, folder: Path) -> None:
    write_scripts(folder, a_spec(tmp_path), FLAGS, "cuda", processes_per_node=8)
    assert "accelerator=" in run(folder / "launch.sh", tmp_path)


def test_slurm_starts_one_torchrun_on_each_node(tmp_path: Path, folder: Path) -> None:
    spec = a_spec(
        tmp_path,
        openrlhf={"launcher": "slurm", "slurm_options": ["--partition=gpu", "--time=12:00:00"], "port": 30000},
        hardware={"nodes": 2, "devices_per_node": 8},
    )
    write_scripts(folder, spec, FLAGS, "cuda", processes_per_node=8)
    script = folder / "slurm.sbatch"
    header = [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("#SBATCH")]
    assert header[0] == "#SBATCH --job-name=rewardsmith-r1"
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --gpus-per-node=8"} <= set(header)
    assert header[-2:] == ["#SBATCH --partition=gpu", "#SBATCH --time=12:00:00"]

    tools = tmp_path / "bin"  # Slurm's two programs, as far as the script knows them: many nodes, two of them started
    tools.mkdir()
    (tools / "scontrol").write_text("#!/bin/bash\necho node-a; seq -f 'node-%.0f' 50000\n")
    (tools / "srun").write_text('#!/bin/bash\nSLURM_NODEID=0 "$@"; SLURM_NODEID=1 "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    told = run(script, tmp_path, SLURM_JOB_NODELIST="node-[a-b]")
    assert told.count("--nnodes") == 2
    for flag, wanted in {
        "--node_rank": ["0", "1"],
        "--master_addr": ["node-a"] * 2,
        "--master_port": ["30000"] * 2,
    }.items():
        assert [told[place + 1] for place, word in enumerate(told) if word == flag] == wanted
    assert f"pwd={folder}" in told
    assert "accelerator=" in told
    start = told.index("inside.py") + 1
    assert told[start : start + len(FLAGS)] == FLAGS


def test_ray_submits_the_launcher_of_nodes(tmp_path: Path, folder: Path) -> None:
    spec = a_spec(
        tmp_path,
        openrlhf={"launcher": "ray"},
        hardware={"nodes": 2, "devices_per_node": 8, "ray_address": "http://head:8265"},
    )
    write_scripts(folder, spec, FLAGS, "cuda", processes_per_node=8)
    told = run(folder / "ray.sh", tmp_path)
    assert told[:6] == ["-m", "ray.scripts.scripts", "job", "submit", "--address", "http://head:8265"]
    entry = told[told.index("--") + 1 :]
    assert entry[1:6] == [str(folder / "ray_nodes.py"), str(folder), "2", "8", "29500"]
    assert entry[6 : 6 + len(FLAGS)] == FLAGS


class FakeRay(ModuleType):
    """As much of Ray as `ray_nodes.py` calls; tasks run at once, and what they reserved is written down."""

    def __init__(self, gpus: float, fails: int | None = None) -> None:
        super().__init__("ray")
        self.gpus, self.fails = gpus, fails
        self.tasks: list[dict[str, Any]] = []
        self.environment: dict[str, str] = {}
        self.util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")

    def init(self, runtime_env: dict[str, Any]) -> None:
        self.environment = runtime_env["env_vars"]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0} | ({"GPU": self.gpus} if self.gpus else {})

    def remote(self, function: Any) -> Any:
        def options(**reserved: Any) -> Any:
            def call(*given: Any) -> Any:
                self.tasks.append({**reserved, "given": given})
                return lambda: function(*given)

            return SimpleNamespace(remote=call)

        return SimpleNamespace(options=options)

    def get(self, futures: Any) -> Any:
        return [future() for future in futures] if isinstance(futures, list) else futures()

    def wait(self, futures: list[Any], num_returns: int) -> Any:
        return futures[:num_returns], futures[num_returns:]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []
    monkeypatch.setattr(ray_nodes.subprocess, "run", lambda command, cwd, check: seen.append([cwd, *command]))
    return seen


def install(monkeypatch: pytest.MonkeyPatch, ray: FakeRay) -> list[Any]:
    groups: list[Any] = []

    def placement_group(bundles: list[Any], strategy: str) -> Any:
        groups.append((bundles, strategy))
        return SimpleNamespace(ready=lambda: lambda: None)

    placing = ModuleType("ray.util.placement_group")
    placing.placement_group = placement_group  # type: ignore[attr-defined]
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.PlacementGroupSchedulingStrategy = lambda group, placement_group_bundle_index: (
        placement_group_bundle_index
    )  # type: ignore[attr-defined]
    for name, module in {"ray": ray, placing.__name__: placing, strategies.__name__: strategies}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return groups


def test_each_node_gets_a_torchrun(monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]) -> None:
    ray = FakeRay(gpus=16)
    groups = install(monkeypatch, ray)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    ray_nodes.main("/shared/run", 2, 8, 29500, FLAGS)
    assert groups == [([{"GPU": 8}, {"GPU": 8}], "STRICT_SPREAD")]
    assert ray.environment["DS_ACCELERATOR"] == "cpu"
    assert [task["scheduling_strategy"] for task in ray.tasks] == [0, 0, 1]  # the first asks for the address
    assert all(task["num_gpus"] == 8 and task["max_retries"] == 0 for task in ray.tasks)
    assert len(commands) == 2
    assert all(command[0] == "/shared/run" and command[1] == sys.executable for command in commands)
    assert all(command[command.index("--master_addr") + 1] == "10.0.0.1" for command in commands)
    assert all(command[command.index("--master_port") + 1] == "29500" for command in commands)
    assert [command[command.index("--node_rank") + 1] for command in commands] == ["0", "1"]
    assert all(command[-len(FLAGS) :] == FLAGS for command in commands)


def test_one_node_without_gpus(monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]) -> None:
    groups = install(monkeypatch, FakeRay(gpus=0))
    ray_nodes.main("/shared/run", 1, 2, 29500, [])
    assert groups == [([{"CPU": 1}], "PACK")]
    assert len(commands) == 1


def test_a_node_that_fails_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeRay(gpus=16))

    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(ray_nodes.subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        ray_nodes.main("/shared/run", 2, 8, 29500, [])


def test_what_runs_inside_imports_nothing_of_ours(folder: Path, tmp_path: Path) -> None:
    write_scripts(folder, a_spec(tmp_path), FLAGS, "cuda", processes_per_node=1)
    for name in ("inside.py", "ray_nodes.py"):
        code = f"import sys, json; sys.path.insert(0, {str(folder)!r}); import {name[:-3]}; "
        code += "print(json.dumps([m for m in sys.modules if m.startswith('rewardsmith')]))"
        said = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env={})
        assert json.loads(said.stdout) == []
