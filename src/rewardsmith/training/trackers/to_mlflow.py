"""MLflow: a server or a database, whichever `$MLFLOW_TRACKING_URI` names; else MLflow's own default.

The experiment is `$MLFLOW_EXPERIMENT_NAME`, else "rewardsmith". The extra installs `mlflow-skinny`, the client: it
talks to a server. A database file on this machine (`sqlite:///mlflow.db`) needs the whole `mlflow`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from rewardsmith.training.trackers import TrackedRun

_MOST_PARAMETERS = 100  # of one call, by MLflow's rule
_LONGEST_VALUE = 500


def open_run(run: TrackedRun) -> MlflowRun:
    """Start a run, or continue the one with this id."""
    client = MlflowClient()
    if run.id is not None:
        client.update_run(run.id, status="RUNNING")
        return MlflowRun(run.id, client)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "rewardsmith")
    experiment = client.get_experiment_by_name(name)
    place = experiment.experiment_id if experiment else client.create_experiment(name)
    opened = MlflowRun(client.create_run(place, run_name=run.name).info.run_id, client)
    opened.describe(run.settings)
    return opened


class MlflowRun:
    """An open run of MLflow."""

    def __init__(self, name: str, client: Any) -> None:
        self.id = name
        self._client = client

    def describe(self, settings: Mapping[str, Any]) -> None:
        """The settings as parameters."""
        known = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in settings.items()]
        for start in range(0, len(known), _MOST_PARAMETERS):
            self._client.log_batch(self.id, params=known[start : start + _MOST_PARAMETERS])

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """All numbers of one step, in one call."""
        now = int(1000 * time.time())
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def finish(self, passed: bool | None) -> None:
        """End the run. One whose gates fail is a finished run; its verdict is a tag."""
        if passed is not None:
            self._client.set_tag(self.id, "passed", str(passed).lower())
        self._client.set_terminated(self.id)
