"""What training writes down of each step, and the monitor that judges it: does the margin rise, and if not, why?

    log = StepLog(folder)
    monitor = MarginMonitor(spec.training.monitor, plan.steps, seen=log.cut_to(resumed))
    log.append(metrics, indices, margins); stop = monitor.observe(metrics)               # after each step
    record = monitor.conclude(log.margins(), pairs)

`train/metrics.jsonl` holds one `StepMetrics` a line. `train/margins.jsonl` holds, per step, the indices of its pairs
among the kept pairs and their margins before the step changed the weights; the monitor reads its suspects from it.
Both are cut back to the resumed step when a killed run continues.

Step means of the margin are noisy and autocorrelated, so single falls mean little. The monitor counts them, and judges
by a rank test for a monotone trend (Mann-Kendall with a correction for autocorrelation, slope by Theil-Sen; see
`statistics.trend_test`): it assumes no distribution, and one outlying step cannot decide it.

    learning   the trend rises, or the margin is steadily above zero
    stall      no rising trend, and the margin of the second half is not above zero (one-sided t-test)
    collapse   the trend falls, or all rewards have become equal

A stall or a collapse is explained as a matter of data. Over one epoch every pair is met once, before the model has
learned it, so its margin says how the *other* pairs predict it: the pairs that are ranked most confidently against
their label are the suspects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rewardsmith.records.files import read_jsonl, to_json, write_text
from rewardsmith.records.training import MonitorRecord, StepMetrics, SuspectPair, TrendTest
from rewardsmith.spec import MonitorSpec
from rewardsmith.statistics import trend_test
from rewardsmith.types import PreferencePair

Floats = NDArray[np.float64]
Conclusion = Literal["learning", "stall", "collapse", "too short"]

SUSPECTS = 20
_EQUAL = 1e-6  # a reward spread below this is no spread at all, in float32


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


def read_steps(folder: Path) -> list[StepMetrics]:
    """Every whole line of `metrics.jsonl` in a run's `train/`; none where there is no such file."""
    return [StepMetrics.model_validate(row) for row in _whole_rows(folder / "metrics.jsonl")]


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return list(read_jsonl(path, growing=True))  # the last line may have been being written when the process was killed


class MarginMonitor:
    """Watches the steps of one run; `observe` says whether to stop."""

    def __init__(self, rules: MonitorSpec, total_steps: int, seen: Sequence[StepMetrics] = ()) -> None:
        self.rules = rules
        self.total_steps = total_steps
        self.steps = list(seen)
        self.stopped = False

    def observe(self, metrics: StepMetrics) -> bool:
        """Take one step in; True when the spec says that training must stop here."""
        self.steps.append(metrics)
        # Some fifty looks an epoch: each more is one more chance of a false alarm, and a trend test over all steps.
        every = max(1, self.total_steps // 50)
        due = len(self.steps) >= max(self.rules.min_steps, self.rules.after * self.total_steps)
        if not due or len(self.steps) % every or len(self.steps) >= self.total_steps:
            return False
        actions = {"stall": self.rules.on_stall, "collapse": self.rules.on_collapse}
        self.stopped = actions.get(conclusion(self.steps, self.rules)[0]) == "stop"
        return self.stopped

    def conclude(self, margins: Sequence[dict[str, Any]], pairs: Sequence[PreferencePair]) -> MonitorRecord:
        """The verdict on all steps seen, with suspects where the margin did not rise.

        Args:
            margins: rows of `margins.jsonl`.
            pairs: the kept training pairs that its indices point into.
        """
        verdict, trend = conclusion(self.steps, self.rules)
        means = np.array([step.margin_mean for step in self.steps])
        suspects = find_suspects(margins, pairs)
        return MonitorRecord(
            steps=len(self.steps),
            falls=int(np.sum(np.diff(means) < 0)),
            trend=trend,
            verdict=verdict,
            stopped=self.stopped,
            advice=_advice(verdict, suspects) if verdict in ("stall", "collapse") else "",
            suspects=suspects,
        )


def conclusion(steps: Sequence[StepMetrics], rules: MonitorSpec) -> tuple[Conclusion, TrendTest]:
    """The verdict on a series of steps, and the trend test behind it."""
    means = np.array([step.margin_mean for step in steps])
    found = trend_test(means, alpha=rules.alpha)
    trend = TrendTest(
        method=found.method,
        n=found.n,
        slope_per_step=found.slope,
        slope_low=found.slope_low,
        slope_high=found.slope_high,
        p_value=found.p_value,
        direction=found.direction,
    )
    if len(steps) < rules.min_steps or found.direction == "too short":
        return "too short", trend
    recent = steps[-max(3, len(steps) // 10) :]
    if found.direction == "falling" or all(step.reward_std < _EQUAL for step in recent):
        return "collapse", trend
    if found.direction == "rising" or _above_zero(means[len(means) // 2 :], rules.alpha):
        return "learning", trend
    return "stall", trend


def find_suspects(margins: Sequence[dict[str, Any]], pairs: Sequence[PreferencePair]) -> tuple[SuspectPair, ...]:
    """Pairs of the second half of the epoch that were ranked most confidently against their label, worst first.

    Margins are compared in units of their own step's standard deviation, because rewards spread as training goes on.
    """
    half = list(margins)[len(margins) // 2 :]
    scored = [
        (margin / spread, margin, index, row["step"])
        for row in half
        if (spread := float(np.std(row["margins"]))) > 0
        for index, margin in zip(row["pairs"], row["margins"], strict=True)
        if margin < 0
    ]
    return tuple(
        SuspectPair(
            id=pairs[index].id, source=pairs[index].source, subset=pairs[index].subset, step=step, margin=margin
        )
        for _, margin, index, step in sorted(scored)[:SUSPECTS]
    )


def _above_zero(values: np.ndarray[Any, np.dtype[np.float64]], alpha: float) -> bool:
    # The t statistic of equal values divides by 0.
    if len(values) < 3 or np.ptp(values) == 0:
        return bool(len(values) > 0 and np.all(values > 0))
    return bool(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue < alpha)


def _advice(verdict: Conclusion, suspects: Sequence[SuspectPair]) -> str:
    what = "does not rise" if verdict == "stall" else "falls, or all rewards have become equal"
    sources = Counter(suspect.source or "an unnamed source" for suspect in suspects).most_common(3)
    whom = ", ".join(f"{count} from {source}" for source, count in sources)
    suspicion = f" The {len(suspects)} most suspect pairs: {whom}." if suspects else ""
    return (
        f"The margin {what}. Look at the data before the learning rate: are chosen and rejected swapped in one source, "
        "do sources disagree about what is better, are the two responses nearly the same, are labels noise?" + suspicion
    )
