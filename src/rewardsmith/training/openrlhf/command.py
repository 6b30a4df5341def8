"""The plan as one command: `train_rm`'s flags, and the launcher in front of them.

    flags = train_flags(spec, plan, version, max_length=512)
    command = launch_command(spec, flags, processes_per_node=8)

Every path is relative: the command runs in `train/openrlhf/` of the run directory, because OpenRLHF parts the names of
data sets at `,` and `@`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewardsmith.spec import Spec
from rewardsmith.training.openrlhf.flags import Value, arguments
from rewardsmith.training.plan import TrainingPlan

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


def interpreter_of(spec: Spec) -> Path:
    """OpenRLHF's Python from wherever it is called; a link stays one, because that is how an environment is known."""
    return _absolute(str(spec.openrlhf.interpreter))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


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
