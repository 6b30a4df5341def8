"""A run while it works: which stages are done, which one is at work, and the curves so far.

live_state(manifest, live, now) → LiveState          pure; `rewardsmith open` asks once a second
live_charts(run_dir) → {title: drawing}              the charts of the training section, drawn again
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardsmith.records.run import LiveRecord, Manifest, StageRecord
from rewardsmith.report.formatting import capitalised, duration, visible
from rewardsmith.report.reading import read_steps
from rewardsmith.report.sections.training import epoch_charts, training_view

STAGES: dict[str, str] = {
    "check": "Data contract",
    "train": "Training",
    "labels": "Labels",
    "evaluate": "Evaluation",
    "probe": "Bias probes",
    "attack": "Attack",
    "gates": "Gates",
}
"""The stages of the main job by the pipeline's names, in order."""

_SVG = "http://www.w3.org/2000/svg"
_LEAST = 5.0  # seconds after which a rate says something

State = Literal["good", "bad", "open", "now"]


@dataclass(frozen=True, slots=True)
class LiveStage:
    """One stage: its state, and the word for it ("done in 9.0 s", "at work", "not yet")."""

    name: str
    title: str
    state: State
    word: str


@dataclass(frozen=True, slots=True)
class LiveState:
    """`running` while a process works in the run; `status` says in a sentence what it does."""

    running: bool
    status: str
    stages: tuple[LiveStage, ...]
    done: int = 0
    total: int = 0


def live_state(manifest: Manifest | None, live: LiveRecord | None, now: float) -> LiveState:
    """What a watcher sees.

    Args:
        live: None where no process works in the run.
        now: seconds since 1970.
    """
    records = manifest.stages if manifest else {}
    there = [name for name in STAGES if name != "attack" or name in records or (live and live.stage == name)]
    stages = tuple(_stage(name, records.get(name), live) for name in there)  # an attack is made where it is asked for
    if live is None:
        return LiveState(False, _ended(manifest), stages)
    return LiveState(True, _doing(live, now), stages, live.done, live.total)


def _stage(name: str, record: StageRecord | None, live: LiveRecord | None) -> LiveStage:
    if live and live.stage == name:
        return LiveStage(name, STAGES[name], "now", "at work")
    if record is None:
        return LiveStage(name, STAGES[name], "open", "not yet" if live else "not run")
    if record.state != "done":
        return LiveStage(name, STAGES[name], "bad", f"{record.state} after {duration(record.seconds)}")
    return LiveStage(name, STAGES[name], "good", f"done in {duration(record.seconds)}")


def _doing(live: LiveRecord, now: float) -> str:
    title = STAGES.get(live.stage, capitalised(live.stage)) or "Getting ready"
    spent = max(0.0, now - live.since)
    if not live.total:
        return f"{title}: {duration(spent)}."
    left = ""
    if live.done and live.done < live.total and spent > _LEAST:
        left = f", about {duration(spent * (live.total - live.done) / live.done)} left"
    return f"{title}: {visible(live.label, 80)} {live.done:,} of {live.total:,}{left}."


def _ended(manifest: Manifest | None) -> str:
    verdict = manifest.verdict if manifest else "unfinished"
    if verdict == "unfinished":
        return "No process works in this run. Give the same command again to continue it."
    return f"The run has ended: {verdict}."


def live_charts(run_dir: Path) -> dict[str, str]:
    """The training curves of what has been recorded so far, by title, as SVG documents.

    Raises:
        RunDirectoryError: metrics.jsonl cannot be read.
    """
    training = training_view(None, read_steps(run_dir), suspects=False)
    charts = epoch_charts(training) if training else ()
    return {chart.title: _document(str(chart.drawing)) for chart in charts}


def _document(drawing: str) -> str:
    """A drawing as XML of its own."""
    return f'<svg xmlns="{_SVG}"{drawing.removeprefix("<svg")}'
