"""The plan as `train_rm`'s flags, launchers, scripts that hold both, and the environment that runs them.

    environment = environment_of(spec)                      # versions and devices of OpenRLHF's own Python
    flags = train_flags(spec, plan, environment.versions["openrlhf"], max_length=512)
    write_scripts(folder, spec, flags, "cuda", processes_per_node=8)

launch.sh      what `rewardsmith train` runs for the launchers `deepspeed` and `torchrun`
slurm.sbatch   `sbatch slurm.sbatch`: one torchrun on each node
ray.sh         `bash ray.sh`: `ray job submit` of ray_nodes.py, which starts one torchrun on each node

0.10.2 renamed every flag (`--train.batch_size` for `--train_batch_size`), so the version decides the spelling. Nothing
that bears on the result is left to a default of OpenRLHF: 512 tokens, 1 % of the training data for evaluation, a floor
under the cosine, (0.9, 0.95) for Adam and at most a million rows are all defaults of some version. Source:
`openrlhf/cli/train_rm.py` of 0.9.5, 0.9.8, 0.10.1, 0.10.2 and 0.11.2.

Every path is relative: the command runs in `train/openrlhf/` of the run directory, because OpenRLHF parts the names of
data sets at `,` and `@`. OpenRLHF is never imported here: its environment is asked through its Python.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rewardsmith.errors import SpecError
from rewardsmith.records.files import write_text
from rewardsmith.spec import Spec
from rewardsmith.training.plan import TrainingPlan

Value = str | int | float | bool | tuple[float, ...]

BASE, OUT, CHECKPOINTS = "base", "checkpoint", "resumable"
TRAIN_ROWS, EVAL_ROWS = "train.parquet", "evaluation.parquet"
INSIDE, RAY_NODES = "inside.py", "ray_nodes.py"

BETAS = (0.9, 0.999)
"""AdamW's, as the TRL backend has them; OpenRLHF's own default is (0.9, 0.95)."""

VALUE_HEAD = "score"


def train_flags(spec: Spec, plan: TrainingPlan, version: str, *, max_length: int) -> list[str]:
    """`train_rm`'s flags, in the spelling of its version.

    Args:
        plan: numbers of the epoch; `plan.pairs` are the rows that are handed over.
        max_length: tokens of the longest text, so that nothing is truncated.
    """
    training, own = spec.training, spec.openrlhf
    every = training.checkpoint_every_steps
    values: dict[str, Value] = {
        "model": f"./{BASE}",
        "value_head": VALUE_HEAD,
        "attention": attention(spec, plan.device),
        "train_data": TRAIN_ROWS,
        "train_split": "train",
        "eval_data": EVAL_ROWS,
        "eval_split": "train",  # what `datasets` calls the rows of a file
        "chosen_key": "chosen",
        "rejected_key": "rejected",
        "max_samples": plan.pairs,
        "max_length": max_length,
        "epochs": 1,
        "loss": "sigmoid",
        "pairs_per_step": plan.pairs_per_step,
        "pairs_per_micro_batch": own.pairs_per_micro_batch,
        "seed": plan.seed,
        "learning_rate": plan.learning_rate,
        "betas": BETAS,
        "weight_decay": training.weight_decay,
        "schedule": plan.schedule,
        "warmup": training.warmup,
        "max_grad_norm": training.max_grad_norm,
        "gradient_checkpointing": training.gradient_checkpointing,
        "precision": "bf16",
        "zero_stage": own.zero_stage,
        "offload_optimizer": own.offload_optimizer,
        "packing": own.packing,
        "out": f"./{OUT}",
        "checkpoints": f"./{CHECKPOINTS}",
        "checkpoint_steps": every or -1,
        "checkpoints_kept": 1,
        "resume": bool(every),
    }
    return arguments(values, version)


def attention(spec: Spec, device: str) -> str:
    """The attention kernel: as the spec says, else flash attention where there is a GPU."""
    if spec.base_model.attention != "auto":
        return spec.base_model.attention
    return "eager" if device == "cpu" else "flash_attention_2"


DOTTED_SINCE = (0, 10, 2)  # which renamed every flag
OLDEST = (0, 9, 0)  # whose flags are those of 0.9.5, the oldest that was read


class Names(NamedTuple):
    """One setting in both spellings."""

    dotted: str
    flat: str


FLAGS: Mapping[str, Names] = {
    "model": Names("--model.model_name_or_path", "--pretrain"),
    "value_head": Names("--ds.value_head_prefix", "--value_head_prefix"),
    "attention": Names("--ds.attn_implementation", "--attn_implementation"),
    "train_data": Names("--data.dataset", "--dataset"),
    "train_split": Names("--data.dataset_split", "--dataset_split"),
    "eval_data": Names("--eval.dataset", "--eval_dataset"),
    "eval_split": Names("--eval.split", "--eval_split"),
    "chosen_key": Names("--data.chosen_key", "--chosen_key"),
    "rejected_key": Names("--data.rejected_key", "--rejected_key"),
    "max_samples": Names("--data.max_samples", "--max_samples"),
    "max_length": Names("--data.max_len", "--max_len"),
    "epochs": Names("--train.max_epochs", "--max_epochs"),
    "loss": Names("--model.loss_type", "--loss"),
    "pairs_per_step": Names("--train.batch_size", "--train_batch_size"),
    "pairs_per_micro_batch": Names("--train.micro_batch_size", "--micro_train_batch_size"),
    "seed": Names("--train.seed", "--seed"),
    "learning_rate": Names("--adam.lr", "--learning_rate"),
    "betas": Names("--adam.betas", "--adam_betas"),
    "weight_decay": Names("--adam.weight_decay", "--l2"),
    "schedule": Names("--lr_scheduler", "--lr_scheduler"),
    "warmup": Names("--lr_warmup_ratio", "--lr_warmup_ratio"),
    "max_grad_norm": Names("--max_norm", "--max_norm"),
    "gradient_checkpointing": Names("--model.gradient_checkpointing_enable", "--gradient_checkpointing"),
    "precision": Names("--ds.param_dtype", "--param_dtype"),
    "zero_stage": Names("--ds.zero_stage", "--zero_stage"),
    "offload_optimizer": Names("--ds.adam_offload", "--adam_offload"),
    "packing": Names("--ds.packing_samples", "--packing_samples"),
    "out": Names("--ckpt.output_dir", "--save_path"),
    "checkpoints": Names("--ckpt.path", "--ckpt_path"),
    "checkpoint_steps": Names("--ckpt.save_steps", "--save_steps"),
    "checkpoints_kept": Names("--ckpt.max_num", "--max_ckpt_num"),
    "resume": Names("--ckpt.load_enable", "--load_checkpoint"),
}


def parse_version(version: str) -> tuple[int, ...]:
    """`0.11.2` → (0, 11, 2); what follows the numbers (`rc1`, `.post1`) does not count."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def is_dotted(version: str) -> bool:
    """Whether this version knows the dotted names.

    Raises:
        SpecError: the version is older than the flags of the table.
    """
    if parse_version(version) < OLDEST:
        raise SpecError(
            f"OpenRLHF {version} is older than what is written for here",
            where="openrlhf.version",
            fix="install openrlhf 0.9.5 or later in the environment of openrlhf.interpreter",
        )
    return parse_version(version) >= DOTTED_SINCE


def arguments(values: Mapping[str, Value], version: str) -> list[str]:
    """Command-line arguments for these settings: keys of `FLAGS`; true is a bare flag, false none at all.

    Raises:
        SpecError: the version is too old.
        KeyError: a setting that the table does not have.
    """
    dotted, words = is_dotted(version), []
    for key, value in values.items():
        name = FLAGS[key].dotted if dotted else FLAGS[key].flat
        if value is False:
            continue
        words.append(name)
        if value is not True:
            words += [_written(one) for one in (value if isinstance(value, tuple) else (value,))]
    return words


def _written(value: str | float) -> str:
    return repr(value) if isinstance(value, float) else str(value)


LAUNCH, SLURM, RAY = "launch.sh", "slurm.sbatch", "ray.sh"
SUBMIT: Mapping[str, str] = {"slurm": f"sbatch {SLURM}", "ray": f"bash {RAY}"}


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
    write_text(folder / SLURM, _slurm_script(spec, per_node, folder, exported, processes_per_node))
    write_text(folder / RAY, _ray_script(spec, flags, folder, exported, processes_per_node))


def _slurm_script(spec: Spec, command: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
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


def _ray_script(spec: Spec, flags: Sequence[str], folder: Path, exported: str, processes_per_node: int) -> str:
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
    """What every process finds in its environment."""
    variables = {"TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_CACHE": "cache"}
    if spec.hardware.threads:
        variables["OMP_NUM_THREADS"] = str(spec.hardware.threads)
    if device == "cpu":
        variables["DS_ACCELERATOR"] = "cpu"
    # Executables of that environment first: DeepSpeed compiles its optimizer with the ninja that is found.
    tools = shlex.quote(str(interpreter_of(spec).parent))
    said = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([f'export PATH={tools}:"$PATH"', *said]) + "\n"


def _bash(command: str, folder: Path, exported: str, header: str = "") -> str:
    return f"#!/bin/bash\n{header}set -euo pipefail\ncd {shlex.quote(str(folder.resolve()))}\n{exported}{command}\n"


def _join(command: Sequence[str]) -> str:
    """As `shlex.join`, but what a shell is to expand stays as it is."""
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in command)


def launch_command(spec: Spec, flags: Sequence[str], *, processes_per_node: int) -> list[str]:
    """The command that starts every process it can reach: of all nodes (deepspeed) or of this one (torchrun)."""
    own, python = spec.openrlhf, str(interpreter_of(spec))
    if own.launcher == "deepspeed":
        # Without a name DeepSpeed takes /job/hostfile, where there is one.
        nodes = ["--hostfile", str(_absolute(own.hostfile) if own.hostfile else Path("/dev/null"))]
        count = ["--num_gpus", str(processes_per_node), "--master_port", str(own.port)]
        return [python, "-m", "deepspeed.launcher.runner", *nodes, *count, INSIDE, *flags]
    return [
        *[python, "-m", "torch.distributed.run", "--nproc_per_node", str(processes_per_node)],
        *["--rdzv_backend", "c10d", "--rdzv_endpoint", f"localhost:{own.port}"],
        *[INSIDE, *flags],
    ]


def node_command(spec: Spec, flags: Sequence[str], *, processes_per_node: int) -> list[str]:
    """The command that starts the processes of one node out of several, under Slurm; a shell fills in `$…`.

    Ranks are given, not found: torchrun's own rendezvous asks whether a name means this machine, and where the name
    means 127.0.0.1 no machine answers.
    """
    return [
        *[str(interpreter_of(spec)), "-m", "torch.distributed.run"],
        *["--nnodes", str(spec.hardware.nodes), "--nproc_per_node", str(processes_per_node)],
        *["--node_rank", "$SLURM_NODEID", "--master_addr", "$MASTER_ADDR", "--master_port", "$MASTER_PORT"],
        *[INSIDE, *flags],
    ]


def interpreter_of(spec: Spec) -> Path:
    """OpenRLHF's Python from wherever it is called; a link stays one, because that is how an environment is known."""
    return _absolute(str(spec.openrlhf.interpreter))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


PACKAGES = ("openrlhf", "deepspeed", "transformers", "torch", "datasets", "flash-attn", "ray")
_SECONDS = 120

_QUESTION = f"""
import importlib.metadata, json, sys
found = {{"python": sys.version.split()[0]}}
for name in {PACKAGES!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
devices = 0
if "torch" in found and "--devices" in sys.argv:
    import torch
    devices = torch.cuda.device_count()
print("\\n" + json.dumps({{"versions": found, "devices": devices}}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an interpreter says of itself: versions of `PACKAGES` that it has, and the GPUs that it sees."""

    versions: Mapping[str, str]
    devices: int


def versions_of_backend(spec: Spec) -> dict[str, str]:
    """Versions in OpenRLHF's environment, where the spec trains there and it is on this machine: part of the result."""
    if spec.backend != "openrlhf" or not interpreter_of(spec).is_file():
        return {}
    return {f"openrlhf: {name}": version for name, version in ask(interpreter_of(spec), devices=False).versions.items()}


def ask(interpreter: Path, *, devices: bool = True) -> Environment:
    """Ask an interpreter; counting devices takes the seconds that importing torch takes.

    Raises:
        SpecError: it does not run.
    """
    try:
        said = subprocess.run(  # noqa: S603 - the interpreter that the spec names
            [str(interpreter), "-c", _QUESTION, *(["--devices"] if devices else [])],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )
        answer = json.loads(said.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise SpecError(
            f"{str(interpreter)!r} does not run as a Python: {_last_line(error)}",
            where="openrlhf.interpreter",
            fix="write the path of bin/python of the environment in which openrlhf is installed",
        ) from error
    return Environment(answer["versions"], answer["devices"])


def resolve_version(spec: Spec, environment: Environment) -> str:
    """OpenRLHF's version: as found, which must be the stated one where the spec states one.

    Raises:
        SpecError: it is not installed there, or it is another one.
    """
    found, stated = environment.versions.get("openrlhf"), spec.openrlhf.version
    if found is None:
        raise SpecError(
            f"openrlhf is not installed for {spec.openrlhf.interpreter!r}",
            where="openrlhf.interpreter",
            fix="install it there (pip install openrlhf), or name another environment's Python",
        )
    if stated not in ("auto", found):
        raise SpecError(
            f"it is {stated!r}, and the interpreter has {found}",
            where="openrlhf.version",
            fix="write auto, or install the stated version there",
        )
    return found


def environment_of(spec: Spec) -> Environment:
    """The environment that a spec names, or what the spec states of one that is on other machines.

    Raises:
        SpecError: it is neither here nor stated, or does not run.
    """
    interpreter = interpreter_of(spec)
    if interpreter.is_file():
        environment = ask(interpreter)
        resolve_version(spec, environment)
        return environment
    elsewhere = spec.openrlhf.launcher in ("slurm", "ray")
    if elsewhere and spec.openrlhf.version != "auto":
        return Environment({"openrlhf": spec.openrlhf.version}, spec.hardware.devices_per_node or 0)
    raise SpecError(
        f"{str(interpreter)!r} is not a file on this machine",
        where="openrlhf.interpreter",
        fix="name the Python of OpenRLHF's environment; where it is on the cluster only, state openrlhf.version as well"
        if elsewhere
        else "write the path of bin/python of the environment in which openrlhf is installed",
    )


def _last_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[-1][:200]
