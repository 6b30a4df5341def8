"""The margin monitor on planted series: what rises, stalls, collapses, and whom it suspects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_training_resume import make_job

from conftest import make_pairs
from rewardsmith.errors import MarginStop
from rewardsmith.records.training import StepMetrics
from rewardsmith.spec import MonitorSpec
from rewardsmith.training.metrics import MarginMonitor, conclusion, find_suspects, step_metrics
from rewardsmith.training.trl_backend import train

RULES = MonitorSpec()


def series(margins: np.ndarray, spread: float = 1.0) -> list[StepMetrics]:
    """Steps whose mean margins are as given and whose rewards have the given spread."""
    return [
        step_metrics(
            step=number,
            chosen=np.array([margin + spread, margin - spread]),
            rejected=np.array([0.0, 0.0]) + np.array([spread, -spread]),
            prompts=2,
            tokens=10,
            loss=0.5,
            grad_norm=1.0,
            learning_rate=1e-4,
            seconds=1.0,
        )
        for number, margin in enumerate(margins, start=1)
    ]


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


@pytest.mark.parametrize(
    ("margins", "verdict", "direction"),
    [
        (np.linspace(0, 2, 100) + noise(100), "learning", "rising"),
        (2 + 0.3 * noise(100), "learning", "flat"),
        (0.3 * noise(100), "stall", "flat"),
        (np.linspace(1, -2, 100) + noise(100), "collapse", "falling"),
        (np.linspace(0, 2, 10), "too short", "rising"),
    ],
    ids=["rises through noise", "high from the start", "noise around zero", "falls", "ten steps"],
)
def test_verdicts(margins: np.ndarray, verdict: str, direction: str) -> None:
    found, trend = conclusion(series(margins), RULES)
    assert (found, trend.direction) == (verdict, direction)


def test_equal_rewards_are_a_collapse() -> None:
    assert conclusion(series(np.zeros(40), spread=0.0), RULES)[0] == "collapse"


def test_noise_alone_is_seldom_a_trend() -> None:
    """False alarms of the collapse verdict on 300 series of pure noise: at most 1 % one-sided, with room for chance."""
    falling = sum(conclusion(series(noise(60, seed)), RULES)[0] == "collapse" for seed in range(300))
    assert falling <= 6


def test_the_monitor_stops_only_where_the_spec_says_so() -> None:
    falling = series(np.linspace(2, -2, 100) + 0.1 * noise(100))
    strict, tolerant = (MarginMonitor(MonitorSpec(on_collapse=action), 100) for action in ("stop", "warn"))
    stopped_at = next(step.step for step in falling if strict.observe(step))
    assert stopped_at == 50  # half of the epoch: `after`
    assert not any(tolerant.observe(step) for step in falling)
    assert tolerant.conclude([], []).verdict == "collapse"


def test_one_deep_fall_does_not_stop_training() -> None:
    margins = np.linspace(0, 2, 100)
    margins[60] = -50
    monitor = MarginMonitor(MonitorSpec(on_stall="stop", on_collapse="stop"), 100)
    assert not any(monitor.observe(step) for step in series(margins))
    concluded = monitor.conclude([], [])
    assert (concluded.falls, concluded.verdict) == (1, "learning")


def test_suspects_are_the_most_confident_disagreements_of_the_second_half() -> None:
    rows = [
        {"step": 1, "pairs": [0, 1], "margins": [-9.0, 9.0]},  # first half: the model knew nothing yet
        {"step": 2, "pairs": [2, 3], "margins": [-1.0, 3.0]},  # -0.5 standard deviations
        {"step": 3, "pairs": [4, 5, 6], "margins": [-4.0, 2.0, 2.0]},  # -1.41
    ]
    suspects = find_suspects(rows, make_pairs(7))
    assert [(suspect.id, suspect.step, suspect.margin) for suspect in suspects] == [("4", 3, -4.0), ("2", 2, -1.0)]


def test_metrics_of_a_step_by_hand() -> None:
    metrics = step_metrics(
        step=3,
        chosen=np.array([1.0, 2.0, 0.0, 3.0]),
        rejected=np.array([0.0, 2.0, 1.0, 0.0]),
        prompts=2,
        tokens=80,
        loss=0.4,
        grad_norm=None,
        learning_rate=1e-5,
        seconds=2.0,
    )
    assert metrics.accuracy == (1 + 0.5 + 0 + 1) / 4
    assert metrics.margin_mean == 0.75
    assert metrics.margin_p50 == 0.5  # margins 1, 0, -1, 3
    assert metrics.reward_mean == 9 / 8
    assert (metrics.reward_min, metrics.reward_max) == (0.0, 3.0)
    assert (metrics.pairs_per_second, metrics.tokens_per_second) == (2.0, 40.0)


def test_a_stopped_run_keeps_what_it_made_and_names_data_not_the_learning_rate(tiny_base: Path, tmp_path: Path) -> None:
    """Labels that flip half-way: the margin falls, training stops, and the advice speaks of data."""
    job = make_job(
        tiny_base,
        tmp_path,
        training={
            "pairs_per_step": 1,
            "learning_rate": 1e-12,
            "checkpoint_every_steps": 5,
            "monitor": {"on_stall": "stop", "min_steps": 8, "after": 0.5},
        },
    )
    with pytest.raises(MarginStop, match="Look at the data before the learning rate") as caught:
        train(job)
    assert caught.value.exit_code == 1
    assert (tmp_path / "train" / "summary.json").is_file()
    assert list((tmp_path / "train").glob("checkpoint-*"))
    assert not (tmp_path / "model").exists()
