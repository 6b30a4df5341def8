"""A run's numbers on their way to the trackers of `report_to`: steps as they happen, then evaluation and gates.

    with tracked(spec, run.path, events.note) as tracking:
        announce = tracking.steps(fingerprint, events.step)     called after each optimizer step
        tracking.catch_up()                                     steps that no tracker heard of
        tracking.gated(results, probes, verdict)

`trackers.json` in the run directory says what each tracker calls the run and what it was told, so that a killed run
goes on in the same place and says nothing twice (but for the steps of the last second before a kill). A tracker that
joins later, or heard nothing because training ran on other machines, is told from `train/metrics.jsonl`. A tracker that
cannot be opened stops a run before it trains; one that fails later is left alone with a note, since the run's own files
have everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rewardsmith.errors import UserError
from rewardsmith.records.evaluation import BenchmarkResult
from rewardsmith.records.files import read_record, write_json
from rewardsmith.records.probes import ProbesRecord
from rewardsmith.records.run import GatesRecord, TrackersRecord, TrackerState
from rewardsmith.records.training import StepMetrics, TrainRecord
from rewardsmith.spec import Spec, digest
from rewardsmith.training.metrics import read_steps
from rewardsmith.training.trackers import (
    TRACKERS,
    Numbers,
    TrackedRun,
    Tracker,
    compared_settings,
    gate_numbers,
    probe_numbers,
    require_trackers,
    result_numbers,
    step_numbers,
)

TRACKERS_FILE = "trackers.json"
_EVERY = 1.0  # seconds between two writings of the state

Announce = Callable[[StepMetrics, int], None]


@contextmanager
def tracked(spec: Spec, run: Path, note: Callable[[str], None]) -> Iterator[Tracking]:
    """Trackers of a run, closed when the block ends.

    Raises:
        SpecError: a package that the spec's `report_to` needs is not installed.
    """
    require_trackers(spec.report_to)
    tracking = Tracking(spec, run, note)
    try:
        yield tracking
    finally:
        tracking.close()


class Tracking:
    """The trackers of one run directory; each is opened when there is something to tell it."""

    def __init__(self, spec: Spec, run: Path, note: Callable[[str], None]) -> None:
        self._spec = spec
        self._run = run
        self._note = note
        self._open: dict[str, Tracker] = {}
        self._silent: set[str] = set()
        self._passed: bool | None = None
        self._written = 0.0
        path = run / TRACKERS_FILE
        there = bool(spec.report_to) and path.exists()
        self._record = read_record(path, TrackersRecord) if there else TrackersRecord(fingerprint="")

    def steps(self, fingerprint: str, also: Announce) -> Announce:
        """What a training with this fingerprint tells after each step: the trackers, and `also`.

        Raises:
            UserError: a tracker cannot be opened.
        """
        if not self._spec.report_to:
            return also
        self._belong_to(fingerprint)
        for name in self._spec.report_to:
            self._opened(name)

        def announce(metrics: StepMetrics, steps: int) -> None:
            also(metrics, steps)
            self._tell_step(metrics)

        return announce

    def catch_up(self) -> None:
        """Tell each tracker the steps of the finished training that it has not heard of."""
        summary = self._run / "train" / "summary.json"
        if not self._spec.report_to or not summary.exists():
            return
        self._belong_to(read_record(summary, TrainRecord).fingerprint)
        for metrics in read_steps(self._run / "train"):
            self._tell_step(metrics)
        self._write()

    def gated(self, results: Mapping[str, BenchmarkResult], probes: ProbesRecord | None, verdict: GatesRecord) -> None:
        """Tell what evaluation, probes and gates gave, after the last step; nothing that was told before."""
        self._passed = verdict.passed
        numbers = result_numbers(results) | probe_numbers(probes) | gate_numbers(verdict)
        for name in self._spec.report_to:
            state = self._record.trackers.get(name)
            if state is None or state.told.get("evaluation") != digest(numbers):
                self._tell(name, numbers, (state.step if state else 0) + 1, evaluation=digest(numbers))
        self._write()

    def close(self) -> None:
        """Flush and close what is open."""
        for name, tracker in self._open.items():
            try:
                tracker.finish(self._passed)
            except Exception as error:  # a service of others: its failure is no failure of the run
                self._note(_complaint(name, error))
        self._open = {}
        self._write()

    def _belong_to(self, fingerprint: str) -> None:
        """Another training in the same folder is another run to the trackers."""
        if self._record.fingerprint != fingerprint:
            self._record = TrackersRecord(fingerprint=fingerprint)

    def _tell_step(self, metrics: StepMetrics) -> None:
        for name in self._spec.report_to:
            state = self._record.trackers.get(name)
            if state is None or metrics.step > state.step:
                self._tell(name, step_numbers(metrics), metrics.step)

    def _tell(self, name: str, numbers: Numbers, step: int, **told: str) -> None:
        if name in self._silent:
            return
        try:
            self._opened(name).log(numbers, step)
        except Exception as error:  # as above
            self._silent.add(name)
            self._open.pop(name, None)
            self._note(_complaint(name, error))
            return
        state = self._record.trackers[name]
        self._put(name, state.model_copy(update={"step": step, "told": {**state.told, **told}}))
        if time.monotonic() - self._written >= _EVERY:
            self._write()

    def _opened(self, name: str) -> Tracker:
        if name not in self._open:
            state = self._record.trackers.get(name)
            run = TrackedRun(
                name=self._spec.name,
                folder=self._run,
                fingerprint=self._record.fingerprint,
                settings=compared_settings(self._spec),
                id=state.id if state else None,
            )
            try:
                tracker = self._open[name] = TRACKERS[name].open(run)
            except Exception as error:
                raise UserError(
                    f"{name} cannot be opened: {_first_line(error)}", where="report_to", fix=TRACKERS[name].fix
                ) from error
            self._put(name, state or TrackerState(id=tracker.id))
            self._write()
        return self._open[name]

    def _put(self, name: str, state: TrackerState) -> None:
        self._record = self._record.model_copy(update={"trackers": {**self._record.trackers, name: state}})

    def _write(self) -> None:
        if self._record.trackers:
            self._written = time.monotonic()
            write_json(self._run / TRACKERS_FILE, self._record)


def _complaint(name: str, error: Exception) -> str:
    return f"warning: {name} takes no more numbers ({_first_line(error)}); all of them are in the run directory"


def _first_line(error: Exception) -> str:
    problem = error.problem if isinstance(error, UserError) else str(error)
    return (problem.strip().splitlines() or [type(error).__name__])[0][:300]
