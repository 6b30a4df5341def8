"""Weights & Biases: online, or with `WANDB_MODE=offline` into `RUN/wandb/`, which `wandb sync` sends later.

Project, entity and key are wandb's own (`$WANDB_PROJECT`, `$WANDB_ENTITY`, `wandb login`); the project is "rewardsmith"
where none is named. Nothing is sent but the numbers and the compared settings: no console, code, git state, machine
statistics or list of packages.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

import wandb

from rewardsmith.training.trackers import TrackedRun


def open_run(run: TrackedRun) -> WandbRun:
    """Start a run, or continue the one with this id."""
    name = run.id or uuid.uuid4().hex[:8]
    opened = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "rewardsmith"),
        name=run.name,
        id=name,
        resume="allow",
        dir=str(run.folder),
        config=dict(run.settings),
        settings=wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )
    return WandbRun(name, opened)


class WandbRun:
    """An open run of Weights & Biases."""

    def __init__(self, name: str, run: Any) -> None:
        self.id = name
        self._run = run

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """All numbers of one step."""
        self._run.log(dict(numbers), step=step)

    def finish(self, passed: bool | None) -> None:
        """Write what is left. A run whose gates fail is a finished run: its verdict stands in its summary."""
        if passed is not None:
            self._run.summary["passed"] = passed
        self._run.finish()
