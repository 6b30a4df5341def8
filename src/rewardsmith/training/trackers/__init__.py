"""Trackers: where a run's numbers go besides its own directory, for people who compare runs elsewhere.

    require_trackers(spec.report_to)                     a missing package is said before any work is done
    tracker = TRACKERS["wandb"].open(TrackedRun(...))    raises ModelError where the service cannot be reached
    tracker.log({"train/loss": 0.69}, step=1)
    tracker.finish(passed=True)

Names and numbers are made in one place, `trackers_numbers.py`, and are the same everywhere. A tracker only writes: what
decides anything is read from the run directory. Each is a package of its own choice and an optional extra; where it
writes, and who is logged in, is its own settings and environment variables, so that no token passes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from rewardsmith.errors import SpecError
from rewardsmith.spec.section import nearest


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run when it is opened.

    Attributes:
        name: of the run, as its spec says.
        folder: the run directory.
        fingerprint: of what decides the weights: another training in the same folder is another run to a tracker.
        settings: the spec's fields that people compare runs by, with dotted names.
        id: what the tracker called this run when it was opened before; None the first time.
    """

    name: str
    folder: Path
    fingerprint: str
    settings: Mapping[str, Any]
    id: str | None = None


class Tracker(Protocol):
    """An open run of one tracker. `id` continues it later."""

    @property
    def id(self) -> str:
        """What the tracker calls this run."""
        ...

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Add numbers at an optimizer step."""
        ...

    def finish(self, passed: bool | None) -> None:
        """Flush and close; `passed` is the gates' verdict, None where there is none yet."""
        ...


@dataclass(frozen=True, slots=True)
class TrackerKind:
    """A tracker that `report_to` may name.

    `module` is what it needs, `extra` what installs that, `home` our module that writes to it, and `fix` what helps
    where it cannot be opened.
    """

    module: str
    extra: str
    home: str
    fix: str

    def open(self, run: TrackedRun) -> Tracker:
        """Start or continue a run.

        Raises:
            Exception: whatever the tracker's package raises.
        """
        opener: Callable[[TrackedRun], Tracker] = import_module(self.home).open_run
        return opener(run)


_HOME = "rewardsmith.training.trackers.to_"

TRACKERS: dict[str, TrackerKind] = {
    "tensorboard": TrackerKind(
        "tensorboard", "tensorboard", f"{_HOME}tensorboard", "choose an output_dir that you may write to"
    ),
    "trackio": TrackerKind(
        "trackio", "trackio", f"{_HOME}trackio", "set TRACKIO_DIR to a folder that you may write to; run `trackio show`"
    ),
    "wandb": TrackerKind("wandb", "wandb", f"{_HOME}wandb", "run `wandb login`, or set WANDB_MODE=offline"),
    "mlflow": TrackerKind(
        "mlflow",
        "mlflow",
        f"{_HOME}mlflow",
        "set MLFLOW_TRACKING_URI to a server that answers; a database file needs `pip install mlflow`",
    ),
}


def require_trackers(names: Iterable[str]) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        SpecError: with the pip command that installs it; or there is no such tracker.
    """
    for name in names:
        if name not in TRACKERS:
            raise SpecError(f"there is no tracker {name!r}", where="report_to", fix=nearest(name, TRACKERS))
        kind = TRACKERS[name]
        if find_spec(kind.module) is None:
            raise SpecError(
                f"{name} needs the package {kind.module}, which is not installed",
                where="report_to",
                fix=f"pip install 'rewardsmith[{kind.extra}]'",
            )
