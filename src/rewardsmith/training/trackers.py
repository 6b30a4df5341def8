"""Trackers: where a run's numbers go besides its own directory, for people who compare runs elsewhere.

    require_trackers(spec.report_to)                     a missing package is said before any work is done
    tracker = TRACKERS["wandb"].open(TrackedRun(...))    whatever the package raises where the service cannot be reached
    tracker.log(step_numbers(metrics), step=1)
    tracker.finish(passed=True)

Names and numbers are the same for every tracker:

    train/loss, train/margin_mean, …                      each step: every number of `StepMetrics`
    eval/BENCHMARK/SUBSET/score, …/ci_low, …/ci_high, …/baseline      `average` is a subset too
    eval/BENCHMARK/rewards/mean, …/std
    probes/CODE/wrong, …/shift
    gates/passed, gates/failed                            1 or 0, and how many gates do not pass
    gates/RULE/BENCHMARK/SUBSET                           1 passes, 0 fails or has no data

Parts of a name keep letters, digits, `.`, `_` and `-`; anything else becomes `_`, because trackers differ in what they
take. Numbers that are missing or not finite are left out. No text of a user is among them.

A tracker only writes: what decides anything is read from the run directory. Each is a package of its own choice and an
optional extra, imported when it is opened; where it writes, and who is logged in, is its own settings and environment
variables, so that no token passes through here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rewardsmith.errors import SpecError
from rewardsmith.packages import is_installed
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.records.run import GatesRecord
from rewardsmith.records.training import StepMetrics
from rewardsmith.spec import Spec
from rewardsmith.spec.section import nearest

Numbers = dict[str, float]

_COMPARED = ("base_model", "adapter", "policy", "training", "seed", "backend")
_MOST_PARAMETERS = 100  # of one call, by MLflow's rule
_LONGEST_VALUE = 500


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

    `module` is what it needs, `extra` what installs that, `open` starts or continues a run and raises whatever the
    package raises, and `fix` is what helps where it cannot be opened.
    """

    module: str
    extra: str
    open: Callable[[TrackedRun], Tracker]
    fix: str


def require_trackers(names: Iterable[str]) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        SpecError: with the pip command that installs it; or there is no such tracker.
    """
    for name in names:
        if name not in TRACKERS:
            raise SpecError(f"there is no tracker {name!r}", where="report_to", fix=nearest(name, TRACKERS))
        kind = TRACKERS[name]
        if not is_installed(kind.module):
            raise SpecError(
                f"{name} needs the package {kind.module}, which is not installed",
                where="report_to",
                fix=f"pip install 'rewardsmith[{kind.extra}]'",
            )


def open_tensorboard(run: TrackedRun) -> TensorboardRun:
    """TensorBoard: event files in `RUN/tensorboard/`; `tensorboard --logdir runs` shows all runs side by side.

    A new event file beside those that are there; another training has a folder of its own. Written with TensorBoard's
    own event writer, which needs neither torch nor TensorFlow.
    """
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    name = run.id or f"{run.name}-{run.fingerprint[:8]}"
    opened = TensorboardRun(name, EventFileWriter(str(run.folder / "tensorboard" / name)))
    if run.id is None:
        opened.describe(run.settings)
    return opened


class TensorboardRun:
    """An open event file."""

    def __init__(self, name: str, writer: Any) -> None:
        self.id = name
        self._writer = writer

    def describe(self, settings: Mapping[str, Any]) -> None:
        """The settings as a text, which TensorBoard shows as Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        text = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in settings.items())
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        self._add([Summary.Value(tag="settings/text_summary", metadata=metadata, tensor=tensor)], 0)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """One event with all numbers."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add([Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()], step)

    def finish(self, passed: bool | None) -> None:
        """Flush and close; the verdict stands among the numbers."""
        del passed
        self._writer.close()

    def _add(self, values: list[Any], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def open_trackio(run: TrackedRun) -> TrackioRun:
    """trackio: a local SQLite file that `trackio show` draws; to a Space or a server where its own settings say so.

    Starts a run, or continues it by its name, which for trackio is what it is known by. The project is
    `$TRACKIO_PROJECT`, else "rewardsmith"; the file is in `$TRACKIO_DIR`, else in the Hugging Face cache;
    `$TRACKIO_SPACE_ID` or `$TRACKIO_SERVER_URL` send it on.
    """
    import trackio

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
        import trackio

        del passed
        with contextlib.redirect_stdout(sys.stderr):
            trackio.finish()  # the run's own `finish` would leave one for the end of the process


def open_wandb(run: TrackedRun) -> WandbRun:
    """Weights & Biases: online, or with `WANDB_MODE=offline` into `RUN/wandb/`, which `wandb sync` sends later.

    Starts a run, or continues the one with this id. Project, entity and key are wandb's own (`$WANDB_PROJECT`,
    `$WANDB_ENTITY`, `wandb login`); the project is "rewardsmith" where none is named. Nothing is sent but the numbers
    and the compared settings: no console, code, git state, machine statistics or list of packages.
    """
    import wandb

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


def open_mlflow(run: TrackedRun) -> MlflowRun:
    """MLflow: a server or a database, whichever `$MLFLOW_TRACKING_URI` names; else MLflow's own default.

    Starts a run, or continues the one with this id. The experiment is `$MLFLOW_EXPERIMENT_NAME`, else "rewardsmith".
    The extra installs `mlflow-skinny`, the client: it talks to a server. A database file on this machine
    (`sqlite:///mlflow.db`) needs the whole `mlflow`.
    """
    from mlflow.tracking import MlflowClient

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
        from mlflow.entities import Param

        known = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in settings.items()]
        for start in range(0, len(known), _MOST_PARAMETERS):
            self._client.log_batch(self.id, params=known[start : start + _MOST_PARAMETERS])

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """All numbers of one step, in one call."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def finish(self, passed: bool | None) -> None:
        """End the run. One whose gates fail is a finished run; its verdict is a tag."""
        if passed is not None:
            self._client.set_tag(self.id, "passed", str(passed).lower())
        self._client.set_terminated(self.id)


TRACKERS: dict[str, TrackerKind] = {
    "tensorboard": TrackerKind(
        "tensorboard", "tensorboard", open_tensorboard, "choose an output_dir that you may write to"
    ),
    "trackio": TrackerKind(
        "trackio", "trackio", open_trackio, "set TRACKIO_DIR to a folder that you may write to; run `trackio show`"
    ),
    "wandb": TrackerKind("wandb", "wandb", open_wandb, "run `wandb login`, or set WANDB_MODE=offline"),
    "mlflow": TrackerKind(
        "mlflow",
        "mlflow",
        open_mlflow,
        "set MLFLOW_TRACKING_URI to a server that answers; a database file needs `pip install mlflow`",
    ),
}


def step_numbers(metrics: StepMetrics) -> Numbers:
    """One optimizer step."""
    return _finite((("train", name), value) for name, value in metrics.model_dump(exclude={"step"}).items())


def result_numbers(results: Mapping[str, BenchmarkResult]) -> Numbers:
    """Scores of all benchmarks, by key."""
    return _finite(pair for key, result in results.items() for pair in _of_result(key, result))


def probe_numbers(record: ProbesRecord | None) -> Numbers:
    """Bias probes; none where they did not run."""
    probes = record.probes if record else {}
    return _finite(
        (("probes", code, name), getattr(probe, name)) for code, probe in probes.items() for name in ("wrong", "shift")
    )


def gate_numbers(record: GatesRecord) -> Numbers:
    """Every gate and warning, and the verdict."""
    gates = [outcome for outcome in record.outcomes if outcome.kind == "gate"]
    verdict: list[tuple[tuple[str, ...], Any]] = [
        (("gates", "passed"), int(record.passed)),
        (("gates", "failed"), sum(outcome.verdict != "PASS" for outcome in gates)),
    ]
    each = [(("gates", one.name, one.benchmark, one.subset), int(one.verdict == "PASS")) for one in record.outcomes]
    return _finite([*verdict, *each])


def compared_settings(spec: Spec) -> dict[str, Any]:
    """Fields of the spec that people compare runs by, with dotted names; not where data and services are."""
    return dict(_flat(spec.model_dump(mode="json", include=set(_COMPARED))))


def metric_name(*parts: str) -> str:
    """A name that every tracker takes; empty parts are left out."""
    return "/".join(re.sub(r"[^A-Za-z0-9_.-]+", "_", part).strip(".") or "_" for part in parts if part)


def _of_result(key: str, result: BenchmarkResult) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, subset in result.subsets.items():
        for field in ("score", "ci_low", "ci_high", "baseline"):
            yield ("eval", key, name, field), getattr(subset, field)
    low, high = result.average_ci or (None, None)
    average = {"score": result.average, "ci_low": low, "ci_high": high, "baseline": result.average_baseline}
    yield from ((("eval", key, "average", field), value) for field, value in average.items())
    yield ("eval", key, "rewards", "mean"), result.rewards.mean
    yield ("eval", key, "rewards", "std"), result.rewards.std


def _finite(pairs: Any) -> Numbers:
    return {
        metric_name(*name): float(value) for name, value in pairs if value is not None and math.isfinite(float(value))
    }


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", value
