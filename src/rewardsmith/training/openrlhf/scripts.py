"""What is written beside the data so that the training can be started, here or by a scheduler.

    write_scripts(folder, spec, flags, environment, processes_per_node=8)

launch.sh      what `rewardsmith train` runs for the launchers `deepspeed` and `torchrun`
slurm.sbatch   `sbatch slurm.sbatch`: one torchrun on each node
ray.sh         `bash ray.sh`: `ray job submit` of ray_nodes.py, which starts one torchrun on each node
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardsmith.records import write_text
from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.command import INSIDE, RAY_NODES, interpreter_of, launch_command, node_command

LAUNCH, SLURM, RAY = "launch.sh", "slurm.sbatch", "ray.sh"
SUBMIT: Mapping[str, str] = {"slurm": f"sbatch {SLURM}", "ray": f"bash {RAY}"}


def variables(spec: Spec, device: str) -> dict[str, str]:
    """What every process finds in its environment."""
    found = {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_CACHE": "cache"}
    if spec.hardware.threads:
        found["OMP_NUM_THREADS"] = str(spec.hardware.threads)
    if device == "cpu":
        found["DS_ACCELERATOR"] = "cpu"
    return found


def write_scripts(folder: Path, spec: Spec, flags: Sequence[str], device: str, *, processes_per_node: int) -> None:
    """Write every script that fits the launcher, with the two programs that run inside."""
    for name in (INSIDE, RAY_NODES):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    exported = _exports(spec, device)
    if spec.openrlhf.launcher in ("deepspeed", "torchrun"):
        command = launch_command(spec, flags, processes_per_node=processes_per_node)
        write_text(folder / LAUNCH, _bash(f"exec {shlex.join(command)}", folder, exported))
        return
    per_node = node_command(spec, flags, processes_per_node=processes_per_node)
    write_text(folder / SLURM, slurm_script(spec, per_node, folder, exported, processes_per_node))
    write_text(folder / RAY, ray_script(spec, flags, folder, exported, processes_per_node))


def slurm_script(spec: Spec, command: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
    """A batch script: one task a node, each a torchrun; they meet on the first node."""
    options = [
        f"--job-name=rewardsmith-{spec.name}",
        f"--nodes={spec.hardware.nodes}",
        "--ntasks-per-node=1",
        f"--gpus-per-node={processes_per_node}",
        f"--output={folder.resolve()}/slurm-%j.log",
        *spec.openrlhf.slurm_options,
    ]
    header = "".join(f"#SBATCH {option}\n" for option in options)
    # Cut by the shell, not by `| head`: a long list would die of the closed pipe, and pipefail the script with it.
    meet = (
        'NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"\n'
        "MASTER_ADDR=\"${NODES%%$'\\n'*}\"\n"
        f"export MASTER_ADDR MASTER_PORT={spec.openrlhf.port}\n"
    )
    # Each node expands the meeting place by itself: srun hands its environment on.
    return _bash(f"{meet}srun bash -c {shlex.quote(_join(command))}", folder, exported, header)


def ray_script(spec: Spec, flags: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
    """Submits ray_nodes.py to a cluster; the run directory must be on storage that every node sees."""
    address = spec.hardware.ray_address
    # `ray job submit` takes the address of the dashboard; without one it looks into RAY_ADDRESS.
    where = ["--address", address] if address and address != "auto" else []
    entry = [
        *[str(interpreter_of(spec)), str(folder.resolve() / RAY_NODES), str(folder.resolve())],
        *[str(spec.hardware.nodes), str(processes_per_node), str(spec.openrlhf.port), *flags],
    ]
    submit = shlex.join([str(interpreter_of(spec)), "-m", "ray.scripts.scripts", "job", "submit", *where, "--"])
    return _bash(f"exec {submit} {shlex.join(entry)}", folder, exported)


def _exports(spec: Spec, device: str) -> str:
    # Executables of that environment first: DeepSpeed compiles its optimizer with the ninja that is found.
    tools = shlex.quote(str(interpreter_of(spec).parent))
    said = [f"export {name}={shlex.quote(value)}" for name, value in variables(spec, device).items()]
    return "\n".join([f'export PATH={tools}:"$PATH"', *said]) + "\n"


def _bash(command: str, folder: Path, exported: str, header: str = "") -> str:
    return f"#!/bin/bash\n{header}set -euo pipefail\ncd {shlex.quote(str(folder.resolve()))}\n{exported}{command}\n"


def _join(command: Sequence[str]) -> str:
    """As `shlex.join`, but what a shell is to expand stays as it is."""
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in command)
