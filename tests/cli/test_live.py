"""Progress: plain lines that do not flood a log file, bars with speed, margin and time left on a terminal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from rewardsmith.cli.options import Live
from rewardsmith.records.training import StepMetrics
from rewardsmith.training.metrics import step_metrics
from rewardsmith.training.progress import EpochProgress


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def metrics(step: int) -> StepMetrics:
    return step_metrics(
        step=step,
        chosen=np.array([1.0, 2.0]),
        rejected=np.array([0.0, 2.5]),
        prompts=2,
        tokens=20,
        loss=0.5,
        grad_norm=1.0,
        learning_rate=1e-4,
        seconds=0.5,
    )


def test_plain_lines_come_first_last_and_every_ten_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    with Live(Console(file=out, force_terminal=False, width=100), clock) as live:
        for step in range(1, 101):
            clock.now = step * 0.25
            live.step(metrics(step), 100)
        live.stage("train", "done", "25 s")
        live.stage("evaluate", "unchanged")
    lines = out.getvalue().splitlines()
    assert lines == [
        "  training steps: 1/100  4.0 pairs/s  margin +0.250  loss 0.500",
        "  training steps: 41/100  4.0 pairs/s  margin +0.250  loss 0.500",
        "  training steps: 81/100  4.0 pairs/s  margin +0.250  loss 0.500",
        "  training steps: 100/100  4.0 pairs/s  margin +0.250  loss 0.500",
        "Train: done in 25 s",
        "Evaluate: unchanged, skipped",
    ]


def test_plain_lines_show_micro_batches_of_a_long_step_and_the_time_left() -> None:
    out, clock = io.StringIO(), Clock()
    with Live(Console(file=out, force_terminal=False, width=200), clock) as live:
        live.micro_batch(EpochProgress(0, 27))  # before the base is loaded
        for turn in range(9):
            clock.now += 4.0
            live.micro_batch(EpochProgress(0, 27, turn + 1, 9, 812.4, 3725.0 - 4 * turn))
        live.step(metrics(1), 27)
        clock.now += 12.0
        live.micro_batch(EpochProgress(1, 27, 1, 9, 800.0, 61.0))
    assert out.getvalue().splitlines() == [
        "  training steps: 0/27",
        "  training steps: 0/27  micro-batch 3/9  812 tokens/s  1:01:57 left",
        "  training steps: 0/27  micro-batch 6/9  812 tokens/s  1:01:45 left",
        "  training steps: 0/27  micro-batch 9/9  812 tokens/s  1:01:33 left",
        "  training steps: 1/27  micro-batch 1/9  800 tokens/s  margin +0.250  loss 0.500  0:01:01 left",
    ]


def test_an_end_that_is_told_again_is_one_line_and_the_next_end_another() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=False, width=100), Clock()) as live:
        for done in (256, 900, 900, 900, 100, 900):
            live.progress("reading pairs", done, 900)
    assert out.getvalue().splitlines() == [
        "  reading pairs: 256/900",
        "  reading pairs: 900/900",
        "  reading pairs: 900/900",
    ]


def test_a_stage_that_begins_takes_the_bars_of_the_one_before_away() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, color_system=None, legacy_windows=False)
    with Live(console) as live:
        live.progress("reading pairs", 900, 900)
        live.stage("train", "started")
        live.micro_batch(EpochProgress(0, 27, 3, 16, 412.0, 754.0))
        assert live._bars is not None
        assert [task.description for task in live._bars.tasks] == ["training steps"]
        assert live._bars.tasks[0].completed == pytest.approx(3 / 16)
        live._bars.refresh()
    for words in ("0/27", "micro-batch 3/16", "412 tokens/s", "0:12:34"):
        assert words in out.getvalue()


def test_a_terminal_shows_speed_margin_and_time_left() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=140, color_system=None, legacy_windows=False)
    with Live(console) as live:
        live.step(metrics(3), 10)
        assert live._bars is not None
        live._bars.refresh()
    drawn = out.getvalue()
    for words in ("training steps", "3/10", "4.0 pairs/s", "margin +0.250", "-:--:--"):
        assert words in drawn
