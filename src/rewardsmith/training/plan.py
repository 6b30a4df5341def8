"""The spec's training section resolved to numbers, which pairs each step takes, and what decides the weights.

    plan = make_plan(spec, pairs=4224, device="cpu", bf16_supported=False)
    plan.steps, plan.warmup_steps, plan.bf16 …
    sampler = StepSampler(order_pairs(number_prompts(pairs), plan.order, plan.seed), plan.pairs_per_step)

Neutral to the backend: TRL and OpenRLHF are told the same numbers.

A step is a slice of one order of all pairs, so that it does not depend on the number of processes, on micro-batches or
on where a killed run resumes. The last step takes what is left: no pair is dropped, none comes twice.

    shuffled    a seeded permutation of the pairs
    by_prompt   a seeded permutation of the prompts, and of the pairs of each: pairs of one prompt are neighbours, and
                a step computes what they share once (Ouyang et al. 2022, section 3.5, take all comparisons of a
                prompt together, which also overfits less). A prompt is parted only where a step ends.
    as_given    the order of sources and rows
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import SpecError
from rewardsmith.spec import Spec, digest
from rewardsmith.types import Conversation, PreferencePair

Part = TypeVar("Part")
Order = Literal["shuffled", "by_prompt", "as_given"]

MICRO_BATCH_TOKENS = {"cpu": 2048}
"""Tokens of a micro-batch that a device computes fastest: on a CPU its activations then stay in the cache.

On a GPU the planner's memory formula says how many fit (`planning.backend.auto_tokens`); 16,384 without a planner.
"""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One epoch in numbers. `warmup_steps` of `steps` raise the learning rate; `bf16` is the compute type."""

    pairs: int
    pairs_per_step: int
    steps: int
    warmup_steps: int
    learning_rate: float
    schedule: str
    token_budget: int
    bf16: bool
    device: str
    seed: int
    order: Order = "shuffled"


def make_plan(
    spec: Spec, *, pairs: int, device: str, bf16_supported: bool, auto_tokens: int | None = None
) -> TrainingPlan:
    """Resolve the training section for `pairs` kept pairs on a kind of device.

    Args:
        auto_tokens: of a micro-batch where the spec says `auto`, as the planner reckoned; else the device's own.
    """
    training = spec.training
    tokens = training.tokens_per_micro_batch
    steps = math.ceil(pairs / training.pairs_per_step)
    wanted = spec.hardware.precision
    return TrainingPlan(
        pairs=pairs,
        pairs_per_step=training.pairs_per_step,
        steps=steps,
        warmup_steps=math.ceil(training.warmup * steps),
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        token_budget=(auto_tokens or MICRO_BATCH_TOKENS.get(device, 16384)) if tokens == "auto" else tokens,
        bf16=wanted == "bfloat16" or (wanted == "auto" and bf16_supported and device != "cpu"),
        device=device,
        seed=spec.training_seed,
        order=training.order,
    )


def number_prompts(pairs: Sequence[PreferencePair]) -> NDArray[np.int64]:
    """A number for each pair's prompt; pairs without a prompt have one each."""
    numbers: dict[Conversation | int, int] = {}
    keys = [pair.prompt or index for index, pair in enumerate(pairs)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def order_pairs(prompts_P: NDArray[np.int64], order: Order, seed: int) -> NDArray[np.int64]:
    """Indices of all pairs in the order of training; `prompts_P` numbers the prompt of each pair."""
    rng = np.random.default_rng(seed)
    if order == "as_given":
        return np.arange(len(prompts_P))
    shuffled_P = rng.permutation(len(prompts_P))
    if order == "shuffled":
        return shuffled_P
    _, prompt_of_P = np.unique(prompts_P, return_inverse=True)
    rank_of_prompt = rng.permutation(int(prompt_of_P.max(initial=-1)) + 1)
    return shuffled_P[np.argsort(rank_of_prompt[prompt_of_P[shuffled_P]], kind="stable")]


class StepSampler:
    """Batch sampler for a DataLoader: yields the indices of one optimizer step at a time, all processes the same."""

    def __init__(self, order_P: NDArray[np.int64], pairs_per_step: int) -> None:
        self.order_P = order_P
        self.pairs_per_step = pairs_per_step
        self._start_of: dict[int, int] | None = None

    def __len__(self) -> int:
        return -(-len(self.order_P) // self.pairs_per_step)

    def first(self, steps: int) -> list[int]:
        """The indices of the pairs of the first so many steps."""
        found: list[int] = self.order_P[: steps * self.pairs_per_step].tolist()
        return found

    def after(self, indices: list[int]) -> list[int]:
        """The indices of the step that follows this one; empty after the last."""
        if self._start_of is None:
            self._start_of = {step[0]: place for place, step in enumerate(self)}
        place = self._start_of[indices[0]] + 1
        following: list[int] = self.order_P[place * self.pairs_per_step : (place + 1) * self.pairs_per_step].tolist()
        return following

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.order_P), self.pairs_per_step):
            yield self.order_P[start : start + self.pairs_per_step].tolist()


def deal(parts: list[Part], processes: int) -> list[list[Part | None]]:
    """Micro-batches of one step for each process, equally many for each: `None` is a turn with nothing to do.

    Equal counts matter because sharded models exchange weights in every forward pass: a process that skipped one
    would leave the others waiting. Parts come largest first, so that dealing them in turn balances the load.
    """
    turns = -(-len(parts) // processes)
    padded: list[Part | None] = [*parts, *([None] * (turns * processes - len(parts)))]
    return [padded[rank::processes] for rank in range(processes)]


def refuse_data_parallel(visible: int, *, processes: int) -> None:
    """Refuse one process that sees several GPUs: transformers would split each batch over them (`DataParallel`).

    A row of token trees cannot be split, and a distributed run is one process a GPU.

    Args:
        visible: GPUs that this process sees.
        processes: of the distributed run (`WORLD_SIZE`), 0 outside of one.

    Raises:
        SpecError: several GPUs, one process.
    """
    if visible > 1 and not processes:
        raise SpecError(
            f"this process sees {visible} GPUs and would train on one row of trees split over them",
            where="hardware",
            fix=f"accelerate launch --num_processes {visible} -m rewardsmith train SPEC; or CUDA_VISIBLE_DEVICES=0",
        )


# What may change without changing the weights: a killed run resumes and a finished one is not trained again.
_NOT_WEIGHTS = {"monitor", "checkpoint_every_steps", "reward_range", "seeds"}


def weights_fingerprint(spec: Spec, *, data_fingerprint: str, base_fingerprint: str, versions: dict[str, str]) -> str:
    """SHA-256 of everything that decides the trained weights: spec, kept pairs and their order, base, code."""
    content = spec.model_dump(mode="json", include={"base_model", "adapter", "hardware", "backend", "seed"})
    content["hardware"] = {name: content["hardware"][name] for name in ("device", "precision", "threads")}
    content["training"] = spec.training.model_dump(mode="json", exclude=_NOT_WEIGHTS)
    if spec.training.seeds:  # as a run of the first seed alone would say it: adding seeds trains nothing again
        content["training"]["seed"] = None if spec.training_seed == spec.seed else spec.training_seed
    if spec.training.tokens_per_micro_batch == "auto":  # as it was written before it had a name
        content["training"]["tokens_per_micro_batch"] = None
    content["export"] = spec.export.model_dump(mode="json")
    if spec.backend == "openrlhf":
        decides = {"version", "zero_stage", "pairs_per_micro_batch", "offload_optimizer", "packing"}
        content["openrlhf"] = spec.openrlhf.model_dump(mode="json", include=decides)
    content["rendering"] = spec.data.model_dump(mode="json", include={"strings", "max_length", "over_length"})
    content |= {"data": data_fingerprint, "base": base_fingerprint, "versions": versions}
    return digest(content)
