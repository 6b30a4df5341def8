"""Layer 3 of the spec: one epoch of Bradley-Terry, what watches over it, and what the OpenRLHF backend needs beyond it.

OpenRLHF's pins (transformers, deepspeed, flash-attn, ray) conflict with ours, so it lives in an environment of its own,
named by the path of its Python. Processes are `hardware.nodes` times `hardware.devices_per_node`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from rewardsmith.spec.section import Fraction, Refusal, Section, only


class MonitorSpec(Section):
    """The margin monitor: a trend test on the mean margin of each step."""

    on_stall: Literal["ignore", "warn", "stop"] = "warn"
    """What follows when the margin does not rise."""
    on_collapse: Literal["ignore", "warn", "stop"] = "stop"
    """What follows when the margin falls significantly, or all rewards become equal."""
    min_steps: int = Field(20, ge=8)
    """No verdict before this many steps."""
    after: Fraction = 0.5
    """No stop before this share of the epoch."""
    alpha: float = Field(0.01, gt=0.0, lt=0.5)
    """Significance level of the trend test."""


class TrainingSpec(Section):
    """One epoch over the pairs with the Bradley-Terry loss."""

    epochs: Annotated[
        Literal[1],
        only(1, "preferences are memorised in a second pass; more data helps where more epochs do not"),
    ] = 1
    """Always 1: preferences are memorised in a second pass."""
    loss: Annotated[
        Literal["bradley_terry"],
        only("bradley_terry", "the loss is -log sigmoid(r_chosen - r_rejected), its mean over pairs"),
    ] = "bradley_terry"
    """Always bradley_terry: -log sigmoid(r_chosen - r_rejected), its mean over pairs."""
    pairs_per_step: int = Field(64, ge=1)
    """Pairs per optimizer step, over all processes."""
    order: Literal["shuffled", "by_prompt", "as_given"] = "shuffled"
    """`by_prompt` shuffles prompts and keeps the pairs of each together, to share more; `as_given` keeps the file's."""
    tokens_per_micro_batch: Annotated[
        Annotated[int, Field(ge=64)] | Literal["auto"],
        BeforeValidator(lambda value: "auto" if value is None else value),
    ] = "auto"
    """Most tokens of a micro-batch: memory and speed, never the result. `auto`: 2,048 on a CPU, on a GPU what fits."""
    learning_rate: float = Field(1e-5, gt=0.0)
    """Highest learning rate. An adapter or a very small model bears ten times more."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup: Fraction = 0.03
    """Share of steps over which the learning rate rises."""
    weight_decay: float = Field(0.0, ge=0.0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """Longer gradients are scaled down to this norm."""
    gradient_checkpointing: bool = False
    """Trade compute for memory."""
    layout: Literal["auto", "padded", "tree"] = "auto"
    """How a batch is laid out; the result is the same to rounding. `auto` takes the token tree where the model can."""
    reward_range: tuple[float, float] | None = (-25.0, 25.0)
    """Expected range of rewards; leaving it is a finding."""
    monitor: MonitorSpec = Field(default_factory=MonitorSpec)
    checkpoint_every_steps: int | None = Field(200, ge=1)
    """A killed run continues from its last checkpoint. `null`: none."""
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    """Order of pairs and initial head; the spec's seed when left out."""
    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = ()
    """Train once for each seed and show how far scores differ. The first is the run's own model. Empty: one model."""

    @model_validator(mode="after")
    def _seeds_are_several_and_the_only_ones(self) -> TrainingSpec:
        if self.seeds and self.seed is not None:
            raise Refusal(
                f"training.seed is {self.seed} as well, and the first of the seeds is the run's own",
                "delete training.seed, and put the run's own seed first",
                field=("seeds",),
            )
        if len(self.seeds) == 1 or len(set(self.seeds)) < len(self.seeds):
            found = "one seed has no spread" if len(self.seeds) == 1 else "equal seeds train equal models"
            raise Refusal(found, "write at least two different seeds, or leave the line out", field=("seeds",))
        return self

    @model_validator(mode="after")
    def _range_in_order(self) -> TrainingSpec:
        if self.reward_range and self.reward_range[0] >= self.reward_range[1]:
            low, high = self.reward_range
            raise Refusal(f"{low} is not below {high}", "write the lower bound first", field=("reward_range",))
        return self


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
