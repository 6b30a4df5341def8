"""What the OpenRLHF backend needs beyond the training section: its own environment, how it is started, ZeRO.

OpenRLHF's pins (transformers, deepspeed, flash-attn, ray) conflict with ours, so it lives in an environment of its own,
named by the path of its Python. Processes are `hardware.nodes` times `hardware.devices_per_node`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewardsmith.spec.section import Section


class OpenRLHFSpec(Section):
    """How `backend: openrlhf` runs. Left alone by the other backend."""

    interpreter: str | None = Field(None, min_length=1)
    """Python of the environment that OpenRLHF is installed in, for example /opt/openrlhf/bin/python."""
    version: Annotated[str, Field(pattern=r"^(auto|[0-9]+(\.[0-9]+)+[a-z0-9.]*)$")] = "auto"
    """It decides the names of the flags. `auto` asks the interpreter; state it where that is on other machines."""
    launcher: Literal["deepspeed", "torchrun", "slurm", "ray"] = "deepspeed"
    """`deepspeed` and `torchrun` start here; `slurm` and `ray` write a script to submit; call again when it is done."""
    hostfile: str | None = Field(None, min_length=1)
    """DeepSpeed's hostfile (`HOST slots=8` a line), needed by `deepspeed` on several nodes."""
    port: int = Field(29500, ge=1024, le=65535)
    """Port at which the processes meet."""
    slurm_options: tuple[Annotated[str, Field(pattern=r"^--?[A-Za-z]")], ...] = ()
    """Lines for the Slurm script, for example `--partition=gpu`."""
    zero_stage: Literal[0, 2, 3] = 3
    """DeepSpeed's ZeRO stage: 2 shards gradients and optimizer, 3 the weights as well."""
    pairs_per_micro_batch: int = Field(1, ge=1)
    """Pairs of one forward pass on each device."""
    offload_optimizer: bool = False
    """Keep the optimizer's state in CPU memory."""
    packing: bool = False
    """Lay the texts of a micro-batch out without padding; needs flash attention."""
