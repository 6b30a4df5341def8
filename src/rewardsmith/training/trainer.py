"""TRL's own `RewardTrainer`, given whole optimizer steps. `trl_backend` builds it and calls `train()`.

TRL's loss (`compute_loss`), optimizer, schedule, checkpoints and loop run unchanged. What this subclass does:

- A DataLoader item is a whole optimizer step (`StepSampler`), so that no pair is dropped or repeated at the tail.
- `training_step` cuts the step into micro-batches by tokens and weighs each by its share of the step's pairs. TRL
  averages micro-batch means, which weighs pairs unequally when micro-batches differ in size; here every pair weighs
  the same whatever the cut and however many processes share the step.
- Gradients are synchronised once a step, on the last micro-batch.
- A GPU is not waited for between micro-batches, but for the numbers that TRL's `compute_loss` reads of each: rewards
  are read when the step is written down, and the next step is laid out before that.
- Each step is written down with the rewards of all its pairs, gathered from all processes.
- A checkpoint is marked complete after its last file. The one before it stays until the next is to be written: it is
  what a resume falls back on, and there are never more than two on the disk.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from trl import RewardTrainer

from rewardsmith.allocation import keep_freed_memory
from rewardsmith.errors import ModelError
from rewardsmith.modeling.layouts import Layout, PairIds, Part, send_inputs
from rewardsmith.modeling.tree.token_tree import TreeLayout
from rewardsmith.records.training import StepMetrics
from rewardsmith.threads import plural_threads
from rewardsmith.training.metrics import step_metrics
from rewardsmith.training.plan import StepSampler, deal
from rewardsmith.training.progress import EpochClock
from rewardsmith.training.resume import mark_complete, remove_all_but, step_of

_LOOK_SECONDS = 10.0  # of steps, before their pace is judged
_LEAST_USED = 0.5  # of a thread's time: what is less was spent waiting

OnStep = Callable[[StepMetrics, list[int], NDArray[np.float64]], bool]
"""Called on every process with the step's metrics, its pairs and their margins; True stops training."""


class Step(NamedTuple):
    """One optimizer step: its pairs (the same on every process) and their indices among the kept pairs."""

    indices: list[int]
    pairs: list[PairIds]


class Seen(NamedTuple):
    """What one micro-batch showed: pairs, rewards (all chosen, then all rejected), tokens computed."""

    indices: list[int]
    rewards: torch.Tensor
    tokens: int


class WholeStepTrainer(RewardTrainer):
    """See the module's docstring. `prompts_P` numbers each pair's prompt; `on_step` is called after every step."""

    def __init__(
        self,
        *args: Any,
        sampler: StepSampler,
        prompts_P: NDArray[np.int64],
        layout: Layout,
        token_budget: int,
        fingerprint: str,
        on_step: OnStep,
        clock: EpochClock | None = None,
        note: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.prompts_P = prompts_P
        self.layout = layout
        self.token_budget = token_budget
        self.fingerprint = fingerprint
        self.on_step = on_step
        self.clock = clock or EpochClock(np.ones(len(prompts_P), dtype=np.int64), len(sampler), None)
        self.note = note
        self.kernels: Counter[str] = Counter()
        self._seen: list[Seen] = []
        self._started, self._cpu_started = 0.0, 0.0
        self.pace: Pace | None = None
        if self.args.device.type == "cpu":
            self.pace = Pace(torch.get_num_threads())
            keep_freed_memory()
        self._row: TreeLayout | None = None
        self._next: tuple[list[int], list[Part]] | None = None

    def get_train_dataloader(self) -> DataLoader[Step]:
        """Whole steps, the same on every process: `training_step` deals them out, so accelerate must not shard them."""
        return DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=_as_step)

    def training_step(self, model: Any, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one whole step; returns the sum of this process's weighted micro-batch losses."""
        del num_items_in_batch
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        self._seen = []
        model.train()
        parts = self._parts_of(inputs)
        mine = deal(parts, self.accelerator.num_processes)[self.accelerator.process_index]
        total = torch.zeros((), device=self.args.device)
        self.clock.begin_step(self.state.global_step, inputs.indices, len(mine))
        for turn, part in enumerate(mine, start=1):
            # Processes exchange gradients once a step, with its last micro-batch.
            with nullcontext() if turn == len(mine) else self.accelerator.no_sync(model):
                total += self._micro_step(model, inputs, part or parts[-1], counts=part is not None)
        self._lay_out_next(inputs)
        return total

    def _parts_of(self, step: Step) -> list[Part]:
        """The micro-batches of a step: laid out already while the one before was computed, or now."""
        ahead, self._next = self._next, None
        if ahead is not None and ahead[0] == step.indices:
            return ahead[1]
        return self.layout.cut(step.pairs, self.token_budget)

    def _lay_out_next(self, step: Step) -> None:
        """Cut the next step into micro-batches before this one's results are waited for."""
        indices = self.sampler.after(step.indices)
        if indices:
            rows = _as_step([self.train_dataset[index] for index in indices])
            self._next = (indices, self.layout.cut(rows.pairs, self.token_budget))

    def _micro_step(self, model: Any, step: Step, part: Part, *, counts: bool) -> torch.Tensor:
        """Forward and backward of some pairs of a step; at weight 0 where the turn does not count (see `deal`)."""
        share = len(part.indices) / len(step.pairs) if counts else 0.0
        inputs = send_inputs(part.inputs(), self.args.device)
        tokens = int(inputs["input_ids"].numel())
        row: TreeLayout | None = inputs.get("tree_layout")
        if row is not None and self._row is not None:
            row.prepare_like(self._row)
        self._row = row
        with self.compute_loss_context_manager(), self._without_gathering():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        # Data-parallel training averages gradients over processes; the step's loss is a mean over all of its pairs.
        loss = loss * share * self.accelerator.num_processes
        self.accelerator.backward(loss)
        if counts:
            indices = [step.indices[index] for index in part.indices]
            self._seen.append(Seen(indices, outputs.logits.detach().float().squeeze(-1), tokens))
            self.clock.micro_batch(indices, tokens)
            self._count_kernels(row)
        return cast("torch.Tensor", loss.detach())

    def _count_kernels(self, row: TreeLayout | None) -> None:
        name = "padded" if row is None else " + ".join(sorted(row.kernels))
        if name not in self.kernels and self.note is not None and self.args.device.type != "cpu":
            self.note(f"attention: {name}")
        self.kernels[name] += 1

    @contextmanager
    def _without_gathering(self) -> Iterator[None]:
        """Keep `compute_loss` from gathering its own metrics: processes hold unequal numbers of pairs."""
        if self.accelerator.num_processes == 1:
            yield
            return
        kept = self.accelerator.gather, self.accelerator.gather_for_metrics
        self.accelerator.gather = self.accelerator.gather_for_metrics = _same
        try:
            yield
        finally:
            self.accelerator.gather, self.accelerator.gather_for_metrics = kept

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every step with its loss, gradient norm and learning rate."""
        super().log(logs, start_time)
        if "loss" in logs:  # the last call of a run carries totals instead
            self._write_step(logs)

    def _write_step(self, logs: dict[str, float]) -> None:
        rewards = [one.rewards.cpu().chunk(2) for one in self._seen]  # the one wait of a step
        seen = [
            (one.indices, chosen.tolist(), rejected.tolist(), one.tokens)
            for one, (chosen, rejected) in zip(self._seen, rewards, strict=True)
        ]
        if self.accelerator.num_processes > 1:
            seen = gather_object(seen)
        self._seen = []
        if not math.isfinite(logs["loss"]):
            raise ModelError(
                f"the loss is {logs['loss']} at step {self.state.global_step}: training has diverged",
                where="training.learning_rate",
                fix="lower it, raise training.warmup, or train in float32; the last complete checkpoint is kept",
            )
        indices = [index for part, _, _, _ in seen for index in part]
        chosen_P = np.array([reward for _, part, _, _ in seen for reward in part])
        rejected_P = np.array([reward for _, _, part, _ in seen for reward in part])
        metrics = step_metrics(
            step=self.state.global_step,
            chosen=chosen_P,
            rejected=rejected_P,
            prompts=len(np.unique(self.prompts_P[indices])),
            tokens=sum(tokens for _, _, _, tokens in seen),
            loss=float(logs["loss"]),
            grad_norm=float(logs["grad_norm"]) if "grad_norm" in logs else None,
            learning_rate=float(logs["learning_rate"]),
            seconds=time.perf_counter() - self._started,
        )
        self.clock.end_step()
        slow = self.pace.observe(metrics.seconds, time.process_time() - self._cpu_started) if self.pace else ""
        if slow and self.note is not None:
            self.note(slow)
        if self.on_step(metrics, indices, chosen_P - rejected_P):
            self.control.should_training_stop = True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            # Room first: beside the checkpoint that is written now the newest one before it stays.
            remove_all_but(folder.parent, keep=max(folder.parent.glob("checkpoint-*"), key=step_of, default=None))
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            # Behind the barrier: the marker hashes the random states of the other processes too.
            mark_complete(folder, self.fingerprint)

    def _send_telemetry(self) -> None:
        """No ping to TRL's usage counter when a trainer is built: a reward model's owner did not ask for that.

        `HF_HUB_DISABLE_TELEMETRY` is read when huggingface_hub is imported, which is long before.
        """

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card from TRL: its snippet squashes the reward through a sigmoid and skips the chat template."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here: upstream's estimate takes `input_ids` of one batch, and a step is not one."""
        del inputs
        return 0


def _as_step(rows: list[dict[str, Any]]) -> Step:
    return Step(
        [int(row["index"]) for row in rows],
        [PairIds(np.asarray(row["chosen_ids"]), np.asarray(row["rejected_ids"])) for row in rows],
    )


def _same(value: Any, *_: Any, **__: Any) -> Any:
    return value


class Pace:
    """Compares the steps' wall time with their CPU time, and says once where other work keeps them waiting.

    Every operation waits for the slowest of its threads. Where others keep the cores busy, that wait is what a step
    consists of (`rewardsmith.threads` has the numbers).
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._wall, self._cpu = 0.0, 0.0
        self._said = False

    def observe(self, wall: float, cpu: float) -> str:
        """Seconds of a step and of its CPU time, all threads together; a warning with its remedy, mostly empty."""
        self._wall, self._cpu = self._wall + wall, self._cpu + cpu
        if self._said or self._wall < _LOOK_SECONDS:
            return ""
        used, self._wall, self._cpu = self._cpu / self._wall, 0.0, 0.0
        if used >= _LEAST_USED * self.threads:
            return ""
        self._said = True
        return (
            f"warning: training gets {used:.1f} cores for its {plural_threads(self.threads)}: other work has the rest. "
            f"{self._remedy(used)}"
        )

    def _remedy(self, used: float) -> str:
        if self.threads == 1:
            return f"Steps take {1 / max(used, 0.01):.1f} times as long as they would alone; end the other work"
        return (
            "Each operation waits for the slowest thread. End the other work; or stop, and start again with "
            f"OMP_WAIT_POLICY=PASSIVE, or with hardware.threads: {max(1, round(used))} in the spec"
        )
