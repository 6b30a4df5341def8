"""Progress of a long job: bars on a terminal, plain lines elsewhere (a log file, a CI job)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rewardsmith.pipeline.events import StageName
from rewardsmith.records import StepMetrics

_QUIET_SECONDS = 10.0
_TITLES: dict[StageName, str] = {
    "samples": "Samples",
    "check": "Check the data contract",
    "train": "Train",
    "labels": "Label noise",
    "evaluate": "Evaluate",
    "probe": "Bias probes",
    "gates": "Gates",
    "report": "Report",
}


class Live:
    """Events drawn on a console (standard error, so that `--json` stays clean). Use it as a context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}

    def __enter__(self) -> Live:
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[info]}", style="cyan", markup=False),
                TimeRemainingColumn(),
            )
            self._bars = Progress(*columns, console=self.console, transient=True)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
        if kind is KeyboardInterrupt:  # typer turns it into exit code 130 without a word
            self.console.print("interrupted: run the same command again to continue")

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """One line when a stage ends or is skipped."""
        if state == "started":
            return
        self._clear()
        word = "unchanged, skipped" if state == "unchanged" else "done"
        self.console.print(f"{_TITLES[name]}: {word}{f' in {detail}' if detail else ''}", highlight=False)

    def progress(self, label: str, done: int, total: int) -> None:
        """A bar, or a line every ten seconds."""
        self._advance(label, done, total, "")

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Training: pairs per second, margin, time left."""
        info = f"{metrics.pairs_per_second:,.1f} pairs/s  margin {metrics.margin_mean:+.3f}  loss {metrics.loss:.3f}"
        self._advance("training steps", metrics.step, steps, info)

    def note(self, text: str) -> None:
        """A line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _advance(self, label: str, done: int, total: int, info: str) -> None:
        if self._bars is not None:
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task(label, total=total, info=info)
            self._bars.update(self._tasks[label], completed=done, total=total, info=info)
            return
        now = self._clock()
        first = label not in self._last_line
        if first or done == total or now - self._last_line[label] >= _QUIET_SECONDS:
            self._last_line[label] = now
            self.console.print(f"  {label}: {done:,}/{total:,}{f'  {info}' if info else ''}", highlight=False)

    def _clear(self) -> None:
        if self._bars is not None:
            for task in self._tasks.values():
                self._bars.remove_task(task)
        self._tasks.clear()
