"""What training writes down: a line per optimizer step, and the margin of every pair at the step that met it.

`train/metrics.jsonl` holds one `StepMetrics` a line. `train/margins.jsonl` holds, per step, the indices of its pairs
among the kept pairs and their margins before the step changed the weights; the margin monitor reads its suspects from
it. Both are cut back to the resumed step when a killed run continues.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.records import StepMetrics, read_jsonl, to_json, write_text

Floats = NDArray[np.float64]


def step_metrics(
    *,
    step: int,
    chosen: Floats,
    rejected: Floats,
    prompts: int,
    tokens: int,
    loss: float,
    grad_norm: float | None,
    learning_rate: float,
    seconds: float,
) -> StepMetrics:
    """Metrics of one step from the rewards of its pairs, shape (pairs,) each. Equal rewards count as half right."""
    margins, rewards = chosen - rejected, np.concatenate([chosen, rejected])
    low, middle, high = np.quantile(margins, [0.1, 0.5, 0.9])
    return StepMetrics(
        step=step,
        pairs=len(margins),
        prompts=prompts,
        tokens=tokens,
        loss=loss,
        accuracy=float(np.mean(margins > 0) + 0.5 * np.mean(margins == 0)),
        margin_mean=float(margins.mean()),
        margin_p10=float(low),
        margin_p50=float(middle),
        margin_p90=float(high),
        reward_mean=float(rewards.mean()),
        reward_std=float(rewards.std()),
        reward_min=float(rewards.min()),
        reward_max=float(rewards.max()),
        grad_norm=grad_norm,
        learning_rate=learning_rate,
        seconds=seconds,
        pairs_per_second=len(margins) / seconds,
        tokens_per_second=tokens / seconds,
    )


def read_steps(folder: Path) -> list[StepMetrics]:
    """Every whole line of `metrics.jsonl` in a run's `train/`; none where there is no such file."""
    return [StepMetrics.model_validate(row) for row in _whole_rows(folder / "metrics.jsonl")]


class StepLog:
    """The two files of a training run, appended a step at a time and flushed, so that a kill loses no finished step."""

    def __init__(self, folder: Path) -> None:
        self.metrics_file = folder / "metrics.jsonl"
        self.margins_file = folder / "margins.jsonl"

    def cut_to(self, step: int) -> list[StepMetrics]:
        """Drop everything after `step` (a half-written last line included); returns the steps that remain."""
        kept = [StepMetrics.model_validate(row) for row in _whole_rows(self.metrics_file) if row["step"] <= step]
        margins = [row for row in _whole_rows(self.margins_file) if row["step"] <= step]
        write_text(self.metrics_file, "".join(to_json(row, indent=None) + "\n" for row in kept))
        write_text(self.margins_file, "".join(json.dumps(row) + "\n" for row in margins))
        return kept

    def holds(self, step: int) -> bool:
        """Whether both files have every step up to `step` once."""
        wanted = list(range(1, step + 1))
        return all(
            [row["step"] for row in _whole_rows(file) if row["step"] <= step] == wanted
            for file in (self.metrics_file, self.margins_file)
        )

    def append(self, metrics: StepMetrics, pairs: list[int], margins: Floats) -> None:
        """Add one step."""
        row = {"step": metrics.step, "pairs": pairs, "margins": [float(f"{margin:.6g}") for margin in margins]}
        with self.margins_file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        with self.metrics_file.open("a", encoding="utf-8") as handle:
            handle.write(to_json(metrics, indent=None) + "\n")

    def margins(self) -> list[dict[str, Any]]:
        """All steps of `margins.jsonl`."""
        return list(read_jsonl(self.margins_file)) if self.margins_file.exists() else []


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return list(read_jsonl(path, growing=True))  # the last line may have been being written when the process was killed
