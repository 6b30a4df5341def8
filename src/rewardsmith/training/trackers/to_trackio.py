"""trackio: a local SQLite file that `trackio show` draws; to a Space or a server where its own settings say so.

The project is `$TRACKIO_PROJECT`, else "rewardsmith"; the file is in `$TRACKIO_DIR`, else in the Hugging Face cache;
`$TRACKIO_SPACE_ID` or `$TRACKIO_SERVER_URL` send it on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import trackio

from rewardsmith.training.trackers import TrackedRun


def open_run(run: TrackedRun) -> TrackioRun:
    """Start a run, or continue it by its name, which for trackio is what it is known by."""
    name = run.id or f"{run.name}-{run.fingerprint[:8]}"
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
        opened = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "rewardsmith"),
            name=name,
            config=dict(run.settings),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    return TrackioRun(name, opened)


class TrackioRun:
    """An open run of trackio."""

    def __init__(self, name: str, run: Any) -> None:
        self.id = name
        self._run = run

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """All numbers of one step."""
        self._run.log(dict(numbers), step=step)

    def finish(self, passed: bool | None) -> None:
        """Write what is left; the verdict stands among the numbers."""
        del passed
        with contextlib.redirect_stdout(sys.stderr):
            trackio.finish()  # the run's own `finish` would leave one for the end of the process
