"""Layer 2 of the spec: the base model, the adapter on it, the policy that the rewards will train, and the machine.

The base and the policy are compared here by the numbers that the user states; `modeling` counts them from their configs
when nothing is stated, and asks `compare_sizes` again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rewardsmith.spec.section import ParameterCount, Section, only


class BaseModelSpec(Section):
    """The pretrained transformer that gets the reward head."""

    id: str = Field("embedded", min_length=1)
    """Hub id, a folder with a checkpoint, or `embedded` (a few million parameters, built here, no download)."""
    revision: str | None = None
    """Hub revision: a commit keeps runs reproducible."""
    parameters: ParameterCount | None = None
    """Stated size, for example 8B. Counted from the config when left out."""
    family: str | None = None
    """Architecture family, for example qwen3. Read from the config when left out."""
    chat_template: str | None = None
    """File with a Jinja chat template that replaces the tokenizer's own."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Type of the weights in training. Full training wants float32; `auto` is the base's own, float32 for float16."""
    head: Literal["keep", "new"] = "keep"
    """`keep` trains on with a reward head that the base has, and refuses one of another shape; `new` draws another."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Attention kernel of the padded layout."""
    trust_remote_code: Annotated[
        Literal[False],
        only(False, "code from a model repository would run on this machine; weights are safetensors only"),
    ] = False
    """Always false: code from a model repository would run on this machine."""


class NoAdapter(Section):
    """All weights are trained."""

    kind: Literal["none"] = "none"
    """All weights are trained."""


class LoraAdapter(Section):
    """Low-rank adapters on the linear layers; the reward head is trained in full and always saved."""

    kind: Literal["lora"] = "lora"
    """Low-rank adapters; the reward head is trained in full and always saved."""
    rank: int = Field(16, ge=1)
    """Rank of each adapter: more capacity, more memory."""
    alpha: float = Field(32.0, gt=0)
    """Scale: an adapter's output is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input. Above 0 the two responses of a pair are read through different weights."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Layers that get an adapter: `all-linear`, or a list of module names."""


class QloraAdapter(LoraAdapter):
    """LoRA on a base held in 4 bits (NF4, double quantisation). Needs a CUDA device and the extra `qlora`."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    """LoRA on a base held in 4 bits; needs a CUDA device and the extra `qlora`."""
    compute_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Type in which the 4-bit weights are multiplied."""


def _kind_or_none(value: Any) -> Any:
    """An `adapter:` line with nothing under it trains all weights."""
    return {"kind": "none"} if value is None else value


AdapterSpec = Annotated[
    NoAdapter | LoraAdapter | QloraAdapter, Field(discriminator="kind"), BeforeValidator(_kind_or_none)
]


class PolicySpec(Section):
    """The model that the rewards will train. A reward model larger than its policy is refused."""

    id: str | None = None
    """Hub id or folder: its parameters and family are read from its config when not stated."""
    revision: str | None = None
    """Hub revision of its config."""
    parameters: ParameterCount | None = None
    """Stated size, for example 8B."""
    family: str | None = None
    """Architecture family. Another family than the base's is a warning: lineage matters as much as the score."""


class HardwareSpec(Section):
    """Where training and scoring run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes the accelerator where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. `auto`: bfloat16 autocast where the device has it, float32 on a CPU."""
    nodes: int = Field(1, ge=1)
    """Number of machines. With several, `backend: trl` trains under Ray (extra `ray`)."""
    devices_per_node: int | None = Field(None, ge=1)
    """Number of devices of a machine. On one machine it is for planning; `workers` or `accelerate launch` decides."""
    workers: int | None = Field(None, ge=1)
    """Training processes on all machines; several run under Ray. Left out: one per device of several machines."""
    sharding: Literal["auto", "ddp", "fsdp"] = "auto"
    """What a worker holds: all weights (`ddp`) or a share (`fsdp`). `auto`: shares, where all do not fit a device."""
    ray_address: str | None = None
    """A Ray cluster to join: `host:port`, or `auto`. Left out: `$RAY_ADDRESS`, else one is started on this machine."""
    shared_storage: str | None = None
    """A folder that all machines see, for checkpoints while training. Left out: the run directory."""
    restarts: int = Field(3, ge=0)
    """How often workers are started again from the last complete checkpoint when one of them dies."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory of one device in GiB, for planning."""
    threads: int | None = Field(None, ge=1, le=4096)
    """CPU threads. Left out: OMP_NUM_THREADS where it is set, else as many as cores are free when the command starts;
    state it where a run must give the same bits again."""


def compare_sizes(base: int | None, policy: int | None) -> str | None:
    """Why a base of `base` parameters may not reward a policy of `policy` parameters; None when it may."""
    if base is None or policy is None or base <= policy:
        return None
    return (
        f"the base has {base:,} parameters and the policy {policy:,}. A reward model larger than its policy costs more "
        "than the policy to run at every rollout. Choose a base of at most the policy's size, or correct the number"
    )
