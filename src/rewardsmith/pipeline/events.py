"""What a long job tells whoever is watching: the command line draws it, tests collect it, a notebook may ignore it."""

from __future__ import annotations

from typing import Literal, Protocol

from rewardsmith.records import StepMetrics

StageName = Literal["samples", "check", "train", "labels", "evaluate", "probe", "gates", "report"]


class Events(Protocol):
    """Receives what happens, in order. Methods must return quickly and never raise."""

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """A stage began, ended, or was skipped because its inputs are unchanged."""
        ...

    def progress(self, label: str, done: int, total: int) -> None:
        """Countable work inside a stage."""
        ...

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """One optimizer step of `steps`."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


class Silent:
    """Events that nobody watches."""

    def stage(self, name: StageName, state: Literal["started", "done", "unchanged"], detail: str = "") -> None:
        """Ignore it."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Ignore it."""

    def step(self, metrics: StepMetrics, steps: int) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
