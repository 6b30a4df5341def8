"""Takes what OpenRLHF's processes wrote into the step log and the margin monitor, while they run.

watch = Watch(job, setup)
watch.look()                # True when the monitor says that training must stop
"""

from __future__ import annotations

import numpy as np

from rewardsmith import bradley_terry
from rewardsmith.errors import ModelError
from rewardsmith.training.conclusion import number_prompts
from rewardsmith.training.metrics import StepLog, step_metrics
from rewardsmith.training.monitor import MarginMonitor
from rewardsmith.training.openrlhf.progress import Begun, Stepped, StepReader
from rewardsmith.training.openrlhf.setup import Setup
from rewardsmith.training.trl_backend import TrainJob


class Watch:
    """Takes what the processes wrote into the step log and the margin monitor."""

    def __init__(self, job: TrainJob, setup: Setup) -> None:
        self._job, self._setup = job, setup
        self._prompts_P = number_prompts(job.pairs)
        self._reader = StepReader(setup.folder / "steps", setup.processes)
        self.log = StepLog(job.folder)
        self.resumed = 0
        self._begin(0)

    def _begin(self, step: int) -> None:
        seen = self.log.cut_to(step)
        self.monitor = MarginMonitor(self._job.spec.training.monitor, self._setup.plan.steps, seen)
        self.resumed = step

    def look(self) -> bool:
        """Take in what is new; True when the monitor says that training must stop.

        Raises:
            ModelError: the loss is no number, or other token ids than ours were read.
        """
        for event in self._reader.read():
            if isinstance(event, Begun):
                self._begin(event.step)
            elif self._step(event):
                return True
        return False

    def _step(self, stepped: Stepped) -> bool:
        rows = self._setup.dealt.verify(stepped)
        indices = [self._setup.index[row] for row in rows]
        chosen, rejected = np.array(stepped.all("chosen")), np.array(stepped.all("rejected"))
        if not (np.isfinite(chosen).all() and np.isfinite(rejected).all()):
            raise ModelError(
                f"a reward is no number at step {stepped.step}: training has diverged",
                where="training.learning_rate",
                fix="lower it or raise training.warmup",
            )
        first = stepped.rows[0]
        metrics = step_metrics(
            step=stepped.step,
            chosen=chosen,
            rejected=rejected,
            prompts=len(np.unique(self._prompts_P[indices])),
            tokens=sum(row["tokens"] for row in stepped.rows),
            loss=bradley_terry.loss(chosen, rejected),
            grad_norm=first["grad_norm"],
            learning_rate=first["lr"],
            seconds=first["seconds"],
        )
        self.log.append(metrics, indices, chosen - rejected)
        if self._job.announce is not None:
            self._job.announce(metrics, self._setup.plan.steps)
        return self.monitor.observe(metrics)
